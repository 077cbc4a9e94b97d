//! Expressions: chains of operands and operators become trees here.

use pest::iterators::Pair;

use super::{Builder, Parts, need, unexpected};
use crate::ast::{Arg, BinaryOp, Body, Expr, ExprKind, Ident, UnaryOp};
use crate::error::SyntaxError;
use crate::syntax::Rule;

/// How tightly operators bind, loosest first. Prefix `not` stands between `and` and the comparisons, prefix `-` between
/// `*` and `^`, so that `-x^2` is −(x²).
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const NEGATION: u8 = 7;
const POWER: u8 = 8;

/// How tightly an `operator` pair binds.
pub(crate) fn binding(pair: &Pair<'_, Rule>) -> u8 {
    match binary_op(pair) {
        BinaryOp::Or => OR,
        BinaryOp::And => AND,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            COMPARISON
        }
        BinaryOp::Add | BinaryOp::Sub => SUM,
        BinaryOp::Mul | BinaryOp::Div => PRODUCT,
        BinaryOp::Pow => POWER,
    }
}

impl Builder<'_> {
    pub(super) fn expr(&mut self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut chain = Parts::of(pair);
        // No tree made of a chain is deeper than the chain is long.
        let levels = chain.0.len();
        let built = self.nested(levels, span, |builder| {
            let mut expr = builder.climb(&mut chain, OR);
            while let Some(pipe) = chain.take(Rule::pipe) {
                expr = builder.pipe(expr, pipe);
            }
            expr
        });
        built.unwrap_or(Expr {
            kind: ExprKind::Error,
            span,
        })
    }

    /// Reads operands and the operators between them that bind at least as tightly as `floor`.
    fn climb(&mut self, chain: &mut Parts<'_>, floor: u8) -> Expr {
        let mut left = self.prefixed(chain);
        let mut compared = false;
        while let Some(Rule::operator) = chain.peek() {
            let Some(pair) = chain.0.peek() else { break };
            let (op, tightness) = (binary_op(&pair), binding(&pair));
            if tightness < floor {
                break;
            }
            let op_span = self.span(&pair);
            chain.next();
            // Only `^` groups to the right.
            let right = self.climb(
                chain,
                if op == BinaryOp::Pow {
                    POWER
                } else {
                    tightness + 1
                },
            );
            if compared && tightness == COMPARISON {
                self.errors.push(SyntaxError::chained_comparison(op_span));
            }
            compared = tightness == COMPARISON;
            let span = left.span.to(right.span);
            left = Expr {
                kind: ExprKind::Binary {
                    op,
                    op_span,
                    left: Box::new(left),
                    right: Box::new(right),
                },
                span,
            };
        }
        left
    }

    fn prefixed(&mut self, chain: &mut Parts<'_>) -> Expr {
        if let Some(pair) = chain.take(Rule::prefix) {
            let start = self.span(&pair);
            let (op, floor) = if pair.as_str() == "not" {
                (UnaryOp::Not, NOT)
            } else {
                (UnaryOp::Neg, NEGATION)
            };
            let operand = self.climb(chain, floor);
            let span = start.to(operand.span);
            return Expr {
                kind: ExprKind::Unary {
                    op,
                    operand: Box::new(operand),
                },
                span,
            };
        }
        let mut expr = self.operand(chain.need());
        loop {
            let rule = match chain.peek() {
                Some(rule @ (Rule::call | Rule::field | Rule::with | Rule::ascription)) => rule,
                _ => return expr,
            };
            let pair = chain.need();
            let span = expr.span.to(self.span(&pair));
            let base = Box::new(expr);
            let kind = match rule {
                Rule::call => ExprKind::Call {
                    callee: base,
                    args: self.args(pair),
                },
                Rule::field => ExprKind::Field {
                    base,
                    field: self.ident(Parts::of(pair).need()),
                },
                Rule::with => ExprKind::With {
                    base,
                    fields: self.fields(pair),
                },
                Rule::ascription => ExprKind::Ascribe {
                    value: base,
                    ty: self.ty(Parts::of(pair).need()),
                },
                rule => unexpected(rule),
            };
            expr = Expr { kind, span };
        }
    }

    fn operand(&mut self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number => self.number(&pair),
            Rule::text => ExprKind::Text(self.text(&pair)),
            Rule::boolean => ExprKind::Bool(pair.as_str() == "true"),
            Rule::variable => ExprKind::Name(pair.as_str().to_owned()),
            Rule::list => ExprKind::List(
                pair.into_inner()
                    .map(|element| self.expr(element))
                    .collect(),
            ),
            Rule::record => ExprKind::Record(self.fields(pair)),
            Rule::group => self.expr(Parts::of(pair).need()).kind,
            Rule::conditional => return self.conditional(pair),
            Rule::lambda => {
                let mut parts = Parts::of(pair);
                let mut params = Vec::new();
                while let Some(name) = parts.take(Rule::name) {
                    params.push(self.ident(name));
                }
                ExprKind::Lambda {
                    params,
                    body: Box::new(self.expr(parts.need())),
                }
            }
            Rule::hole => ExprKind::Error,
            rule => unexpected(rule),
        };
        Expr { kind, span }
    }

    fn number(&mut self, pair: &Pair<'_, Rule>) -> ExprKind {
        let digits = pair.as_str();
        let value: f64 = digits.parse().unwrap_or(f64::INFINITY);
        if value.is_infinite() {
            self.errors
                .push(SyntaxError::number_too_large(self.span(pair), digits));
        }
        ExprKind::Number {
            value,
            integer: digits.bytes().all(|byte| byte.is_ascii_digit()),
        }
    }

    fn conditional(&mut self, pair: Pair<'_, Rule>) -> Expr {
        let span = self.span(&pair);
        let mut branches = Vec::new();
        let mut parts = pair
            .into_inner()
            .filter(|part| part.as_rule() != Rule::ELSE)
            .peekable();
        while let Some(word) = parts.next_if(|part| part.as_rule() == Rule::IF) {
            branches.push((self.span(&word), need(parts.next()), need(parts.next())));
        }
        let last = need(parts.next());
        let built = self.nested(branches.len(), span, |builder| {
            let end = builder.span(&last);
            let mut otherwise = builder.body(last);
            // `else if` is an `else` whose body is the next `if`; so the last one is built first.
            for (word, cond, then) in branches.into_iter().rev() {
                let cond = Box::new(builder.expr(cond));
                let then = Box::new(builder.body(then));
                let kind = ExprKind::If {
                    cond,
                    then,
                    otherwise: Box::new(otherwise),
                };
                let span = word.to(end);
                otherwise = Body {
                    stmts: Vec::new(),
                    result: Some(Box::new(Expr { kind, span })),
                    span,
                };
            }
            otherwise.result
        });
        match built.flatten() {
            Some(expr) => *expr,
            None => Expr {
                kind: ExprKind::Error,
                span,
            },
        }
    }

    fn pipe(&mut self, value: Expr, pair: Pair<'_, Rule>) -> Expr {
        let whole = value.span.to(self.span(&pair));
        let mut parts = Parts::of(pair);
        let mut callee = self.operand(parts.need());
        while let Some(field) = parts.take(Rule::field) {
            let span = callee.span.to(self.span(&field));
            let field = self.ident(Parts::of(field).need());
            callee = Expr {
                kind: ExprKind::Field {
                    base: Box::new(callee),
                    field,
                },
                span,
            };
        }
        let call = parts.need();
        let span = callee.span.to(self.span(&call));
        let call = Expr {
            kind: ExprKind::Call {
                callee: Box::new(callee),
                args: self.args(call),
            },
            span,
        };
        Expr {
            kind: ExprKind::Pipe {
                value: Box::new(value),
                call: Box::new(call),
            },
            span: whole,
        }
    }

    fn args(&mut self, pair: Pair<'_, Rule>) -> Vec<Arg> {
        let mut args = Vec::new();
        for argument in pair.into_inner() {
            let mut parts = Parts::of(argument);
            let name = parts.take(Rule::label).map(|label| self.ident(label));
            args.push(Arg {
                name,
                value: self.expr(parts.need()),
            });
        }
        args
    }

    fn fields(&mut self, pair: Pair<'_, Rule>) -> Vec<(Ident, Expr)> {
        let mut fields = Vec::new();
        let mut parts = Parts::of(pair);
        while let Some(field) = parts.take(Rule::record_field) {
            let mut parts = Parts::of(field);
            let label = self.ident(parts.need());
            fields.push((label, self.expr(parts.need())));
        }
        fields
    }
}

fn binary_op(pair: &Pair<'_, Rule>) -> BinaryOp {
    match pair.as_str() {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "^" => BinaryOp::Pow,
        "==" => BinaryOp::Eq,
        "!=" => BinaryOp::Ne,
        "<" => BinaryOp::Lt,
        "<=" => BinaryOp::Le,
        ">" => BinaryOp::Gt,
        ">=" => BinaryOp::Ge,
        "and" => BinaryOp::And,
        "or" => BinaryOp::Or,
        _ => unexpected(Rule::operator),
    }
}
