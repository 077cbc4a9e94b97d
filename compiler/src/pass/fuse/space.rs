//! The rows and cells of a kernel, and which nodes can be computed or stored there.

use super::cost;
use crate::graph::{Binary, Graph, NodeId, Op, Reduction, ScanBody};
use crate::kernel::Level;
use crate::ty::{DimId, Elem};

/// What a kernel loops over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Space {
    pub(super) rows: Vec<DimId>,
    pub(super) cells: Vec<DimId>,
}

/// How a kernel leaves a node in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Cells,
    Rows,
    Total,
}

impl Space {
    /// The last `cells` dimensions are those of the cells.
    pub(super) fn split(dims: &[DimId], cells: usize) -> Space {
        let (rows, cells) = dims.split_at(dims.len() - cells);
        Space {
            rows: rows.to_vec(),
            cells: cells.to_vec(),
        }
    }

    pub(super) fn dims(&self) -> Vec<DimId> {
        [self.rows.as_slice(), &self.cells].concat()
    }

    /// Where a value over these dimensions lives: it has all of the cells' dimensions or none.
    pub(super) fn level(&self, dims: &[DimId]) -> Option<Level> {
        let of_cells = dims.iter().filter(|dim| self.cells.contains(dim)).count();
        let of_rows = dims.iter().filter(|dim| self.rows.contains(dim)).count();
        match of_cells {
            0 if of_rows == dims.len() => Some(Level::Row),
            _ if of_cells == self.cells.len() && of_rows + of_cells == dims.len() => {
                Some(Level::Cell)
            }
            _ => None,
        }
    }

    /// Whether the kernel can compute a node, if it has its operands.
    pub(super) fn computes(&self, graph: &Graph, id: NodeId) -> bool {
        let along = match graph.op(id) {
            Op::Position(dim) if self.rows.contains(dim) => None,
            op => along(op),
        };
        is_arithmetic(graph, id)
            && along.is_none_or(|dim| self.cells == [dim])
            && over(graph.op(id)).is_none_or(|over| self.reduces(graph, over))
            && [id]
                .into_iter()
                .chain(reads(graph, id))
                .all(|id| self.level(&graph.ty(id).dims).is_some())
    }

    /// Whether a reduction over these dimensions is one of the cells of each row. A single row is worked on by one core.
    fn reduces(&self, graph: &Graph, over: &[DimId]) -> bool {
        !self.cells.is_empty()
            && over.len() == self.cells.len()
            && over.iter().all(|dim| self.cells.contains(dim))
            && (!self.rows.is_empty() || cost::is_short(&graph.dims, &self.cells))
    }

    /// How the kernel can leave a node in memory, if it can compute it.
    pub(super) fn place(&self, graph: &Graph, id: NodeId) -> Option<Place> {
        let dims = &graph.ty(id).dims;
        if self.computes(graph, id) {
            return match *dims == self.rows {
                true => Some(Place::Rows),
                false => (*dims == self.dims()).then_some(Place::Cells),
            };
        }
        let of = total_of(graph, id)?;
        (of == self.rows || of == self.dims()).then_some(Place::Total)
    }
}

/// The operands whose values a kernel needs for a node: to count, a mask is enough, and a draw has no value.
pub(super) fn reads(graph: &Graph, id: NodeId) -> Vec<NodeId> {
    let mut operands = graph.operands(id);
    operands.retain(|&operand| !matches!(graph.op(operand), Op::Draw(_)));
    let is_count = matches!(
        graph.op(id),
        Op::Reduce {
            kind: Reduction::Count,
            ..
        }
    );
    match operands.as_slice() {
        [_, mask] if is_count => vec![*mask],
        _ => operands,
    }
}

/// The dimensions of what a node reduces to one number, if it does.
pub(super) fn total_of(graph: &Graph, id: NodeId) -> Option<Vec<DimId>> {
    let is_total = matches!(graph.op(id), Op::Reduce { .. })
        && graph.ty(id).dims.is_empty()
        && is_arithmetic(graph, id);
    let of = &graph.ty(*graph.operands(id).first()?).dims;
    (is_total && !of.is_empty()).then(|| of.clone())
}

/// The dimension along which the cells of a row take part in each other.
fn along(op: &Op) -> Option<DimId> {
    if let Op::Position(over)
    | Op::Cumsum { over, .. }
    | Op::Shift { over, .. }
    | Op::Scan { over, .. } = op
    {
        Some(*over)
    } else {
        None
    }
}

/// The dimensions that a sum or the like removes.
pub(super) fn over(op: &Op) -> Option<&[DimId]> {
    if let Op::Reduce { over, .. } | Op::Contract { over } = op {
        Some(over)
    } else {
        None
    }
}

/// Where a kernel that leaves a node in memory may loop, longer rows first. Empty if no kernel is to.
pub(super) fn spaces(graph: &Graph, id: NodeId) -> Vec<Space> {
    if !is_arithmetic(graph, id) {
        return Vec::new();
    }
    let dims = &graph.ty(id).dims;
    let splits = |dims: &[DimId]| {
        let most = dims.len();
        (most.min(1)..=most)
            .rev()
            .map(|cells| Space::split(dims, cells))
            .collect::<Vec<Space>>()
    };
    let op = graph.op(id);
    if let Some(of) = total_of(graph, id) {
        splits(&of)
    } else if let Some(over) = over(op) {
        over_last(dims, over).into_iter().collect()
    } else if let Some(along) = along(op) {
        let is_last = !matches!(op, Op::Position(_)) && dims.last() == Some(&along);
        if is_last {
            vec![Space::split(dims, 1)]
        } else {
            Vec::new()
        }
    } else if matches!(op, Op::StopGrad | Op::Literal(_))
        || matches!(op, Op::Broadcast) && graph.operands(id).len() == 1
    {
        // The executor passes these on without copying.
        Vec::new()
    } else {
        splits(dims)
    }
}

/// The space in which a reduction over these dimensions is one of the cells.
pub(super) fn over_last(kept: &[DimId], over: &[DimId]) -> Option<Space> {
    let mut cells = over.to_vec();
    cells.sort_unstable();
    let fits = match (kept.last(), cells.first()) {
        (Some(kept), Some(first)) => kept < first,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    fits.then(|| Space {
        rows: kept.to_vec(),
        cells,
    })
}

/// Whether a node is one that kernels compute, somewhere.
///
/// What can fail (an integer divided by 0) is left to the executor, which says where it did.
fn is_arithmetic(graph: &Graph, id: NodeId) -> bool {
    let operands = graph.operands(id);
    let is_number = |id: NodeId| graph.ty(id).elem != Elem::Text;
    let numbers = || is_number(id) && operands.iter().all(|&operand| is_number(operand));
    match graph.op(id) {
        Op::Literal(array) => array.shape.is_empty(),
        Op::Binary(Binary::Div | Binary::Mod | Binary::Pow) => graph.ty(id).elem == Elem::Real,
        Op::Text(_) | Op::Select | Op::Broadcast => true,
        Op::Position(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Cast(_)
        | Op::Cumsum { .. }
        | Op::Shift { .. }
        | Op::StopGrad => numbers(),
        Op::Reduce { over, .. } => !over.is_empty() && numbers(),
        // A product of matrices is libtorch's.
        Op::Contract { .. } => {
            let [a, b] = [0, 1].map(|place| graph.ty(operands[place]));
            a.includes(b) || b.includes(a)
        }
        Op::Scan { body, .. } => numbers() && is_elementwise(body),
        Op::Input(_)
        | Op::Mask(_)
        | Op::Size(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Rename(_)
        | Op::ArgReduce { .. }
        | Op::ArgSort { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Stack(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Factor { .. }
        | Op::Solve { .. }
        | Op::Grad => false,
    }
}

/// Whether the body of a scan treats each position of its dimensions by itself.
fn is_elementwise(body: &ScanBody) -> bool {
    body.graph.ids().all(|id| {
        let op = body.graph.op(id);
        let is_own = matches!(op, Op::Input(_))
            || is_arithmetic(&body.graph, id) && along(op).is_none() && over(op).is_none();
        is_own && body.graph.ty(id).elem != Elem::Text
    })
}
