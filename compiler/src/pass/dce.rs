//! Dead code: what no sink reads goes.

use super::rewrite::{Rewritten, copy, rewrite, rewrite_body};
use crate::graph::{Graph, NodeId};

/// The roots, and what they read; and which positions are real of the dimensions of all these.
pub(super) fn dce(graph: &Graph, roots: &[NodeId]) -> Rewritten {
    let mut alive = vec![false; graph.len()];
    let mut open = roots.to_vec();
    while let Some(id) = open.pop() {
        if !std::mem::replace(&mut alive[id.index()], true) {
            open.extend(graph.operands(id));
            let dims = graph.ty(id).dims.iter();
            open.extend(dims.filter_map(|dim| graph.masks.get(dim)));
        }
    }
    rewrite(
        graph,
        |_, body| rewrite_body(body, dce),
        |new, id, op, operands| alive[id.index()].then(|| copy(graph, new, id, op, &operands)),
    )
}
