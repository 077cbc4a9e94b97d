//! Points where a definition decides: ties, empty sets, far arguments; and what stops a run.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Binary, Call, CallId, Factor, Graph, NodeId, Op, Reduction, Unary};
use rlp_compiler::pass;
use rlp_compiler::ty::{Dim, DimId, Elem, Ty};
use rlp_grammar::ast::Span;
use rlp_runtime::error::{Fault, RunError};
use rlp_runtime::executor::{Executor, NoHost};
use rlp_runtime::tensor::{Device, Kind, Tensor, elements, gradients};
use rlp_runtime::torch::Context;

const CONTEXT: Context = Context {
    kind: Kind::Double,
    device: Device::Cpu,
    seed: 0,
    step: 1,
    steps: 1,
};
const ROW: DimId = DimId(0);
const COL: DimId = DimId(1);

struct Sheet {
    graph: Graph,
    given: Vec<(NodeId, Tensor)>,
}

impl Sheet {
    fn new() -> Sheet {
        let mut graph = Graph::default();
        for name in ["row", "col"] {
            graph.dims.add(Dim {
                name: name.into(),
                origin: "a test".into(),
                span: Span::default(),
                ragged: None,
                size: None,
            });
        }
        Sheet {
            graph,
            given: Vec::new(),
        }
    }

    fn add(&mut self, op: Op, operands: &[NodeId], elem: Elem, dims: &[DimId]) -> NodeId {
        self.graph.add(
            op,
            operands,
            Ty::new(elem, dims.to_vec()),
            Span::default(),
            None,
        )
    }

    fn row(&mut self, values: &[f64]) -> NodeId {
        let node = self.add(
            Op::Input(format!("x{}", self.given.len())),
            &[],
            Elem::Real,
            &[ROW],
        );
        self.given.push((node, Tensor::from_slice(values)));
        node
    }

    fn matrix(&mut self, values: &[f64], rows: i64) -> NodeId {
        let node = self.add(
            Op::Input(format!("x{}", self.given.len())),
            &[],
            Elem::Real,
            &[ROW, COL],
        );
        self.given
            .push((node, Tensor::from_slice(values).reshape([rows, -1])));
        node
    }

    fn executor<'g>(&self, graph: &'g Graph) -> Executor<'g> {
        let mut executor = Executor::new(graph, CONTEXT);
        for (node, value) in &self.given {
            executor
                .give(*node, value.shallow_clone().into(), format_args!("`x`"))
                .unwrap();
        }
        executor
    }

    fn value(&self, node: NodeId) -> Result<Array, RunError> {
        Ok(self
            .executor(&self.graph)
            .evaluate(&[node], &mut NoHost)?
            .remove(0)
            .to_array()?)
    }

    /// The gradient of the sum of a node with respect to each input, after checking that libtorch and the compiler agree.
    fn gradient(&self, node: NodeId) -> Vec<Vec<f64>> {
        let mut executor = Executor::new(&self.graph, CONTEXT);
        let leaves: Vec<Tensor> = self
            .given
            .iter()
            .map(|(_, value)| value.copy().set_requires_grad(true))
            .collect();
        for ((node, _), leaf) in self.given.iter().zip(&leaves) {
            executor
                .give(*node, leaf.shallow_clone().into(), format_args!("`x`"))
                .unwrap();
        }
        let value = executor.evaluate(&[node], &mut NoHost).unwrap().remove(0);
        let total = value.tensor().unwrap().sum(Kind::Double);
        let found = gradients(&total, &leaves.iter().collect::<Vec<_>>(), false).unwrap();
        let autograd: Vec<Vec<f64>> = found
            .iter()
            .map(|gradient| elements(gradient).unwrap())
            .collect();

        let mut graph = self.graph.clone();
        let wrt: Vec<NodeId> = self.given.iter().map(|(node, _)| *node).collect();
        let adjoints = pass::gradients(&mut graph, node, &wrt);
        let values = self
            .executor(&graph)
            .evaluate(&adjoints, &mut NoHost)
            .unwrap();
        let compiler: Vec<Vec<f64>> = values
            .iter()
            .map(|value| elements(value.tensor().unwrap()).unwrap())
            .collect();
        let pairs = autograd.concat().into_iter().zip(compiler.concat());
        let apart: Vec<_> = pairs
            .filter(|(autograd, compiler)| (autograd - compiler).abs() > 1e-12)
            .collect();
        assert_eq!(apart, [], "libtorch and the compiler");
        autograd
    }
}

fn reals(array: Array) -> Vec<f64> {
    match array.elements {
        Elements::Real(values) => values,
        other => panic!("{other:?} are not reals"),
    }
}

fn unary(op: Unary, values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut sheet = Sheet::new();
    let x = sheet.row(values);
    let y = sheet.add(Op::Unary(op), &[x], Elem::Real, &[ROW]);
    (reals(sheet.value(y).unwrap()), sheet.gradient(y).remove(0))
}

#[test]
fn elementwise_edges() {
    let tiny = (-40.0f64).exp();
    let (value, gradient) = unary(Unary::LogSigmoid, &[-9000.0, 0.0, 9000.0, 40.0]);
    assert_eq!(value[..3], [-9000.0, -(2.0f64.ln()), 0.0]);
    assert!((value[3] + tiny).abs() < 1e-30 && (gradient[3] - tiny).abs() < 1e-30);
    assert_eq!(gradient[..3], [1.0, 0.5, 0.0]);
    assert_eq!(unary(Unary::Abs, &[-2.0, 0.0, 2.0]).1, [-1.0, 0.0, 1.0]);
    assert_eq!(
        unary(Unary::Sign, &[-2.0, 0.0, 2.0]),
        (vec![-1.0, 0.0, 1.0], vec![0.0; 3])
    );
    assert_eq!(
        unary(Unary::Round, &[0.5, 1.5, 2.5, -0.5]).0,
        [0.0, 2.0, 2.0, -0.0]
    );
    assert_eq!(
        unary(Unary::Sigmoid, &[-800.0, 800.0]),
        (vec![0.0, 1.0], vec![0.0, 0.0])
    );
}

#[test]
fn the_first_of_equals_takes_the_gradient() {
    for op in [Binary::Min, Binary::Max] {
        let mut sheet = Sheet::new();
        let (a, b) = (sheet.row(&[1.0, 2.0, 3.0]), sheet.row(&[1.0, 3.0, 2.0]));
        let y = sheet.add(Op::Binary(op), &[a, b], Elem::Real, &[ROW]);
        let second = if op == Binary::Min {
            [1.0, 1.0, 0.0]
        } else {
            [1.0, 0.0, 1.0]
        };
        let other = second.map(|share| 1.0 - share);
        assert_eq!(sheet.gradient(y), [second, other]);
    }
    for kind in [Reduction::Max, Reduction::Min] {
        let mut sheet = Sheet::new();
        let x = sheet.matrix(&[1.0, 1.0, 1.0, 2.0, 3.0, 3.0], 2);
        let y = sheet.add(
            Op::Reduce {
                kind,
                over: vec![COL],
            },
            &[x],
            Elem::Real,
            &[ROW],
        );
        let second = if kind == Reduction::Max {
            [0.0, 1.0, 0.0]
        } else {
            [1.0, 0.0, 0.0]
        };
        assert_eq!(sheet.gradient(y), [[[1.0, 0.0, 0.0], second].concat()]);
    }
}

#[test]
fn not_a_number_is_not_hidden() {
    for op in [Binary::Min, Binary::Max] {
        let mut sheet = Sheet::new();
        let (a, b) = (sheet.row(&[f64::NAN, 1.0]), sheet.row(&[1.0, f64::NAN]));
        let y = sheet.add(Op::Binary(op), &[a, b], Elem::Real, &[ROW]);
        assert!(
            reals(sheet.value(y).unwrap())
                .iter()
                .all(|value| value.is_nan())
        );
    }
}

#[test]
fn powers_at_zero() {
    let mut sheet = Sheet::new();
    let (base, exponent) = (
        sheet.row(&[0.0, 0.0, 0.0, 2.0]),
        sheet.row(&[0.0, 1.0, 2.0, 3.0]),
    );
    let y = sheet.add(
        Op::Binary(Binary::Pow),
        &[base, exponent],
        Elem::Real,
        &[ROW],
    );
    assert_eq!(reals(sheet.value(y).unwrap()), [1.0, 0.0, 0.0, 8.0]);
    assert_eq!(
        sheet.gradient(y),
        [[0.0, 1.0, 0.0, 12.0], [0.0, 0.0, 0.0, 8.0 * 2.0f64.ln()]]
    );
}

#[test]
fn log_sum_exp_of_nothing_and_of_much() {
    let mut sheet = Sheet::new();
    let x = sheet.matrix(&[1000.0, 1000.0, f64::NEG_INFINITY, f64::NEG_INFINITY], 2);
    let y = sheet.add(
        Op::Reduce {
            kind: Reduction::LogSumExp,
            over: vec![COL],
        },
        &[x],
        Elem::Real,
        &[ROW],
    );
    assert_eq!(
        reals(sheet.value(y).unwrap()),
        [1000.0 + 2.0f64.ln(), f64::NEG_INFINITY]
    );
    assert_eq!(sheet.gradient(y), [[0.5, 0.5, 0.0, 0.0]]);
}

/// A chain longer than any stack of recursive calls.
#[test]
fn a_long_graph_runs_and_is_differentiated() {
    let mut sheet = Sheet::new();
    let x = sheet.row(&[1.0]);
    let step = sheet.row(&[0.5]);
    let mut y = x;
    for _ in 0..10_000 {
        y = sheet.add(Op::Binary(Binary::Add), &[y, step], Elem::Real, &[ROW]);
    }
    assert_eq!(reals(sheet.value(y).unwrap()), [5001.0]);
    assert_eq!(sheet.gradient(y), [[1.0], [10_000.0]]);
}

#[test]
fn what_stops_a_run_is_told_with_its_place() {
    let mut sheet = Sheet::new();
    let x = sheet.row(&[1.0, 2.0]);
    let two = sheet.add(Op::Literal(Array::int(2)), &[], Elem::Int, &[]);
    let calls = ["loss.outer", "fn.inner"].map(String::from);
    let span = Span {
        start: 7,
        end: 9,
        ..Span::default()
    };
    for (number, block) in calls.into_iter().enumerate() {
        let parent = number.checked_sub(1).map(|parent| CallId(parent as u32));
        sheet.graph.calls.push(Call {
            block,
            span,
            parent,
        });
    }
    let gather = sheet.graph.add(
        Op::Gather { over: ROW },
        &[x, two],
        Ty::scalar(Elem::Real),
        span,
        Some(CallId(1)),
    );
    let error = sheet.value(gather).unwrap_err();
    assert_eq!(
        error.to_string(),
        "index 2 is outside dimension `row` of size 2"
    );
    let place = error.place.unwrap();
    assert_eq!(
        (
            place.span,
            place.calls[0].0.as_str(),
            place.calls[1].0.as_str()
        ),
        (span, "fn.inner", "loss.outer")
    );

    let (one, zero) = (
        sheet.add(Op::Literal(Array::int(1)), &[], Elem::Int, &[]),
        sheet.add(Op::Literal(Array::int(0)), &[], Elem::Int, &[]),
    );
    let quotient = sheet.add(Op::Binary(Binary::Div), &[one, zero], Elem::Int, &[]);
    assert_eq!(
        sheet.value(quotient).unwrap_err().fault,
        Fault::DivisionByZero
    );
    let minus = sheet.add(Op::Unary(Unary::Neg), &[one], Elem::Int, &[]);
    let power = sheet.add(Op::Binary(Binary::Pow), &[one, minus], Elem::Int, &[]);
    assert_eq!(
        sheet.value(power).unwrap_err().fault,
        Fault::NegativeExponent
    );

    let mut sheet = Sheet::new();
    let indefinite = sheet.matrix(&[1.0, 2.0, 2.0, 1.0], 2);
    let op = Op::Factor {
        factor: Factor::Cholesky,
        row: ROW,
        col: COL,
        rank: None,
    };
    let root = sheet.add(op, &[indefinite], Elem::Real, &[ROW, COL]);
    let message = sheet.value(root).unwrap_err().to_string();
    assert!(
        message.contains("positive-definite") && !message.contains('\n'),
        "{message}"
    );

    let mut sheet = Sheet::new();
    let size = sheet.add(Op::Size(ROW), &[], Elem::Int, &[]);
    assert_eq!(
        sheet.value(size).unwrap_err().fault,
        Fault::UnknownSize { dim: "row".into() }
    );
    let unset = sheet.add(Op::Input("x".into()), &[], Elem::Real, &[]);
    assert_eq!(
        sheet.value(unset).unwrap_err().to_string(),
        "no value is given for `x`"
    );
}

#[test]
fn the_source_of_what_is_not_finite_is_found() {
    let mut sheet = Sheet::new();
    let x = sheet.row(&[1.0, 0.0, -1.0]);
    let fine = sheet.add(Op::Unary(Unary::Exp), &[x], Elem::Real, &[ROW]);
    let log = sheet.add(Op::Unary(Unary::Log), &[x], Elem::Real, &[ROW]);
    let product = sheet.add(Op::Binary(Binary::Mul), &[fine, log], Elem::Real, &[ROW]);
    let total = sheet.add(
        Op::Reduce {
            kind: Reduction::Sum,
            over: vec![ROW],
        },
        &[product],
        Elem::Real,
        &[],
    );
    let mut executor = sheet.executor(&sheet.graph);
    executor.evaluate(&[total], &mut NoHost).unwrap();
    assert_eq!(
        executor.first_not_finite(&[total], &mut NoHost).unwrap(),
        Some(log)
    );
    assert_eq!(
        executor.first_not_finite(&[fine], &mut NoHost).unwrap(),
        None
    );
}
