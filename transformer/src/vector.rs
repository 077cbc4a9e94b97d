//! Vectors of f32 and f64: AVX-512, AVX2, or plain arrays where neither is.
#![allow(
    unsafe_code,
    reason = "vector instructions are unsafe to call where the compiler does not know that they exist"
)]

#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// f32 or f64.
pub trait Scalar:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Send
    + Sync
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    /// Arguments of `exp` beyond which it is 0 and infinite.
    const EXP_RANGE: [f64; 2];
    /// Terms of the series of `exp` for arguments of at most ln 2 / 2: enough for the last bit but one.
    const EXP_TERMS: usize;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    fn round(self) -> Self;
    /// 2ⁿ for a whole n in the exponent's range.
    fn power_of_two(n: Self) -> Self;
}

/// Several scalars at once. A type of this trait is only used where its instructions exist: in what
/// [`crate::Kernels`] calls after it has asked the processor.
pub(crate) trait Vector: Copy {
    type Scalar: Scalar;
    const LANES: usize;

    fn splat(x: Self::Scalar) -> Self;
    /// # Safety
    /// `LANES` scalars can be read from `from`.
    unsafe fn read(from: *const Self::Scalar) -> Self;
    /// # Safety
    /// `LANES` scalars can be written to `to`.
    unsafe fn write(self, to: *mut Self::Scalar);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger; `other` if one of them is not a number.
    fn max(self, other: Self) -> Self;
    /// The smaller; `other` if one of them is not a number.
    fn min(self, other: Self) -> Self;
    fn round(self) -> Self;
    /// `self · 2ⁿ` for whole n, where results may be subnormal, zero or infinite.
    fn scale(self, n: Self) -> Self;
    fn sum(self) -> Self::Scalar;
    fn largest(self) -> Self::Scalar;

    fn zero() -> Self {
        Self::splat(Self::Scalar::ZERO)
    }

    /// The lanes of `at`; the others are 0.
    #[inline(always)]
    fn load(slice: &[Self::Scalar], at: Block) -> Self {
        Self::load_or(slice, at, Self::Scalar::ZERO)
    }

    /// The lanes of `at`; the others are `padding`.
    #[inline(always)]
    fn load_or(slice: &[Self::Scalar], at: Block, padding: Self::Scalar) -> Self {
        let part = &slice[at.index..at.index + at.lanes];
        if at.lanes == Self::LANES {
            // SAFETY: the part has as many.
            unsafe { Self::read(part.as_ptr()) }
        } else {
            let mut padded = [padding; MOST_LANES];
            padded[..at.lanes].copy_from_slice(part);
            // SAFETY: no vector has more lanes than the array.
            unsafe { Self::read(padded.as_ptr()) }
        }
    }

    /// To the lanes of `at`.
    #[inline(always)]
    fn store(self, slice: &mut [Self::Scalar], at: Block) {
        let part = &mut slice[at.index..at.index + at.lanes];
        if at.lanes == Self::LANES {
            // SAFETY: the part has as many.
            unsafe { self.write(part.as_mut_ptr()) }
        } else {
            let mut all = [Self::Scalar::ZERO; MOST_LANES];
            // SAFETY: no vector has more lanes than the array.
            unsafe { self.write(all.as_mut_ptr()) }
            part.copy_from_slice(&all[..at.lanes]);
        }
    }

    /// eˣ, within 2 units in the last place; infinities and what is not a number as IEEE says.
    #[inline(always)]
    fn exp(self) -> Self {
        let constant = |x: f64| Self::splat(Self::Scalar::from_f64(x));
        let [lowest, highest] = Self::Scalar::EXP_RANGE;
        let x = constant(lowest).max(self);
        constant(highest).min(x).exp_in_range()
    }

    /// The same where x is in `EXP_RANGE` or not a number.
    #[inline(always)]
    fn exp_in_range(self) -> Self {
        let constant = |x: f64| Self::splat(Self::Scalar::from_f64(x));
        let x = self;
        let n = x.mul(constant(std::f64::consts::LOG2_E)).round();
        let x = n.mul_add(constant(-LN_2_HIGH), x);
        let x = n.mul_add(constant(-LN_2_LOW), x);
        let terms = Self::Scalar::EXP_TERMS;
        let mut series = constant(INVERSE_FACTORIALS[terms]);
        for term in (0..terms).rev() {
            series = series.mul_add(x, constant(INVERSE_FACTORIALS[term]));
        }
        series.scale(n)
    }
}

const MOST_LANES: usize = 16;

/// Neighbouring scalars of a slice, at most as many as a vector has lanes.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) index: usize,
    pub(crate) lanes: usize,
}

/// Goes through `0..length` in blocks. The body stands twice, for whole vectors and for what is left, since a vector that
/// might be partial would go through memory.
macro_rules! blocks {
    ($vector:ty, $length:expr, |$at:ident| $body:block) => {{
        let lanes = <$vector>::LANES;
        let length = $length;
        let whole = length - length % lanes;
        let mut index = 0;
        while index < whole {
            let $at = $crate::vector::Block { index, lanes };
            $body
            index += lanes;
        }
        if whole < length {
            let $at = $crate::vector::Block {
                index: whole,
                lanes: length - whole,
            };
            $body
        }
    }};
}

pub(crate) use blocks;

/// ln 2 in two parts, the first of so few bits that its product with an exponent is exact.
const LN_2_HIGH: f64 = 0.693_145_751_953_125;
const LN_2_LOW: f64 = 1.428_606_820_309_417_2e-6;

const INVERSE_FACTORIALS: [f64; 14] = {
    let mut values = [1.0; 14];
    let mut n = 1;
    while n < values.len() {
        values[n] = values[n - 1] / n as f64;
        n += 1;
    }
    values
};

impl Scalar for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const EXP_RANGE: [f64; 2] = [-104.0, 89.0];
    const EXP_TERMS: usize = 7;

    fn from_f64(x: f64) -> f32 {
        x as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn mul_add(self, factor: f32, addend: f32) -> f32 {
        f32::mul_add(self, factor, addend)
    }

    fn round(self) -> f32 {
        self.round_ties_even()
    }

    fn power_of_two(n: f32) -> f32 {
        f32::from_bits(((n as i32 + 127) as u32) << 23)
    }
}

impl Scalar for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const EXP_RANGE: [f64; 2] = [-746.0, 710.0];
    const EXP_TERMS: usize = 13;

    fn from_f64(x: f64) -> f64 {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn mul_add(self, factor: f64, addend: f64) -> f64 {
        f64::mul_add(self, factor, addend)
    }

    fn round(self) -> f64 {
        self.round_ties_even()
    }

    fn power_of_two(n: f64) -> f64 {
        f64::from_bits(((n as i64 + 1023) as u64) << 52)
    }
}

/// An array as a vector, for every processor. One without fused multiply-add computes it in software, exactly and slowly.
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>([T; PLAIN_LANES]);

const PLAIN_LANES: usize = 4;

impl<T: Scalar> Plain<T> {
    #[inline(always)]
    fn zip(self, other: Self, of: impl Fn(T, T) -> T) -> Self {
        Plain(std::array::from_fn(|lane| of(self.0[lane], other.0[lane])))
    }
}

impl<T: Scalar> Vector for Plain<T> {
    type Scalar = T;
    const LANES: usize = PLAIN_LANES;

    #[inline(always)]
    fn splat(x: T) -> Self {
        Plain([x; PLAIN_LANES])
    }

    #[inline(always)]
    unsafe fn read(from: *const T) -> Self {
        // SAFETY: the caller's; an array is aligned as its elements are.
        Plain(unsafe { *from.cast() })
    }

    #[inline(always)]
    unsafe fn write(self, to: *mut T) {
        // SAFETY: as for `read`.
        unsafe { *to.cast() = self.0 }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Plain(std::array::from_fn(|lane| {
            self.0[lane].mul_add(factor.0[lane], addend.0[lane])
        }))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self) -> Self {
        Plain(self.0.map(T::round))
    }

    #[inline(always)]
    fn scale(self, n: Self) -> Self {
        // In two steps, since 2ⁿ itself may lie outside the normal numbers.
        let half = n.mul(Self::splat(T::from_f64(0.5))).round();
        let power = |n: Self| Plain(n.0.map(T::power_of_two));
        self.mul(power(half)).mul(power(n.sub(half)))
    }

    #[inline(always)]
    fn sum(self) -> T {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }

    #[inline(always)]
    fn largest(self) -> T {
        let larger = |a: T, b: T| if a > b { a } else { b };
        let [a, b, c, d] = self.0;
        larger(larger(a, c), larger(b, d))
    }
}
