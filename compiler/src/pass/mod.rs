//! The passes, in the order in which they run.
//!
//! A pass rebuilds a graph. It keeps the value (at real positions) and the type of every node that the
//! plan names, and every node keeps the place in the text that it came from. A pass cannot fail.

mod autodiff;
mod cse;
mod dce;
pub mod fuse;
mod loss;
mod minibatch;
mod pullback;
mod rewrite;
mod roots;
mod rule;
mod simplify;
mod snapshot;

pub use autodiff::{gradients, has_derivative};
pub use loss::LossGraph;
pub use minibatch::Minibatch;
pub use pullback::{UPSTREAM, pullback};
pub use rewrite::Rewritten;
pub use roots::{Roots, sinks_of};
pub use rule::{CLIP, RuleGraph};
pub use snapshot::Snapshot;

use crate::graph::{Graph, NodeId};
use crate::plan::Plan;

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
    // Every node is read by a sink, or says which positions are real of a dimension of such a node.
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

/// Runs all passes on every graph of a pipeline: its transforms, its stages, and the rules of their optimizers.
pub fn run_pipeline(plan: &mut Plan) {
    for transform in &mut plan.transforms {
        run(&mut transform.block);
    }
    for map in &mut plan.maps {
        run(&mut map.function);
    }
    for stage in &mut plan.stages {
        run(stage);
        for rule in stage.trains.iter_mut().flat_map(|train| &mut train.rules) {
            run(&mut rule.vector);
            run(&mut rule.matrix);
        }
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
    roots.extend(plan.graph().asserts.iter().flat_map(|assertion| {
        let reads = assertion.reads.iter().map(|&(_, node)| node);
        reads.chain([assertion.condition])
    }));
    let rewritten = pass(plan.graph(), &roots);
    if cfg!(debug_assertions) {
        let violations = crate::verify::verify(&rewritten.graph);
        assert!(
            violations.is_empty(),
            "a pass broke the graph: {}",
            violations.join("; ")
        );
    }
    for (_, id) in plan.roots() {
        if let Some(new) = rewritten.map[id.index()] {
            *id = new;
        }
    }
    plan.follow(&rewritten);
    *plan.graph_mut() = rewritten.graph;
}
