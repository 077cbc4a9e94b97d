//! What instructions read, and about what they cost.

use crate::codegen::Declined;
use crate::graph::{Binary, Unary};
use crate::kernel::{Form, Instruction, Kernel, KernelOp, ValueId};

pub(super) fn roots(form: &Form, value: ValueId) -> Vec<usize> {
    [Some(value), form.mask()]
        .into_iter()
        .flatten()
        .map(|value| value.0 as usize)
        .collect()
}

/// The values of the kernel's body that an instruction of it reads; all come before it.
pub(super) fn operands(
    kernel: &Kernel,
    instruction: &Instruction,
    index: usize,
) -> Result<Vec<usize>, Declined> {
    let operands: Vec<usize> = match &instruction.op {
        KernelOp::Scan { scan, .. } => scan_operands(kernel, *scan)?,
        op => op.operands().iter().map(|x| x.0 as usize).collect(),
    };
    if operands.iter().any(|&operand| operand >= index) {
        return Err(Declined::new("a value of it stands before its operand"));
    }
    Ok(operands)
}

/// What a scan reads of the kernel's body.
pub(super) fn scan_operands(kernel: &Kernel, scan: usize) -> Result<Vec<usize>, Declined> {
    let scan = kernel
        .scans
        .get(scan)
        .ok_or_else(|| Declined::new("it names a scan that it lacks"))?;
    let reads = scan.reads(kernel.body.len());
    let mut operands: Vec<usize> = reads.iter().map(|x| x.0 as usize).collect();
    operands.sort_unstable();
    operands.dedup();
    Ok(operands)
}

/// About how many instructions an operation takes.
pub(super) fn own_cost(instruction: &Instruction) -> u32 {
    match &instruction.op {
        KernelOp::Unary(op, _) => match op {
            Unary::Neg
            | Unary::Not
            | Unary::Abs
            | Unary::Sign
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round
            | Unary::IsFinite => 1,
            Unary::Sqrt => 8,
            Unary::Exp
            | Unary::Expm1
            | Unary::Log
            | Unary::Log1p
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Atan
            | Unary::Tanh
            | Unary::Sigmoid
            | Unary::LogSigmoid => 20,
        },
        KernelOp::Binary(op, ..) => match op {
            Binary::Pow | Binary::Mod => 40,
            Binary::Div => 6,
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Min
            | Binary::Max
            | Binary::Eq
            | Binary::Ne
            | Binary::Lt
            | Binary::Le
            | Binary::Gt
            | Binary::Ge
            | Binary::And
            | Binary::Or => 1,
        },
        KernelOp::Cast(_) => 4,
        KernelOp::Load(_)
        | KernelOp::Real(_)
        | KernelOp::Int(_)
        | KernelOp::Bool(_)
        | KernelOp::TextValue(_)
        | KernelOp::Position(_)
        | KernelOp::Select(..)
        | KernelOp::Reduce { .. }
        | KernelOp::Shift { .. }
        | KernelOp::Scan { .. }
        | KernelOp::Carry { .. } => 1,
        KernelOp::Text(..) => 100,
    }
}
