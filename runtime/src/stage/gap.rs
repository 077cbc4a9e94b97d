//! Whether the policy that trains is the policy that sampled: recorded log-probabilities against those computed again.

use rlp_compiler::graph::{DrawArg, Graph, ModelOutput, ModelRef, NodeId, Op};

use super::gradient::Gradient;
use super::host::{StageHost, draw_of};
use super::minibatch::Portion;
use crate::error::Result;
use crate::executor::Executor;
use crate::tensor::Kind;

/// Between what a rollout of this step recorded and what a minibatch computed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Gap {
    /// The largest difference at a real token, nats.
    pub(crate) largest: f64,
    /// The share of tokens whose ratio is outside [`RANGE`].
    pub(crate) outside: f64,
}

/// The ratios that clipped losses leave alone by default.
const RANGE: (f64, f64) = (0.8, 1.2);

/// How far the policy of a minibatch is from the one that sampled; `None` if no output of the clause was recorded.
pub(crate) fn logp_gap(
    host: &StageHost<'_>,
    minibatch: &Executor<'_>,
    gradient: &Gradient,
    portions: &[Portion],
) -> Result<Option<Gap>> {
    let graph = minibatch.graph();
    let (mut largest, mut outside, mut count) = (0.0f64, 0.0, 0.0);
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
        let difference = computed - recorded.tensor()?;
        let mask = dims.iter().find(|&&dim| graph.dims.is_ragged(dim));
        let extents = minibatch.extents();
        let difference = match mask {
            Some(&dim) => difference.f_masked_select(&extents.mask(dim, difference.device())?)?,
            None => difference,
        };
        if difference.numel() > 0 {
            largest = largest.max(difference.f_abs()?.f_max()?.f_double_value(&[])?);
            let (low, high) = (RANGE.0.ln(), RANGE.1.ln());
            let left = difference
                .f_lt(low)?
                .f_logical_or(&difference.f_gt(high)?)?;
            outside += left.f_sum(Kind::Int64)?.f_int64_value(&[])? as f64;
            count += difference.numel() as f64;
        }
    }
    Ok((count > 0.0).then(|| Gap {
        largest,
        outside: outside / count,
    }))
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
