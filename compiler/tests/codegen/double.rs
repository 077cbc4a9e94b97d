//! Functions in double-double arithmetic (T. J. Dekker 1971): about 100 bits, the reference for f64.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// `high + low`, not overlapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Double {
    pub(crate) high: f64,
    pub(crate) low: f64,
}

/// `mantissa · 2^exponent`, beyond the range of f64 too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaled {
    pub(crate) mantissa: Double,
    pub(crate) exponent: i32,
}

/// ln 2 to 107 bits.
const LN_2: Double = Double {
    high: std::f64::consts::LN_2,
    low: 2.3190468138462996e-17,
};

fn sum(a: f64, b: f64) -> Double {
    let high = a + b;
    let part = high - a;
    Double {
        high,
        low: (a - (high - part)) + (b - part),
    }
}

impl From<f64> for Double {
    fn from(x: f64) -> Double {
        Double { high: x, low: 0.0 }
    }
}

impl Add for Double {
    type Output = Double;
    fn add(self, other: Double) -> Double {
        let (high, low) = (sum(self.high, other.high), sum(self.low, other.low));
        let first = sum(high.high, high.low + low.high);
        sum(first.high, first.low + low.low)
    }
}

impl Neg for Double {
    type Output = Double;
    fn neg(self) -> Double {
        Double {
            high: -self.high,
            low: -self.low,
        }
    }
}

impl Sub for Double {
    type Output = Double;
    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl Mul for Double {
    type Output = Double;
    fn mul(self, other: Double) -> Double {
        let high = self.high * other.high;
        let low = self.high.mul_add(other.high, -high);
        sum(high, low + (self.high * other.low + self.low * other.high))
    }
}

impl Div for Double {
    type Output = Double;
    fn div(self, other: Double) -> Double {
        let first = self.high / other.high;
        let rest = self - other * first.into();
        let second = rest.high / other.high;
        let rest = rest - other * second.into();
        sum(first, second) + (rest.high / other.high).into()
    }
}

/// Σ xᵏ/k! from k = 1.
fn small_expm1(x: Double) -> Double {
    let mut acc = Double::from(0.0);
    for k in (1..=30).rev() {
        acc = x / f64::from(k).into() * (Double::from(1.0) + acc);
    }
    acc
}

pub(crate) fn exp(x: Double) -> Scaled {
    let n = (x.high / std::f64::consts::LN_2).round();
    let r = x - LN_2 * n.into();
    Scaled {
        mantissa: Double::from(1.0) + small_expm1(r),
        exponent: n as i32,
    }
}

impl Scaled {
    /// Within the range of f64; far below it, 0.
    fn value(self) -> Double {
        let scale = |x: f64| {
            let half = self.exponent / 2;
            x * 2f64.powi(half) * 2f64.powi(self.exponent - half)
        };
        Double {
            high: scale(self.mantissa.high),
            low: scale(self.mantissa.low),
        }
    }
}

impl From<Double> for Scaled {
    fn from(mantissa: Double) -> Scaled {
        Scaled {
            mantissa,
            exponent: 0,
        }
    }
}

pub(crate) fn expm1(x: f64) -> Double {
    if x.abs() < 0.5 {
        small_expm1(x.into())
    } else {
        exp(x.into()).value() - 1.0.into()
    }
}

/// log((1 + s)/(1 − s)) = 2(s + s³/3 + s⁵/5 + …), |s| < 0.18
fn series(s: Double) -> Double {
    let square = s * s;
    let mut acc = Double::from(0.0);
    for k in (0..24).rev() {
        acc = acc * square + Double::from(1.0) / f64::from(2 * k + 1).into();
    }
    let half = acc * s;
    half + half
}

pub(crate) fn log(x: Double) -> Double {
    let (mut mantissa, mut exponent) = (x, 0.0);
    while mantissa.high >= std::f64::consts::SQRT_2 {
        mantissa = mantissa * 0.5.into();
        exponent += 1.0;
    }
    while mantissa.high < std::f64::consts::FRAC_1_SQRT_2 {
        mantissa = mantissa * 2.0.into();
        exponent -= 1.0;
    }
    let one = Double::from(1.0);
    series((mantissa - one) / (mantissa + one)) + LN_2 * f64::into(exponent)
}

pub(crate) fn log1p(x: Double) -> Double {
    if x.high.abs() < 1e-290 {
        // The next term is far below what two f64s hold, and they could not hold the quotient's second half.
        return x;
    }
    if x.high.abs() < 0.3 {
        series(x / (Double::from(2.0) + x))
    } else {
        log(Double::from(1.0) + x)
    }
}

pub(crate) fn tanh(x: f64) -> Double {
    let t = expm1(2.0 * x);
    t / (t + 2.0.into())
}

pub(crate) fn sigmoid(x: f64) -> Scaled {
    let e = exp((-x.abs()).into());
    let sum = Double::from(1.0) + e.value();
    if x >= 0.0 {
        (Double::from(1.0) / sum).into()
    } else {
        Scaled {
            mantissa: e.mantissa / sum,
            exponent: e.exponent,
        }
    }
}

pub(crate) fn log_sigmoid(x: f64) -> Scaled {
    let e = exp((-x.abs()).into());
    if x > 600.0 {
        // log(1 + e) is e, to the last bit.
        return Scaled {
            mantissa: -e.mantissa,
            exponent: e.exponent,
        };
    }
    (Double::from(x.min(0.0)) - log1p(e.value())).into()
}

impl Scaled {
    /// How far `found` is from it, in units of the last place of f64.
    pub(crate) fn ulps(self, found: f64) -> f64 {
        let size = self.mantissa.high.abs();
        if size == 0.0 {
            return if found == 0.0 { 0.0 } else { f64::INFINITY };
        }
        let place = (size.log2().floor() as i32 + self.exponent).max(-1022) - 52;
        // Both divided by the power of the exponent, in two exact steps.
        let down = |x: f64, by: i32| x * 2f64.powi(-(by / 2)) * 2f64.powi(-(by - by / 2));
        let largest = 2f64.powi(1023);
        let found = if found.is_infinite() {
            down(largest, self.exponent) * 2.0 * found.signum()
        } else {
            down(found, self.exponent)
        };
        let error = Double::from(found) - self.mantissa;
        let unit = 2f64.powi(place - self.exponent);
        (error.high + error.low).abs() / unit
    }
}
