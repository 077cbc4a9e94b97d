//! How far the functions of generated code are from the true ones, in units of the last place.
//!
//! In f32 the reference is the standard library's f64; in f64, double-double arithmetic.

use rlp_compiler::codegen::cpu::Code;
use rlp_compiler::codegen::launch::{Launch, Slice, SliceMut, Source};
use rlp_compiler::codegen::{Precision, cpu};
use rlp_compiler::graph::{Reduction, Unary};
use rlp_compiler::kernel::Form;
use rlp_compiler::ty::Elem;

use crate::builder::Builder;
use crate::double::{self, Scaled};
use crate::loss::noise;

const FUNCTIONS: [Unary; 7] = [
    Unary::Exp,
    Unary::Expm1,
    Unary::Log,
    Unary::Log1p,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::LogSigmoid,
];

fn code(op: Unary, precision: Precision) -> Code {
    let mut b = Builder::new(0, 1);
    let x = b.load(Elem::Real, &[0]);
    let y = b.unary(op, x);
    b.output(y, Form::Cells);
    cpu::compile_verified(&b.finish(), precision).unwrap()
}

fn of_f32(code: &Code, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let (sources, targets) = ([Source::Slice(Slice::F32(x))], vec![SliceMut::F32(&mut y)]);
    let mut launch = Launch::new(code, &[], x.len(), &sources, targets).unwrap();
    launch.run(1);
    y
}

fn of_f64(code: &Code, x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    let (sources, targets) = ([Source::Slice(Slice::F64(x))], vec![SliceMut::F64(&mut y)]);
    let mut launch = Launch::new(code, &[], x.len(), &sources, targets).unwrap();
    launch.run(1);
    y
}

fn true_value(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => {
            let e = (-x.abs()).exp();
            (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
        }
        _ => x.min(0.0) - (-x.abs()).exp().ln_1p(),
    }
}

/// Distance in f32; 0 if both are not numbers, infinite if one is.
fn ulps_f32(found: f32, truth: f64) -> f64 {
    if found.is_nan() || truth.is_nan() {
        return if found.is_nan() && truth.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if truth.is_infinite() || found == truth as f32 {
        return if f64::from(found) == truth || found == truth as f32 {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = (((truth.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(-126);
    let found = if found.is_infinite() {
        2f64.powi(128) * f64::from(found.signum())
    } else {
        f64::from(found)
    };
    (found - truth).abs() / 2f64.powi(exponent - 23)
}

/// The largest error over the f32s with these bits, and where it is.
fn worst_f32(op: Unary, bits: impl Iterator<Item = u32>) -> (f64, f32) {
    let code = code(op, Precision::F32);
    let mut bits = bits.peekable();
    let mut worst = (0.0, 0.0);
    while bits.peek().is_some() {
        let x: Vec<f32> = bits.by_ref().take(1 << 16).map(f32::from_bits).collect();
        for (&x, y) in x.iter().zip(of_f32(&code, &x)) {
            let error = ulps_f32(y, true_value(op, f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
    }
    worst
}

const SPECIAL: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1e30,
    -1e30,
    1.401298464324817e-45,
    -1.401298464324817e-45,
    f32::MIN_POSITIVE as f64,
];

/// Special values, and the neighbours of each.
fn near_special() -> impl Iterator<Item = u32> {
    SPECIAL
        .iter()
        .chain(&[
            88.72284,
            88.722_836,
            -87.33655,
            -103.972_08,
            -103.97209,
            89.0,
            -104.0,
        ])
        .flat_map(|&x| {
            let bits = (x as f32).to_bits();
            (0..5).map(move |step| bits.wrapping_add(step).wrapping_sub(2))
        })
}

#[test]
fn f32_functions_are_within_two_units_of_the_last_place() {
    for op in FUNCTIONS {
        let strided = (0..=u32::MAX).step_by(1021);
        let (error, x) = worst_f32(op, near_special().chain(strided));
        println!("f32 {op:?}: {error:.3} at {x:e}");
        assert!(error <= 2.0, "{op:?}: {error} at {x:e}");
    }
}

/// `cargo test -p rlp-compiler --test codegen -- --ignored --nocapture every_f32`
#[test]
#[ignore = "takes minutes"]
fn every_f32_is_within_two_units_of_the_last_place() {
    for op in FUNCTIONS {
        let (error, x) = worst_f32(op, 0..=u32::MAX);
        println!("f32 {op:?}: {error:.4} at {x:e}");
        assert!(error <= 2.0, "{op:?}: {error} at {x:e}");
    }
}

/// Zeros with their signs, infinities, what is not a number.
#[test]
fn special_values_are_those_of_ieee() {
    for op in FUNCTIONS {
        let (narrow, wide) = (code(op, Precision::F32), code(op, Precision::F64));
        let singles: Vec<f32> = SPECIAL.iter().map(|&x| x as f32).collect();
        for ((&x, single), double) in SPECIAL
            .iter()
            .zip(of_f32(&narrow, &singles))
            .zip(of_f64(&wide, &SPECIAL))
        {
            let truth = true_value(op, x);
            if truth.is_nan() || truth.is_infinite() || truth == 0.0 {
                let same = |y: f64| {
                    y.is_nan() && truth.is_nan()
                        || y == truth && y.is_sign_negative() == truth.is_sign_negative()
                };
                // Minus zero is also right where the logarithm of 1 is subtracted from zero.
                let zero = op == Unary::LogSigmoid && truth == 0.0;
                assert!(
                    same(double) || zero && double == 0.0,
                    "{op:?} of {x} is {double}, not {truth}"
                );
                assert!(
                    same(f64::from(single)) || zero && single == 0.0,
                    "{op:?} of {x} is {single}, not {truth}"
                );
            }
        }
    }
}

fn reference_f64(op: Unary, x: f64) -> Scaled {
    match op {
        Unary::Exp => double::exp(x.into()),
        Unary::Expm1 => double::expm1(x).into(),
        Unary::Log => double::log(x.into()).into(),
        Unary::Log1p => double::log1p(x.into()).into(),
        Unary::Tanh => double::tanh(x).into(),
        Unary::Sigmoid => double::sigmoid(x),
        _ => double::log_sigmoid(x),
    }
}

/// Where a function does anything, densely, and of all magnitudes.
fn arguments(op: Unary, count: usize) -> Vec<f64> {
    let (low, high) = match op {
        Unary::Exp => (-745.0, 709.78),
        Unary::Expm1 => (-40.0, 709.78),
        Unary::Log => (0.0, 4.0),
        Unary::Log1p => (-1.0, 3.0),
        Unary::Tanh => (-20.0, 20.0),
        _ => (-740.0, 740.0),
    };
    let within = noise(11, count)
        .into_iter()
        .map(move |u| low + (u + 1.0) / 2.0 * (high - low));
    let near = noise(12, count).into_iter().map(move |u| {
        let x = u * 1.5;
        if op == Unary::Log { 1.0 + x / 2.0 } else { x }
    });
    let sized = noise(13, count)
        .into_iter()
        .zip(noise(14, count))
        .map(move |(sign, u)| {
            let size = (u * 700.0).exp2();
            if op == Unary::Log || op == Unary::Log1p && size > 1.0 {
                size
            } else {
                size.copysign(sign)
            }
        });
    let ends = [
        f64::MIN_POSITIVE,
        5e-324,
        1e-310,
        -708.4,
        -708.3,
        -744.5,
        709.7827,
        1e-17,
        1e-18,
        9.9e-19,
    ];
    within
        .chain(near)
        .chain(sized)
        .chain(ends)
        .filter(|&x| {
            (low..=high).contains(&x)
                || op == Unary::Log && x > 0.0
                || op == Unary::Log1p && x > 0.0
        })
        .filter(|&x| {
            x != 0.0 && !(op == Unary::Log && x == 1.0) && !(op == Unary::Log1p && x == -1.0)
        })
        .collect()
}

fn worst_f64(op: Unary, count: usize) -> (f64, f64) {
    let code = code(op, Precision::F64);
    let x = arguments(op, count);
    let errors = x.iter().zip(of_f64(&code, &x)).map(|(&x, y)| {
        let truth = reference_f64(op, x);
        (truth.ulps(y), x)
    });
    errors.fold(
        (0.0, 0.0),
        |worst, error| if error.0 > worst.0 { error } else { worst },
    )
}

#[test]
fn f64_functions_are_within_two_units_of_the_last_place() {
    for op in FUNCTIONS {
        let (error, x) = worst_f64(op, 1 << 14);
        println!("f64 {op:?}: {error:.3} at {x:e}");
        assert!(error <= 2.0, "{op:?}: {error} at {x:e}");
    }
}

/// `cargo test -p rlp-compiler --test codegen -- --ignored --nocapture millions_of_f64`
#[test]
#[ignore = "takes minutes"]
fn millions_of_f64_are_within_two_units_of_the_last_place() {
    for op in FUNCTIONS {
        let (error, x) = worst_f64(op, 1 << 21);
        println!("f64 {op:?}: {error:.4} at {x:e}");
        assert!(error <= 2.0, "{op:?}: {error} at {x:e}");
    }
}

/// The reference against values of other tables (Abramowitz and Stegun 1964, tables 4.2 and 4.4).
#[test]
fn double_double_arithmetic_is_right() {
    let e = double::exp(1.0.into());
    assert_eq!(
        (e.mantissa.high * 2.0, e.exponent),
        (std::f64::consts::E, 1)
    );
    assert_eq!(e.mantissa.low * 2.0, 1.4456468917292502e-16);
    let ten = double::log(10.0.into());
    assert_eq!(ten.high, std::f64::consts::LN_10);
    assert!((ten.low - -2.1707562233822494e-16).abs() < 1e-31);
}

/// What is computed cell by cell, at the ends of rows, is what is computed in vectors.
#[test]
fn single_cells_and_vectors_agree_to_the_bit() {
    for op in FUNCTIONS {
        let mut b = Builder::new(1, 1);
        let x = b.load(Elem::Real, &[0, 1]);
        let y = b.unary(op, x);
        // Keeps the rows apart.
        let first = b.reduce(Reduction::Count, x, None);
        b.output(y, Form::Cells);
        b.output(first, Form::Rows);
        let apart = cpu::compile_verified(&b.finish(), Precision::F32).unwrap();
        let x: Vec<f32> = (0..=u32::MAX).step_by(65_521).map(f32::from_bits).collect();
        let rows = x.len() / 3;
        let x = &x[..3 * rows];
        let (mut y, mut counts) = (vec![0f32; x.len()], vec![0i64; rows]);
        let targets = vec![SliceMut::F32(&mut y), SliceMut::Int(&mut counts)];
        Launch::new(&apart, &[rows], 3, &[Source::Slice(Slice::F32(x))], targets)
            .unwrap()
            .run(1);
        let vectors = of_f32(&code(op, Precision::F32), x);
        for ((x, y), z) in x.iter().zip(&y).zip(&vectors) {
            assert!(
                y.to_bits() == z.to_bits() || y.is_nan() && z.is_nan(),
                "{op:?} of {x}: {y} and {z}"
            );
        }
    }
}
