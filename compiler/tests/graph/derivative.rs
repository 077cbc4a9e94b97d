//! Derivatives against central differences, with garbage in all padding.

use proptest::prelude::*;
use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::{Given, evaluate};
use rlp_compiler::graph::{Binary, Graph, NodeId, Op, Unary};
use rlp_compiler::pass::{PASSES, Pass, gradients};
use rlp_compiler::ty::Elem;
use rlp_compiler::verify::verify;

use crate::example::{self, Example};
use crate::setup::{Setup, Shape};

pub(crate) fn shapes() -> impl Strategy<Value = Shape> {
    (1..3usize, 1..3usize, 0..4usize, 1..4usize, any::<u64>()).prop_map(
        |(prompts, samples, tokens, features, seed)| Shape {
            prompts,
            samples,
            tokens,
            features,
            seed,
        },
    )
}

pub(crate) fn pass(name: &str) -> Pass {
    PASSES.iter().find(|(own, _)| *own == name).unwrap().1
}

fn number(name: &str, graph: &Graph, given: &Given, y: NodeId) -> f64 {
    let values = evaluate(graph, given, &[y]).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let Elements::Real(value) = &values[0].elements else {
        panic!("a real")
    };
    value[0]
}

/// The array that a source has, to be changed.
fn source<'a>(graph: &Graph, given: &'a mut Given, id: NodeId) -> &'a mut Vec<f64> {
    let array: &mut Array = match graph.op(id) {
        Op::Input(name) => given.inputs.get_mut(name).unwrap(),
        _ => given.nodes.get_mut(&id).unwrap(),
    };
    let Elements::Real(values) = &mut array.elements else {
        panic!("a real source")
    };
    values
}

/// Checks the gradients of a scalar with respect to each source against differences, at real positions.
fn check(name: &str, setup: &Setup, y: NodeId, gradients: &[NodeId], tolerance: f64) {
    let violations = verify(&setup.graph);
    assert!(violations.is_empty(), "{name}: {violations:?}");
    let graph = &setup.graph;
    let values = evaluate(graph, &setup.given, gradients)
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    for (&x, gradient) in setup.wrt.iter().zip(values) {
        let Elements::Real(gradient) = gradient.elements else {
            panic!("a real gradient")
        };
        let real = setup.real(&graph.ty(x).dims);
        let mut given = setup.given.clone();
        for (element, _) in real.iter().enumerate().filter(|(_, real)| **real) {
            let step = 1e-5;
            let at = source(graph, &mut given, x)[element];
            let mut value = |x_value: f64| {
                source(graph, &mut given, x)[element] = x_value;
                number(name, graph, &given, y)
            };
            let difference = (value(at + step) - value(at - step)) / (2.0 * step);
            value(at);
            let error = (gradient[element] - difference).abs();
            let size = 1.0 + difference.abs();
            assert!(
                error <= tolerance * size,
                "{name}: d/d%{}[{element}] is {}, not {difference}",
                x.index(),
                gradient[element]
            );
        }
    }
}

/// An example, its weighted sum, and the gradients of that.
fn differentiated(example: Example) -> Option<(String, Setup, NodeId, Vec<NodeId>)> {
    let Example {
        name,
        mut setup,
        node,
    } = example;
    let is_text = setup.graph.ty(node).elem == Elem::Text;
    let no_value = matches!(setup.graph.op(node), Op::Draw(_));
    if is_text || no_value {
        return None;
    }
    let y = setup.weighted_sum(node);
    // `Grad` has no value before it is expanded.
    let rewritten = pass("autodiff")(&setup.graph, &[]);
    let new = |id: NodeId| rewritten.map[id.index()].unwrap();
    setup.wrt = setup.wrt.iter().map(|&id| new(id)).collect();
    setup.given.nodes = setup
        .given
        .nodes
        .into_iter()
        .map(|(id, array)| (new(id), array))
        .collect();
    let y = new(y);
    setup.graph = rewritten.graph;
    let gradients = gradients(&mut setup.graph, y, &setup.wrt);
    Some((name, setup, y, gradients))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn first_derivatives_are_differences(shape in shapes()) {
        for (name, setup, y, gradients) in example::all(shape).into_iter().filter_map(differentiated) {
            check(&name, &setup, y, &gradients, 1e-6);
        }
    }
}

/// h ← tanh(h·v + x), v ← v·k + h, over tokens, from the last to the first: what both are at every token.
fn two_carries(shape: Shape) -> (Setup, [NodeId; 2]) {
    let mut s = Setup::new(shape);
    let (over, inner) = (s.token, [s.prompt, s.sample]);
    let dims = [s.prompt, s.sample, s.token];
    let x = s.variable(&dims, -1.0, 1.0);
    let k = s.variable(&[], 0.5, 0.9);
    let initial = [s.variable(&inner, -1.0, 1.0), s.variable(&inner, -1.0, 1.0)];
    let mask = s.mask(&dims).unwrap();
    let body = s.body(|s| {
        let [x, h, v] = ["x0", "c0", "c1"].map(|name| s.given(name, Elem::Real, &inner));
        let k = s.given("k0", Elem::Real, &[]);
        let k = s.add(Op::Broadcast, &[k], Elem::Real, &inner);
        let (product, decayed) = (s.mul(h, v), s.mul(v, k));
        let sum = s.binary(Binary::Add, product, x);
        vec![s.unary(Unary::Tanh, sum), s.binary(Binary::Add, decayed, h)]
    });
    let body = std::sync::Arc::new(body);
    let parts = [0, 1].map(|part| {
        let op = Op::Scan {
            over,
            reverse: true,
            xs: 1,
            captured: 1,
            carries: 2,
            masked: true,
            part,
            body: body.clone(),
        };
        let operands = [x, k, initial[0], initial[1], mask];
        s.add(op, &operands, Elem::Real, &dims)
    });
    (s, parts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_parts_of_a_scan_are_differentiated_together(shape in shapes()) {
        let (mut s, [h, v]) = two_carries(shape);
        // The parts read each other's neighbours, so their adjoints are not known at once.
        let decayed = s.unary(Unary::Sin, v);
        let both = s.mul(h, decayed);
        let y = s.weighted_sum(both);
        let gradients = gradients(&mut s.graph, y, &s.wrt.clone());
        check("two carries", &s, y, &gradients, 1e-6);
        let scans = s.graph.ids().filter(|&id| matches!(s.graph.op(id), Op::Scan { reverse: false, .. }));
        let bodies: std::collections::BTreeSet<_> = scans
            .filter_map(|id| match s.graph.op(id) {
                Op::Scan { body, .. } => Some(std::sync::Arc::as_ptr(body)),
                _ => None,
            })
            .collect();
        prop_assert_eq!(bodies.len(), 1, "one adjoint scan");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn second_derivatives_are_differences(shape in shapes()) {
        for (name, mut setup, _, first) in example::all(shape).into_iter().filter_map(differentiated) {
            for (number, &gradient) in first.iter().enumerate() {
                let before = setup.graph.len();
                let y = setup.weighted_sum(gradient);
                let second = gradients(&mut setup.graph, y, &setup.wrt);
                check(&format!("{name}, second, after {before} nodes, of {number}"), &setup, y, &second, 1e-5);
            }
        }
    }
}
