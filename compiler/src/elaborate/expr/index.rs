//! Positions along a dimension: shifting, sorting, picking; and functions that change which dimensions there are.

use rlp_grammar::ast::{Expr, ExprKind, Span};

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Op, Reduction};
use crate::ty::{Dim, DimId, Elem, Ty};

impl Elaborator<'_> {
    pub(crate) fn indexing(&mut self, name: &str, bound: &Bound) -> Result<Value> {
        let span = bound.span;
        if name == "position" {
            let expr = bound.need("dim")?;
            let dim = self.named_dim(expr)?;
            return self.position(dim, span).map(Value::Tensor);
        }
        if name == "one_hot" {
            return self.one_hot(bound);
        }
        let x_expr = bound.need("x")?;
        let x = self.expr_tensor(x_expr)?;
        if name == "at" {
            return self.at(x, bound);
        }
        let over_expr = bound.need("over")?;
        let over = self.dims_over(over_expr, x, name)?;
        if let "rank" | "top_k" = name {
            let x = self.real(x, x_expr.span)?;
            return self.place(name, (x, x_expr.span), &over, bound);
        }
        let dim = self.one_dim(&over, bound)?;
        let result = match name {
            "cumsum" => {
                let x = self.real(x, x_expr.span)?;
                let x = self.cleared(x, span)?;
                let ty = self.ty(x).clone();
                self.push(
                    Op::Cumsum {
                        over: dim,
                        reverse: false,
                    },
                    &[x],
                    ty,
                    span,
                )?
            }
            "shift" => self.shift(x, x_expr.span, dim, bound)?,
            "sort" => {
                let x = self.real(x, x_expr.span)?;
                let descending = self.known_flag(bound.get("descending"))?;
                let order = self.argsort(x, dim, descending, span)?;
                let ty = self.ty(x).clone();
                self.push(Op::Gather { over: dim }, &[x, order], ty, span)?
            }
            "gather" => {
                let index_expr = bound.need("index")?;
                let index = self.expr_tensor(index_expr)?;
                let index = self.expect_elem(index, Elem::Int, index_expr.span)?;
                self.refuse_two_origins(x, index, x_expr.span, index_expr.span, span)?;
                // An index beside what is real must not read outside.
                let index = self.cleared(index, index_expr.span)?;
                let mut dims = self.ty(x).without(&[dim]).dims;
                dims.extend(self.ty(index).dims.iter().copied());
                let ty = Ty::new(self.ty(x).elem, dims);
                self.push(Op::Gather { over: dim }, &[x, index], ty, span)?
            }
            "last" => {
                let count = self.reduce_real(Reduction::Count, x, &[dim], span)?;
                let one = self.literal(Array::int(1), span)?;
                let zero = self.literal(Array::int(0), span)?;
                let index = self.binary(Binary::Sub, count, one, span)?;
                if matches!(self.ty(x).elem, Elem::Real | Elem::Int) {
                    return self.element(x, index, dim, span).map(Value::Tensor);
                }
                let index = self.binary(Binary::Max, index, zero, span)?;
                let ty = self.ty(x).without(&[dim]);
                let value = self.push(Op::Gather { over: dim }, &[x, index], ty, span)?;
                let some = self.binary(Binary::Gt, count, zero, span)?;
                let nothing = match self.ty(x).elem {
                    Elem::Real => Array::real(0.0),
                    Elem::Int => Array::int(0),
                    Elem::Bool => Array::bool(false),
                    Elem::Text => Array::text(""),
                };
                let nothing = self.literal(nothing, span)?;
                self.select(some, value, nothing, span)?
            }
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

    /// The place of each element in the order of all, an `int`; or whether it is among the k largest.
    fn place(
        &mut self,
        name: &str,
        (x, x_span): (Tensor, Span),
        over: &[DimId],
        bound: &Bound,
    ) -> Result<Value> {
        let span = bound.span;
        if name == "rank" {
            let descending = self.known_flag(bound.get("descending"))?;
            return self.rank(x, over, descending, bound).map(Value::Tensor);
        }
        let k_expr = bound.need("k")?;
        let k = self.expr_tensor(k_expr)?;
        let k = self.real(k, k_expr.span)?;
        let place = self.rank(x, over, true, bound)?;
        let place = self.cast(place, Elem::Real, span)?;
        self.refuse_outer("top_k", span, &[(place, x_span), (k, k_expr.span)])?;
        self.binary(Binary::Lt, place, k, span).map(Value::Tensor)
    }

    /// The inverse of the sorting permutation: the place of each element. Several dimensions are sorted as one, of
    /// which the first is the outermost.
    fn rank(
        &mut self,
        x: Tensor,
        over: &[DimId],
        descending: bool,
        bound: &Bound,
    ) -> Result<Tensor> {
        let span = bound.span;
        if over.len() < 2 {
            let dim = self.one_dim(over, bound)?;
            let order = self.argsort(x, dim, descending, span)?;
            return self.argsort_of_order(order, dim, span);
        }
        let ty = self.ty(x).clone();
        let sizes = over.iter().map(|&dim| self.graph().dims.get(dim).size);
        let size = sizes.product::<Option<u64>>();
        let joint = self.new_dim(Dim {
            name: "element".to_string(),
            origin: format!("`{}`", bound.builtin.name),
            span,
            ragged: None,
            size,
        });
        let dims: Vec<DimId> = ty.without(over).dims.into_iter().chain([joint]).collect();
        let merge = Op::Merge {
            dims: over.to_vec(),
            into: joint,
        };
        let mut operands =
            vec![self.push(merge.clone(), &[x], Ty::new(ty.elem, dims.clone()), span)?];
        if let Some(mask) = self.mask(&ty.dims, span)? {
            operands.push(self.push(merge, &[mask], Ty::new(Elem::Bool, dims.clone()), span)?);
        }
        let sort = Op::ArgSort {
            over: joint,
            descending,
        };
        let order = self.push(sort, &operands, Ty::new(Elem::Int, dims), span)?;
        let place = self.argsort_of_order(order, joint, span)?;
        let split = Op::Split {
            dim: joint,
            into: over.to_vec(),
        };
        self.push(split, &[place], ty.with_elem(Elem::Int), span)
    }

    fn argsort_of_order(&mut self, order: Tensor, dim: DimId, span: Span) -> Result<Tensor> {
        let ty = self.ty(order).clone();
        let sort = Op::ArgSort {
            over: dim,
            descending: false,
        };
        self.push(sort, &[order], ty, span)
    }

    pub(crate) fn shift(
        &mut self,
        x: Tensor,
        x_span: Span,
        dim: DimId,
        bound: &Bound,
    ) -> Result<Tensor> {
        let by = match bound.get("by") {
            Some(expr) => {
                let value = self.expr_tensor(expr)?;
                match self.static_number(value) {
                    Some(by) if by.fract() == 0.0 && by.abs() < 1e9 => by as i64,
                    _ => {
                        return self.error(
                            "not-known-before-run",
                            expr.span,
                            "how far to shift is a whole number that is known before the run",
                        );
                    }
                }
            }
            None => 1,
        };
        let fill = match bound.get("fill") {
            Some(expr) => {
                let fill = self.expr_tensor(expr)?;
                let (_, fill) = self.same_elem(
                    (x, x_span),
                    (fill, expr.span),
                    "the tensor and what fills it",
                )?;
                fill
            }
            None => match self.ty(x).elem {
                Elem::Real => self.number(0.0, bound.span)?,
                Elem::Int => self.literal(Array::int(0), bound.span)?,
                Elem::Bool => self.literal(Array::bool(false), bound.span)?,
                Elem::Text => self.literal(Array::text(""), bound.span)?,
            },
        };
        let slice = self.ty(x).without(&[dim]);
        if !slice.includes(self.ty(fill)) {
            let (shown, found) = (self.show(&slice), self.show_type(fill));
            return self.error(
                "dimension-mismatch",
                bound.span,
                format!("what fills the ends is `{found}`, and a slice is `{shown}`"),
            );
        }
        let fill = self.broadcast(fill, &slice.dims, bound.span)?;
        let ty = self.ty(x).clone();
        let op = Op::Shift { over: dim, by };
        let Some(mask) = self.mask(&ty.dims, bound.span)?.filter(|_| by < 0) else {
            return self.push(op, &[x, fill], ty, bound.span);
        };
        // Beyond the last real element there is nothing: `fill` stands there too, and is read from there.
        let whole = self.push(Op::Broadcast, &[fill], ty.clone(), bound.span)?;
        let x = self.select(mask, x, whole, bound.span)?;
        let shifted = self.push(op, &[x, fill], ty, bound.span)?;
        self.cleared(shifted, bound.span)
    }

    pub(crate) fn known_flag(&mut self, expr: Option<&Expr>) -> Result<bool> {
        let flag = self.flag(expr)?;
        match (self.static_bool(flag), expr) {
            (Some(known), _) => Ok(known),
            (None, Some(expr)) => self.error(
                "not-known-before-run",
                expr.span,
                "this must be known before the run",
            ),
            (None, None) => Ok(false),
        }
    }

    pub(crate) fn at(&mut self, x: Tensor, bound: &Bound) -> Result<Value> {
        let [(name, index_expr)] = bound.dims[..] else {
            return self.error(
                "missing-argument",
                bound.span,
                "`at` picks one index of one dimension: `at(x, objective: 0)`",
            );
        };
        let dim = self.dim_of(x, &name.name, name.span, "at")?;
        let index = self.expr_tensor(index_expr)?;
        let index = self.expect_elem(index, Elem::Int, index_expr.span)?;
        if let (Some(known), Some(size)) =
            (self.static_number(index), self.graph().dims.get(dim).size)
            && (known < 0.0 || known >= size as f64)
        {
            let message = format!(
                "`{}` has {size} elements, numbered from 0: there is no element {known}",
                name.name
            );
            return self.error("value-out-of-range", index_expr.span, message);
        }
        let mut dims = self.ty(x).without(&[dim]).dims;
        dims.extend(self.ty(index).dims.iter().copied());
        let ty = Ty::new(self.ty(x).elem, dims);
        self.push(Op::Gather { over: dim }, &[x, index], ty, bound.span)
            .map(Value::Tensor)
    }

    pub(crate) fn one_hot(&mut self, bound: &Bound) -> Result<Value> {
        let (index_expr, like_expr) = (bound.need("index")?, bound.need("like")?);
        let index = self.expr_tensor(index_expr)?;
        let index = self.expect_elem(index, Elem::Int, index_expr.span)?;
        let like = self.expr_tensor(like_expr)?;
        self.refuse_two_origins(index, like, index_expr.span, like_expr.span, bound.span)?;
        let more: Vec<DimId> = self.ty(like).without(&self.ty(index).dims.clone()).dims;
        let (&[dim], true) = (&more[..], self.ty(like).includes(self.ty(index))) else {
            let (shown, found) = (self.show_type(like), self.show_type(index));
            let message = format!(
                "`like` must have the dimensions of the index and one more, and they are `{shown}` and `{found}`"
            );
            return self.error("dimension-mismatch", like_expr.span, message);
        };
        let place = self.position(dim, bound.span)?;
        let dims = self.joint_dims(&[place, index, like]);
        let place = self.broadcast(place, &dims, bound.span)?;
        let index = self.broadcast(index, &dims, bound.span)?;
        let hit = self.binary(Binary::Eq, place, index, bound.span)?;
        self.cast(hit, Elem::Real, bound.span).map(Value::Tensor)
    }

    /// 0, 1, … along a dimension; over the parents too if it is ragged.
    pub(crate) fn position(&mut self, dim: DimId, span: Span) -> Result<Tensor> {
        let origin = self.levels[0].origins.get(&dim).copied();
        let operands: Vec<Tensor> = origin.into_iter().collect();
        let x = self.push(
            Op::Position(dim),
            &operands,
            Ty {
                elem: Elem::Int,
                dims: vec![dim],
            },
            span,
        )?;
        let Some(mut dims) = self.graph().dims.get(dim).ragged.clone() else {
            return Ok(x);
        };
        dims.push(dim);
        dims.sort_unstable();
        self.broadcast(x, &dims, span)
    }

    pub(crate) fn size_of(&mut self, dim: DimId, span: Span) -> Result<Tensor> {
        if self.graph().dims.is_ragged(dim) && self.dim_name(dim) != ".." {
            let name = self.dim_name(dim).to_string();
            let diagnostic = Diagnostic::error(
                "ragged-size",
                span,
                format!("`{name}` is ragged: it has no single size"),
            )
            .help(format!("count(x, over: {name})"));
            return Err(self.report(diagnostic));
        }
        if let Some(size) = self.graph().dims.get(dim).size {
            return self.literal(Array::int(size as i64), span);
        }
        let operands: Vec<Tensor> = self.levels[0]
            .origins
            .get(&dim)
            .copied()
            .into_iter()
            .collect();
        self.push(Op::Size(dim), &operands, Ty::scalar(Elem::Int), span)
    }

    /// A dimension named by an expression.
    pub(crate) fn named_dim(&mut self, expr: &Expr) -> Result<DimId> {
        let ExprKind::Name(name) = &expr.kind else {
            return self.error(
                "unknown-dimension",
                expr.span,
                "the name of a dimension is expected here",
            );
        };
        match self.dim_in_scope(name) {
            Some(dim) => Ok(dim),
            None => {
                let mut known: Vec<String> = self.scope.dims.keys().cloned().collect();
                known.sort();
                let near = crate::diagnostic::nearest(name, known.iter().map(String::as_str));
                let mut diagnostic = Diagnostic::error(
                    "unknown-dimension",
                    expr.span,
                    format!("there is no dimension `{name}` here"),
                );
                if let Some(best) = near.first() {
                    diagnostic = diagnostic
                        .help(format!("did you mean `{best}`?"))
                        .fix(expr.span, best.to_string());
                }
                Err(self.report(diagnostic))
            }
        }
    }
}
