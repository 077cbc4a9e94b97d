//! A `train` clause as the loop reads it: what its loss needs, and how its batches are cut.

use std::collections::BTreeSet;
use std::rc::Rc;

use rlp_compiler::graph::{Assertion, Graph, NodeId, Op};
use rlp_compiler::pass::Minibatch;
use rlp_compiler::phase::upstream;
use rlp_compiler::plan::{StagePlan, TrainPlan};
use rlp_compiler::ty::DimId;

use super::fused::Fused;
use super::minibatch::{Portion, Rows};
use crate::asserted;
use crate::error::Result;
use crate::executor::{Executor, Kernels};
use crate::extent::Extents;
use crate::tensor::Value;

/// What does not change while a stage runs.
pub(crate) struct Clause<'p> {
    pub(crate) plan: &'p TrainPlan,
    /// What the loss stands under: known before the update phase (by index in the graph), and on each minibatch.
    pub(crate) asserts: Vec<usize>,
    pub(crate) late_asserts: Vec<&'p Assertion>,
    /// The nodes of earlier phases that the loss reads: computed on the whole batch, then cut.
    pub(crate) given: Vec<NodeId>,
    /// The nodes that are computed on each minibatch.
    pub(crate) late: Vec<NodeId>,
    pub(crate) rows: Vec<Rows>,
    /// The draws that the loss depends on.
    pub(crate) draws: Vec<NodeId>,
    /// The loss and its gradient in kernels, unless libtorch differentiates.
    pub(crate) fused: Option<Fused>,
    /// The dimensions of everything that a minibatch holds, without those that its own nodes make.
    dims: BTreeSet<DimId>,
}

impl<'p> Clause<'p> {
    /// The loss is fused if there are `kernels`.
    pub(crate) fn new(
        stage: &StagePlan,
        graph: &'p Graph,
        plan: &'p TrainPlan,
        kernels: Option<&Rc<Kernels>>,
    ) -> Clause<'p> {
        let asserts = asserted::of(graph, &plan.asserts);
        let conditions = asserts.iter().map(|assertion| assertion.condition);
        let sinks: Vec<NodeId> = conditions.chain([plan.loss]).collect();
        let whole = Minibatch::new(graph, &stage.phases, &sinks);
        let draws = upstream(graph, &sinks)
            .into_iter()
            .filter(|&id| matches!(graph.op(id), Op::Draw(_)))
            .collect();
        let held: Vec<&[DimId]> = whole
            .given
            .iter()
            .chain(&whole.late)
            .map(|&id| graph.ty(id).dims.as_slice())
            .collect();
        let rows: Vec<Rows> = plan
            .batches
            .iter()
            .map(|batch| Rows::new(batch, &held))
            .collect();
        let can_cut = |id: NodeId| rows.iter().all(|rows| rows.can_cut(&graph.ty(id).dims));
        let Minibatch { given, late } = whole.repeat_late(graph, can_cut);
        let held = given
            .iter()
            .chain(&late)
            .map(|&id| graph.ty(id).dims.as_slice());
        let mut dims: BTreeSet<DimId> = held.flat_map(|dims| dims.iter().copied()).collect();
        for &id in &late {
            made(graph.op(id)).iter().for_each(|dim| {
                dims.remove(dim);
            });
        }
        let is_late = |index: &&usize| late.contains(&graph.asserts[**index].condition);
        let (late_asserts, asserts): (Vec<usize>, Vec<usize>) =
            plan.asserts.iter().partition(is_late);
        let late_asserts = asserted::of(graph, &late_asserts);
        let fused = kernels.and_then(|kernels| Fused::new(graph, plan, &given, &late, kernels));
        Clause {
            plan,
            asserts,
            late_asserts,
            fused,
            given,
            late,
            rows,
            draws,
            dims,
        }
    }

    /// An executor for some rows of a batch in which `given` has been computed.
    pub(crate) fn minibatch<'g>(
        &self,
        batch: &Executor<'g>,
        values: &[Value],
        portions: &[Portion],
    ) -> Result<Executor<'g>> {
        let graph = batch.graph();
        let mut minibatch = Executor::new(graph, *batch.context());
        for portion in portions {
            for (dim, size) in portion.sizes() {
                minibatch.give_size(dim, size, format_args!("a minibatch"))?;
            }
        }
        let cut = |value: &Value, dims: &[DimId]| {
            portions
                .iter()
                .try_fold(value.clone(), |value, portion| portion.cut(&value, dims))
        };
        for &dim in &self.dims {
            self.give_extent(&mut minibatch, batch.extents(), dim, &cut)?;
        }
        for (&node, value) in self.given.iter().zip(values) {
            let value = cut(value, &graph.ty(node).dims)?;
            minibatch.give(node, value, format_args!("a value here"))?;
        }
        Ok(minibatch)
    }

    /// What the batch knows of a dimension.
    fn give_extent(
        &self,
        minibatch: &mut Executor<'_>,
        batch: &Extents,
        dim: DimId,
        cut: &impl Fn(&Value, &[DimId]) -> Result<Value, crate::error::Fault>,
    ) -> Result<()> {
        let Some(size) = batch.known_size(dim) else {
            return Ok(());
        };
        let by = format_args!("the batch");
        let device = minibatch.context().device;
        match batch.mask_dims(dim) {
            Some(mask_dims) => {
                let mask = cut(&batch.mask(dim, device)?.into(), mask_dims)?;
                minibatch.give_mask(dim, mask.tensor()?, by)
            }
            None if self.rows.iter().any(|rows| rows.deals(dim)) => {
                // Without a portion, the batch is the minibatch.
                if minibatch.extents().known_size(dim).is_none() {
                    minibatch.give_size(dim, size, by)
                } else {
                    Ok(())
                }
            }
            None => minibatch.give_size(dim, size, by),
        }
    }
}

/// The dimensions that a primitive makes out of others.
fn made(op: &Op) -> Vec<DimId> {
    match op {
        Op::Rename(pairs) => pairs.iter().map(|&(_, new)| new).collect(),
        Op::Stack(dim) => vec![*dim],
        Op::Split { into, .. } => into.clone(),
        Op::Merge { into, .. } => vec![*into],
        Op::Factor { rank, .. } => rank.iter().copied().collect(),
        Op::Literal(_)
        | Op::Input(_)
        | Op::Mask(_)
        | Op::Size(_)
        | Op::Position(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Text(_)
        | Op::Broadcast
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Contract { .. }
        | Op::Scan { .. }
        | Op::Cumsum { .. }
        | Op::Shift { .. }
        | Op::ArgSort { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Solve { .. }
        | Op::StopGrad
        | Op::Grad => Vec::new(),
    }
}
