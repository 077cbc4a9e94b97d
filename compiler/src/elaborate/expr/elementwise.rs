//! Elementwise built-ins, and the gradient.

use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Unary};
use crate::ty::Elem;

impl Elaborator<'_> {
    pub(crate) fn elementwise_unary(&mut self, op: Unary, bound: &Bound) -> Result<Value> {
        let expr = bound.need("x")?;
        let x = self.expr_tensor(expr)?;
        let keeps_int = matches!(op, Unary::Abs | Unary::Sign) && self.ty(x).elem == Elem::Int;
        let x = if keeps_int {
            x
        } else {
            self.real(x, expr.span)?
        };
        self.unary(op, x, bound.span).map(Value::Tensor)
    }

    pub(crate) fn elementwise_binary(
        &mut self,
        op: Binary,
        bound: &Bound,
        names: [&str; 2],
    ) -> Result<Value> {
        let (left, right) = (bound.need(names[0])?, bound.need(names[1])?);
        let a = self.expr_tensor(left)?;
        let b = self.expr_tensor(right)?;
        let both_int = self.ty(a).elem == Elem::Int && self.ty(b).elem == Elem::Int;
        let (a, b) = if both_int {
            (a, b)
        } else {
            (self.real(a, left.span)?, self.real(b, right.span)?)
        };
        self.refuse_outer(
            bound.builtin.name,
            bound.span,
            &[(a, left.span), (b, right.span)],
        )?;
        self.binary(op, a, b, bound.span).map(Value::Tensor)
    }

    /// `min(max(x, low), high)`. At a bound x itself is taken, so the gradient passes.
    pub(crate) fn clamp(&mut self, bound: &Bound) -> Result<Value> {
        let (x_expr, low_expr, high_expr) =
            (bound.need("x")?, bound.need("low")?, bound.need("high")?);
        let x = self.expr_tensor(x_expr)?;
        let x = self.real(x, x_expr.span)?;
        let low = self.expr_tensor(low_expr)?;
        let low = self.real(low, low_expr.span)?;
        let high = self.expr_tensor(high_expr)?;
        let high = self.real(high, high_expr.span)?;
        self.refuse_outer(
            "clamp",
            bound.span,
            &[
                (x, x_expr.span),
                (low, low_expr.span),
                (high, high_expr.span),
            ],
        )?;
        let raised = self.binary(Binary::Max, x, low, bound.span)?;
        self.binary(Binary::Min, raised, high, bound.span)
            .map(Value::Tensor)
    }

    pub(crate) fn convert(&mut self, bound: &Bound, to: Elem) -> Result<Value> {
        let expr = bound.need("x")?;
        let x = self.expr_tensor(expr)?;
        if self.ty(x).elem == Elem::Text {
            let diagnostic = Diagnostic::error("type-mismatch", expr.span, "text is not a number")
                .help("`number(t)` reads one from text");
            return Err(self.report(diagnostic));
        }
        let x = if to == Elem::Int && self.ty(x).elem == Elem::Bool {
            self.cast(x, Elem::Real, bound.span)?
        } else {
            x
        };
        self.cast(x, to, bound.span).map(Value::Tensor)
    }

    pub(crate) fn gradient(&mut self, bound: &Bound) -> Result<Value> {
        let (y_expr, x_expr) = (bound.need("y")?, bound.need("wrt")?);
        let x = self.expr(x_expr)?;
        let y = self.expr_tensor(y_expr)?;
        let y = self.real(y, y_expr.span)?;
        if let Value::Model(_) | Value::Network(_) = x {
            return self
                .gradient_of_model(y, &x, y_expr.span, bound.span)
                .map(Value::Tensor);
        }
        let x = self.tensor(x, x_expr.span)?;
        if self.ty(x).elem != Elem::Real {
            let shown = self.show_type(x);
            return self.error(
                "type-mismatch",
                x_expr.span,
                format!("a gradient is taken with respect to `real` values, not `{shown}`"),
            );
        }
        let ty = self.ty(x).clone();
        self.push(crate::graph::Op::Grad, &[y, x], ty, bound.span)
            .map(Value::Tensor)
    }
}
