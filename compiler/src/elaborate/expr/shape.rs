//! Functions that change which dimensions a tensor has.

use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Op};
use crate::ty::{Dim, DimId, Elem, Ty};
use rlp_grammar::ast::{ExprKind, Span};

impl Elaborator<'_> {
    pub(crate) fn reshaping(&mut self, name: &str, bound: &Bound) -> Result<Value> {
        let span = bound.span;
        let result = match name {
            "rename" => self.rename(bound)?,
            "repeat" => {
                let (x_expr, like_expr) = (bound.need("x")?, bound.need("like")?);
                let x = self.expr_tensor(x_expr)?;
                let like = self.expr_tensor(like_expr)?;
                self.refuse_two_origins(x, like, x_expr.span, like_expr.span, span)?;
                let dims = self.joint_dims(&[x, like]);
                self.broadcast(x, &dims, span)?
            }
            "outer" => {
                let (a_expr, b_expr) = (bound.need("a")?, bound.need("b")?);
                let a = self.expr_tensor(a_expr)?;
                let a = self.real(a, a_expr.span)?;
                let b = self.expr_tensor(b_expr)?;
                let b = self.real(b, b_expr.span)?;
                self.refuse_two_origins(a, b, a_expr.span, b_expr.span, span)?;
                let dims = self.joint_dims(&[a, b]);
                let a = self.broadcast(a, &dims, span)?;
                let b = self.broadcast(b, &dims, span)?;
                self.binary(Binary::Mul, a, b, span)?
            }
            "stack" => self.stack(bound)?,
            "zeros_like" | "ones_like" => {
                let x = self.expr_tensor(bound.need("x")?)?;
                let value = self.number(if name == "zeros_like" { 0.0 } else { 1.0 }, span)?;
                let dims = self.ty(x).dims.clone();
                self.broadcast(value, &dims, span)?
            }
            _ => {
                let value = self.number(if name == "zeros" { 0.0 } else { 1.0 }, span)?;
                let mut dims = Vec::new();
                for expr in bound.all() {
                    dims.push(self.named_dim(expr)?);
                }
                for &(name, size_expr) in &bound.dims {
                    let size = self.expr_tensor(size_expr)?;
                    let size = self.static_size(size, size_expr.span)?;
                    let known = self.dim_in_scope(&name.name);
                    let dim = match known {
                        Some(dim) => dim,
                        None => {
                            let dim = Dim {
                                name: name.name.clone(),
                                origin: "here".to_string(),
                                span: name.span,
                                ragged: None,
                                size: None,
                            };
                            let dim = self.new_dim(dim);
                            self.scope.dims.insert(name.name.clone(), dim);
                            dim
                        }
                    };
                    self.fix_size(dim, size as usize, size_expr.span)?;
                    dims.push(dim);
                }
                dims.sort_unstable();
                self.broadcast(value, &dims, span)?
            }
        };
        Ok(Value::Tensor(result))
    }

    pub(crate) fn rename(&mut self, bound: &Bound) -> Result<Tensor> {
        let x = self.expr_tensor(bound.need("x")?)?;
        let mut pairs = Vec::new();
        for &(old, new_expr) in &bound.dims {
            let dim = self.dim_of(x, &old.name, old.span, "rename")?;
            let ExprKind::Name(new) = &new_expr.kind else {
                return self.error(
                    "unknown-dimension",
                    new_expr.span,
                    "the new name of the dimension is expected here",
                );
            };
            if self
                .ty(x)
                .dims
                .iter()
                .any(|&other| other != dim && self.dim_name(other) == new)
            {
                let shown = self.show_type(x);
                return self.error(
                    "duplicate-dimension",
                    new_expr.span,
                    format!("`{shown}` has a dimension `{new}` already"),
                );
            }
            pairs.push((dim, self.renamed_dim(dim, new, new_expr.span)?));
        }
        if pairs.is_empty() {
            return self.error(
                "missing-argument",
                bound.span,
                "`rename` gives a dimension another name: `rename(x, action: rival)`",
            );
        }
        let dims: Vec<DimId> = self
            .ty(x)
            .dims
            .iter()
            .map(|&dim| {
                pairs
                    .iter()
                    .find(|(old, _)| *old == dim)
                    .map_or(dim, |&(_, new)| new)
            })
            .collect();
        let ty = Ty::new(self.ty(x).elem, dims);
        self.push(Op::Rename(pairs), &[x], ty, bound.span)
    }

    /// The dimension of another name: the signature's of that name, or a new one, the same for the same rename.
    pub(crate) fn renamed_dim(&mut self, dim: DimId, new: &str, span: Span) -> Result<DimId> {
        if let Some(&known) = self.scope.dims.get(new) {
            return Ok(known);
        }
        if let Some(&known) = self.levels[0].renamed.get(&(dim, new.to_string())) {
            return Ok(known);
        }
        let old = self.graph().dims.get(dim).clone();
        let origin = format!("`{}` of {}", old.name, old.origin);
        let id = self.new_dim(Dim {
            name: new.to_string(),
            origin,
            span,
            ragged: old.ragged.clone(),
            size: old.size,
        });
        if let Some(&mask) = self.levels[0].masks.get(&dim) {
            let level = std::mem::replace(&mut self.level, 0);
            let dims = self
                .ty(mask)
                .dims
                .iter()
                .map(|&other| if other == dim { id } else { other })
                .collect();
            let ty = Ty::new(Elem::Bool, dims);
            let mask = self.push(Op::Rename(vec![(dim, id)]), &[mask], ty, span);
            self.level = level;
            self.set_mask(id, mask?);
        }
        if let Some(&origin) = self.levels[0].origins.get(&dim) {
            self.levels[0].origins.insert(id, origin);
        }
        self.levels[0].renamed.insert((dim, new.to_string()), id);
        Ok(id)
    }

    pub(crate) fn stack(&mut self, bound: &Bound) -> Result<Tensor> {
        let Some(as_expr) = bound.get("as") else {
            let message = "`stack` needs the argument `as`";
            let diagnostic = Diagnostic::error("missing-argument", bound.span, message)
                .help("`stack(a, b, as: objective)`");
            return Err(self.report(diagnostic));
        };
        let ExprKind::Name(name) = &as_expr.kind else {
            return self.error(
                "unknown-dimension",
                as_expr.span,
                "the name of the new dimension is expected here",
            );
        };
        let parts = bound.builtin.params.iter().filter(|param| **param != "as");
        let mut tensors: Vec<(Tensor, Span)> = Vec::new();
        for expr in parts.filter_map(|param| bound.get(param)) {
            let next = (self.expr_tensor(expr)?, expr.span);
            let next = match tensors.first_mut() {
                Some(first) => {
                    let (one, next) = self.same_elem(*first, next, "the tensors")?;
                    first.0 = one;
                    (next, expr.span)
                }
                None => next,
            };
            tensors.push(next);
        }
        if self.ty(tensors[0].0).elem == Elem::Real {
            for (tensor, span) in &mut tensors {
                *tensor = self.real(*tensor, *span)?;
            }
        }
        self.refuse_outer("stack", bound.span, &tensors)?;
        let tensors: Vec<Tensor> = tensors.into_iter().map(|(tensor, _)| tensor).collect();
        let dims = self.joint_dims(&tensors);
        if dims.iter().any(|&dim| self.dim_name(dim) == name) {
            return self.error(
                "duplicate-dimension",
                as_expr.span,
                format!("the tensors have a dimension `{name}` already"),
            );
        }
        let tensors = tensors
            .into_iter()
            .map(|tensor| self.broadcast(tensor, &dims, bound.span))
            .collect::<Result<Vec<_>>>()?;
        let dim = match self.dim_in_scope(name) {
            Some(dim) => dim,
            None => {
                let dim = Dim {
                    name: name.clone(),
                    origin: "`stack`".to_string(),
                    span: as_expr.span,
                    ragged: None,
                    size: Some(tensors.len() as u64),
                };
                let dim = self.new_dim(dim);
                self.scope.dims.insert(name.clone(), dim);
                dim
            }
        };
        self.fix_size(dim, tensors.len(), bound.span)?;
        let mut all = dims;
        all.push(dim);
        let ty = Ty::new(self.ty(tensors[0]).elem, all);
        self.push(Op::Stack(dim), &tensors, ty, bound.span)
    }
}
