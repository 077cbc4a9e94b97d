//! The elementwise primitives.

use super::{Fault, Operand, axis};
use crate::array::{Array, Elements};
use crate::graph::{Binary, Unary};
use crate::ty::Elem;

pub(super) fn unary(op: Unary, x: Operand) -> Result<Array, Fault> {
    let elements = match &x.array.elements {
        Elements::Real(values) if op == Unary::IsFinite => {
            Elements::Bool(values.iter().map(|x| x.is_finite()).collect())
        }
        Elements::Real(values) => Elements::Real(
            values
                .iter()
                .map(|&x| unary_real(op, x))
                .collect::<Option<_>>()
                .ok_or(Fault::Type)?,
        ),
        Elements::Int(values) => Elements::Int(
            values
                .iter()
                .map(|&x| unary_int(op, x))
                .collect::<Option<_>>()
                .ok_or(Fault::Type)?,
        ),
        Elements::Bool(values) if op == Unary::Not => {
            Elements::Bool(values.iter().map(|x| !x).collect())
        }
        Elements::Bool(_) | Elements::Text(_) => return Err(Fault::Type),
    };
    Ok(Array {
        shape: x.array.shape.clone(),
        elements,
    })
}

fn unary_real(op: Unary, x: f64) -> Option<f64> {
    Some(match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => sign(x),
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Atan => x.atan(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => sigmoid(x),
        Unary::LogSigmoid => x.min(0.0) - (-x.abs()).exp().ln_1p(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Not | Unary::IsFinite => return None,
    })
}

fn unary_int(op: Unary, x: i64) -> Option<i64> {
    match op {
        Unary::Neg => Some(x.wrapping_neg()),
        Unary::Abs => Some(x.wrapping_abs()),
        Unary::Sign => Some(x.signum()),
        Unary::Not
        | Unary::Exp
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
        | Unary::Round
        | Unary::IsFinite => None,
    }
}

/// 0 at 0, and of what is not a number.
fn sign(x: f64) -> f64 {
    f64::from(i8::from(x > 0.0) - i8::from(x < 0.0))
}

/// Without overflow on either side.
fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x >= 0.0 {
        1.0 / (1.0 + small)
    } else {
        small / (1.0 + small)
    }
}

pub(super) fn binary(op: Binary, a: Operand, b: Operand) -> Result<Array, Fault> {
    if a.array.shape != b.array.shape {
        return Err(Fault::Type);
    }
    let elements = match (&a.array.elements, &b.array.elements) {
        (Elements::Real(a), Elements::Real(b)) => real_pair(op, a, b)?,
        (Elements::Int(a), Elements::Int(b)) => int_pair(op, a, b)?,
        (Elements::Bool(a), Elements::Bool(b)) => bool_pair(op, a, b)?,
        _ => return Err(Fault::Type),
    };
    Ok(Array {
        shape: a.array.shape.clone(),
        elements,
    })
}

fn zip<A: Copy, B>(a: &[A], b: &[A], f: impl Fn(A, A) -> B) -> Vec<B> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

fn real_pair(op: Binary, a: &[f64], b: &[f64]) -> Result<Elements, Fault> {
    let real = |f: fn(f64, f64) -> f64| Ok(Elements::Real(zip(a, b, f)));
    let claim = |f: fn(f64, f64) -> bool| Ok(Elements::Bool(zip(a, b, f)));
    match op {
        Binary::Add => real(|a, b| a + b),
        Binary::Sub => real(|a, b| a - b),
        Binary::Mul => real(|a, b| a * b),
        Binary::Div => real(|a, b| a / b),
        Binary::Pow => real(f64::powf),
        Binary::Mod => real(modulo),
        Binary::Min => real(least),
        Binary::Max => real(greatest),
        Binary::Eq => claim(|a, b| a == b),
        Binary::Ne => claim(|a, b| a != b),
        Binary::Lt => claim(|a, b| a < b),
        Binary::Le => claim(|a, b| a <= b),
        Binary::Gt => claim(|a, b| a > b),
        Binary::Ge => claim(|a, b| a >= b),
        Binary::And | Binary::Or => Err(Fault::Type),
    }
}

/// The remainder with the sign of the divisor.
fn modulo(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) {
        remainder + b
    } else {
        remainder
    }
}

/// The smaller; the first of equals; not a number if either is not.
pub(super) fn least(a: f64, b: f64) -> f64 {
    if a <= b || a.is_nan() { a } else { b }
}

/// The larger; the first of equals; not a number if either is not.
pub(super) fn greatest(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Integers wrap around on overflow, as libtorch's do.
fn int_pair(op: Binary, a: &[i64], b: &[i64]) -> Result<Elements, Fault> {
    let int = |f: fn(i64, i64) -> i64| Ok(Elements::Int(zip(a, b, f)));
    let claim = |f: fn(i64, i64) -> bool| Ok(Elements::Bool(zip(a, b, f)));
    match op {
        Binary::Add => int(i64::wrapping_add),
        Binary::Sub => int(i64::wrapping_sub),
        Binary::Mul => int(i64::wrapping_mul),
        Binary::Div | Binary::Mod if b.contains(&0) => Err(Fault::DivisionByZero),
        Binary::Div => int(floor_div),
        Binary::Mod => int(|a, b| a.wrapping_sub(floor_div(a, b).wrapping_mul(b))),
        Binary::Pow if b.iter().any(|&b| b < 0) => Err(Fault::NegativeExponent),
        Binary::Pow => int(|a, b| a.wrapping_pow(u32::try_from(b).unwrap_or(u32::MAX))),
        Binary::Min => int(i64::min),
        Binary::Max => int(i64::max),
        Binary::Eq => claim(|a, b| a == b),
        Binary::Ne => claim(|a, b| a != b),
        Binary::Lt => claim(|a, b| a < b),
        Binary::Le => claim(|a, b| a <= b),
        Binary::Gt => claim(|a, b| a > b),
        Binary::Ge => claim(|a, b| a >= b),
        Binary::And | Binary::Or => Err(Fault::Type),
    }
}

/// Toward −∞.
fn floor_div(a: i64, b: i64) -> i64 {
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) {
        quotient - 1
    } else {
        quotient
    }
}

fn bool_pair(op: Binary, a: &[bool], b: &[bool]) -> Result<Elements, Fault> {
    let claim = |f: fn(bool, bool) -> bool| Ok(Elements::Bool(zip(a, b, f)));
    match op {
        Binary::And => claim(|a, b| a && b),
        Binary::Or => claim(|a, b| a || b),
        Binary::Eq => claim(|a, b| a == b),
        Binary::Ne => claim(|a, b| a != b),
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Pow
        | Binary::Mod
        | Binary::Min
        | Binary::Max
        | Binary::Lt
        | Binary::Le
        | Binary::Gt
        | Binary::Ge => Err(Fault::Type),
    }
}

pub(super) fn select(
    condition: Operand,
    then: Operand,
    otherwise: Operand,
) -> Result<Array, Fault> {
    if condition.array.shape != then.array.shape || then.array.shape != otherwise.array.shape {
        return Err(Fault::Type);
    }
    let both = axis::concatenate([&then.array.elements, &otherwise.array.elements])?;
    let n = then.array.len();
    let at: Vec<usize> = condition
        .bool()?
        .iter()
        .enumerate()
        .map(|(position, &holds)| if holds { position } else { n + position })
        .collect();
    Ok(Array {
        shape: then.array.shape.clone(),
        elements: axis::take(&both, &at),
    })
}

pub(super) fn cast(elem: Elem, x: Operand) -> Result<Array, Fault> {
    let elements = match (&x.array.elements, elem) {
        (Elements::Int(values), Elem::Real) => {
            Elements::Real(values.iter().map(|&x| x as f64).collect())
        }
        (Elements::Bool(values), Elem::Real) => {
            Elements::Real(values.iter().map(|&x| f64::from(u8::from(x))).collect())
        }
        (Elements::Bool(values), Elem::Int) => {
            Elements::Int(values.iter().map(|&x| i64::from(x)).collect())
        }
        (Elements::Real(values), Elem::Int) => {
            Elements::Int(values.iter().map(|&x| x.floor() as i64).collect())
        }
        (Elements::Real(_), Elem::Real)
        | (Elements::Int(_), Elem::Int)
        | (Elements::Bool(_), Elem::Bool)
        | (Elements::Text(_), Elem::Text) => x.array.elements.clone(),
        (Elements::Real(_) | Elements::Int(_) | Elements::Text(_), Elem::Bool)
        | (Elements::Text(_), Elem::Real | Elem::Int)
        | (Elements::Real(_) | Elements::Int(_) | Elements::Bool(_), Elem::Text) => {
            return Err(Fault::Type);
        }
    };
    Ok(Array {
        shape: x.array.shape.clone(),
        elements,
    })
}
