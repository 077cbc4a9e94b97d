//! Adding nodes: axes, broadcasts and masks are made explicit here, in one place.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use rlp_grammar::ast::Span;

use crate::array::{Array, Elements};
use crate::elaborate::block::assertion::Asserted;
use crate::elaborate::kept::PlanDim;
use crate::elaborate::lint::role::Fixed;
use crate::elaborate::value::Tensor;
use crate::elaborate::{Elaborator, MAX_NODES, Result};
use crate::eval;
use crate::graph::{Binary, Graph, ModelRef, NodeId, Op, Unary};
use crate::ty::{Dim, DimId, Elem, Ty};

/// A graph being built, and what is known about it.
#[derive(Debug, Default)]
pub(crate) struct Level {
    pub(crate) graph: Graph,
    /// For each ragged dimension, the node (of level 0) that says which of its positions are real.
    pub(crate) masks: HashMap<DimId, Tensor>,
    /// The draw or other node that a dimension comes from.
    pub(crate) origins: HashMap<DimId, Tensor>,
    pub(crate) memo: HashMap<Vec<DimId>, Tensor>,
    /// Tensors of outer levels that the body reads: (outer, its input here).
    pub(crate) captured: Vec<(Tensor, Tensor)>,
    /// Dimensions made by renaming: the same rename twice gives the same dimension.
    pub(crate) renamed: HashMap<(DimId, String), DimId>,
    /// Dimensions and nodes of this graph that stand for those of the plan.
    pub(crate) plan_dims: BTreeMap<DimId, PlanDim>,
    pub(crate) plan_tensors: HashMap<ModelRef, Tensor>,
    /// How many calls of random numbers there are.
    pub(crate) n_random: u64,
    /// Values of nodes that are known now.
    known: RefCell<BTreeMap<NodeId, Option<Array>>>,
    /// Conditions to be checked while running.
    pub(crate) asserted: Vec<Asserted>,
    /// What users call nodes.
    pub(crate) names: Vec<(String, NodeId, Span)>,
    /// Arguments of losses that should not move with what is trained.
    pub(crate) fixed: Vec<Fixed>,
}

impl Elaborator<'_> {
    pub(crate) fn graph(&self) -> &Graph {
        &self.levels[self.level].graph
    }

    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        &mut self.levels[self.level].graph
    }

    pub(crate) fn ty(&self, tensor: Tensor) -> &Ty {
        self.levels[tensor.level].graph.ty(tensor.node)
    }

    pub(crate) fn show(&self, ty: &Ty) -> String {
        self.graph().dims.show(ty)
    }

    pub(crate) fn show_type(&self, tensor: Tensor) -> String {
        self.show(self.ty(tensor))
    }

    pub(crate) fn dim_name(&self, dim: DimId) -> &str {
        self.graph().dims.name(dim)
    }

    /// A new dimension. Scan bodies share the dimensions of the graph around them, so it is added to all of them.
    pub(crate) fn new_dim(&mut self, dim: Dim) -> DimId {
        let mut id = DimId(0);
        for level in &mut self.levels {
            id = level.graph.dims.add(dim.clone());
        }
        id
    }

    /// Adds a node at the current level.
    pub(crate) fn push(
        &mut self,
        op: Op,
        operands: &[Tensor],
        ty: Ty,
        span: Span,
    ) -> Result<Tensor> {
        if self.graph().len() >= MAX_NODES {
            return self.error(
                "too-large",
                span,
                format!("the program has more than {MAX_NODES} operations"),
            );
        }
        let operands: Vec<Tensor> = operands.iter().map(|&operand| self.here(operand)).collect();
        let nodes: Vec<_> = operands.iter().map(|operand| operand.node).collect();
        let call = self.frames.last().and_then(|frame| frame.call);
        let level = self.level;
        let node = self.graph_mut().add(op, &nodes, ty, span, call);
        Ok(Tensor { level, node })
    }

    /// The tensor as the current level sees it: a tensor of an outer level becomes a captured input.
    pub(crate) fn here(&mut self, tensor: Tensor) -> Tensor {
        if tensor.level == self.level {
            return tensor;
        }
        if let Some(&(_, input)) = self.levels[self.level]
            .captured
            .iter()
            .find(|(outer, _)| *outer == tensor)
        {
            return input;
        }
        let ty = self.ty(tensor).clone();
        let span = self.levels[tensor.level].graph.node(tensor.node).span;
        let level = self.level;
        let name = format!("k{}", self.levels[level].captured.len());
        let node = self.graph_mut().add(Op::Input(name), &[], ty, span, None);
        let input = Tensor { level, node };
        self.levels[level].captured.push((tensor, input));
        input
    }

    pub(crate) fn literal(&mut self, array: Array, span: Span) -> Result<Tensor> {
        let elem = match array.elements {
            Elements::Real(_) => Elem::Real,
            Elements::Int(_) => Elem::Int,
            Elements::Bool(_) => Elem::Bool,
            Elements::Text(_) => Elem::Text,
        };
        self.push(Op::Literal(array), &[], Ty::scalar(elem), span)
    }

    pub(crate) fn number(&mut self, value: f64, span: Span) -> Result<Tensor> {
        self.literal(Array::real(value), span)
    }

    /// The value of a scalar that is known now.
    pub(crate) fn static_value(&self, tensor: Tensor) -> Option<Array> {
        if !self.ty(tensor).dims.is_empty() {
            return None;
        }
        self.static_array(tensor)
    }

    /// The elements of a tensor of any dimensions, if they are known before the run.
    pub(crate) fn static_array(&self, tensor: Tensor) -> Option<Array> {
        let level = &self.levels[tensor.level];
        if let Some(&(outer, _)) = level.captured.iter().find(|(_, input)| *input == tensor) {
            return self.static_array(outer);
        }
        eval::static_value(&level.graph, tensor.node, &mut level.known.borrow_mut())
    }

    pub(crate) fn static_number(&self, tensor: Tensor) -> Option<f64> {
        match self.static_value(tensor)?.elements {
            Elements::Real(values) => values.first().copied(),
            Elements::Int(values) => values.first().map(|&value| value as f64),
            Elements::Bool(_) | Elements::Text(_) => None,
        }
    }

    pub(crate) fn static_bool(&self, tensor: Tensor) -> Option<bool> {
        match self.static_value(tensor)?.elements {
            Elements::Bool(values) => values.first().copied(),
            Elements::Real(_) | Elements::Int(_) | Elements::Text(_) => None,
        }
    }

    pub(crate) fn static_text(&self, tensor: Tensor) -> Option<String> {
        match self.static_value(tensor)?.elements {
            Elements::Text(values) => values.into_iter().next(),
            Elements::Real(_) | Elements::Int(_) | Elements::Bool(_) => None,
        }
    }

    pub(crate) fn unary(&mut self, op: Unary, x: Tensor, span: Span) -> Result<Tensor> {
        let x = match op {
            Unary::Exp | Unary::Expm1 | Unary::Log | Unary::Log1p | Unary::Sqrt => {
                let dims = self.ty(x).dims.clone();
                self.where_taken(x, &dims, span)?
            }
            Unary::Neg
            | Unary::Not
            | Unary::Abs
            | Unary::Sign
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Atan
            | Unary::Tanh
            | Unary::Sigmoid
            | Unary::LogSigmoid
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round
            | Unary::IsFinite => x,
        };
        let ty = match op {
            Unary::IsFinite => self.ty(x).with_elem(Elem::Bool),
            Unary::Floor | Unary::Ceil | Unary::Round => self.ty(x).with_elem(Elem::Real),
            _ => self.ty(x).clone(),
        };
        self.push(Op::Unary(op), &[x], ty, span)
    }

    /// A binary operation; the smaller side is repeated. Both sides must be of the same element already.
    pub(crate) fn binary(
        &mut self,
        op: Binary,
        a: Tensor,
        b: Tensor,
        span: Span,
    ) -> Result<Tensor> {
        let dims = self.joint_dims(&[a, b]);
        let (a, b) = match op {
            Binary::Div => (a, self.where_taken(b, &dims, span)?),
            Binary::Pow => (self.where_taken(a, &dims, span)?, b),
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Mod
            | Binary::Min
            | Binary::Max
            | Binary::Eq
            | Binary::Ne
            | Binary::Lt
            | Binary::Le
            | Binary::Gt
            | Binary::Ge
            | Binary::And
            | Binary::Or => (a, b),
        };
        let a = self.broadcast(a, &dims, span)?;
        let b = self.broadcast(b, &dims, span)?;
        let elem = match op {
            Binary::Eq
            | Binary::Ne
            | Binary::Lt
            | Binary::Le
            | Binary::Gt
            | Binary::Ge
            | Binary::And
            | Binary::Or => Elem::Bool,
            Binary::Div | Binary::Pow => Elem::Real,
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Mod | Binary::Min | Binary::Max => {
                self.ty(a).elem
            }
        };
        self.push(Op::Binary(op), &[a, b], Ty { elem, dims }, span)
    }

    pub(crate) fn select(
        &mut self,
        cond: Tensor,
        then: Tensor,
        otherwise: Tensor,
        span: Span,
    ) -> Result<Tensor> {
        let dims = self.joint_dims(&[cond, then, otherwise]);
        let cond = self.broadcast(cond, &dims, span)?;
        let then = self.broadcast(then, &dims, span)?;
        let otherwise = self.broadcast(otherwise, &dims, span)?;
        let elem = self.ty(then).elem;
        self.push(
            Op::Select,
            &[cond, then, otherwise],
            Ty { elem, dims },
            span,
        )
    }

    pub(crate) fn text_op(
        &mut self,
        op: Op,
        operands: &[Tensor],
        elem: Elem,
        span: Span,
    ) -> Result<Tensor> {
        let dims = self.joint_dims(operands);
        let mut repeated = Vec::new();
        for &operand in operands {
            repeated.push(self.broadcast(operand, &dims, span)?);
        }
        self.push(op, &repeated, Ty { elem, dims }, span)
    }

    pub(crate) fn cast(&mut self, x: Tensor, to: Elem, span: Span) -> Result<Tensor> {
        let ty = self.ty(x).clone();
        if ty.elem == to {
            return Ok(x);
        }
        self.push(Op::Cast(to), &[x], ty.with_elem(to), span)
    }

    /// All dimensions of the tensors. Whoever calls has made sure that one of them includes the others.
    pub(crate) fn joint_dims(&self, tensors: &[Tensor]) -> Vec<DimId> {
        let mut dims: Vec<DimId> = tensors
            .iter()
            .flat_map(|&tensor| self.ty(tensor).dims.iter().copied())
            .collect();
        dims.sort_unstable();
        dims.dedup();
        dims
    }

    /// Repeats a tensor over the dimensions it lacks.
    pub(crate) fn broadcast(&mut self, x: Tensor, dims: &[DimId], span: Span) -> Result<Tensor> {
        let ty = self.ty(x).clone();
        if ty.dims == dims {
            return Ok(x);
        }
        let ty = Ty {
            elem: ty.elem,
            dims: dims.to_vec(),
        };
        let mask = self.mask(dims, span)?;
        let mut operands = vec![x];
        operands.extend(mask);
        // The sizes of dimensions without a tensor of their own come from their origin.
        self.push(Op::Broadcast, &operands, ty, span)
    }
}
