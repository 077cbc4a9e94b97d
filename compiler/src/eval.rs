//! The meaning of every pure primitive in plain f64: constant folding, and the reference of all tests.

mod axis;
mod elementwise;
mod index;
mod linalg;
mod reduce;
mod scan;
mod sizes;
pub mod text;

use std::collections::BTreeMap;
use std::fmt;

use crate::array::{Array, Elements};
use crate::graph::{Graph, NodeId, Op};
use crate::ty::{DimId, Dims, Elem, Ty};
use sizes::Sizes;

/// What a graph reads from outside.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Values of `Input` nodes, by name; axes in the order of their types.
    pub inputs: BTreeMap<String, Array>,
    /// Which positions of a ragged dimension are real, over its parents and itself; all of them where it is absent.
    pub masks: BTreeMap<DimId, Array>,
    /// Sizes that no given array and no dimension tells.
    pub sizes: BTreeMap<DimId, usize>,
    pub step: i64,
    pub steps: i64,
    /// Values of nodes that only a run can compute (a model's output, a draw's field, a state, random numbers).
    pub nodes: BTreeMap<NodeId, Array>,
}

/// Why a node of a graph has no value.
#[derive(Clone, PartialEq, Debug)]
pub struct EvalError {
    /// The node; of a scan, if it was in the scan's body.
    pub node: NodeId,
    pub fault: Fault,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// Nothing was given for a node that only the outside knows.
    Missing,
    UnknownSize(DimId),
    SizesDisagree {
        dim: DimId,
        sizes: [usize; 2],
    },
    /// An array that is not what the type says; `verify` refuses the graph.
    Type,
    Index {
        index: i64,
        size: usize,
    },
    DivisionByZero,
    /// A power of integers with a negative exponent.
    NegativeExponent,
    /// A regular expression that cannot be read.
    Pattern(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => write!(f, "no value is given"),
            Fault::UnknownSize(_) => write!(f, "the size of a dimension is not known"),
            Fault::SizesDisagree {
                sizes: [left, right],
                ..
            } => {
                write!(
                    f,
                    "a dimension has {left} positions in one place and {right} in another"
                )
            }
            Fault::Type => write!(f, "an array is not of the type of its node"),
            Fault::Index { index, size } => write!(f, "index {index} is outside 0..{size}"),
            Fault::DivisionByZero => write!(f, "an integer is divided by 0"),
            Fault::NegativeExponent => write!(f, "an integer is raised to a negative power"),
            Fault::Pattern(reason) => write!(f, "a regular expression cannot be read: {reason}"),
        }
    }
}

/// What visits more elements than this is not computed before the run.
const FOLD_ELEMENTS: usize = 1 << 16;
/// Nor are factorisations of so many, which take the time of their 3/2 power.
const FOLD_MATRIX: usize = 1 << 12;
/// Nor what reads or makes so many bytes of text, which `replace` can square.
const FOLD_TEXT: usize = 1 << 12;

/// The values of the nodes `want`, in their order.
pub fn evaluate(graph: &Graph, given: &Given, want: &[NodeId]) -> Result<Vec<Array>, EvalError> {
    let needed = needed(graph, want, |id| given.nodes.contains_key(&id));
    let sizes = Sizes::bind(graph, given, &needed)?;
    let mut values: BTreeMap<NodeId, Array> = BTreeMap::new();
    for &id in &needed {
        let value = if let Some(value) = given.nodes.get(&id) {
            value.clone()
        } else {
            let operands = graph.operands(id);
            let operands: Vec<Operand> = operands
                .iter()
                .filter_map(|operand| {
                    Some(Operand {
                        ty: graph.ty(*operand),
                        array: values.get(operand)?,
                    })
                })
                .collect();
            apply(graph.op(id), graph.ty(id), &operands, &sizes, given)
                .map_err(|fault| EvalError { node: id, fault })?
        };
        values.insert(id, value);
    }
    Ok(want
        .iter()
        .filter_map(|id| values.get(id).cloned())
        .collect())
}

/// The value of a primitive whose operands have these values, if it is known before the run and small.
pub fn fold(dims: &Dims, op: &Op, ty: &Ty, operands: &[(&Ty, &Array)]) -> Option<Array> {
    match op {
        Op::Literal(array) => return Some(array.clone()),
        Op::Size(dim) | Op::Position(dim) => {
            dims.get(*dim).size?;
        }
        Op::Input(_)
        | Op::Mask(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        // A scan can run long, and its body is folded by itself.
        | Op::Scan { .. }
        | Op::Grad => return None,
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Text(_)
        | Op::Broadcast
        | Op::Rename(_)
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Contract { .. }
        | Op::Cumsum { .. }
        | Op::Shift { .. }
        | Op::ArgSort { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Stack(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Factor { .. }
        | Op::Solve { .. }
        | Op::StopGrad => {}
    }
    let operands: Vec<Operand> = operands
        .iter()
        .map(|&(ty, array)| Operand { ty, array })
        .collect();
    let mut sizes = Sizes::default();
    sizes.bind_static(dims);
    for operand in &operands {
        sizes.bind_array(operand.ty, operand.array).ok()?;
    }
    sizes.derive(op, operands.len()).ok()?;
    let operand_dims = operands.iter().flat_map(|operand| operand.ty.dims.iter());
    let all = Ty::new(
        ty.elem,
        ty.dims.iter().chain(operand_dims).copied().collect(),
    );
    let shape = sizes.shape(&all.dims).ok()?;
    let work = shape
        .iter()
        .try_fold(1usize, |acc, &n| acc.checked_mul(n))?;
    let characters: usize = operands
        .iter()
        .map(|operand| text::characters(operand.array))
        .sum();
    let is_matrix = matches!(op, Op::Factor { .. } | Op::Solve { .. });
    let limit = if is_matrix {
        FOLD_MATRIX
    } else {
        FOLD_ELEMENTS
    };
    if work > limit || characters > FOLD_TEXT {
        return None;
    }
    let value = apply(op, ty, &operands, &sizes, &Given::default()).ok()?;
    (text::characters(&value) <= FOLD_TEXT).then_some(value)
}

/// The value of a node that depends on literals and known sizes only; `memo` keeps what was found for this graph.
pub fn static_value(
    graph: &Graph,
    id: NodeId,
    memo: &mut BTreeMap<NodeId, Option<Array>>,
) -> Option<Array> {
    for id in needed(graph, &[id], |id| memo.contains_key(&id)) {
        if memo.contains_key(&id) {
            continue;
        }
        let operands: Option<Vec<(&Ty, &Array)>> = operands_with_values(graph, id)
            .iter()
            .map(|operand| Some((graph.ty(*operand), memo.get(operand)?.as_ref()?)))
            .collect();
        let value =
            operands.and_then(|operands| fold(&graph.dims, graph.op(id), graph.ty(id), &operands));
        memo.insert(id, value);
    }
    memo.get(&id)?.clone()
}

/// One primitive that reads nothing but its operands, on values over dimensions of these sizes.
pub(crate) fn primitive(
    op: &Op,
    ty: &Ty,
    operands: &[(&Ty, &Array)],
    sizes: &BTreeMap<DimId, usize>,
) -> Result<Array, Fault> {
    let operands: Vec<Operand> = operands
        .iter()
        .map(|&(ty, array)| Operand { ty, array })
        .collect();
    let given = Given::default();
    apply(op, ty, &operands, &Sizes::from(sizes.clone()), &given)
}

/// An operand with the type of its node.
#[derive(Clone, Copy)]
struct Operand<'a> {
    ty: &'a Ty,
    array: &'a Array,
}

impl<'a> Operand<'a> {
    fn real(self) -> Result<&'a [f64], Fault> {
        match &self.array.elements {
            Elements::Real(elements) => Ok(elements),
            Elements::Int(_) | Elements::Bool(_) | Elements::Text(_) => Err(Fault::Type),
        }
    }

    fn int(self) -> Result<&'a [i64], Fault> {
        match &self.array.elements {
            Elements::Int(elements) => Ok(elements),
            Elements::Real(_) | Elements::Bool(_) | Elements::Text(_) => Err(Fault::Type),
        }
    }

    fn bool(self) -> Result<&'a [bool], Fault> {
        match &self.array.elements {
            Elements::Bool(elements) => Ok(elements),
            Elements::Real(_) | Elements::Int(_) | Elements::Text(_) => Err(Fault::Type),
        }
    }
}

/// The element of an array.
pub fn elem_of(array: &Array) -> Elem {
    match array.elements {
        Elements::Real(_) => Elem::Real,
        Elements::Int(_) => Elem::Int,
        Elements::Bool(_) => Elem::Bool,
        Elements::Text(_) => Elem::Text,
    }
}

/// How many elements an array holds, whatever its shape says.
pub fn count_of(array: &Array) -> usize {
    match &array.elements {
        Elements::Real(elements) => elements.len(),
        Elements::Int(elements) => elements.len(),
        Elements::Bool(elements) => elements.len(),
        Elements::Text(elements) => elements.len(),
    }
}

/// The operands whose values a node reads; a draw only says where dimensions come from.
fn operands_with_values(graph: &Graph, id: NodeId) -> Vec<NodeId> {
    let mut operands = graph.operands(id);
    operands.retain(|&operand| !matches!(graph.op(operand), Op::Draw(_)));
    operands
}

/// The nodes that `want` reads, operands first; the operands of what is `known` already are left out.
fn needed(graph: &Graph, want: &[NodeId], known: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut marked = vec![false; graph.len()];
    let mut open = want.to_vec();
    while let Some(id) = open.pop() {
        if !std::mem::replace(&mut marked[id.index()], true) && !known(id) {
            open.extend(operands_with_values(graph, id));
        }
    }
    graph.ids().filter(|id| marked[id.index()]).collect()
}

/// One primitive on values.
fn apply(
    op: &Op,
    ty: &Ty,
    operands: &[Operand],
    sizes: &Sizes,
    given: &Given,
) -> Result<Array, Fault> {
    let operand = |position: usize| operands.get(position).copied().ok_or(Fault::Missing);
    match op {
        Op::Literal(array) => Ok(array.clone()),
        Op::Input(name) => given.inputs.get(name).cloned().ok_or(Fault::Missing),
        Op::Mask(dim) => match given.masks.get(dim) {
            Some(mask) => Ok(mask.clone()),
            None => axis::full(&sizes.shape(&ty.dims)?, Elements::Bool(vec![true])),
        },
        Op::Size(dim) => Ok(Array::int(sizes.get(*dim)? as i64)),
        Op::Position(dim) => {
            let size = sizes.get(*dim)?;
            Ok(Array {
                shape: vec![size],
                elements: Elements::Int((0..size as i64).collect()),
            })
        }
        Op::Step => Ok(Array::int(given.step)),
        Op::Steps => Ok(Array::int(given.steps)),
        Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Grad => Err(Fault::Missing),
        Op::Unary(kind) => elementwise::unary(*kind, operand(0)?),
        Op::Binary(kind) => elementwise::binary(*kind, operand(0)?, operand(1)?),
        Op::Select => elementwise::select(operand(0)?, operand(1)?, operand(2)?),
        Op::Cast(elem) => elementwise::cast(*elem, operand(0)?),
        Op::Text(kind) => {
            let texts: Vec<&Array> = operands.iter().map(|operand| operand.array).collect();
            text::evaluate(kind, &texts)
        }
        Op::Broadcast => axis::broadcast(operand(0)?, operands.get(1).copied(), ty, sizes),
        Op::Rename(pairs) => axis::rename(operand(0)?, pairs, ty),
        Op::Reduce { kind, .. } => reduce::reduce(*kind, operand(0)?, operands.get(1).copied(), ty),
        Op::ArgReduce { largest, over } => {
            reduce::arg_reduce(*largest, *over, operand(0)?, operands.get(1).copied(), ty)
        }
        Op::Contract { .. } => reduce::contract(operand(0)?, operand(1)?, ty, sizes),
        Op::Scan {
            over,
            reverse,
            xs,
            captured,
            carries,
            masked,
            part,
            body,
        } => scan::scan(
            scan::Scan {
                over: *over,
                reverse: *reverse,
                xs: *xs,
                captured: *captured,
                carries: *carries,
                masked: *masked,
                part: *part,
                body,
            },
            operands,
            ty,
            sizes,
            given,
        ),
        Op::Cumsum { over, reverse } => index::cumsum(*over, *reverse, operand(0)?),
        Op::Shift { over, by } => index::shift(*over, *by, operand(0)?, operand(1)?),
        Op::ArgSort { over, descending } => {
            index::arg_sort(*over, *descending, operand(0)?, operands.get(1).copied())
        }
        Op::Gather { over } => index::gather(*over, operand(0)?, operand(1)?, ty, sizes),
        Op::ScatterAdd { over } => index::scatter_add(*over, operand(0)?, operand(1)?, ty, sizes),
        Op::Stack(dim) => index::stack(*dim, operands, ty, sizes),
        Op::Split { dim, into } => axis::split(operand(0)?, *dim, into, ty, sizes),
        Op::Merge { dims, into } => axis::merge(operand(0)?, dims, *into, ty, sizes),
        Op::Factor {
            factor,
            row,
            col,
            rank,
        } => linalg::factor(*factor, *row, *col, *rank, operand(0)?, ty),
        Op::Solve { row, col } => linalg::solve(*row, *col, operand(0)?, operand(1)?, ty, sizes),
        Op::StopGrad => Ok(operand(0)?.array.clone()),
    }
}
