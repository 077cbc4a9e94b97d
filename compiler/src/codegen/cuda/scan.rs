//! Loops along a row.

use super::element::c_type;
use super::print::{Printer, Scope, name};
use crate::kernel::{KernelOp, ValueId};

impl Printer<'_> {
    /// Loops along the row by one lane; the others wait.
    pub(super) fn scans(&self, row: &mut Scope, parts: &[ValueId]) -> Result<(), String> {
        let mut loops: Vec<usize> = Vec::new();
        for &id in parts {
            if let KernelOp::Scan { scan, .. } = self.instruction(id).op
                && !loops.contains(&scan)
            {
                loops.push(scan);
            }
        }
        for scan in loops {
            let own = &self.kernel.scans[scan];
            let of_body = self.kernel.body.len();
            let mut cells = row.inner();
            cells.indent += 1;
            let mut outside = row.inner();
            for (part, &initial) in own.initial.iter().enumerate() {
                self.need(&mut cells, row, initial)?;
                let elem = c_type(self.passes.elem_of(initial));
                outside.line(format!("{elem} carry{part} = {};", name(initial)));
            }
            cells.line(if own.reverse {
                "const integer cell = cells - 1 - along;"
            } else {
                "const integer cell = along;"
            });
            let elem_of = |id: ValueId| match (id.0 as usize).checked_sub(of_body) {
                Some(inner) => own.body[inner].elem,
                None => self.passes.elem_of(id),
            };
            let read = self.instructions_read(scan);
            for id in read {
                self.need(&mut cells, row, id)?;
            }
            for (place, inner) in own.body.iter().enumerate() {
                let value = self.scalar(&inner.op, inner.elem, elem_of, name)?;
                let id = ValueId((of_body + place) as u32);
                cells.line(format!(
                    "const {} {} = {value};",
                    c_type(inner.elem),
                    name(id)
                ));
            }
            let condition = match own.mask {
                Some(mask) => format!("if ({}) ", name(mask)),
                None => String::new(),
            };
            // All next values are known before the first carry changes.
            for (part, &next) in own.next.iter().enumerate() {
                cells.line(format!(
                    "const {} next{part} = {};",
                    c_type(elem_of(next)),
                    name(next)
                ));
            }
            for part in 0..own.next.len() {
                cells.line(format!("{condition}carry{part} = next{part};"));
            }
            for &id in parts {
                if let KernelOp::Scan { scan: other, part } = self.instruction(id).op
                    && other == scan
                    && let Some(place) = self.passes.place_of_kept(id)
                {
                    cells.line(format!("kept{place}[row * cells + cell] = carry{part};"));
                }
            }
            outside.block("for (integer along = 0; along < cells; along += 1)", cells);
            row.block("if (lane == 0)", outside);
        }
        Ok(())
    }

    /// Values of the kernel that a scan reads at each cell.
    pub(super) fn instructions_read(&self, scan: usize) -> Vec<ValueId> {
        let op = KernelOp::Scan { scan, part: 0 };
        let initial = &self.kernel.scans[scan].initial;
        super::passes::operands(self.kernel, &op)
            .into_iter()
            .filter(|id| !initial.contains(id))
            .collect()
    }
}
