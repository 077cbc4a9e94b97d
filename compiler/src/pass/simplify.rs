//! Identities that hold to the last bit, and constants.
//!
//! What only holds of numbers that are finite or not −0 (`x·0 = 0`, `x − x = 0`, `x + 0 = x`) is left alone.

use super::rewrite::{Rewritten, opaque, rewrite, rewrite_body};
use crate::array::{Array, Elements};
use crate::eval;
use crate::graph::{Binary, Graph, NodeId, Op, Unary};
use crate::ty::{Elem, Ty};

/// Replaces every node by a simpler one of the same value, where one look at its operands tells.
pub(super) fn simplify(graph: &Graph, _roots: &[NodeId]) -> Rewritten {
    let opaque = opaque(graph);
    let mut new_opaque: Vec<bool> = Vec::new();
    rewrite(
        graph,
        |_, body| rewrite_body(body, simplify),
        |new, old, op, operands| {
            let node = graph.node(old);
            let mut candidate = (op, operands);
            let id = loop {
                let view = View {
                    graph: new,
                    opaque: &new_opaque,
                };
                let step = if opaque[old.index()] {
                    Step::Keep
                } else {
                    step(view, &candidate.0, &candidate.1, &node.ty)
                };
                let mut add = |op: Op, operands: &[NodeId], ty: &Ty| {
                    new.add(op, operands, ty.clone(), node.span, node.call)
                };
                match step {
                    Step::Keep => break add(candidate.0, &candidate.1, &node.ty),
                    Step::Rewrite(op, operands) => candidate = (op, operands),
                    Step::Replace(id) => break id,
                    Step::Constant(array) => {
                        let literal = add(Op::Literal(array), &[], &Ty::scalar(node.ty.elem));
                        break if node.ty.dims.is_empty() {
                            literal
                        } else {
                            add(Op::Broadcast, &[literal], &node.ty)
                        };
                    }
                }
            };
            new_opaque.resize(new.len(), false);
            new_opaque[id.index()] |= opaque[old.index()];
            Some(id)
        },
    )
}

/// What becomes of a node.
enum Step {
    Keep,
    /// It has the value of this primitive on these operands; look again.
    Rewrite(Op, Vec<NodeId>),
    /// It has the value of an operand.
    Replace(NodeId),
    /// It is this scalar everywhere.
    Constant(Array),
}

/// The new graph so far; what is opaque is not looked into.
#[derive(Clone, Copy)]
struct View<'a> {
    graph: &'a Graph,
    opaque: &'a [bool],
}

impl<'a> View<'a> {
    fn op(self, id: NodeId) -> Option<&'a Op> {
        (!self.opaque[id.index()]).then(|| self.graph.op(id))
    }

    /// The only operand of a node with this primitive.
    fn under(self, id: NodeId, is: impl Fn(&Op) -> bool) -> Option<NodeId> {
        match self.graph.operands(id).as_slice() {
            [x] if self.op(id).is_some_and(is) => Some(*x),
            _ => None,
        }
    }

    fn literal(self, id: NodeId) -> Option<&'a Array> {
        if let Op::Literal(array) = self.op(id)? {
            Some(array)
        } else {
            None
        }
    }

    /// The scalar that a node is everywhere, whether real or not.
    fn constant(self, id: NodeId) -> Option<&'a Array> {
        let scalar = self
            .under(id, |op| matches!(op, Op::Broadcast))
            .unwrap_or(id);
        self.literal(scalar).filter(|array| array.shape.is_empty())
    }

    fn is_real(self, id: NodeId, value: f64) -> bool {
        let bits = |x: &[f64]| x[0].to_bits() == value.to_bits();
        self.constant(id)
            .is_some_and(|array| matches!(&array.elements, Elements::Real(x) if bits(x)))
    }

    fn is_int(self, id: NodeId, value: i64) -> bool {
        self.constant(id)
            .is_some_and(|array| array.elements == Elements::Int(vec![value]))
    }

    fn bool(self, id: NodeId) -> Option<bool> {
        match &self.constant(id)?.elements {
            Elements::Bool(x) => Some(x[0]),
            Elements::Real(_) | Elements::Int(_) | Elements::Text(_) => None,
        }
    }
}

fn step(view: View, op: &Op, operands: &[NodeId], ty: &Ty) -> Step {
    if let Some(constant) = folded(view, op, operands, ty) {
        return Step::Constant(constant);
    }
    let first = || Step::Replace(operands[0]);
    match op {
        Op::Unary(op) => unary(view, *op, operands[0]),
        Op::Binary(op) => binary(view, *op, operands[0], operands[1]),
        Op::Select => select(view, operands[0], operands[1], operands[2]),
        Op::Cast(elem) => cast(view, *elem, operands[0]),
        Op::Broadcast => broadcast(view, operands, ty),
        Op::Reduce { .. } | Op::ArgReduce { .. } | Op::ArgSort { .. } if operands.len() == 2 => {
            without_mask(view, op.clone(), operands)
        }
        Op::Scan { masked: true, .. } => {
            let mut whole = op.clone();
            if let Op::Scan { masked, .. } = &mut whole {
                *masked = false;
            }
            without_mask(view, whole, operands)
        }
        Op::Rename(pairs) if pairs.iter().all(|(old, new)| old == new) => first(),
        Op::Shift { by: 0, .. } => first(),
        Op::StopGrad if view.constant(operands[0]).is_some() => first(),
        Op::StopGrad
            if view
                .under(operands[0], |op| matches!(op, Op::StopGrad))
                .is_some() =>
        {
            first()
        }
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
        | Op::Text(_)
        | Op::Rename(_)
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Contract { .. }
        | Op::Scan { .. }
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
        | Op::Grad => Step::Keep,
    }
}

/// The scalar that a primitive gives everywhere: an elementwise one of constants, or any that gives a scalar of literals.
fn folded(view: View, op: &Op, operands: &[NodeId], ty: &Ty) -> Option<Array> {
    let scalar = Ty::scalar(ty.elem);
    if matches!(
        op,
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Text(_)
    ) {
        let constants: Vec<(Ty, &Array)> = operands
            .iter()
            .map(|&id| Some((Ty::scalar(view.graph.ty(id).elem), view.constant(id)?)))
            .collect::<Option<_>>()?;
        let constants: Vec<(&Ty, &Array)> =
            constants.iter().map(|(ty, array)| (ty, *array)).collect();
        return eval::fold(&view.graph.dims, op, &scalar, &constants);
    }
    if *ty != scalar || matches!(op, Op::Literal(_) | Op::StopGrad) {
        return None;
    }
    let literals: Vec<(&Ty, &Array)> = operands
        .iter()
        .map(|&id| Some((view.graph.ty(id), view.literal(id)?)))
        .collect::<Option<_>>()?;
    eval::fold(&view.graph.dims, op, ty, &literals)
}

fn unary(view: View, op: Unary, x: NodeId) -> Step {
    let inner = view.under(x, |inner| matches!(inner, Op::Unary(inner) if *inner == op));
    match inner {
        Some(inner) if matches!(op, Unary::Neg | Unary::Not) => Step::Replace(inner),
        Some(_) | None => Step::Keep,
    }
}

fn binary(view: View, op: Binary, a: NodeId, b: NodeId) -> Step {
    let negated = |id: NodeId| view.under(id, |op| matches!(op, Op::Unary(Unary::Neg)));
    let neg = |id: NodeId| Step::Rewrite(Op::Unary(Unary::Neg), vec![id]);
    let one = |id: NodeId| view.is_real(id, 1.0) || view.is_int(id, 1);
    match op {
        Binary::Add if view.is_real(b, -0.0) || view.is_int(b, 0) => Step::Replace(a),
        Binary::Add if view.is_real(a, -0.0) || view.is_int(a, 0) => Step::Replace(b),
        Binary::Add => match (negated(a), negated(b)) {
            (_, Some(b)) => Step::Rewrite(Op::Binary(Binary::Sub), vec![a, b]),
            (Some(a), None) => Step::Rewrite(Op::Binary(Binary::Sub), vec![b, a]),
            (None, None) => Step::Keep,
        },
        Binary::Sub if view.is_real(b, 0.0) || view.is_int(b, 0) => Step::Replace(a),
        Binary::Sub => match negated(b) {
            Some(b) => Step::Rewrite(Op::Binary(Binary::Add), vec![a, b]),
            None => Step::Keep,
        },
        Binary::Mul if one(b) => Step::Replace(a),
        Binary::Mul if one(a) => Step::Replace(b),
        Binary::Mul if view.is_real(b, -1.0) => neg(a),
        Binary::Mul if view.is_real(a, -1.0) => neg(b),
        Binary::Div | Binary::Pow if one(b) => Step::Replace(a),
        Binary::Min | Binary::Max if a == b => Step::Replace(a),
        Binary::And => match (view.bool(a), view.bool(b)) {
            (Some(true), _) => Step::Replace(b),
            (_, Some(true)) => Step::Replace(a),
            (Some(false), _) | (_, Some(false)) => Step::Constant(Array::bool(false)),
            (None, None) if a == b => Step::Replace(a),
            (None, None) => Step::Keep,
        },
        Binary::Or => match (view.bool(a), view.bool(b)) {
            (Some(false), _) => Step::Replace(b),
            (_, Some(false)) => Step::Replace(a),
            (Some(true), _) | (_, Some(true)) => Step::Constant(Array::bool(true)),
            (None, None) if a == b => Step::Replace(a),
            (None, None) => Step::Keep,
        },
        Binary::Div
        | Binary::Pow
        | Binary::Mul
        | Binary::Mod
        | Binary::Min
        | Binary::Max
        | Binary::Eq
        | Binary::Ne
        | Binary::Lt
        | Binary::Le
        | Binary::Gt
        | Binary::Ge => Step::Keep,
    }
}

fn select(view: View, condition: NodeId, then: NodeId, otherwise: NodeId) -> Step {
    match (
        view.bool(condition),
        view.under(condition, |op| matches!(op, Op::Unary(Unary::Not))),
    ) {
        (Some(true), _) => Step::Replace(then),
        (Some(false), _) => Step::Replace(otherwise),
        (None, _) if then == otherwise => Step::Replace(then),
        (None, Some(condition)) => Step::Rewrite(Op::Select, vec![condition, otherwise, then]),
        (None, None) => Step::Keep,
    }
}

fn cast(view: View, elem: Elem, x: NodeId) -> Step {
    let inner = view.under(x, |op| matches!(op, Op::Cast(_)));
    match inner {
        _ if view.graph.ty(x).elem == elem => Step::Replace(x),
        // 0 and 1 are the same through the integers.
        Some(inner) if view.graph.ty(inner).elem == Elem::Bool => {
            Step::Rewrite(Op::Cast(elem), vec![inner])
        }
        Some(_) | None => Step::Keep,
    }
}

fn broadcast(view: View, operands: &[NodeId], ty: &Ty) -> Step {
    let (x, mask) = (operands[0], &operands[1..]);
    if mask.is_empty() && view.graph.ty(x) == ty {
        return Step::Replace(x);
    }
    match view.under(x, |op| matches!(op, Op::Broadcast)) {
        Some(inner) => Step::Rewrite(Op::Broadcast, [&[inner], mask].concat()),
        None if mask.is_empty() => Step::Keep,
        None => without_mask(view, Op::Broadcast, operands),
    }
}

/// A mask that holds everywhere is none: `whole` is the primitive that reads none.
fn without_mask(view: View, whole: Op, operands: &[NodeId]) -> Step {
    match operands.split_last() {
        Some((mask, rest)) if view.bool(*mask) == Some(true) => Step::Rewrite(whole, rest.to_vec()),
        Some(_) | None => Step::Keep,
    }
}
