//! Linear algebra over two named dimensions.

use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Record, Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Factor, Op};
use crate::ty::{Dim, DimId, Elem, Ty};
use rlp_grammar::ast::{Expr, ExprKind};
use std::rc::Rc;

impl Elaborator<'_> {
    pub(crate) fn matrix(&mut self, name: &str, bound: &Bound) -> Result<Value> {
        let span = bound.span;
        if name == "solve" {
            return self.solve(bound);
        }
        let x_expr = bound.need("x")?;
        let x = self.expr_tensor(x_expr)?;
        let x = self.real(x, x_expr.span)?;
        let row = self.matrix_dim(x, bound.need("row")?, name)?;
        let col = self.matrix_dim(x, bound.need("col")?, name)?;
        if row == col {
            return self.error(
                "duplicate-dimension",
                span,
                format!("the rows and columns of `{name}` are two dimensions"),
            );
        }
        let ty = self.ty(x).clone();
        if matches!(name, "inverse" | "cholesky") {
            let factor = if name == "inverse" {
                Factor::Inverse
            } else {
                Factor::Cholesky
            };
            return self
                .push(
                    Op::Factor {
                        factor,
                        row,
                        col,
                        rank: None,
                    },
                    &[x],
                    ty,
                    span,
                )
                .map(Value::Tensor);
        }
        let size = |dim: DimId| self.graph().dims.get(dim).size;
        let smaller = size(row).zip(size(col)).map(|(rows, cols)| rows.min(cols));
        let rank = self.new_dim(Dim {
            name: "rank".to_string(),
            origin: format!("`{name}`"),
            span,
            ragged: None,
            size: smaller,
        });
        let batch = ty.without(&[row, col]).dims;
        let over =
            |more: &[DimId]| Ty::new(Elem::Real, batch.iter().chain(more).copied().collect());
        let parts: &[(&str, Factor, &[DimId])] = match name {
            "svd" => &[
                ("left", Factor::SvdLeft, &[row, rank]),
                ("values", Factor::SvdValues, &[rank]),
                ("right", Factor::SvdRight, &[rank, col]),
            ],
            "qr" => &[
                ("q", Factor::QrQ, &[row, rank]),
                ("r", Factor::QrR, &[rank, col]),
            ],
            _ => &[
                ("values", Factor::EighValues, &[rank]),
                ("vectors", Factor::EighVectors, &[row, rank]),
            ],
        };
        let mut fields = Vec::new();
        for &(field, factor, dims) in parts {
            let part = self.push(
                Op::Factor {
                    factor,
                    row,
                    col,
                    rank: Some(rank),
                },
                &[x],
                over(dims),
                span,
            )?;
            fields.push((field.to_string(), Value::Tensor(part)));
        }
        Ok(Value::Record(Rc::new(Record { fields })))
    }

    pub(crate) fn matrix_dim(&mut self, x: Tensor, expr: &Expr, what: &str) -> Result<DimId> {
        match &expr.kind {
            ExprKind::Name(name) => self.dim_of(x, name, expr.span, what),
            _ => self.error(
                "unknown-dimension",
                expr.span,
                "the name of a dimension is expected here",
            ),
        }
    }

    pub(crate) fn solve(&mut self, bound: &Bound) -> Result<Value> {
        let (a_expr, b_expr) = (bound.need("a")?, bound.need("b")?);
        let a = self.expr_tensor(a_expr)?;
        let a = self.real(a, a_expr.span)?;
        let b = self.expr_tensor(b_expr)?;
        let b = self.real(b, b_expr.span)?;
        self.refuse_two_origins(a, b, a_expr.span, b_expr.span, bound.span)?;
        let row = self.matrix_dim(a, bound.need("row")?, "solve")?;
        let col = self.matrix_dim(a, bound.need("col")?, "solve")?;
        let dims: Vec<DimId> = self
            .joint_dims(&[a, b])
            .into_iter()
            .filter(|&dim| dim != row)
            .collect();
        if !self.ty(b).has(row) {
            let shown = self.show_type(b);
            return self.error(
                "missing-dimension",
                b_expr.span,
                format!("the right side of `solve` is over the rows, and this is `{shown}`"),
            );
        }
        self.push(
            Op::Solve { row, col },
            &[a, b],
            Ty::new(Elem::Real, dims),
            bound.span,
        )
        .map(Value::Tensor)
    }
}
