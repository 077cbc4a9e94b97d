//! Calls of blocks: arguments to parameters, dimensions to the names of the signature, the body inlined.

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::{Arg, DimExpr, Expr, ExprKind, Param, Span, TypeKind};

use crate::array::{Array, Elements};
use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::expr::quoted;
use crate::elaborate::library::Definition;
use crate::elaborate::literal::elem_named;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Lambda, Record, Value};
use crate::elaborate::{Elaborator, Frame, MAX_CALLS, Mode, Reported, Result, builtin};
use crate::graph::{Call, CallId, Op};
use crate::ty::{Dim, DimId, Elem, is_ragged_name};

/// An argument as given: its value in the caller's scope and its place.
pub(crate) type Given = Option<(Value, Span)>;

impl Elaborator<'_> {
    pub(crate) fn call(&mut self, callee: &Expr, args: &[Arg], span: Span) -> Result<Value> {
        match &callee.kind {
            ExprKind::Name(name) => {
                let bound = self.bound(name, callee.span)?;
                if let Some(Value::Lambda(lambda)) = &bound {
                    let lambda = lambda.clone();
                    return self.call_lambda(&lambda, args, span);
                }
                let file = self.file();
                let local = self.library.local(file, name);
                if bound.is_some() {
                    if local.is_none() && builtin::find(name).is_none() {
                        let message = format!("`{name}` is a value, not a function");
                        return self.error("type-mismatch", callee.span, message);
                    }
                    self.lint("shadowed-function", callee.span, format!("`{name}` is also the name of a value here; the function is called"));
                }
                match local {
                    Some(definition) => self.call_block(&definition, args, span),
                    None if builtin::find(name).is_some() => self.call_builtin(name, args, callee.span, span),
                    None => Err(self.unknown_function(name, callee.span)),
                }
            }
            ExprKind::Field { base, field } => match self.path(base, field, callee.span)? {
                Some(definition) => self.call_block(&definition, args, span),
                None => {
                    let value = self.expr(callee)?;
                    let message = format!("this is {}, not a function", value.describe());
                    self.error("type-mismatch", callee.span, message)
                }
            },
            _ => self.error("type-mismatch", callee.span, "only a name can be called"),
        }
    }

    fn unknown_function(&mut self, name: &str, span: Span) -> Reported {
        let file = self.file();
        let mut names: Vec<String> = builtin::BUILTINS.iter().map(|builtin| builtin.name.to_string()).collect();
        names.extend(self.library.blocks(file).iter().map(|definition| definition.block.name.name.clone()));
        let near: Vec<String> = nearest(name, names.iter().map(String::as_str)).into_iter().map(str::to_string).collect();
        let mut diagnostic = Diagnostic::error("unknown-name", span, format!("there is no function `{name}`")).here("not defined");
        let elsewhere = self.library.modules_with(name);
        if let Some(full) = elsewhere.first() {
            diagnostic = diagnostic.help(format!("did you mean {}?", quoted(&elsewhere))).fix(span, full.clone());
        } else if let Some(best) = near.first() {
            diagnostic = diagnostic.help(format!("did you mean {}?", quoted(&near))).fix(span, best.clone());
        }
        self.report(diagnostic)
    }

    pub(crate) fn call_lambda(&mut self, lambda: &Lambda, args: &[Arg], span: Span) -> Result<Value> {
        let mut values = Vec::new();
        for arg in args {
            values.push(self.expr(&arg.value)?);
        }
        self.apply(lambda, values, span)
    }

    /// The body of a function with its parameters bound.
    pub(crate) fn apply(&mut self, lambda: &Lambda, values: Vec<Value>, span: Span) -> Result<Value> {
        if values.len() != lambda.params.len() {
            let message = format!("this function takes {} arguments, and gets {}", lambda.params.len(), values.len());
            return Err(self.report(Diagnostic::error("missing-argument", span, message).label(lambda.span, "the function")));
        }
        let mut scope = lambda.scope.clone();
        for (param, value) in lambda.params.iter().zip(values) {
            scope.bind(&param.name, value, param.span);
        }
        self.in_scope(scope, |this| this.expr(&lambda.body))
    }

    /// Arguments in the order of the parameters.
    pub(crate) fn arguments(&mut self, definition: &Definition, args: &[Arg], span: Span) -> Result<Vec<Given>> {
        let params = &definition.block.params;
        let mut given: Vec<Given> = vec![None; params.len()];
        let mut sound = true;
        let mut position = 0;
        for arg in args {
            let index = match &arg.name {
                Some(name) => params.iter().position(|param| param.name.name == name.name),
                None => {
                    position += 1;
                    (position <= params.len()).then_some(position - 1)
                }
            };
            let place = arg.name.as_ref().map_or(arg.value.span, |name| name.span);
            let Some(index) = index else {
                self.unknown_argument(definition, arg);
                sound = false;
                continue;
            };
            if given[index].is_some() {
                let message = format!("`{}` is given twice", params[index].name.name);
                let _ = self.error::<()>("repeated-argument", place, message);
                sound = false;
                continue;
            }
            match self.expr(&arg.value) {
                Ok(value) => given[index] = Some((value, arg.value.span)),
                Err(Reported) => {
                    given[index] = Some((Value::Poison, arg.value.span));
                    sound = false;
                }
            }
        }
        for (param, value) in params.iter().zip(&given) {
            if value.is_none() && param.default.is_none() && !(param.trainable) {
                let message = format!("`{}` needs the argument `{}`", definition.name, param.name.name);
                let text = self.library.map.text(param.span).to_string();
                let diagnostic = Diagnostic::error("missing-argument", span, message)
                    .here(format!("`{}` is missing", param.name.name))
                    .label(param.span, format!("declared here: `{}`", one_line(&text)));
                self.report(diagnostic);
                sound = false;
            }
        }
        if sound { Ok(given) } else { Err(Reported) }
    }

    fn unknown_argument(&mut self, definition: &Definition, arg: &Arg) {
        let names: Vec<String> = definition.block.params.iter().map(|param| param.name.name.clone()).collect();
        let diagnostic = match &arg.name {
            Some(name) => {
                let near: Vec<String> = nearest(&name.name, names.iter().map(String::as_str)).into_iter().map(str::to_string).collect();
                let message = format!("`{}` has no argument `{}`", definition.name, name.name);
                let diagnostic = Diagnostic::error("unknown-argument", name.span, message).here("not an argument");
                match near.first() {
                    Some(best) => diagnostic.help(format!("did you mean {}?", quoted(&near))).fix(name.span, best.clone()),
                    None => diagnostic.help(format!("it has {}", names.join(", "))),
                }
            }
            None => {
                let message = format!("`{}` takes {} arguments", definition.name, names.len());
                Diagnostic::error("unknown-argument", arg.value.span, message)
                    .here("one too many")
                    .label(definition.block.head, format!("it has {}", names.join(", ")))
            }
        };
        self.report(diagnostic);
    }

    pub(crate) fn call_block(&mut self, definition: &Rc<Definition>, args: &[Arg], span: Span) -> Result<Value> {
        // `step` and `steps` may be given to a schedule by name, where they are not its parameters.
        let is_schedule = definition.kind() == "schedule";
        let counter = |arg: &Arg| {
            let name = arg.name.as_ref().map_or("", |name| name.name.as_str());
            is_schedule && matches!(name, "step" | "steps") && !definition.block.params.iter().any(|param| param.name.name == name)
        };
        let (counters, args): (Vec<Arg>, Vec<Arg>) = args.iter().cloned().partition(counter);
        let given = self.arguments(definition, &args, span)?;
        if !self.is_sound(definition) {
            return Err(Reported);
        }
        if self.frames.iter().any(|frame| frame.name == definition.name) {
            let message = format!("`{}` calls itself", definition.name);
            let diagnostic = Diagnostic::error("recursive-block", span, message)
                .help("a block is inlined where it is called; repeat with `scan` instead");
            return Err(self.report(diagnostic));
        }
        if self.frames.len() >= MAX_CALLS {
            return self.error("too-deep", span, format!("blocks call blocks more than {MAX_CALLS} deep"));
        }
        let mut scope = Scope::new(definition.file);
        for counter in &counters {
            let value = self.expr(&counter.value)?;
            if let Some(name) = &counter.name {
                scope.bind(&name.name, value, name.span);
            }
        }
        match definition.kind() {
            "optimizer" => return self.rule(definition, given, span),
            "model" if definition.block.native => return self.model_resource(definition, given, span),
            "data" if definition.block.native => return self.data_resource(definition, given, span),
            "sampler" if definition.block.native => return self.draw(definition, given, span),
            "transform" => {
                return self.error("not-supported-yet", span, "transforms of weights are not supported yet");
            }
            _ => {}
        }
        let places = self.bind_parameters(definition, given, &mut scope, span)?;
        self.sense_of_call(definition, &scope, span);
        let result = self.framed(definition, span, |this| this.in_scope(scope, |this| this.block_body(definition, &places)))?;
        let stops = self.mode == Mode::Pipeline && matches!(definition.kind(), "reward" | "advantage");
        if stops { self.stop_grad(result, span) } else { Ok(result) }
    }

    /// Data: no gradient flows out of a reward or an advantage into a model (convention 4).
    fn stop_grad(&mut self, value: Value, span: Span) -> Result<Value> {
        match value {
            Value::Tensor(x) if self.ty(x).elem == Elem::Real => {
                let ty = self.ty(x).clone();
                self.push(Op::StopGrad, &[x], ty, span).map(Value::Tensor)
            }
            Value::Record(record) => {
                let mut fields = Vec::new();
                for (name, value) in &record.fields {
                    fields.push((name.clone(), self.stop_grad(value.clone(), span)?));
                }
                Ok(Value::Record(Rc::new(Record { fields })))
            }
            other => Ok(other),
        }
    }

    /// Runs `body` as the inside of a call.
    pub(crate) fn framed<T>(&mut self, definition: &Definition, span: Span, body: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.frames.last().and_then(|frame| frame.call);
        let mut call = CallId(0);
        for level in &mut self.levels {
            level.graph.calls.push(Call { block: definition.name.clone(), span, parent });
            call = CallId(level.graph.calls.len() as u32 - 1);
        }
        self.frames.push(Frame { name: definition.name.clone(), kind: definition.kind().to_string(), span, call: Some(call) });
        let result = body(self);
        self.frames.pop();
        result
    }

    /// Runs `body` as the inside of a block that nobody calls.
    pub(crate) fn framed_alone<T>(&mut self, definition: &Definition, body: impl FnOnce(&mut Self) -> T) -> T {
        let frame = Frame { name: definition.name.clone(), kind: definition.kind().to_string(), span: definition.block.span, call: None };
        self.frames.push(frame);
        let result = body(self);
        self.frames.pop();
        result
    }

    /// Binds parameters, in order; first those that say what the dimensions of the signature are.
    pub(crate) fn bind_parameters(&mut self, definition: &Definition, given: Vec<Given>, scope: &mut Scope, span: Span) -> Result<HashMap<String, Span>> {
        let mut sound = true;
        for (param, value) in definition.block.params.iter().zip(&given) {
            if let Some((Value::Tensor(tensor), place)) = value
                && self.bind_dims(definition, param, *tensor, *place, scope).is_err()
            {
                sound = false;
            }
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
                    (self.in_scope(inner, |this| this.expr(default))?, default.span)
                }
                (None, None) => return self.error("missing-argument", span, format!("`{}` has no value", param.name.name)),
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

    /// Matches the dimensions of an argument with those of its parameter, by name.
    fn bind_dims(&mut self, definition: &Definition, param: &Param, tensor: crate::elaborate::value::Tensor, place: Span, scope: &mut Scope) -> Result<()> {
        let Some(TypeKind::Named { name, dims }) = param.ty.as_ref().map(|ty| &ty.kind) else { return Ok(()) };
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
            let DimExpr::Dim { name, .. } = dim else { continue };
            let Some(position) = left.iter().position(|&dim| self.dim_name(dim) == name.name) else {
                missing.push(name.name.clone());
                continue;
            };
            let dim = left.remove(position);
            match scope.dims.get(&name.name) {
                Some(&known) if known != dim => return Err(self.two_origins(definition, &name.name, known, dim, place)),
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
                    let message = format!("`..` stands for the same dimensions everywhere in `{}`, and here it would be others", definition.name);
                    let shown = self.show_type(tensor);
                    return Err(self.report(Diagnostic::error("dimension-mismatch", place, message).here(shown)));
                }
                Some(_) => {}
                None => scope.rest = Some(left),
            }
        }
        Ok(())
    }

    fn two_origins(&mut self, definition: &Definition, name: &str, first: DimId, second: DimId, place: Span) -> Reported {
        let (one, other) = (self.graph().dims.get(first).clone(), self.graph().dims.get(second).clone());
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

    #[expect(clippy::too_many_arguments, reason = "one message that names all that disagrees")]
    fn wrong_dims(&mut self, definition: &Definition, param: &Param, tensor: crate::elaborate::value::Tensor, place: Span, missing: &[String], extra: &[DimId], scope: &Scope) -> Reported {
        let declared = param.ty.as_ref().map(|ty| self.library.map.text(ty.span).to_string()).unwrap_or_default();
        let found = self.show_type(tensor);
        let message = format!("`{}` of `{}` is `{}`, and this is `{found}`", param.name.name, definition.name, one_line(&declared));
        let mut diagnostic = Diagnostic::error("dimension-mismatch", place, message).here(found).label(param.span, "declared here");
        let text = self.library.map.text(place).to_string();
        let short = text.len() <= 40 && !text.contains('\n');
        let extra: Vec<&str> = extra.iter().map(|&dim| self.dim_name(dim)).collect();
        if let ([wanted], [found]) = (missing, extra.as_slice()) {
            if short {
                diagnostic = diagnostic.help(format!("rename({text}, {found}: {wanted})"));
            }
        } else if !missing.is_empty() && extra.is_empty() {
            let like = definition.block.params.iter().find(|other| {
                other.name.name != param.name.name && scope.dims.len() > missing.len() && other.ty.is_some()
            });
            if short && like.is_some() {
                diagnostic = diagnostic.help(format!("say that it is repeated over `{}`: `repeat({text}, like: …)`", missing.join("`, `")));
            }
        } else if missing.is_empty() && short {
            diagnostic = diagnostic.help(format!("mean({text}, over: {})", if extra.len() == 1 { extra[0].to_string() } else { format!("[{}]", extra.join(", ")) }));
        }
        self.report(diagnostic)
    }

    /// The argument as the parameter's type wants it.
    pub(crate) fn coerce(&mut self, definition: &Definition, param: &Param, value: Value, place: Span, scope: &mut Scope) -> Result<Value> {
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
                ("model", Value::Model(_)) | ("data", Value::Data(_)) | ("optimizer", Value::Rule(_)) | ("record", Value::Record(_)) => Ok(value),
                ("model", other) => self.expected(definition, param, "a model", &other.clone(), place),
                ("data", other) => self.expected(definition, param, "a data source", &other.clone(), place),
                ("optimizer", other) => self.expected(definition, param, "an optimizer", &other.clone(), place),
                ("record", other) => self.expected(definition, param, "a record", &other.clone(), place),
                _ => Err(self.unknown_type(name)),
            };
        };
        if let Value::List(list) = &value {
            let list = list.clone();
            let ids = self.dims_for_list(dims, scope)?;
            return self.typed_list(&list, elem, &ids).map(Value::Tensor);
        }
        let x = match value {
            Value::Tensor(tensor) => tensor,
            other => return self.expected(definition, param, "a tensor", &other, place),
        };
        let found = self.ty(x).elem;
        let agrees = found == elem || (elem == Elem::Real && found == Elem::Int);
        if !agrees {
            if let (Elem::Int, Some(whole)) = (elem, self.static_number(x).filter(|value| value.fract() == 0.0)) {
                return self.literal(Array::int(whole as i64), place).map(Value::Tensor);
            }
            let shown = self.show_type(x);
            let message = format!("`{}` of `{}` is `{}`, and this is `{shown}`", param.name.name, definition.name, elem.name());
            let mut diagnostic = Diagnostic::error("type-mismatch", place, message).here(shown).label(param.span, "declared here");
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
    fn dims_for_list(&mut self, dims: &[DimExpr], scope: &mut Scope) -> Result<Vec<DimId>> {
        let mut ids: Vec<DimId> = Vec::new();
        for dim in dims {
            match dim {
                DimExpr::Rest(_) => ids.extend(scope.rest.clone().unwrap_or_default()),
                DimExpr::Dim { name, .. } => {
                    let known = scope.dims.get(&name.name).copied().or_else(|| self.scope.dims.get(&name.name).copied());
                    let id = match known {
                        Some(id) => id,
                        None => {
                            let ragged = is_ragged_name(&name.name).then(|| ids.clone());
                            let dim = Dim { name: name.name.clone(), origin: "a list".to_string(), span: name.span, ragged, size: None };
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

    fn expected<T>(&mut self, definition: &Definition, param: &Param, wanted: &str, found: &Value, place: Span) -> Result<T> {
        if matches!(found, Value::Poison) {
            return Err(Reported);
        }
        let message = format!("`{}` of `{}` is {wanted}, and this is {}", param.name.name, definition.name, found.describe());
        let mut diagnostic = Diagnostic::error("type-mismatch", place, message).here(found.describe()).label(param.span, "declared here");
        if let (Value::Record(record), "a tensor") = (found, wanted) {
            let names: Vec<&str> = record.fields.iter().map(|(name, _)| name.as_str()).collect();
            let like = names.iter().find(|name| **name == param.name.name).or(names.first());
            if let Some(like) = like {
                diagnostic = diagnostic.help(format!("{}.{like}", self.library.map.text(place)));
            }
        }
        Err(self.report(diagnostic))
    }
}

/// Text that may have been broken over lines, on one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A scalar as users write it.
pub(crate) fn show_scalar(array: &Array) -> String {
    match &array.elements {
        Elements::Real(x) => x.first().map(|x| format!("{x}")).unwrap_or_default(),
        Elements::Int(x) => x.first().map(|x| format!("{x}")).unwrap_or_default(),
        Elements::Bool(x) => x.first().map(|x| format!("{x}")).unwrap_or_default(),
        Elements::Text(x) => x.first().map(|x| format!("{x:?}")).unwrap_or_default(),
    }
}
