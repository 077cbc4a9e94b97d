//! Fused graphs: the same values as node by node, with fewer steps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::{Given, evaluate};
use rlp_compiler::graph::{Binary, Graph, NodeId, Op, Reduction, Unary};
use rlp_compiler::kernel::{Kernel, interpret};
use rlp_compiler::pass;
use rlp_compiler::pass::fuse::{Fusion, Step, fuse};
use rlp_compiler::ty::{DimId, Elem};

use crate::derivative::shapes;
use crate::example::{self, Example};
use crate::random::random_graph;
use crate::setup::{Setup, Shape};

/// The values of `wanted`, computed by the steps of a fusion; every step has what it reads, and writes what is read.
fn run(graph: &Graph, given: &Given, wanted: &[NodeId]) -> (Fusion, Vec<Array>) {
    let fusion = fuse(graph, wanted, |id| given.nodes.contains_key(&id));
    let mut given = given.clone();
    let mut read: BTreeSet<NodeId> = wanted.iter().copied().collect();
    read.extend(fusion.steps.iter().flat_map(|step| step.reads(graph)));
    for step in &fusion.steps {
        assert!(
            step.writes().iter().all(|id| read.contains(id)),
            "nobody reads what {step:?} writes"
        );
        let values = match step {
            Step::Node(id) => {
                let known = |operand: &NodeId| {
                    given.nodes.contains_key(operand) || is_draw(graph, *operand)
                };
                assert!(
                    graph.operands(*id).iter().all(known),
                    "%{} comes too early",
                    id.index()
                );
                if is_draw(graph, *id) {
                    Vec::new()
                } else {
                    evaluate(graph, &given, &[*id]).unwrap()
                }
            }
            Step::Kernel(kernel) => {
                let inputs: Vec<Array> = kernel
                    .inputs
                    .iter()
                    .map(|input| given.nodes[&input.node].clone())
                    .collect();
                interpret(kernel, &sizes(graph, &given), &inputs).unwrap()
            }
        };
        given.nodes.extend(step.writes().into_iter().zip(values));
    }
    let values = wanted.iter().map(|id| given.nodes[id].clone()).collect();
    (fusion, values)
}

fn is_draw(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.op(id), Op::Draw(_))
}

/// The sizes that are given, and those of what was computed.
fn sizes(graph: &Graph, given: &Given) -> BTreeMap<DimId, usize> {
    let mut sizes = given.sizes.clone();
    for (id, array) in &given.nodes {
        sizes.extend(
            graph
                .ty(*id)
                .dims
                .iter()
                .copied()
                .zip(array.shape.iter().copied()),
        );
    }
    sizes
}

fn is_close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * (1.0 + a.abs())
}

/// At real positions.
fn assert_same(
    name: &str,
    setup: &Setup,
    graph: &Graph,
    wanted: &[NodeId],
    given: &Given,
) -> Fusion {
    let expected = evaluate(graph, given, wanted).unwrap();
    let (fusion, found) = run(graph, given, wanted);
    for ((id, expected), found) in wanted.iter().zip(&expected).zip(&found) {
        let dims = &graph.ty(*id).dims;
        assert_eq!(expected.shape, found.shape, "{name}: %{}", id.index());
        let real = if dims.iter().all(|dim| setup.given.sizes.contains_key(dim)) {
            setup.real(dims)
        } else {
            vec![true; expected.len()]
        };
        let same = match (&expected.elements, &found.elements) {
            (Elements::Real(a), Elements::Real(b)) => a
                .iter()
                .zip(b)
                .zip(&real)
                .all(|((a, b), real)| !real || is_close(*a, *b)),
            (Elements::Int(a), Elements::Int(b)) => a
                .iter()
                .zip(b)
                .zip(&real)
                .all(|((a, b), real)| !real || a == b),
            (Elements::Bool(a), Elements::Bool(b)) => a
                .iter()
                .zip(b)
                .zip(&real)
                .all(|((a, b), real)| !real || a == b),
            (a, b) => a == b,
        };
        assert!(
            same,
            "{name}: %{} is {found:?} and not {expected:?}",
            id.index()
        );
    }
    fusion
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn examples_and_their_gradients_are_the_same_fused(shape in shapes()) {
        for Example { name, mut setup, node } in example::all(shape) {
            if matches!(setup.graph.op(node), Op::Draw(_) | Op::Grad) {
                continue;
            }
            let mut wanted = vec![node];
            if setup.graph.ty(node).elem == Elem::Real {
                let wrt = setup.wrt.clone();
                wanted.extend(pass::gradients(&mut setup.graph, node, &wrt));
            }
            assert_same(&name, &setup, &setup.graph, &wanted, &setup.given);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_are_the_same_fused(shape in shapes()) {
        let (setup, wanted) = random_graph(shape, false);
        assert_same("a random graph", &setup, &setup.graph, &wanted, &setup.given);
    }
}

const SHAPE: Shape = Shape {
    prompts: 2,
    samples: 3,
    tokens: 4,
    features: 2,
    seed: 7,
};

fn kernels(fusion: &Fusion) -> Vec<&Kernel> {
    fn of(step: &Step) -> Option<&Kernel> {
        match step {
            Step::Kernel(kernel) => Some(kernel),
            Step::Node(_) => None,
        }
    }
    fusion.steps.iter().filter_map(of).collect()
}

/// A clipped surrogate and its gradient.
fn surrogate(s: &mut Setup) -> Vec<NodeId> {
    let tokens = [s.prompt, s.sample, s.token];
    let logp = s.variable(&tokens, -1.0, 0.0);
    let old = s.variable(&tokens, -1.0, 0.0);
    let advantage = s.variable(&[s.prompt, s.sample], -1.0, 1.0);
    let difference = s.binary(Binary::Sub, logp, old);
    let ratio = s.unary(Unary::Exp, difference);
    let advantage = s.broadcast(advantage, &tokens);
    let high = s.literal(1.2);
    let high = s.broadcast(high, &tokens);
    let clipped = s.binary(Binary::Min, ratio, high);
    let (a, b) = (s.mul(ratio, advantage), s.mul(clipped, advantage));
    let smaller = s.binary(Binary::Min, a, b);
    let loss = s.reduce(Reduction::Mean, smaller, &tokens);
    let mut wanted = vec![loss];
    wanted.extend(pass::gradients(&mut s.graph, loss, &[logp]));
    wanted
}

#[test]
fn a_loss_and_its_gradient_are_one_pass_over_memory_after_a_count() {
    let mut s = Setup::new(SHAPE);
    let wanted = surrogate(&mut s);
    let fusion = assert_same("a surrogate", &s, &s.graph, &wanted, &s.given);
    let kernels = kernels(&fusion);
    assert_eq!(kernels.len(), 2, "{kernels:?}");
    // The mask alone is counted.
    assert_eq!(kernels[0].inputs.len(), 1);
    assert_eq!(kernels[0].outputs.len(), 1);
    let written: Vec<NodeId> = kernels[1]
        .outputs
        .iter()
        .map(|output| output.node)
        .collect();
    assert_eq!(written, wanted);
}

#[test]
fn a_row_is_normalised_where_it_is_read() {
    let mut s = Setup::new(SHAPE);
    let (p, n) = (s.prompt, s.sample);
    let score = s.variable(&[p, n], -1.0, 1.0);
    let mean = s.reduce(Reduction::Mean, score, &[n]);
    let mean = s.broadcast(mean, &[p, n]);
    let centred = s.binary(Binary::Sub, score, mean);
    let square = s.mul(centred, centred);
    let variance = s.reduce(Reduction::Mean, square, &[n]);
    let deviation = s.unary(Unary::Sqrt, variance);
    let deviation = s.broadcast(deviation, &[p, n]);
    let normal = s.binary(Binary::Div, centred, deviation);
    let fusion = assert_same("a group", &s, &s.graph, &[normal], &s.given);
    let kernels = kernels(&fusion);
    assert_eq!(kernels.len(), 1);
    assert_eq!((&kernels[0].rows, &kernels[0].cells), (&vec![p], &vec![n]));
}

#[test]
fn what_only_passes_through_is_not_copied() {
    let mut s = Setup::new(SHAPE);
    let x = s.variable(&[s.prompt], -1.0, 1.0);
    let wide = s.broadcast(x, &[s.prompt, s.sample]);
    let fusion = assert_same("a broadcast", &s, &s.graph, &[wide], &s.given);
    assert!(kernels(&fusion).is_empty());
}

#[test]
fn kernels_do_not_wait_for_each_other_in_a_circle() {
    let mut s = Setup::new(SHAPE);
    let x = s.variable(&[s.prompt, s.sample], -1.0, 1.0);
    let a = s.unary(Unary::Exp, x);
    // A sort stands between two kernels over the same dimensions.
    let op = Op::ArgSort {
        over: s.sample,
        descending: false,
    };
    let order = s.add(op, &[a], Elem::Int, &[s.prompt, s.sample]);
    let order = s.add_like(Op::Cast(Elem::Real), &[order], x);
    let b = s.mul(a, order);
    let fusion = assert_same("a sort", &s, &s.graph, &[a, b], &s.given);
    assert_eq!(kernels(&fusion).len(), 2);
}
