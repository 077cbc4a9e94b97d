//! Expressions.

pub(crate) mod aggregate;
pub(crate) mod annotation;
pub(crate) mod builtin;
pub(crate) mod elementwise;
pub(crate) mod index;
pub(crate) mod literal;
pub(crate) mod matrix;
pub(crate) mod operator;
pub(crate) mod random;
pub(crate) mod scan;
pub(crate) mod shape;
pub(crate) mod split;
pub(crate) mod text;

use std::rc::Rc;

use rlp_grammar::ast::{Arg, Body, Expr, ExprKind, Ident, Span, Stmt, StmtKind};

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::value::{Lambda, List, Record, Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::ty::Elem;

impl Elaborator<'_> {
    pub(crate) fn expr(&mut self, expr: &Expr) -> Result<Value> {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number { value, integer } => {
                let array = if *integer {
                    Array::int(*value as i64)
                } else {
                    Array::real(*value)
                };
                self.literal(array, span).map(Value::Tensor)
            }
            ExprKind::Text(text) => self
                .literal(Array::text(text.clone()), span)
                .map(Value::Tensor),
            ExprKind::Bool(value) => self.literal(Array::bool(*value), span).map(Value::Tensor),
            ExprKind::Name(name) => self.name(name, span),
            ExprKind::Field { base, field } => self.field(base, field, span),
            ExprKind::Call { callee, args } => self.call(callee, args, span),
            ExprKind::Unary { op, operand } => self.unary_expr(*op, operand, span),
            ExprKind::Binary {
                op,
                op_span,
                left,
                right,
            } => self.binary_expr(*op, *op_span, left, right, span),
            ExprKind::If {
                cond,
                then,
                otherwise,
            } => self.branch(cond, then, otherwise, span),
            ExprKind::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.push((self.expr(item)?, item.span));
                }
                Ok(Value::List(Rc::new(List {
                    items: values,
                    span,
                })))
            }
            ExprKind::Lambda { params, body } => {
                let scope = self.scope.clone();
                Ok(Value::Lambda(Rc::new(Lambda {
                    params: params.clone(),
                    body: (**body).clone(),
                    scope,
                    span,
                })))
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
                    let mut all = vec![Arg {
                        name: None,
                        value: (**value).clone(),
                    }];
                    all.extend(args.iter().cloned());
                    self.call(callee, &all, span)
                }
                _ => self.error(
                    "type-mismatch",
                    call.span,
                    "a call is expected after `|>`, as in `x |> f()`",
                ),
            },
            ExprKind::Error => Err(Reported),
        }
    }

    /// A list that stays where no dimensions are known gets a dimension of its own place; other values stay.
    pub(crate) fn settle(&mut self, value: Value) -> Result<Value> {
        match value {
            Value::List(list) => self.untyped_list(&list).map(Value::Tensor),
            Value::Noise(noise) => Err(self.noise_without_dims(noise)),
            other => Ok(other),
        }
    }

    pub(crate) fn let_value(
        &mut self,
        ty: Option<&rlp_grammar::ast::TypeExpr>,
        value: &Expr,
    ) -> Result<Value> {
        let found = self.expr(value)?;
        match (ty, found) {
            (Some(ty), found) => self.ascribe(found, value.span, ty),
            // A list takes its dimension from where the name is used.
            (None, Value::List(list)) => Ok(Value::List(list)),
            (None, found) => self.settle(found),
        }
    }

    pub(crate) fn branch(
        &mut self,
        cond: &Expr,
        then: &Body,
        otherwise: &Body,
        span: Span,
    ) -> Result<Value> {
        let condition = self.expr_tensor(cond)?;
        let condition = self.expect_elem(condition, Elem::Bool, cond.span)?;
        // What is known now is decided now: a branch on sizes need not have a meaning on the other side.
        if let Some(known) = self.static_bool(condition) {
            return self.inner_body(if known { then } else { otherwise });
        }
        let a = self.taking(condition, true, |this| this.inner_body(then));
        let b = self.taking(condition, false, |this| this.inner_body(otherwise));
        let (a, b) = (a?, b?);
        self.choose(
            condition,
            cond.span,
            (a, then.span),
            (b, otherwise.span),
            span,
        )
    }

    pub(crate) fn choose(
        &mut self,
        cond: Tensor,
        cond_span: Span,
        a: (Value, Span),
        b: (Value, Span),
        span: Span,
    ) -> Result<Value> {
        if let (Value::Record(left), Value::Record(right)) = (&a.0, &b.0) {
            let names = |record: &Record| {
                record
                    .fields
                    .iter()
                    .map(|(name, _)| name.clone())
                    .collect::<Vec<_>>()
            };
            if names(left) != names(right) {
                return self.error(
                    "type-mismatch",
                    span,
                    "the two branches give records with different fields",
                );
            }
            let mut fields = Vec::new();
            for ((name, x), (_, y)) in left.fields.iter().zip(&right.fields) {
                fields.push((
                    name.clone(),
                    self.choose(cond, cond_span, (x.clone(), a.1), (y.clone(), b.1), span)?,
                ));
            }
            return Ok(Value::Record(Rc::new(Record { fields })));
        }
        let (x, y) = (self.tensor(a.0, a.1)?, self.tensor(b.0, b.1)?);
        let (x, y) = self.same_elem((x, a.1), (y, b.1), "the two branches")?;
        self.refuse_outer("if", span, &[(cond, cond_span), (x, a.1), (y, b.1)])?;
        self.select(cond, x, y, span).map(Value::Tensor)
    }

    /// Two tensors of one element; `int` beside `real` becomes `real`.
    pub(crate) fn same_elem(
        &mut self,
        a: (Tensor, Span),
        b: (Tensor, Span),
        what: &str,
    ) -> Result<(Tensor, Tensor)> {
        let (left, right) = (self.ty(a.0).elem, self.ty(b.0).elem);
        if left == right {
            return Ok((a.0, b.0));
        }
        if matches!(
            (left, right),
            (Elem::Real, Elem::Int) | (Elem::Int, Elem::Real)
        ) {
            return Ok((self.real(a.0, a.1)?, self.real(b.0, b.1)?));
        }
        let (left, right) = (self.show_type(a.0), self.show_type(b.0));
        let message = format!("{what} disagree: one is `{left}`, the other `{right}`");
        Err(self.report(
            Diagnostic::error("type-mismatch", b.1, message)
                .here(right)
                .label(a.1, left),
        ))
    }

    /// The statements and result of a branch, with its `let`s in a scope of their own.
    pub(crate) fn inner_body(&mut self, body: &Body) -> Result<Value> {
        let scope = self.scope.clone();
        self.in_scope(scope, |this| {
            this.statements(&body.stmts)?;
            match &body.result {
                Some(result) => this.expr(result),
                None => this.error(
                    "missing-result",
                    body.span,
                    "a branch has no value: its last line must be an expression",
                ),
            }
        })
    }

    /// `let`s of a branch.
    pub(crate) fn statements(&mut self, stmts: &[Stmt]) -> Result<()> {
        for stmt in stmts {
            let allows = self.allows.len();
            self.allow(stmt);
            match &stmt.kind {
                StmtKind::Let { name, ty, value } => {
                    let value = self.let_value(ty.as_ref(), value);
                    self.bind_let(name, value.unwrap_or(Value::Poison));
                }
                _ => {
                    let _ = self.error::<()>(
                        "misplaced-statement",
                        stmt.span,
                        "only `let` may stand inside a branch",
                    );
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

    pub(crate) fn with(&mut self, base: &Expr, fields: &[(Ident, Expr)]) -> Result<Value> {
        let value = self.expr(base)?;
        let Value::Record(record) = value else {
            let message = format!(
                "`with` adds fields to a record, and this is {}",
                value.describe()
            );
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
