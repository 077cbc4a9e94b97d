//! Parameters: the dimensions of a signature bound to those of the arguments, by name.

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::block::argument::Given;
use crate::elaborate::block::call::one_line;
use crate::elaborate::expr::annotation::elem_named;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Record, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::ty::{Dim, DimId, Elem, is_ragged_name};
use rlp_grammar::ast::{DimExpr, Param, Span, TypeKind};
use std::collections::HashMap;

impl Elaborator<'_> {
    /// Binds parameters, in order; first those that say what the dimensions of the signature are.
    pub(crate) fn bind_parameters(
        &mut self,
        definition: &Definition,
        given: Vec<Given>,
        scope: &mut Scope,
        span: Span,
    ) -> Result<HashMap<String, Span>> {
        let mut sound = true;
        for (param, value) in definition.block.params.iter().zip(&given) {
            sound &= match value {
                Some((Value::Tensor(tensor), place)) => self
                    .bind_dims(definition, param, *tensor, *place, scope)
                    .is_ok(),
                Some((Value::Record(record), place)) => self
                    .bind_fields(definition, param, record, *place, scope)
                    .is_ok(),
                Some(_) | None => true,
            };
        }
        if !sound {
            return Err(Reported);
        }
        let mut places = HashMap::new();
        for (param, value) in definition.block.params.iter().zip(given) {
            let (value, place) = match (value, &param.default) {
                (Some(given), _) => given,
                (None, Some(default)) => {
                    let inner = scope.clone();
                    (
                        self.in_scope(inner, |this| this.expr(default))?,
                        default.span,
                    )
                }
                (None, None) => {
                    return self.error(
                        "missing-argument",
                        span,
                        format!("`{}` has no value", param.name.name),
                    );
                }
            };
            match self.coerce(definition, param, value, place, scope) {
                Ok(value) => {
                    places.insert(param.name.name.clone(), place);
                    scope.bind(&param.name.name, value, param.name.span);
                }
                Err(Reported) => sound = false,
            }
        }
        if sound { Ok(places) } else { Err(Reported) }
    }

    /// Matches the dimensions of each field that a signature announces of a record.
    fn bind_fields(
        &mut self,
        definition: &Definition,
        param: &Param,
        record: &Record,
        place: Span,
        scope: &mut Scope,
    ) -> Result<()> {
        let Some(TypeKind::Record(fields)) = param.ty.as_ref().map(|ty| &ty.kind) else {
            return Ok(());
        };
        for (name, ty) in fields {
            let Some(value) = record.get(&name.name) else {
                let message = format!(
                    "`{}` of `{}` has a field `{}`, which this record lacks",
                    param.name.name, definition.name, name.name
                );
                let fields = record.fields.iter().map(|(name, _)| name.as_str());
                let found = format!("it has {}", fields.collect::<Vec<_>>().join(", "));
                let diagnostic = Diagnostic::error("type-mismatch", place, message)
                    .here(found)
                    .label(name.span, "declared here");
                return Err(self.report(diagnostic));
            };
            if let Value::Tensor(tensor) = value {
                let field = Param {
                    trainable: false,
                    name: name.clone(),
                    ty: Some(ty.clone()),
                    default: None,
                    note: None,
                    span: name.span,
                };
                self.bind_dims(definition, &field, *tensor, place, scope)?;
            }
        }
        Ok(())
    }

    /// Matches the dimensions of an argument with those of its parameter, by name.
    pub(crate) fn bind_dims(
        &mut self,
        definition: &Definition,
        param: &Param,
        tensor: crate::elaborate::value::Tensor,
        place: Span,
        scope: &mut Scope,
    ) -> Result<()> {
        let Some(TypeKind::Named { name, dims }) = param.ty.as_ref().map(|ty| &ty.kind) else {
            return Ok(());
        };
        if elem_named(&name.name).is_none() || dims.is_empty() {
            return Ok(());
        }
        let found = self.ty(tensor).clone();
        if found.dims.is_empty() {
            return Ok(());
        }
        let mut left = found.dims.clone();
        let mut missing = Vec::new();
        for dim in dims {
            let DimExpr::Dim { name, .. } = dim else {
                continue;
            };
            let Some(position) = left.iter().position(|&dim| self.dim_name(dim) == name.name)
            else {
                missing.push(name.name.clone());
                continue;
            };
            let dim = left.remove(position);
            match scope.dims.get(&name.name) {
                Some(&known) if known != dim => {
                    return Err(self.two_origins(definition, &name.name, known, dim, place));
                }
                Some(_) => {}
                None => {
                    scope.dims.insert(name.name.clone(), dim);
                }
            }
        }
        let has_rest = dims.iter().any(|dim| matches!(dim, DimExpr::Rest(_)));
        if !missing.is_empty() || (!has_rest && !left.is_empty()) {
            return Err(self.wrong_dims(definition, param, tensor, place, &missing, &left, scope));
        }
        if has_rest {
            match &scope.rest {
                Some(rest) if *rest != left => {
                    let message = format!(
                        "`..` stands for the same dimensions everywhere in `{}`, and here it would be others",
                        definition.name
                    );
                    let shown = self.show_type(tensor);
                    return Err(self.report(
                        Diagnostic::error("dimension-mismatch", place, message).here(shown),
                    ));
                }
                Some(_) => {}
                None => scope.rest = Some(left),
            }
        }
        Ok(())
    }

    pub(crate) fn two_origins(
        &mut self,
        definition: &Definition,
        name: &str,
        first: DimId,
        second: DimId,
        place: Span,
    ) -> Reported {
        let (one, other) = (
            self.graph().dims.get(first).clone(),
            self.graph().dims.get(second).clone(),
        );
        let message = format!(
            "`{}` needs one `{name}` for all its arguments, and gets two: one from {}, one from {}",
            definition.name, one.origin, other.origin
        );
        let diagnostic = Diagnostic::error("different-origin", place, message)
            .here(format!("this `{name}` comes from {}", other.origin))
            .label(one.span, format!("the `{name}` of an earlier argument"))
            .label(other.span, format!("the `{name}` of this one"))
            .help("take all arguments from one record: a sampler that filters returns its record with all fields");
        self.report(diagnostic)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one message that names all that disagrees"
    )]
    pub(crate) fn wrong_dims(
        &mut self,
        definition: &Definition,
        param: &Param,
        tensor: crate::elaborate::value::Tensor,
        place: Span,
        missing: &[String],
        extra: &[DimId],
        scope: &Scope,
    ) -> Reported {
        let declared = param
            .ty
            .as_ref()
            .map(|ty| self.library.map.text(ty.span).to_string())
            .unwrap_or_default();
        let found = self.show_type(tensor);
        let message = format!(
            "`{}` of `{}` is `{}`, and this is `{found}`",
            param.name.name,
            definition.name,
            one_line(&declared)
        );
        let mut diagnostic = Diagnostic::error("dimension-mismatch", place, message)
            .here(found)
            .label(param.span, "declared here");
        let text = self.library.map.text(place).to_string();
        let short = text.len() <= 40 && !text.contains('\n');
        let extra: Vec<&str> = extra.iter().map(|&dim| self.dim_name(dim)).collect();
        if let ([wanted], [found]) = (missing, extra.as_slice()) {
            if short {
                diagnostic = diagnostic.help(format!("rename({text}, {found}: {wanted})"));
            }
        } else if !missing.is_empty() && extra.is_empty() {
            let like = definition.block.params.iter().find(|other| {
                other.name.name != param.name.name
                    && scope.dims.len() > missing.len()
                    && other.ty.is_some()
            });
            if short && like.is_some() {
                diagnostic = diagnostic.help(format!(
                    "say that it is repeated over `{}`: `repeat({text}, like: …)`",
                    missing.join("`, `")
                ));
            }
        } else if missing.is_empty() && short {
            diagnostic = diagnostic.help(format!(
                "mean({text}, over: {})",
                if extra.len() == 1 {
                    extra[0].to_string()
                } else {
                    format!("[{}]", extra.join(", "))
                }
            ));
        }
        self.report(diagnostic)
    }

    /// The argument as the parameter's type wants it.
    pub(crate) fn coerce(
        &mut self,
        definition: &Definition,
        param: &Param,
        value: Value,
        place: Span,
        scope: &mut Scope,
    ) -> Result<Value> {
        let Some(ty) = &param.ty else {
            return match value {
                Value::Record(_) => Ok(value),
                other => self.expected(definition, param, "a record", &other, place),
            };
        };
        let TypeKind::Named { name, dims } = &ty.kind else {
            return match value {
                Value::Record(_) => Ok(value),
                other => self.expected(definition, param, "a record", &other, place),
            };
        };
        let Some(elem) = elem_named(&name.name) else {
            return match (name.name.as_str(), &value) {
                ("model", Value::Model(_) | Value::Network(_))
                | ("data", Value::Data(_) | Value::Source(_))
                | ("optimizer", Value::Rule(_))
                | ("record", Value::Record(_)) => Ok(value),
                ("model", other) => {
                    self.expected(definition, param, "a model", &other.clone(), place)
                }
                ("data", other) => {
                    self.expected(definition, param, "a data source", &other.clone(), place)
                }
                ("optimizer", other) => {
                    self.expected(definition, param, "an optimizer", &other.clone(), place)
                }
                ("record", other) => {
                    self.expected(definition, param, "a record", &other.clone(), place)
                }
                _ => Err(self.unknown_type(name)),
            };
        };
        if let Value::List(list) = &value {
            let list = list.clone();
            let ids = self.dims_for_list(dims, scope)?;
            return self.typed_list(&list, elem, &ids).map(Value::Tensor);
        }
        let x = match value {
            Value::Noise(noise) if elem == Elem::Real => {
                let ids = self.dims_for_list(dims, scope)?;
                self.noise(noise, ids)?
            }
            Value::Tensor(tensor) => tensor,
            other => return self.expected(definition, param, "a tensor", &other, place),
        };
        let found = self.ty(x).elem;
        let agrees = found == elem || (elem == Elem::Real && found == Elem::Int);
        if !agrees {
            if let (Elem::Int, Some(whole)) = (
                elem,
                self.static_number(x).filter(|value| value.fract() == 0.0),
            ) {
                return self
                    .literal(Array::int(whole as i64), place)
                    .map(Value::Tensor);
            }
            let shown = self.show_type(x);
            let message = format!(
                "`{}` of `{}` is `{}`, and this is `{shown}`",
                param.name.name,
                definition.name,
                elem.name()
            );
            let mut diagnostic = Diagnostic::error("type-mismatch", place, message)
                .here(shown)
                .label(param.span, "declared here");
            if elem == Elem::Real && found == Elem::Bool {
                diagnostic = diagnostic.help("`real(x)` is 1 where `x` holds and 0 elsewhere");
            }
            return Err(self.report(diagnostic));
        }
        let x = self.cast(x, elem, place)?;
        if dims.is_empty() {
            if !self.ty(x).dims.is_empty() {
                let all = self.ty(x).dims.clone();
                return Err(self.wrong_dims(definition, param, x, place, &[], &all, scope));
            }
            return Ok(Value::Tensor(x));
        }
        if !self.ty(x).dims.is_empty() {
            return Ok(Value::Tensor(x));
        }
        // A scalar stands for a tensor: it is repeated over the dimensions that the others gave.
        let mut ids = Vec::new();
        for dim in dims {
            match dim {
                DimExpr::Rest(_) => ids.extend(scope.rest.clone().unwrap_or_default()),
                DimExpr::Dim { name, .. } => match scope.dims.get(&name.name) {
                    Some(&dim) => ids.push(dim),
                    None => return Ok(Value::Tensor(x)),
                },
            }
        }
        ids.sort_unstable();
        self.broadcast(x, &ids, place).map(Value::Tensor)
    }

    /// The dimensions of a list argument: bound ones, those of the caller, or new ones.
    pub(crate) fn dims_for_list(
        &mut self,
        dims: &[DimExpr],
        scope: &mut Scope,
    ) -> Result<Vec<DimId>> {
        let mut ids: Vec<DimId> = Vec::new();
        for dim in dims {
            match dim {
                DimExpr::Rest(_) => ids.extend(scope.rest.clone().unwrap_or_default()),
                DimExpr::Dim { name, .. } => {
                    let known = scope
                        .dims
                        .get(&name.name)
                        .copied()
                        .or_else(|| self.scope.dims.get(&name.name).copied());
                    let id = match known {
                        Some(id) => id,
                        None => {
                            let ragged = is_ragged_name(&name.name).then(|| ids.clone());
                            let dim = Dim {
                                name: name.name.clone(),
                                origin: "a list".to_string(),
                                span: name.span,
                                ragged,
                                size: None,
                            };
                            let id = self.new_dim(dim);
                            self.scope.dims.insert(name.name.clone(), id);
                            id
                        }
                    };
                    scope.dims.insert(name.name.clone(), id);
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }
}
