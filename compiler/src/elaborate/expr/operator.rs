//! Operators: elements that agree, dimensions of which one side includes the other's.

use rlp_grammar::ast::{BinaryOp, Expr, Span, UnaryOp};

use crate::diagnostic::Diagnostic;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Op, TextOp, Unary};
use crate::ty::{DimId, Elem};

impl Elaborator<'_> {
    /// An operand as a tensor, or an error that says what was found instead.
    pub(crate) fn tensor(&mut self, value: Value, span: Span) -> Result<Tensor> {
        match value {
            Value::Tensor(tensor) => Ok(tensor),
            Value::List(list) => self.untyped_list(&list),
            Value::Noise(noise) => Err(self.noise_without_dims(noise)),
            Value::Poison => Err(crate::elaborate::Reported),
            Value::Record(record) => {
                let fields: Vec<&str> = record
                    .fields
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                let message = format!(
                    "a tensor is expected here, not a record with the fields {}",
                    fields.join(", ")
                );
                let diagnostic = Diagnostic::error("type-mismatch", span, message).here("a record");
                let diagnostic = match fields.first() {
                    Some(field) => {
                        diagnostic.help(format!("name one of its fields, as in `.{field}`"))
                    }
                    None => diagnostic,
                };
                Err(self.report(diagnostic))
            }
            other => {
                let message = format!("a tensor is expected here, not {}", other.describe());
                Err(self.report(
                    Diagnostic::error("type-mismatch", span, message).here(other.describe()),
                ))
            }
        }
    }

    pub(crate) fn expr_tensor(&mut self, expr: &Expr) -> Result<Tensor> {
        let value = self.expr(expr)?;
        self.tensor(value, expr.span)
    }

    /// A tensor of numbers as `real`.
    pub(crate) fn real(&mut self, x: Tensor, span: Span) -> Result<Tensor> {
        match self.ty(x).elem {
            Elem::Real => Ok(x),
            Elem::Int => self.cast(x, Elem::Real, span),
            Elem::Bool => {
                let shown = self.show_type(x);
                let diagnostic = Diagnostic::error(
                    "type-mismatch",
                    span,
                    format!("a number is expected here, not `{shown}`"),
                )
                .here(shown)
                .help("`real(x)` is 1 where `x` holds and 0 elsewhere");
                Err(self.report(diagnostic))
            }
            Elem::Text => {
                let shown = self.show_type(x);
                let diagnostic = Diagnostic::error(
                    "type-mismatch",
                    span,
                    format!("a number is expected here, not `{shown}`"),
                )
                .here(shown)
                .help("`number(t)` reads a number from text, `length(t)` counts its characters");
                Err(self.report(diagnostic))
            }
        }
    }

    pub(crate) fn expect_elem(&mut self, x: Tensor, elem: Elem, span: Span) -> Result<Tensor> {
        let found = self.ty(x).elem;
        if found == elem {
            return Ok(x);
        }
        if elem == Elem::Real {
            return self.real(x, span);
        }
        let shown = self.show_type(x);
        let message = format!("`{}` is expected here, not `{shown}`", elem.name());
        let mut diagnostic = Diagnostic::error("type-mismatch", span, message).here(shown);
        if elem == Elem::Bool && found != Elem::Text {
            diagnostic = diagnostic.help("compare it, as in `x > 0`");
        }
        if elem == Elem::Int && found == Elem::Real {
            diagnostic = diagnostic.help("`int(x)` rounds down to a whole number");
        }
        Err(self.report(diagnostic))
    }

    pub(crate) fn unary_expr(&mut self, op: UnaryOp, operand: &Expr, span: Span) -> Result<Value> {
        let x = self.expr_tensor(operand)?;
        let result = match op {
            UnaryOp::Not => {
                let x = self.expect_elem(x, Elem::Bool, operand.span)?;
                self.unary(Unary::Not, x, span)?
            }
            UnaryOp::Neg => {
                let x = if self.ty(x).elem == Elem::Int {
                    x
                } else {
                    self.real(x, operand.span)?
                };
                self.unary(Unary::Neg, x, span)?
            }
        };
        Ok(Value::Tensor(result))
    }

    pub(crate) fn binary_expr(
        &mut self,
        op: BinaryOp,
        op_span: Span,
        left: &Expr,
        right: &Expr,
        span: Span,
    ) -> Result<Value> {
        let a = self.expr(left);
        let b = self.expr(right);
        let (a, b) = (a?, b?);
        // Lists and random numbers take their dimensions from the other side.
        let (a, b) = match (a, b) {
            (Value::List(list), Value::Tensor(other)) => (
                Value::Tensor(self.list_like(&list, other)?),
                Value::Tensor(other),
            ),
            (Value::Tensor(other), Value::List(list)) => {
                let list = self.list_like(&list, other)?;
                (Value::Tensor(other), Value::Tensor(list))
            }
            (Value::Noise(noise), Value::Tensor(other)) => (
                Value::Tensor(self.noise_like(noise, other)?),
                Value::Tensor(other),
            ),
            (Value::Tensor(other), Value::Noise(noise)) => {
                let noise = self.noise_like(noise, other)?;
                (Value::Tensor(other), Value::Tensor(noise))
            }
            both => both,
        };
        let a = self.tensor(a, left.span)?;
        let b = self.tensor(b, right.span)?;
        self.binary_tensors(op, op_span, (a, left.span), (b, right.span), span)
            .map(Value::Tensor)
    }

    pub(crate) fn binary_tensors(
        &mut self,
        op: BinaryOp,
        op_span: Span,
        a: (Tensor, Span),
        b: (Tensor, Span),
        span: Span,
    ) -> Result<Tensor> {
        let ((a, a_span), (b, b_span)) = (a, b);
        self.refuse_outer(op.symbol(), op_span, &[(a, a_span), (b, b_span)])?;
        let (left, right) = (self.ty(a).elem, self.ty(b).elem);
        if left == Elem::Text || right == Elem::Text {
            return self.text_binary(op, op_span, (a, a_span), (b, b_span), span);
        }
        match op {
            BinaryOp::And | BinaryOp::Or => {
                let a = self.expect_elem(a, Elem::Bool, a_span)?;
                let b = self.expect_elem(b, Elem::Bool, b_span)?;
                self.binary(
                    if op == BinaryOp::And {
                        Binary::And
                    } else {
                        Binary::Or
                    },
                    a,
                    b,
                    span,
                )
            }
            BinaryOp::Eq | BinaryOp::Ne if left == Elem::Bool && right == Elem::Bool => self
                .binary(
                    if op == BinaryOp::Eq {
                        Binary::Eq
                    } else {
                        Binary::Ne
                    },
                    a,
                    b,
                    span,
                ),
            BinaryOp::Div | BinaryOp::Pow => {
                let a = self.real(a, a_span)?;
                let b = self.real(b, b_span)?;
                self.binary(
                    if op == BinaryOp::Div {
                        Binary::Div
                    } else {
                        Binary::Pow
                    },
                    a,
                    b,
                    span,
                )
            }
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge => {
                let (a, b) = if left == Elem::Int && right == Elem::Int {
                    (a, b)
                } else {
                    (self.real(a, a_span)?, self.real(b, b_span)?)
                };
                let op = match op {
                    BinaryOp::Add => Binary::Add,
                    BinaryOp::Sub => Binary::Sub,
                    BinaryOp::Mul => Binary::Mul,
                    BinaryOp::Div => Binary::Div,
                    BinaryOp::Pow => Binary::Pow,
                    BinaryOp::Eq => Binary::Eq,
                    BinaryOp::Ne => Binary::Ne,
                    BinaryOp::Lt => Binary::Lt,
                    BinaryOp::Le => Binary::Le,
                    BinaryOp::Gt => Binary::Gt,
                    BinaryOp::Ge => Binary::Ge,
                    BinaryOp::And => Binary::And,
                    BinaryOp::Or => Binary::Or,
                };
                self.binary(op, a, b, span)
            }
        }
    }

    fn text_binary(
        &mut self,
        op: BinaryOp,
        op_span: Span,
        a: (Tensor, Span),
        b: (Tensor, Span),
        span: Span,
    ) -> Result<Tensor> {
        let ((a, a_span), (b, b_span)) = (a, b);
        for (x, at) in [(a, a_span), (b, b_span)] {
            if self.ty(x).elem != Elem::Text {
                let shown = self.show_type(x);
                let message = format!(
                    "`{}` has text on one side and `{shown}` on the other",
                    op.symbol()
                );
                return Err(self.report(
                    Diagnostic::error("type-mismatch", op_span, message).label(at, shown),
                ));
            }
        }
        match op {
            BinaryOp::Add => self.text_op(Op::Text(TextOp::Join), &[a, b], Elem::Text, span),
            BinaryOp::Eq => self.text_op(Op::Text(TextOp::Equal), &[a, b], Elem::Bool, span),
            BinaryOp::Ne => {
                let equal = self.text_op(Op::Text(TextOp::Equal), &[a, b], Elem::Bool, span)?;
                self.unary(Unary::Not, equal, span)
            }
            BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Pow
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge
            | BinaryOp::And
            | BinaryOp::Or => {
                let message = format!("`{}` is not defined for text", op.symbol());
                let diagnostic = Diagnostic::error("type-mismatch", op_span, message)
                    .label(a_span, self.show_type(a))
                    .label(b_span, self.show_type(b))
                    .help("text can be joined with `+` and compared with `==` and `!=`");
                Err(self.report(diagnostic))
            }
        }
    }

    /// Broadcasting is by inclusion: one operand has all the dimensions, the others are repeated over what they lack.
    pub(crate) fn refuse_outer(
        &mut self,
        what: &str,
        at: Span,
        operands: &[(Tensor, Span)],
    ) -> Result<()> {
        for (index, &(a, a_span)) in operands.iter().enumerate() {
            for &(b, b_span) in &operands[index + 1..] {
                self.refuse_two_origins(a, b, a_span, b_span, at)?;
            }
        }
        let tensors: Vec<Tensor> = operands.iter().map(|&(tensor, _)| tensor).collect();
        let all: Vec<DimId> = self.joint_dims(&tensors);
        if tensors.iter().any(|&tensor| self.ty(tensor).dims == all) {
            return Ok(());
        }
        // Name the two that disagree.
        let mut pair = (operands[0], operands[0]);
        'search: for (index, &a) in operands.iter().enumerate() {
            for &b in &operands[index + 1..] {
                if !self.ty(a.0).includes(self.ty(b.0)) && !self.ty(b.0).includes(self.ty(a.0)) {
                    pair = (a, b);
                    break 'search;
                }
            }
        }
        let ((a, a_span), (b, b_span)) = pair;
        let (left, right) = (self.show_type(a), self.show_type(b));
        let message = format!("`{what}` would repeat both sides, `{left}` and `{right}`");
        let mut diagnostic = Diagnostic::error("outer-product", at, message)
            .label(a_span, left)
            .label(b_span, right);
        let (a_text, b_text) = (
            self.library.map.text(a_span).to_string(),
            self.library.map.text(b_span).to_string(),
        );
        let words = |text: &str| text.len() <= 40 && !text.contains('\n');
        if words(&a_text) && words(&b_text) {
            diagnostic = diagnostic.help(match what {
                "*" => format!("outer({a_text}, {b_text})"),
                _ => format!("`repeat({b_text}, like: …)` says what to repeat it over; `outer(a, b)` is the product of all pairs"),
            });
        }
        Err(self.report(diagnostic))
    }
}
