//! The values of the cells at one place of a row.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::compute::{checked, constant, is_constant};
use super::function::Function;
use super::lane::{Emit, Held};
use super::memory::bytes;
use super::passes::{Pass, Place};
use crate::codegen::{Declined, frame};
use crate::kernel::{KernelOp, ValueId};
use crate::ty::Elem;

/// Where a loop stands.
pub(super) struct At<'a> {
    pub(super) pass: usize,
    /// The first cell of the lanes of the first copy.
    pub(super) cell: Value,
    pub(super) copy: usize,
    /// Values of the row, in all lanes.
    pub(super) splats: &'a [Option<Held>],
}

impl Function<'_> {
    pub(super) fn elem_of(&self, value: ValueId) -> Result<Elem, Declined> {
        let instruction = self.kernel.body.get(value.0 as usize);
        instruction
            .map(|instruction| instruction.elem)
            .ok_or_else(|| Declined::new("it reads a value that it lacks"))
    }

    /// The values of the row that a pass reads, in all lanes; constants are made where they are read.
    pub(super) fn splats(
        &self,
        emit: &mut Emit,
        pass: &Pass,
    ) -> Result<Vec<Option<Held>>, Declined> {
        let mut splats = vec![None; self.kernel.body.len()];
        for index in self.schedule.read_in(self.kernel, pass)? {
            let instruction = &self.kernel.body[index];
            if !is_constant(&instruction.op) {
                splats[index] = self.rows[index].map(|held| emit.splat(held));
            }
        }
        Ok(splats)
    }

    pub(super) fn operand(
        &self,
        emit: &mut Emit,
        at: &At,
        values: &[Option<Held>],
        value: ValueId,
    ) -> Result<Held, Declined> {
        self.find(emit, at, values, value)
            .ok_or_else(|| Declined::new("an operand is not there where it is read"))
    }

    pub(super) fn find(
        &self,
        emit: &mut Emit,
        at: &At,
        values: &[Option<Held>],
        value: ValueId,
    ) -> Option<Held> {
        let index = value.0 as usize;
        if let Some(held) = values.get(index).copied().flatten() {
            return Some(held);
        }
        // A constant is made where it is read: it takes no register in between.
        if let Some(held) = constant(emit, &self.kernel.body.get(index)?.op) {
            return Some(held);
        }
        at.splats.get(index).copied().flatten()
    }

    /// The values of the cells at one place.
    pub(super) fn cell_values(
        &self,
        emit: &mut Emit,
        at: &At,
        wanted: &[usize],
    ) -> Result<Vec<Option<Held>>, Declined> {
        let mut values: Vec<Option<Held>> = vec![None; self.kernel.body.len()];
        for &index in wanted {
            values[index] = self.cell_value(emit, at, wanted, &values, index)?;
        }
        Ok(values)
    }

    /// One of them; none of a product that the sum it is part of computes.
    pub(super) fn cell_value(
        &self,
        emit: &mut Emit,
        at: &At,
        wanted: &[usize],
        values: &[Option<Held>],
        index: usize,
    ) -> Result<Option<Held>, Declined> {
        let is_computed = |index: usize| {
            let source = self.schedule.source(self.kernel, at.pass, index);
            wanted.binary_search(&index).is_ok() && source.is_none()
        };
        let instruction = &self.kernel.body[index];
        let is_in_sum = self.sums.get(&index).is_some_and(|&sum| is_computed(sum));
        if is_in_sum && is_computed(index) {
            return Ok(None);
        }
        let source = self.schedule.source(self.kernel, at.pass, index);
        let held = match (&instruction.op, source) {
            (op, Some(place)) => {
                let elem = if let KernelOp::Load(input) = op {
                    self.layout.inputs[*input].elem
                } else {
                    instruction.elem
                };
                let base = self.array(place)?;
                self.load(emit, at, elem, base)
            }
            (KernelOp::Position(_), None) => {
                let first = (at.copy * emit.lanes.count()) as i64;
                let first = emit.builder.ins().iadd_imm_s(at.cell, first);
                emit.positions(first)
            }
            (KernelOp::Shift { value, by, fill }, None) => {
                self.shift(emit, at, values, *value, *by, *fill)?
            }
            (_, None) => self.compute(emit, instruction, &mut |emit, value| {
                self.find(emit, at, values, value)
            })?,
        };
        checked(instruction, held).map(Some)
    }

    pub(super) fn load(&self, emit: &mut Emit, at: &At, elem: Elem, base: Value) -> Held {
        let size = bytes(elem, self.precision);
        let address = self.address(emit, base, at.cell, size);
        let offset = at.copy * emit.lanes.count() * size;
        emit.load(elem, address, offset as i32)
    }

    pub(super) fn address(&self, emit: &mut Emit, base: Value, cell: Value, size: usize) -> Value {
        let power = i64::from(size.trailing_zeros());
        let offset = emit.builder.ins().ishl_imm_u(cell, power);
        emit.builder.ins().iadd(base, offset)
    }

    pub(super) fn store(
        &self,
        emit: &mut Emit,
        at: &At,
        pass: &Pass,
        values: &[Option<Held>],
    ) -> Result<(), Declined> {
        for &(index, home) in &pass.stores {
            let is_scanned = matches!(self.kernel.body[index].op, KernelOp::Scan { .. });
            if is_scanned && self.schedule.homes[index] == Some(home) {
                continue;
            }
            let held = self.operand(emit, at, values, ValueId(index as u32))?;
            let size = bytes(held.elem, self.precision);
            let base = self.array(Place::Kept(home))?;
            let address = self.address(emit, base, at.cell, size);
            let offset = at.copy * emit.lanes.count() * size;
            emit.store(held, address, offset as i32);
        }
        Ok(())
    }

    /// The cell `by` places earlier; vectors are only where that is inside of the row.
    pub(super) fn shift(
        &self,
        emit: &mut Emit,
        at: &At,
        values: &[Option<Held>],
        value: ValueId,
        by: i64,
        fill: ValueId,
    ) -> Result<Held, Declined> {
        let index = value.0 as usize;
        let source = emit.builder.ins().iadd_imm_s(at.cell, by.wrapping_neg());
        let place = self.schedule.source(self.kernel, usize::MAX, index);
        let base = match place.filter(|_| self.schedule.varies[index]) {
            Some(place) => Some(self.array(place)?),
            None if self.schedule.varies[index] => {
                return Err(Declined::new("what is shifted is not in memory"));
            }
            None => None,
        };
        let elem = self.elem_of(value)?;
        let read = |emit: &mut Emit, cell: Value| match base {
            Some(base) => Ok(self.load(emit, &At { cell, ..*at }, elem, base)),
            None => self.operand(emit, at, values, value),
        };
        if emit.lanes.wide {
            return read(emit, source);
        }
        let cells = self.word(emit, frame::CELLS);
        let inside = emit
            .builder
            .ins()
            .icmp(IntCC::UnsignedLessThan, source, cells);
        let zero = emit.builder.ins().iconst(types::I64, 0);
        let safe = emit.builder.ins().select(inside, source, zero);
        let read = read(emit, safe)?;
        let fill = self.operand(emit, at, values, fill)?;
        emit.select(Held::new(Elem::Bool, inside), read, fill)
    }
}
