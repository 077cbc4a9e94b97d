//! The graph: one DAG of primitives on plain arrays, the centre of the system.
//!
//! Nodes are numbered in an order in which operands come first. Axis order is the order of
//! [`DimId`]s, broadcasts are nodes, and what is real of a ragged dimension is an operand (`mask`) of
//! the few primitives that move values between positions: [`Op::Broadcast`], [`Op::Reduce`],
//! [`Op::Scan`], [`Op::ArgSort`], [`Op::ArgReduce`]. All other primitives compute garbage at positions that are not
//! real, and nobody reads it. A position that is not real never changes a real one, in values or in
//! gradients: a masked `Reduce` skips it, and the adjoint of a masked `Broadcast` is a masked `Reduce`.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use rlp_grammar::ast::Span;

use crate::array::Array;
pub use crate::text_op::TextOp;
use crate::ty::{DimId, Dims, Elem, Ty};

pub type NodeId = NodeIndex<u32>;

/// A primitive with its type, where it stands in the text, and the call of a block it came from.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub ty: Ty,
    pub span: Span,
    pub call: Option<CallId>,
}

/// The call of a block; `parent` is the call inside which it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// `loss.ppo_clip`
    pub block: String,
    /// The call's place.
    pub span: Span,
    pub parent: Option<CallId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct CallId(pub u32);

/// The DAG, its dimensions and what its nodes refer to.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    dag: DiGraph<Node, u32>,
    pub dims: Dims,
    pub calls: Vec<Call>,
    pub draws: Vec<Draw>,
    pub states: Vec<State>,
    pub asserts: Vec<Assertion>,
    /// For a ragged dimension, the node that says which of its positions are real (over its parents and itself); all are without one.
    pub masks: BTreeMap<DimId, NodeId>,
}

/// A call of a native sampler: what is drawn, and with what.
#[derive(Clone, PartialEq, Debug)]
pub struct Draw {
    /// `sampler.rollout`
    pub block: String,
    /// In the order of the signature, defaults filled in.
    pub args: Vec<(String, DrawArg)>,
    /// The names of the result's fields, in order; a `Field` node each where they are used.
    pub fields: Vec<(String, Ty)>,
    /// Dimensions of the result that are new.
    pub fresh: Vec<DimId>,
    /// For a draw that filters or repeats another one's record: (old, new) dimensions.
    pub renewed: Vec<(DimId, DimId)>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub enum DrawArg {
    /// Known before the run.
    Static(Array),
    Model(ModelRef),
    Data(DataRef),
    /// The operand with this index.
    Operand(usize),
    /// A record: its fields, each the operand with this index.
    Record(Vec<(String, usize)>),
}

/// A model as an expression names it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ModelRef {
    /// Index among the plan's models.
    pub model: usize,
    /// `frozen(m)`: a copy taken when the stage starts (`Some(0)`), or every so many steps.
    pub frozen: Option<u64>,
}

/// A data source as an expression names it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DataRef {
    /// Index among the plan's data sources.
    pub data: usize,
    /// `held_out(task)`
    pub held_out: bool,
}

/// A `state` of a reward, advantage or loss block, or of a stage. Its next value is a sink of the graph.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// Unique in the stage: `running_scale`, with the call's number where there are several.
    pub name: String,
    pub ty: Ty,
    pub initial: NodeId,
    pub next: NodeId,
    /// Whether it belongs to the items of a data source, not to the step.
    pub is_memory: bool,
    pub span: Span,
}

/// A condition that a block asserts and that is known only while running: the run stops where it does not hold.
///
/// No gradient flows through it, and passes keep it.
#[derive(Clone, PartialEq, Debug)]
pub struct Assertion {
    /// A `bool` all of whose elements must hold; it holds where nothing is real.
    pub condition: NodeId,
    /// `` `loss.ppo_clip` needs `clip_low >= 0` ``
    pub claim: String,
    /// What the condition reads, by the name the text gives it, over some of the condition's dimensions.
    pub reads: Vec<(String, NodeId)>,
    pub span: Span,
    pub call: Option<CallId>,
}

/// What a model computes for sequences.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ModelOutput {
    /// log π of each generated token, nats.
    Logp,
    /// Entropy of the distribution each token was drawn from, nats.
    Entropy,
    /// The value head where each token is about to be generated.
    Value,
    /// Logits each token was drawn from.
    Logits,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    Neg,
    Not,
    Abs,
    Sign,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sqrt,
    Sin,
    Cos,
    Tan,
    Atan,
    Tanh,
    Sigmoid,
    LogSigmoid,
    Floor,
    Ceil,
    Round,
    IsFinite,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Of integers toward −∞.
    Div,
    Pow,
    /// The remainder, with the sign of the divisor.
    Mod,
    /// The gradient goes to the smaller, of equals to the first; what is not a number is the result.
    Min,
    /// As `Min`, for the larger.
    Max,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reduction {
    Sum,
    /// Over the real elements; 0 if there are none.
    Mean,
    /// 0 if there are none. The gradient goes to the first element that attains it.
    Max,
    Min,
    Product,
    /// −∞ if there are none.
    LogSumExp,
    /// false if there are none.
    Any,
    /// true if there are none.
    All,
    /// How many are real, as an int; of the operand only its positions matter.
    Count,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RandomKind {
    /// Standard normal.
    Normal,
    /// [0, 1)
    Uniform,
}

/// The parts of a matrix factorisation; `rank` is the new dimension of size min(rows, columns).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Factor {
    /// `real[.., row, rank]`: left singular vectors, largest entry of each positive.
    SvdLeft,
    /// `real[.., rank]`, descending.
    SvdValues,
    /// `real[.., rank, col]`
    SvdRight,
    /// `real[.., row, rank]`
    QrQ,
    /// `real[.., rank, col]`, diagonal positive.
    QrR,
    /// `real[.., rank]`, ascending.
    EighValues,
    /// `real[.., row, rank]`, largest entry of each positive.
    EighVectors,
    /// `real[.., row, col]`, lower.
    Cholesky,
    /// `real[.., row, col]`
    Inverse,
}

/// The body of a scan: a graph of its own, over the same dimensions (of which it does not use `over`).
///
/// Its inputs are `x0`, `x1`, … (the slices), `k0`, … (captured from outside), `c0`, … (the carries).
#[derive(Clone, Debug)]
pub struct ScanBody {
    pub graph: Graph,
    /// The next value of each carry.
    pub next: Vec<NodeId>,
}

/// A primitive. The closed set; each has one type rule (`verify.rs`), one meaning (`eval.rs`), one
/// derivative (`pass/autodiff.rs`), one libtorch lowering (`runtime/src/torch.rs`).
#[derive(Clone, Debug)]
pub enum Op {
    /// A constant: a scalar, or an array over the node's dimensions.
    Literal(Array),
    /// A value given from outside: an argument of a block that is evaluated alone, an optimizer's `param`.
    Input(String),
    /// Which positions of a ragged dimension are real: `bool` over its parents and itself. Operand: the draw it comes from, if any.
    Mask(DimId),
    /// The size of a dimension, an `int`. Operand: the draw it comes from, if any.
    Size(DimId),
    /// 0, 1, … along the dimension. Operand: the draw it comes from, if any.
    Position(DimId),
    /// The number of the update, from 1, and of all updates.
    Step,
    Steps,
    /// The old value of the state with this index. Operands of a memory: the identity of each item, `int` over its
    /// dimension, and the value of one that was never written.
    State(usize),
    /// The draw with this index. It has no value of its own; its fields do. Operands: those its arguments name.
    Draw(usize),
    /// One field of a draw, its only operand.
    Field(String),
    /// Operands: tokens `int[d.., token]`, context tokens `int[d.., prompt_token]`, temperature `real`,
    /// the two masks. Result: `real[d.., token]` (`Logits`: and the new dimension `vocab`).
    Model {
        model: ModelRef,
        output: ModelOutput,
    },
    /// (operands of the `Model` nodes.., adjoint of each output, 0 where nothing is real): the gradient of Σ output · adjoint
    /// with respect to the model's parameters, end to end, over one dimension.
    Backward {
        model: ModelRef,
        outputs: Vec<ModelOutput>,
    },
    /// A tensor of the plan read directly: trainable (`model.vector`, a `param`), or fixed (of a data source); index among
    /// the plan's tensors.
    Trainable(ModelRef),
    /// Independent numbers over the node's dimensions; `key` tells the calls apart. Operand: the draw its dimensions come from, if any.
    Random {
        kind: RandomKind,
        key: u64,
    },

    /// Operand and result have the same dimensions.
    Unary(Unary),
    /// Both operands and the result have the same dimensions.
    Binary(Binary),
    /// (condition, then, otherwise), all over the same dimensions.
    Select,
    /// To another element: int → real, bool → real (0 or 1), real → int (toward −∞).
    Cast(Elem),
    Text(TextOp),

    /// (x[, mask]): repeats x over the dimensions it lacks. With a mask (`bool` over the result's dimensions) the
    /// result is 0 (false, "") where it does not hold, and nothing flows back from there.
    Broadcast,
    /// (x): other names for dimensions, the axes permuted to the new order. Pairs (old, new).
    Rename(Vec<(DimId, DimId)>),
    /// (x[, mask]): removes the dimensions.
    Reduce {
        kind: Reduction,
        over: Vec<DimId>,
    },
    /// (x[, mask]): the position of the largest (smallest) element, the lowest of equals; 0 if there is none.
    ArgReduce {
        largest: bool,
        over: DimId,
    },
    /// (a, b): Σ over the dimensions of a·b; every other dimension of either is kept. Operands are 0 where they are not real.
    Contract {
        over: Vec<DimId>,
    },
    /// (xs.., captured.., initial carries..[, mask]): the values of carry `part` at every position of `over`.
    /// Where the mask does not hold, the carries stay; nobody reads the values there.
    Scan {
        over: DimId,
        reverse: bool,
        xs: usize,
        captured: usize,
        carries: usize,
        masked: bool,
        part: usize,
        body: Arc<ScanBody>,
    },
    /// (x): running sum, the element included. The operand is 0 where it is not real.
    Cumsum {
        over: DimId,
        reverse: bool,
    },
    /// (x, fill): the element `by` positions earlier (later if negative), `fill` (over x's dimensions without `over`) beyond the ends.
    Shift {
        over: DimId,
        by: i64,
    },
    /// (x[, mask]): the indices that sort x stably, ascending or descending; elements that are not real come last.
    ArgSort {
        over: DimId,
        descending: bool,
    },
    /// (x, index): result[.., j] = x[.., index[.., j]]. Dimensions: those of x without `over`, and those of the index
    /// (which may name `over` itself). An index outside is an error of the run.
    Gather {
        over: DimId,
    },
    /// (g, index): the adjoint of `Gather`, over the node's dimensions: adds each element to the position its index names.
    ScatterAdd {
        over: DimId,
    },
    /// (x0, x1, …): along a new dimension.
    Stack(DimId),
    /// (x): one dimension into several (row-major), or several into one. Sizes are those of the dimensions.
    Split {
        dim: DimId,
        into: Vec<DimId>,
    },
    Merge {
        dims: Vec<DimId>,
        into: DimId,
    },

    /// (x): over the matrices of `row` and `col`.
    Factor {
        factor: Factor,
        row: DimId,
        col: DimId,
        rank: Option<DimId>,
    },
    /// (a, b): x with Σ_col a[row, col]·x[col] = b[row]; `b` has `row` and any further dimensions, the result `col` in its place.
    Solve {
        row: DimId,
        col: DimId,
    },

    /// (x): x, from which no gradient flows.
    StopGrad,
    /// (y, x): the gradient of Σ y with respect to x. Gone after the pass `autodiff`.
    Grad,
}

impl Op {
    /// Whether its value comes from a model or from a tensor of the plan, which whoever runs the graph has.
    pub fn is_of_a_model(&self) -> bool {
        matches!(
            self,
            Op::Model { .. } | Op::Backward { .. } | Op::Trainable(_)
        )
    }
}

impl Graph {
    pub fn add(
        &mut self,
        op: Op,
        operands: &[NodeId],
        ty: Ty,
        span: Span,
        call: Option<CallId>,
    ) -> NodeId {
        let id = self.dag.add_node(Node { op, ty, span, call });
        for (position, &operand) in operands.iter().enumerate() {
            debug_assert!(operand < id, "an operand comes before its user");
            self.dag.add_edge(operand, id, position as u32);
        }
        id
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.dag[id]
    }

    pub fn ty(&self, id: NodeId) -> &Ty {
        &self.dag[id].ty
    }

    pub fn op(&self, id: NodeId) -> &Op {
        &self.dag[id].op
    }

    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes, operands first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.dag.node_count()).map(NodeIndex::new)
    }

    /// The operands in order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut operands: Vec<(u32, NodeId)> = self
            .dag
            .edges_directed(id, Direction::Incoming)
            .map(|edge| (*edge.weight(), edge.source()))
            .collect();
        operands.sort_unstable();
        operands.into_iter().map(|(_, operand)| operand).collect()
    }

    /// The nodes that read this one, in order, each once.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<NodeId> = self
            .dag
            .neighbors_directed(id, Direction::Outgoing)
            .collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// The DAG itself, for petgraph's algorithms.
    pub fn dag(&self) -> &DiGraph<Node, u32> {
        &self.dag
    }
}
