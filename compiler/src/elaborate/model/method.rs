//! Functions of models and data sources that are blocks of `.rlp`: `value(net, x)`, `task.gold(text)`.

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::{Arg, Expr, Ident, Span};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::block::argument::Given;
use crate::elaborate::expr::quoted;
use crate::elaborate::library::Definition;
use crate::elaborate::model::made::{MadeRef, Method};
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::ty::DimId;

impl Elaborator<'_> {
    /// The function of this name, or an error that says which there are.
    pub(crate) fn method(&mut self, of: MadeRef, name: &str, span: Span) -> Result<Method> {
        let made = self.made[of.made].clone();
        let mut own = made.functions.iter();
        if let Some(definition) = own.find(|own| own.block.name.name == name) {
            let definition = definition.clone();
            return Ok(Method { of, definition });
        }
        let names = made.functions.iter();
        let names: Vec<String> = names.map(|own| own.block.name.name.clone()).collect();
        let near = nearest(name, names.iter().map(String::as_str));
        let message = format!("`{}` has no function `{name}`", made.definition.name);
        let mut diagnostic = Diagnostic::error("unknown-name", span, message)
            .label(made.definition.block.head, "declared here");
        if let Some(best) = near.first() {
            diagnostic = diagnostic
                .help(format!("did you mean `{best}`?"))
                .fix(span, best.to_string());
        } else if !names.is_empty() {
            diagnostic = diagnostic.help(format!("it has {}", quoted(&names)));
        }
        Err(self.report(diagnostic))
    }

    /// `task.gold(duo.a.text)`, if what stands before the dot is a model or a data source.
    pub(crate) fn method_call(
        &mut self,
        base: &Expr,
        name: &Ident,
        args: &[Arg],
        span: Span,
    ) -> Result<Option<Value>> {
        let of = match self.expr(base)? {
            Value::Network(of) | Value::Source(of) => of,
            Value::Data(data) => return self.native_method(&data, name, args, span).map(Some),
            _ => return Ok(None),
        };
        let method = self.method(of, &name.name, name.span)?;
        self.call_method(&method, args, span).map(Some)
    }

    pub(crate) fn call_method(
        &mut self,
        method: &Method,
        args: &[Arg],
        span: Span,
    ) -> Result<Value> {
        let given = self.arguments(&method.definition, args, span)?;
        self.apply_method(method, given, span)
    }

    /// The body over the dimensions of the arguments. A tensor of the model that shares a dimension's name with an
    /// argument has the argument's dimension.
    pub(crate) fn apply_method(
        &mut self,
        method: &Method,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Value> {
        let Method { of, definition } = method;
        let made = self.made[of.made].clone();
        if !self.is_sound(&made.definition) {
            return Err(Reported);
        }
        self.refuse_recursion(definition, span)?;
        let mut signature = Scope::new(definition.file);
        let places = self.bind_parameters(definition, given, &mut signature, span)?;
        let mut scope = Scope::new(definition.file);
        scope.dims.clone_from(&signature.dims);
        scope.rest.clone_from(&signature.rest);
        let named: HashMap<String, DimId> = signature.dims.clone();
        self.bind_kept(
            &made.bound,
            &made.params,
            of.frozen,
            &named,
            &mut scope,
            span,
        )?;
        // Its own functions by their names, and itself.
        let own = match made.fields {
            Some(_) => Value::Source(*of),
            None => Value::Network(*of),
        };
        scope.bind("self", own, definition.block.name.span);
        for sibling in &made.functions {
            let name = &sibling.block.name;
            let sibling = Method {
                of: *of,
                definition: sibling.clone(),
            };
            scope.bind(&name.name, Value::Method(Rc::new(sibling)), name.span);
        }
        for param in &definition.block.params {
            if let Some((slot, _)) = signature.get(&param.name.name) {
                let binding = slot.borrow().clone();
                scope.set(&param.name.name, binding, param.name.span);
            }
        }
        self.framed(definition, span, |this| {
            this.in_scope(scope, |this| this.block_body(definition, &places))
        })
    }

    /// What a sampler draws from: the logits of a policy over the actions of each prompt, as this step began.
    pub(crate) fn policy_table(
        &mut self,
        policy: MadeRef,
        scope: &Scope,
        span: Span,
    ) -> Result<Tensor> {
        let method = self.method(policy, "logits", span)?;
        let task = scope.get("task").map(|(slot, _)| slot.borrow().clone());
        let Some(Binding::Done(task @ Value::Source(_))) = task else {
            let message = format!(
                "`{}` has logits over the prompts of a data source with tensors, and this task has none",
                self.made[policy.made].definition.name
            );
            return self.error("type-mismatch", span, message);
        };
        let began = Method {
            of: MadeRef {
                frozen: policy.frozen.or(Some(1)),
                ..policy
            },
            ..method
        };
        let logits = self.apply_method(&began, vec![Some((task, span))], span)?;
        let logits = self.tensor(logits, span)?;
        let names = self.ty(logits).dims.iter();
        let mut names: Vec<&str> = names.map(|&dim| self.dim_name(dim)).collect();
        names.sort_unstable();
        if names != ["action", "prompt"] {
            let shown = self.show_type(logits);
            let message = format!(
                "a sampler draws from logits over `prompt` and `action`, not from `{shown}`"
            );
            return self.error("dimension-mismatch", span, message);
        }
        Ok(logits)
    }

    /// A field of a data source: a tensor, or a record of some.
    pub(crate) fn source_field(&mut self, of: MadeRef, field: &Ident) -> Result<Value> {
        let made = self.made[of.made].clone();
        let fields = match &made.fields {
            Some(crate::elaborate::kept::Kept::Record(fields)) => fields.as_slice(),
            _ => &[],
        };
        if let Some((_, kept)) = fields.iter().find(|(name, _)| *name == field.name) {
            return self.read_kept(kept, None, field.span);
        }
        let is_function = |own: &Rc<Definition>| own.block.name.name == field.name;
        let name = &made.definition.name;
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        let diagnostic = if made.functions.iter().any(is_function) {
            let message = format!("`{}` of `{name}` is a function: it is called", field.name);
            Diagnostic::error("unknown-field", field.span, message)
        } else {
            let message = format!("`{name}` has no field `{}`", field.name);
            let diagnostic = Diagnostic::error("unknown-field", field.span, message)
                .here(format!("it has {}", names.join(", ")));
            match nearest(&field.name, names.iter().copied()).first() {
                Some(best) => diagnostic
                    .help(format!("did you mean `{best}`?"))
                    .fix(field.span, best.to_string()),
                None => diagnostic,
            }
        };
        Err(self.report(diagnostic))
    }
}
