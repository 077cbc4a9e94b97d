//! Graphs as text and as pictures.

use std::sync::Arc;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::dump;
use rlp_compiler::graph::{Binary, Call, CallId, Op, Reduction, TextOp, Unary};
use rlp_compiler::phase::Phase;
use rlp_compiler::ty::Elem;
use rlp_grammar::ast::Span;

use crate::setup::{Setup, Shape};

const SHAPE: Shape = Shape {
    prompts: 2,
    samples: 2,
    tokens: 3,
    features: 2,
    seed: 1,
};

#[test]
fn one_line_a_node() {
    let mut s = Setup::new(SHAPE);
    let dims = [s.prompt, s.sample, s.token];
    s.graph.calls.push(Call {
        block: "loss.nll".to_string(),
        span: Span::default(),
        parent: None,
    });
    let logp = s.add(Op::Input("logp".to_string()), &[], Elem::Real, &dims);
    let clip = s.literal(0.2);
    let clip = s.broadcast(clip, &dims);
    let product = s.mul(logp, clip);
    let mask = s.graph.masks[&s.token];
    let ty = s.ty(Elem::Real, &[]);
    let op = Op::Reduce {
        kind: Reduction::LogSumExp,
        over: dims.to_vec(),
    };
    let sum = s
        .graph
        .add(op, &[product, mask], ty, Span::default(), Some(CallId(0)));
    let phases = [Phase::Minibatch; 6];
    let text = dump::text(&s.graph, Some(&phases), &[("loss.0".to_string(), sum)]);
    let expected = "\
minibatch %0 = mask(token) : bool[prompt, sample, token]
minibatch %1 = input logp : real[prompt, sample, token]
minibatch %2 = literal 0.2 : real
minibatch %3 = broadcast %2 mask %0 : real[prompt, sample, token]
minibatch %4 = mul %1 %3 : real[prompt, sample, token]
minibatch %5 = reduce(log_sum_exp, over: [prompt, sample, token]) %4 mask %0 : real  # loss.nll
loss.0 = %5
";
    assert_eq!(text, expected);
}

#[test]
fn bodies_and_literals_and_second_names() {
    let mut s = Setup::new(SHAPE);
    let second = s.dim("feature", 2, None);
    let elements = Elements::Int(vec![1, 2, 3, 4]);
    let literal = Array {
        shape: vec![2, 2],
        elements,
    };
    let x = s.add(Op::Literal(literal), &[], Elem::Int, &[s.feature, second]);
    let zero = s.integer(0);
    let initial = s.add(Op::Broadcast, &[zero], Elem::Int, &[second]);
    let body = s.body(|s| {
        let (x, c) = (
            s.given("x0", Elem::Int, &[second]),
            s.given("c0", Elem::Int, &[second]),
        );
        vec![s.binary(Binary::Max, x, c)]
    });
    let op = Op::Scan {
        over: s.feature,
        reverse: true,
        xs: 1,
        captured: 0,
        carries: 1,
        masked: false,
        part: 0,
        body: Arc::new(body),
    };
    s.add(op, &[x, initial], Elem::Int, &[s.feature, second]);
    let text = s.add(Op::Literal(Array::text("A \"B\"")), &[], Elem::Text, &[]);
    let pattern = TextOp::Matches("A+".to_string());
    s.add(Op::Text(pattern), &[text], Elem::Bool, &[]);
    let lines: Vec<String> = dump::text(&s.graph, None, &[])
        .lines()
        .skip(1)
        .map(str::to_string)
        .collect();
    let expected = [
        "%1 = literal [[1, 2], [3, 4]] : int[feature, feature.2]",
        "%2 = literal 0 : int",
        "%3 = broadcast %2 : int[feature.2]",
        "%4 = scan(over: feature, reverse, part: 0) %1 init %3 : int[feature, feature.2]",
        "    %0 = input x0 : int[feature.2]",
        "    %1 = input c0 : int[feature.2]",
        "    %2 = max %0 %1 : int[feature.2]",
        "    next %2",
        "%5 = literal \"A \\\"B\\\"\" : text",
        "%6 = text.matches(\"A+\") %5 : bool",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn pictures_hold_every_node_and_edge() {
    let mut s = Setup::new(SHAPE);
    let x = s.literal(1.0);
    let text = s.add(Op::Literal(Array::text("<&>\"\n")), &[], Elem::Text, &[]);
    s.add(Op::Text(TextOp::Length), &[text], Elem::Int, &[]);
    let y = s.unary(Unary::Exp, x);
    let z = s.mul(x, y);
    let phases = vec![Phase::Step; s.graph.len()];
    let sinks = [("loss.0".to_string(), z)];
    let dot = dump::dot(&s.graph, Some(&phases), &sinks);
    let mermaid = dump::mermaid(&s.graph, Some(&phases), &sinks);
    let svg = dump::svg(&s.graph, Some(&phases), &sinks);
    assert_eq!(
        (
            dot.matches(" -> ").count(),
            mermaid.matches(" --> ").count()
        ),
        (5, 5)
    );
    assert_eq!(
        (svg.matches("<path").count(), svg.matches("<rect").count()),
        (5, 7)
    );
    assert!(dot.contains("n4 -> n5;") && mermaid.contains("n4 --> n5\n"));
    assert!(svg.contains("&lt;&amp;&gt;"), "{svg}");
    // No text of the program ends a label.
    assert!(
        dot.lines()
            .all(|line| line.matches('"').count() - line.matches("\\\"").count() != 1)
    );
    assert_eq!(svg, dump::svg(&s.graph, Some(&phases), &sinks));
}
