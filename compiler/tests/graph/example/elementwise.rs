//! Examples of the elementwise primitives.

use rlp_compiler::graph::{Binary, Op, TextOp, Unary};
use rlp_compiler::ty::Elem;

use super::{Build, build};

const UNARY: [Unary; 20] = [
    Unary::Neg,
    Unary::Not,
    Unary::Abs,
    Unary::Sign,
    Unary::Exp,
    Unary::Expm1,
    Unary::Log,
    Unary::Log1p,
    Unary::Sqrt,
    Unary::Sin,
    Unary::Cos,
    Unary::Tan,
    Unary::Atan,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::LogSigmoid,
    Unary::Floor,
    Unary::Ceil,
    Unary::Round,
    Unary::IsFinite,
];

/// The element of the operand and of the result, and between which numbers to try it.
fn unary_domain(op: Unary) -> (Elem, Elem, f64, f64) {
    let real = |low, high| (Elem::Real, Elem::Real, low, high);
    match op {
        Unary::Not => (Elem::Bool, Elem::Bool, 0.0, 1.0),
        Unary::IsFinite => (Elem::Real, Elem::Bool, -2.0, 2.0),
        Unary::Log | Unary::Sqrt => real(0.2, 3.0),
        Unary::Log1p => real(-0.5, 3.0),
        Unary::Tan => real(-1.0, 1.0),
        Unary::Sigmoid | Unary::LogSigmoid => real(-5.0, 5.0),
        Unary::Neg
        | Unary::Abs
        | Unary::Sign
        | Unary::Exp
        | Unary::Expm1
        | Unary::Sin
        | Unary::Cos
        | Unary::Atan
        | Unary::Tanh
        | Unary::Floor
        | Unary::Ceil
        | Unary::Round => real(-2.3, 2.3),
    }
}

pub(crate) fn unary() -> Vec<Build> {
    let with = |op: Unary| {
        build(format!("{op:?}"), move |s| {
            let dims = [s.prompt, s.sample, s.token];
            let (from, to, low, high) = unary_domain(op);
            let x = if from == Elem::Bool {
                s.bools(&dims)
            } else {
                s.variable(&dims, low, high)
            };
            s.add(Op::Unary(op), &[x], to, &dims)
        })
    };
    UNARY.map(with).into()
}

const BINARY: [Binary; 16] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Pow,
    Binary::Mod,
    Binary::Min,
    Binary::Max,
    Binary::Eq,
    Binary::Ne,
    Binary::Lt,
    Binary::Le,
    Binary::Gt,
    Binary::Ge,
    Binary::And,
    Binary::Or,
];

/// The element of the operands and of the result, and the smallest number to try.
fn binary_domain(op: Binary) -> (Elem, Elem, f64) {
    match op {
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Min | Binary::Max => {
            (Elem::Real, Elem::Real, -2.0)
        }
        Binary::Div | Binary::Pow | Binary::Mod => (Elem::Real, Elem::Real, 0.3),
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => {
            (Elem::Real, Elem::Bool, -2.0)
        }
        Binary::And | Binary::Or => (Elem::Bool, Elem::Bool, 0.0),
    }
}

pub(crate) fn binary() -> Vec<Build> {
    let with = |op: Binary| {
        build(format!("{op:?}"), move |s| {
            let dims = [s.prompt, s.sample, s.token];
            let (from, to, low) = binary_domain(op);
            let [a, b] = [(); 2].map(|()| {
                if from == Elem::Bool {
                    s.bools(&dims)
                } else {
                    s.variable(&dims, low, 2.0)
                }
            });
            s.add(Op::Binary(op), &[a, b], to, &dims)
        })
    };
    BINARY.map(with).into()
}

pub(crate) fn select() -> Vec<Build> {
    vec![build("select", |s| {
        let dims = [s.prompt, s.sample, s.token];
        let condition = s.bools(&dims);
        let (then, otherwise) = (s.variable(&dims, -2.0, 2.0), s.variable(&dims, -2.0, 2.0));
        s.add_like(Op::Select, &[condition, then, otherwise], then)
    })]
}

pub(crate) fn cast() -> Vec<Build> {
    vec![
        build("cast real to int", |s| {
            let x = s.variable(&[s.feature], -2.3, 2.3);
            s.add(Op::Cast(Elem::Int), &[x], Elem::Int, &[s.feature])
        }),
        build("cast real to real", |s| {
            let x = s.variable(&[s.feature], -2.3, 2.3);
            s.add_like(Op::Cast(Elem::Real), &[x], x)
        }),
        build("cast bool to real", |s| {
            let x = s.bools(&[s.feature]);
            s.add(Op::Cast(Elem::Real), &[x], Elem::Real, &[s.feature])
        }),
    ]
}

fn text_ops() -> [TextOp; 21] {
    [
        TextOp::Contains,
        TextOp::StartsWith,
        TextOp::EndsWith,
        TextOp::AfterLast,
        TextOp::AfterFirst,
        TextOp::Before,
        TextOp::Between,
        TextOp::Trim,
        TextOp::Lower,
        TextOp::Upper,
        TextOp::Words,
        TextOp::Length,
        TextOp::Number,
        TextOp::Matches("[0-9]+".to_string()),
        TextOp::Captures {
            pattern: "(<)(.)".to_string(),
            group: 2,
        },
        TextOp::Replace,
        TextOp::Occurrences,
        TextOp::EditDistance,
        TextOp::Repetition(2),
        TextOp::Join,
        TextOp::Equal,
    ]
}

/// How many texts it reads, and what it gives.
fn text_type(op: &TextOp) -> (usize, Elem) {
    match op {
        TextOp::Contains | TextOp::StartsWith | TextOp::EndsWith | TextOp::Equal => (2, Elem::Bool),
        TextOp::AfterLast | TextOp::AfterFirst | TextOp::Before | TextOp::Join => (2, Elem::Text),
        TextOp::Between | TextOp::Replace => (3, Elem::Text),
        TextOp::Trim | TextOp::Lower | TextOp::Upper | TextOp::Captures { .. } => (1, Elem::Text),
        TextOp::Words | TextOp::Length => (1, Elem::Int),
        TextOp::Number | TextOp::Repetition(_) => (1, Elem::Real),
        TextOp::Matches(_) => (1, Elem::Bool),
        TextOp::Occurrences | TextOp::EditDistance => (2, Elem::Int),
    }
}

pub(crate) fn text() -> Vec<Build> {
    let with = |op: TextOp| {
        build(format!("text {op:?}"), move |s| {
            let dims = [s.prompt, s.sample];
            let (count, elem) = text_type(&op);
            let mut operands: Vec<_> = (0..count).map(|_| s.texts(&dims)).collect();
            if op == TextOp::Number {
                operands.push(s.variable(&dims, -1.0, 1.0));
            }
            s.add(Op::Text(op.clone()), &operands, elem, &dims)
        })
    };
    text_ops().map(with).into()
}
