//! Functions of text, elementwise over their dimensions.

use rlp_grammar::ast::{Expr, Span};

use crate::array::Array;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Op, TextOp};
use crate::ty::Elem;

impl Elaborator<'_> {
    pub(crate) fn text_function(&mut self, name: &str, bound: &Bound) -> Result<Value> {
        let text_expr = bound.need("text")?;
        let text = self.text_argument(text_expr)?;
        let (op, more, elem) = match name {
            "contains" => (TextOp::Contains, vec!["part"], Elem::Bool),
            "starts_with" => (TextOp::StartsWith, vec!["part"], Elem::Bool),
            "ends_with" => (TextOp::EndsWith, vec!["part"], Elem::Bool),
            "after_last" => (TextOp::AfterLast, vec!["marker"], Elem::Text),
            "after_first" => (TextOp::AfterFirst, vec!["marker"], Elem::Text),
            "before" => (TextOp::Before, vec!["marker"], Elem::Text),
            "between" => (TextOp::Between, vec!["open", "close"], Elem::Text),
            "trim" => (TextOp::Trim, vec![], Elem::Text),
            "lower" => (TextOp::Lower, vec![], Elem::Text),
            "upper" => (TextOp::Upper, vec![], Elem::Text),
            "words" => (TextOp::Words, vec![], Elem::Int),
            "length" => (TextOp::Length, vec![], Elem::Int),
            "replace" => (TextOp::Replace, vec!["old", "new"], Elem::Text),
            "occurrences" => (TextOp::Occurrences, vec!["part"], Elem::Int),
            "edit_distance" => (TextOp::EditDistance, vec!["other"], Elem::Int),
            "repetition" => {
                let n_expr = bound.need("n")?;
                let n = self.expr_tensor(n_expr)?;
                let n = match u32::try_from(self.static_size(n, n_expr.span)?) {
                    Ok(n) if n > 0 => n,
                    _ => {
                        let message = "`n` is the number of words of an n-gram: from 1";
                        return self.error("value-out-of-range", n_expr.span, message);
                    }
                };
                (TextOp::Repetition(n), vec![], Elem::Real)
            }
            "number" => return self.number_of(text, text_expr.span, bound),
            "matches" => (
                TextOp::Matches(self.pattern(bound.need("pattern")?, 0)?),
                vec![],
                Elem::Bool,
            ),
            "captures" => {
                let group = match bound.get("group") {
                    Some(expr) => {
                        let group = self.expr_tensor(expr)?;
                        self.static_size(group, expr.span)? as u32
                    }
                    None => 1,
                };
                let pattern = self.pattern(bound.need("pattern")?, group)?;
                (TextOp::Captures { pattern, group }, vec![], Elem::Text)
            }
            _ => {
                return self.error(
                    "unknown-name",
                    bound.span,
                    format!("there is no function `{name}`"),
                );
            }
        };
        let mut operands = vec![text];
        let mut places = vec![(text, text_expr.span)];
        for name in more {
            let expr = bound.need(name)?;
            let operand = self.text_argument(expr)?;
            operands.push(operand);
            places.push((operand, expr.span));
        }
        self.refuse_outer(name, bound.span, &places)?;
        self.text_op(Op::Text(op), &operands, elem, bound.span)
            .map(Value::Tensor)
    }

    fn text_argument(&mut self, expr: &Expr) -> Result<Tensor> {
        let text = self.expr_tensor(expr)?;
        self.expect_elem(text, Elem::Text, expr.span)
    }

    fn number_of(&mut self, text: Tensor, text_span: Span, bound: &Bound) -> Result<Value> {
        let (otherwise, span) = match bound.get("otherwise") {
            Some(expr) => {
                let otherwise = self.expr_tensor(expr)?;
                (self.real(otherwise, expr.span)?, expr.span)
            }
            None => (self.literal(Array::real(f64::NAN), bound.span)?, bound.span),
        };
        self.refuse_outer(
            "number",
            bound.span,
            &[(text, text_span), (otherwise, span)],
        )?;
        self.text_op(
            Op::Text(TextOp::Number),
            &[text, otherwise],
            Elem::Real,
            bound.span,
        )
        .map(Value::Tensor)
    }

    /// A regular expression, which must be known and right before the run.
    fn pattern(&mut self, expr: &Expr, group: u32) -> Result<String> {
        let value = self.expr_tensor(expr)?;
        let Some(pattern) = self.static_text(value) else {
            return self.error(
                "not-known-before-run",
                expr.span,
                "a regular expression must be known before the run",
            );
        };
        match regex::Regex::new(&pattern) {
            Ok(regex) if group as usize >= regex.captures_len() => {
                let message = format!(
                    "the regular expression has no group {group}: it has {}",
                    regex.captures_len() - 1
                );
                self.error("bad-pattern", expr.span, message)
            }
            Ok(_) => Ok(pattern),
            Err(why) => {
                let why = why.to_string();
                let last = why
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_string();
                self.error(
                    "bad-pattern",
                    expr.span,
                    format!("this is not a regular expression: {last}"),
                )
            }
        }
    }
}
