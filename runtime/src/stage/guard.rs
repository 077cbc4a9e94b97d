//! Where a number that is not finite came from.

use rlp_compiler::graph::{Graph, ModelOutput, NodeId};
use rlp_compiler::phase::live;

use super::clause::Clause;
use super::host::StageHost;
use crate::asserted;
use crate::error::{Fault, Numbers, Origin, Result, RunError};
use crate::executor::Executor;
use crate::statistics::Statistics;
use crate::tensor::{Tensor, gradients};

/// `what` is not finite, at a node.
pub(crate) fn not_finite(what: &str, numbers: Numbers, graph: &Graph, node: NodeId) -> RunError {
    RunError::from(Fault::not_finite(what, numbers)).at(graph, node)
}

/// The gradients that enter a model.
pub(crate) fn entering(upstream: &[(ModelOutput, Tensor)]) -> Result<Numbers, Fault> {
    let own = |(output, gradient): &(ModelOutput, Tensor)| {
        let name = match output {
            ModelOutput::Logp => "logp",
            ModelOutput::Entropy => "entropy",
            ModelOutput::Value => "value",
            ModelOutput::Logits => "logits",
        };
        let name = format!("the gradient by `{name}`");
        Ok((Origin::Name(name), Statistics::of(gradient, [], None)?))
    };
    Ok(Numbers {
        found: None,
        from: upstream.iter().map(own).collect::<Result<_, Fault>>()?,
    })
}

pub(crate) fn all_finite(tensors: &[Tensor]) -> Result<bool, Fault> {
    for tensor in tensors {
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Checks what the loss asserts of values that are known on a minibatch only. The error names a place in the whole batch.
pub(crate) fn asserted(
    clause: &Clause,
    minibatch: &Executor<'_>,
    host: &mut StageHost<'_>,
) -> Result<()> {
    let on_minibatch = asserted::check(&clause.late_asserts, &mut minibatch.clone(), host);
    if on_minibatch.is_err() {
        host.forget_passes();
        let mut batch = host.batch(minibatch.graph(), *minibatch.context())?;
        asserted::check(&clause.late_asserts, &mut batch, host)?;
    }
    on_minibatch
}

/// The error of a loss that is not finite: the first value on the way to it that is not.
pub(crate) fn loss_not_finite(
    clause: &Clause,
    minibatch: &Executor<'_>,
    host: &mut StageHost<'_>,
) -> Result<RunError> {
    let graph = minibatch.graph();
    let what = "a value here";
    let first = minibatch
        .first_not_finite(&[clause.plan.loss], host)?
        .unwrap_or(clause.plan.loss);
    if clause.given.contains(&first) {
        // What the minibatch was given has a history on the whole batch.
        host.forget_passes();
        let batch = host.batch(graph, *minibatch.context())?;
        let first = batch.first_not_finite(&[first], host)?.unwrap_or(first);
        return Ok(not_finite(what, batch.numbers(first, host)?, graph, first));
    }
    let numbers = minibatch.numbers(first, host)?;
    Ok(not_finite(what, numbers, graph, first))
}

/// The error of a finite loss whose gradient is not finite: the primitive whose own gradient is finite, but not that of
/// its operand. `minibatch` holds the outputs of the models as leaves.
pub(crate) fn gradient_not_finite(
    clause: &Clause,
    minibatch: &Executor<'_>,
    host: &mut StageHost<'_>,
) -> Result<RunError> {
    let graph = minibatch.graph();
    let loss = clause.plan.loss;
    let nodes: Vec<NodeId> = live(graph, loss)
        .into_iter()
        .filter(|id| clause.late.contains(id))
        .collect();
    let values = minibatch.clone().evaluate(&nodes, host)?;
    let mut traced: Vec<(NodeId, Tensor)> = Vec::new();
    for (&node, value) in nodes.iter().zip(&values) {
        let value = value.tensor()?;
        if value.requires_grad() {
            traced.push((node, value.shallow_clone()));
        }
    }
    let result = traced
        .iter()
        .find(|(node, _)| *node == loss)
        .map(|(_, value)| value.shallow_clone());
    let result = result.ok_or_else(|| Fault::broken("a loss has a gradient"))?;
    let by_node = gradients(
        &result,
        &traced.iter().map(|(_, value)| value).collect::<Vec<_>>(),
        false,
    )?;
    let through = |node: NodeId, host: &mut StageHost<'_>| {
        let numbers = minibatch.numbers(node, host)?;
        Ok(not_finite(
            "the gradient through this",
            numbers,
            graph,
            node,
        ))
    };
    // The latest: the gradients of all that read it are finite.
    for ((node, _), gradient) in traced.iter().zip(by_node).rev() {
        let gradient = minibatch
            .extents()
            .keep_real(gradient, &graph.ty(*node).dims)?;
        if !all_finite(&[gradient])? {
            let reader = graph
                .users(*node)
                .into_iter()
                .find(|user| nodes.contains(user));
            return through(reader.unwrap_or(*node), host);
        }
    }
    through(loss, host)
}
