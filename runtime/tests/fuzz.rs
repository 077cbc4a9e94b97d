//! Random graphs in both executors: machine code never reads or writes where it must not, and computes the same.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "shared with the compiler's tests")]
#[path = "../../compiler/tests/graph/random.rs"]
mod random;
#[allow(dead_code, reason = "shared with the compiler's tests")]
#[path = "../../compiler/tests/graph/setup.rs"]
mod setup;

use std::rc::Rc;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::NodeId;
use rlp_runtime::executor::{Executor, Kernels, NoHost, Steps};
use rlp_runtime::tensor::{Device, Kind, Value};
use rlp_runtime::torch::Context;

use random::random_graph;
use setup::{Setup, Shape};

const CASES: u64 = 150;

fn values(setup: &Setup, wanted: &[NodeId], kernels: Option<&Rc<Kernels>>) -> Vec<Array> {
    let context = Context {
        kind: Kind::Double,
        device: Device::Cpu,
        seed: 0,
        step: setup.given.step as u64,
        steps: setup.given.steps as u64,
    };
    let steps = kernels.map(Steps::new);
    let mut executor = Executor::fused(&setup.graph, context, steps.as_ref());
    let value = |array: &Array| Value::from_array(array, Kind::Double, Device::Cpu).unwrap();
    for (&dim, &size) in &setup.given.sizes {
        executor
            .give_size(dim, size as i64, format_args!("a test"))
            .unwrap();
    }
    for (&dim, mask) in &setup.given.masks {
        executor
            .give_mask(dim, value(mask).tensor().unwrap(), format_args!("a test"))
            .unwrap();
    }
    for (name, array) in &setup.given.inputs {
        executor.give_input(name, &value(array)).unwrap();
    }
    for (&node, array) in &setup.given.nodes {
        executor
            .give(node, value(array), format_args!("a test"))
            .unwrap();
    }
    let values = executor.evaluate(wanted, &mut NoHost).unwrap();
    values
        .iter()
        .map(|value| value.to_array().unwrap())
        .collect()
}

fn is_close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-8 * (1.0 + a.abs())
}

#[test]
fn random_graphs_are_the_same_in_both_executors() {
    tch::set_num_threads(1);
    let kernels = Rc::new(Kernels::new());
    for seed in 0..CASES {
        let shape = Shape {
            prompts: 1 + seed as usize % 3,
            samples: 1 + seed as usize / 3 % 3,
            tokens: seed as usize * 7 % 20,
            features: 1 + seed as usize % 5,
            seed,
        };
        let (setup, wanted) = random_graph(shape, false);
        let eager = values(&setup, &wanted, None);
        let fused = values(&setup, &wanted, Some(&kernels));
        for ((&id, eager), fused) in wanted.iter().zip(&eager).zip(&fused) {
            let real = setup.real(&setup.graph.ty(id).dims);
            let same = match (&eager.elements, &fused.elements) {
                (Elements::Real(a), Elements::Real(b)) => a
                    .iter()
                    .zip(b)
                    .zip(&real)
                    .all(|((a, b), real)| !real || is_close(*a, *b)),
                (Elements::Bool(a), Elements::Bool(b)) => a
                    .iter()
                    .zip(b)
                    .zip(&real)
                    .all(|((a, b), real)| !real || a == b),
                (a, b) => a == b,
            };
            assert!(
                same,
                "graph {seed}, %{}: eager {eager:?}, fused {fused:?}",
                id.index()
            );
        }
    }
}
