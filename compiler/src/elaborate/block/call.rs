//! Calls of blocks: arguments to parameters, dimensions to the names of the signature, the body inlined.

use std::rc::Rc;

use rlp_grammar::ast::{Arg, Expr, ExprKind, Span};

use crate::array::{Array, Elements};
use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::expr::builtin;
use crate::elaborate::expr::quoted;
use crate::elaborate::library::Definition;
use crate::elaborate::model::mapped::is_map;
use crate::elaborate::model::trainable::is_vector;
use crate::elaborate::model::transform::gives_weight;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Lambda, Record, Value};
use crate::elaborate::{Elaborator, Frame, MAX_CALLS, MAX_CANDIDATES, Mode, Reported, Result};
use crate::graph::{Call, CallId, Op};
use crate::ty::Elem;

impl Elaborator<'_> {
    pub(crate) fn call(&mut self, callee: &Expr, args: &[Arg], span: Span) -> Result<Value> {
        match &callee.kind {
            ExprKind::Name(name) => {
                let bound = self.bound(name, callee.span)?;
                if let Some(Value::Lambda(lambda)) = &bound {
                    let lambda = lambda.clone();
                    return self.call_lambda(&lambda, args, span);
                }
                if let Some(Value::Method(method)) = &bound {
                    let method = method.clone();
                    return self.call_method(&method, args, span);
                }
                let file = self.file();
                let local = self.library.local(file, name);
                if bound.is_some() {
                    if local.is_none() && builtin::find(name).is_none() {
                        let message = format!("`{name}` is a value, not a function");
                        return self.error("type-mismatch", callee.span, message);
                    }
                    self.lint(
                        "shadowed-function",
                        callee.span,
                        format!(
                            "`{name}` is also the name of a value here; the function is called"
                        ),
                    );
                }
                match local {
                    Some(definition) => self.call_block(&definition, args, span),
                    None if builtin::find(name).is_some() => {
                        self.call_builtin(name, args, callee.span, span)
                    }
                    None => Err(self.unknown_function(name, callee.span)),
                }
            }
            ExprKind::Field { base, field } if self.random_name(base, field).is_some() => {
                self.random(field, args, span)
            }
            ExprKind::Field { .. } if is_vector(callee) => {
                let message = "a trainable vector is named where a pipeline begins: `let w = model.vector(objective: 2)`";
                self.error("misplaced-resource", span, message)
            }
            ExprKind::Field { .. } if is_map(callee) => self.model_map(args, span),
            ExprKind::Field { base, field } => match self.path(base, field, callee.span, true)? {
                Some(definition) => self.call_block(&definition, args, span),
                None => {
                    if let Some(value) = self.method_call(base, field, args, span)? {
                        return Ok(value);
                    }
                    let value = self.expr(callee)?;
                    let message = format!("this is {}, not a function", value.describe());
                    self.error("type-mismatch", callee.span, message)
                }
            },
            _ => self.error("type-mismatch", callee.span, "only a name can be called"),
        }
    }

    pub(crate) fn unknown_function(&mut self, name: &str, span: Span) -> Reported {
        if self.has_enough() {
            return Reported;
        }
        let file = self.file();
        let mut names: Vec<String> = builtin::BUILTINS
            .iter()
            .map(|builtin| builtin.name.to_string())
            .collect();
        names.extend(
            self.library
                .blocks(file)
                .iter()
                .take(MAX_CANDIDATES)
                .map(|definition| definition.block.name.name.clone()),
        );
        let near: Vec<String> = nearest(name, names.iter().map(String::as_str))
            .into_iter()
            .map(str::to_string)
            .collect();
        let mut diagnostic = Diagnostic::error(
            "unknown-name",
            span,
            format!("there is no function `{name}`"),
        )
        .here("not defined");
        let elsewhere = self.library.modules_with(name);
        if let Some(full) = elsewhere.first() {
            diagnostic = diagnostic
                .help(format!("did you mean {}?", quoted(&elsewhere)))
                .fix(span, full.clone());
        } else if let Some(best) = near.first() {
            diagnostic = diagnostic
                .help(format!("did you mean {}?", quoted(&near)))
                .fix(span, best.clone());
        }
        self.report(diagnostic)
    }

    pub(crate) fn call_lambda(
        &mut self,
        lambda: &Lambda,
        args: &[Arg],
        span: Span,
    ) -> Result<Value> {
        let mut values = Vec::new();
        for arg in args {
            values.push(self.expr(&arg.value)?);
        }
        self.apply(lambda, values, span)
    }

    /// The body of a function with its parameters bound.
    pub(crate) fn apply(
        &mut self,
        lambda: &Lambda,
        values: Vec<Value>,
        span: Span,
    ) -> Result<Value> {
        if values.len() != lambda.params.len() {
            let message = format!(
                "this function takes {} arguments, and gets {}",
                lambda.params.len(),
                values.len()
            );
            return Err(self.report(
                Diagnostic::error("missing-argument", span, message)
                    .label(lambda.span, "the function"),
            ));
        }
        let mut scope = lambda.scope.clone();
        for (param, value) in lambda.params.iter().zip(values) {
            scope.bind(&param.name, value, param.span);
        }
        self.in_scope(scope, |this| this.expr(&lambda.body))
    }

    pub(crate) fn call_block(
        &mut self,
        definition: &Rc<Definition>,
        args: &[Arg],
        span: Span,
    ) -> Result<Value> {
        if definition.kind() == "transform" && !gives_weight(args) {
            return self.transform(definition, args, span);
        }
        // `step` and `steps` may be given to a schedule by name, where they are not its parameters.
        let is_schedule = definition.kind() == "schedule";
        let counter = |arg: &Arg| {
            let name = arg.name.as_ref().map_or("", |name| name.name.as_str());
            is_schedule
                && matches!(name, "step" | "steps")
                && !definition
                    .block
                    .params
                    .iter()
                    .any(|param| param.name.name == name)
        };
        let (counters, args): (Vec<Arg>, Vec<Arg>) = args.iter().cloned().partition(counter);
        let given = self.arguments(definition, &args, span)?;
        if !self.is_sound(definition) {
            return Err(Reported);
        }
        self.refuse_recursion(definition, span)?;
        let mut scope = Scope::new(definition.file);
        for counter in &counters {
            let value = self.expr(&counter.value)?;
            if let Some(name) = &counter.name {
                scope.bind(&name.name, value, name.span);
            }
        }
        match definition.kind() {
            "optimizer" => return self.rule(definition, given, span),
            "model" if definition.block.native => {
                return self.model_resource(definition, given, span);
            }
            "data" if definition.block.native => {
                return self.data_resource(definition, given, span);
            }
            "model" | "data" => return self.make(definition, given, span),
            "sampler" if definition.block.native => return self.draw(definition, given, span),
            "transform" => self.refuse_without_params(definition, &given, span)?,
            _ => {}
        }
        let places = self.bind_parameters(definition, given, &mut scope, span)?;
        self.sense_of_call(definition, &scope, span);
        self.roles(definition, &scope, &places);
        let result = self.framed(definition, span, |this| {
            this.in_scope(scope, |this| this.block_body(definition, &places))
        })?;
        let stops =
            self.mode == Mode::Pipeline && matches!(definition.kind(), "reward" | "advantage");
        if stops {
            self.stop_grad(result, span)
        } else {
            Ok(result)
        }
    }

    pub(crate) fn refuse_recursion(&mut self, definition: &Definition, span: Span) -> Result<()> {
        if self
            .frames
            .iter()
            .any(|frame| frame.name == definition.name)
        {
            let message = format!("`{}` calls itself", definition.name);
            let diagnostic = Diagnostic::error("recursive-block", span, message)
                .help("a block is inlined where it is called; repeat with `scan` instead");
            return Err(self.report(diagnostic));
        }
        if self.frames.len() >= MAX_CALLS {
            let message = format!("blocks call blocks more than {MAX_CALLS} deep");
            return self.error("too-deep", span, message);
        }
        Ok(())
    }

    /// Data: no gradient flows out of a reward or an advantage into a model (convention 4).
    pub(crate) fn stop_grad(&mut self, value: Value, span: Span) -> Result<Value> {
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
    pub(crate) fn framed<T>(
        &mut self,
        definition: &Definition,
        span: Span,
        body: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let parent = self.frames.last().and_then(|frame| frame.call);
        let mut call = CallId(0);
        for level in &mut self.levels {
            level.graph.calls.push(Call {
                block: definition.name.clone(),
                span,
                parent,
            });
            call = CallId(level.graph.calls.len() as u32 - 1);
        }
        self.frames.push(Frame {
            name: definition.name.clone(),
            kind: definition.kind().to_string(),
            span,
            call: Some(call),
        });
        let result = body(self);
        self.frames.pop();
        result
    }

    /// Runs `body` as the inside of a block that nobody calls.
    pub(crate) fn framed_alone<T>(
        &mut self,
        definition: &Definition,
        body: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let frame = Frame {
            name: definition.name.clone(),
            kind: definition.kind().to_string(),
            span: definition.block.span,
            call: None,
        };
        self.frames.push(frame);
        let result = body(self);
        self.frames.pop();
        result
    }
}

/// Text that may have been broken over lines, on one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A known value as users write it: a scalar, or the first few elements of a list.
pub(crate) fn show_known(array: &Array) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = match &array.elements {
        Elements::Real(x) => x.iter().take(MOST).map(f64::to_string).collect(),
        Elements::Int(x) => x.iter().take(MOST).map(i64::to_string).collect(),
        Elements::Bool(x) => x.iter().take(MOST).map(bool::to_string).collect(),
        Elements::Text(x) => x.iter().take(MOST).map(|x| format!("{x:?}")).collect(),
    };
    if array.shape.is_empty() {
        return shown.pop().unwrap_or_default();
    }
    if array.shape.iter().product::<usize>() > MOST {
        shown.push("…".to_string());
    }
    format!("[{}]", shown.join(", "))
}
