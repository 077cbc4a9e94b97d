//! Elementwise instructions and constants.

use super::elementwise::Known;
use super::function::Function;
use super::lane::{Emit, Held};
use super::text::Operand;
use crate::codegen::{Declined, frame};
use crate::graph::Binary;
use crate::kernel::{Instruction, KernelOp, ValueId};
use crate::ty::Elem;

impl Function<'_> {
    /// The value of an elementwise instruction.
    pub(super) fn compute(
        &self,
        emit: &mut Emit,
        instruction: &Instruction,
        operand: &mut dyn FnMut(&mut Emit, ValueId) -> Option<Held>,
    ) -> Result<Held, Declined> {
        if let Some(sum) = self.sum_with_product(emit, instruction, operand) {
            return Ok(sum);
        }
        let mut get = |emit: &mut Emit, value: ValueId| {
            operand(emit, value)
                .ok_or_else(|| Declined::new("an operand is not there where it is read"))
        };
        match &instruction.op {
            KernelOp::Real(_) | KernelOp::Int(_) | KernelOp::Bool(_) | KernelOp::TextValue(_) => {
                constant(emit, &instruction.op)
                    .ok_or_else(|| Declined::new("a constant has no value"))
            }
            KernelOp::Unary(op, x) => {
                let x = get(emit, *x)?;
                emit.unary(*op, x)
            }
            KernelOp::Binary(op, a, b) => {
                let known = self.kernel.body.get(b.0 as usize).and_then(known);
                let a = get(emit, *a)?;
                if let (Binary::Pow, Some(Known::Real(exponent))) = (op, known)
                    && let Some(power) = emit.small_power(a, exponent)
                {
                    return Ok(power);
                }
                let b = get(emit, *b)?;
                emit.binary(*op, a, b, known)
            }
            KernelOp::Select(condition, then, otherwise) => {
                let condition = get(emit, *condition)?;
                let is_zero = self.is_zero(*otherwise);
                let (then, otherwise) = (get(emit, *then)?, get(emit, *otherwise)?);
                if is_zero && (condition.elem, then.elem) == (Elem::Bool, Elem::Real) {
                    let kept = emit.keep(condition.low, then.low);
                    return Ok(Held::new(Elem::Real, kept));
                }
                emit.select(condition, then, otherwise)
            }
            KernelOp::Cast(x) => {
                let x = get(emit, *x)?;
                emit.cast(x, instruction.elem)
            }
            KernelOp::Text(op, operands) => {
                let operands = operands
                    .iter()
                    .map(|&value| {
                        let known = match self.kernel.body.get(value.0 as usize) {
                            Some(Instruction {
                                op: KernelOp::TextValue(text),
                                ..
                            }) => Some(text.as_str()),
                            Some(_) | None => None,
                        };
                        let held = get(emit, value)?;
                        Ok(Operand { held, known })
                    })
                    .collect::<Result<Vec<_>, Declined>>()?;
                let texts = self.word(emit, frame::TEXTS);
                emit.text(op, &operands, texts)
            }
            KernelOp::Load(_)
            | KernelOp::Position(_)
            | KernelOp::Reduce { .. }
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => Err(Declined::new("an operation stands where it cannot")),
        }
    }

    /// a ± c·x for a constant c, rounded once. Nothing else reads the product, so no one sees it rounded in another way; for two
    /// values c and x, a difference of equal products would not be 0.
    fn sum_with_product(
        &self,
        emit: &mut Emit,
        instruction: &Instruction,
        operand: &mut dyn FnMut(&mut Emit, ValueId) -> Option<Held>,
    ) -> Option<Held> {
        let KernelOp::Binary(op @ (Binary::Add | Binary::Sub), a, _) = instruction.op else {
            return None;
        };
        let (sum, product) = self.summands(instruction)?;
        let (factor, x) = self.product(product)?;
        let (x, sum) = (operand(emit, x)?, operand(emit, sum)?);
        let (is_difference, is_minuend) = (op == Binary::Sub, product == a);
        let factor = emit.real(if is_difference && !is_minuend {
            -factor
        } else {
            factor
        });
        let sum = if is_difference && is_minuend {
            emit.negative(sum.low)
        } else {
            sum.low
        };
        Some(Held::new(Elem::Real, emit.fma(factor, x.low, sum)))
    }

    /// Of a sum or difference, what is added to a product by a constant, and that product.
    fn summands(&self, instruction: &Instruction) -> Option<(ValueId, ValueId)> {
        let KernelOp::Binary(Binary::Add | Binary::Sub, a, b) = instruction.op else {
            return None;
        };
        if self.product(b).is_some() {
            return Some((a, b));
        }
        self.product(a).map(|_| (b, a))
    }

    /// The sums that products are part of, by the index of the product.
    pub(super) fn find_sums(&mut self) {
        let body = self.kernel.body.iter().enumerate();
        let sums = body.filter_map(|(index, instruction)| {
            let (_, product) = self.summands(instruction)?;
            Some((product.0 as usize, index))
        });
        self.sums = sums.collect();
    }

    /// The factors of a real product that is read once, the first of which is a constant.
    fn product(&self, value: ValueId) -> Option<(f64, ValueId)> {
        let body = &self.kernel.body;
        let instruction = body.get(value.0 as usize)?;
        let KernelOp::Binary(Binary::Mul, a, b) = instruction.op else {
            return None;
        };
        let factor = |value: ValueId| match body.get(value.0 as usize).and_then(known) {
            Some(Known::Real(factor)) => Some(factor),
            Some(Known::Int(_)) | None => None,
        };
        let product = match (factor(a), factor(b)) {
            (Some(factor), _) => (factor, b),
            (None, Some(factor)) => (factor, a),
            (None, None) => return None,
        };
        let is_read_once = self.uses.get(value.0 as usize) == Some(&1);
        (is_read_once && instruction.elem == Elem::Real).then_some(product)
    }

    /// Whether a value is the constant 0.
    fn is_zero(&self, value: ValueId) -> bool {
        let instruction = self.kernel.body.get(value.0 as usize);
        matches!(instruction.map(|it| &it.op), Some(KernelOp::Real(x)) if x.to_bits() == 0)
    }
}

pub(super) fn is_constant(op: &KernelOp) -> bool {
    matches!(op, KernelOp::Real(_) | KernelOp::Int(_) | KernelOp::Bool(_))
}

pub(super) fn constant(emit: &mut Emit, op: &KernelOp) -> Option<Held> {
    match op {
        KernelOp::Real(x) => Some(Held::new(Elem::Real, emit.real(*x))),
        KernelOp::Int(x) => Some(emit.int(*x)),
        KernelOp::Bool(x) => Some(Held::new(Elem::Bool, emit.bool(*x))),
        KernelOp::TextValue(text) => Some(emit.text_value(text)),
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
