//! A whole stage, fused: what of it runs on each batch, on each minibatch, and on each update.

use std::collections::BTreeSet;

use super::{Fusion, fuse};
use crate::graph::{Graph, NodeId, Op};
use crate::pass::{LossGraph, Minibatch, RuleGraph, run, sinks_of};
use crate::phase::Phase;
use crate::plan::{RulePlan, StagePlan, TrainPlan, UpdatePlan};
use crate::ty::Dims;

/// A graph that runs as one, and its steps.
#[derive(Clone, Debug)]
pub struct FusedPart {
    /// `rollout`, `loss 0`, `optimizer.adamw, matrices`
    pub name: String,
    pub graph: Graph,
    pub sinks: Vec<(String, NodeId)>,
    pub fusion: Fusion,
}

/// The parts of a stage, after all passes, in the order in which they run.
pub fn fused_parts(stage: &StagePlan) -> Vec<FusedPart> {
    let mut stage = stage.clone();
    run(&mut stage);
    let sizes = stage.graph.dims.clone();
    // As in a run, where minibatches have other sizes than the batch.
    for draw in &stage.graph.draws {
        for &dim in &draw.fresh {
            stage.graph.dims.get_mut(dim).size = None;
        }
    }
    let minibatches: Vec<Minibatch> = stage
        .trains
        .iter()
        .map(|train| minibatch(&stage, train))
        .collect();
    let mut parts = vec![sized(rollout(&stage, &minibatches), &sizes)];
    for (number, (train, minibatch)) in stage.trains.iter().zip(&minibatches).enumerate() {
        let given = minibatch.given.iter().chain(&train.outputs).copied();
        let models = minibatch
            .late
            .iter()
            .copied()
            .filter(|&id| stage.graph.op(id).is_of_a_model());
        let given: BTreeSet<NodeId> = given.chain(models).collect();
        if let Ok(loss) = LossGraph::new(&stage.graph, train.loss, &train.outputs, &given) {
            parts.push(sized(update(number, &loss), &sizes));
        }
        for rule in &train.rules {
            parts.extend(rule_parts(rule, train.clip_norm.is_some()));
        }
    }
    parts
}

/// With the sizes that the dimensions of the stage's graph have on a whole batch.
fn sized(mut part: FusedPart, sizes: &Dims) -> FusedPart {
    for dim in sizes.ids() {
        part.graph.dims.get_mut(dim).size = sizes.get(dim).size;
    }
    part
}

fn minibatch(stage: &StagePlan, train: &TrainPlan) -> Minibatch {
    let whole = Minibatch::new(&stage.graph, &stage.phases, &[train.loss]);
    let rows: Vec<_> = train.batches.iter().flat_map(|batch| &batch.rows).collect();
    // As if rows were dealt out by all their dimensions.
    whole.repeat_late(&stage.graph, |id| {
        let dims = &stage.graph.ty(id).dims;
        let of_rows = rows.iter().filter(|dim| dims.contains(dim)).count();
        of_rows == 0 || of_rows == rows.len()
    })
}

fn rollout(stage: &StagePlan, minibatches: &[Minibatch]) -> FusedPart {
    let is_early = |id: &NodeId| stage.phases[id.index()] != Phase::Minibatch;
    let sinks: Vec<(String, NodeId)> = sinks_of(stage)
        .into_iter()
        .filter(|(_, id)| is_early(id))
        .collect();
    let given = minibatches
        .iter()
        .flat_map(|minibatch| minibatch.given.iter().copied());
    let named = sinks.iter().map(|(_, id)| *id);
    let wanted: BTreeSet<NodeId> = given.filter(is_early).chain(named).collect();
    let wanted: Vec<NodeId> = wanted.into_iter().collect();
    let fusion = fuse(&stage.graph, &wanted, |_| false);
    FusedPart {
        name: "rollout".to_string(),
        graph: stage.graph.clone(),
        sinks,
        fusion,
    }
}

fn update(number: usize, loss: &LossGraph) -> FusedPart {
    let mut sinks = vec![
        ("loss".to_string(), loss.loss),
        ("finite".to_string(), loss.finite),
    ];
    let gradients = loss.gradients.iter().enumerate();
    sinks.extend(gradients.map(|(output, &id)| (format!("gradient.{output}"), id)));
    let is_given = |id: NodeId| loss.given.iter().any(|&(_, own)| own == id);
    let fusion = fuse(&loss.graph, &loss.wanted(), is_given);
    FusedPart {
        name: format!("loss {number}"),
        graph: loss.graph.clone(),
        sinks,
        fusion,
    }
}

fn rule_parts(rule: &RulePlan, clips: bool) -> Vec<FusedPart> {
    let part = |form: &str, update: &UpdatePlan| {
        let mut update = update.clone();
        run(&mut update);
        let RuleGraph { update, finite } = RuleGraph::new(&update, clips);
        let mut sinks = vec![
            ("param".to_string(), update.param),
            ("finite".to_string(), finite),
        ];
        let states = update.states.iter();
        sinks.extend(states.map(|state| (format!("state.{}", state.name), state.next)));
        let wanted: Vec<NodeId> = sinks.iter().map(|(_, id)| *id).collect();
        let graph = &update.graph;
        let fusion = fuse(graph, &wanted, |id| matches!(graph.op(id), Op::Input(_)));
        FusedPart {
            name: format!("{}, {form}", rule.block),
            sinks,
            fusion,
            graph: update.graph,
        }
    };
    vec![
        part("vectors", &rule.vector),
        part("matrices", &rule.matrix),
    ]
}
