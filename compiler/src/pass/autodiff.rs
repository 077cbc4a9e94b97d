//! Reverse-mode differentiation, source to source: gradients become nodes.
//!
//! The adjoint of a node is the gradient, with respect to it, of the sum of what is differentiated. It has
//! the node's type. Adjoints are found from the last node to the first; each primitive says what its
//! operands' adjoints gain from its own (`rule.rs`; scans in `scan.rs`, factorisations in `linalg.rs`).
//!
//! At positions that are not real, adjoints are as meaningless as values. Wherever a rule moves adjoints
//! between positions, it first makes them 0 there ([`Builder::clean`]), so none reaches a real one.

mod builder;
mod linalg;
mod rule;
mod scan;

use crate::graph::{Graph, NodeId, Op, ScanBody, TextOp};
use crate::ty::Elem;
use builder::Builder;

use super::rewrite::{Rewritten, copy, rewrite};

/// Expands every `Grad`, inner ones first.
pub(super) fn autodiff(graph: &Graph, _roots: &[NodeId]) -> Rewritten {
    expand(graph, false)
}

fn expand(graph: &Graph, in_body: bool) -> Rewritten {
    rewrite(graph, expand_body, |new, id, op, operands| {
        match (op, operands.as_slice()) {
            (Op::Grad, &[y, x]) => {
                let mut builder = Builder::new(new, in_body);
                let seed = builder.ones(y);
                Some(backward(&mut builder, &[(y, seed)], &[x])[0])
            }
            (op, operands) => Some(copy(graph, new, id, op, operands)),
        }
    })
}

/// A body shares its dimensions with the graph around it, so that new ones are new in both.
fn expand_body(outer: &mut Graph, body: &ScanBody) -> ScanBody {
    let mut inside = body.graph.clone();
    inside.dims = outer.dims.clone();
    let Rewritten { graph, map } = expand(&inside, true);
    outer.dims = graph.dims.clone();
    ScanBody {
        next: body
            .next
            .iter()
            .map(|next| map[next.index()].unwrap_or(*next))
            .collect(),
        graph,
    }
}

/// Adds the gradients of the sum of `y` with respect to each of `wrt` to the graph. The graph holds no `Grad`.
pub fn gradients(graph: &mut Graph, y: NodeId, wrt: &[NodeId]) -> Vec<NodeId> {
    let mut builder = Builder::new(graph, false);
    let seed = builder.ones(y);
    backward(&mut builder, &[(y, seed)], wrt)
}

/// Adds x as it is at real positions, and 0 at the others.
pub(super) fn clean(graph: &mut Graph, x: NodeId) -> NodeId {
    let mut builder = Builder::new(graph, false);
    builder.at(x);
    builder.clean(x)
}

/// The adjoints of `wrt`, given those that the `seeds` have from outside.
fn backward(builder: &mut Builder, seeds: &[(NodeId, NodeId)], wrt: &[NodeId]) -> Vec<NodeId> {
    let end = seeds.iter().map(|(y, _)| y.index() + 1).max().unwrap_or(0);
    let depends = depends(builder.graph, wrt, end);
    let mut adjoints: Vec<Option<NodeId>> = vec![None; builder.graph.len()];
    for &(y, seed) in seeds {
        if depends[y.index()] {
            builder.accumulate(&mut adjoints, y, seed);
        }
    }
    let ids: Vec<NodeId> = builder.graph.ids().take(end).collect();
    for &id in ids.iter().rev() {
        let operands = builder.graph.operands(id);
        let active: Vec<bool> = operands
            .iter()
            .map(|operand| depends[operand.index()])
            .collect();
        if !passes(builder.graph.op(id)) || !active.contains(&true) {
            continue;
        }
        // The scans of one body are differentiated together, at the first of them: then the adjoints of all are known.
        let parts = scan::parts(builder.graph, id, end);
        if parts.first().is_some_and(|&first| first != id) {
            continue;
        }
        builder.at(id);
        let gains = match (adjoints[id.index()], parts.is_empty()) {
            (_, false) => {
                let known = parts
                    .iter()
                    .map(|&part| (part, adjoints[part.index()]))
                    .collect::<Vec<_>>();
                scan::rule(builder, &known, &active)
            }
            (Some(adjoint), true) => rule::rule(builder, id, adjoint, &active),
            (None, true) => Vec::new(),
        };
        for (position, gain) in gains {
            builder.accumulate(&mut adjoints, operands[position], gain);
        }
    }
    wrt.iter()
        .map(|&x| {
            builder.at(x);
            adjoints[x.index()].unwrap_or_else(|| builder.zeros(&builder.graph.ty(x).clone()))
        })
        .collect()
}

/// Whether each of the first nodes is one of `wrt` or depends on one, through real numbers and derivatives that are not 0.
fn depends(graph: &Graph, wrt: &[NodeId], end: usize) -> Vec<bool> {
    let mut depends = vec![false; graph.len()];
    for id in graph.ids().take(end) {
        let through = || {
            passes(graph.op(id))
                && graph
                    .operands(id)
                    .iter()
                    .any(|operand| depends[operand.index()])
        };
        depends[id.index()] = graph.ty(id).elem == Elem::Real && (wrt.contains(&id) || through());
    }
    depends
}

/// Whether a gradient flows from a primitive with a real value to its real operands.
fn passes(op: &Op) -> bool {
    match op {
        Op::Literal(_)
        | Op::Input(_)
        | Op::Mask(_)
        | Op::Size(_)
        | Op::Position(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::ArgReduce { .. }
        | Op::ArgSort { .. }
        | Op::StopGrad
        | Op::Grad => false,
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Broadcast
        | Op::Rename(_)
        | Op::Reduce { .. }
        | Op::Contract { .. }
        | Op::Scan { .. }
        | Op::Cumsum { .. }
        | Op::Shift { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Stack(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Factor { .. }
        | Op::Solve { .. } => true,
        Op::Text(op) => matches!(op, TextOp::Number),
    }
}

/// Whether a primitive may stand on the way from what is differentiated to what it is differentiated
/// with respect to; if not, what it is that has no derivative.
///
/// That way goes through real numbers only: what ends it (a comparison, a draw, a state, `stop_grad`) has the
/// derivative 0. What a model computes depends on its parameters, which are no operands: with respect to those
/// its executor differentiates it.
pub fn has_derivative(op: &Op) -> Result<(), &'static str> {
    match op {
        Op::Model { .. } => Err("a model with respect to the temperature"),
        Op::Backward { .. } => Err("the gradient of a language model"),
        Op::Scan { body, .. } => body
            .graph
            .ids()
            .try_for_each(|id| has_derivative(body.graph.op(id))),
        Op::Literal(_)
        | Op::Input(_)
        | Op::Mask(_)
        | Op::Size(_)
        | Op::Position(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Text(_)
        | Op::Broadcast
        | Op::Rename(_)
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Contract { .. }
        | Op::Cumsum { .. }
        | Op::Shift { .. }
        | Op::ArgSort { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Stack(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Factor { .. }
        | Op::Solve { .. }
        | Op::StopGrad
        | Op::Grad => Ok(()),
    }
}
