//! Which nodes a plan names: what passes keep, and rename when they rebuild a graph.

use crate::graph::{Graph, NodeId};
use crate::phase::Phase;
use crate::plan::{AssertPlan, BlockPlan, ReportPlan, StagePlan, TestPlan, UpdatePlan};

/// A plan with a graph, and the nodes of it that the plan names.
///
/// The states of the graph name nodes too; those go with the graph.
pub trait Roots {
    fn graph(&self) -> &Graph;
    fn graph_mut(&mut self) -> &mut Graph;
    /// Every node that the plan names, with the name a reader knows it by, always in the same order.
    fn roots(&mut self) -> Vec<(String, &mut NodeId)>;
    /// The phases of its nodes, if it has phases.
    fn phases_mut(&mut self) -> Option<&mut Vec<Phase>> {
        None
    }
}

/// The sinks of a stage by name: losses, reports, evaluations, arguments of optimizers, next values of states.
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

    fn phases_mut(&mut self) -> Option<&mut Vec<Phase>> {
        Some(&mut self.phases)
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
            let initial = input.initial.iter_mut();
            roots.extend(initial.map(|id| (format!("input.{}.init", input.name), id)));
            roots.push((format!("input.{}", input.name), &mut input.node));
        }
        roots.extend(self.results.iter_mut().map(|(name, id)| (name.clone(), id)));
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
