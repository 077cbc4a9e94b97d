//! Trainable tensors that are no model: `param x: real[…] = …` of a pipeline, and `model.vector(…)`.

use std::sync::Arc;

use rlp_grammar::ast::{
    Arg, Expr, ExprKind, Ident, Pipeline, Span, Stmt, StmtKind, TypeExpr, TypeKind,
};

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::model::made::reads_the_run;
use crate::elaborate::pipeline::Base;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::{ModelRef, Op};
use crate::plan::TensorPlan;
use crate::ty::{DimId, Elem, Ty};

/// A trainable tensor as the pipeline declares it.
#[derive(Clone, Debug)]
pub(crate) struct Declared<'p> {
    pub(crate) name: &'p Ident,
    pub(crate) form: Form<'p>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Form<'p> {
    /// `param x: real[row: 2] = start`
    Typed { ty: &'p TypeExpr, start: &'p Expr },
    /// `let w = model.vector(objective: 2, start: 0.0)`
    Vector(&'p [Arg]),
}

/// A trainable tensor as each stage makes a node of it.
#[derive(Clone, Debug)]
pub(crate) struct Trainable {
    pub(crate) name: Ident,
    /// In the order written, with their sizes.
    pub(crate) dims: Vec<(Ident, u64)>,
    /// Index among the plan's tensors.
    pub(crate) index: usize,
}

impl Elaborator<'_> {
    /// What a statement of a pipeline declares, if it is a trainable tensor. A scalar `param` is one if something trains it.
    pub(crate) fn declared<'p>(&self, stmt: &'p Stmt, pipeline: &Pipeline) -> Option<Declared<'p>> {
        let (name, form) = match &stmt.kind {
            StmtKind::Param {
                name,
                ty: Some(ty),
                value: Some(start),
            } => {
                let TypeKind::Named { name: elem, dims } = &ty.kind else {
                    return None;
                };
                let is_tensor = !dims.is_empty() || is_trained(pipeline, &name.name);
                (elem.name == "real" && is_tensor).then_some((name, Form::Typed { ty, start }))?
            }
            StmtKind::Let {
                name,
                ty: None,
                value,
            } => {
                let ExprKind::Call { callee, args } = &value.kind else {
                    return None;
                };
                is_vector(callee).then_some((name, Form::Vector(args)))?
            }
            _ => return None,
        };
        Some(Declared {
            name,
            form,
            span: stmt.span,
        })
    }

    /// The tensor with its initial value: a graph that reads settings and random numbers, and nothing else.
    pub(crate) fn trainable(&mut self, declared: &Declared, base: &Base) -> Result<Trainable> {
        let file = self.file();
        let (start, level) = self.apart(Mode::Pipeline, |this| {
            this.in_scope(Scope::new(file), |this| {
                for (name, array) in &base.settings {
                    let tensor = this.literal(array.clone(), name.span)?;
                    this.scope.bind(&name.name, Value::Tensor(tensor), name.span);
                }
                let (x, dims) = match &declared.form {
                    Form::Typed { ty, start } => this.typed_start(ty, start)?,
                    Form::Vector(args) => this.vector_start(args, declared.span)?,
                };
                let mut sizes = Vec::new();
                for (name, dim) in dims {
                    let Some(size) = this.graph().dims.get(dim).size else {
                        let message = format!(
                            "how large `{}` is must be known before the run, and nothing says how many `{}` it has",
                            declared.name.name, name.name
                        );
                        let diagnostic = Diagnostic::error("not-known-before-run", name.span, message)
                            .help(format!("{}: 4", name.name));
                        return Err(this.report(diagnostic));
                    };
                    sizes.push((name, size));
                }
                Ok((x, sizes))
            })
        });
        let (x, dims) = start?;
        let graph = Arc::new(level.finish());
        if graph.ids().any(|id| reads_the_run(graph.op(id))) {
            let message = format!(
                "`{}` starts before the run: its initial value reads no draw, no model and no step",
                declared.name.name
            );
            return self.error("not-known-before-run", declared.span, message);
        }
        self.tensors.push(TensorPlan {
            name: declared.name.name.clone(),
            owner: None,
            graph,
            start: x.node,
            first: self.tensors.len(),
            seed: None,
            span: declared.span,
        });
        Ok(Trainable {
            name: declared.name.clone(),
            dims,
            index: self.tensors.len() - 1,
        })
    }

    pub(crate) fn typed_start(
        &mut self,
        ty: &TypeExpr,
        start: &Expr,
    ) -> Result<(Tensor, Vec<(Ident, DimId)>)> {
        let (_, dims) = self.tensor_type(ty)?;
        let value = self.let_value(Some(ty), start)?;
        let x = self.tensor(value, start.span)?;
        let mut sorted = dims.clone();
        sorted.sort_unstable();
        let x = self.broadcast(x, &sorted, start.span)?;
        let named = dims.into_iter().map(|dim| {
            let own = self.graph().dims.get(dim);
            let name = own.name.clone();
            (
                Ident {
                    name,
                    span: ty.span,
                },
                dim,
            )
        });
        Ok((x, named.collect()))
    }

    fn vector_start(&mut self, args: &[Arg], span: Span) -> Result<(Tensor, Vec<(Ident, DimId)>)> {
        let mut dims = Vec::new();
        let mut start = None;
        for arg in args {
            match &arg.name {
                Some(name) if name.name == "start" => start = Some(&arg.value),
                Some(name) => {
                    let size = self.expr_tensor(&arg.value)?;
                    let size = self.static_size(size, arg.value.span)?;
                    let dim = self.annotated_dim(name, Some(size), &[]);
                    if dims.iter().any(|(_, other)| *other == dim) {
                        let message = format!("`{}` is given twice", name.name);
                        return self.error("repeated-argument", name.span, message);
                    }
                    dims.push((name.clone(), dim));
                }
                None => {
                    let message =
                        "a vector is given its dimension by name: `model.vector(objective: 2)`";
                    return self.error("unknown-argument", arg.value.span, message);
                }
            }
        }
        if dims.is_empty() {
            let message = "a vector needs a dimension and its size: `model.vector(objective: 2)`";
            return self.error("missing-argument", span, message);
        }
        let ids: Vec<DimId> = dims.iter().map(|(_, dim)| *dim).collect();
        let x = match start {
            None => self.literal(Array::real(0.0), span)?,
            Some(start) => match self.expr(start)? {
                Value::List(list) => self.typed_list(&list, Elem::Real, &ids)?,
                Value::Noise(noise) => self.noise(noise, ids.clone())?,
                other => {
                    let x = self.tensor(other, start.span)?;
                    self.real(x, start.span)?
                }
            },
        };
        let ty = Ty::new(Elem::Real, ids);
        let x = self.broadcast(x, &ty.dims, span)?;
        Ok((x, dims))
    }

    /// Binds the trainable tensors of a pipeline to nodes of the graph that is being built.
    pub(crate) fn bind_trainables(&mut self, trainables: &[Trainable]) {
        for Trainable { name, dims, index } in trainables {
            let ids: Vec<DimId> = dims
                .iter()
                .map(|(dim, size)| self.annotated_dim(dim, Some(*size), &[]))
                .collect();
            let model = ModelRef {
                model: *index,
                frozen: None,
            };
            let ty = Ty::new(Elem::Real, ids);
            let node = self.push(Op::Trainable(model), &[], ty, name.span);
            let value = node.map_or(Value::Poison, Value::Tensor);
            self.bind_let(name, value);
        }
    }

    /// The trainable tensor that an expression names.
    pub(crate) fn trainable_of(&self, tensor: Tensor) -> Option<ModelRef> {
        match self.levels[tensor.level].graph.op(tensor.node) {
            Op::Trainable(model) => Some(model.clone()),
            _ => None,
        }
    }

    /// `frozen(x)`: a copy of a trainable tensor.
    pub(crate) fn frozen_tensor(&mut self, x: Tensor, every: u64, span: Span) -> Result<Value> {
        let Some(model) = self.trainable_of(x).filter(|model| model.frozen.is_none()) else {
            let message = "`frozen` copies what is trained, a model or a trainable tensor";
            return self.error("type-mismatch", span, message);
        };
        let ty = self.ty(x).clone();
        let copy = ModelRef {
            frozen: Some(every),
            ..model
        };
        self.push(Op::Trainable(copy), &[], ty, span)
            .map(Value::Tensor)
    }
}

/// `model.vector`
pub(crate) fn is_vector(callee: &Expr) -> bool {
    matches!(&callee.kind, ExprKind::Field { base, field }
        if field.name == "vector" && matches!(&base.kind, ExprKind::Name(module) if module == "model"))
}

/// Whether a stage trains a name.
fn is_trained(pipeline: &Pipeline, name: &str) -> bool {
    let stages = pipeline.stmts.iter().filter_map(|stmt| match &stmt.kind {
        StmtKind::Stage { stmts, .. } => Some(stmts),
        _ => None,
    });
    stages.flatten().any(|stmt| match &stmt.kind {
        StmtKind::Train { targets, .. } => targets
            .iter()
            .any(|target| matches!(&target.kind, ExprKind::Name(own) if own == name)),
        _ => false,
    })
}
