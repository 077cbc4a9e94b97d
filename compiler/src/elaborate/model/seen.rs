//! Models that are blocks of `.rlp`, seen through transforms: their functions read what the weights become.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rlp_grammar::ast::{DimExpr, Ident, Span, StmtKind, TypeKind};

use crate::diagnostic::Diagnostic;
use crate::elaborate::kept::{Kept, PlanDim, PlanTy};
use crate::elaborate::model::made::{Made, MadeRef};
use crate::elaborate::model::selection::Selection;
use crate::elaborate::model::transform::{Transform, conditions_on};
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::Op;
use crate::plan::{Except, Owner, ParameterGroup, TensorPlan, matches_name};
use crate::ty::{Dim, DimId, Elem, Ty};

/// A weight seen through a transform.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    weight: Kept,
    transform: Rc<Transform>,
    /// The names of its dimensions, outputs first, and those axes as the transform names them.
    names: Vec<String>,
    axes: Vec<PlanDim>,
    /// What is trained for it, by name, and what stays as it was at first.
    params: Vec<(String, Kept)>,
    states: Vec<(String, Kept)>,
    span: Span,
}

/// The tensors that a transform begins with, by the names of its `param`s and states.
struct Begun {
    axes: Vec<PlanDim>,
    params: Vec<(String, Tensor, PlanTy)>,
    states: Vec<(String, Tensor, PlanTy)>,
}

/// The tensor of the plan behind what is seen, through all transforms.
pub(crate) fn behind(kept: &Kept) -> &Kept {
    match kept {
        Kept::Seen(seen) => behind(&seen.weight),
        Kept::Constant(..) | Kept::Tensor(..) | Kept::Record(_) | Kept::Other(_) => kept,
    }
}

impl Elaborator<'_> {
    /// The model as its functions see it; its tensors are made with those of other models.
    pub(crate) fn see_network(
        &mut self,
        of: MadeRef,
        transform: &Rc<Transform>,
        selection: &Selection,
        span: Span,
    ) -> Result<Value> {
        let made = self.made[of.made].clone();
        let selected = self.selected(&made, selection, span)?;
        let first = self.tensors.len();
        let number = self.made.len();
        let owner = format!("{} {number}", made.definition.name);
        let mut bound = made.bound.clone();
        let mut hidden: Vec<(Ident, Kept)> = Vec::new();
        let mut params = Vec::new();
        for place in selected {
            let (name, weight) = bound[place].clone();
            let names = declared_dims(&made, &name.name);
            let (begun, level) = self.apart(Mode::Pure, |this| {
                this.in_scope(Scope::new(transform.definition.file), |this| {
                    this.framed_alone(&transform.definition, |this| {
                        this.begin(transform, (&weight, &names), &owner, span)
                    })
                })
            });
            let begun = begun?;
            let graph = Arc::new(level.finish());
            let start = self.tensors.len();
            let mut add = |(own, node, ty): (String, Tensor, PlanTy)| {
                self.tensors.push(TensorPlan {
                    name: format!("{}.{own}", name.name),
                    owner: Some(Owner {
                        name: made.definition.block.name.name.clone(),
                        is_model: true,
                    }),
                    graph: graph.clone(),
                    start: node.node,
                    first: start,
                    seed: None,
                    span,
                });
                (own, Kept::Tensor(self.tensors.len() - 1, ty))
            };
            let trained: Vec<(String, Kept)> = begun.params.into_iter().map(&mut add).collect();
            let states = begun.states.into_iter().map(&mut add).collect();
            params.extend(start..start + trained.len());
            hidden.extend(trained.iter().map(|(own, kept)| {
                let name = format!("{}.{own}", name.name);
                (Ident { name, span }, kept.clone())
            }));
            bound[place].1 = Kept::Seen(Rc::new(Seen {
                weight,
                transform: transform.clone(),
                names,
                axes: begun.axes,
                params: trained,
                states,
                span,
            }));
        }
        // A transform without `param`s has nothing of its own to train.
        let (params, trained) = match params.is_empty() {
            true => (made.params.clone(), made.trained.clone()),
            false => {
                bound.retain(|(name, _)| !name.name.contains('.'));
                let names = hidden.iter().map(|(name, _)| name.name.clone());
                (params, names.collect())
            }
        };
        bound.extend(hidden);
        self.made.push(Rc::new(Made {
            bound,
            tensors: (first, self.tensors.len()),
            params,
            trained,
            ..Made::clone(&made)
        }));
        Ok(Value::Network(MadeRef {
            made: number,
            frozen: None,
        }))
    }

    /// The weights that are selected, by their places among what the model has bound.
    fn selected(&mut self, made: &Made, selection: &Selection, span: Span) -> Result<Vec<usize>> {
        let is_matrix = |kept: &Kept| match kept {
            Kept::Tensor(tensor, ty) => made.params.contains(tensor) && ty.dims.len() == 2,
            Kept::Seen(seen) => seen.axes.len() == 2,
            Kept::Constant(..) | Kept::Record(_) | Kept::Other(_) => false,
        };
        let named = |pattern: &str, place: usize| matches_name(pattern, &made.bound[place].0.name);
        let matrices = (0..made.bound.len()).filter(|&place| {
            let (name, kept) = &made.bound[place];
            is_matrix(kept) && !name.name.contains('.')
        });
        let mut places: Vec<usize> = matrices
            .filter(|&place| match &selection.on {
                ParameterGroup::Named(pattern) => named(pattern, place),
                ParameterGroup::All | ParameterGroup::Matrices | ParameterGroup::Others => true,
            })
            .collect();
        match &selection.except {
            Some(Except::Last) => drop(places.pop()),
            Some(Except::Named(pattern)) => places.retain(|&place| !named(pattern, place)),
            None => {}
        }
        if places.is_empty() {
            let message = format!("`on` selects no matrix of `{}`", made.definition.name);
            let diagnostic = Diagnostic::error("no-trained-parameter", span, message)
                .label(made.definition.block.head, "its parameters are in its body");
            return Err(self.report(diagnostic));
        }
        Ok(places)
    }

    /// What a transform begins with for a weight, in a graph of its own.
    fn begin(
        &mut self,
        transform: &Transform,
        (weight, declared): (&Kept, &[String]),
        owner: &str,
        span: Span,
    ) -> Result<Begun> {
        let definition = transform.definition.clone();
        let weight = self.read_kept(weight, None, span)?;
        let weight = self.tensor(weight, span)?;
        let own = self.dims_named(weight, declared);
        let mut axes: Vec<DimId> = Vec::new();
        for (name, &dim) in ["row", "col"].iter().zip(&own) {
            let size = self.graph().dims.get(dim).size;
            axes.push(self.new_dim(Dim {
                name: name.to_string(),
                origin: format!("`{}`", definition.name),
                span,
                ragged: None,
                size,
            }));
        }
        let seen = self.renamed(weight, &own, &axes, span)?;
        self.bind_transform(transform, seen, &axes, span)?;
        // What does not fit the weight is said where the transform is applied.
        let mut known = vec!["row", "col"];
        known.extend(transform.args.iter().map(|(name, _)| name.as_str()));
        let places = known.iter().map(|name| (name.to_string(), span)).collect();
        for condition in conditions_on(&definition, &known) {
            self.precondition(&definition, condition, &places)?;
        }
        let mut params = Vec::new();
        for param in definition
            .block
            .params
            .iter()
            .filter(|param| param.trainable)
        {
            let input = self.alone_param(&definition, param, &[])?;
            let Some((input, initial)) =
                input.and_then(|input| Some((input.clone(), input.initial?)))
            else {
                continue;
            };
            let initial = Tensor {
                level: 0,
                node: initial,
            };
            self.scope
                .bind(&param.name.name, Value::Tensor(initial), param.name.span);
            let ty = self.plan_ty(owner, &input.axes, initial, span)?;
            params.push((param.name.name.clone(), initial, ty));
        }
        self.block_body(&definition, &HashMap::new())?;
        let mut states = Vec::new();
        for (state, _) in std::mem::take(&mut self.alone_states) {
            let dims = self.ty(state.initial).dims.clone();
            let ty = self.plan_ty(owner, &dims, state.initial, span)?;
            states.push((state.name, state.initial, ty));
        }
        let axes = axes
            .iter()
            .map(|&dim| self.plan_dim_of(owner, dim, span))
            .collect::<Result<_>>()?;
        Ok(Begun {
            axes,
            params,
            states,
        })
    }

    fn plan_ty(
        &mut self,
        owner: &str,
        axes: &[DimId],
        value: Tensor,
        span: Span,
    ) -> Result<PlanTy> {
        // A tensor is held with its axes in the order of its graph.
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        debug_assert_eq!(self.ty(value).dims, axes);
        let dims = axes.iter().map(|&dim| self.plan_dim_of(owner, dim, span));
        Ok(PlanTy {
            elem: Elem::Real,
            dims: dims.collect::<Result<_>>()?,
        })
    }

    /// Binds the weight and the arguments of a transform, as its signature names them.
    fn bind_transform(
        &mut self,
        transform: &Transform,
        weight: Tensor,
        axes: &[DimId],
        span: Span,
    ) -> Result<()> {
        for (name, &axis) in ["row", "col"].iter().zip(axes) {
            self.scope.dims.insert(name.to_string(), axis);
        }
        self.scope.bind("weight", Value::Tensor(weight), span);
        for (name, array) in &transform.args {
            let value = self.literal(array.clone(), span)?;
            self.scope.bind(name, Value::Tensor(value), span);
        }
        Ok(())
    }

    /// What a weight of a model was at first, inside its transform.
    pub(crate) fn kept_state(&self, name: &Ident) -> Option<Tensor> {
        let (slot, _) = self.scope.get(&format!("state.{}", name.name))?;
        let binding = slot.borrow().clone();
        match binding {
            Binding::Done(Value::Tensor(tensor)) => Some(tensor),
            Binding::Done(_) | Binding::Pending(_) | Binding::Busy => None,
        }
    }

    /// The dimensions of a tensor with these names, in their order.
    fn dims_named(&self, x: Tensor, names: &[String]) -> Vec<DimId> {
        let dims = &self.ty(x).dims;
        let named = |name: &String| dims.iter().copied().find(|&dim| self.dim_name(dim) == name);
        names.iter().filter_map(named).collect()
    }

    /// A tensor over other dimensions, one for each of `from`.
    fn renamed(&mut self, x: Tensor, from: &[DimId], to: &[DimId], span: Span) -> Result<Tensor> {
        let pairs = from.iter().copied().zip(to.iter().copied()).collect();
        let ty = Ty::new(Elem::Real, to.to_vec());
        self.push(Op::Rename(pairs), &[x], ty, span)
    }

    /// What a weight becomes, in the graph being built.
    pub(crate) fn read_seen(&mut self, seen: &Seen, frozen: Option<u64>) -> Result<Value> {
        let Seen {
            weight,
            transform,
            names,
            axes,
            params,
            states,
            span,
        } = seen;
        let definition = transform.definition.clone();
        let weight = self.read_kept(weight, frozen, *span)?;
        let weight = self.tensor(weight, *span)?;
        let own = self.dims_named(weight, names);
        let axes: Vec<DimId> = axes.iter().map(|axis| self.plan_dim(axis)).collect();
        let renamed = self.renamed(weight, &own, &axes, *span)?;
        let mut values: Vec<(String, Value)> = Vec::new();
        for (name, kept) in params {
            values.push((name.clone(), self.read_kept(kept, frozen, *span)?));
        }
        for (name, kept) in states {
            values.push((format!("state.{name}"), self.read_kept(kept, None, *span)?));
        }
        let result = self.framed(&definition, *span, |this| {
            this.in_scope(Scope::new(definition.file), |this| {
                this.bind_transform(transform, renamed, &axes, *span)?;
                for (name, value) in values {
                    if let Value::Tensor(tensor) = &value {
                        for &dim in &this.ty(*tensor).dims.clone() {
                            let name = this.dim_name(dim).to_string();
                            this.scope.dims.insert(name, dim);
                        }
                    }
                    this.scope.bind(&name, value, *span);
                }
                this.block_body(&definition, &HashMap::new())
            })
        })?;
        let result = self.tensor(result, *span)?;
        // Over the dimensions that the model knows the weight by.
        self.renamed(result, &axes, &own, *span).map(Value::Tensor)
    }
}

/// The dimensions of a parameter as the body of its model declares them.
fn declared_dims(made: &Made, param: &str) -> Vec<String> {
    let stmts = made
        .definition
        .block
        .body
        .iter()
        .flat_map(|body| &body.stmts);
    let types = stmts.filter_map(|stmt| match &stmt.kind {
        StmtKind::Param { name, ty, .. } if name.name == param => ty.as_ref(),
        _ => None,
    });
    let dims = types.filter_map(|ty| match &ty.kind {
        TypeKind::Named { dims, .. } => Some(dims),
        TypeKind::Record(_) | TypeKind::Like { .. } => None,
    });
    let names = dims.flatten().filter_map(|dim| match dim {
        DimExpr::Dim { name, .. } => Some(name.name.clone()),
        DimExpr::Rest(_) => None,
    });
    names.collect()
}
