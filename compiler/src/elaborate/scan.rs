//! `scan` and `scan_back`: a carry along a dimension, its step a graph of its own.

use std::sync::Arc;

use crate::elaborate::builder::Level;
use crate::elaborate::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Op, ScanBody};
use crate::ty::{Elem, Ty};

impl Elaborator<'_> {
    pub(crate) fn scan(&mut self, bound: &Bound, reverse: bool) -> Result<Value> {
        let span = bound.span;
        let (x_expr, init_expr, step_expr) =
            (bound.need("x")?, bound.need("init")?, bound.need("step")?);
        let x = self.expr_tensor(x_expr)?;
        let over = self.dims_over(bound.need("over")?, x, bound.builtin.name)?;
        let dim = self.one_dim(&over, bound)?;
        let init = self.expr_tensor(init_expr)?;
        // A carry of numbers is real unless both it and x are whole.
        let init = if self.ty(x).elem == Elem::Real || self.ty(init).elem == Elem::Real {
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
        let slice = self.ty(x).without(&[dim]);
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
        let next = self.scan_step(&lambda, x_expr.span, slice, &carry);
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
        let mut operands = vec![x];
        operands.extend(&captured);
        operands.push(init);
        operands.extend(mask);
        let op = Op::Scan {
            over: dim,
            reverse,
            xs: 1,
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

    fn scan_step(
        &mut self,
        lambda: &crate::elaborate::value::Lambda,
        x_span: rlp_grammar::ast::Span,
        slice: Ty,
        carry: &Ty,
    ) -> Result<Tensor> {
        let at = lambda
            .params
            .first()
            .map_or(lambda.span, |param| param.span);
        let x = self.push(Op::Input("x0".to_string()), &[], slice, at)?;
        let old = self.push(Op::Input("c0".to_string()), &[], carry.clone(), at)?;
        let value = self.apply(
            lambda,
            vec![Value::Tensor(x), Value::Tensor(old)],
            lambda.span,
        )?;
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
