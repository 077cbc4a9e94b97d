//! Elementwise instructions and constants.

use super::elementwise::Known;
use super::function::Function;
use super::lane::{Emit, Held};
use crate::codegen::Declined;
use crate::kernel::{Instruction, KernelOp, ValueId};

impl Function<'_> {
    /// The value of an elementwise instruction.
    pub(super) fn compute(
        &self,
        emit: &mut Emit,
        instruction: &Instruction,
        operand: &mut dyn FnMut(&mut Emit, ValueId) -> Option<Held>,
    ) -> Result<Held, Declined> {
        let mut get = |emit: &mut Emit, value: ValueId| {
            operand(emit, value)
                .ok_or_else(|| Declined::new("an operand is not there where it is read"))
        };
        match &instruction.op {
            KernelOp::Real(_) | KernelOp::Int(_) | KernelOp::Bool(_) => {
                constant(emit, &instruction.op)
                    .ok_or_else(|| Declined::new("a constant has no value"))
            }
            KernelOp::Unary(op, x) => {
                let x = get(emit, *x)?;
                emit.unary(*op, x)
            }
            KernelOp::Binary(op, a, b) => {
                let known = self.kernel.body.get(b.0 as usize).and_then(known);
                let (a, b) = (get(emit, *a)?, get(emit, *b)?);
                emit.binary(*op, a, b, known)
            }
            KernelOp::Select(condition, then, otherwise) => {
                let condition = get(emit, *condition)?;
                let (then, otherwise) = (get(emit, *then)?, get(emit, *otherwise)?);
                emit.select(condition, then, otherwise)
            }
            KernelOp::Cast(x) => {
                let x = get(emit, *x)?;
                emit.cast(x, instruction.elem)
            }
            KernelOp::Text(..) => Err(Declined::new("text is not numeric")),
            KernelOp::Load(_)
            | KernelOp::Position(_)
            | KernelOp::Reduce { .. }
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => Err(Declined::new("an operation stands where it cannot")),
        }
    }
}

pub(super) fn is_constant(op: &KernelOp) -> bool {
    matches!(op, KernelOp::Real(_) | KernelOp::Int(_) | KernelOp::Bool(_))
}

pub(super) fn constant(emit: &mut Emit, op: &KernelOp) -> Option<Held> {
    match op {
        KernelOp::Real(x) => Some(Held::new(crate::ty::Elem::Real, emit.real(*x))),
        KernelOp::Int(x) => Some(emit.int(*x)),
        KernelOp::Bool(x) => Some(Held::new(crate::ty::Elem::Bool, emit.bool(*x))),
        KernelOp::Load(_)
        | KernelOp::Position(_)
        | KernelOp::Unary(..)
        | KernelOp::Binary(..)
        | KernelOp::Select(..)
        | KernelOp::Cast(_)
        | KernelOp::Text(..)
        | KernelOp::Reduce { .. }
        | KernelOp::Shift { .. }
        | KernelOp::Scan { .. }
        | KernelOp::Carry { .. } => None,
    }
}

fn known(instruction: &Instruction) -> Option<Known> {
    if let KernelOp::Real(x) = instruction.op {
        Some(Known::Real(x))
    } else if let KernelOp::Int(x) = instruction.op {
        Some(Known::Int(x))
    } else {
        None
    }
}

/// A value that is what its instruction says, so that it is written to memory of its size.
pub(super) fn checked(instruction: &Instruction, held: Held) -> Result<Held, Declined> {
    if held.elem == instruction.elem {
        Ok(held)
    } else {
        Err(Declined::new(
            "a value is not of the type that it is said to be",
        ))
    }
}
