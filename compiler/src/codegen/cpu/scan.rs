//! Loops that carry values from each cell of a row to the next.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use cranelift_frontend::Variable;

use super::cell::At;
use super::compute::checked;
use super::function::Function;
use super::lane::{Emit, Held};
use super::memory::bytes;
use super::passes::Place;
use crate::codegen::{Declined, frame};
use crate::kernel::KernelOp;

impl Function<'_> {
    /// A loop that carries values from each cell to the next.
    pub(super) fn scan_loop(
        &self,
        emit: &mut Emit,
        pass: usize,
        scan: usize,
        wanted: &[usize],
    ) -> Result<(), Declined> {
        let inside = &self.kernel.scans[scan];
        let mut carries: Vec<Variable> = Vec::new();
        for &initial in &inside.initial {
            let held = self.row_operand(initial)?;
            let ty = emit.builder.func.dfg.value_type(held.low);
            let carry = emit.builder.declare_var(ty);
            emit.builder.def_var(carry, held.low);
            carries.push(carry);
        }
        let cells = self.word(emit, frame::CELLS);
        let count = emit.builder.declare_var(types::I64);
        let zero = emit.builder.ins().iconst(types::I64, 0);
        emit.builder.def_var(count, zero);
        let [head, body, done] = [(); 3].map(|()| emit.builder.create_block());
        emit.builder.ins().jump(head, &[]);
        emit.builder.switch_to_block(head);
        let number = emit.builder.use_var(count);
        let more = emit
            .builder
            .ins()
            .icmp(IntCC::SignedLessThan, number, cells);
        emit.builder.ins().brif(more, body, &[], done, &[]);

        emit.builder.switch_to_block(body);
        let cell = if inside.reverse {
            let last = emit.builder.ins().iadd_imm_s(cells, -1);
            emit.builder.ins().isub(last, number)
        } else {
            number
        };
        let at = At {
            pass,
            cell,
            copy: 0,
            splats: &self.rows,
        };
        let values = self.cell_values(emit, &at, wanted)?;
        let next = self.scan_step(emit, &at, scan, values, &carries)?;
        for (index, instruction) in self.kernel.body.iter().enumerate() {
            let KernelOp::Scan { scan: own, part } = instruction.op else {
                continue;
            };
            let home = self.schedule.homes[index].filter(|_| own == scan);
            if let Some(home) = home {
                let held = next
                    .get(part)
                    .ok_or_else(|| Declined::new("a scan lacks a carry"))?;
                let held = checked(instruction, *held)?;
                let base = self.array(Place::Kept(home))?;
                let address = self.address(emit, base, cell, bytes(held.elem, self.precision));
                emit.store(held, address, 0);
            }
        }
        let number = emit.builder.ins().iadd_imm_s(number, 1);
        emit.builder.def_var(count, number);
        emit.builder.ins().jump(head, &[]);
        emit.builder.switch_to_block(done);
        Ok(())
    }

    /// The carries after a cell.
    fn scan_step(
        &self,
        emit: &mut Emit,
        at: &At,
        scan: usize,
        mut values: Vec<Option<Held>>,
        carries: &[Variable],
    ) -> Result<Vec<Held>, Declined> {
        let inside = &self.kernel.scans[scan];
        let mut held_carries = Vec::new();
        for (&variable, &initial) in carries.iter().zip(&inside.initial) {
            let value = emit.builder.use_var(variable);
            held_carries.push(Held::new(self.elem_of(initial)?, value));
        }
        for instruction in &inside.body {
            let held = if let KernelOp::Carry { part } = &instruction.op {
                *held_carries
                    .get(*part)
                    .ok_or_else(|| Declined::new("a scan lacks a carry"))?
            } else {
                self.compute(emit, instruction, &mut |emit, value| {
                    self.find(emit, at, &values, value)
                })?
            };
            values.push(Some(checked(instruction, held)?));
        }
        if inside.next.len() != carries.len() {
            return Err(Declined::new("a scan lacks a carry"));
        }
        let mut next = Vec::new();
        for (&value, carry) in inside.next.iter().zip(&held_carries) {
            let mut held = self.operand(emit, at, &values, value)?;
            if held.elem != carry.elem {
                return Err(Declined::new("a carry changes its type"));
            }
            if let Some(mask) = inside.mask {
                let mask = self.operand(emit, at, &values, mask)?;
                held = emit.select(mask, held, *carry)?;
            }
            next.push(held);
        }
        for (&variable, held) in carries.iter().zip(&next) {
            emit.builder.def_var(variable, held.low);
        }
        Ok(next)
    }
}
