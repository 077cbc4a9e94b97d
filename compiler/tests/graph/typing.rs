//! Type rules: every example is accepted, and refused once it has another type or other operands.

use std::sync::Arc;

use rlp_compiler::graph::{Call, CallId, Graph, NodeId, Op, ScanBody, State};
use rlp_compiler::phase::Phase;
use rlp_compiler::ty::{DimId, Elem, Ty};
use rlp_compiler::verify::{verify, verify_phases};
use rlp_grammar::ast::Span;

use crate::example::{self, Example};
use crate::setup::{Setup, Shape};

const SHAPE: Shape = Shape {
    prompts: 2,
    samples: 2,
    tokens: 3,
    features: 2,
    seed: 1,
};

/// The graph up to a node, and that node with other operands and another type.
fn changed(
    graph: &Graph,
    node: NodeId,
    change: impl FnOnce(&mut Graph, &mut Vec<NodeId>, &mut Ty),
) -> Vec<String> {
    let mut new = Graph::default();
    new.dims = graph.dims.clone();
    new.draws = graph.draws.clone();
    new.states = graph.states.clone();
    for id in graph.ids().take_while(|&id| id < node) {
        new.add(
            graph.op(id).clone(),
            &graph.operands(id),
            graph.ty(id).clone(),
            Span::default(),
            None,
        );
    }
    let (mut operands, mut ty) = (graph.operands(node), graph.ty(node).clone());
    change(&mut new, &mut operands, &mut ty);
    new.add(graph.op(node).clone(), &operands, ty, Span::default(), None);
    verify(&new)
}

#[test]
fn every_primitive_is_accepted_with_its_type_and_refused_with_another() {
    for Example { name, setup, node } in example::all(SHAPE) {
        let graph = &setup.graph;
        assert_eq!(verify(graph), Vec::<String>::new(), "{name}");

        let typed_freely = matches!(graph.op(node), Op::Input(_) | Op::Draw(_));
        let elem = changed(graph, node, |_, _, ty| {
            ty.elem = if ty.elem == Elem::Text {
                Elem::Real
            } else {
                Elem::Text
            }
        });
        assert_eq!(elem.is_empty(), typed_freely, "{name} with another element");

        let any_dims = matches!(graph.op(node), Op::Trainable(_) | Op::Random { .. });
        let dims = changed(graph, node, |new, _, ty| {
            let stranger = new.dims.get(DimId(0)).clone();
            ty.dims.push(new.dims.add(stranger));
        });
        let repeats = matches!(graph.op(node), Op::Broadcast) && graph.operands(node).len() == 1;
        assert_eq!(
            dims.is_empty(),
            typed_freely || any_dims || repeats,
            "{name} with another dimension"
        );

        let more = changed(graph, node, |new, operands, _| {
            let text = new.add(
                Op::Input("more".to_string()),
                &[],
                Ty::scalar(Elem::Text),
                Span::default(),
                None,
            );
            operands.push(text);
        });
        assert!(!more.is_empty(), "{name} with an operand more");

        if !graph.operands(node).is_empty() {
            let fewer = changed(graph, node, |_, operands, _| _ = operands.pop());
            let mask_or_one_of_many = match graph.op(node) {
                Op::Broadcast | Op::Reduce { .. } | Op::ArgReduce { .. } | Op::ArgSort { .. } => {
                    graph.operands(node).len() == 2
                }
                Op::Stack(_) => true,
                _ => false,
            };
            assert!(
                mask_or_one_of_many || !fewer.is_empty(),
                "{name} with an operand fewer"
            );
        }
    }
}

fn violation(violations: Vec<String>, part: &str) {
    assert!(
        violations.iter().any(|violation| violation.contains(part)),
        "{violations:?} says nothing of `{part}`"
    );
}

#[test]
fn masks_are_over_the_right_dimensions() {
    let mut s = Setup::new(SHAPE);
    let dims = [s.prompt, s.sample, s.token];
    let x = s.constant(&dims, 0.0, 1.0);
    let mask = s.bools(&[s.prompt, s.sample]);
    s.add(Op::Broadcast, &[x, mask], Elem::Real, &dims);
    violation(
        verify(&s.graph),
        "a mask that is not over the result's dimensions",
    );
}

#[test]
fn a_mask_is_of_a_ragged_dimension() {
    let mut s = Setup::new(SHAPE);
    s.add(Op::Mask(s.feature), &[], Elem::Bool, &[s.feature]);
    violation(verify(&s.graph), "not ragged");
}

#[test]
fn dimensions_ascend() {
    let mut s = Setup::new(SHAPE);
    let ty = Ty {
        elem: Elem::Real,
        dims: vec![s.feature, s.prompt],
    };
    s.graph
        .add(Op::Input("x".to_string()), &[], ty, Span::default(), None);
    violation(verify(&s.graph), "ascending");
}

#[test]
fn a_draw_has_no_value() {
    let mut s = Setup::new(SHAPE);
    let Some(Example { setup, node, .. }) = example::all(SHAPE)
        .into_iter()
        .find(|example| example.name == "draw")
    else {
        panic!("there is an example of a draw")
    };
    s.graph = setup.graph;
    s.add(Op::StopGrad, &[node], Elem::Bool, &[]);
    violation(verify(&s.graph), "reads a draw");
}

#[test]
fn a_state_keeps_its_type() {
    let mut s = Setup::new(SHAPE);
    let initial = s.literal(0.0);
    let ty = Ty::scalar(Elem::Int);
    s.graph.states.push(State {
        name: "count".to_string(),
        ty,
        initial,
        next: initial,
        is_memory: false,
        span: Span::default(),
    });
    violation(verify(&s.graph), "state count: its next value is not a int");
}

#[test]
fn a_call_lies_in_an_earlier_one() {
    let mut s = Setup::new(SHAPE);
    let call = Call {
        block: "loss.nll".to_string(),
        span: Span::default(),
        parent: Some(CallId(0)),
    };
    s.graph.calls.push(call);
    violation(verify(&s.graph), "inside a later call");
}

#[test]
fn an_earlier_phase_reads_no_later_one() {
    let mut s = Setup::new(SHAPE);
    let x = s.literal(1.0);
    s.unary(rlp_compiler::graph::Unary::Neg, x);
    assert_eq!(
        verify_phases(&s.graph, &[Phase::Once, Phase::Once, Phase::Step]),
        Vec::<String>::new()
    );
    violation(
        verify_phases(&s.graph, &[Phase::Once, Phase::Step, Phase::Once]),
        "%2: of phase Once, it reads %1 of phase Step",
    );
}

/// A scan over tokens with the given body, and a mask over the given dimensions.
fn scan(mask: &[DimId], body: impl FnOnce(&mut Setup) -> Vec<NodeId>) -> Vec<String> {
    let mut s = Setup::new(SHAPE);
    let dims = [s.prompt, s.sample, s.token];
    let x = s.constant(&dims, -1.0, 1.0);
    let initial = s.constant(&[s.prompt, s.sample], -1.0, 1.0);
    let mask = s.bools(mask);
    let body: ScanBody = s.body(body);
    let op = Op::Scan {
        over: s.token,
        reverse: false,
        xs: 1,
        captured: 0,
        carries: 1,
        masked: true,
        part: 0,
        body: Arc::new(body),
    };
    s.add(op, &[x, initial, mask], Elem::Real, &dims);
    verify(&s.graph)
}

#[test]
fn the_body_of_a_scan_is_verified() {
    let (dims, inner) = ([DimId(0), DimId(1), DimId(2)], [DimId(0), DimId(1)]);
    let sum = |s: &mut Setup| {
        let (x, c) = (
            s.given("x0", Elem::Real, &inner),
            s.given("c0", Elem::Real, &inner),
        );
        vec![s.binary(rlp_compiler::graph::Binary::Add, x, c)]
    };
    assert_eq!(scan(&dims, sum), Vec::<String>::new());
    violation(
        scan(&[DimId(0), DimId(2), DimId(3)], sum),
        "a mask over dimensions that a carry lacks",
    );
    violation(
        scan(&dims, |s| vec![s.given("x0", Elem::Real, &dims)]),
        "the body uses the scanned dimension",
    );
    violation(
        scan(&dims, |s| vec![s.given("x0", Elem::Real, &[DimId(0)])]),
        "the body's `x0` has another type",
    );
    violation(
        scan(&dims, |s| vec![s.given("k0", Elem::Real, &inner)]),
        "reads `k0`, which it is not given",
    );
    violation(
        scan(&dims, |s| vec![s.literal(0.0)]),
        "the next carries have other types",
    );
    violation(
        scan(&dims, |s| {
            vec![s.add(Op::State(0), &[], Elem::Real, &inner)]
        }),
        "in its body, %0: a state that the graph lacks",
    );
}
