//! Which dimensions of a kernel are rows of its loop, and which its cells.
//!
//! Where nothing tells rows apart they are joined with the cells, so that short rows run as one long one. A kernel of rows
//! alone becomes one of cells.

use crate::codegen::Declined;
use crate::graph::Reduction;
use crate::kernel::{Form, Kernel, KernelOp, Level, ValueId};
use crate::ty::{DimId, Elem};

#[derive(Clone, PartialEq, Debug)]
pub(in crate::codegen) struct Layout {
    /// The first so many of the kernel's rows are rows of the loop.
    pub(in crate::codegen) rows: usize,
    pub(in crate::codegen) inputs: Vec<Place>,
    pub(in crate::codegen) outputs: Vec<OutputPlace>,
}

/// How an input lies along the loop.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::codegen) struct Place {
    pub(in crate::codegen) elem: Elem,
    /// Those of the loop's rows that it has, ascending.
    pub(in crate::codegen) rows: Vec<usize>,
    pub(in crate::codegen) has_cells: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::codegen) enum OutputPlace {
    Cells(Elem),
    Rows(Elem),
    /// `elem`: of what is reduced.
    Total {
        kind: Reduction,
        elem: Elem,
        /// Over the loop's rows, not its cells.
        of_rows: bool,
    },
}

impl OutputPlace {
    /// What stands in memory.
    pub(in crate::codegen) fn elem(self) -> Elem {
        match self {
            OutputPlace::Cells(elem) | OutputPlace::Rows(elem) => elem,
            OutputPlace::Total { kind, elem, .. } => match kind {
                Reduction::Count => Elem::Int,
                Reduction::Sum
                | Reduction::Mean
                | Reduction::Max
                | Reduction::Min
                | Reduction::Product
                | Reduction::LogSumExp
                | Reduction::Any
                | Reduction::All => elem,
            },
        }
    }
}

pub(in crate::codegen) fn layout(kernel: &Kernel) -> Result<Layout, Declined> {
    let (rows, joined) = join(kernel);
    let inputs = kernel
        .inputs
        .iter()
        .map(|input| {
            Ok(Place {
                elem: memory(input.elem)?,
                rows: (0..rows)
                    .filter(|&row| input.dims.contains(&kernel.rows[row]))
                    .collect(),
                has_cells: joined.iter().any(|dim| input.dims.contains(dim)),
            })
        })
        .collect::<Result<_, Declined>>()?;
    let outputs = kernel
        .outputs
        .iter()
        .map(|output| {
            let value = kernel
                .body
                .get(output.value.0 as usize)
                .ok_or_else(|| Declined::new("an output of it is no value of its body"))?;
            let elem = memory(value.elem)?;
            if let Form::Total {
                mask: Some(mask), ..
            } = output.form
                && mask.0 as usize >= kernel.body.len()
            {
                return Err(Declined::new("a mask of it is no value of its body"));
            }
            Ok(match &output.form {
                Form::Cells => OutputPlace::Cells(elem),
                Form::Rows if kernel.cells.is_empty() => OutputPlace::Cells(elem),
                Form::Rows => OutputPlace::Rows(elem),
                Form::Total { kind, .. } => OutputPlace::Total {
                    kind: *kind,
                    elem,
                    of_rows: value.level == Level::Row && !kernel.cells.is_empty(),
                },
            })
        })
        .collect::<Result<_, Declined>>()?;
    Ok(Layout {
        rows,
        inputs,
        outputs,
    })
}

fn memory(elem: Elem) -> Result<Elem, Declined> {
    match elem {
        Elem::Real | Elem::Int | Elem::Bool => Ok(elem),
        Elem::Text => Err(Declined::new("text is not numeric")),
    }
}

/// How many rows stay, and the dimensions that are cells of the loop.
fn join(kernel: &Kernel) -> (usize, Vec<DimId>) {
    let mut rows = kernel.rows.len();
    let mut cells = kernel.cells.clone();
    if tells_rows_apart(kernel) {
        return (rows, cells);
    }
    while rows > 0 {
        let dim = kernel.rows[rows - 1];
        let counted = kernel.body.iter().any(|instruction| match instruction.op {
            KernelOp::Position(position) => position == dim || cells.contains(&position),
            KernelOp::Load(_)
            | KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::Unary(..)
            | KernelOp::Binary(..)
            | KernelOp::Select(..)
            | KernelOp::Cast(_)
            | KernelOp::Text(..)
            | KernelOp::Reduce { .. }
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => false,
        });
        let alike = kernel.inputs.iter().all(|input| {
            let has_cells = cells.iter().any(|cell| input.dims.contains(cell));
            cells.is_empty() || has_cells == input.dims.contains(&dim)
        });
        if !alike || counted && !cells.is_empty() {
            break;
        }
        cells.insert(0, dim);
        rows -= 1;
    }
    (rows, cells)
}

/// Whether the kernel does anything with a row as such.
fn tells_rows_apart(kernel: &Kernel) -> bool {
    let in_body = kernel.body.iter().any(|instruction| match instruction.op {
        KernelOp::Reduce { .. } | KernelOp::Shift { .. } | KernelOp::Scan { .. } => true,
        KernelOp::Load(_)
        | KernelOp::Real(_)
        | KernelOp::Int(_)
        | KernelOp::Bool(_)
        | KernelOp::Position(_)
        | KernelOp::Unary(..)
        | KernelOp::Binary(..)
        | KernelOp::Select(..)
        | KernelOp::Cast(_)
        | KernelOp::Text(..)
        | KernelOp::Carry { .. } => false,
    });
    let of_row = |value: ValueId| {
        kernel
            .body
            .get(value.0 as usize)
            .is_some_and(|instruction| instruction.level == Level::Row)
    };
    let in_outputs = !kernel.cells.is_empty()
        && kernel.outputs.iter().any(|output| match output.form {
            Form::Cells => false,
            Form::Rows => true,
            Form::Total { .. } => of_row(output.value),
        });
    in_body || in_outputs
}
