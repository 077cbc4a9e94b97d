//! In which pass over its row a value can be computed, and which values are kept for a later one.

use super::waits_for_row;
use crate::kernel::{Form, Kernel, KernelOp, Level, Output, ValueId};
use crate::ty::Elem;

pub(super) struct Passes<'k> {
    kernel: &'k Kernel,
    /// The first pass in which a value of the body can be read.
    pub(super) first: Vec<usize>,
    kept: Vec<ValueId>,
}

impl<'k> Passes<'k> {
    pub(super) fn new(kernel: &'k Kernel) -> Passes<'k> {
        let mut first: Vec<usize> = Vec::new();
        let mut kept = Vec::new();
        for (place, instruction) in kernel.body.iter().enumerate() {
            let operands = operands(kernel, &instruction.op);
            let reads = operands.iter().map(|id| first[id.0 as usize]).max();
            let waits = usize::from(waits_for_row(&instruction.op));
            first.push(reads.unwrap_or(0) + waits);
            match instruction.op {
                KernelOp::Scan { .. } => kept.push(ValueId(place as u32)),
                KernelOp::Shift { value, .. } if !kept.contains(&value) => kept.push(value),
                KernelOp::Shift { .. }
                | KernelOp::Load(_)
                | KernelOp::Real(_)
                | KernelOp::Int(_)
                | KernelOp::Bool(_)
                | KernelOp::TextValue(_)
                | KernelOp::Position(_)
                | KernelOp::Unary(..)
                | KernelOp::Binary(..)
                | KernelOp::Select(..)
                | KernelOp::Cast(_)
                | KernelOp::Text(..)
                | KernelOp::Reduce { .. }
                | KernelOp::Carry { .. } => {}
            }
        }
        Passes {
            kernel,
            first,
            kept,
        }
    }

    /// Whether no cell waits for its row, and no row has a result of its own beside its cells.
    pub(super) fn is_flat(&self) -> bool {
        let kernel = self.kernel;
        let is_of_row = |output: &Output| match output.form {
            Form::Cells => false,
            Form::Rows => true,
            Form::Total { .. } => kernel.body[output.value.0 as usize].level == Level::Row,
        };
        !kernel.body.iter().any(|it| waits_for_row(&it.op))
            && (kernel.cells.is_empty() || !kernel.outputs.iter().any(is_of_row))
    }

    pub(super) fn count(&self) -> usize {
        self.first.iter().max().map_or(1, |last| last + 1)
    }

    /// Values of cells that are in memory between passes, in the order of their buffers.
    pub(super) fn kept(&self) -> impl Iterator<Item = ValueId> {
        self.kept.iter().copied()
    }

    pub(super) fn place_of_kept(&self, id: ValueId) -> Option<usize> {
        self.kept.iter().position(|&kept| kept == id)
    }

    pub(super) fn elem_of(&self, id: ValueId) -> Elem {
        self.kernel.body[id.0 as usize].elem
    }

    /// The pass in which a reduction reads its cells, a scan runs, or a shifted value is kept.
    pub(super) fn runs_in(&self, id: ValueId) -> usize {
        self.first[id.0 as usize] - 1
    }
}

/// The values of the kernel's own body that an instruction reads.
pub(super) fn operands(kernel: &Kernel, op: &KernelOp) -> Vec<ValueId> {
    match op {
        KernelOp::Scan { scan, .. } => kernel.scans[*scan].reads(kernel.body.len()),
        op => op.operands(),
    }
}
