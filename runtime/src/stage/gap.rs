//! Whether the policy that trains is the policy that sampled: recorded log-probabilities against those computed again.

use rlp_compiler::graph::{DrawArg, Graph, ModelOutput, ModelRef, NodeId, Op};

use super::gradient::Gradient;
use super::host::{StageHost, draw_of};
use super::minibatch::Portion;
use crate::error::Result;
use crate::executor::Executor;

/// The largest difference at a real token between what a rollout of this step recorded and what the first minibatch
/// computed with the same weights; `None` if no output of the clause was recorded.
pub(crate) fn logp_gap(
    host: &StageHost<'_>,
    minibatch: &Executor<'_>,
    gradient: &Gradient,
    portions: &[Portion],
) -> Result<Option<f64>> {
    let graph = minibatch.graph();
    let mut gap = None;
    for (node, computed) in &gradient.outputs {
        let Op::Model {
            model,
            output: ModelOutput::Logp,
        } = graph.op(*node)
        else {
            continue;
        };
        let Some(draw) = draw_by(graph, *node, model) else {
            continue;
        };
        let number = draw_of(graph, draw)?
            .fields
            .iter()
            .position(|(name, _)| name == "logp");
        let Some(recorded) =
            number.and_then(|number| host.records.get(&draw)?.drawn.fields.get(number))
        else {
            continue;
        };
        let dims = &graph.ty(*node).dims;
        let recorded = portions
            .iter()
            .try_fold(recorded.clone(), |value, portion| portion.cut(&value, dims))?;
        let difference = minibatch
            .extents()
            .keep_real((computed - recorded.tensor()?).abs(), dims)?;
        if difference.numel() > 0 {
            gap = gap
                .into_iter()
                .chain([difference.f_max()?.f_double_value(&[])?])
                .reduce(f64::max);
        }
    }
    Ok(gap)
}

/// The draw of this step whose tokens an output reads, if `model` sampled them.
fn draw_by(graph: &Graph, output: NodeId, model: &ModelRef) -> Option<NodeId> {
    let tokens = *graph.operands(output).first()?;
    let draw = *graph.operands(tokens).first()?;
    let Op::Draw(index) = graph.op(draw) else {
        return None;
    };
    let block = graph.draws[*index].block.as_str();
    let sampled = match block {
        "sampler.rollout" => draw,
        // A filter keeps what its record was drawn by.
        "sampler.dynamic" | "sampler.predictive_dynamic" => {
            let record = graph.operands(draw);
            record.into_iter().find_map(|field| {
                let source = *graph.operands(field).first()?;
                matches!(graph.op(source), Op::Draw(index) if graph.draws[*index].block == "sampler.rollout").then_some(source)
            })?
        }
        _ => return None,
    };
    let Op::Draw(index) = graph.op(sampled) else {
        return None;
    };
    let is_policy =
        |(_, arg): &(String, DrawArg)| matches!(arg, DrawArg::Model(policy) if policy == model);
    graph.draws[*index]
        .args
        .iter()
        .any(is_policy)
        .then_some(draw)
}
