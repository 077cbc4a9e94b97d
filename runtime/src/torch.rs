//! Every primitive as libtorch calls on plain arrays, differentiable where the primitive is.
//!
//! Elements that are not real must not reach real ones, neither forward nor backward. `0 · NaN` is not 0, so
//! multiplying by a mask is not enough: values are chosen with `where`, whose gradient is chosen the same way.
//! Primitives that move values along dimensions have no mask of their own; their results are cleared at positions
//! that are not real, which keeps the gradients that arrive there from being added to real ones.

pub(crate) mod axis;
mod elementwise;
mod index;
mod linear;
mod random;
mod reduce;

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::ty::{DimId, Elem, Ty};

use crate::error::Fault;
use crate::extent::Extents;
use crate::tensor::{Device, Kind, Tensor, Value};

/// What the primitives read of a run besides their operands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Context {
    /// The kind of reals: `Float` or `Double`.
    pub kind: Kind,
    pub device: Device,
    pub seed: u64,
    /// The number of the update, from 1.
    pub step: u64,
    /// The number of all updates.
    pub steps: u64,
}

impl Context {
    /// How the elements of a program are held.
    pub fn kind_of(&self, elem: Elem) -> Result<Kind, Fault> {
        match elem {
            Elem::Real => Ok(self.kind),
            Elem::Int => Ok(Kind::Int64),
            Elem::Bool => Ok(Kind::Bool),
            Elem::Text => Err(Fault::broken("no tensor holds text")),
        }
    }
}

/// An operand: its tensor and the dimensions that are its axes.
pub(crate) struct Operand<'a> {
    pub(crate) tensor: &'a Tensor,
    pub(crate) dims: &'a [DimId],
}

/// A node that is to be computed.
pub(crate) struct Site<'a> {
    pub(crate) ty: &'a Ty,
    pub(crate) extents: &'a Extents,
    pub(crate) context: &'a Context,
    pub(crate) operands: Vec<Operand<'a>>,
}

impl<'a> Site<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        node: NodeId,
        operands: &'a [(NodeId, Value)],
        extents: &'a Extents,
        context: &'a Context,
    ) -> Result<Site<'a>, Fault> {
        let operand = |(id, value): &'a (NodeId, Value)| {
            Ok(Operand {
                tensor: value.tensor()?,
                dims: &graph.ty(*id).dims,
            })
        };
        Ok(Site {
            ty: graph.ty(node),
            extents,
            context,
            operands: operands.iter().map(operand).collect::<Result<_, Fault>>()?,
        })
    }

    fn operand(&self, position: usize) -> Result<&Operand<'a>, Fault> {
        self.operands
            .get(position)
            .ok_or_else(|| Fault::broken(format!("a primitive has an operand {position}")))
    }

    fn tensor(&self, position: usize) -> Result<&'a Tensor, Fault> {
        Ok(self.operand(position)?.tensor)
    }

    /// The sizes of the result's axes.
    fn shape(&self) -> Result<Vec<i64>, Fault> {
        self.extents.sizes(&self.ty.dims)
    }

    /// The result, cleared where it is not real.
    fn keep_real(&self, result: Tensor) -> Result<Tensor, Fault> {
        self.extents.keep_real(result, &self.ty.dims)
    }
}

/// The value of a primitive whose operands are tensors.
pub(crate) fn evaluate(op: &Op, site: &Site) -> Result<Tensor, Fault> {
    let Context {
        device,
        step,
        steps,
        ..
    } = *site.context;
    match op {
        Op::Literal(array) => Ok(Value::from_array(array, site.context.kind, device)?
            .tensor()?
            .shallow_clone()),
        Op::Mask(dim) => site.extents.mask(*dim, device),
        Op::Size(dim) => number(site.extents.size(*dim)?, device),
        Op::Position(dim) => Ok(Tensor::f_arange(
            site.extents.size(*dim)?,
            (Kind::Int64, device),
        )?),
        Op::Step => number(step as i64, device),
        Op::Steps => number(steps as i64, device),
        Op::Random { kind, key } => random::random(*kind, *key, site),

        Op::Unary(unary) => elementwise::unary(*unary, site.tensor(0)?),
        Op::Binary(binary) => elementwise::binary(*binary, site),
        Op::Select => Ok(site
            .tensor(1)?
            .f_where_self(site.tensor(0)?, site.tensor(2)?)?),
        Op::Cast(elem) => elementwise::cast(site.tensor(0)?, *elem, site.context),

        Op::Broadcast => index::broadcast(site),
        Op::Rename(pairs) => index::rename(pairs, site),
        Op::Reduce { kind, over } => reduce::reduce(*kind, over, site),
        Op::ArgReduce { largest, over } => reduce::arg_reduce(*largest, *over, site),
        Op::Contract { over } => linear::contract(over, site),
        Op::Cumsum { over, reverse } => index::cumsum(*over, *reverse, site),
        Op::Shift { over, by } => index::shift(*over, *by, site),
        Op::ArgSort { over, descending } => index::arg_sort(*over, *descending, site),
        Op::Gather { over } => index::gather(*over, site),
        Op::ScatterAdd { over } => index::scatter_add(*over, site),
        Op::Stack(dim) => index::stack(*dim, site),
        Op::Split { dim, into } => index::split(*dim, into, site),
        Op::Merge { dims, into } => index::merge(dims, *into, site),

        Op::Factor {
            factor,
            row,
            col,
            rank,
        } => linear::factor(*factor, *row, *col, *rank, site),
        Op::Solve { row, col } => linear::solve(*row, *col, site),

        Op::StopGrad => Ok(site.tensor(0)?.f_detach()?),

        Op::Input(_)
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Scan { .. } => Err(Fault::broken(
            "the executor gives inputs, draws, models and scans their values",
        )),
        Op::Text(_) => Err(Fault::broken("functions of text are not tensor code")),
        Op::Grad => Err(Fault::broken("no `grad` is left after the pass `autodiff`")),
    }
}

fn number(value: i64, device: Device) -> Result<Tensor, Fault> {
    Ok(Tensor::f_full([0i64; 0], value, (Kind::Int64, device))?)
}
