//! Which nodes a plan names, which passes keep, and what it knows of all of them.

use std::collections::BTreeMap;

use super::rewrite::Rewritten;
use crate::graph::{Graph, NodeId, Op};
use crate::phase::Phase;
use crate::plan::{AssertPlan, BlockPlan, ReportPlan, StagePlan, TestPlan, UpdatePlan};
use crate::ty::DimId;

/// A plan with a graph, and the nodes of it that the plan names.
///
/// The states of the graph name nodes too; those go with the graph.
pub trait Roots {
    fn graph(&self) -> &Graph;
    fn graph_mut(&mut self) -> &mut Graph;
    /// Every node that the plan names, with the name a reader knows it by, always in the same order.
    fn roots(&mut self) -> Vec<(String, &mut NodeId)>;
    /// What else the plan knows of its nodes, now that its graph was rebuilt.
    fn follow(&mut self, _rewritten: &Rewritten) {}
}

/// The sinks of a stage by name: losses, reports, evaluations, arguments of optimizers, next values of states, assertions.
pub fn sinks_of(stage: &StagePlan) -> Vec<(String, NodeId)> {
    let mut stage = stage.clone();
    let mut sinks: Vec<(String, NodeId)> = stage
        .roots()
        .into_iter()
        .map(|(name, id)| (name, *id))
        .collect();
    sinks.extend(
        stage
            .graph
            .states
            .iter()
            .map(|state| (format!("state.{}", state.name), state.next)),
    );
    let asserts = stage.graph.asserts.iter().enumerate();
    sinks.extend(
        asserts.map(|(number, assertion)| (format!("assert.{number}"), assertion.condition)),
    );
    sinks
}

impl Roots for StagePlan {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn roots(&mut self) -> Vec<(String, &mut NodeId)> {
        let mut roots = Vec::new();
        for (number, train) in self.trains.iter_mut().enumerate() {
            roots.push((format!("loss.{number}"), &mut train.loss));
            roots.extend(
                train
                    .outputs
                    .iter_mut()
                    .enumerate()
                    .map(|(output, id)| (format!("loss.{number}.output.{output}"), id)),
            );
            for (rule, plan) in train.rules.iter_mut().enumerate() {
                let block = &plan.block;
                roots.extend(
                    plan.args
                        .iter_mut()
                        .map(|(name, id)| (format!("loss.{number}.{block}.{rule}.{name}"), id)),
                );
            }
            roots.extend(
                train
                    .evaluations
                    .iter_mut()
                    .flat_map(|plan| report_roots("evaluate", plan)),
            );
        }
        roots.extend(
            self.reports
                .iter_mut()
                .flat_map(|plan| report_roots("report", plan)),
        );
        roots
    }

    fn follow(&mut self, rewritten: &Rewritten) {
        self.phases = renamed_phases(rewritten, &self.phases);
        for train in &mut self.trains {
            // Several outputs may have become one, whose gradient is that of all of them.
            train.outputs.sort_unstable();
            train.outputs.dedup();
        }
        let renamed = |(name, id): (String, NodeId)| Some((name, rewritten.map[id.index()]?));
        self.names = std::mem::take(&mut self.names)
            .into_iter()
            .filter_map(renamed)
            .collect();
    }
}

fn report_roots<'a>(
    kind: &'a str,
    plan: &'a mut ReportPlan,
) -> impl Iterator<Item = (String, &'a mut NodeId)> {
    plan.entries
        .iter_mut()
        .map(move |(name, id)| (format!("{kind}.{name}"), id))
}

impl Roots for UpdatePlan {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn roots(&mut self) -> Vec<(String, &mut NodeId)> {
        let mut roots = vec![("param".to_string(), &mut self.param)];
        for state in &mut self.states {
            roots.push((format!("state.{}.init", state.name), &mut state.initial));
            roots.push((format!("state.{}", state.name), &mut state.next));
        }
        roots
    }
}

impl Roots for BlockPlan {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn roots(&mut self) -> Vec<(String, &mut NodeId)> {
        let mut roots = Vec::new();
        for input in &mut self.inputs {
            let name = &input.name;
            roots.push((format!("input.{name}"), &mut input.node));
            roots.extend(
                input
                    .initial
                    .iter_mut()
                    .map(|id| (format!("input.{name}.init"), id)),
            );
        }
        roots.extend(
            self.results
                .iter_mut()
                .map(|result| (result.name.clone(), &mut result.node)),
        );
        let sizes = self.sizes.iter_mut().enumerate();
        roots.extend(sizes.map(|(number, (_, id))| (format!("size.{number}"), id)));
        roots
    }
}

impl Roots for TestPlan {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn roots(&mut self) -> Vec<(String, &mut NodeId)> {
        let mut roots = Vec::new();
        for (number, assert) in self.asserts.iter_mut().enumerate() {
            match assert {
                AssertPlan::Holds { value, .. } => roots.push((format!("assert.{number}"), value)),
                AssertPlan::Close {
                    left, right, mask, ..
                } => {
                    roots.push((format!("assert.{number}.left"), left));
                    roots.push((format!("assert.{number}.right"), right));
                    roots.extend(
                        mask.iter_mut()
                            .map(|id| (format!("assert.{number}.mask"), id)),
                    );
                }
            }
        }
        roots
    }
}

/// The phases of a rebuilt graph: of a node that stands for old ones the earliest of theirs; of a new one the
/// latest of what it reads and of the first nodes with its dimensions, before which their sizes are not known.
pub(super) fn renamed_phases(rewritten: &Rewritten, old: &[Phase]) -> Vec<Phase> {
    let Rewritten { graph, map } = rewritten;
    let mut known: Vec<Option<Phase>> = vec![None; graph.len()];
    for (phase, new) in old.iter().zip(map) {
        if let Some(new) = new {
            let known = &mut known[new.index()];
            *known = Some(known.map_or(*phase, |earlier| earlier.min(*phase)));
        }
    }
    let mut of_dims: BTreeMap<DimId, Phase> = BTreeMap::new();
    let mut phases: Vec<Phase> = Vec::with_capacity(graph.len());
    for (id, known) in graph.ids().zip(known) {
        let mut dims = graph.ty(id).dims.clone();
        if let Op::Size(dim) = graph.op(id) {
            dims.push(*dim);
        }
        let operands = graph.operands(id).into_iter();
        let read = operands.map(|operand| phases[operand.index()]);
        let latest = read
            .chain(dims.iter().filter_map(|dim| of_dims.get(dim).copied()))
            .max();
        let phase = known.or(latest).unwrap_or(Phase::Once);
        for dim in dims {
            of_dims.entry(dim).or_insert(phase);
        }
        phases.push(phase);
    }
    phases
}
