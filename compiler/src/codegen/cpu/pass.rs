//! One pass over the cells of a row: vectors where they fit, single cells before, between and after them.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;

use super::accumulate::Accumulator;
use super::cell::At;
use super::function::Function;
use super::lane::{Emit, Held, Lanes};
use super::passes::Pass;
use crate::codegen::{Declined, frame};
use crate::kernel::{KernelOp, ValueId};
use crate::ty::Elem;

/// So many cells add up in lanes of the reals' own precision before they go on in f64.
const BLOCK: i64 = 8192;

/// So many of the sixteen vector registers may hold what a loop does not change, and what it reduces to.
const HELD_IN_LOOPS: usize = 12;

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
        if self.has_text() {
            // No vector holds text.
            let at = emit.builder.declare_var(types::I64);
            let (start, end) = self.cells(emit);
            emit.builder.def_var(at, start);
            return self.single_cells(emit, number, pass, &reducing, at, end);
        }
        let wide = Lanes::wide(self.precision);
        // Copies hide latencies, which large bodies have none of; they would only run out of registers.
        let copies = match pass.cost {
            0..=16 => 4,
            17..=96 => 2,
            _ => 1,
        };
        let step = (wide.count() * copies) as i64;
        emit.constants.address = Some(self.word(emit, frame::CONSTANTS));
        let splats = emit.with(wide, |emit| self.splats(emit, pass))?;
        let (low, high) = self.inside(emit, pass);

        let [block, vector, flush, rest, done] = [(); 5].map(|()| emit.builder.create_block());
        let at = emit.builder.declare_var(types::I64);
        let (start, end) = self.cells(emit);
        emit.builder.def_var(at, start);
        let some = emit.builder.ins().icmp(IntCC::SignedLessThan, start, end);
        emit.builder.ins().brif(some, block, &[], done, &[]);

        emit.builder.switch_to_block(block);
        let first = emit.builder.use_var(at);
        let block_end = emit.builder.ins().iadd_imm_s(first, BLOCK);
        let block_end = lesser(emit, block_end, end);
        let last = lesser(emit, block_end, high);
        let last = emit.builder.ins().iadd_imm_s(last, -step);
        for reduction in &reducing {
            if let Some(accumulator) = self.accumulator_mut(reduction.of) {
                accumulator.begin_block(emit, wide, copies);
            }
        }
        if let Some(low) = low {
            let outside = lesser(emit, low, block_end);
            self.single_cells(emit, number, pass, &reducing, at, outside)?;
        }
        let cell = emit.builder.use_var(at);
        let fits = |emit: &mut Emit, cell: Value| {
            let condition = IntCC::SignedLessThanOrEqual;
            emit.builder.ins().icmp(condition, cell, last)
        };
        let some = fits(emit, cell);
        let entry = emit.builder.ins().brif(some, vector, &[], rest, &[]);

        emit.builder.switch_to_block(vector);
        let cell = emit.builder.use_var(at);
        let held = splats.iter().flatten().count() + self.registers(&reducing) * copies;
        emit.constants
            .keep_before(entry, HELD_IN_LOOPS.saturating_sub(held));
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
        emit.constants.keep_no_more();
        let after = emit.builder.ins().iadd_imm_s(cell, step);
        emit.builder.def_var(at, after);
        let more = fits(emit, after);
        emit.builder.ins().brif(more, vector, &[], flush, &[]);

        emit.builder.switch_to_block(flush);
        for reduction in &reducing {
            if let Some(accumulator) = self.accumulator(reduction.of) {
                accumulator.end_block(emit, wide, copies);
            }
        }
        emit.builder.ins().jump(rest, &[]);

        emit.builder.switch_to_block(rest);
        self.single_cells(emit, number, pass, &reducing, at, block_end)?;
        let more = emit
            .builder
            .ins()
            .icmp(IntCC::SignedLessThan, block_end, end);
        emit.builder.ins().brif(more, block, &[], done, &[]);
        emit.builder.switch_to_block(done);
        emit.constants.address = None;
        Ok(())
    }

    fn has_text(&self) -> bool {
        self.kernel.body.iter().any(|it| it.elem == Elem::Text)
    }

    /// The first cell to compute, and the one behind the last.
    fn cells(&self, emit: &mut Emit) -> (Value, Value) {
        let start = self.word(emit, frame::CELL_START);
        (start, self.word(emit, frame::CELL_END))
    }

    /// One cell after the other, until `at` is `end`.
    fn single_cells(
        &self,
        emit: &mut Emit,
        number: usize,
        pass: &Pass,
        reducing: &[Reducing],
        at: Variable,
        end: Value,
    ) -> Result<(), Declined> {
        let [head, single, done] = [(); 3].map(|()| emit.builder.create_block());
        emit.builder.ins().jump(head, &[]);

        emit.builder.switch_to_block(head);
        let cell = emit.builder.use_var(at);
        let more = emit.builder.ins().icmp(IntCC::SignedLessThan, cell, end);
        emit.builder.ins().brif(more, single, &[], done, &[]);

        emit.builder.switch_to_block(single);
        self.single_cell(emit, number, pass, reducing, cell)?;
        let after = emit.builder.ins().iadd_imm_s(cell, 1);
        emit.builder.def_var(at, after);
        emit.builder.ins().jump(head, &[]);

        emit.builder.switch_to_block(done);
        Ok(())
    }

    /// What a pass does with one cell.
    fn single_cell(
        &self,
        emit: &mut Emit,
        number: usize,
        pass: &Pass,
        reducing: &[Reducing],
        cell: Value,
    ) -> Result<(), Declined> {
        let here = At {
            pass: number,
            cell,
            copy: 0,
            splats: &self.rows,
        };
        let values = if self.has_text() {
            self.values_in_branches(emit, &here, pass)?
        } else {
            self.cell_values(emit, &here, &pass.values)?
        };
        self.store(emit, &here, pass, &values)?;
        for reduction in reducing {
            let (value, mask) = self.reduced(emit, &here, reduction, &values)?;
            if let Some(accumulator) = self.accumulator(reduction.of) {
                accumulator.step(emit, value, mask);
            }
        }
        Ok(())
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
            all.push(Reducing {
                of: Of::Total(number),
                value: output.value,
                mask: output.form.mask(),
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

    /// That the lanes of these reductions take.
    fn registers(&self, reducing: &[Reducing]) -> usize {
        let lanes =
            |reduction: &Reducing| self.accumulator(reduction.of).map(Accumulator::registers);
        reducing.iter().filter_map(lanes).sum()
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
        let end = self.word(emit, frame::CELL_END);
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
            let cells = self.word(emit, frame::CELLS);
            let inside = emit.builder.ins().iadd_imm_s(cells, later);
            lesser(emit, inside, end)
        };
        (low, high)
    }
}

fn lesser(emit: &mut Emit, a: Value, b: Value) -> Value {
    let first = emit.builder.ins().icmp(IntCC::SignedLessThan, a, b);
    emit.builder.ins().select(first, a, b)
}
