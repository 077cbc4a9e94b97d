//! Draws: a native sampler's arguments, and the record of its fields.

use crate::diagnostic::Diagnostic;
use crate::elaborate::block::argument::Given;
use crate::elaborate::expr::annotation::elem_named;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::{Record, Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Reported, Result};
use crate::graph::{Draw, DrawArg, Op};
use crate::ty::{Dim, DimId, Elem, Ty, is_ragged_name};
use rlp_grammar::ast::{DimExpr, Ident, Span, TypeExpr, TypeKind};
use std::rc::Rc;

impl Elaborator<'_> {
    /// `sampler.rollout(policy, task, …)`: a draw, and the record of its fields.
    pub(crate) fn draw(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Value> {
        if self.mode != Mode::Pipeline {
            let message = format!(
                "`{}` draws data, and may stand in a pipeline only",
                definition.name
            );
            return self.error("misplaced-resource", span, message);
        }
        let mut scope = Scope::new(definition.file);
        let places = self.bind_parameters(definition, given, &mut scope, span)?;
        let mut operands: Vec<Tensor> = Vec::new();
        let mut args = Vec::new();
        for param in &definition.block.params {
            let name = param.name.name.clone();
            let Some((slot, _)) = scope.get(&name) else {
                continue;
            };
            let Binding::Done(value) = slot.borrow().clone() else {
                continue;
            };
            let arg = match value {
                Value::Model(model)
                    if self.models[self.root_of(model.model)].block == "model.value_lm" =>
                {
                    let place = places.get(&name).copied().unwrap_or(span);
                    let message = "a model of values writes nothing that could be drawn";
                    return self.error("type-mismatch", place, message);
                }
                Value::Model(model) => DrawArg::Model(model),
                Value::Data(data) => DrawArg::Data(data),
                Value::Network(policy) => {
                    operands.push(self.policy_table(policy, &scope, span)?);
                    DrawArg::Operand(operands.len() - 1)
                }
                // What is drawn for its items is said by the policy.
                Value::Source(_) => continue,
                Value::Tensor(tensor) => match self.static_value(tensor) {
                    Some(array) => DrawArg::Static(array),
                    None => {
                        operands.push(tensor);
                        DrawArg::Operand(operands.len() - 1)
                    }
                },
                Value::Record(record) => {
                    let mut fields = Vec::new();
                    flatten(&record, "", &mut |name, tensor| {
                        operands.push(tensor);
                        fields.push((name, operands.len() - 1));
                    });
                    DrawArg::Record(fields)
                }
                other => {
                    let place = places.get(&name).copied().unwrap_or(span);
                    return self.error(
                        "type-mismatch",
                        place,
                        format!(
                            "`{name}` of `{}` cannot be {}",
                            definition.name,
                            other.describe()
                        ),
                    );
                }
            };
            args.push((name, arg));
        }
        let first_assert = self.levels[self.level].asserted.len();
        self.sense_of_draw(definition, (&args, &scope), &places, span)?;
        let Some(result) = definition.block.result.clone() else {
            return self.error(
                "missing-result",
                definition.block.head,
                format!("`{}` announces no result", definition.name),
            );
        };
        let index = self.levels[0].graph.draws.len();
        self.levels[0].graph.draws.push(Draw {
            block: definition.name.clone(),
            args,
            fields: Vec::new(),
            fresh: Vec::new(),
            renewed: Vec::new(),
            span,
        });
        let node = self.push(Op::Draw(index), &operands, Ty::scalar(Elem::Bool), span)?;
        self.guard(first_assert, &[&Value::Tensor(node)]);
        let value = match &result.kind {
            TypeKind::Record(fields) => {
                // What is drawn is over dimensions of its own, whatever was given.
                scope.dims.clear();
                self.fresh_record(definition, fields, "", &mut scope, (index, node), span)?
            }
            TypeKind::Like { param, fresh } => {
                let Some((slot, _)) = scope.get(&param.name) else {
                    return Err(Reported);
                };
                let Binding::Done(Value::Record(record)) = slot.borrow().clone() else {
                    return self.error(
                        "type-mismatch",
                        span,
                        format!("`{}` of `{}` is a record", param.name, definition.name),
                    );
                };
                self.renewed_record(definition, &record, fresh, (index, node), span)?
            }
            TypeKind::Named { .. } => {
                return self.error(
                    "kind-result",
                    result.span,
                    "a sampler returns a record of tensors",
                );
            }
        };
        Ok(value)
    }

    /// The record that a signature announces; its dimensions that the scope does not know are new.
    pub(crate) fn fresh_record(
        &mut self,
        definition: &Definition,
        fields: &[(Ident, TypeExpr)],
        prefix: &str,
        scope: &mut Scope,
        draw: (usize, Tensor),
        span: Span,
    ) -> Result<Value> {
        let mut values = Vec::new();
        for (name, ty) in fields {
            let full = if prefix.is_empty() {
                name.name.clone()
            } else {
                format!("{prefix}.{}", name.name)
            };
            let value = match &ty.kind {
                TypeKind::Record(inner) => {
                    let outer = scope.dims.clone();
                    let record = self.fresh_record(definition, inner, &full, scope, draw, span)?;
                    // The sequences of one record have other lengths than those of the next.
                    let dims = &self.graph().dims;
                    scope
                        .dims
                        .retain(|name, dim| outer.contains_key(name) || !dims.is_ragged(*dim));
                    record
                }
                TypeKind::Named { name: elem, dims } => {
                    let Some(elem) = elem_named(&elem.name) else {
                        return Err(self.unknown_type(elem));
                    };
                    let mut ids: Vec<DimId> = Vec::new();
                    for dim in dims {
                        let DimExpr::Dim { name, size } = dim else {
                            return self.error(
                                "unknown-dimension",
                                ty.span,
                                "the fields of a sampler name all their dimensions",
                            );
                        };
                        let id = match scope.dims.get(&name.name) {
                            Some(&id) => id,
                            None => {
                                let size = match size {
                                    Some(size) => {
                                        let inner = scope.clone();
                                        let tensor =
                                            self.in_scope(inner, |this| this.expr_tensor(size))?;
                                        self.static_number(tensor).map(|size| size as u64)
                                    }
                                    None => None,
                                };
                                let ragged = is_ragged_name(&name.name).then(|| ids.clone());
                                let id = self
                                    .drawn_dim(definition, &name.name, ragged, size, draw, span)?;
                                scope.dims.insert(name.name.clone(), id);
                                id
                            }
                        };
                        ids.push(id);
                    }
                    self.drawn_field(full, Ty::new(elem, ids), draw, span)?
                }
                TypeKind::Like { .. } => {
                    return self.error("kind-result", ty.span, "a field is a tensor or a record");
                }
            };
            values.push((name.name.clone(), value));
        }
        Ok(Value::Record(Rc::new(Record { fields: values })))
    }

    /// A dimension that comes from a draw, with its mask if it is ragged.
    pub(crate) fn drawn_dim(
        &mut self,
        definition: &Definition,
        name: &str,
        ragged: Option<Vec<DimId>>,
        size: Option<u64>,
        draw: (usize, Tensor),
        span: Span,
    ) -> Result<DimId> {
        let place = self.library.map.place(span);
        let origin = format!("`{}` on line {}", definition.name, place.0);
        let id = self.new_dim(Dim {
            name: name.to_string(),
            origin,
            span,
            ragged: ragged.clone(),
            size,
        });
        self.levels[0].graph.draws[draw.0].fresh.push(id);
        self.levels[0].origins.insert(id, draw.1);
        if let Some(mut dims) = ragged {
            dims.push(id);
            let mask = self.push(Op::Mask(id), &[draw.1], Ty::new(Elem::Bool, dims), span)?;
            self.set_mask(id, mask);
        }
        Ok(id)
    }

    pub(crate) fn drawn_field(
        &mut self,
        name: String,
        ty: Ty,
        draw: (usize, Tensor),
        span: Span,
    ) -> Result<Value> {
        self.levels[0].graph.draws[draw.0]
            .fields
            .push((name.clone(), ty.clone()));
        self.push(Op::Field(name), &[draw.1], ty, span)
            .map(Value::Tensor)
    }

    /// The same record after a filter: some dimensions, and what is ragged over them, are new ones.
    pub(crate) fn renewed_record(
        &mut self,
        definition: &Definition,
        record: &Rc<Record>,
        fresh: &[Ident],
        draw: (usize, Tensor),
        span: Span,
    ) -> Result<Value> {
        let mut all: Vec<DimId> = Vec::new();
        flatten(record, "", &mut |_, tensor| {
            all.extend(self.ty(tensor).dims.iter().copied())
        });
        all.sort_unstable();
        all.dedup();
        let mut renewed: Vec<(DimId, DimId)> = Vec::new();
        for &dim in &all {
            let old = self.graph().dims.get(dim).clone();
            let named = fresh.iter().any(|name| name.name == old.name);
            let over_renewed = old
                .ragged
                .iter()
                .flatten()
                .any(|parent| renewed.iter().any(|(known, _)| known == parent));
            if !named && !over_renewed {
                continue;
            }
            let map = |parent: &DimId| {
                renewed
                    .iter()
                    .find(|(known, _)| known == parent)
                    .map_or(*parent, |&(_, new)| new)
            };
            let ragged = old
                .ragged
                .as_ref()
                .map(|parents| parents.iter().map(map).collect());
            let new = self.drawn_dim(definition, &old.name, ragged, None, draw, span)?;
            renewed.push((dim, new));
        }
        if renewed.is_empty() {
            let names: Vec<String> = fresh
                .iter()
                .map(|name| format!("`{}`", name.name))
                .collect();
            let message = format!(
                "`{}` takes a record over {}",
                definition.name,
                names.join(" or ")
            );
            return Err(self.report(Diagnostic::error("dimension-mismatch", span, message)));
        }
        self.levels[0].graph.draws[draw.0].renewed = renewed.clone();
        self.renewed_fields(record, "", &renewed, draw, span)
    }

    pub(crate) fn renewed_fields(
        &mut self,
        record: &Rc<Record>,
        prefix: &str,
        renewed: &[(DimId, DimId)],
        draw: (usize, Tensor),
        span: Span,
    ) -> Result<Value> {
        let mut values = Vec::new();
        for (name, value) in &record.fields {
            let full = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let value = match value {
                Value::Tensor(tensor) => {
                    let old = self.ty(*tensor).clone();
                    let dims = old
                        .dims
                        .iter()
                        .map(|dim| {
                            renewed
                                .iter()
                                .find(|(known, _)| known == dim)
                                .map_or(*dim, |&(_, new)| new)
                        })
                        .collect();
                    self.drawn_field(full, Ty::new(old.elem, dims), draw, span)?
                }
                Value::Record(inner) => self.renewed_fields(inner, &full, renewed, draw, span)?,
                other => other.clone(),
            };
            values.push((name.clone(), value));
        }
        Ok(Value::Record(Rc::new(Record { fields: values })))
    }
}

/// Calls `each` with every tensor of a record and its full name.
pub(crate) fn flatten(record: &Record, prefix: &str, each: &mut dyn FnMut(String, Tensor)) {
    for (name, value) in &record.fields {
        let full = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Tensor(tensor) => each(full, *tensor),
            Value::Record(inner) => flatten(inner, &full, each),
            Value::Model(_)
            | Value::Network(_)
            | Value::Data(_)
            | Value::Source(_)
            | Value::Method(_)
            | Value::Rule(_)
            | Value::Transform(_)
            | Value::List(_)
            | Value::Noise(_)
            | Value::Lambda(_)
            | Value::Poison => {}
        }
    }
}
