//! Arrays of tests, given to code in its precision, with guards around what it writes.

use rlp_compiler::array::Elements;
use rlp_compiler::codegen::Precision;
use rlp_compiler::codegen::cpu::Code;
use rlp_compiler::codegen::launch::{Launch, Slice, SliceMut, Source};
use rlp_compiler::kernel::{Form, Kernel};
use rlp_compiler::ty::Elem;

use crate::builder::reduced;

/// Sizes of the rows' dimensions, and of the cells.
pub(crate) struct Sizes {
    pub(crate) rows: Vec<usize>,
    pub(crate) cells: usize,
}

impl Sizes {
    pub(crate) fn row_count(&self) -> usize {
        self.rows.iter().product()
    }

    /// The elements of an array over some dimensions of the kernel.
    pub(crate) fn count(&self, kernel: &Kernel, dims: &[rlp_compiler::ty::DimId]) -> usize {
        let rows: usize = kernel
            .rows
            .iter()
            .zip(&self.rows)
            .filter(|(dim, _)| dims.contains(dim))
            .map(|(_, &size)| size)
            .product();
        if kernel.cells.iter().any(|dim| dims.contains(dim)) {
            rows * self.cells
        } else {
            rows
        }
    }
}

enum Held {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

const GUARD: usize = 16;

fn held(elements: &Elements, precision: Precision) -> Held {
    match elements {
        Elements::Real(x) if precision == Precision::F32 => {
            Held::F32(x.iter().map(|&x| x as f32).collect())
        }
        Elements::Real(x) => Held::F64(x.clone()),
        Elements::Int(x) => Held::Int(x.clone()),
        Elements::Bool(x) => Held::Bool(x.clone()),
        Elements::Text(_) => unreachable!("no text in kernels"),
    }
}

fn slice(held: &Held) -> Slice<'_> {
    match held {
        Held::F32(x) => Slice::F32(x),
        Held::F64(x) => Slice::F64(x),
        Held::Int(x) => Slice::Int(x),
        Held::Bool(x) => Slice::Bool(x),
    }
}

const MARK_F32: f32 = -123.456;
const MARK_F64: f64 = -123.456;
const MARK_INT: i64 = 0x5a5a_5a5a_5a5a;

/// The kernel's outputs, as f64, i64 and bools.
pub(crate) fn run(
    kernel: &Kernel,
    code: &Code,
    sizes: &Sizes,
    inputs: &[Elements],
    threads: usize,
) -> Vec<Elements> {
    let precision = code.precision();
    let inputs: Vec<Held> = inputs.iter().map(|x| held(x, precision)).collect();
    let sources: Vec<Source> = inputs.iter().map(|x| Source::Slice(slice(x))).collect();
    let mut outputs: Vec<(Held, usize)> = kernel
        .outputs
        .iter()
        .map(|output| {
            let mut elem = kernel.body[output.value.0 as usize].elem;
            let count = match &output.form {
                Form::Cells => sizes.row_count() * sizes.cells,
                Form::Rows => sizes.row_count(),
                Form::Total { kind, .. } => {
                    elem = reduced(*kind, elem);
                    1
                }
            };
            let all = count + 2 * GUARD;
            let held = match (elem, precision) {
                (Elem::Real, Precision::F32) => Held::F32(vec![MARK_F32; all]),
                (Elem::Real, Precision::F64) => Held::F64(vec![MARK_F64; all]),
                (Elem::Int, _) => Held::Int(vec![MARK_INT; all]),
                (Elem::Bool, _) => Held::Bool((0..all).map(|index| index % 2 == 0).collect()),
                (Elem::Text, _) => unreachable!("no text in kernels"),
            };
            (held, count)
        })
        .collect();
    let targets: Vec<SliceMut> = outputs
        .iter_mut()
        .map(|(held, count)| {
            let inside = GUARD..GUARD + *count;
            match held {
                Held::F32(x) => SliceMut::F32(&mut x[inside]),
                Held::F64(x) => SliceMut::F64(&mut x[inside]),
                Held::Int(x) => SliceMut::Int(&mut x[inside]),
                Held::Bool(x) => SliceMut::Bool(&mut x[inside]),
            }
        })
        .collect();
    let mut launch = Launch::new(code, &sizes.rows, sizes.cells, &sources, targets).unwrap();
    launch.run(threads);
    outputs
        .into_iter()
        .map(|(held, count)| unguarded(held, count))
        .collect()
}

/// What lies between the guards, which must be untouched.
fn unguarded(held: Held, count: usize) -> Elements {
    let guards = (0..GUARD).chain(GUARD + count..count + 2 * GUARD);
    let inside = GUARD..GUARD + count;
    match held {
        Held::F32(x) => {
            assert!(
                guards.clone().all(|index| x[index] == MARK_F32),
                "written outside"
            );
            Elements::Real(x[inside].iter().map(|&x| f64::from(x)).collect())
        }
        Held::F64(x) => {
            assert!(
                guards.clone().all(|index| x[index] == MARK_F64),
                "written outside"
            );
            Elements::Real(x[inside].to_vec())
        }
        Held::Int(x) => {
            assert!(
                guards.clone().all(|index| x[index] == MARK_INT),
                "written outside"
            );
            Elements::Int(x[inside].to_vec())
        }
        Held::Bool(x) => {
            assert!(
                guards.clone().all(|index| x[index] == (index % 2 == 0)),
                "written outside"
            );
            Elements::Bool(x[inside].to_vec())
        }
    }
}
