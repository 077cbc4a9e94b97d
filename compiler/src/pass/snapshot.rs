//! A graph between two passes.

use super::rewrite::Rewritten;
use super::roots::{Roots, renamed_phases, sinks_of};
use super::{PASSES, apply, gradients};
use crate::graph::{Graph, NodeId};
use crate::phase::Phase;
use crate::plan::StagePlan;

/// A stage's graph between two passes, as `rlpc graph` shows it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub graph: Graph,
    pub phases: Vec<Phase>,
    pub sinks: Vec<(String, NodeId)>,
}

impl Snapshot {
    /// Before any pass.
    pub fn of(stage: &StagePlan) -> Snapshot {
        Snapshot {
            graph: stage.graph.clone(),
            phases: stage.phases.clone(),
            sinks: sinks_of(stage),
        }
    }

    /// After the pass with this name and all before it; `None` if there is no such pass.
    ///
    /// From `autodiff` on it holds the adjoints of each loss, `adjoint.0.1` that of the second output
    /// through which the first loss reaches what it trains.
    pub fn after(stage: &StagePlan, pass: &str) -> Option<Snapshot> {
        let last = PASSES.iter().position(|(name, _)| *name == pass)?;
        let mut snapshot = Snapshot::of(stage);
        for (name, pass) in &PASSES[..=last] {
            apply(*pass, &mut snapshot);
            if *name == "autodiff" {
                snapshot.add_adjoints(stage);
            }
        }
        Some(snapshot)
    }

    fn add_adjoints(&mut self, stage: &StagePlan) {
        for (number, train) in stage.trains.iter().enumerate() {
            let sink = |name: String| {
                self.sinks
                    .iter()
                    .find(|(own, _)| *own == name)
                    .map(|&(_, id)| id)
            };
            let outputs = (0..train.outputs.len())
                .filter_map(|output| sink(format!("loss.{number}.output.{output}")));
            let outputs: Vec<NodeId> = outputs.collect();
            if let Some(loss) = sink(format!("loss.{number}")) {
                let adjoints = gradients(&mut self.graph, loss, &outputs);
                let named = adjoints.into_iter().enumerate();
                self.sinks
                    .extend(named.map(|(output, id)| (format!("adjoint.{number}.{output}"), id)));
            }
        }
        let map = self.graph.ids().take(self.phases.len()).map(Some).collect();
        let rewritten = Rewritten {
            graph: std::mem::take(&mut self.graph),
            map,
        };
        self.follow(&rewritten);
        self.graph = rewritten.graph;
    }
}

impl Roots for Snapshot {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn roots(&mut self) -> Vec<(String, &mut NodeId)> {
        self.sinks
            .iter_mut()
            .map(|(name, id)| (name.clone(), id))
            .collect()
    }

    fn follow(&mut self, rewritten: &Rewritten) {
        self.phases = renamed_phases(rewritten, &self.phases);
    }
}
