//! CUDA C of kernels, for NVRTC.
//!
//! A kernel without a row of its own to wait for (no reduction of a row, scan or shift) is *flat*: each thread takes
//! cells from the whole index space. Otherwise a warp takes a row and passes over it as often as there is something to wait
//! for. Totals are joined block by block in a second kernel of one thread, so that with the same grid they have the same bits.

mod element;
mod passes;
mod print;
mod scan;
mod value;

use super::Precision;
use crate::graph::Reduction;
use crate::kernel::{Form, Kernel, KernelOp};
use crate::ty::{DimId, Elem};
use passes::Passes;
use print::Printer;

/// Source text with what a launch must know.
#[derive(Clone, PartialEq, Debug)]
pub struct Source {
    pub text: String,
    /// Threads of a block.
    pub threads: u32,
    /// What one block takes at most: cells if flat, rows otherwise. More blocks do no harm.
    pub is_flat: bool,
    /// Bytes a block leaves for each total, in the order of the outputs; there is a buffer of `blocks ×` this for each.
    pub partials: Vec<usize>,
    /// Elements a cell that the kernel keeps between passes; buffers over all rows and cells, in order.
    pub scratch: Vec<Elem>,
}

/// The names of the two kernels in a source; the second is there if there are totals.
pub const ENTRY: &str = "kernel";
pub const TOTALS: &str = "totals";

/// The arguments of `kernel`: the inputs, the outputs that are arrays, the partials, the scratch buffers, then the sizes of the rows'
/// dimensions and the number of cells, as 64-bit integers. Those of `totals`: the partials, the outputs that are totals,
/// and the number of blocks.
///
/// Or why there is no such code.
pub fn source(kernel: &Kernel, precision: Precision) -> Result<Source, String> {
    if let Some(text) = kernel.body.iter().find(|it| it.elem == Elem::Text) {
        return Err(format!("text is computed on the CPU ({:?})", text.op));
    }
    let passes = Passes::new(kernel);
    let is_flat = passes.is_flat();
    let printer = Printer::new(kernel, &passes);
    let body = printer.kernel()?;
    let real = match precision {
        Precision::F32 => "float",
        Precision::F64 => "double",
    };
    let prelude = include_str!("cuda/prelude.cu");
    let totals = printer.totals();
    let text = format!("typedef {real} real;\n{prelude}\n{body}{totals}");
    let width = |kind: Reduction, elem: Elem| match kind {
        Reduction::Mean | Reduction::LogSumExp => 16,
        Reduction::Max | Reduction::Min => 16,
        Reduction::Sum | Reduction::Product | Reduction::Count => 8,
        Reduction::Any | Reduction::All => {
            debug_assert_eq!(elem, Elem::Bool);
            4
        }
    };
    let partials = kernel
        .outputs
        .iter()
        .filter_map(|output| match output.form {
            Form::Total { kind, .. } => {
                Some(width(kind, kernel.body[output.value.0 as usize].elem))
            }
            Form::Cells | Form::Rows => None,
        });
    Ok(Source {
        text,
        threads: 256,
        is_flat,
        partials: partials.collect(),
        scratch: passes.kept().map(|id| passes.elem_of(id)).collect(),
    })
}

/// The name of the size of a dimension of the rows.
fn size_name(kernel: &Kernel, dim: DimId) -> Option<String> {
    let place = kernel.rows.iter().position(|&own| own == dim)?;
    Some(format!("n{place}"))
}

/// Whether a value must be known for a whole row before others read it.
fn waits_for_row(op: &KernelOp) -> bool {
    matches!(
        op,
        KernelOp::Reduce { .. } | KernelOp::Scan { .. } | KernelOp::Shift { .. }
    )
}
