//! The health of a step: whether rewards tell responses apart, whether responses end by themselves, how sure the policy
//! is. And a few responses to look at.

use std::collections::BTreeSet;

use rlp_compiler::graph::{Call, DrawArg, Graph, NodeId, Op};
use rlp_compiler::phase::{Phase, upstream};
use rlp_compiler::ty::{DimId, Elem};

use super::Stage;
use super::host::{Record, draw_of};
use crate::error::{Fault, Result};
use crate::executor::Executor;
use crate::report::{Groups, RewardVitals, SampleRecord, Vitals};
use crate::tensor::{Kind, Tensor, Value, elements};

/// So many times a stage some responses are kept.
const MOST_TIMES: u64 = 40;
/// Of so many prompts each time, and so many responses to each.
const PROMPTS: usize = 2;
const SAMPLES: usize = 2;
/// The longest text that is kept, in characters.
const LONGEST: usize = 4_000;

/// What a reward or an advantage says of each response.
pub(crate) struct Score {
    pub(crate) node: NodeId,
    name: String,
    is_reward: bool,
}

/// The results of all calls of rewards and advantages in a pipeline, known before the updates of a step.
pub(crate) fn scores(graph: &Graph, phases: &[Phase], names: &[(String, NodeId)]) -> Vec<Score> {
    let rows: BTreeSet<DimId> = graph
        .draws
        .iter()
        .flat_map(|draw| {
            let renewed = draw.renewed.iter().map(|&(_, new)| new);
            draw.fresh.iter().copied().chain(renewed)
        })
        .filter(|&dim| !graph.dims.is_ragged(dim))
        .collect();
    let mut found: Vec<(*const Call, Score)> = Vec::new();
    for id in graph.ids() {
        let (Some(call), ty) = (outermost(graph, id), graph.ty(id)) else {
            continue;
        };
        let Some((kind @ ("reward" | "advantage"), block)) = call.block.split_once('.') else {
            continue;
        };
        let is_over_rows = !ty.dims.is_empty() && ty.dims.iter().all(|dim| rows.contains(dim));
        let is_result =
            |user: &NodeId| outermost(graph, *user).is_none_or(|other| !std::ptr::eq(other, call));
        let users = graph.users(id);
        let is_read = users.is_empty() || users.iter().any(is_result);
        if ty.elem != Elem::Real
            || !is_over_rows
            || !is_read
            || phases[id.index()] == Phase::Minibatch
        {
            continue;
        }
        // A `let` of the result may name what stops its gradient.
        let is_of_call = |node: NodeId| {
            let own = match graph.op(node) {
                Op::StopGrad => graph.operands(node).first().copied(),
                _ => Some(node),
            };
            own.and_then(|own| outermost(graph, own))
                .is_some_and(|other| std::ptr::eq(other, call))
        };
        let of_let = names.iter().find(|(_, node)| is_of_call(*node));
        let score = Score {
            node: id,
            name: of_let.map_or(block, |(name, _)| name.as_str()).to_string(),
            is_reward: kind == "reward",
        };
        // The last one is the result; what others read of the way there is none of their business.
        match found.iter_mut().find(|(own, _)| std::ptr::eq(*own, call)) {
            Some((_, own)) => *own = score,
            None => found.push((call, score)),
        }
    }
    found.into_iter().map(|(_, score)| score).collect()
}

fn outermost(graph: &Graph, id: NodeId) -> Option<&Call> {
    let mut call = graph.calls.get(graph.node(id).call?.0 as usize)?;
    while let Some(parent) = call.parent.and_then(|id| graph.calls.get(id.0 as usize)) {
        call = parent;
    }
    Some(call)
}

impl Stage<'_> {
    /// Those scores that a step computes anyway, on its way to `sinks`.
    pub(super) fn scored(&self, sinks: &[NodeId], empty: &BTreeSet<NodeId>) -> Vec<usize> {
        let known: BTreeSet<NodeId> = upstream(self.graph, sinks).into_iter().collect();
        let is_known = |index: &usize| {
            let node = self.scores[*index].node;
            known.contains(&node) && !self.depends(node, empty)
        };
        (0..self.scores.len()).filter(is_known).collect()
    }

    /// Looks at what was drawn for a step and how it scored.
    pub(super) fn look(
        &mut self,
        batch: &mut Executor<'_>,
        step: u64,
        scored: &[usize],
    ) -> Result<(Vitals, Vec<SampleRecord>)> {
        let nodes: Vec<NodeId> = scored
            .iter()
            .map(|&index| self.scores[index].node)
            .collect();
        let values = self.steady.evaluate(batch, &nodes, &mut self.host)?;
        let mut vitals = Vitals::default();
        let mut table = Vec::new();
        for (&index, value) in scored.iter().zip(&values) {
            let (score, tensor) = (&self.scores[index], value.tensor()?);
            let dims = &self.graph.ty(score.node).dims;
            let numbers = Numbers::of(dims, tensor)?;
            if score.is_reward {
                vitals.rewards.push(self.reward(&score.name, &numbers));
            }
            table.push((score.name.clone(), numbers));
        }
        let mut finished = (0u64, 0u64);
        let mut logp = (0.0, 0.0);
        for (&node, record) in &self.host.records {
            if self.is_rollout(node)? && !record.is_empty {
                self.count(node, record, &mut finished, &mut logp)?;
            }
        }
        let (ended, all) = finished;
        vitals.cut = (all > 0).then(|| 1.0 - ended as f64 / all as f64);
        vitals.entropy = (logp.1 > 0.0).then(|| -logp.0 / logp.1);
        let is_due =
            step == 1 || step == self.steps || step.is_multiple_of(self.steps.div_ceil(MOST_TIMES));
        let samples = if is_due {
            self.samples(step, &table)?
        } else {
            Vec::new()
        };
        Ok((vitals, samples))
    }

    fn reward(&self, name: &str, numbers: &Numbers) -> RewardVitals {
        let values = &numbers.values;
        let axis = numbers
            .dims
            .iter()
            .position(|&dim| self.graph.dims.name(dim) == "sample");
        RewardVitals {
            name: name.to_string(),
            mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            groups: axis
                .filter(|&axis| numbers.shape[axis] > 1)
                .map(|axis| numbers.groups(axis)),
        }
    }

    /// Whether a draw lets the policy answer problems that are trained on.
    fn is_rollout(&self, node: NodeId) -> Result<bool, Fault> {
        let draw = draw_of(self.graph, node)?;
        let is_held_out =
            |(_, arg): &(String, DrawArg)| matches!(arg, DrawArg::Data(data) if data.held_out);
        Ok(matches!(
            draw.block.as_str(),
            "sampler.rollout" | "sampler.rollout_pairs"
        ) && !draw.args.iter().any(is_held_out))
    }

    /// Counts the responses that ended by themselves, of all; and adds up log-probabilities, of so many tokens.
    fn count(
        &self,
        node: NodeId,
        record: &Record,
        finished: &mut (u64, u64),
        logp: &mut (f64, f64),
    ) -> Result<(), Fault> {
        let draw = draw_of(self.graph, node)?;
        for ((name, ty), value) in draw.fields.iter().zip(&record.drawn.fields) {
            match name.rsplit('.').next().unwrap_or_default() {
                "finished" => {
                    let ended = value.tensor()?;
                    finished.0 += ended.f_sum(Kind::Int64)?.f_int64_value(&[])?.unsigned_abs();
                    finished.1 += ended.numel() as u64;
                }
                "logp" => {
                    let tensor = value.tensor()?.f_to_kind(Kind::Double)?;
                    let mask = record
                        .drawn
                        .masks
                        .iter()
                        .find(|(dim, _)| ty.dims.contains(dim));
                    let kept = match mask {
                        Some((_, mask)) => tensor.f_masked_select(mask)?,
                        None => tensor,
                    };
                    logp.0 += kept.f_sum(Kind::Double)?.f_double_value(&[])?;
                    logp.1 += kept.numel() as f64;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A few responses of each draw that no other draw filters.
    fn samples(&self, step: u64, table: &[(String, Numbers)]) -> Result<Vec<SampleRecord>> {
        let records = &self.host.records;
        let filled = || records.iter().filter(|(_, record)| !record.is_empty);
        let filtered: BTreeSet<NodeId> = filled()
            .flat_map(|(&node, _)| upstream(self.graph, &self.graph.operands(node)))
            .collect();
        let mut samples = Vec::new();
        for (&node, record) in filled() {
            let draw = draw_of(self.graph, node)?;
            // Demonstrations are nobody's responses.
            let is_drawn = !matches!(
                draw.block.as_str(),
                "sampler.demonstrations" | "sampler.once"
            );
            if is_drawn && !filtered.contains(&node) {
                for prefix in ["", "a.", "b."] {
                    self.samples_of(node, record, prefix, (step, table), &mut samples)?;
                }
            }
        }
        Ok(samples)
    }

    fn samples_of(
        &self,
        node: NodeId,
        record: &Record,
        prefix: &str,
        (step, table): (u64, &[(String, Numbers)]),
        samples: &mut Vec<SampleRecord>,
    ) -> Result<(), Fault> {
        let draw = draw_of(self.graph, node)?;
        let field = |name: &str| {
            let wanted = format!("{prefix}{name}");
            let at = draw.fields.iter().position(|(own, _)| *own == wanted)?;
            Some((&draw.fields[at].1.dims, record.drawn.fields.get(at)?))
        };
        let Some((dims, Value::Text(texts))) = field("text") else {
            return Ok(());
        };
        let text = |name: &str, row: usize| match field(name) {
            Some((_, Value::Text(texts))) => texts.elements.get(row).map_or("", AsRef::as_ref),
            Some((_, Value::Tensor(_))) | None => "",
        };
        let finished = match field("finished") {
            Some((_, value)) => elements::<bool>(&value.tensor()?.f_reshape([-1])?)?,
            None => Vec::new(),
        };
        // What was added to the record with `with`.
        let mut numbers: Vec<(&str, Numbers)> = Vec::new();
        let own = ["length", "logp", "temperature"];
        for ((name, ty), value) in draw.fields.iter().zip(&record.drawn.fields) {
            let is_score = ty.elem == Elem::Real && !own.contains(&name.as_str());
            if is_score && ty.dims.iter().all(|dim| dims.contains(dim)) {
                numbers.push((name, Numbers::of(&ty.dims, value.tensor()?)?));
            }
        }
        let name = self.name_of(node, &draw.block);
        for row in rows(&texts.shape) {
            let scores = table
                .iter()
                .map(|(name, numbers)| (name.as_str(), numbers))
                .chain(numbers.iter().map(|(name, numbers)| (*name, numbers)));
            let mut told: Vec<(String, f64)> = Vec::new();
            for (name, numbers) in scores {
                let value = numbers.at(row, dims, &texts.shape);
                if let (Some(value), true) = (value, told.iter().all(|(own, _)| own != name)) {
                    told.push((name.to_string(), value));
                }
            }
            samples.push(SampleRecord {
                stage: self.plan.name.clone(),
                step,
                draw: format!("{name}{}", prefix.trim_end_matches('.')),
                prompt: shortened(text("prompt_text", row)),
                text: shortened(texts.elements.get(row).map_or("", AsRef::as_ref)),
                answer: shortened(text("answer", row)),
                finished: finished.get(row).copied().unwrap_or(true),
                numbers: told,
            });
        }
        Ok(())
    }

    /// What the user calls a draw; the block if it has no name.
    fn name_of(&self, node: NodeId, block: &str) -> String {
        let is_field = |field: &NodeId| {
            matches!(self.graph.op(*field), Op::Field(_))
                && self.graph.operands(*field).first() == Some(&node)
        };
        let named = self
            .plan
            .names
            .iter()
            .find(|(_, own)| *own == node || is_field(own));
        named.map_or(block.to_string(), |(name, _)| {
            name.split('.').next().unwrap_or_default().to_string()
        })
    }
}

/// Numbers over some of the dimensions that count the responses.
struct Numbers {
    dims: Vec<DimId>,
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Numbers {
    fn of(dims: &[DimId], tensor: &Tensor) -> Result<Numbers, Fault> {
        Ok(Numbers {
            dims: dims.to_vec(),
            shape: tensor.size().iter().map(|&size| size as usize).collect(),
            values: elements(&tensor.f_to_kind(Kind::Double)?.f_reshape([-1])?)?,
        })
    }

    /// Groups along an axis, and those in which all are equal.
    fn groups(&self, axis: usize) -> Groups {
        let (size, inner) = (
            self.shape[axis],
            self.shape[axis + 1..].iter().product::<usize>(),
        );
        let outer: usize = self.shape[..axis].iter().product();
        let is_constant = |outer: usize, inside: usize| {
            let at = |member: usize| self.values[(outer * size + member) * inner + inside];
            (1..size).all(|member| at(member) == at(0))
        };
        let groups = (0..outer).flat_map(|outer| (0..inner).map(move |inside| (outer, inside)));
        let constant = groups.filter(|&(outer, inside)| is_constant(outer, inside));
        Groups {
            constant: constant.count() as u64,
            all: (outer * inner) as u64,
        }
    }

    /// That of a row of a text over `dims`; `None` if it speaks of other dimensions.
    fn at(&self, row: usize, dims: &[DimId], shape: &[i64]) -> Option<f64> {
        let mut rest = row;
        let mut places = vec![0usize; dims.len()];
        for (place, &size) in places.iter_mut().zip(shape).rev() {
            let size = usize::try_from(size).ok().filter(|&size| size > 0)?;
            *place = rest % size;
            rest /= size;
        }
        let mut index = 0;
        for (dim, size) in self.dims.iter().zip(&self.shape) {
            let axis = dims.iter().position(|own| own == dim)?;
            index = index * size + places[axis];
        }
        self.values.get(index).copied()
    }
}

/// The rows of a text of this shape that are kept.
fn rows(shape: &[i64]) -> Vec<usize> {
    match *shape {
        [prompts, samples] => {
            let (prompts, samples) = (prompts.max(0) as usize, samples.max(0) as usize);
            let each = |prompt: usize| {
                (0..samples.min(SAMPLES)).map(move |sample| prompt * samples + sample)
            };
            (0..prompts.min(PROMPTS)).flat_map(each).collect()
        }
        _ => {
            let all: i64 = shape.iter().product();
            (0..(all.max(0) as usize).min(PROMPTS * SAMPLES)).collect()
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_string();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}
