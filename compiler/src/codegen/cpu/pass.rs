//! One pass over the cells of a row: vectors where they fit, single cells before, between and after them; and loops that
//! carry values from cell to cell.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;

use super::accumulate::Accumulator;
use super::function::{Function, checked, constant};
use super::lane::{Emit, Held, Lanes, bytes};
use super::schedule::Pass;
use crate::codegen::{Declined, frame};
use crate::kernel::{Form, KernelOp, ValueId};
use crate::ty::Elem;

/// So many cells add up in lanes of the reals' own precision before they go on in f64.
const BLOCK: i64 = 8192;

/// One reduction of a pass: who it is of, and what it reads.
struct Reducing {
    of: Of,
    value: ValueId,
    mask: Option<ValueId>,
}

#[derive(Clone, Copy)]
enum Of {
    /// The `Reduce` instruction with this index.
    Row(usize),
    /// The output with this index.
    Total(usize),
}

/// Where a loop stands.
struct At<'a> {
    pass: usize,
    /// The first cell of the lanes of the first copy.
    cell: Value,
    copy: usize,
    /// Values of the row, in all lanes.
    splats: &'a [Option<Held>],
}

impl Function<'_> {
    pub(super) fn cell_loop(
        &mut self,
        emit: &mut Emit,
        number: usize,
        pass: &Pass,
    ) -> Result<(), Declined> {
        if pass.stores.is_empty() && pass.reduces.is_empty() && pass.totals.is_empty() {
            return Ok(());
        }
        let reducing = self.reducing(emit, pass)?;
        let wide = Lanes::wide(self.precision);
        let copies = match pass.values.len() {
            0..=16 => 4,
            17..=96 => 2,
            _ => 1,
        };
        let step = (wide.count() * copies) as i64;
        // No vector holds text: then each cell is computed by itself.
        let has_vectors = !self.has_text();
        let splats = if has_vectors {
            emit.with(wide, |emit| self.splats(emit))
        } else {
            Vec::new()
        };
        let (start, end) = (self.word(frame::CELL_START), self.word(frame::CELL_END));
        let (low, high) = self.inside(emit, pass);

        let [block, head, rest, single, flush, next, done] =
            [(); 7].map(|()| emit.builder.create_block());
        let at = emit.builder.declare_var(types::I64);
        emit.builder.def_var(at, start);
        let some = emit.builder.ins().icmp(IntCC::SignedLessThan, start, end);
        emit.builder.ins().brif(some, block, &[], done, &[]);

        emit.builder.switch_to_block(block);
        let first = emit.builder.use_var(at);
        let block_end = emit.builder.ins().iadd_imm_s(first, BLOCK);
        let block_end = lesser(emit, block_end, end);
        let last = lesser(emit, block_end, high);
        let last = emit.builder.ins().iadd_imm_s(last, -step);
        if has_vectors {
            for reduction in &reducing {
                if let Some(accumulator) = self.accumulator_mut(reduction.of) {
                    accumulator.begin_block(emit, wide, copies);
                }
            }
        }
        emit.builder.ins().jump(head, &[]);

        emit.builder.switch_to_block(head);
        let cell = emit.builder.use_var(at);
        if has_vectors {
            let vector = emit.builder.create_block();
            let fits = emit
                .builder
                .ins()
                .icmp(IntCC::SignedLessThanOrEqual, cell, last);
            let fits = match low {
                None => fits,
                Some(low) => {
                    let inside =
                        emit.builder
                            .ins()
                            .icmp(IntCC::SignedGreaterThanOrEqual, cell, low);
                    emit.builder.ins().band(fits, inside)
                }
            };
            emit.builder.ins().brif(fits, vector, &[], rest, &[]);

            emit.builder.switch_to_block(vector);
            emit.with(wide, |emit| {
                for copy in 0..copies {
                    let at = At {
                        pass: number,
                        cell,
                        copy,
                        splats: &splats,
                    };
                    let values = self.cell_values(emit, &at, &pass.values)?;
                    self.store(emit, &at, pass, &values)?;
                    for reduction in &reducing {
                        let (value, mask) = self.reduced(emit, &at, reduction, &values)?;
                        if let Some(accumulator) = self.accumulator(reduction.of) {
                            accumulator.step_lanes(emit, copy, value, mask);
                        }
                    }
                }
                Ok::<(), Declined>(())
            })?;
            let after = emit.builder.ins().iadd_imm_s(cell, step);
            emit.builder.def_var(at, after);
            emit.builder.ins().jump(head, &[]);
        } else {
            emit.builder.ins().jump(rest, &[]);
        }

        emit.builder.switch_to_block(rest);
        let more = emit
            .builder
            .ins()
            .icmp(IntCC::SignedLessThan, cell, block_end);
        emit.builder.ins().brif(more, single, &[], flush, &[]);

        emit.builder.switch_to_block(single);
        let here = At {
            pass: number,
            cell,
            copy: 0,
            splats: &self.rows,
        };
        let values = self.cell_values(emit, &here, &pass.values)?;
        self.store(emit, &here, pass, &values)?;
        for reduction in &reducing {
            let (value, mask) = self.reduced(emit, &here, reduction, &values)?;
            if let Some(accumulator) = self.accumulator(reduction.of) {
                accumulator.step(emit, value, mask);
            }
        }
        let after = emit.builder.ins().iadd_imm_s(cell, 1);
        emit.builder.def_var(at, after);
        emit.builder.ins().jump(head, &[]);

        emit.builder.switch_to_block(flush);
        if has_vectors {
            let merge = emit.builder.create_block();
            let length = emit.builder.ins().isub(block_end, first);
            let had_vectors =
                emit.builder
                    .ins()
                    .icmp_imm_s(IntCC::SignedGreaterThanOrEqual, length, step);
            emit.builder.ins().brif(had_vectors, merge, &[], next, &[]);
            emit.builder.switch_to_block(merge);
            for reduction in &reducing {
                if let Some(accumulator) = self.accumulator(reduction.of) {
                    accumulator.end_block(emit, wide, copies);
                }
            }
        }
        emit.builder.ins().jump(next, &[]);
        emit.builder.switch_to_block(next);
        let more = emit
            .builder
            .ins()
            .icmp(IntCC::SignedLessThan, block_end, end);
        emit.builder.ins().brif(more, block, &[], done, &[]);
        emit.builder.switch_to_block(done);
        Ok(())
    }

    fn has_text(&self) -> bool {
        self.kernel.body.iter().any(|it| it.elem == Elem::Text)
    }

    /// The reductions of a pass, begun.
    fn reducing(&mut self, emit: &mut Emit, pass: &Pass) -> Result<Vec<Reducing>, Declined> {
        let mut all = Vec::new();
        for &index in &pass.reduces {
            if let KernelOp::Reduce { kind, value, mask } = &self.kernel.body[index].op {
                let elem = self.elem_of(*value)?;
                let accumulator = Accumulator::new(emit, *kind, elem)?;
                self.reductions.insert(index, accumulator);
                all.push(Reducing {
                    of: Of::Row(index),
                    value: *value,
                    mask: *mask,
                });
            }
        }
        for &number in &pass.totals {
            let output = &self.kernel.outputs[number];
            let mask = match &output.form {
                Form::Total { mask, .. } => *mask,
                Form::Cells | Form::Rows => None,
            };
            all.push(Reducing {
                of: Of::Total(number),
                value: output.value,
                mask,
            });
        }
        for reduction in &all {
            if let Some(mask) = reduction.mask
                && self.elem_of(mask)? != Elem::Bool
            {
                return Err(Declined::new("a mask is not a bool"));
            }
        }
        Ok(all)
    }

    fn elem_of(&self, value: ValueId) -> Result<Elem, Declined> {
        let instruction = self.kernel.body.get(value.0 as usize);
        instruction
            .map(|instruction| instruction.elem)
            .ok_or_else(|| Declined::new("it reads a value that it lacks"))
    }

    fn accumulator(&self, of: Of) -> Option<&Accumulator> {
        match of {
            Of::Row(index) => self.reductions.get(&index),
            Of::Total(number) => self.totals[number].as_ref(),
        }
    }

    fn accumulator_mut(&mut self, of: Of) -> Option<&mut Accumulator> {
        match of {
            Of::Row(index) => self.reductions.get_mut(&index),
            Of::Total(number) => self.totals[number].as_mut(),
        }
    }

    /// The value that is reduced; where only positions count, anything.
    fn reduced(
        &self,
        emit: &mut Emit,
        at: &At,
        reduction: &Reducing,
        values: &[Option<Held>],
    ) -> Result<(Held, Option<Held>), Declined> {
        let value = self.operand(emit, at, values, reduction.value)?;
        let mask = match reduction.mask {
            Some(mask) => Some(self.operand(emit, at, values, mask)?),
            None => None,
        };
        Ok((value, mask))
    }

    /// The cells where every shift of the pass reads inside of the row: from the first, if it is not that of the loop, to the second.
    fn inside(&self, emit: &mut Emit, pass: &Pass) -> (Option<Value>, Value) {
        let end = self.word(frame::CELL_END);
        let (mut earlier, mut later) = (0, 0);
        for &index in &pass.values {
            if let KernelOp::Shift { by, .. } = self.kernel.body[index].op {
                // No row is so long; what follows cannot overflow.
                let by = by.clamp(-(1 << 60), 1 << 60);
                earlier = by.max(earlier);
                later = by.min(later);
            }
        }
        let low = (earlier > 0).then(|| emit.builder.ins().iconst(types::I64, earlier));
        let high = if later == 0 {
            end
        } else {
            let inside = emit
                .builder
                .ins()
                .iadd_imm_s(self.word(frame::CELLS), later);
            lesser(emit, inside, end)
        };
        (low, high)
    }

    /// The values of the row in all lanes. Those that the loop does not read cost nothing: Cranelift drops them.
    fn splats(&self, emit: &mut Emit) -> Vec<Option<Held>> {
        let rows = self.rows.iter().zip(&self.kernel.body);
        rows.map(
            |(held, instruction)| match constant(emit, &instruction.op) {
                Some(constant) => Some(constant),
                None => held.map(|held| emit.splat(held)),
            },
        )
        .collect()
    }

    fn operand(
        &self,
        emit: &mut Emit,
        at: &At,
        values: &[Option<Held>],
        value: ValueId,
    ) -> Result<Held, Declined> {
        self.find(emit, at, values, value)
            .ok_or_else(|| Declined::new("an operand is not there where it is read"))
    }

    fn find(
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
    fn cell_values(
        &self,
        emit: &mut Emit,
        at: &At,
        wanted: &[usize],
    ) -> Result<Vec<Option<Held>>, Declined> {
        let mut values: Vec<Option<Held>> = vec![None; self.kernel.body.len()];
        for &index in wanted {
            let instruction = &self.kernel.body[index];
            let is_kept = self.schedule.stage[index] < at.pass
                || matches!(instruction.op, KernelOp::Scan { .. });
            let home = self.schedule.homes[index].filter(|_| is_kept);
            let held = match (&instruction.op, home) {
                (KernelOp::Load(input), _) => {
                    let elem = self.layout.inputs[*input].elem;
                    self.load(emit, at, elem, self.inputs[*input])
                }
                (_, Some(home)) => {
                    let base = self.home(emit, home);
                    self.load(emit, at, instruction.elem, base)
                }
                (KernelOp::Position(_), None) => {
                    let first = (at.copy * emit.lanes.count()) as i64;
                    let first = emit.builder.ins().iadd_imm_s(at.cell, first);
                    emit.positions(first)
                }
                (KernelOp::Shift { value, by, fill }, None) => {
                    self.shift(emit, at, &values, *value, *by, *fill)?
                }
                (_, None) => self.compute(emit, instruction, &mut |emit, value| {
                    self.find(emit, at, &values, value)
                })?,
            };
            values[index] = Some(checked(instruction, held)?);
        }
        Ok(values)
    }

    fn load(&self, emit: &mut Emit, at: &At, elem: Elem, base: Value) -> Held {
        let size = bytes(elem, self.precision);
        let address = self.address(emit, base, at.cell, size);
        let offset = at.copy * emit.lanes.count() * size;
        emit.load(elem, address, offset as i32)
    }

    fn address(&self, emit: &mut Emit, base: Value, cell: Value, size: usize) -> Value {
        let power = i64::from(size.trailing_zeros());
        let offset = emit.builder.ins().ishl_imm_u(cell, power);
        emit.builder.ins().iadd(base, offset)
    }

    fn store(
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
            let base = self.home(emit, home);
            let address = self.address(emit, base, at.cell, size);
            let offset = at.copy * emit.lanes.count() * size;
            emit.store(held, address, offset as i32);
        }
        Ok(())
    }

    /// The cell `by` places earlier; vectors are only where that is inside of the row.
    fn shift(
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
        let base = match &self.kernel.body[index].op {
            KernelOp::Load(input) if self.schedule.varies[index] => Some(self.inputs[*input]),
            _ if !self.schedule.varies[index] => None,
            _ => match self.schedule.homes[index] {
                Some(home) => Some(self.home(emit, home)),
                None => return Err(Declined::new("what is shifted is not in memory")),
            },
        };
        let elem = self.elem_of(value)?;
        let read = |emit: &mut Emit, cell: Value| match base {
            Some(base) => Ok(self.load(emit, &At { cell, ..*at }, elem, base)),
            None => self.operand(emit, at, values, value),
        };
        if emit.lanes.wide {
            return read(emit, source);
        }
        let cells = self.word(frame::CELLS);
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
            let held = self.row_operand(emit, initial)?;
            let ty = emit.builder.func.dfg.value_type(held.low);
            let carry = emit.builder.declare_var(ty);
            emit.builder.def_var(carry, held.low);
            carries.push(carry);
        }
        let cells = self.word(frame::CELLS);
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
            match &instruction.op {
                KernelOp::Scan { scan: own, part } if *own == scan && self.schedule.live[index] => {
                    let held = next
                        .get(*part)
                        .ok_or_else(|| Declined::new("a scan lacks a carry"))?;
                    let held = checked(instruction, *held)?;
                    if let Some(home) = self.schedule.homes[index] {
                        let base = self.home(emit, home);
                        let size = bytes(held.elem, self.precision);
                        let address = self.address(emit, base, cell, size);
                        emit.store(held, address, 0);
                    }
                }
                KernelOp::Scan { .. }
                | KernelOp::Load(_)
                | KernelOp::Real(_)
                | KernelOp::Int(_)
                | KernelOp::Bool(_)
                | KernelOp::TextValue(_)
                | KernelOp::Position(_)
                | KernelOp::Unary(..)
                | KernelOp::Binary(..)
                | KernelOp::Select(..)
                | KernelOp::Cast(_)
                | KernelOp::Text(..)
                | KernelOp::Reduce { .. }
                | KernelOp::Shift { .. }
                | KernelOp::Carry { .. } => {}
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
            let held = match &instruction.op {
                KernelOp::Carry { part } => *held_carries
                    .get(*part)
                    .ok_or_else(|| Declined::new("a scan lacks a carry"))?,
                _ => self.compute(emit, instruction, &mut |emit, value| {
                    self.find(emit, at, &values, value)
                })?,
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

fn lesser(emit: &mut Emit, a: Value, b: Value) -> Value {
    let first = emit.builder.ins().icmp(IntCC::SignedLessThan, a, b);
    emit.builder.ins().select(first, a, b)
}
