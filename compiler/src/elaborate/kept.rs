//! Values that outlive the graph they were made in: tensors of the plan, and what is known before the run.

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::{Ident, Span};

use crate::array::{Array, Elements};
use crate::diagnostic::Diagnostic;
use crate::elaborate::library::Definition;
use crate::elaborate::model::seen::Seen;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Record, Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::graph::{ModelRef, Op};
use crate::ty::{Dim, DimId, Elem, Ty};

/// A value that outlives the graph it was made in.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Constant(Array, Vec<PlanDim>),
    /// A tensor of the plan.
    Tensor(usize, PlanTy),
    /// One that is seen through a transform.
    Seen(Rc<Seen>),
    Record(Vec<(String, Kept)>),
    /// What belongs to no graph: another model, another data source.
    Other(Value),
}

/// The type of a tensor of the plan, whatever graph reads it.
#[derive(Clone, Debug)]
pub(crate) struct PlanTy {
    pub(crate) elem: Elem,
    pub(crate) dims: Vec<PlanDim>,
}

/// A dimension of a tensor of the plan. Two of one owner, name and size are one dimension: two models of one form have
/// the same classes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct PlanDim {
    /// `model.mlp`, or which data source.
    owner: String,
    /// The block, in words.
    origin: String,
    name: String,
    size: u64,
    ragged: Option<Vec<PlanDim>>,
    span: Span,
}

impl Elaborator<'_> {
    /// An argument, which no graph may be needed for.
    pub(crate) fn kept_argument(
        &mut self,
        definition: &Definition,
        name: &Ident,
        value: Value,
        place: Span,
    ) -> Result<Kept> {
        match value {
            Value::Tensor(tensor) => {
                let scalar = self.static_value(tensor);
                let literal = match self.levels[tensor.level].graph.op(tensor.node) {
                    Op::Literal(array) => Some(array.clone()),
                    _ => None,
                };
                let Some(array) = scalar.or(literal) else {
                    let message = format!(
                        "`{}` of `{}` must be known before the run",
                        name.name, definition.name
                    );
                    return self.error("not-known-before-run", place, message);
                };
                let dims = self.ty(tensor).dims.clone();
                let dims = dims
                    .into_iter()
                    .map(|dim| self.plan_dim_of(&definition.name, dim, place))
                    .collect::<Result<_>>()?;
                Ok(Kept::Constant(array, dims))
            }
            Value::Model(_) | Value::Network(_) | Value::Data(_) | Value::Source(_) => {
                Ok(Kept::Other(value))
            }
            Value::Poison => Err(Reported),
            Value::Record(_)
            | Value::Method(_)
            | Value::Rule(_)
            | Value::Transform(_)
            | Value::List(_)
            | Value::Noise(_)
            | Value::Lambda(_) => {
                let message = format!(
                    "`{}` of `{}` cannot be {}",
                    name.name,
                    definition.name,
                    value.describe()
                );
                self.error("type-mismatch", place, message)
            }
        }
    }

    /// A value of a body, its tensors made tensors of the plan, which are numbered on from `first`.
    pub(crate) fn keep(
        &mut self,
        owner: &str,
        name: &str,
        value: Value,
        (first, tensors): (usize, &mut Vec<(String, Tensor)>),
        span: Span,
    ) -> Result<Kept> {
        match value {
            Value::Tensor(tensor) => {
                if let Some(array) = self.static_value(tensor) {
                    return Ok(Kept::Constant(array, Vec::new()));
                }
                let ty = self.ty(tensor).clone();
                if ty.elem == Elem::Text {
                    let message = format!("`{name}` is text, and a field is of numbers");
                    return self.error("type-mismatch", span, message);
                }
                let dims = ty
                    .dims
                    .iter()
                    .map(|&dim| self.plan_dim_of(owner, dim, span));
                let dims = dims.collect::<Result<_>>()?;
                tensors.push((name.to_string(), tensor));
                let elem = ty.elem;
                Ok(Kept::Tensor(
                    first + tensors.len() - 1,
                    PlanTy { elem, dims },
                ))
            }
            Value::Record(record) => {
                let mut fields = Vec::new();
                for (field, value) in &record.fields {
                    let full = if name.is_empty() {
                        field.clone()
                    } else {
                        format!("{name}.{field}")
                    };
                    let kept = self.keep(owner, &full, value.clone(), (first, tensors), span)?;
                    fields.push((field.clone(), kept));
                }
                Ok(Kept::Record(fields))
            }
            Value::Model(_) | Value::Network(_) | Value::Data(_) | Value::Source(_) => {
                Ok(Kept::Other(value))
            }
            Value::Poison => Err(Reported),
            Value::Method(_)
            | Value::Rule(_)
            | Value::Transform(_)
            | Value::List(_)
            | Value::Noise(_)
            | Value::Lambda(_) => {
                let message = format!("`{name}` is {}, and a tensor is needed", value.describe());
                self.error("type-mismatch", span, message)
            }
        }
    }

    /// A dimension of the graph being built, as every graph knows it.
    pub(crate) fn plan_dim_of(&mut self, owner: &str, dim: DimId, span: Span) -> Result<PlanDim> {
        if let Some(known) = self.levels[0].plan_dims.get(&dim) {
            return Ok(known.clone());
        }
        let own = self.graph().dims.get(dim).clone();
        let Some(size) = own.size else {
            let message = format!(
                "how large `{}` is must be known before the run, and nothing says how many there are",
                own.name
            );
            let diagnostic = Diagnostic::error("not-known-before-run", own.span, message)
                .help(format!("{}: 4", own.name))
                .label(span, "made here");
            return Err(self.report(diagnostic));
        };
        let ragged = match own.ragged {
            Some(parents) => Some(
                parents
                    .into_iter()
                    .map(|parent| self.plan_dim_of(owner, parent, span))
                    .collect::<Result<_>>()?,
            ),
            None => None,
        };
        let origin = match owner.split_once(' ') {
            Some((block, _)) => format!("`{block}` on line {}", self.library.map.place(span).0),
            None => format!("`{owner}`"),
        };
        let made = PlanDim {
            owner: owner.to_string(),
            origin,
            name: own.name,
            size,
            ragged,
            span: own.span,
        };
        self.levels[0].plan_dims.insert(dim, made.clone());
        Ok(made)
    }

    /// The dimension of the graph being built that stands for one of the plan.
    pub(crate) fn plan_dim(&mut self, dim: &PlanDim) -> DimId {
        let known = self.levels[0].plan_dims.iter();
        let same =
            |own: &PlanDim| (&own.owner, &own.name, own.size) == (&dim.owner, &dim.name, dim.size);
        if let Some(id) = known.filter(|(_, own)| same(own)).map(|(&id, _)| id).min() {
            return id;
        }
        let parents = dim.ragged.as_ref().map(|parents| {
            let parents = parents.iter();
            parents.map(|parent| self.plan_dim(parent)).collect()
        });
        let id = self.new_dim(Dim {
            name: dim.name.clone(),
            origin: dim.origin.clone(),
            span: dim.span,
            ragged: parents,
            size: Some(dim.size),
        });
        self.levels[0].plan_dims.insert(id, dim.clone());
        id
    }

    /// A tensor of the plan, read in the graph being built: a node of its own, once.
    fn plan_tensor(&mut self, tensor: ModelRef, ty: &PlanTy, span: Span) -> Result<Tensor> {
        if let Some(&known) = self.levels[0].plan_tensors.get(&tensor) {
            return Ok(known);
        }
        let dims: Vec<DimId> = ty.dims.iter().map(|dim| self.plan_dim(dim)).collect();
        let level = std::mem::replace(&mut self.level, 0);
        let frames = std::mem::take(&mut self.frames);
        let node = self.tensor_over(tensor.clone(), ty.elem, &dims, span);
        self.frames = frames;
        self.level = level;
        self.levels[0].plan_tensors.insert(tensor, node?);
        node
    }

    /// A tensor of the plan over dimensions that stand in the order of its axes.
    pub(crate) fn tensor_over(
        &mut self,
        tensor: ModelRef,
        elem: Elem,
        dims: &[DimId],
        span: Span,
    ) -> Result<Tensor> {
        if dims.is_sorted() {
            let ty = Ty::new(elem, dims.to_vec());
            return self.push(Op::Trainable(tensor), &[], ty, span);
        }
        // Here the dimensions came into being in another order.
        let own: Vec<DimId> = dims
            .iter()
            .map(|&dim| {
                let dim = self.graph().dims.get(dim).clone();
                self.new_dim(dim)
            })
            .collect();
        let node = self.push(Op::Trainable(tensor), &[], Ty::new(elem, own.clone()), span)?;
        let pairs = own.into_iter().zip(dims.iter().copied()).collect();
        let ty = Ty::new(elem, dims.to_vec());
        self.push(Op::Rename(pairs), &[node], ty, span)
    }

    /// A kept value in the graph being built; of what is trained, the copy that `frozen` names.
    pub(crate) fn read_kept(
        &mut self,
        kept: &Kept,
        frozen: Option<u64>,
        span: Span,
    ) -> Result<Value> {
        match kept {
            Kept::Constant(array, dims) => {
                let dims = dims.iter().map(|dim| self.plan_dim(dim)).collect();
                let ty = Ty::new(elem(array), dims);
                let literal = Op::Literal(array.clone());
                self.push(literal, &[], ty, span).map(Value::Tensor)
            }
            Kept::Tensor(model, ty) => {
                let tensor = ModelRef {
                    model: *model,
                    frozen,
                };
                self.plan_tensor(tensor, ty, span).map(Value::Tensor)
            }
            Kept::Seen(seen) => self.read_seen(seen, frozen),
            Kept::Record(fields) => {
                let mut values = Vec::new();
                for (name, kept) in fields {
                    values.push((name.clone(), self.read_kept(kept, frozen, span)?));
                }
                Ok(Value::Record(Rc::new(Record { fields: values })))
            }
            Kept::Other(value) => Ok(value.clone()),
        }
    }

    /// Binds what a body has bound; of `params`, the copies that `frozen` names. Where `dims` names another dimension for one of a tensor's, it has that one.
    pub(crate) fn bind_kept(
        &mut self,
        bound: &[(Ident, Kept)],
        params: &[usize],
        frozen: Option<u64>,
        dims: &HashMap<String, DimId>,
        scope: &mut Scope,
        span: Span,
    ) -> Result<()> {
        for (name, kept) in bound {
            // What a transform trains is read by the weight that is seen through it.
            if name.name.contains('.') {
                continue;
            }
            let is_param = match kept {
                Kept::Tensor(own, _) => params.contains(own),
                Kept::Seen(_) => true,
                Kept::Constant(..) | Kept::Record(_) | Kept::Other(_) => false,
            };
            let value = self.read_kept(kept, frozen.filter(|_| is_param), span)?;
            let value = self.over(value, dims, span)?;
            self.bring_dims(&value, scope);
            scope.bind(&name.name, value, name.span);
        }
        Ok(())
    }

    /// The dimensions of a value, of a data source those of its fields, are in reach by their names.
    fn bring_dims(&mut self, value: &Value, scope: &mut Scope) {
        match value {
            Value::Tensor(tensor) => {
                for dim in self.ty(*tensor).dims.clone() {
                    let name = self.dim_name(dim).to_string();
                    scope.dims.entry(name).or_insert(dim);
                }
            }
            Value::Record(record) => {
                for (_, value) in &record.fields {
                    self.bring_dims(value, scope);
                }
            }
            Value::Source(made) => {
                let made = self.made[made.made].clone();
                if let Some(Kept::Record(fields)) = &made.fields {
                    for (_, kept) in fields {
                        // In a test the fields stand in the graph itself.
                        if let Kept::Other(value) = kept {
                            self.bring_dims(value, scope);
                        }
                    }
                }
                for dim in made.fields.iter().flat_map(dims) {
                    let id = self.plan_dim(dim);
                    scope.dims.entry(dim.name.clone()).or_insert(id);
                }
            }
            Value::Model(_)
            | Value::Network(_)
            | Value::Data(_)
            | Value::Method(_)
            | Value::Rule(_)
            | Value::Transform(_)
            | Value::List(_)
            | Value::Noise(_)
            | Value::Lambda(_)
            | Value::Poison => {}
        }
    }

    /// A tensor with the dimensions that an argument has under the same names.
    fn over(&mut self, value: Value, dims: &HashMap<String, DimId>, span: Span) -> Result<Value> {
        let Value::Tensor(x) = value else {
            return Ok(value);
        };
        let ty = self.ty(x).clone();
        let mut pairs = Vec::new();
        for &dim in &ty.dims {
            let Some(&new) = dims.get(self.dim_name(dim)) else {
                continue;
            };
            if new == dim {
                continue;
            }
            let (own, other) = (self.graph().dims.get(dim), self.graph().dims.get(new));
            if let (Some(size), Some(found)) = (own.size, other.size)
                && size != found
            {
                let message = format!(
                    "{} is made for {size} along `{}`, and this has {found}",
                    own.origin, own.name
                );
                let place = other.span;
                let diagnostic = Diagnostic::error("dimension-mismatch", span, message)
                    .label(place, "it comes from here");
                return Err(self.report(diagnostic));
            }
            pairs.push((dim, new));
        }
        if pairs.is_empty() {
            return Ok(Value::Tensor(x));
        }
        let renamed = |dim: &DimId| {
            let pair = pairs.iter().find(|(old, _)| old == dim);
            pair.map_or(*dim, |&(_, new)| new)
        };
        let ty = Ty::new(ty.elem, ty.dims.iter().map(renamed).collect());
        self.push(Op::Rename(pairs), &[x], ty, span)
            .map(Value::Tensor)
    }
}

fn elem(array: &Array) -> Elem {
    match array.elements {
        Elements::Real(_) => Elem::Real,
        Elements::Int(_) => Elem::Int,
        Elements::Bool(_) => Elem::Bool,
        Elements::Text(_) => Elem::Text,
    }
}

/// The dimensions of all tensors of a value, in order.
fn dims(kept: &Kept) -> Vec<&PlanDim> {
    match kept {
        Kept::Constant(_, dims) | Kept::Tensor(_, PlanTy { dims, .. }) => dims.iter().collect(),
        Kept::Record(fields) => fields.iter().flat_map(|(_, kept)| dims(kept)).collect(),
        Kept::Seen(_) | Kept::Other(_) => Vec::new(),
    }
}
