//! What the conventions of the language make definite, and what is refused instead of computed.

use std::collections::BTreeMap;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::{EvalError, Fault, evaluate, static_value};
use rlp_compiler::graph::{Binary, NodeId, Op, Reduction, TextOp, Unary};
use rlp_compiler::pass::gradients;
use rlp_compiler::ty::{DimId, Elem};

use crate::setup::{Setup, Shape};

pub(crate) const SHAPE: Shape = Shape {
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

pub(crate) fn value(s: &Setup, id: NodeId) -> Array {
    evaluate(&s.graph, &s.given, &[id]).unwrap().remove(0)
}

pub(crate) fn reals(s: &Setup, id: NodeId) -> Vec<f64> {
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
