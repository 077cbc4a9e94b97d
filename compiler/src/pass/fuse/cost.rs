//! What a kernel costs: bytes moved, and beside them arithmetic and the launch in the same unit.
//!
//! Sizes are mostly unknown before the run, so that each dimension has a nominal one. The model only ranks ways to
//! compute the same.

use crate::graph::{Binary, Graph, NodeId, Op, Reduction, Unary};
use crate::ty::{DimId, Dims, Elem, Ty};

/// To launch a kernel or call libtorch, as bytes that could be moved in the time.
pub(super) const LAUNCH: f64 = 8192.0;
/// One operation of a vector unit, for one element.
const SIMPLE: f64 = 0.5;
/// A division or a square root.
const SLOW: f64 = 2.0;
/// An exponential, a logarithm, a power.
const TRANSCENDENTAL: f64 = 8.0;
/// A function of a text, of some hundred characters.
const TEXT: f64 = 256.0;
/// A step of a loop whose carries wait for each other.
const SEQUENTIAL: f64 = 8.0;
/// A row of so many cells is not worth several cores.
const SHORT_ROW: f64 = 4096.0;

/// The size of a dimension, or what is typical for its name.
pub(super) fn size(dims: &Dims, dim: DimId) -> f64 {
    let dim = dims.get(dim);
    match dim.size {
        Some(size) => size as f64,
        None => match dim.name.trim_end_matches('\'') {
            "prompt" => 64.0,
            "sample" | "objective" | "action" | "context" => 8.0,
            "pair" | "example" | "step" | "class" | "state" | "feature" | "channel" | "layer" => {
                64.0
            }
            "token" => 256.0,
            "vocab" => 32_768.0,
            "row" | "col" => 512.0,
            // Ragged dimensions hold sequences.
            _ if dim.ragged.is_some() => 256.0,
            _ => 64.0,
        },
    }
}

pub(super) fn elements(dims: &Dims, of: &[DimId]) -> f64 {
    of.iter().map(|&dim| size(dims, dim)).product()
}

/// The bytes of one element in single precision.
pub fn width(elem: Elem) -> u64 {
    match elem {
        Elem::Real => 4,
        Elem::Int => 8,
        Elem::Bool => 1,
        // An address and a length.
        Elem::Text => 16,
    }
}

pub(super) fn bytes(dims: &Dims, ty: &Ty) -> f64 {
    width(ty.elem) as f64 * elements(dims, &ty.dims)
}

/// Whether one core may as well do all cells of a kernel.
pub(super) fn is_short(dims: &Dims, cells: &[DimId]) -> bool {
    elements(dims, cells) <= SHORT_ROW
}

/// The arithmetic of a node.
pub(super) fn work(graph: &Graph, id: NodeId) -> f64 {
    let own = elements(&graph.dims, &graph.ty(id).dims);
    let read = || {
        let operands = graph.operands(id);
        operands.first().map_or(own, |&operand| {
            elements(&graph.dims, &graph.ty(operand).dims)
        })
    };
    match graph.op(id) {
        Op::Unary(op) => own * unary(*op),
        Op::Binary(op) => own * binary(*op),
        Op::Reduce {
            kind: Reduction::LogSumExp,
            ..
        } => read() * 2.0 * TRANSCENDENTAL,
        Op::Reduce { .. } | Op::Contract { .. } => read() * SIMPLE,
        Op::Scan { body, .. } => own * (SEQUENTIAL + SIMPLE * body.graph.len() as f64),
        Op::Cumsum { .. } => own * SEQUENTIAL,
        Op::Text(_) => own * TEXT,
        Op::Select | Op::Cast(_) | Op::Shift { .. } | Op::Position(_) => own * SIMPLE,
        Op::Literal(_)
        | Op::Input(_)
        | Op::Mask(_)
        | Op::Size(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Broadcast
        | Op::Rename(_)
        | Op::ArgReduce { .. }
        | Op::ArgSort { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Stack(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Factor { .. }
        | Op::Solve { .. }
        | Op::StopGrad
        | Op::Grad => 0.0,
    }
}

fn unary(op: Unary) -> f64 {
    match op {
        Unary::Neg
        | Unary::Not
        | Unary::Abs
        | Unary::Sign
        | Unary::Floor
        | Unary::Ceil
        | Unary::Round
        | Unary::IsFinite => SIMPLE,
        Unary::Sqrt => SLOW,
        Unary::Exp
        | Unary::Expm1
        | Unary::Log
        | Unary::Log1p
        | Unary::Sin
        | Unary::Cos
        | Unary::Tan
        | Unary::Atan
        | Unary::Tanh
        | Unary::Sigmoid
        | Unary::LogSigmoid => TRANSCENDENTAL,
    }
}

fn binary(op: Binary) -> f64 {
    match op {
        Binary::Div | Binary::Mod => SLOW,
        Binary::Pow => 2.0 * TRANSCENDENTAL,
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Min
        | Binary::Max
        | Binary::Eq
        | Binary::Ne
        | Binary::Lt
        | Binary::Le
        | Binary::Gt
        | Binary::Ge
        | Binary::And
        | Binary::Or => SIMPLE,
    }
}
