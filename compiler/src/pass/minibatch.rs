//! What a minibatch is given of the whole batch, and what it computes itself.

use std::collections::BTreeSet;

use crate::graph::{Graph, NodeId, Op};
use crate::phase::{Phase, upstream};

/// The nodes that a loss and what it asserts are computed from, without those that only earlier ones read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Minibatch {
    /// Nodes of earlier phases that later ones read: computed on the whole batch, then cut.
    pub given: Vec<NodeId>,
    /// Nodes that are computed on each minibatch.
    pub late: Vec<NodeId>,
}

impl Minibatch {
    pub fn new(graph: &Graph, phases: &[Phase], sinks: &[NodeId]) -> Minibatch {
        let (late, early): (Vec<NodeId>, Vec<NodeId>) = upstream(graph, sinks)
            .into_iter()
            .partition(|id| phases[id.index()] == Phase::Minibatch);
        let read: BTreeSet<NodeId> = late
            .iter()
            .flat_map(|&id| graph.operands(id))
            .chain(sinks.iter().copied())
            .collect();
        let given = early.into_iter().filter(|id| read.contains(id)).collect();
        Minibatch { given, late }
    }

    /// Leaves to the minibatch what merely repeats an earlier value, which is smaller to cut before; where it can be.
    #[must_use]
    pub fn repeat_late(self, graph: &Graph, can_cut: impl Fn(NodeId) -> bool) -> Minibatch {
        let mut late: BTreeSet<NodeId> = self.late.into_iter().collect();
        let mut given = BTreeSet::new();
        let mut open = self.given;
        while let Some(id) = open.pop() {
            let operands = graph.operands(id);
            let is_constant = matches!(graph.op(id), Op::Literal(array) if array.shape.is_empty());
            let repeats = matches!(graph.op(id), Op::Broadcast)
                && operands.iter().all(|&operand| can_cut(operand));
            if is_constant || repeats {
                late.insert(id);
                open.extend(operands);
            } else {
                given.insert(id);
            }
        }
        Minibatch {
            given: given.into_iter().collect(),
            late: late.into_iter().collect(),
        }
    }
}
