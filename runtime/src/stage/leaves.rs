//! Trainable tensors in the update phase: leaves of the loss, each with its gradient.

use rlp_compiler::graph::{Graph, ModelRef, NodeId, Op};

use super::clause::Clause;
use super::host::StageHost;
use crate::error::{Fault, Result};
use crate::executor::Executor;
use crate::tensor::Tensor;

/// Gives a minibatch the trainable tensors that a clause updates, as leaves; the nodes with them.
pub(crate) fn give(
    clause: &Clause,
    minibatch: &mut Executor<'_>,
    host: &StageHost<'_>,
) -> Result<Vec<(NodeId, Tensor)>> {
    let graph = minibatch.graph();
    let mut leaves = Vec::new();
    for &node in &clause.plan.outputs {
        let Op::Trainable(tensor) = graph.op(node) else {
            continue;
        };
        let value = host.frozen_tensors.resolve(tensor, &host.world.tensors)?;
        let leaf = value.f_detach()?.f_set_requires_grad(true)?;
        let given = leaf.shallow_clone().into();
        minibatch.give(node, given, format_args!("a trainable tensor"))?;
        leaves.push((node, leaf));
    }
    Ok(leaves)
}

/// The gradient by each trainable tensor of a clause, in its order: the sum over the nodes that read it.
pub(crate) fn gradients(
    clause: &Clause,
    graph: &Graph,
    by_output: &[(NodeId, Tensor)],
) -> Result<Vec<Tensor>, Fault> {
    let of = |&tensor: &usize| {
        let read = by_output.iter().filter(|(node, _)| {
            matches!(graph.op(*node), Op::Trainable(ModelRef { model, frozen: None }) if *model == tensor)
        });
        let mut sum: Option<Tensor> = None;
        for (_, gradient) in read {
            sum = Some(match sum {
                None => gradient.shallow_clone(),
                Some(sum) => sum.f_add(gradient)?,
            });
        }
        sum.ok_or_else(|| Fault::broken("a gradient reaches every tensor that is trained"))
    };
    clause.plan.tensors.iter().map(of).collect()
}
