//! The passes, in the order in which they run.
//!
//! A pass rebuilds a graph. It keeps the value (at real positions) and the type of every node that the
//! plan names, and every node keeps the place in the text that it came from. A pass cannot fail.

mod autodiff;
mod cse;
mod dce;
mod rewrite;
mod simplify;
mod sinks;

pub use autodiff::{gradients, has_derivative};
pub use rewrite::Rewritten;
pub use sinks::{Roots, sinks_of};

use crate::graph::{Graph, NodeId};
use crate::phase::Phase;
use crate::plan::StagePlan;

/// Rebuilds a graph, given the nodes of it that must stay.
pub type Pass = fn(&Graph, &[NodeId]) -> Rewritten;

/// Every pass with its name, in order.
///
/// Common subexpressions are found after simplification, which makes more of them; dead code goes
/// before differentiation, which would differentiate it; and all three run again after it, since
/// adjoints hold much that is trivial and that the forward computation has already.
pub const PASSES: &[(&str, Pass)] = &[
    // No primitive is left whose value is an operand of it or known before the run (as far as one look tells).
    ("simplify", simplify::simplify),
    // No two nodes compute the same.
    ("cse", cse::cse),
    // Every node is read by a sink.
    ("dce", dce::dce),
    // No `Grad` is left.
    ("autodiff", autodiff::autodiff),
    ("simplify.2", simplify::simplify),
    ("cse.2", cse::cse),
    ("dce.2", dce::dce),
];

/// Runs all passes.
pub fn run(plan: &mut impl Roots) {
    for (_, pass) in PASSES {
        apply(*pass, plan);
    }
}

/// Runs one pass: the plan then has the new graph, and names its nodes.
pub fn apply(pass: Pass, plan: &mut impl Roots) {
    let mut roots: Vec<NodeId> = plan.roots().into_iter().map(|(_, id)| *id).collect();
    roots.extend(
        plan.graph()
            .states
            .iter()
            .flat_map(|state| [state.initial, state.next]),
    );
    let Rewritten { graph, map } = pass(plan.graph(), &roots);
    if cfg!(debug_assertions) {
        let violations = crate::verify::verify(&graph);
        assert!(
            violations.is_empty(),
            "a pass broke the graph: {}",
            violations.join("; ")
        );
    }
    for (_, id) in plan.roots() {
        if let Some(new) = map[id.index()] {
            *id = new;
        }
    }
    if let Some(phases) = plan.phases_mut() {
        *phases = renamed_phases(&graph, phases, &map);
    }
    *plan.graph_mut() = graph;
}

/// The phases of a rebuilt graph: of a node that stands for old ones the earliest of theirs, of a new
/// one the latest that it reads.
fn renamed_phases(graph: &Graph, old: &[Phase], map: &[Option<NodeId>]) -> Vec<Phase> {
    let mut known: Vec<Option<Phase>> = vec![None; graph.len()];
    for (phase, new) in old.iter().zip(map) {
        if let Some(new) = new {
            let known = &mut known[new.index()];
            *known = Some(known.map_or(*phase, |earlier| earlier.min(*phase)));
        }
    }
    let mut phases: Vec<Phase> = Vec::with_capacity(graph.len());
    for (id, known) in graph.ids().zip(known) {
        let reads = || {
            graph
                .operands(id)
                .iter()
                .map(|operand| phases[operand.index()])
                .max()
        };
        let phase = known.or_else(reads).unwrap_or(Phase::Once);
        phases.push(phase);
    }
    phases
}

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
        let map: Vec<Option<NodeId>> = self.graph.ids().take(self.phases.len()).map(Some).collect();
        self.phases = renamed_phases(&self.graph, &self.phases, &map);
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

    fn phases_mut(&mut self) -> Option<&mut Vec<Phase>> {
        Some(&mut self.phases)
    }
}
