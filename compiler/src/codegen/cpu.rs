//! Kernels as functions of the processor.

mod accumulate;
mod branch;
mod cell;
mod compute;
mod elementwise;
mod function;
mod jit;
mod lane;
pub(super) mod layout;
mod maths;
mod memory;
mod operand;
mod pass;
mod passes;
mod rearrange;
mod scan;
mod schedule;
mod slot;
mod text;
pub(super) mod total;

use super::text::Referent;
use super::{Declined, Precision};
use crate::kernel::{Kernel, KernelOp};
use layout::{Layout, OutputPlace};
use passes::Schedule;
use total::Total;

pub(super) use jit::Callable;

/// The code of all kernels of one structure. Threads may share it.
pub struct Code {
    pub(super) callable: Callable,
    pub(super) constants: Vec<u128>,
    pub(super) precision: Precision,
    pub(super) layout: Layout,
    /// How many rows' dimensions the kernel has, and whether it has cells.
    pub(super) dims: (usize, bool),
    /// Of the outputs that are totals, in order.
    pub(super) totals: Vec<Total>,
    pub(super) scratch_rows: usize,
    /// Whether a part of a row can be computed by itself.
    pub(super) divides_rows: bool,
    in_place: bool,
    /// What the code refers to by address.
    _referents: Vec<Referent>,
}

impl Code {
    /// Whether an output may take the memory of an input over the same dimensions: each element is read once, before it is written.
    pub fn in_place(&self) -> bool {
        self.in_place
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }
}

/// Code for a kernel, or why there is none.
///
/// Declined are an integer division or remainder unless the divisor is a constant other than 0, and an integer power
/// unless the exponent is a constant that is not negative, since those are errors of the run that a kernel cannot report;
/// processors without fused multiply-add; and kernels that break the rules of the `kernel` module.
pub fn compile(kernel: &Kernel, precision: Precision) -> Result<Code, Declined> {
    build(kernel, precision, false)
}

/// As [`compile`], with Cranelift's verifier, for tests.
pub fn compile_verified(kernel: &Kernel, precision: Precision) -> Result<Code, Declined> {
    build(kernel, precision, true)
}

fn build(kernel: &Kernel, precision: Precision, verify: bool) -> Result<Code, Declined> {
    let layout = layout::layout(kernel)?;
    let schedule = schedule::schedule(kernel, &layout)?;
    let assembled = jit::assemble(precision, verify, |emit| {
        function::build(emit, kernel, &layout, &schedule)
    })?;
    let mut totals = Vec::new();
    for &place in &layout.outputs {
        if let OutputPlace::Total { kind, elem, .. } = place {
            totals.push(Total::new(kind, elem)?);
        }
    }
    let whole_rows = layout.outputs.iter().any(|place| match place {
        OutputPlace::Cells(_) => false,
        OutputPlace::Rows(_) => true,
        OutputPlace::Total { of_rows, .. } => *of_rows,
    });
    Ok(Code {
        callable: assembled.callable,
        constants: assembled.constants,
        precision,
        dims: (kernel.rows.len(), !kernel.cells.is_empty()),
        totals,
        scratch_rows: schedule.scratch_rows,
        divides_rows: is_single_pass(&schedule) && !whole_rows,
        in_place: is_single_pass(&schedule) && !shifts(kernel),
        layout,
        _referents: assembled.referents,
    })
}

fn is_single_pass(schedule: &Schedule) -> bool {
    schedule.passes.len() == 1 && schedule.passes[0].scans.is_empty()
}

fn shifts(kernel: &Kernel) -> bool {
    let mut body = kernel.body.iter();
    body.any(|instruction| matches!(instruction.op, KernelOp::Shift { .. }))
}
