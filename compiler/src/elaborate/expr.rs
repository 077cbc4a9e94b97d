//! Expressions.

use std::rc::Rc;

use rlp_grammar::ast::{Arg, Body, Expr, ExprKind, Ident, Span, Stmt, StmtKind};

use crate::array::Array;
use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::builtin;
use crate::elaborate::library::{Definition, Found, KINDS};
use crate::elaborate::scope::{Binding, Pending};
use crate::elaborate::value::{Lambda, List, Record, Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::ty::{DimId, Elem};

impl Elaborator<'_> {
    pub(crate) fn expr(&mut self, expr: &Expr) -> Result<Value> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number { value, integer } => {
                let array = if *integer { Array::int(*value as i64) } else { Array::real(*value) };
                self.literal(array, span).map(Value::Tensor)
            }
            ExprKind::Text(text) => self.literal(Array::text(text.clone()), span).map(Value::Tensor),
            ExprKind::Bool(value) => self.literal(Array::bool(*value), span).map(Value::Tensor),
            ExprKind::Name(name) => self.name(name, span),
            ExprKind::Field { base, field } => self.field(base, field, span),
            ExprKind::Call { callee, args } => self.call(callee, args, span),
            ExprKind::Unary { op, operand } => self.unary_expr(*op, operand, span),
            ExprKind::Binary { op, op_span, left, right } => self.binary_expr(*op, *op_span, left, right, span),
            ExprKind::If { cond, then, otherwise } => self.branch(cond, then, otherwise, span),
            ExprKind::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.push((self.expr(item)?, item.span));
                }
                Ok(Value::List(Rc::new(List { items: values, span })))
            }
            ExprKind::Lambda { params, body } => {
                let scope = self.scope.clone();
                Ok(Value::Lambda(Rc::new(Lambda { params: params.clone(), body: (**body).clone(), scope, span })))
            }
            ExprKind::With { base, fields } => self.with(base, fields),
            ExprKind::Record(fields) => {
                let mut values = Vec::new();
                for (name, value) in fields {
                    let value = self.expr(value)?;
                    let value = self.settle(value)?;
                    values.push((name.name.clone(), value));
                }
                Ok(Value::Record(Rc::new(Record { fields: values })))
            }
            ExprKind::Ascribe { value, ty } => {
                let inner = self.expr(value)?;
                self.ascribe(inner, value.span, ty)
            }
            ExprKind::Pipe { value, call } => match &call.kind {
                ExprKind::Call { callee, args } => {
                    let mut all = vec![Arg { name: None, value: (**value).clone() }];
                    all.extend(args.iter().cloned());
                    self.call(callee, &all, span)
                }
                _ => self.error("type-mismatch", call.span, "a call is expected after `|>`, as in `x |> f()`"),
            },
            ExprKind::Error => Err(Reported),
        }
    }

    /// A list that stays where no dimensions are known gets a dimension of its own place; other values stay.
    fn settle(&mut self, value: Value) -> Result<Value> {
        match value {
            Value::List(list) => self.untyped_list(&list).map(Value::Tensor),
            other => Ok(other),
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Result<Value> {
        if let Some(value) = self.bound(name, span)? {
            return Ok(value);
        }
        if let Some(dim) = self.dim_in_scope(name) {
            return self.size_of(dim, span).map(Value::Tensor);
        }
        match (name, self.source_name(name)) {
            (_, Some(op)) => return self.push(op, &[], crate::ty::Ty::scalar(Elem::Int), span).map(Value::Tensor),
            ("pi", None) => return self.number(std::f64::consts::PI, span).map(Value::Tensor),
            ("nan", None) => return self.number(f64::NAN, span).map(Value::Tensor),
            ("infinity", None) => return self.number(f64::INFINITY, span).map(Value::Tensor),
            _ => {}
        }
        Err(self.unknown_name(name, span))
    }

    /// `step` and `steps`, where updates are counted.
    fn source_name(&self, name: &str) -> Option<crate::graph::Op> {
        let counted = self.mode != crate::elaborate::Mode::Pure || self.frames.last().is_some_and(|frame| matches!(frame.kind.as_str(), "schedule" | "optimizer"));
        match name {
            "step" if counted => Some(crate::graph::Op::Step),
            "steps" if counted => Some(crate::graph::Op::Steps),
            _ => None,
        }
    }

    /// The value bound to a name; a pending `let` is elaborated now.
    pub(crate) fn bound(&mut self, name: &str, span: Span) -> Result<Option<Value>> {
        let Some((slot, defined)) = self.scope.get(name) else { return Ok(None) };
        let binding = slot.borrow().clone();
        match binding {
            Binding::Done(Value::Poison) => Err(Reported),
            Binding::Done(value) => Ok(Some(value)),
            Binding::Busy => {
                let diagnostic = Diagnostic::error("cyclic-definition", span, format!("`{name}` is defined by itself"))
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
    fn force(&mut self, pending: &Pending) -> Result<Value> {
        let scope = self.stage_scope.clone().unwrap_or_else(|| self.scope.clone());
        let level = std::mem::replace(&mut self.level, 0);
        let frames = std::mem::take(&mut self.frames);
        let value = self.in_scope(scope, |this| this.let_value(pending.ty.as_ref(), &pending.value));
        self.frames = frames;
        self.level = level;
        if let Ok(Value::Tensor(tensor)) = &value {
            self.name_node(*tensor, &pending.name);
        }
        value
    }

    pub(crate) fn let_value(&mut self, ty: Option<&rlp_grammar::ast::TypeExpr>, value: &Expr) -> Result<Value> {
        let found = self.expr(value)?;
        match ty {
            Some(ty) => self.ascribe(found, value.span, ty),
            None => self.settle(found),
        }
    }

    fn unknown_name(&mut self, name: &str, span: Span) -> Reported {
        let mut names: Vec<String> = self.scope.names().map(str::to_string).collect();
        names.extend(self.scope.dims.keys().cloned());
        names.sort();
        let near: Vec<String> = nearest(name, names.iter().map(String::as_str)).into_iter().map(str::to_string).collect();
        let mut diagnostic = Diagnostic::error("unknown-name", span, format!("`{name}` is not defined here")).here("not defined");
        if builtin::find(name).is_some() {
            diagnostic = diagnostic.help(format!("`{name}` is a function: `{name}(…)`"));
        } else if KINDS.contains(&name) {
            diagnostic = diagnostic.help(format!("`{name}` is a module of blocks: `{name}.NAME(…)`"));
        } else if let Some(best) = near.first() {
            diagnostic = diagnostic.help(format!("did you mean {}?", quoted(&near))).fix(span, best.clone());
        }
        self.report(diagnostic)
    }

    fn field(&mut self, base: &Expr, field: &Ident, span: Span) -> Result<Value> {
        if let Some(definition) = self.path(base, field, span)? {
            let message = format!("`{}` is a block: it is called, as in `{}(…)`", definition.name, definition.name);
            return self.error("type-mismatch", span, message);
        }
        let value = self.expr(base)?;
        let Value::Record(record) = &value else {
            let message = format!("`.{}` reads a field of a record, and this is {}", field.name, value.describe());
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
                let names: Vec<&str> = record.fields.iter().map(|(name, _)| name.as_str()).collect();
                let near: Vec<String> = nearest(&field.name, names.iter().copied()).into_iter().map(str::to_string).collect();
                let mut diagnostic = Diagnostic::error("unknown-field", field.span, format!("the record has no field `{}`", field.name))
                    .here(format!("it has {}", names.join(", ")));
                if let Some(best) = near.first() {
                    diagnostic = diagnostic.help(format!("did you mean {}?", quoted(&near))).fix(field.span, best.clone());
                }
                Err(self.report(diagnostic))
            }
        }
    }

    /// `MODULE.NAME` as a block; `None` if the base is not a module.
    pub(crate) fn path(&mut self, base: &Expr, name: &Ident, span: Span) -> Result<Option<Rc<Definition>>> {
        let ExprKind::Name(module) = &base.kind else { return Ok(None) };
        if self.scope.get(module).is_some() {
            return Ok(None);
        }
        let file = self.file();
        let found = if let Some(used) = self.library.module(file, module) {
            self.library.used(used, &name.name)
        } else if KINDS.contains(&module.as_str()) {
            self.library.standard(file, module, &name.name)
        } else {
            let mut modules = self.library.module_names(file);
            modules.extend(KINDS.map(str::to_string));
            let near: Vec<String> = nearest(module, modules.iter().map(String::as_str)).into_iter().map(str::to_string).collect();
            if near.is_empty() || self.dim_in_scope(module).is_some() {
                return Ok(None);
            }
            let mut diagnostic = Diagnostic::error("unknown-name", base.span, format!("`{module}` is not defined here")).here("not defined");
            diagnostic = diagnostic.help(format!("did you mean {}?", quoted(&near))).fix(base.span, near[0].clone());
            return Err(self.report(diagnostic));
        };
        match found {
            Found::Block(definition) => Ok(Some(definition)),
            Found::Broken => Err(Reported),
            Found::Nothing(near) => {
                let message = format!("there is no block `{module}.{}`", name.name);
                let mut diagnostic = Diagnostic::error("unknown-block", span, message).here("not defined");
                if let Some(best) = near.first() {
                    let replacement = if best.contains('.') { best.clone() } else { format!("{module}.{best}") };
                    diagnostic = diagnostic.help(format!("did you mean {}?", quoted(&near))).fix(span, replacement);
                }
                Err(self.report(diagnostic))
            }
        }
    }

    fn branch(&mut self, cond: &Expr, then: &Body, otherwise: &Body, span: Span) -> Result<Value> {
        let condition = self.expr_tensor(cond)?;
        let condition = self.expect_elem(condition, Elem::Bool, cond.span)?;
        // What is known now is decided now: a branch on sizes need not have a meaning on the other side.
        if let Some(known) = self.static_bool(condition) {
            return self.inner_body(if known { then } else { otherwise });
        }
        let a = self.inner_body(then);
        let b = self.inner_body(otherwise);
        let (a, b) = (a?, b?);
        self.choose(condition, cond.span, (a, then.span), (b, otherwise.span), span)
    }

    fn choose(&mut self, cond: Tensor, cond_span: Span, a: (Value, Span), b: (Value, Span), span: Span) -> Result<Value> {
        if let (Value::Record(left), Value::Record(right)) = (&a.0, &b.0) {
            let names = |record: &Record| record.fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            if names(left) != names(right) {
                return self.error("type-mismatch", span, "the two branches give records with different fields");
            }
            let mut fields = Vec::new();
            for ((name, x), (_, y)) in left.fields.iter().zip(&right.fields) {
                fields.push((name.clone(), self.choose(cond, cond_span, (x.clone(), a.1), (y.clone(), b.1), span)?));
            }
            return Ok(Value::Record(Rc::new(Record { fields })));
        }
        let (x, y) = (self.tensor(a.0, a.1)?, self.tensor(b.0, b.1)?);
        let (x, y) = self.same_elem((x, a.1), (y, b.1), "the two branches")?;
        self.refuse_outer("if", span, &[(cond, cond_span), (x, a.1), (y, b.1)])?;
        self.select(cond, x, y, span).map(Value::Tensor)
    }

    /// Two tensors of one element; `int` beside `real` becomes `real`.
    pub(crate) fn same_elem(&mut self, a: (Tensor, Span), b: (Tensor, Span), what: &str) -> Result<(Tensor, Tensor)> {
        let (left, right) = (self.ty(a.0).elem, self.ty(b.0).elem);
        if left == right {
            return Ok((a.0, b.0));
        }
        if matches!((left, right), (Elem::Real, Elem::Int) | (Elem::Int, Elem::Real)) {
            return Ok((self.real(a.0, a.1)?, self.real(b.0, b.1)?));
        }
        let (left, right) = (self.show_type(a.0), self.show_type(b.0));
        let message = format!("{what} disagree: one is `{left}`, the other `{right}`");
        Err(self.report(Diagnostic::error("type-mismatch", b.1, message).here(right).label(a.1, left)))
    }

    /// The statements and result of a branch, with its `let`s in a scope of their own.
    fn inner_body(&mut self, body: &Body) -> Result<Value> {
        let scope = self.scope.clone();
        self.in_scope(scope, |this| {
            this.statements(&body.stmts)?;
            match &body.result {
                Some(result) => this.expr(result),
                None => this.error("missing-result", body.span, "a branch has no value: its last line must be an expression"),
            }
        })
    }

    /// `let`s of a branch.
    fn statements(&mut self, stmts: &[Stmt]) -> Result<()> {
        for stmt in stmts {
            let allows = self.allows.len();
            self.allow(stmt);
            match &stmt.kind {
                StmtKind::Let { name, ty, value } => {
                    let value = self.let_value(ty.as_ref(), value);
                    self.bind_let(name, value.unwrap_or(Value::Poison));
                }
                _ => {
                    let _ = self.error::<()>("misplaced-statement", stmt.span, "only `let` may stand inside a branch");
                }
            }
            self.allows.truncate(allows);
        }
        Ok(())
    }

    pub(crate) fn bind_let(&mut self, name: &Ident, value: Value) {
        if let Value::Tensor(tensor) = &value {
            self.name_node(*tensor, name);
        }
        self.scope.bind(&name.name, value, name.span);
    }

    fn with(&mut self, base: &Expr, fields: &[(Ident, Expr)]) -> Result<Value> {
        let value = self.expr(base)?;
        let Value::Record(record) = value else {
            let message = format!("`with` adds fields to a record, and this is {}", value.describe());
            return self.error("type-mismatch", base.span, message);
        };
        let mut all = record.fields.clone();
        for (name, field) in fields {
            let value = self.expr(field)?;
            let value = self.settle(value)?;
            match all.iter_mut().find(|(known, _)| *known == name.name) {
                Some(known) => known.1 = value,
                None => all.push((name.name.clone(), value)),
            }
        }
        Ok(Value::Record(Rc::new(Record { fields: all })))
    }

    /// A dimension by its name: of the signature or annotation, or the only one of that name that has come into being.
    pub(crate) fn dim_in_scope(&self, name: &str) -> Option<DimId> {
        if let Some(&dim) = self.scope.dims.get(name) {
            return Some(dim);
        }
        if self.mode != crate::elaborate::Mode::Pipeline || self.levels.is_empty() || !self.frames.is_empty() {
            return None;
        }
        let mut named = self.graph().dims.ids().filter(|&dim| self.dim_name(dim) == name);
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }
}

/// "`a`, `b` or `c`"
pub(crate) fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
