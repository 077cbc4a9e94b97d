//! Values: what is declared where, and the C of each.

use super::element::{binary, c_type, cast, literal, unary};
use super::print::{Printer, Scope, name};
use super::size_name;
use crate::kernel::{Input, KernelOp, Level, ValueId};
use crate::ty::{DimId, Elem};

impl Printer<'_> {
    pub(super) fn need(
        &self,
        cells: &mut Scope,
        row: &mut Scope,
        id: ValueId,
    ) -> Result<(), String> {
        self.need_in(cells, Some(row), id)
    }

    /// Declares a value and what it is made of; one of a row outside the loop over cells, where there is an outside.
    pub(super) fn need_in(
        &self,
        cells: &mut Scope,
        mut row: Option<&mut Scope>,
        id: ValueId,
    ) -> Result<(), String> {
        let is_outside = self.instruction(id).level == Level::Row;
        if cells.known.contains(&id) || row.as_ref().is_some_and(|row| row.known.contains(&id)) {
            return Ok(());
        }
        let op = &self.instruction(id).op;
        if let KernelOp::Reduce { .. } = op {
            return Err("a reduction is read before its pass".to_string());
        }
        let reads: Vec<ValueId> = match op {
            // From memory.
            KernelOp::Scan { .. } => Vec::new(),
            KernelOp::Shift { fill, .. } => vec![*fill],
            op => super::passes::operands(self.kernel, op),
        };
        for operand in reads {
            self.need_in(cells, row.as_deref_mut(), operand)?;
        }
        let value = self.expression(id)?;
        let line = format!(
            "const {} {} = {value};",
            c_type(self.instruction(id).elem),
            name(id)
        );
        let target = match row {
            Some(row) if is_outside => row,
            Some(_) | None => cells,
        };
        target.line(line);
        target.known.insert(id);
        Ok(())
    }

    pub(super) fn expression(&self, id: ValueId) -> Result<String, String> {
        let instruction = self.instruction(id);
        Ok(match &instruction.op {
            KernelOp::Scan { .. } => {
                let place = self.passes.place_of_kept(id).ok_or("a scan is kept")?;
                format!("kept{place}[row * cells + cell]")
            }
            KernelOp::Shift { value, by, fill } => {
                let place = self
                    .passes
                    .place_of_kept(*value)
                    .ok_or("a shifted value is kept")?;
                format!(
                    "cell - {by} >= 0 && cell - {by} < cells ? kept{place}[row * cells + cell - {by}] : {}",
                    name(*fill)
                )
            }
            op => self.scalar(op, instruction.elem, |id| self.passes.elem_of(id), name)?,
        })
    }

    /// What a primitive on scalars is in C.
    pub(super) fn scalar(
        &self,
        op: &KernelOp,
        elem: Elem,
        elem_of: impl Fn(ValueId) -> Elem,
        name: impl Fn(ValueId) -> String,
    ) -> Result<String, String> {
        Ok(match op {
            KernelOp::Load(input) => {
                let own = &self.kernel.inputs[*input];
                format!("in{input}[{}]", self.place(own))
            }
            KernelOp::Real(value) => literal(*value),
            KernelOp::Int(value) => format!("integer({value}ll)"),
            KernelOp::Bool(value) => value.to_string(),
            KernelOp::Position(dim) => self.index(*dim)?,
            KernelOp::Unary(op, x) => unary(*op, elem_of(*x), &name(*x)),
            KernelOp::Binary(op, a, b) => binary(*op, elem_of(*a), &name(*a), &name(*b)),
            KernelOp::Select(condition, then, otherwise) => {
                format!(
                    "{} ? {} : {}",
                    name(*condition),
                    name(*then),
                    name(*otherwise)
                )
            }
            KernelOp::Cast(x) => cast(elem_of(*x), elem, &name(*x)),
            KernelOp::TextValue(_) | KernelOp::Text(..) => {
                return Err("text is computed on the CPU".to_string());
            }
            KernelOp::Carry { part } => format!("carry{part}"),
            KernelOp::Reduce { .. } | KernelOp::Shift { .. } | KernelOp::Scan { .. } => {
                return Err("this waits for its row".to_string());
            }
        })
    }

    /// The index along a dimension of the rows, or that of the cell.
    pub(super) fn index(&self, dim: DimId) -> Result<String, String> {
        let Some(place) = self.kernel.rows.iter().position(|&own| own == dim) else {
            return Ok("cell".to_string());
        };
        let later: Vec<String> = (place + 1..self.kernel.rows.len())
            .map(|later| format!("n{later}"))
            .collect();
        Ok(match (later.is_empty(), place) {
            (true, 0) => "row".to_string(),
            (true, _) => format!("(row % n{place})"),
            (false, 0) => format!("(row / ({}))", later.join(" * ")),
            (false, _) => format!("(row / ({}) % n{place})", later.join(" * ")),
        })
    }

    /// Where the element of an input lies that belongs to the row and cell.
    pub(super) fn place(&self, input: &Input) -> String {
        let has_cells = self
            .kernel
            .cells
            .first()
            .is_some_and(|dim| input.dims.contains(dim));
        let rows: Vec<DimId> = input
            .dims
            .iter()
            .copied()
            .filter(|dim| self.kernel.rows.contains(dim))
            .collect();
        let row = if rows == self.kernel.rows {
            "row".to_string()
        } else {
            // Row-major over the dimensions that it has.
            rows.iter().fold(String::new(), |before, &dim| {
                let index = self.index(dim).unwrap_or_default();
                match (before.is_empty(), size_name(self.kernel, dim)) {
                    (false, Some(size)) => format!("({before} * {size} + {index})"),
                    (true, _) | (false, None) => index,
                }
            })
        };
        match (rows.is_empty(), has_cells) {
            (true, true) => "cell".to_string(),
            (true, false) => "0".to_string(),
            (false, true) => format!("{row} * cells + cell"),
            (false, false) => row,
        }
    }
}
