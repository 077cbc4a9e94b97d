//! The groups that a filter keeps of one or several draws.

use rlp_compiler::graph::{Draw, Graph, NodeId};
use rlp_compiler::ty::DimId;

use super::args::Args;
use super::host::renew;
use super::rows;
use crate::error::{Fault, Numbers};
use crate::executor::{Drawn, Executor};
use crate::statistics::Statistics;
use crate::tensor::{Device, Kind, Tensor, Value};
use crate::torch::axis;

/// The groups kept so far, in the order drawn.
pub(super) struct Groups<'a> {
    draw: &'a Draw,
    /// The dimension that numbers the groups, before the filter.
    group: DimId,
    pub(super) count: i64,
    /// How many were looked at.
    pub(super) seen: i64,
    /// The operand that holds the scores.
    score: usize,
    /// One a field, in order, and one a mask.
    columns: Vec<Column>,
}

/// One value of the record.
struct Column {
    source: Source,
    /// Its dimensions before the filter, ascending.
    dims: Vec<DimId>,
    /// What was kept, one value a round.
    kept: Vec<Value>,
}

enum Source {
    /// A field: the operand with this index.
    Operand(usize),
    /// The mask of a ragged dimension: which, and the one that replaces it.
    Mask(DimId, DimId),
}

impl<'a> Groups<'a> {
    pub(super) fn new(
        graph: &Graph,
        args: &Args<'a>,
        scored: &[NodeId],
    ) -> Result<Groups<'a>, Fault> {
        let draw = args.draw;
        let record = args.record("scored")?;
        let operand = |name: &str| {
            let found = record
                .iter()
                .find(|(own, _)| own == name)
                .map(|&(_, operand)| operand);
            found.ok_or_else(|| {
                Fault::broken(format!(
                    "what `{}` is given has a field `{name}`",
                    draw.block
                ))
            })
        };
        let mut columns = Vec::new();
        for (name, _) in &draw.fields {
            let operand = operand(name)?;
            let dims = graph.ty(scored[operand]).dims.clone();
            columns.push(Column {
                source: Source::Operand(operand),
                dims,
                kept: Vec::new(),
            });
        }
        for &(old, new) in &draw.renewed {
            if let Some(parents) = &graph.dims.get(old).ragged {
                let mut dims: Vec<DimId> = parents.iter().copied().chain([old]).collect();
                dims.sort_unstable();
                columns.push(Column {
                    source: Source::Mask(old, new),
                    dims,
                    kept: Vec::new(),
                });
            }
        }
        let &(group, _) = draw
            .renewed
            .first()
            .ok_or_else(|| Fault::broken("a filter renews a dimension"))?;
        Ok(Groups {
            draw,
            group,
            count: 0,
            seen: 0,
            score: operand("score")?,
            columns,
        })
    }

    /// Adds the groups of one round whose scores are not all the same.
    pub(super) fn keep_varying(
        &mut self,
        executor: &Executor<'_>,
        operands: &[Value],
    ) -> Result<(), Fault> {
        let is_score = |column: &&Column| matches!(column.source, Source::Operand(operand) if operand == self.score);
        let dims = self
            .columns
            .iter()
            .find(is_score)
            .map(|column| column.dims.as_slice())
            .unwrap_or_default();
        let score = operands[self.score].tensor()?;
        let varying = varying(score, dims, self.group)?;
        self.seen += score.size()[axis::axis(dims, self.group)?];
        self.count += varying.size()[0];
        for column in &mut self.columns {
            let value = match column.source {
                Source::Operand(operand) => operands[operand].clone(),
                Source::Mask(old, _) => executor
                    .extents()
                    .mask(old, executor.context().device)?
                    .into(),
            };
            column
                .kept
                .push(match axis::axis(&column.dims, self.group) {
                    Ok(axis) => rows::select(&value, axis, &varying)?,
                    Err(_) => value,
                });
        }
        Ok(())
    }

    /// The record of the first `wanted` groups, or the fewer that there are.
    pub(super) fn first(self, wanted: i64) -> Result<Drawn, Fault> {
        let index = Tensor::f_arange(self.count.min(wanted), (Kind::Int64, Device::Cpu))?;
        let mut drawn = Drawn {
            fields: Vec::new(),
            masks: Vec::new(),
        };
        for column in self.columns {
            let value = match axis::axis(&column.dims, self.group) {
                Ok(axis) => rows::select(
                    &rows::join(&same_sizes(column.kept, axis)?, axis)?,
                    axis,
                    &index,
                )?,
                // What does not belong to a group is the same in every round.
                Err(_) => column
                    .kept
                    .into_iter()
                    .next()
                    .ok_or_else(|| Fault::broken("there is a first round"))?,
            };
            let value = renew(self.draw, &value, &column.dims)?;
            match column.source {
                Source::Operand(_) => drawn.fields.push(value),
                Source::Mask(_, new) => drawn.masks.push((new, value.tensor()?.shallow_clone())),
            }
        }
        Ok(drawn)
    }
}

/// int64: the groups in which the largest score is not the smallest.
fn varying(score: &Tensor, dims: &[DimId], group: DimId) -> Result<Tensor, Fault> {
    if !score
        .f_isfinite()?
        .f_all()?
        .f_int64_value(&[])
        .is_ok_and(|all| all == 1)
    {
        let found = Statistics::of(score, [], None)?;
        return Err(Fault::not_finite(
            "a score",
            Numbers {
                found: Some(found),
                ..Numbers::default()
            },
        ));
    }
    let axis = axis::axis(dims, group)? as i64;
    let count = score.size()[axis as usize];
    let groups = score.f_movedim_int(axis, 0)?.f_reshape([count, -1])?;
    if groups.size()[1] == 0 {
        return Ok(Tensor::f_empty([0], (Kind::Int64, score.device()))?);
    }
    let varies = groups
        .f_amax([1], false)?
        .f_gt_tensor(&groups.f_amin([1], false)?)?;
    Ok(varies.f_nonzero()?.f_squeeze_dim(1)?)
}

/// Sequences of one round may be longer than those of another.
pub(super) fn same_sizes(rounds: Vec<Value>, but: usize) -> Result<Vec<Value>, Fault> {
    let n_axes = rounds.first().map_or(0, |value| value.shape().len());
    let mut rounds = rounds;
    for axis in (0..n_axes).filter(|&axis| axis != but) {
        let longest = rounds
            .iter()
            .map(|value| value.shape()[axis])
            .max()
            .unwrap_or_default();
        rounds = rounds
            .iter()
            .map(|value| rows::widen(value, axis, longest))
            .collect::<Result<_, _>>()?;
    }
    Ok(rounds)
}
