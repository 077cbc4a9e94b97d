//! What a stage computes once: everything that depends on `sampler.once` and on models it does not train, alone.

use std::collections::{BTreeMap, BTreeSet};

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::phase::{Phase, upstream};
use rlp_compiler::ty::DimId;

use crate::error::{Fault, Result};
use crate::executor::{Executor, Host};
use crate::state::Archive;
use crate::tensor::{Device, Value};

/// The nodes whose values stay the same over the steps of a stage, and those values that were computed.
pub(crate) struct Steady {
    /// Steady draws.
    pub(crate) draws: BTreeSet<NodeId>,
    /// Steady nodes that come from a draw and are read by others that are not steady, or by the stage's sinks.
    kept: BTreeSet<NodeId>,
    values: BTreeMap<NodeId, Value>,
}

impl Steady {
    pub(crate) fn new(graph: &Graph, phases: &[Phase]) -> Steady {
        let mut steady = vec![false; graph.len()];
        let mut drawn = vec![false; graph.len()];
        let mut draws = BTreeSet::new();
        // Every other dimension has one size for the whole run, or follows from dimensions that have.
        let mut changing: BTreeSet<DimId> = graph
            .draws
            .iter()
            .flat_map(|draw| draw.fresh.iter().copied())
            .collect();
        for id in graph.ids() {
            let operands = graph.operands(id);
            let op = graph.op(id);
            let stays = if let Op::Draw(index) = op {
                match graph.draws[*index].block.as_str() {
                    "sampler.once" => true,
                    "sampler.preferences" => operands.iter().all(|operand| steady[operand.index()]),
                    _ => false,
                }
            } else if let Op::Model { model, .. }
            | Op::Backward { model, .. }
            | Op::Trainable(model) = op
            {
                phases[id.index()] != Phase::Minibatch
                    && model.frozen.is_none_or(|every| every == 0)
            } else {
                !matches!(op, Op::State(_) | Op::Step | Op::Steps | Op::Random { .. })
            };
            let is_draw = matches!(op, Op::Draw(_));
            steady[id.index()] = stays
                && (is_draw || operands.iter().all(|operand| steady[operand.index()]))
                && graph.ty(id).dims.iter().all(|dim| !changing.contains(dim));
            if let (Op::Draw(index), true) = (op, steady[id.index()]) {
                draws.insert(id);
                graph.draws[*index].fresh.iter().for_each(|dim| {
                    changing.remove(dim);
                });
            }
            drawn[id.index()] =
                draws.contains(&id) || operands.iter().any(|operand| drawn[operand.index()]);
        }
        let is_read = |id: NodeId| {
            let users = graph.users(id);
            users.is_empty() || users.iter().any(|user| !steady[user.index()])
        };
        let is_kept = |id: &NodeId| {
            steady[id.index()] && drawn[id.index()] && !draws.contains(id) && is_read(*id)
        };
        Steady {
            kept: graph.ids().filter(is_kept).collect(),
            draws,
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn save(&self, archive: &mut Archive) -> Result<(), Fault> {
        let Steady {
            draws: _,
            kept: _,
            values,
        } = self;
        let nodes: Vec<usize> = values.keys().map(|node| node.index()).collect();
        archive.put("steady", &nodes)?;
        for (node, value) in values {
            archive.put_value(&format!("steady.{}", node.index()), value)?;
        }
        Ok(())
    }

    pub(crate) fn restore(&mut self, archive: &mut Archive, device: Device) -> Result<(), Fault> {
        let nodes: Vec<usize> = archive.take("steady")?;
        for node in nodes {
            let value = archive.take_value(&format!("steady.{node}"), device)?;
            self.values.insert(NodeId::new(node), value);
        }
        Ok(())
    }

    /// As [`Executor::evaluate`], with what was computed in an earlier step; the values stay known to the batch.
    pub(crate) fn evaluate(
        &mut self,
        batch: &mut Executor<'_>,
        wanted: &[NodeId],
        host: &mut dyn Host,
    ) -> Result<Vec<Value>> {
        let needed: Vec<NodeId> = upstream(batch.graph(), wanted)
            .into_iter()
            .filter(|node| self.kept.contains(node))
            .collect();
        let (known, unknown): (Vec<NodeId>, Vec<NodeId>) = needed
            .iter()
            .partition(|node| self.values.contains_key(node));
        for node in known {
            batch.give(
                node,
                self.values[&node].clone(),
                format_args!("a value here"),
            )?;
        }
        let values = batch.evaluate(&unknown, host)?;
        for (node, value) in unknown.into_iter().zip(values) {
            batch.give(node, value.clone(), format_args!("a value here"))?;
            self.values.insert(node, value);
        }
        let values = batch.evaluate(wanted, host)?;
        for (&node, value) in wanted.iter().zip(&values) {
            batch.give(node, value.clone(), format_args!("a value here"))?;
        }
        Ok(values)
    }
}
