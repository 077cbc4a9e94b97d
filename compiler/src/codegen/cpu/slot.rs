//! The numbers that a reduction is made of, in lanes and in the state of a row or chunk.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Type, types};

use super::lane::{Emit, Held, Lanes};
use crate::codegen::{Declined, Precision};
use crate::graph::Reduction;
use crate::ty::Elem;

/// One number of a reduction's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::codegen) enum Slot {
    Real,
    Int,
    /// How many elements there were.
    Count,
    Bool,
}

/// The values of the slots.
pub(super) type State = Vec<Held>;

/// The state of a reduction of such elements: a sum and a count for a mean, the largest and Σ exp(x − largest) for a LogSumExp.
pub(in crate::codegen) fn slots(kind: Reduction, elem: Elem) -> Result<&'static [Slot], Declined> {
    match (kind, elem) {
        (Reduction::Sum | Reduction::Product, Elem::Real) => Ok(&[Slot::Real]),
        (Reduction::Sum | Reduction::Product, Elem::Int) => Ok(&[Slot::Int]),
        (Reduction::Mean | Reduction::Max | Reduction::Min, Elem::Real) => {
            Ok(&[Slot::Real, Slot::Count])
        }
        (Reduction::Max | Reduction::Min, Elem::Int) => Ok(&[Slot::Int, Slot::Count]),
        (Reduction::LogSumExp, Elem::Real) => Ok(&[Slot::Real, Slot::Real]),
        (Reduction::Any | Reduction::All, Elem::Bool) => Ok(&[Slot::Bool]),
        (Reduction::Count, _) => Ok(&[Slot::Count]),
        (
            Reduction::Sum
            | Reduction::Product
            | Reduction::Mean
            | Reduction::Max
            | Reduction::Min
            | Reduction::LogSumExp
            | Reduction::Any
            | Reduction::All,
            _,
        ) => Err(Declined::new("a reduction of what it is not defined for")),
    }
}

/// The lanes in which states of a row or a chunk are kept, whatever the precision of the reals.
pub(super) const EXACT: Lanes = Lanes {
    precision: Precision::F64,
    wide: false,
};

/// The registers of a slot in such lanes.
pub(super) fn registers(slot: Slot, lanes: Lanes) -> (Type, usize) {
    match slot {
        Slot::Real => (lanes.real(), 1),
        Slot::Int => (lanes.int(), if lanes.paired() { 2 } else { 1 }),
        // A block has fewer cells than a lane can count.
        Slot::Count if lanes.wide => (lanes.bits(), 1),
        Slot::Count => (types::I64, 1),
        Slot::Bool => (lanes.mask(), 1),
    }
}

/// How a slot is held; counts of lanes are held as bools are, in integers of the width of a real.
pub(super) fn elem_of(slot: Slot, wide: bool) -> Elem {
    match slot {
        Slot::Real => Elem::Real,
        Slot::Int => Elem::Int,
        Slot::Count if wide => Elem::Bool,
        Slot::Count => Elem::Int,
        Slot::Bool => Elem::Bool,
    }
}

/// A cell's value as the state of a row holds it.
pub(super) fn exact(emit: &mut Emit, value: Held) -> Held {
    match (value.elem, emit.lanes.precision) {
        (Elem::Real, Precision::F32) => Held::new(
            Elem::Real,
            emit.builder.ins().fpromote(types::F64, value.low),
        ),
        (Elem::Real, Precision::F64) | (Elem::Int | Elem::Bool | Elem::Text, _) => value,
    }
}

/// One lane of a block's slot, as the state of a row holds it.
pub(super) fn one_lane(emit: &mut Emit, wide: Lanes, slot: Slot, held: Held, lane: usize) -> Held {
    match slot {
        Slot::Count => {
            let count = emit.builder.ins().extractlane(held.low, lane as u8);
            let count = match wide.precision {
                Precision::F32 => emit.builder.ins().uextend(types::I64, count),
                Precision::F64 => count,
            };
            Held::new(Elem::Int, count)
        }
        Slot::Real | Slot::Int | Slot::Bool => {
            let value = emit.with(wide, |emit| emit.lane(held, lane));
            let value = Held::new(held.elem, value);
            emit.with(Lanes::scalar(wide.precision), |emit| exact(emit, value))
        }
    }
}

/// The largest finite real.
pub(super) fn largest(emit: &Emit) -> f64 {
    match emit.lanes.precision {
        Precision::F32 => f64::from(f32::MAX),
        Precision::F64 => f64::MAX,
    }
}

/// Of (m, Σ exp(x − m)), m finite: one of the two sums is rescaled, by exp(−|m − m′|).
pub(super) fn merge_log_sum_exp(emit: &mut Emit, a: &State, b: &State) -> State {
    let [(m, s), (n, t)] = [a, b].map(|state| (state[0].low, state[1].low));
    let first = emit.compare(FloatCC::GreaterThan, m, n);
    let larger = emit.choose(first, m, n);
    let apart = emit.sub(m, n);
    let apart = emit.abs(apart);
    let minus = emit.builder.ins().fneg(apart);
    let scale = emit.exp(minus);
    let kept = emit.choose(first, s, t);
    let scaled = emit.choose(first, t, s);
    let sum = emit.fma(scaled, scale, kept);
    vec![Held::new(Elem::Real, larger), Held::new(Elem::Real, sum)]
}
