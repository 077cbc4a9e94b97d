//! One element: the C of a primitive on scalars.

use crate::graph::{Binary, Reduction, Unary};
use crate::ty::Elem;

/// The C type of an element; bools are bytes in memory and `bool` in registers.
pub(super) fn c_type(elem: Elem) -> &'static str {
    match elem {
        Elem::Real => "real",
        Elem::Int => "integer",
        Elem::Bool => "bool",
        Elem::Text => "void",
    }
}

pub(super) fn literal(value: f64) -> String {
    if value.is_nan() {
        "real(NAN)".to_string()
    } else if value.is_infinite() {
        format!("real({}INFINITY)", if value < 0.0 { "-" } else { "" })
    } else {
        format!("real({value:?})")
    }
}

pub(super) fn unary(op: Unary, elem: Elem, x: &str) -> String {
    match op {
        // As unsigned, so that the least integer wraps around.
        Unary::Neg if elem == Elem::Int => format!("integer(0ull - (unsigned long long){x})"),
        Unary::Abs if elem == Elem::Int => {
            format!("({x} < 0 ? integer(0ull - (unsigned long long){x}) : {x})")
        }
        Unary::Neg => format!("-{x}"),
        Unary::Not => format!("!{x}"),
        Unary::Abs => format!("fabs({x})"),
        Unary::Sign => format!("sign_of({x})"),
        Unary::Exp => format!("exp({x})"),
        Unary::Expm1 => format!("expm1({x})"),
        Unary::Log => format!("log({x})"),
        Unary::Log1p => format!("log1p({x})"),
        Unary::Sqrt => format!("sqrt({x})"),
        Unary::Sin => format!("sin({x})"),
        Unary::Cos => format!("cos({x})"),
        Unary::Tan => format!("tan({x})"),
        Unary::Atan => format!("atan({x})"),
        Unary::Tanh => format!("tanh({x})"),
        Unary::Sigmoid => format!("sigmoid({x})"),
        Unary::LogSigmoid => format!("log_sigmoid({x})"),
        Unary::Floor => format!("floor({x})"),
        Unary::Ceil => format!("ceil({x})"),
        Unary::Round => format!("rint({x})"),
        Unary::IsFinite => format!("isfinite({x})"),
    }
}

pub(super) fn binary(op: Binary, elem: Elem, a: &str, b: &str) -> String {
    let is_int = elem == Elem::Int;
    let infix = |sign: &str| format!("{a} {sign} {b}");
    let wrapping =
        |sign: &str| format!("integer((unsigned long long){a} {sign} (unsigned long long){b})");
    match op {
        Binary::Add if is_int => wrapping("+"),
        Binary::Sub if is_int => wrapping("-"),
        Binary::Mul if is_int => wrapping("*"),
        Binary::Div if is_int => format!("quotient({a}, {b})"),
        Binary::Pow if is_int => format!("power({a}, {b})"),
        Binary::Add => infix("+"),
        Binary::Sub => infix("-"),
        Binary::Mul => infix("*"),
        Binary::Div => infix("/"),
        Binary::Pow => format!("pow({a}, {b})"),
        Binary::Mod => format!("modulo({a}, {b})"),
        Binary::Min => format!("least({a}, {b})"),
        Binary::Max => format!("greatest({a}, {b})"),
        Binary::Eq => infix("=="),
        Binary::Ne => infix("!="),
        Binary::Lt => infix("<"),
        Binary::Le => infix("<="),
        Binary::Gt => infix(">"),
        Binary::Ge => infix(">="),
        Binary::And => infix("&&"),
        Binary::Or => infix("||"),
    }
}

/// From an element to another; reals become integers toward −∞.
pub(super) fn cast(from: Elem, to: Elem, x: &str) -> String {
    match (from, to) {
        (Elem::Real, Elem::Int) => format!("integer(floor({x}))"),
        (_, Elem::Real) => format!("real({x})"),
        (_, Elem::Int) => format!("integer({x})"),
        (_, Elem::Bool | Elem::Text) => x.to_string(),
    }
}

/// The type of a reduction of values of this element.
pub(super) fn reducer(kind: Reduction, elem: Elem) -> &'static str {
    let is_int = elem == Elem::Int;
    match kind {
        Reduction::Sum if is_int => "Sum<integer>",
        Reduction::Sum => "Sum<double>",
        Reduction::Mean => "Mean",
        Reduction::Max if is_int => "Max<integer>",
        Reduction::Max => "Max<double>",
        Reduction::Min if is_int => "Min<integer>",
        Reduction::Min => "Min<double>",
        Reduction::Product if is_int => "Product<integer>",
        Reduction::Product => "Product<double>",
        Reduction::LogSumExp => "LogSumExp",
        Reduction::Any => "Any",
        Reduction::All => "All",
        Reduction::Count => "Sum<integer>",
    }
}
