//! The elementwise primitives in instructions; their meaning is that of `eval/elementwise.rs`.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};

use super::lane::{Emit, Held};
use crate::codegen::Declined;
use crate::graph::{Binary, Unary};
use crate::ty::Elem;

/// A constant operand, where the kernel says one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Known {
    Real(f64),
    Int(i64),
}

fn ill_typed() -> Declined {
    Declined::new("an operand is not of the type that its operation takes")
}

impl Emit<'_, '_> {
    pub(super) fn unary(&mut self, op: Unary, x: Held) -> Result<Held, Declined> {
        match x.elem {
            Elem::Real if op == Unary::IsFinite => {
                // ∞ − ∞ is not a number.
                let nothing = self.sub(x.low, x.low);
                let claim = self.compare(FloatCC::Ordered, nothing, nothing);
                Ok(Held::new(Elem::Bool, claim))
            }
            Elem::Real => self.unary_real(op, x),
            Elem::Int => self.unary_int(op, x),
            Elem::Bool if op == Unary::Not => Ok(Held::new(Elem::Bool, self.not(x.low))),
            Elem::Bool | Elem::Text => Err(ill_typed()),
        }
    }

    pub(super) fn not(&mut self, x: Value) -> Value {
        let all = self.bool(true);
        self.builder.ins().bxor(x, all)
    }

    fn unary_real(&mut self, op: Unary, x: Held) -> Result<Held, Declined> {
        let value = x.low;
        let result = match op {
            Unary::Neg => self.builder.ins().fneg(value),
            Unary::Abs => self.abs(value),
            Unary::Sign => {
                let (zero, one) = (self.real(0.0), self.real(1.0));
                let above = self.compare(FloatCC::GreaterThan, value, zero);
                let below = self.compare(FloatCC::LessThan, value, zero);
                let (above, below) = (self.keep(above, one), self.keep(below, one));
                self.sub(above, below)
            }
            Unary::Exp => self.exp(value),
            Unary::Expm1 => self.expm1(value),
            Unary::Log => self.log(value),
            Unary::Log1p => self.log1p(value),
            Unary::Sqrt => self.builder.ins().sqrt(value),
            Unary::Sin => return Ok(self.call(self.calls.sin, &[x])),
            Unary::Cos => return Ok(self.call(self.calls.cos, &[x])),
            Unary::Tan => return Ok(self.call(self.calls.tan, &[x])),
            Unary::Atan => return Ok(self.call(self.calls.atan, &[x])),
            Unary::Tanh => self.tanh(value),
            Unary::Sigmoid => self.sigmoid(value),
            Unary::LogSigmoid => self.log_sigmoid(value),
            Unary::Floor => self.builder.ins().floor(value),
            Unary::Ceil => self.builder.ins().ceil(value),
            Unary::Round => self.builder.ins().nearest(value),
            Unary::Not | Unary::IsFinite => return Err(ill_typed()),
        };
        Ok(Held::new(Elem::Real, result))
    }

    fn call(&mut self, function: FuncRef, operands: &[Held]) -> Held {
        self.each_lane(Elem::Real, operands, |emit, operands| {
            let call = emit.builder.ins().call(function, operands);
            emit.builder.inst_results(call)[0]
        })
    }

    fn unary_int(&mut self, op: Unary, x: Held) -> Result<Held, Declined> {
        let zero = self.int(0);
        match op {
            Unary::Neg => {
                Ok(self.ints(zero, x, |emit, zero, x, _| emit.builder.ins().isub(zero, x)))
            }
            Unary::Abs => {
                let minus = self.unary_int(Unary::Neg, x)?;
                let is_negative = self.compare_ints(IntCC::SignedLessThan, x, zero);
                Ok(self.choose_held(is_negative, minus, x))
            }
            Unary::Sign => {
                let above = self.compare_ints(IntCC::SignedGreaterThan, x, zero);
                let below = self.compare_ints(IntCC::SignedLessThan, x, zero);
                let (above, below) = (self.bool_to_int(above), self.bool_to_int(below));
                Ok(self.ints(above, below, |emit, a, b, _| emit.builder.ins().isub(a, b)))
            }
            Unary::Not
            | Unary::Exp
            | Unary::Expm1
            | Unary::Log
            | Unary::Log1p
            | Unary::Sqrt
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Atan
            | Unary::Tanh
            | Unary::Sigmoid
            | Unary::LogSigmoid
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round
            | Unary::IsFinite => Err(ill_typed()),
        }
    }

    /// `known`: the second operand, if it is a constant.
    pub(super) fn binary(
        &mut self,
        op: Binary,
        a: Held,
        b: Held,
        known: Option<Known>,
    ) -> Result<Held, Declined> {
        match (a.elem, b.elem) {
            (Elem::Real, Elem::Real) => self.binary_real(op, a, b, known),
            (Elem::Int, Elem::Int) => self.binary_int(op, a, b, known),
            (Elem::Bool, Elem::Bool) => self.binary_bool(op, a.low, b.low),
            (Elem::Real | Elem::Int | Elem::Bool | Elem::Text, _) => Err(ill_typed()),
        }
    }

    fn binary_real(
        &mut self,
        op: Binary,
        x: Held,
        y: Held,
        known: Option<Known>,
    ) -> Result<Held, Declined> {
        let (a, b) = (x.low, y.low);
        let number = match known {
            Some(Known::Real(number)) => Some(number),
            Some(Known::Int(_)) | None => None,
        };
        let claim =
            |emit: &mut Self, condition| Ok(Held::new(Elem::Bool, emit.compare(condition, a, b)));
        let result = match op {
            Binary::Add => self.add(a, b),
            Binary::Sub => self.sub(a, b),
            Binary::Mul => self.mul(a, b),
            Binary::Div => self.div(a, b),
            Binary::Pow => return Ok(self.call(self.calls.pow, &[x, y])),
            Binary::Mod => {
                // The remainder of libm has the sign of the dividend.
                let remainder = self.call(self.calls.remainder, &[x, y]).low;
                let zero = self.real(0.0);
                let is_exact = self.compare(FloatCC::Equal, remainder, zero);
                let below = self.compare(FloatCC::LessThan, remainder, zero);
                let negative = self.compare(FloatCC::LessThan, b, zero);
                let differ = self.builder.ins().bxor(below, negative);
                let inexact = self.not(is_exact);
                let moved = self.builder.ins().band(differ, inexact);
                let sum = self.add(remainder, b);
                self.choose(moved, sum, remainder)
            }
            Binary::Min => self.least(a, b, number),
            Binary::Max => self.greatest(a, b, number),
            Binary::Eq => return claim(self, FloatCC::Equal),
            Binary::Ne => return claim(self, FloatCC::NotEqual),
            Binary::Lt => return claim(self, FloatCC::LessThan),
            Binary::Le => return claim(self, FloatCC::LessThanOrEqual),
            Binary::Gt => return claim(self, FloatCC::GreaterThan),
            Binary::Ge => return claim(self, FloatCC::GreaterThanOrEqual),
            Binary::And | Binary::Or => return Err(ill_typed()),
        };
        Ok(Held::new(Elem::Real, result))
    }

    /// A real to the power of a constant that needs no call.
    pub(super) fn small_power(&mut self, x: Held, exponent: f64) -> Option<Held> {
        let a = x.low;
        let power = match exponent {
            1.0 => a,
            2.0 => self.mul(a, a),
            3.0 => {
                let square = self.mul(a, a);
                self.mul(square, a)
            }
            -1.0 => {
                let one = self.real(1.0);
                self.div(one, a)
            }
            _ => return None,
        };
        (x.elem == Elem::Real).then_some(Held::new(Elem::Real, power))
    }

    /// The smaller; the first of equals; not a number if either is not. `number`: `b`, if it is a constant.
    pub(super) fn least(&mut self, a: Value, b: Value, number: Option<f64>) -> Value {
        let second = self.compare(FloatCC::LessThan, b, a);
        let least = self.choose(second, b, a);
        self.or_nan(b, least, number)
    }

    /// As `least`, for the larger.
    pub(super) fn greatest(&mut self, a: Value, b: Value, number: Option<f64>) -> Value {
        let second = self.compare(FloatCC::LessThan, a, b);
        let greatest = self.choose(second, b, a);
        self.or_nan(b, greatest, number)
    }

    /// `b` if it is not a number: comparisons with it have chosen the other operand.
    fn or_nan(&mut self, b: Value, chosen: Value, number: Option<f64>) -> Value {
        if number.is_some_and(|number| !number.is_nan()) {
            return chosen;
        }
        let is_nan = self.compare(FloatCC::Unordered, b, b);
        self.choose(is_nan, b, chosen)
    }

    fn binary_int(
        &mut self,
        op: Binary,
        a: Held,
        b: Held,
        known: Option<Known>,
    ) -> Result<Held, Declined> {
        let claim = |emit: &mut Self, condition| {
            Ok(Held::new(Elem::Bool, emit.compare_ints(condition, a, b)))
        };
        match op {
            Binary::Add => Ok(self.ints(a, b, |emit, a, b, _| emit.builder.ins().iadd(a, b))),
            Binary::Sub => Ok(self.ints(a, b, |emit, a, b, _| emit.builder.ins().isub(a, b))),
            Binary::Mul => Ok(self.multiply_ints(a, b)),
            Binary::Div | Binary::Mod => match known {
                Some(Known::Int(divisor)) if divisor != 0 => Ok(self.divide_int(op, a, divisor)),
                Some(_) | None => Err(Declined::new(
                    "an integer is divided by what may be 0, which only eager execution reports",
                )),
            },
            Binary::Pow => match known {
                Some(Known::Int(exponent)) if exponent >= 0 => {
                    Ok(self.power_int(a, u32::try_from(exponent).unwrap_or(u32::MAX)))
                }
                Some(_) | None => Err(Declined::new(
                    "an integer is raised to what may be negative, which only eager execution reports",
                )),
            },
            Binary::Min => {
                let first = self.compare_ints(IntCC::SignedLessThanOrEqual, a, b);
                Ok(self.choose_held(first, a, b))
            }
            Binary::Max => {
                let first = self.compare_ints(IntCC::SignedGreaterThanOrEqual, a, b);
                Ok(self.choose_held(first, a, b))
            }
            Binary::Eq => claim(self, IntCC::Equal),
            Binary::Ne => claim(self, IntCC::NotEqual),
            Binary::Lt => claim(self, IntCC::SignedLessThan),
            Binary::Le => claim(self, IntCC::SignedLessThanOrEqual),
            Binary::Gt => claim(self, IntCC::SignedGreaterThan),
            Binary::Ge => claim(self, IntCC::SignedGreaterThanOrEqual),
            Binary::And | Binary::Or => Err(ill_typed()),
        }
    }

    pub(super) fn multiply_ints(&mut self, a: Held, b: Held) -> Held {
        self.ints(a, b, |emit, a, b, _| emit.builder.ins().imul(a, b))
    }

    /// Toward −∞, or the remainder with the sign of the divisor. i64::MIN / −1 wraps around.
    fn divide_int(&mut self, op: Binary, a: Held, divisor: i64) -> Held {
        self.each_lane(Elem::Int, &[a], |emit, operands| {
            let a = operands[0];
            let ins = emit.builder.ins();
            if divisor == -1 {
                return if op == Binary::Mod {
                    ins.iconst(types::I64, 0)
                } else {
                    ins.ineg(a)
                };
            }
            let b = ins.iconst(types::I64, divisor);
            let quotient = emit.builder.ins().sdiv(a, b);
            let product = emit.builder.ins().imul(quotient, b);
            let remainder = emit.builder.ins().isub(a, product);
            // The quotient is rounded toward 0: one too large if there is a remainder with the other sign.
            let signs = emit.builder.ins().bxor(remainder, b);
            let differ = emit
                .builder
                .ins()
                .icmp_imm_s(IntCC::SignedLessThan, signs, 0);
            let inexact = emit.builder.ins().icmp_imm_s(IntCC::NotEqual, remainder, 0);
            let moved = emit.builder.ins().band(differ, inexact);
            if op == Binary::Mod {
                let sum = emit.builder.ins().iadd(remainder, b);
                emit.builder.ins().select(moved, sum, remainder)
            } else {
                let one = emit.builder.ins().uextend(types::I64, moved);
                emit.builder.ins().isub(quotient, one)
            }
        })
    }

    /// Wraps around.
    fn power_int(&mut self, a: Held, exponent: u32) -> Held {
        let mut power = self.int(1);
        let mut square = a;
        let mut rest = exponent;
        while rest > 0 {
            if rest & 1 == 1 {
                power = self.multiply_ints(power, square);
            }
            rest >>= 1;
            if rest > 0 {
                square = self.multiply_ints(square, square);
            }
        }
        power
    }

    fn binary_bool(&mut self, op: Binary, a: Value, b: Value) -> Result<Held, Declined> {
        let ins = self.builder.ins();
        let result = match op {
            Binary::And => ins.band(a, b),
            Binary::Or => ins.bor(a, b),
            Binary::Ne => ins.bxor(a, b),
            Binary::Eq => {
                let differ = ins.bxor(a, b);
                self.not(differ)
            }
            Binary::Add
            | Binary::Sub
            | Binary::Mul
            | Binary::Div
            | Binary::Pow
            | Binary::Mod
            | Binary::Min
            | Binary::Max
            | Binary::Lt
            | Binary::Le
            | Binary::Gt
            | Binary::Ge => return Err(ill_typed()),
        };
        Ok(Held::new(Elem::Bool, result))
    }

    pub(super) fn select(
        &mut self,
        condition: Held,
        then: Held,
        otherwise: Held,
    ) -> Result<Held, Declined> {
        if condition.elem != Elem::Bool || then.elem != otherwise.elem {
            return Err(ill_typed());
        }
        Ok(self.choose_held(condition.low, then, otherwise))
    }

    pub(super) fn cast(&mut self, x: Held, elem: Elem) -> Result<Held, Declined> {
        match (x.elem, elem) {
            (Elem::Int, Elem::Real) => {
                let real = self.lanes.real().lane_type();
                Ok(self.each_lane(elem, &[x], |emit, x| {
                    emit.builder.ins().fcvt_from_sint(real, x[0])
                }))
            }
            (Elem::Bool, Elem::Real) => {
                let one = self.real(1.0);
                Ok(Held::new(elem, self.keep(x.low, one)))
            }
            (Elem::Bool, Elem::Int) => Ok(self.bool_to_int(x.low)),
            // What no integer is near to is the nearest; what is not a number, 0.
            (Elem::Real, Elem::Int) => {
                let floor = self.builder.ins().floor(x.low);
                Ok(
                    self.each_lane(elem, &[Held::new(Elem::Real, floor)], |emit, x| {
                        emit.builder.ins().fcvt_to_sint_sat(types::I64, x[0])
                    }),
                )
            }
            (Elem::Real, Elem::Real)
            | (Elem::Int, Elem::Int)
            | (Elem::Bool, Elem::Bool)
            | (Elem::Text, Elem::Text) => Ok(x),
            (Elem::Real | Elem::Int | Elem::Text, Elem::Bool)
            | (Elem::Text, Elem::Real | Elem::Int)
            | (Elem::Real | Elem::Int | Elem::Bool, Elem::Text) => Err(ill_typed()),
        }
    }
}
