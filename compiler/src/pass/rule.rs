//! The graph of an update as kernels run it: clipping folded in, and whether what comes of it is finite.

use super::rewrite::{Rewritten, copy, rewrite};
use super::{apply, cse, dce, simplify};
use crate::graph::{Binary, Graph, NodeId, Op, Reduction, Unary};
use crate::plan::UpdatePlan;
use crate::ty::{Elem, Ty};

/// An update that takes one more input, by which the gradient is multiplied, if it clips.
#[derive(Clone, Debug)]
pub struct RuleGraph {
    pub update: UpdatePlan,
    /// A bool: whether all elements of the new parameter are finite.
    pub finite: NodeId,
}

/// The name of the factor of the gradient.
pub const CLIP: &str = "clip";

impl RuleGraph {
    pub fn new(update: &UpdatePlan, clips: bool) -> RuleGraph {
        let mut update = update.clone();
        if clips {
            for pass in [clip, simplify::simplify, cse::cse, dce::dce] {
                apply(pass, &mut update);
            }
        }
        let node = update.graph.node(update.param).clone();
        let mut add = |op: Op, operand: NodeId, ty: Ty| {
            update.graph.add(op, &[operand], ty, node.span, node.call)
        };
        let finite = add(
            Op::Unary(Unary::IsFinite),
            update.param,
            node.ty.with_elem(Elem::Bool),
        );
        let all = Op::Reduce {
            kind: Reduction::All,
            over: node.ty.dims.clone(),
        };
        let finite = add(all, finite, Ty::scalar(Elem::Bool));
        RuleGraph { update, finite }
    }
}

/// Multiplies what is read as `grad` by `clip`.
fn clip(graph: &Graph, _roots: &[NodeId]) -> Rewritten {
    rewrite(
        graph,
        |_, body| body.clone(),
        |new, id, op, operands| {
            let is_gradient = matches!(&op, Op::Input(name) if name == "grad");
            let own = copy(graph, new, id, op, &operands);
            if !is_gradient {
                return Some(own);
            }
            let node = graph.node(id);
            let mut add = |op: Op, operands: &[NodeId], ty: Ty| {
                new.add(op, operands, ty, node.span, node.call)
            };
            let factor = add(Op::Input(CLIP.to_string()), &[], Ty::scalar(Elem::Real));
            let factor = if node.ty.dims.is_empty() {
                factor
            } else {
                add(Op::Broadcast, &[factor], node.ty.clone())
            };
            Some(add(
                Op::Binary(Binary::Mul),
                &[own, factor],
                node.ty.clone(),
            ))
        },
    )
}
