//! Common subexpressions: of several nodes that compute the same, the first stays.

use std::collections::HashMap;
use std::sync::Arc;

use super::rewrite::{Rewritten, copy, opaque, rewrite, rewrite_body};
use crate::graph::{Binary, Graph, NodeId, Op, ScanBody};
use crate::ty::Ty;

/// Merges nodes with equal primitives, operands and types.
pub(super) fn cse(graph: &Graph, _roots: &[NodeId]) -> Rewritten {
    let opaque = opaque(graph);
    let mut bodies: HashMap<String, Arc<ScanBody>> = HashMap::new();
    let mut known: HashMap<(String, Vec<NodeId>, Ty), NodeId> = HashMap::new();
    rewrite(
        graph,
        |_, body| rewrite_body(body, cse),
        |new, id, mut op, operands| {
            let key = match &mut op {
                Op::Scan { body, .. } => {
                    let key = body_key(body);
                    *body = bodies
                        .entry(key.clone())
                        .or_insert_with(|| body.clone())
                        .clone();
                    format!("{} {key}", scan_key(&op))
                }
                op => format!("{op:?}"),
            };
            let mut order = operands.clone();
            if commutes(&op) {
                order.sort_unstable();
            }
            if opaque[id.index()] {
                return Some(copy(graph, new, id, op, &operands));
            }
            let key = (key, order, graph.ty(id).clone());
            Some(
                *known
                    .entry(key)
                    .or_insert_with(|| copy(graph, new, id, op, &operands)),
            )
        },
    )
}

/// Whether the operands may be exchanged, to the last bit.
fn commutes(op: &Op) -> bool {
    use Binary::{Add, And, Eq, Mul, Ne, Or};
    matches!(op, Op::Binary(Add | Mul | And | Or | Eq | Ne))
}

/// A scan but for its body.
fn scan_key(op: &Op) -> String {
    match op {
        Op::Scan {
            over,
            reverse,
            xs,
            captured,
            carries,
            masked,
            part,
            body: _,
        } => {
            format!("scan {over:?} {reverse} {xs} {captured} {carries} {masked} {part}")
        }
        other => format!("{other:?}"),
    }
}

/// What a body computes, wherever in the text it stands.
fn body_key(body: &ScanBody) -> String {
    let mut key = String::new();
    for id in body.graph.ids() {
        let op = match body.graph.op(id) {
            op @ Op::Scan { body, .. } => format!("{} {{{}}}", scan_key(op), body_key(body)),
            op => format!("{op:?}"),
        };
        key += &format!(
            "{op} {:?} {:?};",
            body.graph.operands(id),
            body.graph.ty(id)
        );
    }
    key + &format!("{:?}", body.next)
}
