//! Rebuilding a graph node by node, and the bodies of its scans with it.

use std::sync::Arc;

use crate::graph::{Graph, NodeId, Op, ScanBody};

/// A rebuilt graph, and for each old node the new one that has its value, if one has.
#[derive(Clone, Debug)]
pub struct Rewritten {
    pub graph: Graph,
    pub map: Vec<Option<NodeId>>,
}

/// A graph without nodes, with the dimensions, calls, draws, states and assertions of another, and no masks.
pub(super) fn without_nodes(graph: &Graph) -> Graph {
    let mut empty = Graph::default();
    empty.dims = graph.dims.clone();
    empty.calls = graph.calls.clone();
    empty.draws = graph.draws.clone();
    empty.states = graph.states.clone();
    empty.asserts = graph.asserts.clone();
    empty
}

/// Rebuilds a graph: `add` adds to the new graph what stands for an old node (whose operands are given
/// by their new names), or nothing. `body` rebuilds the body of a scan, once for all scans that share it.
pub(super) fn rewrite(
    old: &Graph,
    mut body: impl FnMut(&mut Graph, &ScanBody) -> ScanBody,
    mut add: impl FnMut(&mut Graph, NodeId, Op, Vec<NodeId>) -> Option<NodeId>,
) -> Rewritten {
    let mut graph = without_nodes(old);
    let mut map: Vec<Option<NodeId>> = Vec::with_capacity(old.len());
    let mut bodies: Vec<(Arc<ScanBody>, Arc<ScanBody>)> = Vec::new();
    for id in old.ids() {
        let operands: Option<Vec<NodeId>> = old
            .operands(id)
            .iter()
            .map(|operand| map[operand.index()])
            .collect();
        let mut op = old.op(id).clone();
        if let Op::Scan { body: own, .. } = &mut op {
            let known = bodies
                .iter()
                .find(|(before, _)| Arc::ptr_eq(before, own))
                .map(|(_, after)| after.clone());
            let after = known.unwrap_or_else(|| {
                let after = Arc::new(body(&mut graph, own));
                bodies.push((own.clone(), after.clone()));
                after
            });
            *own = after;
        }
        let new = operands.and_then(|operands| add(&mut graph, id, op, operands));
        if let Some(new) = new {
            let of_this = old.masks.iter().filter(|(_, mask)| **mask == id);
            graph.masks.extend(of_this.map(|(&dim, _)| (dim, new)));
        }
        map.push(new);
    }
    for state in &mut graph.states {
        for id in [&mut state.initial, &mut state.next] {
            if let Some(new) = map[id.index()] {
                *id = new;
            }
        }
    }
    for assertion in &mut graph.asserts {
        let reads = assertion.reads.iter_mut().map(|(_, node)| node);
        for id in reads.chain([&mut assertion.condition]) {
            if let Some(new) = map[id.index()] {
                *id = new;
            }
        }
    }
    Rewritten { graph, map }
}

/// The body of a scan after a pass.
pub(super) fn rewrite_body(
    body: &ScanBody,
    pass: impl FnOnce(&Graph, &[NodeId]) -> Rewritten,
) -> ScanBody {
    let Rewritten { graph, map } = pass(&body.graph, &body.next);
    ScanBody {
        graph,
        next: body
            .next
            .iter()
            .map(|next| map[next.index()].unwrap_or(*next))
            .collect(),
    }
}

/// Adds an old node under its new operands.
pub(super) fn copy(
    old: &Graph,
    new: &mut Graph,
    id: NodeId,
    op: Op,
    operands: &[NodeId],
) -> NodeId {
    let node = old.node(id);
    new.add(op, operands, node.ty.clone(), node.span, node.call)
}

/// The nodes that stand for themselves: with respect to which something is differentiated. Another node
/// of the same value is another variable, so these are neither merged, nor replaced, nor looked through.
///
/// Sources are excepted: two nodes that read one input, model or field are one variable.
pub(super) fn opaque(graph: &Graph) -> Vec<bool> {
    let mut opaque = vec![false; graph.len()];
    for id in graph.ids().filter(|&id| matches!(graph.op(id), Op::Grad)) {
        let x = graph.operands(id)[1];
        opaque[x.index()] = !matches!(
            graph.op(x),
            Op::Input(_) | Op::State(_) | Op::Field(_) | Op::Model { .. } | Op::Trainable(_)
        );
    }
    opaque
}
