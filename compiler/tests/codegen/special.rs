//! Values at the edges, arrays that do not fit, kernels without code.

use rlp_compiler::array::Elements;
use rlp_compiler::codegen::cache::Cache;
use rlp_compiler::codegen::launch::{Launch, Mismatch, Slice, SliceMut, Source};
use rlp_compiler::codegen::{Precision, cpu};
use rlp_compiler::graph::{Binary, NodeId, Reduction, Unary};
use rlp_compiler::kernel::{Form, Kernel};
use rlp_compiler::ty::{DimId, Elem};

use crate::arrays::{Sizes, run};
use crate::builder::Builder;

/// One input, one operation, one output.
fn of_ints(
    operation: impl Fn(&mut Builder, rlp_compiler::kernel::ValueId) -> rlp_compiler::kernel::ValueId,
    x: &[i64],
) -> Vec<i64> {
    let mut b = Builder::new(0, 1);
    let input = b.load(Elem::Int, &[0]);
    let output = operation(&mut b, input);
    b.output(output, Form::Cells);
    let kernel = b.finish();
    let sizes = Sizes {
        rows: Vec::new(),
        cells: x.len(),
    };
    let [f32, f64] = [Precision::F32, Precision::F64].map(|precision| {
        let code = cpu::compile_verified(&kernel, precision).unwrap();
        run(&kernel, &code, &sizes, &[Elements::Int(x.to_vec())], 1)
    });
    assert_eq!(f32, f64);
    match &f32[0] {
        Elements::Int(x) => x.clone(),
        other => panic!("{other:?} are not ints"),
    }
}

#[test]
fn integers_wrap_around_and_divide_toward_minus_infinity() {
    let x = [i64::MIN, i64::MAX, -7, 7, 0, -1, 6, -6, 1];
    let by = |op, divisor| {
        of_ints(
            move |b, x| {
                let divisor = b.int(divisor);
                b.binary(op, x, divisor)
            },
            &x,
        )
    };
    assert_eq!(
        by(Binary::Div, -1),
        [i64::MIN, -i64::MAX, 7, -7, 0, 1, -6, 6, -1]
    );
    assert_eq!(by(Binary::Mod, -1), [0; 9]);
    assert_eq!(by(Binary::Div, 3)[2..], [-3, 2, 0, -1, 2, -2, 0]);
    assert_eq!(by(Binary::Mod, 3)[2..], [2, 1, 0, 2, 0, 0, 1]);
    assert_eq!(by(Binary::Div, -3)[2..], [2, -3, 0, 0, -2, 2, -1]);
    assert_eq!(by(Binary::Mod, -3)[2..], [-1, -2, 0, -1, 0, 0, -2]);
    assert_eq!(by(Binary::Pow, 2)[..3], [0, 1, 49]);
    assert_eq!(
        of_ints(|b, x| b.unary(Unary::Abs, x), &x)[..2],
        [i64::MIN, i64::MAX]
    );
}

#[test]
fn rows_without_real_cells_have_the_reductions_of_nothing() {
    let kinds = [
        (Reduction::Sum, 0.0),
        (Reduction::Mean, 0.0),
        (Reduction::Max, 0.0),
        (Reduction::Min, 0.0),
        (Reduction::Product, 1.0),
        (Reduction::LogSumExp, f64::NEG_INFINITY),
    ];
    let mut b = Builder::new(1, 1);
    let x = b.load(Elem::Real, &[0, 1]);
    let mask = b.load(Elem::Bool, &[0, 1]);
    for (kind, _) in kinds {
        let value = b.reduce(kind, x, Some(mask));
        b.output(value, Form::Rows);
        b.output(
            x,
            Form::Total {
                kind,
                mask: Some(mask),
            },
        );
    }
    let kernel = b.finish();
    for cells in [0, 3, 40] {
        let sizes = Sizes {
            rows: vec![2],
            cells,
        };
        let inputs = [
            Elements::Real(vec![f64::NAN; 2 * cells]),
            Elements::Bool(vec![false; 2 * cells]),
        ];
        for precision in [Precision::F32, Precision::F64] {
            let code = cpu::compile_verified(&kernel, precision).unwrap();
            let outputs = run(&kernel, &code, &sizes, &inputs, 1);
            for (pair, (_, nothing)) in outputs.chunks(2).zip(kinds) {
                assert_eq!(pair[0], Elements::Real(vec![nothing; 2]));
                assert_eq!(pair[1], Elements::Real(vec![nothing]));
            }
        }
    }
}

#[test]
fn one_infinity_beside_another_adds_up_to_infinity() {
    // In a vector, and in what is left behind the last one.
    let mut x = vec![0.5; 1001];
    x[0] = f64::INFINITY;
    x[1000] = f64::INFINITY;
    let mut b = Builder::new(0, 1);
    let input = b.load(Elem::Real, &[0]);
    let of_row = b.reduce(Reduction::LogSumExp, input, None);
    b.output(of_row, Form::Rows);
    let kind = Reduction::LogSumExp;
    b.output(input, Form::Total { kind, mask: None });
    let kernel = b.finish();
    let sizes = Sizes {
        rows: Vec::new(),
        cells: x.len(),
    };
    for precision in [Precision::F32, Precision::F64] {
        let code = cpu::compile_verified(&kernel, precision).unwrap();
        let found = run(&kernel, &code, &sizes, &[Elements::Real(x.clone())], 1);
        assert_eq!(found, [(); 2].map(|()| Elements::Real(vec![f64::INFINITY])));
    }
}

fn doubled(rows: u32) -> Kernel {
    let mut b = Builder::new(rows, 1);
    let dims: Vec<u32> = (0..=rows).collect();
    let x = b.load(Elem::Real, &dims);
    let sum = b.binary(Binary::Add, x, x);
    b.output(sum, Form::Cells);
    b.finish()
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    let code = cpu::compile(&doubled(1), Precision::F32).unwrap();
    let x = [1f32; 6];
    let launch = |x: &[f32], y: &mut [f32], rows: &[usize], cells| {
        Launch::new(
            &code,
            rows,
            cells,
            &[Source::Slice(Slice::F32(x))],
            vec![SliceMut::F32(y)],
        )
        .map(|mut launch| launch.run(1))
    };
    let mut y = [0f32; 6];
    assert_eq!(launch(&x, &mut y, &[2], 3), Ok(()));
    assert_eq!(y, [2.0; 6]);
    let short = |array: &str| {
        Err(Mismatch::Length {
            array: array.to_string(),
            expected: 6,
            found: 5,
        })
    };
    assert_eq!(launch(&x[..5], &mut y, &[2], 3), short("input 0"));
    assert_eq!(launch(&x, &mut y[..5], &[2], 3), short("output 0"));
    assert!(matches!(
        launch(&x, &mut y, &[2, 1], 3),
        Err(Mismatch::Count { .. })
    ));
    assert_eq!(launch(&x, &mut y, &[usize::MAX], 3), Err(Mismatch::Size));
    let wide = Launch::new(
        &code,
        &[2],
        3,
        &[Source::Slice(Slice::F64(&[1.0; 6]))],
        vec![SliceMut::F32(&mut y)],
    );
    assert!(matches!(wide.err(), Some(Mismatch::Element { .. })));
}

#[test]
fn an_output_takes_the_place_of_an_input() {
    let code = cpu::compile(&doubled(1), Precision::F64).unwrap();
    assert!(code.in_place());
    let mut x: Vec<f64> = (0..100).map(f64::from).collect();
    Launch::new(
        &code,
        &[4],
        25,
        &[Source::Output(0)],
        vec![SliceMut::F64(&mut x)],
    )
    .unwrap()
    .run(1);
    assert_eq!(x, (0..100).map(|x| f64::from(2 * x)).collect::<Vec<f64>>());

    let mut b = Builder::new(0, 1);
    let x = b.load(Elem::Real, &[0]);
    let fill = b.real(0.0);
    let moved = b.shift(x, 1, fill);
    b.output(moved, Form::Cells);
    let code = cpu::compile(&b.finish(), Precision::F64).unwrap();
    let mut x = [1.0; 4];
    let launch = Launch::new(
        &code,
        &[],
        4,
        &[Source::Output(0)],
        vec![SliceMut::F64(&mut x)],
    );
    assert!(matches!(launch.err(), Some(Mismatch::Place { input: 0 })));
}

#[test]
fn kernels_of_one_structure_share_their_code() {
    let mut cache = Cache::new();
    let kernel = doubled(2);
    let mut renamed = kernel.clone();
    let other = |dim: &mut DimId| dim.0 = 10 + 3 * dim.0;
    renamed.rows.iter_mut().for_each(other);
    renamed.cells.iter_mut().for_each(other);
    for input in &mut renamed.inputs {
        input.node = NodeId::new(7);
        input.dims.iter_mut().for_each(other);
    }
    renamed.outputs[0].node = NodeId::new(9);
    let first = cache.get(&kernel, Precision::F32).unwrap();
    assert!(std::sync::Arc::ptr_eq(
        &first,
        &cache.get(&renamed, Precision::F32).unwrap()
    ));
    assert!(!std::sync::Arc::ptr_eq(
        &first,
        &cache.get(&kernel, Precision::F64).unwrap()
    ));
    cache.get(&doubled(1), Precision::F32).unwrap();
    assert_eq!(cache.len(), 3);
}

#[test]
fn what_a_kernel_cannot_report_is_declined() {
    let reason = |build: &dyn Fn(&mut Builder)| {
        let mut b = Builder::new(0, 1);
        build(&mut b);
        cpu::compile(&b.finish(), Precision::F32)
            .err()
            .unwrap()
            .to_string()
    };
    let divided = reason(&|b| {
        let (x, y) = (b.load(Elem::Int, &[0]), b.load(Elem::Int, &[0]));
        let quotient = b.binary(Binary::Div, x, y);
        b.output(quotient, Form::Cells);
    });
    assert_eq!(
        divided,
        "an integer is divided by what may be 0, which only eager execution reports"
    );
}
