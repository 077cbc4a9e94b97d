//! Reductions: over named dimensions, over what is real.

use rlp_grammar::ast::{Expr, Span};

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Op, Reduction, Unary};
use crate::ty::{DimId, Elem, Ty};

impl Elaborator<'_> {
    pub(crate) fn aggregate(&mut self, name: &str, bound: &Bound) -> Result<Value> {
        if name == "dot" {
            return self.dot(bound);
        }
        let expr = bound.need("x")?;
        let x = self.expr_tensor(expr)?;
        let over = match bound.get("over") {
            Some(over) => self.dims_over(over, x, name)?,
            None => self.ty(x).dims.clone(),
        };
        self.sense_of_reduction(name, x, &over, bound);
        let span = bound.span;
        let result = match name {
            "count" => {
                let mask = self.where_mask(x, bound.get("where"))?;
                self.reduce(Reduction::Count, x, &over, mask, span)?
            }
            "any" | "all" => {
                let x = self.expect_elem(x, Elem::Bool, expr.span)?;
                let mask = self.where_mask(x, bound.get("where"))?;
                self.reduce(
                    if name == "any" {
                        Reduction::Any
                    } else {
                        Reduction::All
                    },
                    x,
                    &over,
                    mask,
                    span,
                )?
            }
            "sum" | "max" | "min" | "product" => {
                let x = if self.ty(x).elem == Elem::Int {
                    x
                } else {
                    self.real(x, expr.span)?
                };
                let mask = self.where_mask(x, bound.get("where"))?;
                let kind = match name {
                    "sum" => Reduction::Sum,
                    "max" => Reduction::Max,
                    "min" => Reduction::Min,
                    _ => Reduction::Product,
                };
                self.reduce(kind, x, &over, mask, span)?
            }
            "mean" | "logsumexp" => {
                let x = self.real(x, expr.span)?;
                let mask = self.where_mask(x, bound.get("where"))?;
                self.reduce(
                    if name == "mean" {
                        Reduction::Mean
                    } else {
                        Reduction::LogSumExp
                    },
                    x,
                    &over,
                    mask,
                    span,
                )?
            }
            "var" | "std" => {
                let x = self.real(x, expr.span)?;
                let mask = self.where_mask(x, bound.get("where"))?;
                let unbiased = self.flag(bound.get("unbiased"))?;
                let variance = self.variance(x, &over, mask, unbiased, span)?;
                if name == "std" {
                    self.safe_sqrt(variance, span)?
                } else {
                    variance
                }
            }
            "norm" => {
                let x = self.real(x, expr.span)?;
                let mask = self.where_mask(x, bound.get("where"))?;
                let squares = self.binary(Binary::Mul, x, x, span)?;
                let total = self.reduce(Reduction::Sum, squares, &over, mask, span)?;
                self.safe_sqrt(total, span)?
            }
            "argmax" | "argmin" => {
                let x = self.real(x, expr.span)?;
                let dim = self.one_dim(&over, bound)?;
                let mask = self.where_mask(x, bound.get("where"))?;
                let mut operands = vec![x];
                operands.extend(mask);
                let ty = self.ty(x).without(&[dim]).with_elem(Elem::Int);
                self.push(
                    Op::ArgReduce {
                        largest: name == "argmax",
                        over: dim,
                    },
                    &operands,
                    ty,
                    span,
                )?
            }
            "softmax" | "log_softmax" => {
                let x = self.real(x, expr.span)?;
                let total = self.reduce_real(Reduction::LogSumExp, x, &over, span)?;
                let log = self.binary(Binary::Sub, x, total, span)?;
                if name == "softmax" {
                    self.unary(Unary::Exp, log, span)?
                } else {
                    log
                }
            }
            "quantile" => self.quantile(x, expr.span, &over, bound)?,
            _ => {
                return self.error(
                    "unknown-name",
                    span,
                    format!("there is no function `{name}`"),
                );
            }
        };
        Ok(Value::Tensor(result))
    }

    /// What a reduction looks at: what is real, and where the user's condition holds.
    fn where_mask(&mut self, x: Tensor, condition: Option<&Expr>) -> Result<Option<Tensor>> {
        let dims = self.ty(x).dims.clone();
        let span = condition.map_or(Span::default(), |condition| condition.span);
        let real = self.mask(&dims, span)?;
        let Some(condition) = condition else {
            return Ok(real);
        };
        let held = self.expr_tensor(condition)?;
        let held = self.expect_elem(held, Elem::Bool, condition.span)?;
        if !self.ty(x).includes(self.ty(held)) {
            let (shown, found) = (self.show_type(x), self.show_type(held));
            let message = format!("`where` has dimensions that `{shown}` does not have");
            return Err(self.report(
                Diagnostic::error("dimension-mismatch", condition.span, message).here(found),
            ));
        }
        let held = self.broadcast(held, &dims, condition.span)?;
        match real {
            Some(real) => self
                .binary(Binary::And, real, held, condition.span)
                .map(Some),
            None => Ok(Some(held)),
        }
    }

    /// An argument that is true or false before the run; false if absent.
    pub(crate) fn flag(&mut self, expr: Option<&Expr>) -> Result<Tensor> {
        match expr {
            Some(expr) => {
                let value = self.expr_tensor(expr)?;
                self.expect_elem(value, Elem::Bool, expr.span)
            }
            None => self.literal(crate::array::Array::bool(false), Span::default()),
        }
    }

    /// Σ(x − mean)²/n, or /(n − 1); 0 where that divides by 0.
    fn variance(
        &mut self,
        x: Tensor,
        over: &[DimId],
        mask: Option<Tensor>,
        unbiased: Tensor,
        span: Span,
    ) -> Result<Tensor> {
        let mean = self.reduce(Reduction::Mean, x, over, mask, span)?;
        let centred = self.binary(Binary::Sub, x, mean, span)?;
        let squares = self.binary(Binary::Mul, centred, centred, span)?;
        if self.static_bool(unbiased) == Some(false) {
            return self.reduce(Reduction::Mean, squares, over, mask, span);
        }
        let total = self.reduce(Reduction::Sum, squares, over, mask, span)?;
        let count = self.reduce(Reduction::Count, x, over, mask, span)?;
        let count = self.cast(count, Elem::Real, span)?;
        let fewer = self.cast(unbiased, Elem::Real, span)?;
        let divisor = self.binary(Binary::Sub, count, fewer, span)?;
        let one = self.number(1.0, span)?;
        // With one element the sum is 0, so any divisor gives 0.
        let divisor = self.binary(Binary::Max, divisor, one, span)?;
        self.binary(Binary::Div, total, divisor, span)
    }

    /// √x whose gradient at 0 is 0: where nothing varies, nothing pulls.
    fn safe_sqrt(&mut self, x: Tensor, span: Span) -> Result<Tensor> {
        let zero = self.number(0.0, span)?;
        let one = self.number(1.0, span)?;
        let positive = self.binary(Binary::Gt, x, zero, span)?;
        let safe = self.select(positive, x, one, span)?;
        let root = self.unary(Unary::Sqrt, safe, span)?;
        // A NaN is not positive either, and must stay visible.
        let otherwise = self.binary(Binary::Mul, x, zero, span)?;
        self.select(positive, root, otherwise, span)
    }

    pub(crate) fn one_dim(&mut self, over: &[DimId], bound: &Bound) -> Result<DimId> {
        match over {
            [dim] => Ok(*dim),
            _ => {
                let span = bound.get("over").map_or(bound.span, |over| over.span);
                self.error(
                    "unknown-dimension",
                    span,
                    format!("`{}` is over one dimension", bound.builtin.name),
                )
            }
        }
    }

    fn dot(&mut self, bound: &Bound) -> Result<Value> {
        let (a_expr, b_expr, over_expr) = (bound.need("a")?, bound.need("b")?, bound.need("over")?);
        let a = self.expr_tensor(a_expr)?;
        let a = self.real(a, a_expr.span)?;
        let b = self.expr_tensor(b_expr)?;
        let b = self.real(b, b_expr.span)?;
        self.refuse_two_origins(a, b, a_expr.span, b_expr.span, bound.span)?;
        let mut over = self.dims_over(over_expr, a, "dot")?;
        self.dims_over(over_expr, b, "dot")?;
        over.sort_unstable();
        let a = self.cleared(a, a_expr.span)?;
        let b = self.cleared(b, b_expr.span)?;
        let dims = self.joint_dims(&[a, b]);
        let ty = Ty {
            elem: Elem::Real,
            dims,
        }
        .without(&over);
        self.push(Op::Contract { over }, &[a, b], ty, bound.span)
            .map(Value::Tensor)
    }

    /// Linear between neighbours: position q·(n − 1) in the sorted order; 0 of nothing.
    fn quantile(
        &mut self,
        x: Tensor,
        x_span: Span,
        over: &[DimId],
        bound: &Bound,
    ) -> Result<Tensor> {
        let span = bound.span;
        let x = self.real(x, x_span)?;
        let dim = self.one_dim(over, bound)?;
        let q_expr = bound.need("q")?;
        let q = self.expr_tensor(q_expr)?;
        let q = self.real(q, q_expr.span)?;
        let reduced = self.ty(x).without(&[dim]);
        if !reduced.includes(self.ty(q)) {
            let (shown, found) = (self.show(&reduced), self.show_type(q));
            return self.error(
                "dimension-mismatch",
                q_expr.span,
                format!("the quantiles are `{found}`, and the result is `{shown}`"),
            );
        }
        let order = self.argsort(x, dim, false, span)?;
        let sorted = self.push(
            Op::Gather { over: dim },
            &[x, order],
            self.ty(x).clone(),
            span,
        )?;
        let count = self.reduce_real(Reduction::Count, x, &[dim], span)?;
        let count = self.cast(count, Elem::Real, span)?;
        let one = self.number(1.0, span)?;
        let zero = self.number(0.0, span)?;
        let steps = self.binary(Binary::Sub, count, one, span)?;
        let steps = self.binary(Binary::Max, steps, zero, span)?;
        let place = self.binary(Binary::Mul, q, steps, span)?;
        let below = self.unary(Unary::Floor, place, span)?;
        let above = self.unary(Unary::Ceil, place, span)?;
        let fraction = self.binary(Binary::Sub, place, below, span)?;
        let low = self.pick(sorted, below, dim, span)?;
        let high = self.pick(sorted, above, dim, span)?;
        let gap = self.binary(Binary::Sub, high, low, span)?;
        let part = self.binary(Binary::Mul, fraction, gap, span)?;
        let value = self.binary(Binary::Add, low, part, span)?;
        let some = self.binary(Binary::Gt, count, zero, span)?;
        self.select(some, value, zero, span)
    }

    fn pick(&mut self, x: Tensor, place: Tensor, dim: DimId, span: Span) -> Result<Tensor> {
        let index = self.cast(place, Elem::Int, span)?;
        self.element(x, index, dim, span)
    }

    /// The element of numbers at a place along `dim`, 0 where the place is beyond the end: also if all sequences are
    /// empty, of which `Gather` can read nothing.
    pub(crate) fn element(
        &mut self,
        x: Tensor,
        index: Tensor,
        dim: DimId,
        span: Span,
    ) -> Result<Tensor> {
        let ty = self.ty(x).clone();
        let over = |elem| Ty {
            elem,
            dims: ty.dims.clone(),
        };
        let origin = self.levels[0].origins.get(&dim).copied();
        let operands: Vec<Tensor> = origin.into_iter().collect();
        let along = Ty {
            elem: Elem::Int,
            dims: vec![dim],
        };
        // Without a mask: of all positions, real or not, exactly one is meant.
        let place = self.push(Op::Position(dim), &operands, along, span)?;
        let place = self.push(Op::Broadcast, &[place], over(Elem::Int), span)?;
        let index = self.push(Op::Broadcast, &[index], over(Elem::Int), span)?;
        let is_meant = self.binary(Binary::Eq, place, index, span)?;
        let zero = match ty.elem {
            Elem::Int => Array::int(0),
            Elem::Real | Elem::Bool | Elem::Text => Array::real(0.0),
        };
        let zero = self.literal(zero, span)?;
        let zero = self.push(Op::Broadcast, &[zero], ty.clone(), span)?;
        let chosen = self.push(Op::Select, &[is_meant, x, zero], ty, span)?;
        self.reduce(Reduction::Sum, chosen, &[dim], None, span)
    }

    pub(crate) fn argsort(
        &mut self,
        x: Tensor,
        dim: DimId,
        descending: bool,
        span: Span,
    ) -> Result<Tensor> {
        let dims = self.ty(x).dims.clone();
        let mask = self.mask(&dims, span)?;
        let mut operands = vec![x];
        operands.extend(mask);
        let ty = self.ty(x).with_elem(Elem::Int);
        self.push(
            Op::ArgSort {
                over: dim,
                descending,
            },
            &operands,
            ty,
            span,
        )
    }
}
