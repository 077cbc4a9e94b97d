//! Padding that nobody sees need not be 0.

use crate::kernel::{Form, Kernel, KernelOp, ValueId};
use crate::ty::Elem;

/// Where a value is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Nowhere,
    /// Only where a mask holds.
    Where(ValueId),
    Anywhere,
}

impl Read {
    fn and(self, other: Read) -> Read {
        match (self, other) {
            (Read::Nowhere, read) | (read, Read::Nowhere) => read,
            (a, b) if a == b => a,
            (Read::Where(_) | Read::Anywhere, Read::Where(_) | Read::Anywhere) => Read::Anywhere,
        }
    }
}

/// Drops the choice between a value and its padding where the padding is never read: it is masked once more further on.
pub(super) fn unmask(kernel: &mut Kernel) {
    let read = reads(kernel);
    let mut stands_for: Vec<ValueId> = (0..kernel.body.len() as u32).map(ValueId).collect();
    for index in 0..kernel.body.len() {
        let instruction = &mut kernel.body[index];
        let own = |id: &mut ValueId| *id = stands_for[id.0 as usize];
        match &mut instruction.op {
            KernelOp::Unary(_, x) | KernelOp::Cast(x) => own(x),
            KernelOp::Binary(_, a, b) => [a, b].into_iter().for_each(own),
            KernelOp::Select(condition, then, otherwise) => {
                [condition, then, otherwise].into_iter().for_each(own);
            }
            // The others read values of a certain level.
            KernelOp::Load(_)
            | KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::TextValue(_)
            | KernelOp::Position(_)
            | KernelOp::Text(..)
            | KernelOp::Reduce { .. }
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => {}
        }
        if let KernelOp::Select(mask, value, _) = instruction.op
            && read[index] == Read::Where(mask)
            && instruction.elem != Elem::Text
        {
            instruction.op = KernelOp::Cast(value);
            stands_for[index] = value;
        }
    }
}

/// Where each value of the body is read.
fn reads(kernel: &Kernel) -> Vec<Read> {
    let mut read = vec![Read::Nowhere; kernel.body.len()];
    let mut note = |id: ValueId, own: Read| {
        if let Some(read) = read.get_mut(id.0 as usize) {
            *read = read.and(own);
        }
    };
    for output in &kernel.outputs {
        let mask = match output.form {
            Form::Cells | Form::Rows => None,
            Form::Total { mask, .. } => mask,
        };
        note(output.value, mask.map_or(Read::Anywhere, Read::Where));
        mask.into_iter().for_each(|mask| note(mask, Read::Anywhere));
    }
    for scan in &kernel.scans {
        let outside = scan.reads(kernel.body.len());
        outside.into_iter().for_each(|id| note(id, Read::Anywhere));
    }
    for index in (0..kernel.body.len()).rev() {
        let own = read[index];
        let mut note = |id: ValueId, own: Read| {
            read[id.0 as usize] = read[id.0 as usize].and(own);
        };
        match &kernel.body[index].op {
            KernelOp::Reduce { value, mask, .. } => {
                note(*value, mask.map_or(Read::Anywhere, Read::Where));
                mask.iter().for_each(|&mask| note(mask, Read::Anywhere));
            }
            KernelOp::Select(mask, then, otherwise) => {
                note(*mask, Read::Anywhere);
                note(*then, Read::Where(*mask));
                note(*otherwise, own);
            }
            op @ (KernelOp::Unary(..) | KernelOp::Binary(..) | KernelOp::Cast(_)) => {
                op.operands().into_iter().for_each(|id| note(id, own));
            }
            op @ (KernelOp::Load(_)
            | KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::TextValue(_)
            | KernelOp::Position(_)
            | KernelOp::Text(..)
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. }) => {
                op.operands()
                    .into_iter()
                    .for_each(|id| note(id, Read::Anywhere));
            }
        }
    }
    read
}
