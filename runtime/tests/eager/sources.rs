//! Primitives whose values come from outside the graph, and those that only say something about gradients.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{
    Binary, Draw, Graph, ModelOutput, ModelRef, NodeId, Op, RandomKind, Reduction, State, Unary,
};
use rlp_compiler::ty::{Dim, DimId, Elem, Ty};
use rlp_grammar::ast::Span;
use rlp_runtime::error::{Fault, Result};
use rlp_runtime::executor::{Drawn, Executor, Host, NoHost};
use rlp_runtime::tensor::{Device, Kind, Tensor, Value, gradients};
use rlp_runtime::torch::Context;

const CONTEXT: Context = Context {
    kind: Kind::Double,
    device: Device::Cpu,
    seed: 5,
    step: 1,
    steps: 2,
};

/// A host that draws what it is told to, and whose models give back their first operand plus 1.
struct Script {
    draws: Vec<Vec<f64>>,
    models: usize,
}

impl Host for Script {
    fn draw(&mut self, _: &mut Executor<'_>, _: NodeId, _: &[Value]) -> Result<Drawn> {
        let values = self.draws.remove(0);
        Ok(Drawn {
            fields: vec![Tensor::from_slice(&values).into()],
            masks: vec![],
        })
    }

    fn model(&mut self, _: &Graph, _: NodeId, operands: &[Value]) -> Result<Value> {
        self.models += 1;
        Ok(match operands.first() {
            Some(operand) => (operand.tensor()? + 1.0).into(),
            None => Tensor::from_slice(&[1.0, 2.0]).into(),
        })
    }
}

fn dim(graph: &mut Graph, name: &str) -> DimId {
    graph.dims.add(Dim {
        name: name.into(),
        origin: "a test".into(),
        span: Span::default(),
        ragged: None,
        size: None,
    })
}

fn add(graph: &mut Graph, op: Op, operands: &[NodeId], dims: &[DimId]) -> NodeId {
    graph.add(
        op,
        operands,
        Ty::new(Elem::Real, dims.to_vec()),
        Span::default(),
        None,
    )
}

fn reals(value: &Value) -> Vec<f64> {
    match value.to_array().unwrap().elements {
        Elements::Real(values) => values,
        other => panic!("{other:?} are not reals"),
    }
}

pub(crate) fn states_are_given() {
    let mut graph = Graph::default();
    let state = add(&mut graph, Op::State(0), &[], &[]);
    let twice = add(&mut graph, Op::Binary(Binary::Add), &[state, state], &[]);
    let ty = graph.ty(state).clone();
    graph.states.push(State {
        name: "scale".into(),
        ty,
        initial: state,
        next: twice,
        is_memory: false,
        span: Span::default(),
    });
    let mut executor = Executor::new(&graph, CONTEXT);
    assert!(executor.evaluate(&[twice], &mut NoHost).is_err());
    executor.give_state(0, &Tensor::from(1.5).into()).unwrap();
    assert_eq!(
        reals(&executor.evaluate(&[twice], &mut NoHost).unwrap()[0]),
        [3.0]
    );
}

pub(crate) fn a_draw_is_made_once_and_can_be_redrawn() {
    let mut graph = Graph::default();
    let example = dim(&mut graph, "example");
    graph.draws.push(Draw {
        block: "sampler.numbers".into(),
        args: vec![],
        fields: vec![("number".into(), Ty::new(Elem::Real, vec![example]))],
        fresh: vec![example],
        renewed: vec![],
        span: Span::default(),
    });
    let shift = add(&mut graph, Op::Input("shift".into()), &[], &[]);
    let draw = add(&mut graph, Op::Draw(0), &[], &[]);
    let number = add(&mut graph, Op::Field("number".into()), &[draw], &[example]);
    let sum = add(
        &mut graph,
        Op::Reduce {
            kind: Reduction::Sum,
            over: vec![example],
        },
        &[number],
        &[],
    );
    let shifted = add(&mut graph, Op::Binary(Binary::Add), &[sum, shift], &[]);
    let size = graph.add(
        Op::Size(example),
        &[draw],
        Ty::scalar(Elem::Int),
        Span::default(),
        None,
    );

    let mut host = Script {
        draws: vec![vec![1.0, 2.0]],
        models: 0,
    };
    let mut executor = Executor::new(&graph, CONTEXT);
    executor
        .give_input("shift", &Tensor::from(10.0).into())
        .unwrap();
    assert_eq!(
        reals(&executor.evaluate(&[shifted], &mut host).unwrap()[0]),
        [13.0]
    );
    assert_eq!(
        reals(&executor.evaluate(&[sum], &mut host).unwrap()[0]),
        [3.0]
    );

    // Another draw, of another size: the shift stays, the sum does not.
    let other = Drawn {
        fields: vec![Tensor::from_slice(&[5.0, 6.0, 7.0]).into()],
        masks: vec![],
    };
    let mut again = executor.redraw(draw, other).unwrap();
    let values = again.evaluate(&[shifted, size], &mut host).unwrap();
    assert_eq!(
        (reals(&values[0]), values[1].to_array().unwrap()),
        (vec![28.0], Array::int(3))
    );
    assert_eq!(
        reals(&executor.evaluate(&[sum], &mut host).unwrap()[0]),
        [3.0]
    );
}

pub(crate) fn models_are_asked_of_the_host() {
    let mut graph = Graph::default();
    let objective = dim(&mut graph, "objective");
    let model = ModelRef {
        model: 0,
        frozen: None,
    };
    let vector = add(&mut graph, Op::Trainable(model.clone()), &[], &[objective]);
    let output = add(
        &mut graph,
        Op::Model {
            model: model.clone(),
            output: ModelOutput::Logp,
        },
        &[vector],
        &[objective],
    );
    let gradient = add(
        &mut graph,
        Op::Backward {
            model,
            outputs: vec![ModelOutput::Logp],
        },
        &[output],
        &[objective],
    );
    let twice = add(
        &mut graph,
        Op::Binary(Binary::Add),
        &[output, output],
        &[objective],
    );
    let mut host = Script {
        draws: vec![],
        models: 0,
    };
    let mut executor = Executor::new(&graph, CONTEXT);
    assert_eq!(
        reals(&executor.evaluate(&[twice], &mut host).unwrap()[0]),
        [4.0, 6.0]
    );
    assert_eq!(host.models, 2);
    assert_eq!(
        reals(&executor.evaluate(&[gradient], &mut host).unwrap()[0]),
        [3.0, 4.0]
    );
    // An evaluation asks anew: the vector, the output, the gradient.
    assert_eq!(host.models, 5);
    assert!(
        Executor::new(&graph, CONTEXT)
            .evaluate(&[twice], &mut NoHost)
            .is_err()
    );
}

pub(crate) fn random_numbers_repeat() {
    let mut graph = Graph::default();
    let row = dim(&mut graph, "row");
    let normal = |key| Op::Random {
        kind: RandomKind::Normal,
        key,
    };
    let (first, second) = (
        add(&mut graph, normal(0), &[], &[row]),
        add(&mut graph, normal(1), &[], &[row]),
    );
    let uniform = add(
        &mut graph,
        Op::Random {
            kind: RandomKind::Uniform,
            key: 0,
        },
        &[],
        &[row],
    );
    let draw = |context| {
        let mut executor = Executor::new(&graph, context);
        executor
            .give_size(row, 10_000, format_args!("the test"))
            .unwrap();
        executor
            .evaluate(&[first, second, uniform], &mut NoHost)
            .unwrap()
            .iter()
            .map(reals)
            .collect::<Vec<_>>()
    };
    let numbers = draw(CONTEXT);
    assert_eq!(numbers, draw(CONTEXT));
    assert_ne!(numbers[0], numbers[1]);
    assert_ne!(numbers, draw(Context { step: 2, ..CONTEXT }));
    assert_ne!(numbers, draw(Context { seed: 6, ..CONTEXT }));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let square =
        |values: &[f64]| mean(&values.iter().map(|value| value * value).collect::<Vec<_>>());
    // Five standard errors of 10,000 numbers.
    assert!(mean(&numbers[0]).abs() < 0.05 && (square(&numbers[0]) - 1.0).abs() < 0.071);
    assert!(
        (mean(&numbers[2]) - 0.5).abs() < 0.0145
            && numbers[2].iter().all(|x| (0.0..1.0).contains(x))
    );
}

pub(crate) fn no_gradient_passes_stop_grad() {
    let mut graph = Graph::default();
    let x = add(&mut graph, Op::Input("x".into()), &[], &[]);
    let stopped = add(&mut graph, Op::StopGrad, &[x], &[]);
    let product = add(&mut graph, Op::Binary(Binary::Mul), &[x, stopped], &[]);
    let leaf = Tensor::from(3.0f64).set_requires_grad(true);
    let mut executor = Executor::new(&graph, CONTEXT);
    executor
        .give_input("x", &leaf.shallow_clone().into())
        .unwrap();
    let value = executor
        .evaluate(&[product], &mut NoHost)
        .unwrap()
        .remove(0);
    assert_eq!(
        gradients(value.tensor().unwrap(), &[&leaf], false).unwrap()[0].double_value(&[]),
        3.0
    );
}

pub(crate) fn grad_is_gone_before_the_run() {
    let mut graph = Graph::default();
    let x = add(&mut graph, Op::Input("x".into()), &[], &[]);
    let y = add(&mut graph, Op::Unary(Unary::Exp), &[x], &[]);
    let grad = add(&mut graph, Op::Grad, &[y, x], &[]);
    let mut executor = Executor::new(&graph, CONTEXT);
    executor
        .give_input("x", &Tensor::from(3.0f64).into())
        .unwrap();
    let error = executor.evaluate(&[grad], &mut NoHost).unwrap_err();
    assert!(matches!(error.fault, Fault::Broken { .. }), "{error}");
}
