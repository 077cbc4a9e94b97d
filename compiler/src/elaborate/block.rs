//! Bodies of blocks, and blocks by themselves: checked once over their own signature, or made ready for `rlpc eval`.

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::{DimExpr, Expr, Ident, Param, Span, Stmt, StmtKind, TypeExpr, TypeKind};

use crate::array::Array;
use crate::diagnostic::{Diagnostic, Severity};
use crate::elaborate::call::show_scalar;
use crate::elaborate::library::Definition;
use crate::elaborate::literal::elem_named;
use crate::elaborate::scope::Scope;
use crate::elaborate::update::UpdateState;
use crate::elaborate::value::{Record, Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Reported, Result, walk};
use crate::graph::{Op, State};
use crate::plan::{BlockPlan, InputPlan};
use crate::ty::{Dim, DimId, Elem, Ty, is_ragged_name};

/// A state of a block that is being elaborated.
#[derive(Clone, Debug)]
pub(crate) struct BlockState {
    pub(crate) name: String,
    pub(crate) old: Tensor,
    pub(crate) initial: Tensor,
    pub(crate) next: Option<Tensor>,
}

impl Elaborator<'_> {
    /// The statements of a body and its result, checked against the signature.
    pub(crate) fn block_body(&mut self, definition: &Rc<Definition>, places: &HashMap<String, Span>) -> Result<Value> {
        let block = &definition.block;
        let Some(body) = &block.body else {
            return self.error("not-supported-yet", block.head, format!("`{}` is native and has no implementation here", definition.name));
        };
        let mut states: Vec<BlockState> = Vec::new();
        let mut sound = true;
        for stmt in &body.stmts {
            let allows = self.allows.len();
            self.allow(stmt);
            sound &= self.block_stmt(definition, stmt, &mut states, places).is_ok();
            self.allows.truncate(allows);
        }
        let result = match &body.result {
            Some(result) => Some(self.expr(result)),
            None => None,
        };
        self.finish_states(states)?;
        let Some(result) = result else {
            if !sound {
                return Err(Reported);
            }
            if definition.kind() == "optimizer" {
                return Ok(Value::Record(Rc::new(Record { fields: Vec::new() })));
            }
            return self.error("missing-result", body.span, format!("`{}` has no result: its last line must be an expression", definition.name));
        };
        let result = result?;
        if !sound {
            return Err(Reported);
        }
        let span = body.result.as_ref().map_or(body.span, |result| result.span);
        match &block.result {
            Some(ty) => self.check_result(definition, result, span, ty),
            None => match result {
                Value::List(list) => self.untyped_list(&list).map(Value::Tensor),
                other => Ok(other),
            },
        }
    }

    fn block_stmt(&mut self, definition: &Rc<Definition>, stmt: &Stmt, states: &mut Vec<BlockState>, places: &HashMap<String, Span>) -> Result<()> {
        match &stmt.kind {
            StmtKind::Let { name, ty, value } => {
                let found = self.let_value(ty.as_ref(), value);
                let failed = found.is_err();
                self.bind_let(name, found.unwrap_or(Value::Poison));
                if failed { Err(Reported) } else { Ok(()) }
            }
            StmtKind::State { name, ty, value, lazy } => {
                let state = self.declare_state(name, ty.as_ref(), value, *lazy)?;
                self.scope.bind(&name.name, Value::Tensor(state.old), name.span);
                states.push(state);
                Ok(())
            }
            StmtKind::Assign { name, value } => self.assign(definition, name, value, states),
            StmtKind::Assert { value, close_to } => {
                if close_to.is_some() {
                    return self.error("misplaced-statement", stmt.span, "`~=` compares in tests; in a block `assert` takes a condition");
                }
                self.precondition(definition, value, places)
            }
            StmtKind::Param { name, .. } => {
                let message = format!("`param {}` is a trainable tensor of a transform; arguments stand in the signature", name.name);
                self.error("misplaced-statement", stmt.span, message)
            }
            StmtKind::Stage { .. } | StmtKind::Train { .. } | StmtKind::Report { .. } | StmtKind::Steps { .. } => {
                self.error("misplaced-statement", stmt.span, "this stands in a pipeline, not in a block")
            }
        }
    }

    /// A condition on arguments: what is known before the run is checked now.
    pub(crate) fn precondition(&mut self, definition: &Rc<Definition>, condition: &Expr, places: &HashMap<String, Span>) -> Result<()> {
        let value = self.expr_tensor(condition)?;
        let value = self.expect_elem(value, Elem::Bool, condition.span)?;
        if self.static_bool(value) != Some(false) {
            return Ok(());
        }
        let text = self.library.map.text(condition.span).to_string();
        let mut involved = Vec::new();
        for param in &definition.block.params {
            if walk::mentions(condition, &param.name.name)
                && let (Some(&place), Some(Value::Tensor(tensor))) = (places.get(&param.name.name), self.bound(&param.name.name, param.name.span)?)
                && let Some(known) = self.static_value(tensor)
            {
                involved.push((param.name.name.clone(), show_scalar(&known), place));
            }
        }
        let values: Vec<String> = involved.iter().map(|(name, value, _)| format!("`{name}` is {value}")).collect();
        let message = format!("`{}` needs `{}`, and {}", definition.name, super::call::one_line(&text), values.join(", "));
        let place = involved.first().map_or(condition.span, |(_, _, place)| *place);
        let diagnostic = Diagnostic::error("value-out-of-range", place, message).label(condition.span, "required here");
        // The place is the argument's, in the text of the caller.
        let frame = self.frames.pop();
        let reported = self.report(diagnostic);
        self.frames.extend(frame);
        Err(reported)
    }

    fn declare_state(&mut self, name: &Ident, ty: Option<&TypeExpr>, value: &Expr, lazy: bool) -> Result<BlockState> {
        if let Some(update) = &self.update
            && let Some(given) = update.given.iter().find(|(known, _)| *known == name.name)
        {
            let old = given.1;
            return Ok(BlockState { name: name.name.clone(), old, initial: old, next: None });
        }
        let initial = self.let_value(ty, value)?;
        let initial = self.tensor(initial, value.span)?;
        let initial = if self.ty(initial).elem == Elem::Int && ty.is_none() { self.real(initial, value.span)? } else { initial };
        let state_ty = self.ty(initial).clone();
        let old = match self.mode {
            Mode::Pipeline if self.update.is_none() => {
                let index = self.levels[0].graph.states.len();
                let old = self.push(Op::State(index), &[], state_ty.clone(), name.span)?;
                let taken = |candidate: &str| self.levels[0].graph.states.iter().any(|state| state.name == candidate);
                let base = match self.frames.last() {
                    Some(frame) => format!("{}.{}", frame.name, name.name),
                    None => name.name.clone(),
                };
                let mut unique = base.clone();
                let mut count = 2;
                while taken(&unique) {
                    unique = format!("{base}.{count}");
                    count += 1;
                }
                let state = State { name: unique, ty: state_ty, initial: initial.node, next: old.node, span: name.span };
                self.levels[0].graph.states.push(state);
                old
            }
            _ if self.update.is_some() && !self.states_are_inputs => initial,
            Mode::Pure | Mode::Update | Mode::Pipeline => self.push(Op::Input(format!("state.{}", name.name)), &[], state_ty, name.span)?,
        };
        let _ = lazy;
        Ok(BlockState { name: name.name.clone(), old, initial, next: None })
    }

    fn assign(&mut self, definition: &Rc<Definition>, name: &Ident, value: &Expr, states: &mut [BlockState]) -> Result<()> {
        let next = self.let_value(None, value)?;
        let next = self.tensor(next, value.span)?;
        if definition.kind() == "optimizer" && name.name == "param" {
            let Some(update) = &self.update else { return self.error("misplaced-statement", name.span, "`param` is not given here") };
            let param = update.param;
            let next = self.fit(next, param, value.span, "param")?;
            if let Some(update) = &mut self.update {
                update.next = Some(next);
            }
            return Ok(());
        }
        let Some(index) = states.iter().position(|state| state.name == name.name) else {
            let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
            let near = crate::diagnostic::nearest(&name.name, names.iter().copied());
            let mut diagnostic = Diagnostic::error("unknown-state", name.span, format!("`{}` is not a state of `{}`", name.name, definition.name));
            diagnostic = match near.first() {
                Some(best) => diagnostic.help(format!("did you mean `{best}`?")).fix(name.span, best.to_string()),
                None => diagnostic.help(format!("declare it: `state {} = …`", name.name)),
            };
            return Err(self.report(diagnostic));
        };
        let next = self.fit(next, states[index].old, value.span, &name.name)?;
        states[index].next = Some(next);
        Ok(())
    }

    /// A next value with the type of the old one.
    fn fit(&mut self, next: Tensor, old: Tensor, span: Span, name: &str) -> Result<Tensor> {
        let wanted = self.ty(old).clone();
        let next = self.expect_elem(next, wanted.elem, span)?;
        if self.ty(next).dims.is_empty() && !wanted.dims.is_empty() {
            return self.broadcast(next, &wanted.dims, span);
        }
        if *self.ty(next) != wanted {
            let (found, wanted) = (self.show_type(next), self.show(&wanted));
            let message = format!("`{name}` is `{wanted}`, and its next value would be `{found}`");
            return Err(self.report(Diagnostic::error("dimension-mismatch", span, message).here(found)));
        }
        Ok(next)
    }

    fn finish_states(&mut self, states: Vec<BlockState>) -> Result<()> {
        for state in states {
            let next = state.next.unwrap_or(state.old);
            if let Some(update) = &mut self.update {
                update.states.push(UpdateState { name: state.name, initial: state.initial, old: state.old, next });
                continue;
            }
            match self.mode {
                Mode::Pipeline => {
                    let Op::State(index) = *self.levels[0].graph.op(state.old.node) else { continue };
                    self.levels[0].graph.states[index].next = next.node;
                }
                Mode::Pure | Mode::Update => self.alone_states.push((state, next)),
            }
        }
        Ok(())
    }

    /// The result as the signature announces it.
    fn check_result(&mut self, definition: &Rc<Definition>, result: Value, span: Span, ty: &TypeExpr) -> Result<Value> {
        match &ty.kind {
            TypeKind::Record(fields) => {
                let Value::Record(record) = &result else {
                    let message = format!("`{}` announces a record, and its result is {}", definition.name, result.describe());
                    return Err(self.report(Diagnostic::error("result-mismatch", span, message).label(ty.span, "announced here")));
                };
                let record = record.clone();
                let mut checked = Vec::new();
                for (name, field) in fields {
                    let Some(value) = record.get(&name.name) else {
                        let message = format!("`{}` announces a field `{}` that its result lacks", definition.name, name.name);
                        return Err(self.report(Diagnostic::error("result-mismatch", span, message).label(name.span, "announced here")));
                    };
                    checked.push((name.name.clone(), self.check_result(definition, value.clone(), span, field)?));
                }
                Ok(Value::Record(Rc::new(Record { fields: checked })))
            }
            TypeKind::Like { .. } => Ok(result),
            TypeKind::Named { name, .. } if elem_named(&name.name).is_none() => Ok(result),
            TypeKind::Named { .. } => {
                let (elem, dims) = self.tensor_type(ty)?;
                let wanted = Ty::new(elem, dims);
                if let Value::List(list) = &result {
                    let list = list.clone();
                    return self.typed_list(&list, elem, &wanted.dims).map(Value::Tensor);
                }
                let x = self.tensor(result, span)?;
                let found_elem = self.ty(x).elem;
                let x = if elem == Elem::Real && found_elem == Elem::Int { self.real(x, span)? } else { x };
                if *self.ty(x) == wanted {
                    return Ok(Value::Tensor(x));
                }
                if self.ty(x).dims.is_empty() && self.ty(x).elem == elem {
                    return self.broadcast(x, &wanted.dims, span).map(Value::Tensor);
                }
                let (found, wanted_text) = (self.show_type(x), self.show(&wanted));
                let message = format!("`{}` announces `{wanted_text}`, and its result is `{found}`", definition.name);
                let mut diagnostic = Diagnostic::error("result-mismatch", span, message).here(found).label(ty.span, "announced here");
                if wanted.dims.is_empty() && self.ty(x).elem == Elem::Real {
                    diagnostic = diagnostic.help(format!("mean({})", super::call::one_line(&self.library.map.text(span).to_string())));
                }
                Err(self.report(diagnostic))
            }
        }
    }

    /// Whether a block has no mistake of its own; elaborated by itself when first asked.
    pub(crate) fn is_sound(&mut self, definition: &Rc<Definition>) -> bool {
        let key = format!("{}:{}", definition.file.0, definition.name);
        if let Some(&sound) = self.checked.get(&key) {
            return sound;
        }
        // A block that is being checked further out counts as sound here; recursion is found when inlining.
        self.checked.insert(key.clone(), true);
        let before = self.errors();
        if !self.library.is_broken(definition.file) || definition.block.native || !self.body_is_broken(definition) {
            let _ = self.alone(definition, &[]);
        }
        let sound = self.errors() == before && !self.body_is_broken(definition);
        self.checked.insert(key, sound);
        sound
    }

    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// Whether a syntax error stands inside the block.
    fn body_is_broken(&self, definition: &Definition) -> bool {
        let span = definition.block.span;
        self.library.diagnostics.iter().any(|diagnostic| {
            let at = diagnostic.span();
            diagnostic.severity == Severity::Error && at.source == span.source && at.start >= span.start && at.end <= span.end
        })
    }

    /// A block by itself, over the dimensions of its signature. Arguments in `fixed` are constants.
    pub(crate) fn alone(&mut self, definition: &Rc<Definition>, fixed: &[(String, Array)]) -> Result<BlockPlan> {
        let outer_states = std::mem::take(&mut self.alone_states);
        let outer_update = self.update.take();
        let outer_allows = std::mem::take(&mut self.allows);
        let outer_inputs = std::mem::replace(&mut self.states_are_inputs, false);
        let (plan, level) = self.apart(Mode::Pure, |this| this.in_scope(Scope::new(definition.file), |this| this.alone_body(definition, fixed)));
        self.states_are_inputs = outer_inputs;
        self.allows = outer_allows;
        self.update = outer_update;
        self.alone_states = outer_states;
        let (inputs, results) = plan?;
        Ok(BlockPlan { name: definition.name.clone(), graph: level.graph, inputs, results })
    }

    #[expect(clippy::type_complexity, reason = "the two halves of a block's plan")]
    fn alone_body(&mut self, definition: &Rc<Definition>, fixed: &[(String, Array)]) -> Result<(Vec<InputPlan>, Vec<(String, crate::graph::NodeId)>)> {
        self.check_kind(definition)?;
        let block = &definition.block;
        let mut inputs = Vec::new();
        let mut sound = true;
        if definition.kind() == "optimizer" {
            inputs.extend(self.optimizer_inputs(definition)?);
        }
        for param in &block.params {
            match self.alone_param(definition, param, fixed) {
                Ok(input) => inputs.extend(input),
                Err(Reported) => {
                    sound = false;
                    self.scope.bind(&param.name.name, Value::Poison, param.name.span);
                }
            }
        }
        if block.native || !sound {
            return if sound { Ok((inputs, Vec::new())) } else { Err(Reported) };
        }
        let value = self.framed_alone(definition, |this| this.block_body(definition, &HashMap::new()))?;
        let mut results = Vec::new();
        match value {
            Value::Tensor(tensor) => results.push(("result".to_string(), tensor.node)),
            Value::Record(record) => {
                for (name, value) in &record.fields {
                    if let Value::Tensor(tensor) = value {
                        results.push((name.clone(), tensor.node));
                    }
                }
            }
            Value::Model(_) | Value::Data(_) | Value::Rule(_) | Value::List(_) | Value::Lambda(_) | Value::Poison => {}
        }
        if let Some(update) = self.update.take() {
            results.push(("param".to_string(), update.next.unwrap_or(update.param).node));
            for state in update.states {
                results.push((format!("state.{}", state.name), state.next.node));
                inputs.push(self.state_input(&state.name, state.old, Some(state.initial)));
            }
        }
        for (state, next) in std::mem::take(&mut self.alone_states) {
            results.push((format!("state.{}", state.name), next.node));
            inputs.push(self.state_input(&state.name, state.old, Some(state.initial)));
        }
        Ok((inputs, results))
    }

    fn state_input(&self, name: &str, old: Tensor, initial: Option<Tensor>) -> InputPlan {
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
    fn alone_param(&mut self, definition: &Rc<Definition>, param: &Param, fixed: &[(String, Array)]) -> Result<Option<InputPlan>> {
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
            if !matches!(name.name.as_str(), "model" | "data" | "optimizer" | "record") {
                return Err(self.unknown_type(name));
            }
            self.scope.bind(&param.name.name, Value::Poison, span);
            return Ok(None);
        };
        let default = match &param.default {
            Some(expr) => {
                let value = self.expr_tensor(expr)?;
                let value = self.whole_as_int(value, elem, expr.span)?;
                self.expect_elem(value, elem, expr.span)?;
                let value = if elem == Elem::Real { self.real(value, expr.span)? } else { value };
                self.static_value(value)
            }
            None => None,
        };
        let given = fixed.iter().find(|(name, _)| *name == param.name.name).map(|(_, array)| array.clone());
        if let Some(array) = given.or_else(|| if elem == Elem::Real || !dims.is_empty() { None } else { default.clone() }) {
            let tensor = self.literal(array, span)?;
            self.scope.bind(&param.name.name, Value::Tensor(tensor), span);
            return Ok(None);
        }
        let axes = self.signature_dims(definition, dims)?;
        let sorted = Ty::new(elem, axes.clone());
        let tensor = self.push(Op::Input(param.name.name.clone()), &[], sorted, span)?;
        self.scope.bind(&param.name.name, Value::Tensor(tensor), span);
        Ok(Some(InputPlan { name: param.name.name.clone(), node: tensor.node, elem, axes, default, initial: None }))
    }

    fn whole_as_int(&mut self, value: Tensor, elem: Elem, span: Span) -> Result<Tensor> {
        match self.static_number(value) {
            Some(number) if elem == Elem::Int && number.fract() == 0.0 => self.literal(Array::int(number as i64), span),
            _ => Ok(value),
        }
    }

    /// The dimensions of a signature's type, in the order written; each comes into being where it first stands.
    pub(crate) fn signature_dims(&mut self, definition: &Definition, dims: &[DimExpr]) -> Result<Vec<DimId>> {
        let origin = format!("the signature of `{}`", definition.name);
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
                        let size = match size {
                            Some(size) => {
                                let tensor = self.expr_tensor(size)?;
                                self.static_number(tensor).map(|size| size as u64)
                            }
                            None => None,
                        };
                        let id = if is_ragged_name(&name.name) {
                            self.ragged_dim(&name.name, &origin, name.span, &ids)?
                        } else {
                            self.new_dim(Dim { name: name.name.clone(), origin: origin.clone(), span: name.span, ragged: None, size })
                        };
                        self.scope.dims.insert(name.name.clone(), id);
                        id
                    }
                },
            };
            ids.push(id);
        }
        Ok(ids)
    }

    /// A ragged dimension whose mask is given from outside.
    fn ragged_dim(&mut self, name: &str, origin: &str, span: Span, before: &[DimId]) -> Result<DimId> {
        let id = self.new_dim(Dim { name: name.to_string(), origin: origin.to_string(), span, ragged: Some(before.to_vec()), size: None });
        let mut dims = before.to_vec();
        dims.push(id);
        let mask = self.push(Op::Mask(id), &[], Ty::new(Elem::Bool, dims), span)?;
        self.levels[0].masks.insert(id, mask);
        Ok(id)
    }

    /// What the kind of a block obliges it to return.
    fn check_kind(&mut self, definition: &Rc<Definition>) -> Result<()> {
        let block = &definition.block;
        let Some(result) = &block.result else { return Ok(()) };
        let (wanted, right) = match (definition.kind(), &result.kind) {
            ("loss" | "schedule" | "metric", TypeKind::Named { name, dims }) => ("`real`", name.name == "real" && dims.is_empty()),
            ("loss" | "schedule" | "metric", _) => ("`real`", false),
            ("reward" | "advantage", TypeKind::Named { name, dims }) => ("`real` over the sampled dimensions", name.name == "real" && !dims.is_empty()),
            ("reward" | "advantage", _) => ("`real` over the sampled dimensions", false),
            _ => return Ok(()),
        };
        if right {
            return Ok(());
        }
        let message = format!("a {} returns {wanted}, and `{}` announces something else", definition.kind(), definition.name);
        let diagnostic = Diagnostic::error("kind-result", result.span, message).label(block.kind.span, format!("a {}", definition.kind()));
        Err(self.report(diagnostic))
    }
}
