//! Models and data sources that are blocks of `.rlp`: their bodies are computed once, before the run.
//!
//! What a body binds becomes tensors of the plan, trained where it says `param`, which every stage reads as it reads
//! any other. Its functions are elaborated anew where they are called (`method.rs`).

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use rlp_grammar::ast::{Block, Expr, Ident, Span, Stmt, StmtKind, TypeExpr};

use crate::array::{Array, Elements};
use crate::diagnostic::Diagnostic;
use crate::elaborate::block::argument::Given;
use crate::elaborate::kept::Kept;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Reported, Result, walk};
use crate::graph::Op;
use crate::plan::{Owner, TensorPlan};
use crate::ty::Elem;

/// A model or a data source of `.rlp` as an expression names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct MadeRef {
    /// Index among those that were made.
    pub(crate) made: usize,
    /// As of a [`crate::graph::ModelRef`].
    pub(crate) frozen: Option<u64>,
}

/// A function of a model or of a data source.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(crate) of: MadeRef,
    pub(crate) definition: Rc<Definition>,
}

/// A model or a data source that a block of `.rlp` describes.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) definition: Rc<Definition>,
    /// Its arguments and what its body binds, in order.
    pub(crate) bound: Vec<(Ident, Kept)>,
    /// The fields of a data source.
    pub(crate) fields: Option<Kept>,
    pub(crate) functions: Vec<Rc<Definition>>,
    /// Its first tensor in the plan, and one past its last.
    pub(crate) tensors: (usize, usize),
    /// Those that are trained, and the names of all that are.
    pub(crate) params: Vec<usize>,
    pub(crate) trained: BTreeSet<String>,
}

/// What a body has bound while it is elaborated.
#[derive(Default)]
struct Bindings {
    values: Vec<(Ident, Value, bool)>,
    result: Option<(Value, Span)>,
}

impl Elaborator<'_> {
    /// `model.mlp(inputs: 8, hidden: 16)`, `data.two_gaussians(gap: 1.0)`
    pub(crate) fn make(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Value> {
        // In a test what is made stands in the graph of the test.
        let is_test = self.mode == Mode::Pure && self.frames.is_empty();
        if self.mode != Mode::Pipeline && !is_test {
            let message = format!("`{}` may be made in a pipeline only", definition.name);
            return self.error("misplaced-resource", span, message);
        }
        let is_model = definition.kind() == "model";
        let number = self.made.len();
        let owner = if is_model {
            definition.name.clone()
        } else {
            format!("{} {number}", definition.name)
        };
        let mut scope = Scope::new(definition.file);
        let places = self.bind_parameters(definition, given, &mut scope, span)?;
        let mut bound = Vec::new();
        for param in &definition.block.params {
            let Some(value) = done(&scope, &param.name.name) else {
                continue;
            };
            let place = places.get(&param.name.name).copied().unwrap_or(span);
            let kept = self.kept_argument(definition, &param.name, value, place)?;
            bound.push((param.name.clone(), kept));
        }
        if is_test {
            return self.make_in_test(definition, bound, &places, span);
        }
        let first = self.tensors.len();
        let (body, level) = self.apart(Mode::Pipeline, |this| {
            this.framed(definition, span, |this| {
                let mut inner = Scope::new(definition.file);
                this.bind_kept(&bound, &[], None, &HashMap::new(), &mut inner, span)?;
                this.in_scope(inner, |this| {
                    let bindings = this.made_body(definition, &places)?;
                    let read = read_by_functions(&definition.block);
                    let mut tensors = Vec::new();
                    let mut kept = Vec::new();
                    let mut params = Vec::new();
                    let mut trained = BTreeSet::new();
                    for (name, value, is_param) in bindings.values {
                        if !is_param && !read.contains(name.name.as_str()) {
                            continue;
                        }
                        let before = tensors.len();
                        let own =
                            this.keep(&owner, &name.name, value, (first, &mut tensors), span)?;
                        if is_param {
                            trained.insert(name.name.clone());
                            params.extend(first + before..first + tensors.len());
                        }
                        kept.push((name, own));
                    }
                    let fields = match bindings.result {
                        Some((value, span)) => {
                            Some(this.keep(&owner, "", value, (first, &mut tensors), span)?)
                        }
                        None => None,
                    };
                    Ok((kept, fields, (params, trained), tensors))
                })
            })
        });
        let (kept, fields, (params, trained), tensors) = body?;
        let graph = Arc::new(level.finish());
        if graph.ids().any(|id| reads_the_run(graph.op(id))) {
            let message = format!(
                "`{}` is made before the run: it reads no draw, no model and no step",
                definition.name
            );
            return self.error("not-known-before-run", span, message);
        }
        let seed = bound.iter().find_map(|(name, kept)| match kept {
            Kept::Constant(array, _) if name.name == "seed" => whole(array),
            Kept::Constant(..)
            | Kept::Tensor(..)
            | Kept::Seen(_)
            | Kept::Record(_)
            | Kept::Other(_) => None,
        });
        let name = definition.block.name.name.clone();
        for (own, node) in tensors {
            self.tensors.push(TensorPlan {
                name: own,
                owner: Some(Owner {
                    name: name.clone(),
                    is_model,
                }),
                graph: graph.clone(),
                start: node.node,
                first,
                seed,
                span,
            });
        }
        bound.extend(kept);
        let functions = functions(definition).collect();
        self.made.push(Rc::new(Made {
            definition: definition.clone(),
            bound,
            fields,
            functions,
            tensors: (first, self.tensors.len()),
            params,
            trained,
        }));
        Ok(self.made_value(number, is_model))
    }

    fn made_value(&self, made: usize, is_model: bool) -> Value {
        let made = MadeRef { made, frozen: None };
        if is_model {
            Value::Network(made)
        } else {
            Value::Source(made)
        }
    }

    fn make_in_test(
        &mut self,
        definition: &Rc<Definition>,
        mut bound: Vec<(Ident, Kept)>,
        places: &HashMap<String, Span>,
        span: Span,
    ) -> Result<Value> {
        let mut inner = Scope::new(definition.file);
        self.bind_kept(&bound, &[], None, &HashMap::new(), &mut inner, span)?;
        let bindings = self.framed(definition, span, |this| {
            this.in_scope(inner, |this| this.made_body(definition, places))
        })?;
        let trained = bindings.values.iter().filter(|(.., is_param)| *is_param);
        let trained = trained.map(|(name, ..)| name.name.clone()).collect();
        let own = bindings.values.into_iter();
        bound.extend(own.map(|(name, value, _)| (name, Kept::Other(value))));
        let fields = bindings.result.map(|(value, _)| match value {
            Value::Record(record) => {
                let fields = record.fields.iter().cloned();
                Kept::Record(
                    fields
                        .map(|(name, value)| (name, Kept::Other(value)))
                        .collect(),
                )
            }
            other => Kept::Other(other),
        });
        self.made.push(Rc::new(Made {
            definition: definition.clone(),
            bound,
            fields,
            functions: functions(definition).collect(),
            tensors: (0, 0),
            params: Vec::new(),
            trained,
        }));
        Ok(self.made_value(self.made.len() - 1, definition.kind() == "model"))
    }

    /// The name that the pipeline gives what it has made, where it has none yet.
    pub(crate) fn name_made(&mut self, made: MadeRef, name: &str) {
        let (first, end) = self.made[made.made].tensors;
        let block = self.made[made.made].definition.block.name.name.clone();
        for tensor in &mut self.tensors[first..end] {
            if let Some(owner) = tensor.owner.as_mut().filter(|own| own.name == block) {
                owner.name = name.to_string();
            }
        }
    }

    /// The statements of a body, bound in the scope.
    fn made_body(
        &mut self,
        definition: &Rc<Definition>,
        places: &HashMap<String, Span>,
    ) -> Result<Bindings> {
        let Some(body) = &definition.block.body else {
            return Ok(Bindings::default());
        };
        let mut bindings = Bindings::default();
        let mut sound = true;
        for stmt in &body.stmts {
            let allows = self.allows.len();
            self.allow(stmt);
            sound &= self
                .made_stmt(definition, stmt, places, &mut bindings)
                .is_ok();
            self.allows.truncate(allows);
        }
        match &body.result {
            Some(result) if definition.kind() == "data" => {
                let value = self.expr(result)?;
                let value = match &definition.block.result {
                    Some(ty) => self.check_result(definition, value, result.span, ty)?,
                    None => value,
                };
                let Value::Record(_) = value else {
                    let message = format!(
                        "`{}` is a data source: its result is a record of tensors, and this is {}",
                        definition.name,
                        value.describe()
                    );
                    return self.error("kind-result", result.span, message);
                };
                bindings.result = Some((value, result.span));
            }
            Some(result) => {
                let message = format!(
                    "`{}` is a model: what it computes stands in its functions, and it has no result",
                    definition.name
                );
                return self.error("kind-result", result.span, message);
            }
            None => {}
        }
        if sound { Ok(bindings) } else { Err(Reported) }
    }

    fn made_stmt(
        &mut self,
        definition: &Rc<Definition>,
        stmt: &Stmt,
        places: &HashMap<String, Span>,
        bindings: &mut Bindings,
    ) -> Result<()> {
        match &stmt.kind {
            StmtKind::Let { name, ty, value } => {
                let value = self.let_value(ty.as_ref(), value);
                let failed = value.is_err();
                let value = value.unwrap_or(Value::Poison);
                self.bind_let(name, value.clone());
                bindings.values.push((name.clone(), value, false));
                if failed { Err(Reported) } else { Ok(()) }
            }
            StmtKind::Param { name, ty, value } if definition.kind() == "model" => {
                let value = self.param_start(name, ty.as_ref(), value.as_ref());
                let failed = value.is_err();
                let value = value.map_or(Value::Poison, Value::Tensor);
                self.bind_let(name, value.clone());
                bindings.values.push((name.clone(), value, true));
                if failed { Err(Reported) } else { Ok(()) }
            }
            StmtKind::Assert {
                value,
                close_to: None,
            } => self.precondition(definition, value, places),
            StmtKind::Function(_) => Ok(()),
            StmtKind::Param { .. }
            | StmtKind::Assert { .. }
            | StmtKind::State { .. }
            | StmtKind::Assign { .. }
            | StmtKind::Stage { .. }
            | StmtKind::Train { .. }
            | StmtKind::Report { .. }
            | StmtKind::Steps { .. } => {
                let message = format!("this may not stand in a {}", definition.kind());
                self.error("misplaced-statement", stmt.span, message)
            }
        }
    }

    /// `param weight: real[unit: hidden, feature: inputs] = …` of a model.
    fn param_start(
        &mut self,
        name: &Ident,
        ty: Option<&TypeExpr>,
        value: Option<&Expr>,
    ) -> Result<Tensor> {
        let (Some(ty), Some(value)) = (ty, value) else {
            let message = format!("`param {}` needs a type and a value to start at", name.name);
            let diagnostic = Diagnostic::error("missing-type", name.span, message)
                .help(format!("param {}: real[…] = zeros()", name.name));
            return Err(self.report(diagnostic));
        };
        let (x, _) = self.typed_start(ty, value)?;
        if self.ty(x).elem != Elem::Real {
            let shown = self.show_type(x);
            let message = format!("a `param` is trained: it is `real`, not `{shown}`");
            return self.error("type-mismatch", ty.span, message);
        }
        Ok(x)
    }

    /// The body and the functions of a model or data source over its own signature.
    pub(crate) fn made_alone(&mut self, definition: &Rc<Definition>) -> Result<()> {
        let body = self.made_body(definition, &HashMap::new());
        let own = functions(definition).collect::<Vec<_>>();
        for function in &own {
            let mut scope = self.scope.clone();
            scope.bind("self", Value::Poison, function.block.name.span);
            // What a sibling computes depends on its arguments: it is looked at by itself.
            for sibling in &own {
                let name = &sibling.block.name;
                scope.bind(&name.name, Value::Poison, name.span);
            }
            self.in_scope(scope, |this| {
                let params = function.block.params.iter();
                let sound = params.fold(true, |sound, param| {
                    let bound = this.alone_param(function, param, &[]);
                    if bound.is_err() {
                        this.scope
                            .bind(&param.name.name, Value::Poison, param.name.span);
                    }
                    sound && bound.is_ok()
                });
                if sound {
                    let _ = this
                        .framed_alone(function, |this| this.block_body(function, &HashMap::new()));
                }
            });
        }
        body.map(|_| ())
    }
}

/// The functions of a block, as definitions of their own.
pub(crate) fn functions(definition: &Definition) -> impl Iterator<Item = Rc<Definition>> {
    let stmts = definition.block.body.iter().flat_map(|body| &body.stmts);
    stmts.filter_map(|stmt| match &stmt.kind {
        StmtKind::Function(block) => Some(Rc::new(Definition {
            block: (**block).clone(),
            file: definition.file,
            name: format!("{}.{}", definition.name, block.name.name),
        })),
        _ => None,
    })
}

/// The names that the functions of a block read.
fn read_by_functions(block: &Block) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    for stmt in block.body.iter().flat_map(|body| &body.stmts) {
        if let StmtKind::Function(function) = &stmt.kind {
            let body = function.body.iter();
            body.for_each(|body| {
                walk::body(body, &mut |expr| {
                    if let rlp_grammar::ast::ExprKind::Name(name) = &expr.kind {
                        read.insert(name.clone());
                    }
                });
            });
        }
    }
    read
}

fn done(scope: &Scope, name: &str) -> Option<Value> {
    let (slot, _) = scope.get(name)?;
    let binding = slot.borrow().clone();
    match binding {
        Binding::Done(value) => Some(value),
        Binding::Pending(_) | Binding::Busy => None,
    }
}

/// Whether a primitive reads what only a run has.
pub(crate) fn reads_the_run(op: &Op) -> bool {
    matches!(
        op,
        Op::Draw(_) | Op::Model { .. } | Op::Step | Op::Steps | Op::State(_) | Op::Grad
    )
}

fn whole(array: &Array) -> Option<u64> {
    match &array.elements {
        Elements::Int(values) => values.first().and_then(|&value| u64::try_from(value).ok()),
        Elements::Real(_) | Elements::Bool(_) | Elements::Text(_) => None,
    }
}
