//! What the conventions of the language make definite, and what is refused instead of computed.

use std::collections::BTreeMap;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::{EvalError, Fault, evaluate, static_value};
use rlp_compiler::graph::{Binary, Factor, NodeId, Op, Reduction, TextOp, Unary};
use rlp_compiler::pass::gradients;
use rlp_compiler::ty::{DimId, Elem};

use crate::setup::{Setup, Shape};

const SHAPE: Shape = Shape {
    prompts: 2,
    samples: 2,
    tokens: 3,
    features: 3,
    seed: 1,
};

/// A real input along a new dimension.
fn vector(s: &mut Setup, values: &[f64]) -> (NodeId, DimId) {
    let dim = s.dim("item", values.len(), None);
    let array = Array {
        shape: vec![values.len()],
        elements: Elements::Real(values.to_vec()),
    };
    (s.input(array, Elem::Real, &[dim]), dim)
}

fn value(s: &Setup, id: NodeId) -> Array {
    evaluate(&s.graph, &s.given, &[id]).unwrap().remove(0)
}

fn reals(s: &Setup, id: NodeId) -> Vec<f64> {
    match value(s, id).elements {
        Elements::Real(values) => values,
        other => panic!("{other:?} is not real"),
    }
}

fn ints(s: &Setup, id: NodeId) -> Vec<i64> {
    match value(s, id).elements {
        Elements::Int(values) => values,
        other => panic!("{other:?} is not int"),
    }
}

fn unary(op: Unary, values: &[f64]) -> Vec<f64> {
    let mut s = Setup::new(SHAPE);
    let (x, _) = vector(&mut s, values);
    let y = s.unary(op, x);
    reals(&s, y)
}

fn binary(op: Binary, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut s = Setup::new(SHAPE);
    let (a, dim) = vector(&mut s, a);
    let array = Array {
        shape: vec![b.len()],
        elements: Elements::Real(b.to_vec()),
    };
    let b = s.input(array, Elem::Real, &[dim]);
    let y = s.binary(op, a, b);
    reals(&s, y)
}

#[test]
fn rounding_goes_to_even_and_the_sign_of_zero_is_zero() {
    assert_eq!(
        unary(Unary::Round, &[0.5, 1.5, 2.5, -0.5, -1.5]),
        [0.0, 2.0, 2.0, 0.0, -2.0]
    );
    assert_eq!(
        unary(Unary::Sign, &[-3.0, 0.0, -0.0, 2.0]),
        [-1.0, 0.0, 0.0, 1.0]
    );
}

#[test]
fn sigmoids_are_stable_on_both_sides() {
    assert_eq!(
        unary(Unary::Sigmoid, &[-800.0, 0.0, 800.0]),
        [0.0, 0.5, 1.0]
    );
    // log σ(−9000) = −9000 − log1p(e^−9000)
    assert_eq!(unary(Unary::LogSigmoid, &[-9000.0, 9000.0]), [-9000.0, 0.0]);
}

#[test]
fn the_remainder_has_the_sign_of_the_divisor_and_numbers_are_cast_downward() {
    assert_eq!(
        binary(
            Binary::Mod,
            &[5.0, -5.0, 5.0, -5.0],
            &[3.0, 3.0, -3.0, -3.0]
        ),
        [2.0, 1.0, -1.0, -2.0]
    );
    let mut s = Setup::new(SHAPE);
    let (x, dim) = vector(&mut s, &[1.7, -1.2, -3.0]);
    let y = s.add(Op::Cast(Elem::Int), &[x], Elem::Int, &[dim]);
    assert_eq!(ints(&s, y), [1, -2, -3]);
}

#[test]
fn what_is_not_a_number_is_neither_least_nor_greatest_but_itself() {
    assert!(
        binary(Binary::Min, &[f64::NAN, 1.0], &[1.0, f64::NAN])
            .iter()
            .all(|x| x.is_nan())
    );
    assert!(
        binary(Binary::Max, &[f64::NAN, 1.0], &[1.0, f64::NAN])
            .iter()
            .all(|x| x.is_nan())
    );
}

#[test]
fn reductions_of_nothing() {
    let nothing = |kind: Reduction, x: Array, elem: Elem| {
        let mut s = Setup::new(SHAPE);
        let dim = s.dim("item", 0, None);
        let x = s.input(x, elem, &[dim]);
        let y = s.reduce(kind, x, &[dim]);
        value(&s, y)
    };
    let none = || Array {
        shape: vec![0],
        elements: Elements::Real(Vec::new()),
    };
    let no_bools = || Array {
        shape: vec![0],
        elements: Elements::Bool(Vec::new()),
    };
    for kind in [
        Reduction::Sum,
        Reduction::Mean,
        Reduction::Max,
        Reduction::Min,
    ] {
        assert_eq!(nothing(kind, none(), Elem::Real), Array::real(0.0));
    }
    assert_eq!(
        nothing(Reduction::Product, none(), Elem::Real),
        Array::real(1.0)
    );
    assert_eq!(
        nothing(Reduction::LogSumExp, none(), Elem::Real),
        Array::real(f64::NEG_INFINITY)
    );
    assert_eq!(nothing(Reduction::Count, none(), Elem::Real), Array::int(0));
    assert_eq!(
        nothing(Reduction::Any, no_bools(), Elem::Bool),
        Array::bool(false)
    );
    assert_eq!(
        nothing(Reduction::All, no_bools(), Elem::Bool),
        Array::bool(true)
    );
}

#[test]
fn ties_go_to_the_lower_index_and_padding_comes_last() {
    let mut s = Setup::new(SHAPE);
    let (x, dim) = vector(&mut s, &[1.0, 3.0, 3.0, 0.0, 9.0]);
    let real = Array {
        shape: vec![5],
        elements: Elements::Bool(vec![true, true, true, true, false]),
    };
    let mask = s.input(real, Elem::Bool, &[dim]);
    let largest = s.add(
        Op::ArgReduce {
            largest: true,
            over: dim,
        },
        &[x, mask],
        Elem::Int,
        &[],
    );
    let ascending = s.add(
        Op::ArgSort {
            over: dim,
            descending: false,
        },
        &[x, mask],
        Elem::Int,
        &[dim],
    );
    let descending = s.add(
        Op::ArgSort {
            over: dim,
            descending: true,
        },
        &[x, mask],
        Elem::Int,
        &[dim],
    );
    assert_eq!(ints(&s, largest), [1]);
    assert_eq!(ints(&s, ascending), [3, 0, 1, 2, 4]);
    assert_eq!(ints(&s, descending), [1, 2, 0, 3, 4]);
}

/// The gradient of the sum of a function of a vector.
fn gradient(values: &[f64], f: impl FnOnce(&mut Setup, NodeId, DimId) -> NodeId) -> Vec<f64> {
    let mut s = Setup::new(SHAPE);
    let (x, dim) = vector(&mut s, values);
    let y = f(&mut s, x, dim);
    let gradient = gradients(&mut s.graph, y, &[x])[0];
    reals(&s, gradient)
}

#[test]
fn gradients_take_the_branch_taken() {
    let constant = |s: &mut Setup, value: f64, dim: DimId| {
        let literal = s.literal(value);
        s.broadcast(literal, &[dim])
    };
    // min(max(x, 0), 1): at the bounds the gradient passes.
    let clamp = gradient(&[-1.0, 0.0, 0.5, 1.0, 2.0], |s, x, dim| {
        let (low, high) = (constant(s, 0.0, dim), constant(s, 1.0, dim));
        let above = s.binary(Binary::Max, x, low);
        s.binary(Binary::Min, above, high)
    });
    assert_eq!(clamp, [0.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!(
        gradient(&[-2.0, 0.0, 3.0], |s, x, _| s.unary(Unary::Abs, x)),
        [-1.0, 0.0, 1.0]
    );
    assert_eq!(
        gradient(&[1.0, 3.0, 3.0], |s, x, dim| s.reduce(
            Reduction::Max,
            x,
            &[dim]
        )),
        [0.0, 1.0, 0.0]
    );
    assert_eq!(
        gradient(&[2.0, 1.0, 1.0], |s, x, dim| s.reduce(
            Reduction::Min,
            x,
            &[dim]
        )),
        [0.0, 1.0, 0.0]
    );
}

#[test]
fn the_gradient_of_a_product_does_not_divide_by_zero() {
    let product =
        |values: &[f64]| gradient(values, |s, x, dim| s.reduce(Reduction::Product, x, &[dim]));
    assert_eq!(product(&[2.0, 0.0, 5.0]), [0.0, 10.0, 0.0]);
    assert_eq!(product(&[0.0, 0.0, 5.0]), [0.0, 0.0, 0.0]);
}

#[test]
fn powers_at_zero_have_a_gradient() {
    let square = |values: &[f64]| {
        gradient(values, |s, x, dim| {
            let two = s.literal(2.0);
            let two = s.broadcast(two, &[dim]);
            s.binary(Binary::Pow, x, two)
        })
    };
    assert_eq!(square(&[0.0, -3.0]), [0.0, -6.0]);
    let constant = gradient(&[0.0], |s, x, dim| {
        let zero = s.literal(0.0);
        let zero = s.broadcast(zero, &[dim]);
        s.binary(Binary::Pow, x, zero)
    });
    assert_eq!(constant, [0.0]);
}

#[test]
fn no_gradient_flows_from_stop_grad() {
    let half = gradient(&[2.0, 3.0], |s, x, _| {
        let stopped = s.add_like(Op::StopGrad, &[x], x);
        s.mul(x, stopped)
    });
    assert_eq!(half, [2.0, 3.0]);
}

fn text(op: TextOp, operands: &[&str]) -> Elements {
    let mut s = Setup::new(SHAPE);
    let elem = match op {
        TextOp::Words | TextOp::Length | TextOp::Occurrences => Elem::Int,
        TextOp::Contains | TextOp::Matches(_) => Elem::Bool,
        _ => Elem::Text,
    };
    let operands: Vec<NodeId> = operands
        .iter()
        .map(|text| s.input(Array::text(*text), Elem::Text, &[]))
        .collect();
    let y = s.add(Op::Text(op), &operands, elem, &[]);
    value(&s, y).elements
}

#[test]
fn text_functions_are_total() {
    let is = |op: TextOp, operands: &[&str], expected: &str| {
        assert_eq!(
            text(op, operands),
            Elements::Text(vec![expected.to_string()])
        )
    };
    is(TextOp::AfterLast, &["#8#9", "#"], "9");
    is(TextOp::AfterLast, &["89", "#"], "");
    is(TextOp::AfterFirst, &["#8#9", "#"], "8#9");
    is(TextOp::Before, &["8#9", "#"], "8");
    is(TextOp::Before, &["89", "#"], "89");
    is(TextOp::Between, &["<a>7</a>", "<a>", "</a>"], "7");
    is(TextOp::Between, &["<a>7", "<a>", "</a>"], "");
    is(TextOp::Replace, &["aXbX", "X", "-"], "a-b-");
    is(TextOp::Replace, &["ab", "", "-"], "ab");
    is(
        TextOp::Captures {
            pattern: "a(b)?".to_string(),
            group: 1,
        },
        &["a"],
        "",
    );
    assert_eq!(
        text(TextOp::Occurrences, &["aaaa", "aa"]),
        Elements::Int(vec![2])
    );
    assert_eq!(text(TextOp::Length, &["Ärger"]), Elements::Int(vec![5]));
    assert_eq!(
        text(TextOp::Words, &["  two\twords\n"]),
        Elements::Int(vec![2])
    );
    assert_eq!(
        text(TextOp::Matches("^[0-9]+$".to_string()), &["42"]),
        Elements::Bool(vec![true])
    );
}

#[test]
fn numbers_are_plain_decimals() {
    let number = |text: &str| {
        let mut s = Setup::new(SHAPE);
        let operands = [s.input(Array::text(text), Elem::Text, &[]), s.literal(-1.0)];
        let y = s.add(Op::Text(TextOp::Number), &operands, Elem::Real, &[]);
        reals(&s, y)[0]
    };
    let cases = [
        (" 42 ", 42.0),
        ("-2.5e1", -25.0),
        ("+.5", 0.5),
        ("", -1.0),
        ("inf", -1.0),
        ("NaN", -1.0),
        ("1e999", -1.0),
        ("1 2", -1.0),
    ];
    for (text, expected) in cases {
        assert_eq!(number(text), expected, "{text:?}");
    }
}

#[test]
fn what_cannot_be_computed_is_an_error() {
    let fault = |s: &Setup, id: NodeId| {
        let EvalError { node, fault } = evaluate(&s.graph, &s.given, &[id]).unwrap_err();
        assert_eq!(node, id);
        fault
    };
    let mut s = Setup::new(SHAPE);
    let (x, dim) = vector(&mut s, &[1.0, 2.0]);
    let index = s.integer(2);
    let y = s.add(Op::Gather { over: dim }, &[x, index], Elem::Real, &[]);
    assert_eq!(fault(&s, y), Fault::Index { index: 2, size: 2 });

    let (one, zero) = (s.integer(1), s.integer(0));
    let y = s.binary(Binary::Div, one, zero);
    assert_eq!(fault(&s, y), Fault::DivisionByZero);

    let y = s.add(Op::Input("absent".to_string()), &[], Elem::Real, &[]);
    assert_eq!(fault(&s, y), Fault::Missing);

    let unknown = s.dim_without_size("unknown", None);
    let y = s.add(Op::Size(unknown), &[], Elem::Int, &[]);
    assert_eq!(fault(&s, y), Fault::UnknownSize(unknown));

    let longer = Array {
        shape: vec![3],
        elements: Elements::Real(vec![0.0; 3]),
    };
    let longer = s.input(longer, Elem::Real, &[dim]);
    assert_eq!(
        fault(&s, longer),
        Fault::SizesDisagree { dim, sizes: [2, 3] }
    );
}

/// a·b over named dimensions
fn product(s: &mut Setup, a: NodeId, b: NodeId, over: DimId) -> NodeId {
    let dims: Vec<DimId> = [a, b]
        .iter()
        .flat_map(|&id| s.graph.ty(id).dims.clone())
        .filter(|dim| *dim != over)
        .collect();
    s.add(
        Op::Contract { over: vec![over] },
        &[a, b],
        Elem::Real,
        &dims,
    )
}

#[test]
fn factors_multiply_to_the_matrix_with_definite_signs() {
    for (rows, cols) in [(3, 3), (2, 4), (4, 2), (1, 3)] {
        let mut s = Setup::new(SHAPE);
        let (row, col, rank) = (
            s.dim("row", rows, None),
            s.dim("col", cols, None),
            s.dim_without_size("rank", None),
        );
        let x = s.constant(&[row, col], -2.0, 2.0);
        let part = |s: &mut Setup, factor, dims: &[DimId]| {
            s.add(
                Op::Factor {
                    factor,
                    row,
                    col,
                    rank: Some(rank),
                },
                &[x],
                Elem::Real,
                dims,
            )
        };
        let (q, r) = (
            part(&mut s, Factor::QrQ, &[row, rank]),
            part(&mut s, Factor::QrR, &[rank, col]),
        );
        let (u, values, v) = (
            part(&mut s, Factor::SvdLeft, &[row, rank]),
            part(&mut s, Factor::SvdValues, &[rank]),
            part(&mut s, Factor::SvdRight, &[rank, col]),
        );
        let scale = s.add(Op::Broadcast, &[values], Elem::Real, &[rank, col]);
        let scaled = s.mul(scale, v);
        for product in [
            product(&mut s, q, r, rank),
            product(&mut s, u, scaled, rank),
        ] {
            let (expected, got) = (reals(&s, x), reals(&s, product));
            assert!(
                expected
                    .iter()
                    .zip(&got)
                    .all(|(a, b)| (a - b).abs() < 1e-12),
                "{expected:?} {got:?}"
            );
        }
        let n = rows.min(cols);
        let (r, u, values) = (reals(&s, r), reals(&s, u), reals(&s, values));
        assert!((0..n).all(|k| r[k * cols + k] > 0.0));
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
        for k in 0..n {
            let column = (0..rows).map(|i| u[i * n + k]);
            let largest = column.fold(
                0.0f64,
                |best, x| if x.abs() > best.abs() { x } else { best },
            );
            assert!(largest > 0.0);
        }
    }
}

#[test]
fn a_matrix_of_rank_one_still_has_orthonormal_vectors() {
    let mut s = Setup::new(SHAPE);
    let (row, col, rank) = (
        s.dim("row", 3, None),
        s.dim("col", 3, None),
        s.dim_without_size("rank", None),
    );
    let ones = Array {
        shape: vec![3, 3],
        elements: Elements::Real(vec![1.0; 9]),
    };
    let x = s.input(ones, Elem::Real, &[row, col]);
    let u = s.add(
        Op::Factor {
            factor: Factor::SvdLeft,
            row,
            col,
            rank: Some(rank),
        },
        &[x],
        Elem::Real,
        &[row, rank],
    );
    let other = s.dim_without_size("other", None);
    let turned = s.add(
        Op::Rename(vec![(rank, other)]),
        &[u],
        Elem::Real,
        &[row, other],
    );
    let gram = product(&mut s, u, turned, row);
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let gram = reals(&s, gram);
    assert!(
        gram.iter()
            .zip(identity)
            .all(|(a, b)| (a - b).abs() < 1e-12),
        "{gram:?}"
    );
}

#[test]
fn factors_that_do_not_exist_are_not_numbers() {
    let mut s = Setup::new(SHAPE);
    let (row, col) = (s.dim("row", 2, None), s.dim("col", 2, None));
    let x = Array {
        shape: vec![2, 2],
        elements: Elements::Real(vec![1.0, 2.0, 2.0, 4.0]),
    };
    let x = s.input(x, Elem::Real, &[row, col]);
    let inverse = s.add(
        Op::Factor {
            factor: Factor::Inverse,
            row,
            col,
            rank: None,
        },
        &[x],
        Elem::Real,
        &[row, col],
    );
    assert!(reals(&s, inverse).iter().any(|x| !x.is_finite()));
    let negative = s.unary(Unary::Neg, x);
    let cholesky = s.add(
        Op::Factor {
            factor: Factor::Cholesky,
            row,
            col,
            rank: None,
        },
        &[negative],
        Elem::Real,
        &[row, col],
    );
    assert!(reals(&s, cholesky).iter().any(|x| x.is_nan()));
}

#[test]
fn static_values_are_small_and_of_literals() {
    let mut s = Setup::new(SHAPE);
    let sized = s.dim("sized", 12, None);
    s.graph.dims.get_mut(sized).size = Some(12);
    let huge = s.dim_without_size("huge", None);
    s.graph.dims.get_mut(huge).size = Some(1 << 40);
    let (rows, two) = (s.add(Op::Size(sized), &[], Elem::Int, &[]), s.integer(2));
    let half = s.binary(Binary::Div, rows, two);
    let read = s.add(Op::Input("x".to_string()), &[], Elem::Int, &[]);
    let sum = s.binary(Binary::Add, half, read);
    let zeros = s.add(Op::Broadcast, &[two], Elem::Int, &[huge]);
    let total = s.reduce(Reduction::Sum, zeros, &[huge]);
    let joined = (0..40).fold(
        s.add(Op::Literal(Array::text("ab")), &[], Elem::Text, &[]),
        |text, _| s.add(Op::Text(TextOp::Join), &[text, text], Elem::Text, &[]),
    );
    let mut memo = BTreeMap::new();
    assert_eq!(static_value(&s.graph, half, &mut memo), Some(Array::int(6)));
    assert_eq!(static_value(&s.graph, sum, &mut memo), None);
    assert_eq!(static_value(&s.graph, total, &mut memo), None);
    assert_eq!(static_value(&s.graph, joined, &mut memo), None);
}
