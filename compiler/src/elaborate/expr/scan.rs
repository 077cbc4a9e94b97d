//! `scan` and `scan_back`: a carry along a dimension, its step a graph of its own.

use std::sync::Arc;

use rlp_grammar::ast::{Expr, ExprKind, Span};

use crate::elaborate::builder::Level;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Op, ScanBody};
use crate::ty::{Elem, Ty};

impl Elaborator<'_> {
    pub(crate) fn scan(&mut self, bound: &Bound, reverse: bool) -> Result<Value> {
        let span = bound.span;
        let (x_expr, init_expr, step_expr) =
            (bound.need("x")?, bound.need("init")?, bound.need("step")?);
        let xs = self.scanned(x_expr)?;
        let x = xs[0];
        let over = self.dims_over(bound.need("over")?, x, bound.builtin.name)?;
        let dim = self.one_dim(&over, bound)?;
        let init = self.expr_tensor(init_expr)?;
        // A carry of numbers is real unless it and all that is scanned are whole.
        let is_real = xs.iter().any(|&x| self.ty(x).elem == Elem::Real);
        let init = if is_real || self.ty(init).elem == Elem::Real {
            self.real(init, init_expr.span)?
        } else {
            init
        };
        let Value::Lambda(lambda) = self.expr(step_expr)? else {
            return self.error(
                "type-mismatch",
                step_expr.span,
                "a function is expected here: `|x, carry| …`",
            );
        };
        let slices: Vec<Ty> = xs.iter().map(|&x| self.ty(x).without(&[dim])).collect();
        let slice = slices[0].clone();
        if !slice.includes(self.ty(init)) {
            let (shown, found) = (self.show(&slice), self.show_type(init));
            return self.error(
                "dimension-mismatch",
                init_expr.span,
                format!("the carry starts as `{found}`, and a slice is `{shown}`"),
            );
        }
        let carry = slice.with_elem(self.ty(init).elem);
        let init = self.broadcast(init, &carry.dims, init_expr.span)?;

        // The step is elaborated one level deeper; what it reads from outside is captured.
        let outer = self.level;
        let mut level = Level::default();
        level.graph.dims = self.graph().dims.clone();
        level.graph.calls = self.graph().calls.clone();
        let mut deeper = self.levels.split_off(outer + 1);
        self.levels.push(level);
        self.level = outer + 1;
        let next = self.scan_step(&lambda, x_expr.span, &slices, &carry);
        self.level = outer;
        let Some(mut built) = self.levels.pop() else {
            return Err(crate::elaborate::Reported);
        };
        for level in &mut deeper {
            level.graph.dims = self.graph().dims.clone();
            level.graph.calls = self.graph().calls.clone();
        }
        self.levels.append(&mut deeper);
        let next = next?;

        let captured: Vec<Tensor> = built.captured.iter().map(|(outer, _)| *outer).collect();
        let dims = self.ty(x).dims.clone();
        let mask = self.mask(&dims, span)?;
        let n_xs = xs.len();
        let mut operands = xs;
        operands.extend(&captured);
        operands.push(init);
        operands.extend(mask);
        let op = Op::Scan {
            over: dim,
            reverse,
            xs: n_xs,
            captured: captured.len(),
            carries: 1,
            masked: mask.is_some(),
            part: 0,
            body: Arc::new(ScanBody {
                graph: built.graph.clone(),
                next: vec![next.node],
            }),
        };
        let ty = Ty {
            elem: carry.elem,
            dims,
        };
        let result = self.push(op.clone(), &operands, ty, span)?;
        self.lift_asserts(&mut built, (&op, &operands, result), span)?;
        Ok(Value::Tensor(result))
    }

    /// What is scanned: a tensor, or several in a list, repeated to the same dimensions.
    fn scanned(&mut self, expr: &Expr) -> Result<Vec<Tensor>> {
        let ExprKind::List(items) = &expr.kind else {
            return Ok(vec![self.expr_tensor(expr)?]);
        };
        let mut xs = Vec::new();
        for item in items {
            xs.push((self.expr_tensor(item)?, item.span));
        }
        if xs.is_empty() {
            return self.error(
                "missing-argument",
                expr.span,
                "`scan` goes along one tensor or more, as in `scan([a, b], over: token, …)`",
            );
        }
        self.refuse_outer("scan", expr.span, &xs)?;
        let tensors: Vec<Tensor> = xs.iter().map(|(x, _)| *x).collect();
        let dims = self.joint_dims(&tensors);
        let repeat = |(x, span): (Tensor, Span)| self.broadcast(x, &dims, span);
        xs.into_iter().map(repeat).collect()
    }

    fn scan_step(
        &mut self,
        lambda: &crate::elaborate::value::Lambda,
        x_span: Span,
        slices: &[Ty],
        carry: &Ty,
    ) -> Result<Tensor> {
        let at = lambda
            .params
            .first()
            .map_or(lambda.span, |param| param.span);
        let mut values = Vec::new();
        for (number, slice) in slices.iter().enumerate() {
            let input = Op::Input(format!("x{number}"));
            values.push(Value::Tensor(self.push(input, &[], slice.clone(), at)?));
        }
        let old = self.push(Op::Input("c0".to_string()), &[], carry.clone(), at)?;
        values.push(Value::Tensor(old));
        let value = self.apply(lambda, values, lambda.span)?;
        let next = self.tensor(value, lambda.body.span)?;
        let next = self.expect_elem(next, carry.elem, lambda.body.span)?;
        let next = self.here(next);
        if !carry.includes(self.ty(next)) {
            let (shown, found) = (self.show(carry), self.show_type(next));
            let message = format!("the carry is `{shown}`, and its next value would be `{found}`");
            return Err(self.report(
                crate::diagnostic::Diagnostic::error(
                    "dimension-mismatch",
                    lambda.body.span,
                    message,
                )
                .label(x_span, "scanned here"),
            ));
        }
        self.broadcast(next, &carry.dims, lambda.body.span)
    }
}
