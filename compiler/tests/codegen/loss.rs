//! The clipped surrogate with the k3 estimate of the KL divergence, forward and backward, in one kernel: how fast it is
//! compiled and run.

use std::time::Instant;

use rlp_compiler::array::Elements;
use rlp_compiler::codegen::cpu::Code;
use rlp_compiler::codegen::launch::{Launch, Slice, SliceMut, Source};
use rlp_compiler::codegen::{Precision, cpu};
use rlp_compiler::graph::{Binary, Reduction, Unary};
use rlp_compiler::kernel::{Form, Kernel};
use rlp_compiler::ty::Elem;

use crate::arrays::{Sizes, run};
use crate::builder::Builder;
use crate::reference::interpret;

/// −Σ min(ρA, clip(ρ)A) + β Σ (e^d − d − 1) over real tokens, d = logp_ref − logp; the gradient by logp; the clip fraction.
pub(crate) fn clipped_surrogate() -> Kernel {
    let mut b = Builder::new(1, 1);
    let logp = b.load(Elem::Real, &[0, 1]);
    let logp_old = b.load(Elem::Real, &[0, 1]);
    let logp_reference = b.load(Elem::Real, &[0, 1]);
    let advantage = b.load(Elem::Real, &[0]);
    let mask = b.load(Elem::Bool, &[0, 1]);
    let (low, high, beta) = (b.real(0.8), b.real(1.2), b.real(0.04));
    let (zero, one) = (b.real(0.0), b.real(1.0));
    let apart = b.binary(Binary::Sub, logp, logp_old);
    let ratio = b.unary(Unary::Exp, apart);
    let at_least = b.binary(Binary::Max, ratio, low);
    let clipped = b.binary(Binary::Min, at_least, high);
    let plain = b.binary(Binary::Mul, ratio, advantage);
    let bounded = b.binary(Binary::Mul, clipped, advantage);
    let surrogate = b.binary(Binary::Min, plain, bounded);
    let d = b.binary(Binary::Sub, logp_reference, logp);
    let grown = b.unary(Unary::Exp, d);
    let less = b.binary(Binary::Sub, grown, d);
    let k3 = b.binary(Binary::Sub, less, one);
    let penalty = b.binary(Binary::Mul, beta, k3);
    let loss = b.binary(Binary::Sub, penalty, surrogate);
    let is_plain = b.binary(Binary::Le, plain, bounded);
    let slope = b.unary(Unary::Neg, plain);
    let from_surrogate = b.select(is_plain, slope, zero);
    let from_grown = b.binary(Binary::Sub, one, grown);
    let from_penalty = b.binary(Binary::Mul, beta, from_grown);
    let gradient = b.binary(Binary::Add, from_surrogate, from_penalty);
    let gradient = b.select(mask, gradient, zero);
    let is_clipped = b.binary(Binary::Ne, clipped, ratio);
    let is_clipped = b.cast(is_clipped, Elem::Real);
    b.output(gradient, Form::Cells);
    for (value, kind) in [
        (loss, Reduction::Sum),
        (is_clipped, Reduction::Mean),
        (k3, Reduction::Mean),
    ] {
        let mask = Some(mask);
        b.output(value, Form::Total { kind, mask });
    }
    b.finish()
}

/// Numbers without a pattern in [−1, 1).
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn inputs(rows: usize, cells: usize) -> Vec<Elements> {
    let reals = |seed, count, scale: f64| {
        let values = noise(seed, count)
            .iter()
            .map(|x| f64::from((x * scale) as f32))
            .collect();
        Elements::Real(values)
    };
    let count = rows * cells;
    vec![
        reals(1, count, 0.3),
        reals(2, count, 0.3),
        reals(3, count, 0.3),
        reals(4, rows, 2.0),
        Elements::Bool(noise(5, count).iter().map(|&x| x > -0.6).collect()),
    ]
}

/// The code, and how long it took.
fn compile(kernel: &Kernel) -> (Code, f64) {
    let start = Instant::now();
    let code = cpu::compile(kernel, Precision::F32).unwrap();
    (code, start.elapsed().as_secs_f64())
}

#[test]
fn the_clipped_surrogate_is_right_and_quickly_compiled() {
    let kernel = clipped_surrogate();
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::F64, 1e-12)] {
        let code = cpu::compile_verified(&kernel, precision).unwrap();
        for cells in [1, 3, 17, 100] {
            let sizes = Sizes {
                rows: vec![7],
                cells,
            };
            let inputs = inputs(7, cells);
            let found = run(&kernel, &code, &sizes, &inputs, 1);
            let expected = interpret(&kernel, &sizes, &inputs);
            for (found, expected) in found.iter().zip(&expected.outputs) {
                let (Elements::Real(found), Elements::Real(expected)) = (found, expected) else {
                    panic!("all outputs are real");
                };
                for (x, y) in found.iter().zip(expected) {
                    assert!(
                        (x - y).abs() <= tolerance * (1.0 + y.abs()),
                        "{x} is not {y}"
                    );
                }
            }
        }
    }
    let fastest = (0..5)
        .map(|_| compile(&kernel).1)
        .fold(f64::INFINITY, f64::min);
    println!("compiled in {:.2} ms", fastest * 1e3);
    assert!(fastest < 0.05, "compiled in {fastest} s");
}

/// `cargo test -p rlp-compiler --test codegen -- --ignored --nocapture time_of`
#[test]
#[ignore = "prints times"]
fn time_of_the_clipped_surrogate() {
    let kernel = clipped_surrogate();
    let (code, seconds) = compile(&kernel);
    println!("compiled in {:.2} ms", seconds * 1e3);
    for (rows, cells) in [(512, 4096), (128, 128)] {
        let arrays: Vec<Vec<f32>> = inputs(rows, cells)
            .iter()
            .map(|elements| match elements {
                Elements::Real(x) => x.iter().map(|&x| x as f32).collect(),
                _ => Vec::new(),
            })
            .collect();
        let mask: Vec<bool> = noise(5, rows * cells).iter().map(|&x| x > -0.6).collect();
        let mut gradient = vec![0f32; rows * cells];
        let mut totals = [0f32; 3];
        for threads in [1, 2] {
            let mut best = f64::INFINITY;
            for _ in 0..(1 << 26) / (rows * cells) {
                let sources = [
                    Source::Slice(Slice::F32(&arrays[0])),
                    Source::Slice(Slice::F32(&arrays[1])),
                    Source::Slice(Slice::F32(&arrays[2])),
                    Source::Slice(Slice::F32(&arrays[3])),
                    Source::Slice(Slice::Bool(&mask)),
                ];
                let [a, b, c] = totals.each_mut();
                let targets = vec![
                    SliceMut::F32(&mut gradient),
                    SliceMut::F32(std::slice::from_mut(a)),
                    SliceMut::F32(std::slice::from_mut(b)),
                    SliceMut::F32(std::slice::from_mut(c)),
                ];
                let start = Instant::now();
                let mut launch = Launch::new(&code, &[rows], cells, &sources, targets).unwrap();
                launch.run(threads);
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!("[{rows}, {cells}] {threads} threads: {:.3} ms", best * 1e3);
        }
    }
}
