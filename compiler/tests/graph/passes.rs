//! Passes keep every sink's value, and do what their sentence says.

use proptest::prelude::*;
use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::{Given, evaluate};
use rlp_compiler::graph::{Binary, NodeId, Op, RandomKind, Unary};
use rlp_compiler::pass::{self, PASSES, Snapshot};
use rlp_compiler::phase::Phase;
use rlp_compiler::ty::{DimId, Elem};
use rlp_compiler::verify::{verify, verify_phases};

use crate::derivative::{pass, shapes};
use crate::example::{self, Example};
use crate::random::random_graph;
use crate::setup::{Setup, Shape};

/// A graph between passes: its sinks, and after them the sources whose values are given by node.
struct Running {
    snapshot: Snapshot,
    given: Given,
    n_sinks: usize,
}

impl Running {
    fn new(setup: &Setup, sinks: &[NodeId]) -> Running {
        let given_nodes = setup.given.nodes.keys();
        let named = sinks
            .iter()
            .chain(given_nodes)
            .enumerate()
            .map(|(number, &id)| (format!("sink{number}"), id));
        let phases = vec![Phase::Once; setup.graph.len()];
        let snapshot = Snapshot {
            graph: setup.graph.clone(),
            phases,
            sinks: named.collect(),
        };
        Running {
            snapshot,
            given: setup.given.clone(),
            n_sinks: sinks.len(),
        }
    }

    fn apply(&mut self, name: &str) {
        pass::apply(pass(name), &mut self.snapshot);
        let ids = self.snapshot.sinks[self.n_sinks..]
            .iter()
            .map(|&(_, id)| id);
        self.given.nodes = ids.zip(self.given.nodes.values().cloned()).collect();
        assert_eq!(
            verify(&self.snapshot.graph),
            Vec::<String>::new(),
            "after {name}"
        );
        assert_eq!(
            verify_phases(&self.snapshot.graph, &self.snapshot.phases),
            Vec::<String>::new(),
            "after {name}"
        );
    }

    /// The sinks' values, with nothing where they are not real.
    fn values(&self, setup: &Setup) -> Vec<Vec<Value>> {
        let ids: Vec<NodeId> = self.snapshot.sinks[..self.n_sinks]
            .iter()
            .map(|&(_, id)| id)
            .collect();
        let arrays = evaluate(&self.snapshot.graph, &self.given, &ids).unwrap();
        let types = ids.iter().map(|&id| self.snapshot.graph.ty(id).clone());
        let dims_known = |dims: &[DimId]| dims.iter().all(|dim| self.given.sizes.contains_key(dim));
        arrays
            .into_iter()
            .zip(types)
            .map(|(array, ty)| {
                let real = if dims_known(&ty.dims) {
                    setup.real(&ty.dims)
                } else {
                    vec![true; array.len()]
                };
                elements(&array)
                    .into_iter()
                    .zip(real)
                    .filter(|(_, real)| *real)
                    .map(|(value, _)| value)
                    .collect()
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Value {
    Real(f64),
    Other(String),
}

impl Value {
    /// To the last bit, but for which not-a-number it is.
    fn is(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Real(a), Value::Real(b)) => {
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
            }
            (Value::Other(a), Value::Other(b)) => a == b,
            _ => false,
        }
    }

    /// To rounding, as far as both are finite: what is not computed cannot be not-a-number.
    fn is_about(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Real(a), Value::Real(b)) => {
                !a.is_finite() || !b.is_finite() || (a - b).abs() <= 1e-9 * (1.0 + a.abs())
            }
            _ => self.is(other),
        }
    }
}

fn elements(array: &Array) -> Vec<Value> {
    match &array.elements {
        Elements::Real(values) => values.iter().map(|&value| Value::Real(value)).collect(),
        Elements::Int(values) => values
            .iter()
            .map(|value| Value::Other(value.to_string()))
            .collect(),
        Elements::Bool(values) => values
            .iter()
            .map(|value| Value::Other(value.to_string()))
            .collect(),
        Elements::Text(values) => values
            .iter()
            .map(|value| Value::Other(value.clone()))
            .collect(),
    }
}

fn same(
    name: &str,
    before: &[Vec<Value>],
    after: &[Vec<Value>],
    is: impl Fn(&Value, &Value) -> bool,
) {
    for (number, (before, after)) in before.iter().zip(after).enumerate() {
        let equal = before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(before, after)| is(before, after));
        assert!(
            equal,
            "{name}: sink {number} was {before:?} and is {after:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn examples_and_their_gradients_keep_their_values(shape in shapes()) {
        for Example { name, mut setup, node } in example::all(shape) {
            if matches!(setup.graph.op(node), Op::Draw(_) | Op::Grad) {
                continue;
            }
            let mut sinks = vec![node];
            if setup.graph.ty(node).elem == Elem::Real {
                let wrt = setup.wrt.clone();
                sinks.extend(pass::gradients(&mut setup.graph, node, &wrt));
            }
            let mut running = Running::new(&setup, &sinks);
            let before = running.values(&setup);
            for (pass, _) in PASSES {
                running.apply(pass);
                same(&format!("{name} after {pass}"), &before, &running.values(&setup), Value::is);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_keep_their_values_to_the_bit(shape in shapes()) {
        let (setup, sinks) = random_graph(shape, false);
        let mut running = Running::new(&setup, &sinks);
        let before = running.values(&setup);
        for (pass, _) in PASSES {
            running.apply(pass);
            same(pass, &before, &running.values(&setup), Value::is);
        }
    }

    #[test]
    fn gradients_do_not_depend_on_the_passes_before(shape in shapes()) {
        let (setup, sinks) = random_graph(shape, true);
        let mut plain = Running::new(&setup, &sinks);
        plain.apply("autodiff");
        let before = plain.values(&setup);
        let mut running = Running::new(&setup, &sinks);
        for (pass, _) in PASSES {
            running.apply(pass);
        }
        same("gradients", &before, &running.values(&setup), Value::is_about);
    }
}

const SHAPE: Shape = Shape {
    prompts: 2,
    samples: 2,
    tokens: 3,
    features: 2,
    seed: 5,
};

/// How many nodes with a primitive are left of a graph with these sinks.
fn left(setup: &Setup, sinks: &[NodeId], passes: &[&str], is: impl Fn(&Op) -> bool) -> usize {
    let mut running = Running::new(setup, sinks);
    passes.iter().for_each(|pass| running.apply(pass));
    let graph = &running.snapshot.graph;
    graph.ids().filter(|&id| is(graph.op(id))).count()
}

#[test]
fn simplify_leaves_nothing_trivial() {
    let mut s = Setup::new(SHAPE);
    let x = s.variable(&[s.prompt], -1.0, 1.0);
    let (one, two) = (s.literal(1.0), s.literal(2.0));
    let scale = s.binary(Binary::Sub, two, one);
    let scale = s.broadcast(scale, &[s.prompt]);
    let scaled = s.mul(x, scale);
    let negative = s.unary(Unary::Neg, scaled);
    let back = s.unary(Unary::Neg, negative);
    assert_eq!(left(&s, &[back], &["simplify", "dce"], |_| true), 1);
}

#[test]
fn zero_times_x_and_x_plus_zero_stay() {
    let mut s = Setup::new(SHAPE);
    let x = s.variable(&[], -1.0, 1.0);
    let zero = s.literal(0.0);
    let (product, sum) = (s.mul(x, zero), s.binary(Binary::Add, x, zero));
    assert_eq!(
        left(&s, &[product, sum], &["simplify", "dce"], |op| matches!(
            op,
            Op::Binary(_)
        )),
        2
    );
}

#[test]
fn cse_merges_what_is_equal_and_no_two_draws_of_random_numbers() {
    let mut s = Setup::new(SHAPE);
    let (a, b) = (
        s.variable(&[s.prompt], -1.0, 1.0),
        s.variable(&[s.prompt], -1.0, 1.0),
    );
    let sums = [s.binary(Binary::Add, a, b), s.binary(Binary::Add, b, a)];
    assert_eq!(
        left(&s, &sums, &["cse"], |op| matches!(op, Op::Binary(_))),
        1
    );
    let differences = [s.binary(Binary::Sub, a, b), s.binary(Binary::Sub, b, a)];
    assert_eq!(
        left(&s, &differences, &["dce", "cse"], |op| matches!(
            op,
            Op::Binary(_)
        )),
        2
    );
    let random = [7, 7, 8].map(|key| {
        s.add(
            Op::Random {
                kind: RandomKind::Normal,
                key,
            },
            &[],
            Elem::Real,
            &[],
        )
    });
    assert_eq!(
        left(&s, &random, &["dce", "cse"], |op| matches!(
            op,
            Op::Random { .. }
        )),
        2
    );
}

#[test]
fn cse_merges_scans_with_equal_bodies() {
    let mut s = Setup::new(SHAPE);
    let scans: Vec<NodeId> = example::all(SHAPE)
        .into_iter()
        .filter(|example| example.name == "scan without mask")
        .flat_map(|example| {
            let (op, operands) = (
                example.setup.graph.op(example.node).clone(),
                example.setup.graph.operands(example.node),
            );
            let ty = example.setup.graph.ty(example.node).clone();
            let Op::Scan {
                over,
                reverse,
                xs,
                captured,
                carries,
                masked,
                part,
                body,
            } = op
            else {
                panic!("a scan")
            };
            s.graph = example.setup.graph;
            s.given = example.setup.given;
            [(); 2].map(|()| {
                // Equal, not the same.
                let body = std::sync::Arc::new((*body).clone());
                let op = Op::Scan {
                    over,
                    reverse,
                    xs,
                    captured,
                    carries,
                    masked,
                    part,
                    body,
                };
                s.add(op, &operands, ty.elem, &ty.dims)
            })
        })
        .collect();
    assert_eq!(
        left(&s, &scans, &["dce", "cse"], |op| matches!(
            op,
            Op::Scan { .. }
        )),
        1
    );
}

#[test]
fn dce_drops_what_no_sink_reads() {
    let mut s = Setup::new(SHAPE);
    let x = s.variable(&[], -1.0, 1.0);
    let y = s.unary(Unary::Exp, x);
    s.unary(Unary::Log, y);
    assert_eq!(left(&s, &[y], &["dce"], |_| true), 2);
}

/// The gradient of `a + b` with respect to `a`, two nodes of one value.
#[test]
fn what_is_differentiated_with_respect_to_is_a_variable_of_its_own() {
    let mut s = Setup::new(SHAPE);
    let x = s.variable(&[], -1.0, 1.0);
    let (a, b) = (s.unary(Unary::Exp, x), s.unary(Unary::Exp, x));
    let sum = s.binary(Binary::Add, a, b);
    let (three, other) = (s.literal(3.0), s.literal(3.0));
    let square = s.mul(three, three);
    let cube = s.mul(square, other);
    let minus = s.unary(Unary::Neg, x);
    let back = s.unary(Unary::Neg, minus);
    let product = s.mul(back, x);
    let sinks = [
        s.add_like(Op::Grad, &[sum, a], a),
        s.add_like(Op::Grad, &[cube, three], three),
        s.add_like(Op::Grad, &[product, minus], minus),
    ];
    let mut running = Running::new(&s, &sinks);
    for (pass, _) in PASSES {
        running.apply(pass);
    }
    let values = running.values(&s);
    let at = |number: usize| match values[number][0] {
        Value::Real(value) => value,
        Value::Other(_) => f64::NAN,
    };
    let Op::Input(name) = s.graph.op(x) else {
        panic!("an input")
    };
    let Elements::Real(x) = &s.given.inputs[name].elements else {
        panic!("a real")
    };
    assert_eq!([at(0), at(1), at(2)], [1.0, 18.0, -x[0]]);
}
