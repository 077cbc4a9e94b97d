//! Reductions: lanes of a block of cells, which flow into one value of the row or of the chunk in f64.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;

use super::lane::{Emit, Held, Lanes};
use super::slot::{
    EXACT, Slot, State, elem_of, exact, largest, merge_log_sum_exp, one_lane, registers, slots,
};
use crate::codegen::{Declined, Precision};
use crate::graph::Reduction;
use crate::ty::Elem;

/// A reduction in the making.
pub(super) struct Accumulator {
    kind: Reduction,
    elem: Elem,
    slots: &'static [Slot],
    /// Of the row or the chunk.
    state: Vec<Variable>,
    /// Of the block: for each copy of the loop's body, the registers of each slot.
    lanes: Vec<Vec<Vec<Variable>>>,
}

impl Accumulator {
    pub(super) fn new(
        emit: &mut Emit,
        kind: Reduction,
        elem: Elem,
    ) -> Result<Accumulator, Declined> {
        let slots = slots(kind, elem)?;
        let state = slots
            .iter()
            .map(|&slot| emit.builder.declare_var(registers(slot, EXACT).0))
            .collect();
        let accumulator = Accumulator {
            kind,
            elem,
            slots,
            state,
            lanes: Vec::new(),
        };
        emit.with(EXACT, |emit| {
            let neutral = accumulator.neutral(emit);
            accumulator.set_state(emit, &neutral);
        });
        Ok(accumulator)
    }

    /// How many its lanes take in one copy of a loop's body.
    pub(super) fn registers(&self) -> usize {
        self.slots.len()
    }

    /// Begins a block in the lanes of so many copies of a loop's body.
    pub(super) fn begin_block(&mut self, emit: &mut Emit, wide: Lanes, copies: usize) {
        while self.lanes.len() < copies {
            let lanes = self
                .slots
                .iter()
                .map(|&slot| {
                    let (ty, count) = registers(slot, wide);
                    (0..count).map(|_| emit.builder.declare_var(ty)).collect()
                })
                .collect();
            self.lanes.push(lanes);
        }
        emit.with(wide, |emit| {
            let neutral = self.neutral(emit);
            for copy in 0..copies {
                self.set_lanes(emit, copy, &neutral);
            }
        });
    }

    /// Adds the cells of one copy to its lanes.
    pub(super) fn step_lanes(&self, emit: &mut Emit, copy: usize, value: Held, mask: Option<Held>) {
        let own = self.get_lanes(emit, copy);
        let largest = largest(emit);
        let single = self.single(emit, value, mask, largest);
        let merged = self.merge(emit, &own, &single);
        self.set_lanes(emit, copy, &merged);
    }

    /// Adds one cell (or row) to the state.
    pub(super) fn step(&self, emit: &mut Emit, value: Held, mask: Option<Held>) {
        let largest = largest(emit);
        let value = exact(emit, value);
        emit.with(EXACT, |emit| {
            let own = self.get_state(emit);
            let single = self.single(emit, value, mask, largest);
            let merged = self.merge(emit, &own, &single);
            self.set_state(emit, &merged);
        });
    }

    /// Ends a block: its lanes flow into the state.
    pub(super) fn end_block(&self, emit: &mut Emit, wide: Lanes, copies: usize) {
        let lanes = emit.with(wide, |emit| {
            let mut lanes = self.get_lanes(emit, 0);
            for copy in 1..copies {
                let other = self.get_lanes(emit, copy);
                lanes = self.merge(emit, &lanes, &other);
            }
            lanes
        });
        let mut state = emit.with(EXACT, |emit| self.get_state(emit));
        for lane in 0..wide.count() {
            let single: State = self
                .slots
                .iter()
                .zip(&lanes)
                .map(|(&slot, &held)| one_lane(emit, wide, slot, held, lane))
                .collect();
            state = emit.with(EXACT, |emit| self.merge(emit, &state, &single));
        }
        emit.with(EXACT, |emit| self.set_state(emit, &state));
    }

    /// The words of the state, for the driver to combine.
    pub(super) fn words(&self, emit: &mut Emit) -> Vec<Value> {
        let state = self.get_state(emit);
        self.slots
            .iter()
            .zip(state)
            .map(|(slot, held)| match slot {
                Slot::Real | Slot::Int | Slot::Count => held.low,
                Slot::Bool => emit.builder.ins().uextend(types::I64, held.low),
            })
            .collect()
    }

    /// The value of the reduction, for one row.
    pub(super) fn finish(&self, emit: &mut Emit, precision: Precision) -> Held {
        let state = emit.with(EXACT, |emit| {
            let state = self.get_state(emit);
            let first = state[0];
            let non_empty = |emit: &mut Emit| {
                emit.builder
                    .ins()
                    .icmp_imm_s(IntCC::NotEqual, state[1].low, 0)
            };
            match self.kind {
                Reduction::Sum
                | Reduction::Product
                | Reduction::Any
                | Reduction::All
                | Reduction::Count => first,
                Reduction::Mean => {
                    let some = non_empty(emit);
                    let one = emit.builder.ins().iconst(types::I64, 1);
                    let count = emit.builder.ins().select(some, state[1].low, one);
                    let count = emit.builder.ins().fcvt_from_sint(types::F64, count);
                    Held::new(Elem::Real, emit.div(first.low, count))
                }
                Reduction::Max | Reduction::Min => {
                    let some = non_empty(emit);
                    let zero = match first.elem {
                        Elem::Real => Held::new(Elem::Real, emit.real(0.0)),
                        Elem::Int | Elem::Bool | Elem::Text => emit.int(0),
                    };
                    emit.choose_held(some, first, zero)
                }
                Reduction::LogSumExp => {
                    let log = emit.log(state[1].low);
                    Held::new(Elem::Real, emit.add(first.low, log))
                }
            }
        });
        match (state.elem, precision) {
            (Elem::Real, Precision::F32) => Held::new(
                Elem::Real,
                emit.builder.ins().fdemote(types::F32, state.low),
            ),
            (Elem::Real, Precision::F64) | (Elem::Int | Elem::Bool | Elem::Text, _) => state,
        }
    }

    /// The state of nothing.
    fn neutral(&self, emit: &mut Emit) -> State {
        let real = |emit: &mut Emit, x: f64| Held::new(Elem::Real, emit.real(x));
        let first = match (self.kind, self.elem) {
            (Reduction::Count, _) => self.no_count(emit),
            (Reduction::Sum | Reduction::Mean, Elem::Real) => real(emit, 0.0),
            (Reduction::Product, Elem::Real) => real(emit, 1.0),
            (Reduction::Max, Elem::Real) => real(emit, f64::NEG_INFINITY),
            (Reduction::Min, Elem::Real) => real(emit, f64::INFINITY),
            (Reduction::LogSumExp, _) => real(emit, -largest(emit)),
            (Reduction::Product, _) => emit.int(1),
            (Reduction::Max, _) => emit.int(i64::MIN),
            (Reduction::Min, _) => emit.int(i64::MAX),
            (Reduction::Sum | Reduction::Mean, _) => emit.int(0),
            (Reduction::Any, _) => Held::new(Elem::Bool, emit.bool(false)),
            (Reduction::All, _) => Held::new(Elem::Bool, emit.bool(true)),
        };
        let mut state = vec![first];
        match self.slots.get(1) {
            Some(Slot::Count) => state.push(self.no_count(emit)),
            Some(Slot::Real) => state.push(real(emit, 0.0)),
            Some(Slot::Int | Slot::Bool) | None => {}
        }
        state
    }

    fn no_count(&self, emit: &mut Emit) -> Held {
        if emit.lanes.wide {
            Held::new(Elem::Bool, emit.bits(0))
        } else {
            emit.int(0)
        }
    }

    /// The state of one element a lane, of reals that are finite up to `largest`: that is what stands for ∞ in front of an
    /// infinite weight, the same for all, or one would be multiplied by 0 beside another.
    fn single(&self, emit: &mut Emit, value: Held, mask: Option<Held>, largest: f64) -> State {
        let mut state = match self.kind {
            Reduction::Count => Vec::new(),
            Reduction::LogSumExp => {
                let (low, high) = (emit.real(-largest), emit.real(largest));
                let is_below = emit.compare(FloatCC::LessThan, value.low, high);
                let shift = emit.choose(is_below, value.low, high);
                let is_above = emit.compare(FloatCC::GreaterThan, shift, low);
                let shift = emit.choose(is_above, shift, low);
                // 1; 0 for −∞, and ∞ or no number for itself.
                let beyond = emit.sub(value.low, shift);
                let one = emit.real(1.0);
                let weight = emit.add(one, beyond);
                let zero = emit.real(0.0);
                let is_negative = emit.compare(FloatCC::LessThan, weight, zero);
                let weight = emit.choose(is_negative, zero, weight);
                vec![Held::new(Elem::Real, shift), Held::new(Elem::Real, weight)]
            }
            Reduction::Sum
            | Reduction::Mean
            | Reduction::Max
            | Reduction::Min
            | Reduction::Product
            | Reduction::Any
            | Reduction::All => vec![value],
        };
        if let Some(mask) = mask {
            let neutral = self.neutral(emit);
            let sums = matches!(self.kind, Reduction::Sum | Reduction::Mean);
            for (held, neutral) in state.iter_mut().zip(neutral) {
                *held = if sums && held.elem == Elem::Real {
                    Held::new(Elem::Real, emit.keep(mask.low, held.low))
                } else {
                    emit.choose_held(mask.low, *held, neutral)
                };
            }
        }
        if self.slots.last() == Some(&Slot::Count) {
            let claim = match mask {
                Some(mask) => mask.low,
                None => emit.bool(true),
            };
            state.push(if emit.lanes.wide {
                Held::new(Elem::Bool, emit.builder.ins().ineg(claim))
            } else {
                emit.bool_to_int(claim)
            });
        }
        state
    }

    fn merge(&self, emit: &mut Emit, a: &State, b: &State) -> State {
        if self.kind == Reduction::LogSumExp {
            return merge_log_sum_exp(emit, a, b);
        }
        self.slots
            .iter()
            .zip(a.iter().zip(b))
            .map(|(&slot, (&a, &b))| match slot {
                Slot::Count => Held::new(a.elem, emit.builder.ins().iadd(a.low, b.low)),
                Slot::Bool if self.kind == Reduction::Any => {
                    Held::new(Elem::Bool, emit.builder.ins().bor(a.low, b.low))
                }
                Slot::Bool => Held::new(Elem::Bool, emit.builder.ins().band(a.low, b.low)),
                Slot::Real => Held::new(
                    Elem::Real,
                    match self.kind {
                        Reduction::Max => emit.greatest(a.low, b.low, None),
                        Reduction::Min => emit.least(a.low, b.low, None),
                        Reduction::Product => emit.mul(a.low, b.low),
                        Reduction::Sum
                        | Reduction::Mean
                        | Reduction::LogSumExp
                        | Reduction::Any
                        | Reduction::All
                        | Reduction::Count => emit.add(a.low, b.low),
                    },
                ),
                Slot::Int => match self.kind {
                    Reduction::Max | Reduction::Min => {
                        let condition = if self.kind == Reduction::Max {
                            IntCC::SignedGreaterThan
                        } else {
                            IntCC::SignedLessThan
                        };
                        let first = emit.compare_ints(condition, a, b);
                        emit.choose_held(first, a, b)
                    }
                    Reduction::Product => emit.multiply_ints(a, b),
                    Reduction::Sum
                    | Reduction::Mean
                    | Reduction::LogSumExp
                    | Reduction::Any
                    | Reduction::All
                    | Reduction::Count => {
                        emit.ints(a, b, |emit, a, b, _| emit.builder.ins().iadd(a, b))
                    }
                },
            })
            .collect()
    }

    fn get_state(&self, emit: &mut Emit) -> State {
        self.slots
            .iter()
            .zip(&self.state)
            .map(|(&slot, &variable)| {
                Held::new(elem_of(slot, false), emit.builder.use_var(variable))
            })
            .collect()
    }

    fn set_state(&self, emit: &mut Emit, state: &State) {
        for (&variable, held) in self.state.iter().zip(state) {
            emit.builder.def_var(variable, held.low);
        }
    }

    fn get_lanes(&self, emit: &mut Emit, copy: usize) -> State {
        self.slots
            .iter()
            .zip(&self.lanes[copy])
            .map(|(&slot, variables)| {
                let low = emit.builder.use_var(variables[0]);
                let high = match variables.get(1) {
                    Some(&high) => emit.builder.use_var(high),
                    None => low,
                };
                Held {
                    elem: elem_of(slot, true),
                    low,
                    high,
                }
            })
            .collect()
    }

    fn set_lanes(&self, emit: &mut Emit, copy: usize, state: &State) {
        for (variables, held) in self.lanes[copy].iter().zip(state) {
            for (&variable, value) in variables.iter().zip([held.low, held.high]) {
                emit.builder.def_var(variable, value);
            }
        }
    }
}
