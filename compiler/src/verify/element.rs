//! Which elements the elementwise primitives and reductions read and give.

use super::claim;
use crate::eval::text;
use crate::graph::{Binary, Reduction, TextOp, Unary};
use crate::ty::{Elem, Ty};

pub(super) fn unary_elem(op: Unary, x: Elem) -> Option<Elem> {
    match (op, x) {
        (Unary::Neg | Unary::Abs | Unary::Sign, Elem::Real | Elem::Int) => Some(x),
        (Unary::Not, Elem::Bool) => Some(Elem::Bool),
        (Unary::IsFinite, Elem::Real) => Some(Elem::Bool),
        (
            Unary::Exp
            | Unary::Expm1
            | Unary::Log
            | Unary::Log1p
            | Unary::Sqrt
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Atan
            | Unary::Tanh
            | Unary::Sigmoid
            | Unary::LogSigmoid
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round,
            Elem::Real,
        ) => Some(Elem::Real),
        (_, Elem::Real | Elem::Int | Elem::Bool | Elem::Text) => None,
    }
}

pub(super) fn binary_elem(op: Binary, x: Elem) -> Option<Elem> {
    let number = matches!(x, Elem::Real | Elem::Int);
    match op {
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Pow
        | Binary::Mod
        | Binary::Min
        | Binary::Max => number.then_some(x),
        Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => number.then_some(Elem::Bool),
        Binary::Eq | Binary::Ne => (x != Elem::Text).then_some(Elem::Bool),
        Binary::And | Binary::Or => (x == Elem::Bool).then_some(Elem::Bool),
    }
}

pub(super) fn reduced_elem(kind: Reduction, x: Elem) -> Option<Elem> {
    match kind {
        Reduction::Sum | Reduction::Max | Reduction::Min | Reduction::Product => {
            matches!(x, Elem::Real | Elem::Int).then_some(x)
        }
        Reduction::Mean | Reduction::LogSumExp => (x == Elem::Real).then_some(x),
        Reduction::Any | Reduction::All => (x == Elem::Bool).then_some(x),
        Reduction::Count => Some(Elem::Int),
    }
}

pub(super) fn castable(from: Elem, to: Elem) -> bool {
    match (from, to) {
        (Elem::Real, Elem::Int)
        | (Elem::Int | Elem::Bool, Elem::Real)
        | (Elem::Bool, Elem::Int) => true,
        (
            Elem::Real | Elem::Int | Elem::Bool | Elem::Text,
            Elem::Real | Elem::Int | Elem::Bool | Elem::Text,
        ) => from == to,
    }
}

pub(super) fn text_rule(op: &TextOp, operands: &[&Ty], ty: &Ty) -> Result<(), String> {
    let (reads, gives): (&[Elem], Elem) = match op {
        TextOp::Contains | TextOp::StartsWith | TextOp::EndsWith | TextOp::Equal => {
            (&[Elem::Text; 2], Elem::Bool)
        }
        TextOp::AfterLast | TextOp::AfterFirst | TextOp::Before | TextOp::Join => {
            (&[Elem::Text; 2], Elem::Text)
        }
        TextOp::Between | TextOp::Replace => (&[Elem::Text; 3], Elem::Text),
        TextOp::Trim | TextOp::Lower | TextOp::Upper => (&[Elem::Text], Elem::Text),
        TextOp::Words | TextOp::Length => (&[Elem::Text], Elem::Int),
        TextOp::Number => (&[Elem::Text, Elem::Real], Elem::Real),
        TextOp::Occurrences | TextOp::EditDistance => (&[Elem::Text; 2], Elem::Int),
        TextOp::Repetition(n) => {
            claim(*n > 0, "n-grams of no words")?;
            (&[Elem::Text], Elem::Real)
        }
        TextOp::Matches(pattern) => {
            text::compile(pattern).map_err(|fault| fault.to_string())?;
            (&[Elem::Text], Elem::Bool)
        }
        TextOp::Captures { pattern, group } => {
            let pattern = text::compile(pattern).map_err(|fault| fault.to_string())?;
            claim(
                (*group as usize) < pattern.captures_len(),
                "a group that the pattern lacks",
            )?;
            (&[Elem::Text], Elem::Text)
        }
    };
    let elems: Vec<Elem> = operands.iter().map(|operand| operand.elem).collect();
    claim(elems == reads, "operands of other elements")?;
    claim(
        ty.elem == gives && operands.iter().all(|operand| operand.dims == ty.dims),
        "another element or other dimensions",
    )
}
