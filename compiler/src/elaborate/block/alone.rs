//! Blocks by themselves: checked once over their own signature, or made ready for `rlpc eval`.

use crate::array::Array;
use crate::diagnostic::{Diagnostic, Severity};
use crate::elaborate::expr::annotation::elem_named;
use crate::elaborate::expr::literal::ascending;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Reported, Result};
use crate::graph::Op;
use crate::plan::{BlockPlan, InputPlan, ResultPlan};
use crate::ty::{Dim, DimId, Elem, Ty, is_ragged_name};
use rlp_grammar::ast::{DimExpr, Expr, Param, Span, TypeExpr, TypeKind};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

impl Elaborator<'_> {
    /// Whether a block has no mistake of its own; elaborated by itself when first asked.
    pub(crate) fn is_sound(&mut self, definition: &Rc<Definition>) -> bool {
        let key = format!("{}:{}", definition.file.0, definition.name);
        if let Some(&sound) = self.checked.get(&key) {
            return sound;
        }
        // A block that is being checked further out counts as sound here; recursion is found when inlining.
        self.checked.insert(key.clone(), true);
        let before = self.errors();
        if !self.library.is_broken(definition.file)
            || definition.block.native
            || !self.body_is_broken(definition)
        {
            let _ = self.alone(definition, &[]);
        }
        let sound = self.errors() == before && !self.body_is_broken(definition);
        self.checked.insert(key, sound);
        sound
    }

    pub(crate) fn errors(&self) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .count()
    }

    /// Whether a syntax error stands inside the block.
    pub(crate) fn body_is_broken(&self, definition: &Definition) -> bool {
        let span = definition.block.span;
        self.library.diagnostics.iter().any(|diagnostic| {
            let at = diagnostic.span();
            diagnostic.severity == Severity::Error
                && at.source == span.source
                && at.start >= span.start
                && at.end <= span.end
        })
    }

    /// A block by itself, over the dimensions of its signature. Arguments in `fixed` are constants.
    pub(crate) fn alone(
        &mut self,
        definition: &Rc<Definition>,
        fixed: &[(String, Array)],
    ) -> Result<BlockPlan> {
        let outer_states = std::mem::take(&mut self.alone_states);
        let outer_sizes = std::mem::take(&mut self.alone_sizes);
        let outer_update = self.update.take();
        let outer_allows = std::mem::take(&mut self.allows);
        let outer_inputs = std::mem::replace(&mut self.states_are_inputs, false);
        let (plan, level) = self.apart(Mode::Pure, |this| {
            this.in_scope(Scope::new(definition.file), |this| {
                this.alone_body(definition, fixed)
            })
        });
        self.states_are_inputs = outer_inputs;
        self.allows = outer_allows;
        self.update = outer_update;
        self.alone_states = outer_states;
        let sizes = std::mem::replace(&mut self.alone_sizes, outer_sizes);
        let (inputs, results) = plan?;
        Ok(BlockPlan {
            name: definition.name.clone(),
            graph: level.finish(),
            inputs,
            results,
            sizes,
        })
    }

    pub(crate) fn alone_body(
        &mut self,
        definition: &Rc<Definition>,
        fixed: &[(String, Array)],
    ) -> Result<(Vec<InputPlan>, Vec<ResultPlan>)> {
        self.check_kind(definition)?;
        let block = &definition.block;
        let mut inputs = Vec::new();
        let mut sound = true;
        if definition.kind() == "optimizer" {
            inputs.extend(self.optimizer_inputs(definition)?);
        }
        // What is trained may be sized by arguments, and start from them.
        let (trained, given): (Vec<&Param>, Vec<&Param>) =
            block.params.iter().partition(|param| param.trainable);
        for param in given.into_iter().chain(trained) {
            match self.alone_param(definition, param, fixed) {
                Ok(input) => inputs.extend(input),
                Err(Reported) => {
                    sound = false;
                    self.scope
                        .bind(&param.name.name, Value::Poison, param.name.span);
                }
            }
        }
        if !block.native && matches!(definition.kind(), "model" | "data") {
            return if sound {
                self.framed_alone(definition, |this| this.made_alone(definition))?;
                Ok((inputs, Vec::new()))
            } else {
                Err(Reported)
            };
        }
        if block.native || !sound {
            return if sound {
                Ok((inputs, Vec::new()))
            } else {
                Err(Reported)
            };
        }
        let value = self.framed_alone(definition, |this| {
            this.block_body(definition, &HashMap::new())
        })?;
        let mut results = Vec::new();
        match value {
            Value::Tensor(tensor) => {
                results.push(self.result("result", tensor, block.result.as_ref()));
            }
            Value::Record(record) => {
                for (name, value) in &record.fields {
                    if let Value::Tensor(tensor) = value {
                        let declared = declared_field(block.result.as_ref(), name);
                        results.push(self.result(name, *tensor, declared));
                    }
                }
            }
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
        if let Some(update) = self.update.take() {
            let Some(next) = update.next else {
                return Err(self.never_updates(definition));
            };
            results.push(self.result("param", next, None));
            for state in update.states {
                results.push(self.result(&format!("state.{}", state.name), state.next, None));
                inputs.push(self.state_input(&state.name, state.old, Some(state.initial)));
            }
        }
        for (state, next) in std::mem::take(&mut self.alone_states) {
            results.push(self.result(&format!("state.{}", state.name), next, None));
            inputs.push(self.state_input(&state.name, state.old, Some(state.initial)));
        }
        Ok((inputs, results))
    }

    /// A result with its axes in the order in which the signature declares them.
    fn result(&mut self, name: &str, tensor: Tensor, declared: Option<&TypeExpr>) -> ResultPlan {
        let dims = self.ty(tensor).dims.clone();
        let axes = match declared.map(|ty| self.tensor_type(ty)) {
            Some(Ok((_, axes))) if axes.len() == dims.len() => axes,
            Some(_) | None => dims,
        };
        ResultPlan {
            name: name.to_string(),
            node: tensor.node,
            axes,
        }
    }

    pub(crate) fn state_input(
        &self,
        name: &str,
        old: Tensor,
        initial: Option<Tensor>,
    ) -> InputPlan {
        let ty = self.ty(old);
        InputPlan {
            name: format!("state.{name}"),
            node: old.node,
            elem: ty.elem,
            axes: ty.dims.clone(),
            default: None,
            initial: initial.map(|initial| initial.node),
        }
    }

    /// One parameter of a block by itself: an input, or a constant.
    pub(crate) fn alone_param(
        &mut self,
        definition: &Rc<Definition>,
        param: &Param,
        fixed: &[(String, Array)],
    ) -> Result<Option<InputPlan>> {
        let span = param.name.span;
        let Some(ty) = &param.ty else {
            self.scope.bind(&param.name.name, Value::Poison, span);
            return Ok(None);
        };
        let TypeKind::Named { name, dims } = &ty.kind else {
            self.scope.bind(&param.name.name, Value::Poison, span);
            return Ok(None);
        };
        let Some(elem) = elem_named(&name.name) else {
            if !matches!(
                name.name.as_str(),
                "model" | "data" | "optimizer" | "record"
            ) {
                return Err(self.unknown_type(name));
            }
            self.scope.bind(&param.name.name, Value::Poison, span);
            return Ok(None);
        };
        if param.trainable {
            return self.alone_trained(definition, param, elem, dims).map(Some);
        }
        let default = match &param.default {
            Some(expr) => self.default_value(definition, expr, elem, dims)?,
            None => None,
        };
        let given = fixed
            .iter()
            .find(|(name, _)| *name == param.name.name)
            .map(|(_, array)| array.clone());
        if let Some(array) = given.or_else(|| {
            if elem == Elem::Real || !dims.is_empty() {
                None
            } else {
                default.clone()
            }
        }) {
            let tensor = self.literal(array, span)?;
            self.scope
                .bind(&param.name.name, Value::Tensor(tensor), span);
            return Ok(None);
        }
        let axes = self.signature_dims(definition, dims)?;
        let sorted = Ty::new(elem, axes.clone());
        let tensor = self.push(Op::Input(param.name.name.clone()), &[], sorted, span)?;
        self.scope
            .bind(&param.name.name, Value::Tensor(tensor), span);
        Ok(Some(InputPlan {
            name: param.name.name.clone(),
            node: tensor.node,
            elem,
            axes,
            default,
            initial: None,
        }))
    }

    /// The default of a parameter, if it is known before the run: a scalar that stands for every element, or a list over
    /// ascending dimensions.
    fn default_value(
        &mut self,
        definition: &Rc<Definition>,
        expr: &Expr,
        elem: Elem,
        dims: &[DimExpr],
    ) -> Result<Option<Array>> {
        let value = self.expr(expr)?;
        if let Value::List(list) = &value
            && !dims.is_empty()
        {
            let axes = self.signature_dims(definition, dims)?;
            let known = self.known_list(list, elem, &axes)?;
            return Ok(known.map(|(array, _)| ascending(&array, &axes)));
        }
        let value = self.tensor(value, expr.span)?;
        let value = self.whole_as_int(value, elem, expr.span)?;
        self.expect_elem(value, elem, expr.span)?;
        let value = if elem == Elem::Real {
            self.real(value, expr.span)?
        } else {
            value
        };
        Ok(self.static_value(value))
    }

    pub(crate) fn whole_as_int(&mut self, value: Tensor, elem: Elem, span: Span) -> Result<Tensor> {
        match self.static_number(value) {
            Some(number) if elem == Elem::Int && number.fract() == 0.0 => {
                self.literal(Array::int(number as i64), span)
            }
            _ => Ok(value),
        }
    }

    /// The dimensions of a signature's type, in the order written; each comes into being where it first stands.
    pub(crate) fn signature_dims(
        &mut self,
        definition: &Definition,
        dims: &[DimExpr],
    ) -> Result<Vec<DimId>> {
        let origin = format!("the signature of `{}`", definition.name);
        self.refuse_many_dims(dims)?;
        let mut ids: Vec<DimId> = Vec::new();
        for dim in dims {
            let id = match dim {
                DimExpr::Rest(span) => match self.scope.rest.clone() {
                    Some(rest) => {
                        ids.extend(rest);
                        continue;
                    }
                    // Nothing in the block can tell further dimensions apart, so one stands for all of them.
                    None => {
                        let id = self.ragged_dim("..", &origin, *span, &ids)?;
                        self.scope.rest = Some(vec![id]);
                        id
                    }
                },
                DimExpr::Dim { name, size } => match self.scope.dims.get(&name.name) {
                    Some(&id) => id,
                    None => {
                        let mut open = None;
                        let size = match size {
                            Some(size) => {
                                let tensor = self.expr_tensor(size)?;
                                let known = self.static_number(tensor);
                                open = known.is_none().then_some(tensor.node);
                                known.map(|size| size as u64)
                            }
                            None => None,
                        };
                        let id = if is_ragged_name(&name.name) {
                            self.ragged_dim(&name.name, &origin, name.span, &ids)?
                        } else {
                            self.new_dim(Dim {
                                name: name.name.clone(),
                                origin: origin.clone(),
                                span: name.span,
                                ragged: None,
                                size,
                            })
                        };
                        self.alone_sizes.extend(open.map(|node| (id, node)));
                        self.scope.dims.insert(name.name.clone(), id);
                        id
                    }
                },
            };
            if ids.contains(&id) {
                let (name, span) = (self.dim_name(id).to_string(), dim_span(dim));
                let message = format!("`{name}` stands twice in one type");
                return self.error("duplicate-dimension", span, message);
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// A ragged dimension whose mask is given from outside.
    pub(crate) fn ragged_dim(
        &mut self,
        name: &str,
        origin: &str,
        span: Span,
        before: &[DimId],
    ) -> Result<DimId> {
        let id = self.new_dim(Dim {
            name: name.to_string(),
            origin: origin.to_string(),
            span,
            ragged: Some(before.to_vec()),
            size: None,
        });
        let mut dims = before.to_vec();
        dims.push(id);
        let mask = self.push(Op::Mask(id), &[], Ty::new(Elem::Bool, dims), span)?;
        self.set_mask(id, mask);
        Ok(id)
    }

    /// What the kind of a block obliges it to return.
    pub(crate) fn check_kind(&mut self, definition: &Rc<Definition>) -> Result<()> {
        let block = &definition.block;
        let Some(result) = &block.result else {
            if definition.kind() == "transform" {
                let message = format!("`{}` does not say what a weight becomes", definition.name);
                let diagnostic = Diagnostic::error("kind-result", block.head, message)
                    .help("(weight: real[row, col]) -> real[row, col]");
                return Err(self.report(diagnostic));
            }
            return Ok(());
        };
        let is_number = |ty: &TypeKind| matches!(ty, TypeKind::Named { name, dims } if name.name == "real" && dims.is_empty());
        let (wanted, right) = match (definition.kind(), &result.kind) {
            ("loss" | "schedule", ty) => ("`real`", is_number(ty)),
            ("metric", TypeKind::Record(fields)) => (
                "`real`, or a record of them",
                fields.iter().all(|(_, ty)| is_number(&ty.kind)),
            ),
            ("metric", ty) => ("`real`, or a record of them", is_number(ty)),
            ("reward" | "advantage", TypeKind::Named { name, dims }) => (
                "`real` over the sampled dimensions",
                name.name == "real" && !dims.is_empty(),
            ),
            ("reward" | "advantage", _) => ("`real` over the sampled dimensions", false),
            ("transform", ty) => {
                let weight = block.params.iter().find(|own| own.name.name == "weight");
                let weight = weight.and_then(|own| own.ty.as_ref());
                (
                    "`real` over the dimensions of its parameter `weight`",
                    weight.is_some_and(|weight| is_over_the_same(&weight.kind, ty)),
                )
            }
            _ => return Ok(()),
        };
        if right {
            return Ok(());
        }
        let message = format!(
            "a {} returns {wanted}, and `{}` announces something else",
            definition.kind(),
            definition.name
        );
        let diagnostic = Diagnostic::error("kind-result", result.span, message)
            .label(block.kind.span, format!("a {}", definition.kind()));
        Err(self.report(diagnostic))
    }
}

/// Whether two types are both `real` over the same dimensions, at least one.
fn is_over_the_same(one: &TypeKind, other: &TypeKind) -> bool {
    let names = |ty: &TypeKind| match ty {
        TypeKind::Named { name, dims } if name.name == "real" => {
            let name = |dim: &DimExpr| match dim {
                DimExpr::Dim { name, .. } => name.name.clone(),
                DimExpr::Rest(_) => "..".to_string(),
            };
            Some(dims.iter().map(name).collect::<BTreeSet<String>>())
        }
        TypeKind::Named { .. } | TypeKind::Record(_) | TypeKind::Like { .. } => None,
    };
    names(one).is_some_and(|dims| !dims.is_empty()) && names(one) == names(other)
}

fn dim_span(dim: &DimExpr) -> Span {
    match dim {
        DimExpr::Dim { name, .. } => name.span,
        DimExpr::Rest(span) => *span,
    }
}

/// The type of a field of a record that a signature announces.
fn declared_field<'t>(result: Option<&'t TypeExpr>, name: &str) -> Option<&'t TypeExpr> {
    match &result?.kind {
        TypeKind::Record(fields) => fields
            .iter()
            .find(|(field, _)| field.name == name)
            .map(|(_, ty)| ty),
        TypeKind::Named { .. } | TypeKind::Like { .. } => None,
    }
}
