//! exp, log and what is made of them, in instructions, for one cell and for vectors alike.
//!
//! The reductions of arguments and the polynomials of the logarithm are those of FreeBSD's msun (K. C. Ng, 1993); fused
//! multiply-adds carry what the reductions round off. Errors are in `tests/codegen/maths.rs`.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::lane::Emit;
use crate::codegen::Precision;

/// What the formulas need to know of a format.
struct Format {
    /// Bits of the mantissa.
    mantissa: i64,
    /// Bits of all.
    width: i64,
    /// Of the exponent.
    bias: i64,
    /// 1.5·2^mantissa: adding it rounds to an integer, which stands in the lowest bits of the sum.
    magic: f64,
    magic_bits: i64,
    /// ln 2 = `ln2_high` + `ln2_low`; the products of the first with an exponent are exact.
    ln2_high: f64,
    ln2_low: f64,
    /// Beyond these exp is ∞, or 0.
    exp_high: f64,
    exp_low: f64,
    /// Below this expm1 is −1.
    expm1_low: f64,
    /// Below this f(x) = x rounds correctly, for expm1, log1p and tanh.
    linear: f64,
    smallest_normal: f64,
    sqrt_half_bits: i64,
    /// (eʳ − 1 − r)/r² for |r| ≤ ln 2/2, from the highest power.
    exp: &'static [f64],
    /// (log((1 + s)/(1 − s)) − 2s)/s³ in s², for |s| ≤ 0.1716, from the highest power.
    log: &'static [f64],
}

static F32: Format = Format {
    mantissa: 23,
    width: 32,
    bias: 127,
    magic: 12582912.0,
    magic_bits: 0x4b40_0000,
    ln2_high: 0.693138122558594,
    ln2_low: 9.058000614458463e-06,
    exp_high: 89.0,
    exp_low: -104.0,
    expm1_low: -30.0,
    linear: 1.0e-9,
    smallest_normal: 1.1754943508222875e-38,
    sqrt_half_bits: 0x3f35_04f3,
    exp: &[
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ],
    log: &[
        0.24279078841209412,
        0.2849878668785095,
        0.40000972151756287,
        0.6666666269302368,
    ],
};

static F64: Format = Format {
    mantissa: 52,
    width: 64,
    bias: 1023,
    magic: 6755399441055744.0,
    magic_bits: 0x4338_0000_0000_0000,
    ln2_high: 0.6931471803691238,
    ln2_low: 1.9082149292705877e-10,
    exp_high: 710.0,
    exp_low: -746.0,
    expm1_low: -60.0,
    linear: 1.0e-18,
    smallest_normal: f64::MIN_POSITIVE,
    sqrt_half_bits: 0x3fe6_a09e_667f_3bcd,
    // 1/k!, to k = 13.
    exp: &[
        1.0 / 6227020800.0,
        1.0 / 479001600.0,
        1.0 / 39916800.0,
        1.0 / 3628800.0,
        1.0 / 362880.0,
        1.0 / 40320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
    ],
    log: &[
        0.14798198605116586,
        0.15313837699209373,
        0.1818357216161805,
        0.22222198432149784,
        0.2857142874366239,
        0.3999999999940942,
        0.6666666666666735,
    ],
};

impl Emit<'_, '_> {
    fn format(&self) -> &'static Format {
        match self.lanes.precision {
            Precision::F32 => &F32,
            Precision::F64 => &F64,
        }
    }

    fn polynomial(&mut self, coefficients: &[f64], x: Value) -> Value {
        let mut acc = self.real(coefficients[0]);
        for &coefficient in &coefficients[1..] {
            let coefficient = self.real(coefficient);
            acc = self.fma(acc, x, coefficient);
        }
        acc
    }

    /// Not above `bound`; what is not a number stays.
    fn at_most(&mut self, x: Value, bound: f64) -> Value {
        let bound = self.real(bound);
        let beyond = self.compare(FloatCC::LessThan, bound, x);
        self.choose(beyond, bound, x)
    }

    fn at_least(&mut self, x: Value, bound: f64) -> Value {
        let bound = self.real(bound);
        let beyond = self.compare(FloatCC::LessThan, x, bound);
        self.choose(beyond, bound, x)
    }

    /// With x = n·ln 2 + r, |r| ≤ ln 2/2: n + `magic` as bits, and eʳ − 1 as a sum, the second what the first lost in rounding.
    fn exp_parts(&mut self, x: Value) -> (Value, Value, Value) {
        let format = self.format();
        let per_ln2 = self.real(std::f64::consts::LOG2_E);
        let magic = self.real(format.magic);
        let shifted = self.fma(x, per_ln2, magic);
        let n = self.sub(shifted, magic);
        let (high, low) = (self.real(-format.ln2_high), self.real(-format.ln2_low));
        let head = self.fma(n, high, x);
        let r = self.fma(n, low, head);
        let lost = self.sub(head, r);
        let lost = self.fma(n, low, lost);
        let square = self.mul(r, r);
        let tail = self.polynomial(format.exp, r);
        let tail = self.fma(square, tail, lost);
        let grown = self.add(r, tail);
        let rest = self.sub(grown, r);
        let rest = self.sub(tail, rest);
        (self.as_bits(shifted), grown, rest)
    }

    /// 2^(n + more), n in the lowest bits of `shifted`.
    fn power_of_two(&mut self, shifted: Value, more: i64) -> Value {
        let format = self.format();
        let biased = self.bits(format.bias + more - format.magic_bits);
        let exponent = self.builder.ins().iadd(shifted, biased);
        let power = self.builder.ins().ishl_imm_u(exponent, format.mantissa);
        self.as_real(power)
    }

    pub(super) fn exp(&mut self, x: Value) -> Value {
        let format = self.format();
        let x = self.at_most(x, format.exp_high);
        let x = self.at_least(x, format.exp_low);
        let (shifted, grown, _) = self.exp_parts(x);
        let one = self.real(1.0);
        let mantissa = self.add(grown, one);
        // By two powers of two, since one cannot reach subnormal numbers: ⌊n/2⌋ and the rest. `above` makes n positive.
        let above = 1 << 12;
        let offset = self.bits(above - format.magic_bits);
        let n = self.builder.ins().iadd(shifted, offset);
        let half = self.builder.ins().ushr_imm_u(n, 1);
        let rest = self.builder.ins().isub(n, half);
        let biased = self.bits(format.bias - above / 2);
        let mut scaled = mantissa;
        for exponent in [half, rest] {
            let exponent = self.builder.ins().iadd(exponent, biased);
            let power = self.builder.ins().ishl_imm_u(exponent, format.mantissa);
            let power = self.as_real(power);
            scaled = self.mul(scaled, power);
        }
        scaled
    }

    /// eˣ − 1 for x that `expm1` has bounded, as a sum: 2·(2ⁿ⁻¹·(eʳ − 1) + (2ⁿ⁻¹ − ½)), and what that lost in rounding.
    fn expm1_bounded(&mut self, x: Value) -> (Value, Value) {
        let (shifted, grown, rest) = self.exp_parts(x);
        let power = self.power_of_two(shifted, -1);
        let half = self.real(0.5);
        let less = self.sub(power, half);
        let halved = self.fma(power, grown, less);
        let lost = self.sub(less, halved);
        let lost = self.fma(power, grown, lost);
        let lost = self.fma(power, rest, lost);
        (self.add(halved, halved), self.add(lost, lost))
    }

    /// `x` where it is so small that the function is the identity, which also keeps −0.
    fn linear_near_zero(&mut self, x: Value, result: Value) -> Value {
        let bound = self.real(self.format().linear);
        let size = self.abs(x);
        let is_small = self.compare(FloatCC::LessThan, size, bound);
        self.choose(is_small, x, result)
    }

    pub(super) fn expm1(&mut self, x: Value) -> Value {
        let format = self.format();
        let bounded = self.at_most(x, format.exp_high);
        let bounded = self.at_least(bounded, format.expm1_low);
        let (result, _) = self.expm1_bounded(bounded);
        self.linear_near_zero(x, result)
    }

    /// (k, f) with x = 2ᵏ·(1 + f), 1 + f in [√½, √2); x is normal and positive.
    fn log_parts(&mut self, x: Value) -> (Value, Value) {
        let format = self.format();
        let bits = self.as_bits(x);
        // The exponent counted from √½, made positive by a quarter of all bit patterns.
        let quarter = 1i64 << (format.width - 2);
        let above = quarter >> format.mantissa;
        let offset = self.bits(quarter.wrapping_sub(format.sqrt_half_bits));
        let counted = self.builder.ins().iadd(bits, offset);
        let counted = self.builder.ins().ushr_imm_u(counted, format.mantissa);
        let magic_bits = self.bits(format.magic_bits - above);
        let k = self.builder.ins().iadd(counted, magic_bits);
        let k = self.as_real(k);
        let magic = self.real(format.magic);
        let k = self.sub(k, magic);
        let exponent = self.builder.ins().ishl_imm_u(counted, format.mantissa);
        let bits = self.builder.ins().isub(bits, exponent);
        let quarter = self.bits(quarter);
        let bits = self.builder.ins().iadd(bits, quarter);
        let mantissa = self.as_real(bits);
        let one = self.real(1.0);
        (k, self.sub(mantissa, one))
    }

    /// k·ln 2 + log(1 + f) + c.
    fn log_sum(&mut self, k: Value, f: Value, c: Option<Value>) -> Value {
        let format = self.format();
        let two = self.real(2.0);
        let sum = self.add(f, two);
        let s = self.div(f, sum);
        let z = self.mul(s, s);
        let tail = self.polynomial(format.log, z);
        let tail = self.mul(tail, z);
        let half = self.real(0.5);
        let half_f = self.mul(f, half);
        let half_square = self.mul(half_f, f);
        let tail = self.add(tail, half_square);
        let low = self.real(format.ln2_low);
        let rest = match c {
            None => self.mul(k, low),
            Some(c) => self.fma(k, low, c),
        };
        let tail = self.fma(s, tail, rest);
        let tail = self.sub(tail, half_square);
        let high = self.real(format.ln2_high);
        let near = self.add(tail, f);
        self.fma(k, high, near)
    }

    pub(super) fn log(&mut self, x: Value) -> Value {
        let format = self.format();
        let smallest = self.real(format.smallest_normal);
        let is_small = self.compare(FloatCC::LessThan, x, smallest);
        let scale = self.real((format.mantissa as f64).exp2());
        let scaled = self.mul(x, scale);
        let normal = self.choose(is_small, scaled, x);
        let (k, f) = self.log_parts(normal);
        let less = self.real(-format.mantissa as f64);
        let less = self.keep(is_small, less);
        let k = self.add(k, less);
        let result = self.log_sum(k, f, None);
        self.log_ends(x, x, result)
    }

    /// The values where `argument`, of which the logarithm is taken, is 0, negative or no finite number; x is then the result if it is no number or ∞.
    fn log_ends(&mut self, argument: Value, x: Value, result: Value) -> Value {
        let infinity = self.real(f64::INFINITY);
        let is_finite = self.compare(FloatCC::LessThan, x, infinity);
        let result = self.choose(is_finite, result, x);
        let zero = self.real(0.0);
        let nothing = self.real(f64::NEG_INFINITY);
        let is_zero = self.compare(FloatCC::Equal, argument, zero);
        let result = self.choose(is_zero, nothing, result);
        let nan = self.real(f64::NAN);
        let is_negative = self.compare(FloatCC::LessThan, argument, zero);
        self.choose(is_negative, nan, result)
    }

    /// log(1 + x) for finite x > −1, and what is not a number; 0 for −0.
    fn log1p_inside(&mut self, x: Value) -> (Value, Value) {
        let one = self.real(1.0);
        let u = self.add(x, one);
        let (k, f) = self.log_parts(u);
        // What 1 + x lost in rounding, relative to it.
        let above = self.sub(u, x);
        let above = self.sub(one, above);
        let below = self.sub(u, one);
        let below = self.sub(x, below);
        let is_large = self.compare(FloatCC::GreaterThan, k, one);
        let lost = self.choose(is_large, above, below);
        let lost = self.div(lost, u);
        (u, self.log_sum(k, f, Some(lost)))
    }

    pub(super) fn log1p(&mut self, x: Value) -> Value {
        let (u, result) = self.log1p_inside(x);
        let result = self.log_ends(u, x, result);
        self.linear_near_zero(x, result)
    }

    /// e^−|x|, at most 1.
    fn exp_of_minus_size(&mut self, x: Value) -> Value {
        let size = self.abs(x);
        let minus = self.builder.ins().fneg(size);
        self.exp(minus)
    }

    /// The quotient of two sums, of which the second terms are small: one division, and a step of Newton's.
    fn quotient(&mut self, [a, a_rest]: [Value; 2], [b, b_rest]: [Value; 2]) -> Value {
        let one = self.real(1.0);
        let inverse = self.div(one, b);
        let quotient = self.mul(a, inverse);
        let minus = self.builder.ins().fneg(quotient);
        let lost = self.fma(minus, b, a);
        let lost = self.add(lost, a_rest);
        let lost = self.fma(minus, b_rest, lost);
        self.fma(lost, inverse, quotient)
    }

    /// 1/(1 + e^−|x|), of which the numerator is that power for negative x.
    pub(super) fn sigmoid(&mut self, x: Value) -> Value {
        let small = self.exp_of_minus_size(x);
        let (zero, one) = (self.real(0.0), self.real(1.0));
        let sum = self.add(small, one);
        let rest = self.sub(sum, one);
        let rest = self.sub(small, rest);
        let is_negative = self.compare(FloatCC::LessThan, x, zero);
        let numerator = self.choose(is_negative, small, one);
        self.quotient([numerator, zero], [sum, rest])
    }

    /// min(x, 0) − log(1 + e^−|x|)
    pub(super) fn log_sigmoid(&mut self, x: Value) -> Value {
        let small = self.exp_of_minus_size(x);
        let (_, tail) = self.log1p_inside(small);
        let lesser = self.at_most(x, 0.0);
        self.sub(lesser, tail)
    }

    /// With t = e^2|x| − 1: t/(t + 2) for small x, 1 − 2/(t + 2) for others, and the sign of x.
    pub(super) fn tanh(&mut self, x: Value) -> Value {
        let size = self.abs(x);
        let double = self.add(size, size);
        // Beyond, the result rounds to 1.
        let double = self.at_most(double, 60.0);
        let (t, t_rest) = self.expm1_bounded(double);
        let (one, two) = (self.real(1.0), self.real(2.0));
        let sum = self.add(t, two);
        let sum_rest = self.sub(sum, two);
        let sum_rest = self.sub(t, sum_rest);
        let sum_rest = self.add(sum_rest, t_rest);
        let split = self.real(0.55);
        let is_large = self.compare(FloatCC::GreaterThan, size, split);
        let numerator = self.choose(is_large, two, t);
        let zero = self.real(0.0);
        let numerator_rest = self.choose(is_large, zero, t_rest);
        let quotient = self.quotient([numerator, numerator_rest], [sum, sum_rest]);
        let less = self.sub(one, quotient);
        let result = self.choose(is_large, less, quotient);
        let sign = self.bits(1 << (self.format().width - 1));
        let bits = self.as_bits(x);
        let sign = self.builder.ins().band(bits, sign);
        let bits = self.as_bits(result);
        let bits = self.builder.ins().bor(bits, sign);
        let result = self.as_real(bits);
        self.linear_near_zero(x, result)
    }
}
