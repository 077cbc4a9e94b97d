//! Bodies of blocks, and blocks by themselves: checked once over their own signature, or made ready for `rlpc eval`.

pub(crate) mod alone;
pub(crate) mod argument;
pub(crate) mod assertion;
pub(crate) mod call;
pub(crate) mod memory;
pub(crate) mod named;
pub(crate) mod native;
pub(crate) mod parameter;
pub(crate) mod state;
pub(crate) mod taken;
pub(crate) mod test;
pub(crate) mod update;

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::{Span, Stmt, StmtKind, TypeExpr, TypeKind};

use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::annotation::elem_named;
use crate::elaborate::library::Definition;
use crate::elaborate::value::{Record, Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::ty::{Elem, Ty};

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
    pub(crate) fn block_body(
        &mut self,
        definition: &Rc<Definition>,
        places: &HashMap<String, Span>,
    ) -> Result<Value> {
        let block = &definition.block;
        let Some(body) = &block.body else {
            return self.error(
                "not-supported-yet",
                block.head,
                format!(
                    "`{}` is native and has no implementation here",
                    definition.name
                ),
            );
        };
        let mut states: Vec<BlockState> = Vec::new();
        let first_assert = self.levels[self.level].asserted.len();
        let mut sound = true;
        for stmt in &body.stmts {
            let allows = self.allows.len();
            self.allow(stmt);
            sound &= self
                .block_stmt(definition, stmt, &mut states, places)
                .is_ok();
            self.allows.truncate(allows);
        }
        let result = body.result.as_ref().map(|result| self.expr(result));
        let next: Vec<Value> = states
            .iter()
            .filter_map(|state| state.next.map(Value::Tensor))
            .collect();
        let guarded = result.iter().flatten().chain(&next).collect::<Vec<_>>();
        self.guard(first_assert, &guarded);
        self.finish_states(states)?;
        let Some(result) = result else {
            if !sound {
                return Err(Reported);
            }
            if definition.kind() == "optimizer" {
                return Ok(Value::Record(Rc::new(Record { fields: Vec::new() })));
            }
            return self.error(
                "missing-result",
                body.span,
                format!(
                    "`{}` has no result: its last line must be an expression",
                    definition.name
                ),
            );
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
                Value::Noise(noise) => Err(self.noise_without_dims(noise)),
                other => Ok(other),
            },
        }
    }

    pub(crate) fn block_stmt(
        &mut self,
        definition: &Rc<Definition>,
        stmt: &Stmt,
        states: &mut Vec<BlockState>,
        places: &HashMap<String, Span>,
    ) -> Result<()> {
        match &stmt.kind {
            StmtKind::Let { name, ty, value } => {
                let found = self.let_value(ty.as_ref(), value);
                let failed = found.is_err();
                self.bind_let(name, found.unwrap_or(Value::Poison));
                if failed { Err(Reported) } else { Ok(()) }
            }
            StmtKind::State {
                name,
                ty,
                value,
                lazy,
            } => {
                let state = self.declare_state(name, ty.as_ref(), value, *lazy);
                if state.is_err() {
                    self.scope.bind(&name.name, Value::Poison, name.span);
                }
                let state = state?;
                self.scope
                    .bind(&name.name, Value::Tensor(state.old), name.span);
                states.push(state);
                Ok(())
            }
            StmtKind::Assign { name, value } => self.assign(definition, name, value, states),
            StmtKind::Assert { value, close_to } => {
                if close_to.is_some() {
                    return self.error(
                        "misplaced-statement",
                        stmt.span,
                        "`~=` compares in tests; in a block `assert` takes a condition",
                    );
                }
                self.precondition(definition, value, places)
            }
            StmtKind::Param { name, .. } => {
                let message = format!(
                    "`param {}` is a trainable tensor of a transform; arguments stand in the signature",
                    name.name
                );
                self.error("misplaced-statement", stmt.span, message)
            }
            StmtKind::Function(function) => {
                let message = "a function stands in the body of a model or of a data source";
                self.error("misplaced-statement", function.head, message)
            }
            StmtKind::Stage { .. }
            | StmtKind::Train { .. }
            | StmtKind::Report { .. }
            | StmtKind::Steps { .. } => self.error(
                "misplaced-statement",
                stmt.span,
                "this stands in a pipeline, not in a block",
            ),
        }
    }

    /// The result as the signature announces it.
    pub(crate) fn check_result(
        &mut self,
        definition: &Rc<Definition>,
        result: Value,
        span: Span,
        ty: &TypeExpr,
    ) -> Result<Value> {
        match &ty.kind {
            TypeKind::Record(fields) => {
                let Value::Record(record) = &result else {
                    let message = format!(
                        "`{}` announces a record, and its result is {}",
                        definition.name,
                        result.describe()
                    );
                    return Err(self.report(
                        Diagnostic::error("result-mismatch", span, message)
                            .label(ty.span, "announced here"),
                    ));
                };
                let record = record.clone();
                let mut checked = Vec::new();
                for (name, field) in fields {
                    let Some(value) = record.get(&name.name) else {
                        let message = format!(
                            "`{}` announces a field `{}` that its result lacks",
                            definition.name, name.name
                        );
                        return Err(self.report(
                            Diagnostic::error("result-mismatch", span, message)
                                .label(name.span, "announced here"),
                        ));
                    };
                    checked.push((
                        name.name.clone(),
                        self.check_result(definition, value.clone(), span, field)?,
                    ));
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
                    return self
                        .typed_list(&list, elem, &wanted.dims)
                        .map(Value::Tensor);
                }
                let x = match result {
                    Value::Noise(noise) if elem == Elem::Real => {
                        self.noise(noise, wanted.dims.clone())?
                    }
                    other => self.tensor(other, span)?,
                };
                let found_elem = self.ty(x).elem;
                let x = if elem == Elem::Real && found_elem == Elem::Int {
                    self.real(x, span)?
                } else {
                    x
                };
                if *self.ty(x) == wanted {
                    return Ok(Value::Tensor(x));
                }
                if self.ty(x).dims.is_empty() && self.ty(x).elem == elem {
                    return self.broadcast(x, &wanted.dims, span).map(Value::Tensor);
                }
                let (found, wanted_text) = (self.show_type(x), self.show(&wanted));
                let message = format!(
                    "`{}` announces `{wanted_text}`, and its result is `{found}`",
                    definition.name
                );
                let mut diagnostic = Diagnostic::error("result-mismatch", span, message)
                    .here(found)
                    .label(ty.span, "announced here");
                if wanted.dims.is_empty() && self.ty(x).elem == Elem::Real {
                    diagnostic = diagnostic.help(format!(
                        "mean({})",
                        crate::elaborate::block::call::one_line(self.library.map.text(span))
                    ));
                }
                Err(self.report(diagnostic))
            }
        }
    }
}
