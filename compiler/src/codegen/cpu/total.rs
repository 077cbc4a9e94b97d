//! Totals: the states that chunks leave, combined in their order.

use super::slot::{Slot, slots};
use crate::codegen::Declined;
use crate::graph::Reduction;
use crate::ty::Elem;

pub(in crate::codegen) struct Total {
    kind: Reduction,
    slots: &'static [Slot],
}

/// The element of a total.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::codegen) enum Element {
    Real(f64),
    Int(i64),
    Bool(bool),
}

impl Total {
    pub(super) fn new(kind: Reduction, elem: Elem) -> Result<Total, Declined> {
        let slots = slots(kind, elem)?;
        Ok(Total { kind, slots })
    }

    /// How many words a chunk leaves.
    pub(in crate::codegen) fn words(&self) -> usize {
        self.slots.len()
    }

    /// Of the words of all chunks.
    pub(in crate::codegen) fn combine<'a>(
        &self,
        chunks: impl Iterator<Item = &'a [u64]>,
    ) -> Element {
        match self.slots[0] {
            Slot::Real => Element::Real(self.real(chunks)),
            Slot::Int => Element::Int(self.int(chunks)),
            Slot::Count => {
                Element::Int(chunks.fold(0, |count, words| count.wrapping_add(words[0] as i64)))
            }
            Slot::Bool => Element::Bool(if self.kind == Reduction::Any {
                chunks.fold(false, |any, words| any | (words[0] != 0))
            } else {
                chunks.fold(true, |all, words| all & (words[0] != 0))
            }),
        }
    }

    fn real<'a>(&self, chunks: impl Iterator<Item = &'a [u64]>) -> f64 {
        let first = |words: &[u64]| f64::from_bits(words[0]);
        let extreme = |chunks: &mut dyn Iterator<Item = &'a [u64]>,
                       better: fn(f64, f64) -> bool| {
            let filled = chunks.filter(|words| words[1] > 0).map(first);
            let best = |a: f64, b: f64| if a.is_nan() || better(a, b) { a } else { b };
            filled.reduce(best).unwrap_or(0.0)
        };
        let mut chunks = chunks;
        match self.kind {
            Reduction::Product => chunks.map(first).product(),
            Reduction::Max => extreme(&mut chunks, |a, b| a >= b),
            Reduction::Min => extreme(&mut chunks, |a, b| a <= b),
            Reduction::Mean => {
                let (sum, count) = chunks.fold((0.0, 0u64), |(sum, count), words| {
                    (sum + first(words), count + words[1])
                });
                sum / count.max(1) as f64
            }
            Reduction::LogSumExp => {
                let (largest, sum) = chunks.fold((-f64::MAX, 0.0), |(m, s), words| {
                    let (n, t) = (first(words), f64::from_bits(words[1]));
                    if m > n {
                        (m, s + t * (n - m).exp())
                    } else {
                        (n, t + s * (m - n).exp())
                    }
                });
                largest + sum.ln()
            }
            Reduction::Sum | Reduction::Any | Reduction::All | Reduction::Count => {
                chunks.map(first).sum()
            }
        }
    }

    fn int<'a>(&self, chunks: impl Iterator<Item = &'a [u64]>) -> i64 {
        match self.kind {
            Reduction::Product => chunks.fold(1, |acc, words| acc.wrapping_mul(words[0] as i64)),
            Reduction::Max | Reduction::Min => {
                let filled = chunks
                    .filter(|words| words[1] > 0)
                    .map(|words| words[0] as i64);
                let best = if self.kind == Reduction::Max {
                    filled.max()
                } else {
                    filled.min()
                };
                best.unwrap_or(0)
            }
            Reduction::Sum
            | Reduction::Mean
            | Reduction::LogSumExp
            | Reduction::Any
            | Reduction::All
            | Reduction::Count => chunks.fold(0, |acc, words| acc.wrapping_add(words[0] as i64)),
        }
    }
}
