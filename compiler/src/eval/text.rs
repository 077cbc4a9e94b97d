//! The functions of text, all of them total; the executors call these, so that text means one thing.

use regex::Regex;

use super::Fault;
use crate::array::{Array, Elements};
use crate::graph::TextOp;

/// Applies a function of text elementwise; the operands have one shape.
pub fn evaluate(op: &TextOp, operands: &[&Array]) -> Result<Array, Fault> {
    let text = |position: usize| match operands.get(position).map(|array| &array.elements) {
        Some(Elements::Text(texts)) => Ok(texts.as_slice()),
        _ => Err(Fault::Type),
    };
    let shape = operands.first().ok_or(Fault::Type)?.shape.clone();
    if operands.iter().any(|operand| operand.shape != shape) {
        return Err(Fault::Type);
    }
    let elements = match op {
        TextOp::Contains => {
            Elements::Bool(two(text(0)?, text(1)?, |text, part| text.contains(part)))
        }
        TextOp::StartsWith => {
            Elements::Bool(two(text(0)?, text(1)?, |text, part| text.starts_with(part)))
        }
        TextOp::EndsWith => {
            Elements::Bool(two(text(0)?, text(1)?, |text, part| text.ends_with(part)))
        }
        TextOp::Equal => Elements::Bool(two(text(0)?, text(1)?, |a, b| a == b)),
        TextOp::AfterLast => Elements::Text(two(text(0)?, text(1)?, |text, marker| {
            after(text.rfind(marker), text, marker)
        })),
        TextOp::AfterFirst => Elements::Text(two(text(0)?, text(1)?, |text, marker| {
            after(text.find(marker), text, marker)
        })),
        TextOp::Before => Elements::Text(two(text(0)?, text(1)?, |text, marker| {
            text.find(marker)
                .map_or(text, |place| &text[..place])
                .to_string()
        })),
        TextOp::Between => {
            let closes = text(2)?;
            Elements::Text(
                two(text(0)?, text(1)?, |text, open| {
                    after(text.find(open), text, open)
                })
                .iter()
                .zip(closes)
                .map(|(rest, close)| {
                    rest.find(close.as_str())
                        .map_or("", |place| &rest[..place])
                        .to_string()
                })
                .collect(),
            )
        }
        TextOp::Join => Elements::Text(two(text(0)?, text(1)?, |a, b| format!("{a}{b}"))),
        TextOp::Replace => {
            let news = text(2)?;
            let pairs = text(0)?.iter().zip(text(1)?).zip(news);
            Elements::Text(
                pairs
                    .map(|((text, old), new)| {
                        if old.is_empty() {
                            text.clone()
                        } else {
                            text.replace(old, new)
                        }
                    })
                    .collect(),
            )
        }
        TextOp::Occurrences => Elements::Int(two(text(0)?, text(1)?, |text, part| {
            if part.is_empty() {
                0
            } else {
                text.matches(part).count() as i64
            }
        })),
        TextOp::Trim => Elements::Text(one(text(0)?, |text| text.trim().to_string())),
        TextOp::Lower => Elements::Text(one(text(0)?, str::to_lowercase)),
        TextOp::Upper => Elements::Text(one(text(0)?, str::to_uppercase)),
        TextOp::Words => {
            Elements::Int(one(text(0)?, |text| text.split_whitespace().count() as i64))
        }
        TextOp::Length => Elements::Int(one(text(0)?, |text| text.chars().count() as i64)),
        TextOp::Number => {
            let otherwise = match operands.get(1).map(|array| &array.elements) {
                Some(Elements::Real(values)) => values,
                _ => return Err(Fault::Type),
            };
            let texts = text(0)?.iter().zip(otherwise);
            Elements::Real(
                texts
                    .map(|(text, &otherwise)| number(text).unwrap_or(otherwise))
                    .collect(),
            )
        }
        TextOp::Matches(pattern) => {
            let pattern = compile(pattern)?;
            Elements::Bool(one(text(0)?, |text| pattern.is_match(text)))
        }
        TextOp::Captures { pattern, group } => {
            let pattern = compile(pattern)?;
            Elements::Text(one(text(0)?, |text| {
                let captures = pattern.captures(text);
                captures
                    .and_then(|found| found.get(*group as usize))
                    .map_or("", |part| part.as_str())
                    .to_string()
            }))
        }
    };
    Ok(Array { shape, elements })
}

/// The plain decimal number that the trimmed text is: a sign, digits with a point, an exponent; finite.
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))
    {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
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

fn one<T>(texts: &[String], f: impl Fn(&str) -> T) -> Vec<T> {
    texts.iter().map(|text| f(text)).collect()
}

fn two<T>(a: &[String], b: &[String], f: impl Fn(&str, &str) -> T) -> Vec<T> {
    a.iter().zip(b).map(|(a, b)| f(a, b)).collect()
}

fn after(place: Option<usize>, text: &str, marker: &str) -> String {
    place
        .map_or("", |place| &text[place + marker.len()..])
        .to_string()
}
