//! Annotations: types as written, and values that must agree with them.

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, MAX_DIMS, Mode, Reported, Result};
use crate::ty::{Dim, DimId, Elem, Ty, is_ragged_name};
use rlp_grammar::ast::{DimExpr, Ident, Span, TypeExpr, TypeKind};

impl Elaborator<'_> {
    /// A type of tensors: its element and dimensions, in the order written. Unknown dimensions come into being.
    pub(crate) fn tensor_type(&mut self, ty: &TypeExpr) -> Result<(Elem, Vec<DimId>)> {
        let TypeKind::Named { name, dims } = &ty.kind else {
            return self.error(
                "type-mismatch",
                ty.span,
                "a tensor type is expected here, as `real[prompt, sample]`",
            );
        };
        let Some(elem) = elem_named(&name.name) else {
            let near = nearest(&name.name, ["real", "int", "bool", "text"])
                .into_iter()
                .map(str::to_string)
                .collect::<Vec<_>>();
            let mut diagnostic = Diagnostic::error(
                "unknown-type",
                name.span,
                format!(
                    "`{}` is not an element: real, int, bool and text are",
                    name.name
                ),
            );
            if let Some(best) = near.first() {
                diagnostic = diagnostic
                    .help(format!("did you mean `{best}`?"))
                    .fix(name.span, best.clone());
            }
            return Err(self.report(diagnostic));
        };
        self.refuse_many_dims(dims)?;
        let mut ids = Vec::new();
        for dim in dims {
            match dim {
                DimExpr::Rest(span) => match self.scope.rest.clone() {
                    Some(rest) => ids.extend(rest),
                    None => return self.error("unknown-dimension", *span, "`..` stands for further dimensions in a signature, and there are none here"),
                },
                DimExpr::Dim { name, size } => {
                    let size = match size {
                        Some(size) => {
                            let found = self.expr_tensor(size)?;
                            // By itself, a block does not know its arguments.
                            if self.mode == Mode::Pure && self.static_number(found).is_none() {
                                None
                            } else {
                                Some(self.static_size(found, size.span)?)
                            }
                        }
                        None => None,
                    };
                    ids.push(self.annotated_dim(name, size, &ids.clone()));
                }
            }
        }
        for (index, id) in ids.iter().enumerate() {
            if ids[..index].contains(id) {
                let name = self.dim_name(*id).to_string();
                return self.error(
                    "duplicate-dimension",
                    ty.span,
                    format!("`{name}` stands twice in one type"),
                );
            }
        }
        Ok((elem, ids))
    }

    /// Refuses a type with more dimensions than are looked at.
    pub(crate) fn refuse_many_dims(&mut self, dims: &[DimExpr]) -> Result<()> {
        if dims.len() + self.scope.dims.len() <= MAX_DIMS {
            return Ok(());
        }
        let span = match dims.first() {
            Some(DimExpr::Dim { name, .. }) => name.span,
            Some(DimExpr::Rest(span)) => *span,
            None => return Ok(()),
        };
        let message = format!("more than {MAX_DIMS} dimensions are named");
        self.error("too-large", span, message)
    }

    /// A dimension that an annotation names: one in scope, or a new one whose lengths vary over those before it.
    pub(crate) fn annotated_dim(
        &mut self,
        name: &Ident,
        size: Option<u64>,
        before: &[DimId],
    ) -> DimId {
        if let Some(dim) = self.dim_in_scope(&name.name) {
            return dim;
        }
        let origin = match self.mode {
            Mode::Pure | Mode::Update => "this annotation".to_string(),
            Mode::Pipeline => "an annotation".to_string(),
        };
        let ragged = is_ragged_name(&name.name).then(|| before.to_vec());
        let id = self.new_dim(Dim {
            name: name.name.clone(),
            origin,
            span: name.span,
            ragged,
            size,
        });
        self.scope.dims.insert(name.name.clone(), id);
        id
    }

    /// A size: a whole number that is known now.
    pub(crate) fn static_size(&mut self, tensor: Tensor, span: Span) -> Result<u64> {
        match self.static_number(tensor) {
            Some(value) if value >= 0.0 && value.fract() == 0.0 && value < 1e15 => Ok(value as u64),
            Some(value) => self.error(
                "value-out-of-range",
                span,
                format!("a size is a whole number, not {value}"),
            ),
            None => self.error(
                "not-known-before-run",
                span,
                "a size must be known before the run",
            ),
        }
    }

    /// `value : type`.
    pub(crate) fn ascribe(&mut self, value: Value, span: Span, ty: &TypeExpr) -> Result<Value> {
        let (elem, dims) = self.tensor_type(ty)?;
        match value {
            Value::List(list) => self.typed_list(&list, elem, &dims).map(Value::Tensor),
            Value::Noise(noise) if elem == Elem::Real => self.noise(noise, dims).map(Value::Tensor),
            other => {
                let x = self.tensor(other, span)?;
                let x = self.expect_elem(x, elem, span)?;
                let wanted = Ty::new(elem, dims);
                if *self.ty(x) == wanted {
                    return Ok(Value::Tensor(x));
                }
                if self.ty(x).dims.is_empty() {
                    return self.broadcast(x, &wanted.dims, span).map(Value::Tensor);
                }
                let (found, wanted) = (self.show_type(x), self.show(&wanted));
                let diagnostic = Diagnostic::error(
                    "dimension-mismatch",
                    span,
                    format!("`{wanted}` is announced, and this is `{found}`"),
                )
                .here(found)
                .label(ty.span, wanted);
                Err(self.report(diagnostic))
            }
        }
    }

    /// The size of a dimension becomes known, or must agree.
    pub(crate) fn fix_size(&mut self, dim: DimId, size: usize, span: Span) -> Result<()> {
        match self.graph().dims.get(dim).size {
            Some(known) if known != size as u64 => {
                let name = self.dim_name(dim).to_string();
                let first = self.graph().dims.get(dim).span;
                let diagnostic = Diagnostic::error(
                    "dimension-mismatch",
                    span,
                    format!("`{name}` has {known} elements elsewhere, and {size} here"),
                )
                .label(first, format!("`{name}` comes from here"));
                Err(self.report(diagnostic))
            }
            Some(_) => Ok(()),
            None => {
                for level in &mut self.levels {
                    level.graph.dims.get_mut(dim).size = Some(size as u64);
                }
                Ok(())
            }
        }
    }

    /// The declared type of something that is not a tensor, by its word.
    pub(crate) fn unknown_type(&mut self, name: &Ident) -> Reported {
        let known = [
            "real",
            "int",
            "bool",
            "text",
            "model",
            "data",
            "optimizer",
            "record",
        ];
        let near = nearest(&name.name, known);
        let mut diagnostic = Diagnostic::error(
            "unknown-type",
            name.span,
            format!("there is no type `{}`", name.name),
        );
        if let Some(best) = near.first() {
            diagnostic = diagnostic
                .help(format!("did you mean `{best}`?"))
                .fix(name.span, best.to_string());
        }
        self.report(diagnostic)
    }
}

/// The words for elements.
pub(crate) fn elem_named(name: &str) -> Option<Elem> {
    match name {
        "real" => Some(Elem::Real),
        "int" => Some(Elem::Int),
        "bool" => Some(Elem::Bool),
        "text" => Some(Elem::Text),
        _ => None,
    }
}
