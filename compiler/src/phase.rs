//! Phases: when each node of a stage runs, and through which nodes a gradient flows.

use std::collections::BTreeSet;

use crate::graph::{Graph, NodeId, Op};
use crate::plan::TrainPlan;
use crate::ty::Elem;

/// When a node runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Depends on nothing that changes: once, before the loop.
    Once,
    /// Depends on a draw, the step or a state: once a step, without gradients, on the whole batch.
    Step,
    /// Depends on parameters that the stage trains: on every minibatch of every epoch.
    Minibatch,
}

/// The models whose outputs, and the trainable tensors that, some `train` clause of a stage changes, by their index in the plan.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Trained {
    pub models: BTreeSet<usize>,
    pub tensors: BTreeSet<usize>,
}

impl Trained {
    pub fn by<'t>(trains: impl IntoIterator<Item = &'t TrainPlan>) -> Trained {
        let mut trained = Trained::default();
        for train in trains {
            trained.models.extend(&train.moved);
            trained.tensors.extend(&train.tensors);
        }
        trained
    }

    /// Whether a node has the value of parameters that are updated.
    pub fn reads(&self, op: &Op) -> bool {
        match op {
            Op::Model { model, .. } | Op::Backward { model, .. } => {
                model.frozen.is_none() && self.models.contains(&model.model)
            }
            Op::Trainable(tensor) => {
                tensor.frozen.is_none() && self.tensors.contains(&tensor.model)
            }
            _ => false,
        }
    }
}

/// The phase of each node, by its index.
///
/// A node is as late as the latest of its operands and of the origins of its dimensions.
pub fn phases(graph: &Graph, trained: &Trained) -> Vec<Phase> {
    let fresh: BTreeSet<_> = graph
        .draws
        .iter()
        .flat_map(|draw| draw.fresh.iter().copied())
        .collect();
    let mut phases = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let own = match &node.op {
            Op::Step | Op::State(_) | Op::Draw(_) | Op::Field(_) | Op::Random { .. } => Phase::Step,
            op if trained.reads(op) => Phase::Minibatch,
            op if op.is_of_a_model() => Phase::Step,
            _ => Phase::Once,
        };
        let of_dims = if node.ty.dims.iter().any(|dim| fresh.contains(dim)) {
            Phase::Step
        } else {
            Phase::Once
        };
        let latest = graph
            .operands(id)
            .into_iter()
            .map(|operand| phases[operand.index()])
            .max()
            .unwrap_or(Phase::Once);
        phases.push(own.max(of_dims).max(latest));
    }
    phases
}

/// The nodes and everything they depend on, in ascending order.
pub fn upstream(graph: &Graph, from: &[NodeId]) -> Vec<NodeId> {
    follow(graph, from, |_| true)
}

/// The nodes through which a gradient of `loss` flows, in ascending order.
pub fn live(graph: &Graph, loss: NodeId) -> Vec<NodeId> {
    follow(graph, &[loss], |node| {
        // Nothing flows through what stops it, nor into values that are not real.
        !matches!(graph.op(node), Op::StopGrad) && graph.ty(node).elem == Elem::Real
    })
    .into_iter()
    .filter(|&node| graph.ty(node).elem == Elem::Real)
    .collect()
}

/// Those of the nodes `live` that read one of `outputs`, at once or through others: what a gradient has to pass.
pub fn between(graph: &Graph, live: &[NodeId], outputs: &[NodeId]) -> Vec<NodeId> {
    let mut reads = vec![false; graph.len()];
    let mut passed = Vec::new();
    for &node in live {
        if outputs.contains(&node) {
            reads[node.index()] = true;
        } else if graph
            .operands(node)
            .iter()
            .any(|operand| reads[operand.index()])
        {
            reads[node.index()] = true;
            passed.push(node);
        }
    }
    passed
}

fn follow(graph: &Graph, from: &[NodeId], passes: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut seen = vec![false; graph.len()];
    let mut open: Vec<NodeId> = from.to_vec();
    while let Some(node) = open.pop() {
        if std::mem::replace(&mut seen[node.index()], true) || !passes(node) {
            continue;
        }
        open.extend(graph.operands(node));
    }
    graph.ids().filter(|node| seen[node.index()]).collect()
}
