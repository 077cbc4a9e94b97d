//! Names: bindings, dimensions, modules.

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::expr::builtin;
use crate::elaborate::expr::quoted;
use crate::elaborate::library::{Definition, Found, KINDS};
use crate::elaborate::scope::{Binding, Pending};
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, MAX_CANDIDATES, Reported, Result};
use crate::ty::{DimId, Elem};
use rlp_grammar::ast::{Expr, ExprKind, Ident, Span};
use std::rc::Rc;

impl Elaborator<'_> {
    pub(crate) fn name(&mut self, name: &str, span: Span) -> Result<Value> {
        if let Some(value) = self.bound(name, span)? {
            return Ok(value);
        }
        if let Some(dim) = self.dim_in_scope(name) {
            return self.size_of(dim, span).map(Value::Tensor);
        }
        match (name, self.source_name(name)) {
            (_, Some(op)) => {
                return self
                    .push(op, &[], crate::ty::Ty::scalar(Elem::Int), span)
                    .map(Value::Tensor);
            }
            ("pi", None) => return self.number(std::f64::consts::PI, span).map(Value::Tensor),
            ("nan", None) => return self.number(f64::NAN, span).map(Value::Tensor),
            ("infinity", None) => return self.number(f64::INFINITY, span).map(Value::Tensor),
            _ => {}
        }
        Err(self.unknown_name(name, span))
    }

    /// `step` and `steps`, where updates are counted.
    pub(crate) fn source_name(&self, name: &str) -> Option<crate::graph::Op> {
        let counted = self.mode != crate::elaborate::Mode::Pure
            || self
                .frames
                .last()
                .is_some_and(|frame| matches!(frame.kind.as_str(), "schedule" | "optimizer"));
        match name {
            "step" if counted => Some(crate::graph::Op::Step),
            "steps" if counted => Some(crate::graph::Op::Steps),
            _ => None,
        }
    }

    /// The value bound to a name; a pending `let` is elaborated now.
    pub(crate) fn bound(&mut self, name: &str, span: Span) -> Result<Option<Value>> {
        let Some((slot, defined)) = self.scope.get(name) else {
            return Ok(None);
        };
        let binding = slot.borrow().clone();
        match binding {
            Binding::Done(Value::Poison) => Err(Reported),
            Binding::Done(value) => Ok(Some(value)),
            Binding::Busy => {
                let diagnostic = Diagnostic::error(
                    "cyclic-definition",
                    span,
                    format!("`{name}` is defined by itself"),
                )
                .here("needed here")
                .label(defined, "to know this");
                Err(self.report(diagnostic))
            }
            Binding::Pending(pending) => {
                *slot.borrow_mut() = Binding::Busy;
                let value = self.force(&pending);
                *slot.borrow_mut() = Binding::Done(value.clone().unwrap_or(Value::Poison));
                value.map(Some)
            }
        }
    }

    /// Elaborates a `let` of a stage, in the stage's own scope and graph, whoever needs it.
    pub(crate) fn force(&mut self, pending: &Pending) -> Result<Value> {
        let scope = self
            .stage_scope
            .clone()
            .unwrap_or_else(|| self.scope.clone());
        let level = std::mem::replace(&mut self.level, 0);
        let frames = std::mem::take(&mut self.frames);
        let taken = std::mem::take(&mut self.taken);
        let value = self.in_scope(scope, |this| {
            this.let_value(pending.ty.as_ref(), &pending.value)
        });
        self.taken = taken;
        self.frames = frames;
        self.level = level;
        if let Ok(Value::Tensor(tensor)) = &value {
            self.name_node(*tensor, &pending.name);
        }
        value
    }

    pub(crate) fn unknown_name(&mut self, name: &str, span: Span) -> Reported {
        if self.has_enough() {
            return Reported;
        }
        let names = self.scope.names().take(MAX_CANDIDATES);
        let mut names: Vec<String> = names.map(str::to_string).collect();
        names.extend(self.scope.dims.keys().cloned());
        names.sort();
        let near: Vec<String> = nearest(name, names.iter().map(String::as_str))
            .into_iter()
            .map(str::to_string)
            .collect();
        let mut diagnostic = Diagnostic::error(
            "unknown-name",
            span,
            format!("`{name}` is not defined here"),
        )
        .here("not defined");
        if builtin::find(name).is_some() {
            diagnostic = diagnostic.help(format!("`{name}` is a function: `{name}(…)`"));
        } else if KINDS.contains(&name) {
            diagnostic =
                diagnostic.help(format!("`{name}` is a module of blocks: `{name}.NAME(…)`"));
        } else if let Some(best) = near.first() {
            diagnostic = diagnostic
                .help(format!("did you mean {}?", quoted(&near)))
                .fix(span, best.clone());
        }
        self.report(diagnostic)
    }

    pub(crate) fn field(&mut self, base: &Expr, field: &Ident, span: Span) -> Result<Value> {
        if let Some(definition) = self.path(base, field, span, false)? {
            let message = format!(
                "`{}` is a block: it is called, as in `{}(…)`",
                definition.name, definition.name
            );
            return self.error("type-mismatch", span, message);
        }
        let value = self.expr(base)?;
        match value {
            Value::Source(source) => return self.source_field(source, field),
            Value::Data(data) => return self.native_variant(&data, field, span),
            _ => {}
        }
        let Value::Record(record) = &value else {
            let message = format!(
                "`.{}` reads a field of a record, and this is {}",
                field.name,
                value.describe()
            );
            let mut diagnostic = Diagnostic::error("unknown-field", field.span, message);
            if let Value::Tensor(tensor) = value {
                diagnostic = diagnostic.label(base.span, self.show_type(tensor));
            }
            return Err(self.report(diagnostic));
        };
        match record.get(&field.name) {
            Some(Value::Poison) => Err(Reported),
            Some(value) => Ok(value.clone()),
            None => {
                let names: Vec<&str> = record
                    .fields
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .collect();
                let near: Vec<String> = nearest(&field.name, names.iter().copied())
                    .into_iter()
                    .map(str::to_string)
                    .collect();
                let mut diagnostic = Diagnostic::error(
                    "unknown-field",
                    field.span,
                    format!("the record has no field `{}`", field.name),
                )
                .here(format!("it has {}", names.join(", ")));
                if let Some(best) = near.first() {
                    diagnostic = diagnostic
                        .help(format!("did you mean {}?", quoted(&near)))
                        .fix(field.span, best.clone());
                }
                Err(self.report(diagnostic))
            }
        }
    }

    /// `MODULE.NAME` as a block; `None` if the base is not a module. Fields of a value are never called, so what is
    /// called of a kind is a block, though a value have the same name: `model.causal_lm(model)`.
    pub(crate) fn path(
        &mut self,
        base: &Expr,
        name: &Ident,
        span: Span,
        is_called: bool,
    ) -> Result<Option<Rc<Definition>>> {
        let ExprKind::Name(module) = &base.kind else {
            return Ok(None);
        };
        let is_kind = KINDS.contains(&module.as_str());
        if self.scope.get(module).is_some() && !(is_called && is_kind) {
            return Ok(None);
        }
        let file = self.file();
        let found = if let Some(used) = self.library.module(file, module) {
            used.map_or(Found::Broken, |used| self.library.used(used, &name.name))
        } else if is_kind {
            self.library.standard(file, module, &name.name)
        } else {
            let mut modules = self.library.module_names(file);
            modules.extend(KINDS.map(str::to_string));
            let near: Vec<String> = nearest(module, modules.iter().map(String::as_str))
                .into_iter()
                .map(str::to_string)
                .collect();
            if near.is_empty() || self.dim_in_scope(module).is_some() {
                return Ok(None);
            }
            let mut diagnostic = Diagnostic::error(
                "unknown-name",
                base.span,
                format!("`{module}` is not defined here"),
            )
            .here("not defined");
            diagnostic = diagnostic
                .help(format!("did you mean {}?", quoted(&near)))
                .fix(base.span, near[0].clone());
            return Err(self.report(diagnostic));
        };
        match found {
            Found::Block(definition) => Ok(Some(definition)),
            Found::Broken => Err(Reported),
            Found::Nothing(near) => {
                let message = format!("there is no block `{module}.{}`", name.name);
                let mut diagnostic =
                    Diagnostic::error("unknown-block", span, message).here("not defined");
                if let Some(best) = near.first() {
                    let replacement = if best.contains('.') {
                        best.clone()
                    } else {
                        format!("{module}.{best}")
                    };
                    diagnostic = diagnostic
                        .help(format!("did you mean {}?", quoted(&near)))
                        .fix(span, replacement);
                }
                Err(self.report(diagnostic))
            }
        }
    }

    /// A dimension by its name: of the signature or annotation, or the only one of that name that has come into being.
    pub(crate) fn dim_in_scope(&self, name: &str) -> Option<DimId> {
        if let Some(&dim) = self.scope.dims.get(name) {
            return Some(dim);
        }
        if self.mode != crate::elaborate::Mode::Pipeline
            || self.levels.is_empty()
            || !self.frames.is_empty()
        {
            return None;
        }
        let mut named = self
            .graph()
            .dims
            .ids()
            .filter(|&dim| self.dim_name(dim) == name);
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }
}
