//! The functions of text, elementwise on arrays.

use regex::Regex;
use rlp_text as text;

use super::Fault;
use crate::array::{Array, Elements};
use crate::graph::TextOp;

/// Applies a function of text elementwise; the operands have one shape.
pub fn evaluate(op: &TextOp, operands: &[&Array]) -> Result<Array, Fault> {
    let shape = operands.first().ok_or(Fault::Type)?.shape.clone();
    if operands.iter().any(|operand| operand.shape != shape) {
        return Err(Fault::Type);
    }
    let texts = |position: usize| match operands.get(position).map(|array| &array.elements) {
        Some(Elements::Text(texts)) => Ok(texts.as_slice()),
        _ => Err(Fault::Type),
    };
    let first = texts(0)?;
    let elements = match op {
        TextOp::Contains => Elements::Bool(two(first, texts(1)?, text::contains)),
        TextOp::StartsWith => {
            Elements::Bool(two(first, texts(1)?, |text, part| text.starts_with(part)))
        }
        TextOp::EndsWith => {
            Elements::Bool(two(first, texts(1)?, |text, part| text.ends_with(part)))
        }
        TextOp::Equal => Elements::Bool(two(first, texts(1)?, |a, b| a == b)),
        TextOp::AfterLast => strings(two(first, texts(1)?, text::after_last)),
        TextOp::AfterFirst => strings(two(first, texts(1)?, text::after_first)),
        TextOp::Before => strings(two(first, texts(1)?, text::before)),
        TextOp::Between => strings(three(first, texts(1)?, texts(2)?, text::between)),
        TextOp::Join => strings(two(first, texts(1)?, |a, b| format!("{a}{b}"))),
        TextOp::Replace => strings(three(first, texts(1)?, texts(2)?, text::replace)),
        TextOp::Occurrences => Elements::Int(two(first, texts(1)?, text::occurrences)),
        TextOp::EditDistance => Elements::Int(two(first, texts(1)?, text::edit_distance)),
        TextOp::Trim => strings(one(first, text::trim)),
        TextOp::Lower => strings(one(first, text::lower)),
        TextOp::Upper => strings(one(first, str::to_uppercase)),
        TextOp::Words => Elements::Int(one(first, text::words)),
        TextOp::Length => Elements::Int(one(first, text::length)),
        TextOp::Repetition(n) => Elements::Real(one(first, |it| text::repetition(it, *n as usize))),
        TextOp::Number => {
            let otherwise = match operands.get(1).map(|array| &array.elements) {
                Some(Elements::Real(values)) => values,
                _ => return Err(Fault::Type),
            };
            let numbers = one(first, text::number).into_iter().zip(otherwise);
            Elements::Real(
                numbers
                    .map(|(number, &otherwise)| number.unwrap_or(otherwise))
                    .collect(),
            )
        }
        TextOp::Matches(pattern) => {
            let pattern = compile(pattern)?;
            Elements::Bool(one(first, |text| pattern.is_match(text)))
        }
        TextOp::Captures { pattern, group } => {
            let pattern = compile(pattern)?;
            strings(one(first, |it| text::captures(&pattern, *group, it)))
        }
    };
    Ok(Array { shape, elements })
}

/// A regular expression, or why it cannot be read.
pub fn compile(pattern: &str) -> Result<Regex, Fault> {
    Regex::new(pattern).map_err(|error| Fault::Pattern(error.to_string()))
}

/// Bytes of all the texts of an array; 0 for other elements.
pub(super) fn characters(array: &Array) -> usize {
    match &array.elements {
        Elements::Text(texts) => texts.iter().map(String::len).sum(),
        Elements::Real(_) | Elements::Int(_) | Elements::Bool(_) => 0,
    }
}

fn one<'t, T>(texts: &'t [String], f: impl Fn(&'t str) -> T) -> Vec<T> {
    texts.iter().map(|text| f(text)).collect()
}

fn two<'t, T>(a: &'t [String], b: &'t [String], f: impl Fn(&'t str, &'t str) -> T) -> Vec<T> {
    a.iter().zip(b).map(|(a, b)| f(a, b)).collect()
}

fn three<'t, T>(
    a: &'t [String],
    b: &'t [String],
    c: &'t [String],
    f: impl Fn(&'t str, &'t str, &'t str) -> T,
) -> Vec<T> {
    let all = a.iter().zip(b).zip(c);
    all.map(|((a, b), c)| f(a, b, c)).collect()
}

fn strings(texts: Vec<impl Into<String>>) -> Elements {
    Elements::Text(texts.into_iter().map(Into::into).collect())
}
