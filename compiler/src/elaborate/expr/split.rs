//! One dimension as several, several as one; and powers of matrices, which are products over renamed dimensions.

use rlp_grammar::ast::{Expr, ExprKind, Span};

use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Factor, Op};
use crate::ty::{Dim, DimId, Elem, Ty};

/// The largest power of a matrix, by its number of squarings: far beyond what numbers can hold.
const MOST_POWER: f64 = 1e9;

impl Elaborator<'_> {
    /// `split(x, row, into: [block, inner], inner: 4)`
    pub(crate) fn split(&mut self, bound: &Bound) -> Result<Value> {
        let (x_expr, dim_expr, into_expr) =
            (bound.need("x")?, bound.need("dim")?, bound.need("into")?);
        let x = self.expr_tensor(x_expr)?;
        let dim = self.matrix_dim(x, dim_expr, "split")?;
        self.refuse_ragged(dim, dim_expr.span, "split")?;
        let names = self.names_of(into_expr)?;
        let mut into = Vec::new();
        for &(name, span) in &names {
            let size = bound.dims.iter().find(|(own, _)| own.name == name);
            let size = match size {
                Some((_, expr)) => {
                    let size = self.expr_tensor(expr)?;
                    Some((self.static_size(size, expr.span)?, expr.span))
                }
                None => None,
            };
            let part = self.part_dim(name, span, "split");
            if self.ty(x).has(part) || into.contains(&part) {
                let message = format!("`{name}` stands twice in the result");
                return self.error("duplicate-dimension", span, message);
            }
            if let Some((size, span)) = size {
                self.fix_size(part, size as usize, span)?;
            }
            into.push(part);
        }
        if let Some((unknown, _)) = bound
            .dims
            .iter()
            .find(|(own, _)| !names.iter().any(|(name, _)| *name == own.name))
        {
            let message = format!("`{}` is not one of the dimensions split into", unknown.name);
            return self.error("unknown-argument", unknown.span, message);
        }
        self.divide(dim, &into, bound.span)?;
        let dims = [self.ty(x).without(&[dim]).dims, into.clone()].concat();
        let ty = Ty::new(self.ty(x).elem, dims);
        self.push(Op::Split { dim, into }, &[x], ty, bound.span)
            .map(Value::Tensor)
    }

    /// `merge(x, [block, inner], into: row)`
    pub(crate) fn merge(&mut self, bound: &Bound) -> Result<Value> {
        let (x_expr, dims_expr, into_expr) =
            (bound.need("x")?, bound.need("dims")?, bound.need("into")?);
        let x = self.expr_tensor(x_expr)?;
        let mut dims = Vec::new();
        for (name, span) in self.names_of(dims_expr)? {
            let dim = self.dim_of(x, name, span, "merge")?;
            self.refuse_ragged(dim, span, "merge")?;
            if dims.contains(&dim) {
                let message = format!("`{name}` stands twice here");
                return self.error("duplicate-dimension", span, message);
            }
            dims.push(dim);
        }
        let ExprKind::Name(name) = &into_expr.kind else {
            return self.error(
                "unknown-dimension",
                into_expr.span,
                "the name of a dimension is expected here",
            );
        };
        let into = self.part_dim(name, into_expr.span, "merge");
        if self.ty(x).without(&dims).has(into) || dims.contains(&into) {
            let message = format!("`{name}` is a dimension of the tensor already");
            return self.error("duplicate-dimension", into_expr.span, message);
        }
        self.divide(into, &dims, bound.span)?;
        let all = [self.ty(x).without(&dims).dims, vec![into]].concat();
        let ty = Ty::new(self.ty(x).elem, all);
        self.push(Op::Merge { dims, into }, &[x], ty, bound.span)
            .map(Value::Tensor)
    }

    /// Makes the size of `whole` the product of those of `parts`, as far as sizes are known now.
    fn divide(&mut self, whole: DimId, parts: &[DimId], span: Span) -> Result<()> {
        let size = |dim: DimId| self.graph().dims.get(dim).size;
        let open: Vec<DimId> = parts
            .iter()
            .copied()
            .filter(|&dim| size(dim).is_none())
            .collect();
        let known: u64 = parts.iter().filter_map(|&dim| size(dim)).product();
        match (size(whole), open.as_slice()) {
            (None, []) => self.fix_size(whole, known as usize, span),
            (Some(all), []) if all == known => Ok(()),
            (Some(all), &[part]) if known > 0 && all % known == 0 => {
                self.fix_size(part, (all / known) as usize, span)
            }
            (Some(all), [] | [_]) => {
                let names: Vec<String> = parts
                    .iter()
                    .map(|&dim| match size(dim) {
                        Some(size) => format!("`{}` of {size}", self.dim_name(dim)),
                        None => format!("`{}`", self.dim_name(dim)),
                    })
                    .collect();
                let message = format!(
                    "`{}` has {all} elements, which {} do not make up",
                    self.dim_name(whole),
                    names.join(" and ")
                );
                self.error("dimension-mismatch", span, message)
            }
            (Some(_), [first, ..]) => {
                let name = self.dim_name(*first).to_string();
                let diagnostic = Diagnostic::error(
                    "missing-dimension",
                    span,
                    format!("the sizes of all dimensions but one must be known, and that of `{name}` is not"),
                )
                .help(format!("split(x, row, into: [{name}, …], {name}: 4)"));
                Err(self.report(diagnostic))
            }
            // While running, one of them may follow from the others.
            (None, _) => Ok(()),
        }
    }

    /// The dimension of a name: one in scope, or a new one.
    fn part_dim(&mut self, name: &str, span: Span, what: &str) -> DimId {
        if let Some(dim) = self.dim_in_scope(name) {
            return dim;
        }
        let dim = self.new_dim(Dim {
            name: name.to_string(),
            origin: format!("`{what}`"),
            span,
            ragged: None,
            size: None,
        });
        self.scope.dims.insert(name.to_string(), dim);
        dim
    }

    fn refuse_ragged(&mut self, dim: DimId, span: Span, what: &str) -> Result<()> {
        if !self.graph().dims.is_ragged(dim) {
            return Ok(());
        }
        let name = self.dim_name(dim).to_string();
        let message = format!("`{name}` is ragged: `{what}` takes dimensions of one size");
        self.error("ragged-size", span, message)
    }

    /// The names in a list of dimensions.
    fn names_of<'e>(&mut self, expr: &'e Expr) -> Result<Vec<(&'e str, Span)>> {
        let wrong = "a list of dimensions is expected here, as `[block, inner]`";
        let ExprKind::List(items) = &expr.kind else {
            return self.error("unknown-dimension", expr.span, wrong);
        };
        let mut names = Vec::new();
        for item in items {
            let ExprKind::Name(name) = &item.kind else {
                return self.error("unknown-dimension", item.span, wrong);
            };
            names.push((name.as_str(), item.span));
        }
        if names.is_empty() {
            return self.error("unknown-dimension", expr.span, wrong);
        }
        Ok(names)
    }

    /// `matrix_power(x, 3, row: from, col: to)`, by squaring.
    pub(crate) fn matrix_power(&mut self, bound: &Bound) -> Result<Value> {
        let span = bound.span;
        let (x_expr, n_expr) = (bound.need("x")?, bound.need("n")?);
        let x = self.expr_tensor(x_expr)?;
        let x = self.real(x, x_expr.span)?;
        let row = self.matrix_dim(x, bound.need("row")?, "matrix_power")?;
        let col = self.matrix_dim(x, bound.need("col")?, "matrix_power")?;
        if row == col {
            let message = "the rows and columns of `matrix_power` are two dimensions";
            return self.error("duplicate-dimension", span, message);
        }
        let size = |dim: DimId| self.graph().dims.get(dim).size;
        if let (Some(rows), Some(cols)) = (size(row), size(col))
            && rows != cols
        {
            let message = format!(
                "a power is of a square matrix, and this has {rows} rows and {cols} columns"
            );
            return self.error("dimension-mismatch", x_expr.span, message);
        }
        let n = self.expr_tensor(n_expr)?;
        let n = match self.static_number(n) {
            Some(n) if n.fract() == 0.0 && n.abs() <= MOST_POWER => n as i64,
            Some(n) => {
                let message = format!("the power of a matrix is a whole number, not {n}");
                return self.error("value-out-of-range", n_expr.span, message);
            }
            None => {
                let message = "the power of a matrix must be known before the run";
                return self.error("not-known-before-run", n_expr.span, message);
            }
        };
        let ty = self.ty(x).clone();
        let mut square = x;
        if n < 0 {
            let op = Op::Factor {
                factor: Factor::Inverse,
                row,
                col,
                rank: None,
            };
            square = self.push(op, &[x], ty.clone(), span)?;
        }
        let mut rest = n.unsigned_abs();
        let mut power: Option<Tensor> = None;
        while rest > 0 {
            if rest % 2 == 1 {
                power = Some(match power {
                    Some(power) => self.matrix_product(power, square, (row, col), span)?,
                    None => square,
                });
            }
            rest /= 2;
            if rest > 0 {
                square = self.matrix_product(square, square, (row, col), span)?;
            }
        }
        if let Some(power) = power {
            return Ok(Value::Tensor(power));
        }
        let (down, right) = (self.position(row, span)?, self.position(col, span)?);
        let dims = [row.min(col), row.max(col)];
        let down = self.broadcast(down, &dims, span)?;
        let right = self.broadcast(right, &dims, span)?;
        let diagonal = self.binary(Binary::Eq, down, right, span)?;
        let one = self.cast(diagonal, Elem::Real, span)?;
        self.broadcast(one, &ty.dims, span).map(Value::Tensor)
    }

    /// Σ over what is the column of `a` and the row of `b`.
    fn matrix_product(
        &mut self,
        a: Tensor,
        b: Tensor,
        (row, col): (DimId, DimId),
        span: Span,
    ) -> Result<Tensor> {
        let ty = self.ty(a).clone();
        let inner = self.renamed_inner(col, span);
        let renamed = |old: DimId| {
            let dims = ty
                .dims
                .iter()
                .map(|&dim| if dim == old { inner } else { dim });
            Ty::new(Elem::Real, dims.collect())
        };
        let a = self.push(Op::Rename(vec![(col, inner)]), &[a], renamed(col), span)?;
        let b = self.push(Op::Rename(vec![(row, inner)]), &[b], renamed(row), span)?;
        self.push(Op::Contract { over: vec![inner] }, &[a, b], ty, span)
    }

    /// A dimension of the size of `col` that is summed over in products, one for each `col`.
    fn renamed_inner(&mut self, col: DimId, span: Span) -> DimId {
        // No identifier, so no user renames to it.
        let key = (col, "(inner)".to_string());
        if let Some(&known) = self.levels[0].renamed.get(&key) {
            return known;
        }
        let size = self.graph().dims.get(col).size;
        let inner = self.new_dim(Dim {
            name: "inner".to_string(),
            origin: "`matrix_power`".to_string(),
            span,
            ragged: None,
            size,
        });
        self.levels[0].renamed.insert(key, inner);
        inner
    }
}
