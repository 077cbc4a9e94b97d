//! How a batch is dealt out in minibatches, and what that makes of its values.
//!
//! Rows numbered by several dimensions, as `[prompt, sample]`, are dealt out one by one where the loss allows it. A
//! minibatch of n rows then has the sizes `[prompt = n, sample = 1]`: the first dimension carries the rows, and values
//! that have only `prompt` are repeated for each of them.

use rlp_compiler::plan::BatchPlan;
use rlp_compiler::ty::DimId;

use super::rows;
use crate::error::Fault;
use crate::extent::Extents;
use crate::random::Stream;
use crate::tensor::{Tensor, Value};
use crate::torch::axis;

/// The dimensions along which one batch is cut.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Rows {
    /// The dimensions that number the rows, ascending.
    rows: Vec<DimId>,
    /// Those of them that are dealt out; the first of `order` carries the rows of a minibatch.
    dealt: Vec<DimId>,
    order: Vec<DimId>,
}

/// Some rows of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Portion {
    rows: Rows,
    /// Sizes of the dealt dimensions in the whole batch.
    sizes: Vec<i64>,
    /// Row-major positions over the dealt dimensions.
    units: Vec<i64>,
}

impl Rows {
    /// The most that may be dealt out one by one. `held` are the dimensions of each value that a minibatch holds: a
    /// value with a dealt dimension must have the one that carries the rows.
    pub(crate) fn new(batch: &BatchPlan, held: &[&[DimId]]) -> Rows {
        let mut dealt = axis::without(&batch.rows, &batch.together);
        loop {
            let is_carrier = |dim: &DimId| {
                held.iter().all(|dims| {
                    dims.contains(dim) || !dealt.iter().any(|other| dims.contains(other))
                })
            };
            match dealt.iter().copied().find(is_carrier) {
                Some(carrier) => {
                    let mut order = vec![carrier];
                    order.extend(axis::without(&dealt, &[carrier]));
                    return Rows {
                        rows: batch.rows.clone(),
                        dealt,
                        order,
                    };
                }
                None if dealt.is_empty() => {
                    return Rows {
                        rows: batch.rows.clone(),
                        dealt,
                        order: Vec::new(),
                    };
                }
                None => {
                    dealt.pop();
                }
            }
        }
    }

    /// Whether a dimension has other sizes in a minibatch than in the batch.
    pub(crate) fn deals(&self, dim: DimId) -> bool {
        self.dealt.contains(&dim)
    }

    /// Whether a value over these dimensions can be cut: if it has any that are dealt out, it has the one that carries the rows.
    pub(crate) fn can_cut(&self, dims: &[DimId]) -> bool {
        let is_dealt = dims.iter().any(|&dim| self.deals(dim));
        !is_dealt
            || self
                .order
                .first()
                .is_some_and(|carrier| dims.contains(carrier))
    }

    /// What is dealt out at once: a row, or a group of rows that stay together. Their number, and the rows of each.
    fn units(&self, extents: &Extents) -> Result<(usize, usize), Fault> {
        let count = |dims: &[DimId]| {
            extents
                .sizes(dims)
                .map(|sizes| sizes.iter().product::<i64>() as usize)
        };
        Ok((
            count(&self.dealt)?,
            count(&axis::without(&self.rows, &self.dealt))?,
        ))
    }
}

/// How many minibatches of `minibatch` rows the batches make; all are cut into the same number.
pub(crate) fn count(
    batches: &[Rows],
    extents: &Extents,
    minibatch: Option<u64>,
) -> Result<usize, Fault> {
    let Some(minibatch) = minibatch else {
        return Ok(1);
    };
    let (mut most, mut limit) = (1, usize::MAX);
    for batch in batches {
        let (units, size) = batch.units(extents)?;
        most = most.max(units.div_ceil(portion_size(minibatch, size)));
        limit = limit.min(units.max(1));
    }
    Ok(most.min(limit))
}

fn portion_size(minibatch: u64, rows_of_unit: usize) -> usize {
    (minibatch as usize / rows_of_unit.max(1)).max(1)
}

/// For each minibatch, the portions of the batches; none where the whole batch is one minibatch, in its own order.
/// The last one may be smaller. Batch b is shuffled by `stream.at(b)`.
pub(crate) fn deal(
    batches: &[Rows],
    extents: &Extents,
    minibatch: Option<u64>,
    stream: Stream,
) -> Result<Vec<Vec<Portion>>, Fault> {
    let n_minibatches = count(batches, extents, minibatch)?;
    let mut dealt: Vec<Vec<Portion>> = vec![Vec::new(); n_minibatches];
    let (2.., Some(minibatch)) = (n_minibatches, minibatch) else {
        return Ok(dealt);
    };
    for (index, batch) in batches.iter().enumerate() {
        let (units, size) = batch.units(extents)?;
        let order = stream.at(index as u64).permutation(units as u64);
        let portion = portion_size(minibatch, size);
        let is_even = units.div_ceil(portion) != n_minibatches;
        for (number, portions) in dealt.iter_mut().enumerate() {
            // A batch that would make fewer minibatches than another is cut into equal parts.
            let end = |number: usize| {
                if is_even {
                    units * number / n_minibatches
                } else {
                    units.min(portion * number)
                }
            };
            let units = order[end(number)..end(number + 1)]
                .iter()
                .map(|&unit| unit as i64)
                .collect();
            portions.push(Portion {
                rows: batch.clone(),
                sizes: extents.sizes(&batch.dealt)?,
                units,
            });
        }
    }
    Ok(dealt)
}

impl Portion {
    /// The sizes of the dealt dimensions.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (DimId, i64)> {
        let rows = self.units.len() as i64;
        self.rows
            .order
            .iter()
            .enumerate()
            .map(move |(place, &dim)| (dim, if place == 0 { rows } else { 1 }))
    }

    /// The part of a value over `dims` that belongs to these rows.
    pub(crate) fn cut(&self, value: &Value, dims: &[DimId]) -> Result<Value, Fault> {
        let own = axis::common(dims, &self.rows.dealt);
        if own.is_empty() {
            return Ok(value.clone());
        }
        let others = axis::without(dims, &own);
        let index = self.positions(&own);
        rows::rearrange(value, |tensor| {
            let rows_first: Vec<DimId> = own.iter().chain(&others).copied().collect();
            let tensor = axis::arrange(tensor, dims, &rows_first)?;
            let tail = &tensor.size()[own.len()..];
            let flat = tensor.f_reshape([&[-1], tail].concat())?;
            let rows =
                flat.f_index_select(0, &Tensor::from_slice(&index).to_device(flat.device()))?;
            let carried: Vec<DimId> = axis::common(&self.rows.order, &own)
                .into_iter()
                .chain(others.clone())
                .collect();
            let mut shape = vec![index.len() as i64];
            shape.resize(own.len(), 1);
            axis::arrange(&rows.f_reshape([&shape, tail].concat())?, &carried, dims)
        })
    }

    /// Row-major positions of the rows over some of the dealt dimensions.
    fn positions(&self, own: &[DimId]) -> Vec<i64> {
        let position = |&unit: &i64| {
            let (mut rest, mut position, mut stride) = (unit, 0, 1);
            for (&dim, &size) in self.rows.dealt.iter().zip(&self.sizes).rev() {
                if own.contains(&dim) {
                    position += rest % size * stride;
                    stride *= size;
                }
                rest /= size;
            }
            position
        };
        self.units.iter().map(position).collect()
    }
}
