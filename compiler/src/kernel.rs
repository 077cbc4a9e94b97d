//! Kernels: parts of a graph that run as one loop over memory.
//!
//! A kernel visits `rows × cells`. The cells of a row lie side by side in memory: they are one dimension, several that
//! every array has alike, or none (a kernel of rows alone). A value belongs to a row or to a cell. Reductions turn cells
//! into a value of their row, or everything into one total, and cells may read a reduction of their own row, which makes
//! the kernel pass over the row again while it is in the cache. Only totals, and values along dimensions that cross rows,
//! end a kernel.
//!
//! Nothing here names memory: sizes, strides and addresses are arguments of a launch, so that kernels of one structure
//! share their code.

mod interpret;
mod verify;

pub use interpret::interpret;
pub use verify::verify;

use crate::graph::{Binary, NodeId, Reduction, TextOp, Unary};
use crate::ty::{DimId, Elem};

/// A value of a kernel: the index of its instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A loop over rows, and in each row over its cells.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Outer dimensions, ascending; may be none.
    pub rows: Vec<DimId>,
    /// Inner dimensions, ascending, all greater than those of the rows; may be none.
    pub cells: Vec<DimId>,
    pub inputs: Vec<Input>,
    /// Operands come before their users.
    pub body: Vec<Instruction>,
    pub scans: Vec<ScanLoop>,
    pub outputs: Vec<Output>,
}

/// A loop along the cells of a row that carries values from each to the next. Where `mask` does not hold, the carries stay.
#[derive(Clone, PartialEq, Debug)]
pub struct ScanLoop {
    pub reverse: bool,
    pub mask: Option<ValueId>,
    /// Values of the row, one a carry.
    pub initial: Vec<ValueId>,
    /// Read values of the kernel's body, which come before the scan's own instruction in it, and each other: their
    /// indices go on from the length of the kernel's body.
    pub body: Vec<Instruction>,
    /// The next value of each carry.
    pub next: Vec<ValueId>,
}

impl ScanLoop {
    /// The values that it reads of a kernel whose body has so many.
    pub fn reads(&self, of_kernel: usize) -> Vec<ValueId> {
        let inside = self.body.iter().flat_map(|it| it.op.operands());
        let outside = self.initial.iter().chain(&self.next).copied();
        inside
            .chain(outside)
            .chain(self.mask)
            .filter(|id| (id.0 as usize) < of_kernel)
            .collect()
    }
}

impl Kernel {
    /// The element of an output.
    pub fn elem(&self, output: &Output) -> Elem {
        let elem = self
            .body
            .get(output.value.0 as usize)
            .map_or(Elem::Real, |value| value.elem);
        match output.form {
            Form::Total {
                kind: Reduction::Count,
                ..
            } => Elem::Int,
            Form::Cells | Form::Rows | Form::Total { .. } => elem,
        }
    }
}

/// An array that is read. Its axes are its dimensions, contiguous and row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct Input {
    pub node: NodeId,
    pub elem: Elem,
    /// Any of the rows', and all of the cells' dimensions or none.
    pub dims: Vec<DimId>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    pub op: KernelOp,
    pub elem: Elem,
    pub level: Level,
    /// The node that it computes, for messages and profiles.
    pub node: NodeId,
}

/// Where a value lives: one for the whole kernel is one a row that does not differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Level {
    Row,
    Cell,
}

#[derive(Clone, PartialEq, Debug)]
pub enum KernelOp {
    /// The element of the input with this index that belongs to the row or cell.
    Load(usize),
    Real(f64),
    Int(i64),
    Bool(bool),
    TextValue(String),
    /// The index along a dimension of the rows, or along the only dimension of the cells; an int.
    Position(DimId),
    Unary(Unary, ValueId),
    Binary(Binary, ValueId, ValueId),
    /// (condition, then, otherwise)
    Select(ValueId, ValueId, ValueId),
    /// From this value's element to the instruction's.
    Cast(ValueId),
    Text(TextOp, Vec<ValueId>),
    /// The cells of the row, those where the bool `mask` holds, as one value of the row.
    Reduce {
        kind: Reduction,
        value: ValueId,
        mask: Option<ValueId>,
    },
    /// The cell `by` places earlier (later if negative) in the row, `fill` (a value of the row) beyond its ends. One dimension of cells.
    Shift {
        value: ValueId,
        by: i64,
        fill: ValueId,
    },
    /// The value that one carry of a loop along the row has after each cell. One dimension of cells.
    Scan {
        scan: usize,
        part: usize,
    },
    /// Inside the body of a scan: the carry before the cell.
    Carry {
        part: usize,
    },
}

/// What a kernel leaves in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The node whose value it is.
    pub node: NodeId,
    pub value: ValueId,
    pub form: Form,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Form {
    /// One element a cell, over rows and cells.
    Cells,
    /// One element a row, over the rows.
    Rows,
    /// One element: the reduction of all cells (or of all rows, if the value belongs to a row) where `mask` holds.
    Total {
        kind: Reduction,
        mask: Option<ValueId>,
    },
}

impl KernelOp {
    /// The values that it names. A scan names none itself; its loop does ([`ScanLoop::reads`]).
    pub fn operands(&self) -> Vec<ValueId> {
        match self {
            KernelOp::Load(_)
            | KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::TextValue(_)
            | KernelOp::Position(_)
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => Vec::new(),
            KernelOp::Unary(_, x) | KernelOp::Cast(x) => vec![*x],
            KernelOp::Binary(_, a, b) => vec![*a, *b],
            KernelOp::Select(condition, then, otherwise) => vec![*condition, *then, *otherwise],
            KernelOp::Text(_, texts) => texts.clone(),
            KernelOp::Reduce { value, mask, .. } => [*value].into_iter().chain(*mask).collect(),
            KernelOp::Shift { value, fill, .. } => vec![*value, *fill],
        }
    }
}

impl Form {
    /// Where elements of a total count, if not everywhere.
    pub fn mask(&self) -> Option<ValueId> {
        match self {
            Form::Cells | Form::Rows => None,
            Form::Total { mask, .. } => *mask,
        }
    }
}
