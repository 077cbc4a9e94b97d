//! The CUDA C of kernels: its text, and what it computes when a C++ compiler takes it with one thread for a whole grid.

mod build;
mod host;

use build::Build;
use rlp_compiler::array::{Array, Elements};
use rlp_compiler::codegen::{Precision, cuda};
use rlp_compiler::graph::{Binary, Reduction, Unary};
use rlp_compiler::kernel::{Form, Kernel, KernelOp, Level, ScanLoop, interpret, verify};
use rlp_compiler::ty::Elem;

const REAL: Elem = Elem::Real;

/// The clipped surrogate of PPO with its gradient by `logp`: rows are prompts and samples, cells are tokens.
fn ppo() -> Build {
    let mut b = Build::new(2);
    let logp = b.cells(REAL, "logp");
    let old = b.cells(REAL, "old");
    let advantage = b.rows(REAL);
    let real = b.cells(Elem::Bool, "mask");
    let scale = b.scalar(REAL);
    let (low, high) = (b.number(0.8), b.number(1.2));
    let difference = b.binary(Binary::Sub, logp, old);
    let ratio = b.unary(Unary::Exp, difference);
    let above = b.binary(Binary::Max, ratio, low);
    let clipped = b.binary(Binary::Min, above, high);
    let plain = b.binary(Binary::Mul, ratio, advantage);
    let bounded = b.binary(Binary::Mul, clipped, advantage);
    let objective = b.binary(Binary::Min, plain, bounded);
    let loss = b.unary(Unary::Neg, objective);
    let is_plain = b.binary(Binary::Le, plain, bounded);
    let zero = b.number(0.0);
    let slope = b.unary(Unary::Neg, plain);
    let slope = b.binary(Binary::Mul, slope, scale);
    let slope = b.op(KernelOp::Select(is_plain, slope, zero), REAL, Level::Cell);
    let slope = b.op(KernelOp::Select(real, slope, zero), REAL, Level::Cell);
    b.output(slope, Form::Cells);
    let total = |kind| Form::Total {
        kind,
        mask: Some(real),
    };
    b.output(loss, total(Reduction::Mean));
    b.output(ratio, total(Reduction::Max));
    b.output(ratio, total(Reduction::Count));
    b
}

/// Log-softmax along a row, the row's mean, and a total of rows.
fn log_softmax() -> Build {
    let mut b = Build::new(1);
    let x = b.cells(REAL, "x");
    let real = b.cells(Elem::Bool, "mask");
    let norm = b.reduce(Reduction::LogSumExp, x, Some(real));
    let y = b.binary(Binary::Sub, x, norm);
    let mean = b.reduce(Reduction::Mean, y, Some(real));
    let centred = b.binary(Binary::Sub, y, mean);
    b.output(centred, Form::Cells);
    b.output(mean, Form::Rows);
    b.output(
        mean,
        Form::Total {
            kind: Reduction::Sum,
            mask: None,
        },
    );
    b
}

/// Discounted sums from the right, where the mask holds, less the element before.
fn returns() -> Build {
    let mut b = Build::new(2);
    let x = b.cells(REAL, "x");
    let real = b.cells(Elem::Bool, "mask");
    let gamma = b.scalar(REAL);
    let zero = b.number(0.0);
    let carry = b.inside(KernelOp::Carry { part: 0 }, REAL);
    let discounted = b.inside(KernelOp::Binary(Binary::Mul, carry, gamma), REAL);
    let next = b.inside(KernelOp::Binary(Binary::Add, x, discounted), REAL);
    let body = b.take_inside();
    let sums = b.scan(ScanLoop {
        reverse: true,
        mask: Some(real),
        initial: vec![zero],
        body,
        next: vec![next],
    });
    let before = KernelOp::Shift {
        value: sums,
        by: 1,
        fill: zero,
    };
    let before = b.op(before, REAL, Level::Cell);
    let result = b.binary(Binary::Sub, sums, before);
    b.output(result, Form::Cells);
    b
}

/// Integers: quotients, remainders, powers and positions.
fn integers() -> Build {
    let mut b = Build::new(2);
    let a = b.cells(Elem::Int, "a");
    let three = b.op(KernelOp::Int(3), Elem::Int, Level::Cell);
    let place = b.op(KernelOp::Position(b.cell()), Elem::Int, Level::Cell);
    let row = b.op(KernelOp::Position(b.row(1)), Elem::Int, Level::Cell);
    let sum = b.binary(Binary::Add, a, place);
    let sum = b.binary(Binary::Sub, sum, row);
    let quotient = b.binary(Binary::Div, sum, three);
    let rest = b.binary(Binary::Mod, sum, three);
    let power = b.binary(Binary::Pow, rest, three);
    let least = b.binary(Binary::Min, quotient, power);
    let sign = b.unary(Unary::Sign, least);
    b.output(least, Form::Cells);
    b.output(sign, Form::Cells);
    b.output(
        least,
        Form::Total {
            kind: Reduction::Min,
            mask: None,
        },
    );
    b
}

/// Rows alone: every function of one number.
fn functions() -> Build {
    let mut b = Build::new(2);
    let x = b.rows(REAL);
    for op in [
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Exp,
        Unary::Expm1,
        Unary::Log1p,
        Unary::Sin,
        Unary::Cos,
        Unary::Tan,
        Unary::Atan,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::LogSigmoid,
        Unary::Floor,
        Unary::Ceil,
        Unary::Round,
        Unary::Sqrt,
        Unary::Log,
    ] {
        let y = b.unary(op, x);
        b.output(y, Form::Rows);
    }
    b.without_cells()
}

fn kernels() -> Vec<(&'static str, Kernel)> {
    vec![
        ("ppo", ppo().finish()),
        ("log_softmax", log_softmax().finish()),
        ("returns", returns().finish()),
        ("integers", integers().finish()),
        ("functions", functions().finish()),
    ]
}

/// With `BLESS=1` the text is written; otherwise it must be what is written.
#[test]
fn the_text_is_the_one_on_record() {
    for (name, kernel) in kernels() {
        let source = cuda::source(&kernel, Precision::F32).unwrap_or_else(|why| panic!("{why}"));
        // The part that is the same in all is on record once, as it is.
        let (_, own) = source
            .text
            .split_once("extern \"C\"")
            .unwrap_or_else(|| panic!("{name} has a kernel"));
        let own = format!("extern \"C\"{own}");
        let path = format!("{}/tests/cuda/{name}.cu", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &own).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(own, known, "{name}: BLESS=1 writes the new text");
    }
}

#[test]
fn a_host_compiler_computes_the_same() {
    for (name, kernel) in kernels() {
        verify(&kernel).unwrap_or_else(|why| panic!("{name}: {why}"));
        for sizes in [[2, 3, 5], [1, 1, 1], [3, 2, 70], [2, 0, 4], [2, 3, 0]] {
            let inputs = host::inputs(&kernel, sizes);
            let sizes = host::sizes(&kernel, sizes);
            let expected = interpret(&kernel, &sizes, &inputs)
                .unwrap_or_else(|fault| panic!("{name}: {fault}"));
            let found = host::run(name, &kernel, &sizes, &inputs);
            for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    close(found, expected),
                    "{name}, output {place} of {sizes:?}: {found:?}, expected {expected:?}"
                );
            }
        }
    }
}

fn close(found: &[f64], expected: &Array) -> bool {
    let expected: Vec<f64> = match &expected.elements {
        Elements::Real(values) => values.clone(),
        Elements::Int(values) => values.iter().map(|&value| value as f64).collect(),
        Elements::Bool(values) => values
            .iter()
            .map(|&value| f64::from(u8::from(value)))
            .collect(),
        Elements::Text(_) => return false,
    };
    let near = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * (1.0 + b.abs())
    };
    found.len() == expected.len() && found.iter().zip(&expected).all(|(&a, &b)| near(a, b))
}
