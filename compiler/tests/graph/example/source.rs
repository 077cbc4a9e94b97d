//! Examples of what a graph reads from outside, and of the two primitives about gradients.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{DataRef, Draw, DrawArg, ModelOutput, ModelRef, Op, RandomKind, State};
use rlp_compiler::ty::Elem;
use rlp_grammar::ast::Span;

use super::{Build, build};
use crate::setup::Setup;

const MODEL: ModelRef = ModelRef {
    model: 0,
    frozen: None,
};

pub(crate) fn literal() -> Vec<Build> {
    vec![build("literal", |s| {
        let (prompt, n) = (s.prompt, s.shape.prompts);
        let elements = Elements::Real((0..n).map(|i| i as f64).collect());
        s.add(
            Op::Literal(Array {
                shape: vec![n],
                elements,
            }),
            &[],
            Elem::Real,
            &[prompt],
        )
    })]
}

pub(crate) fn input() -> Vec<Build> {
    vec![build("input", |s| {
        let dims = [s.prompt, s.sample, s.token];
        s.variable(&dims, -2.0, 2.0)
    })]
}

pub(crate) fn mask() -> Vec<Build> {
    vec![build("mask", |s| {
        s.tell_lengths();
        let dims = [s.prompt, s.sample, s.token];
        s.add(Op::Mask(s.token), &[], Elem::Bool, &dims)
    })]
}

pub(crate) fn size() -> Vec<Build> {
    vec![build("size", |s| {
        s.add(Op::Size(s.feature), &[], Elem::Int, &[])
    })]
}

pub(crate) fn position() -> Vec<Build> {
    vec![build("position", |s| {
        let feature = s.feature;
        s.add(Op::Position(feature), &[], Elem::Int, &[feature])
    })]
}

pub(crate) fn step() -> Vec<Build> {
    vec![build("step", |s| s.add(Op::Step, &[], Elem::Int, &[]))]
}

pub(crate) fn steps() -> Vec<Build> {
    vec![build("steps", |s| s.add(Op::Steps, &[], Elem::Int, &[]))]
}

pub(crate) fn state() -> Vec<Build> {
    vec![build("state", |s| {
        let prompt = s.prompt;
        let initial = s.variable(&[prompt], -1.0, 1.0);
        let ty = s.ty(Elem::Real, &[prompt]);
        s.graph.states.push(State {
            name: "scale".to_string(),
            ty,
            initial,
            next: initial,
            is_memory: false,
            span: Span::default(),
        });
        let state = s.add(Op::State(0), &[], Elem::Real, &[prompt]);
        s.give(state, &[prompt])
    })]
}

/// A draw with an operand, and a field over `prompt`.
fn add_draw(s: &mut Setup) -> rlp_compiler::graph::NodeId {
    let prompt = s.prompt;
    let score = s.constant(&[prompt], -1.0, 1.0);
    let field = ("logp".to_string(), s.ty(Elem::Real, &[prompt]));
    s.graph.draws.push(Draw {
        block: "sampler.dynamic".to_string(),
        args: vec![
            ("policy".to_string(), DrawArg::Model(MODEL)),
            (
                "task".to_string(),
                DrawArg::Data(DataRef {
                    data: 0,
                    held_out: false,
                }),
            ),
            (
                "drawn".to_string(),
                DrawArg::Record(vec![("score".to_string(), 0)]),
            ),
            ("rounds".to_string(), DrawArg::Static(Array::int(3))),
        ],
        fields: vec![field],
        fresh: vec![prompt],
        renewed: Vec::new(),
        span: Span::default(),
    });
    s.add(Op::Draw(0), &[score], Elem::Bool, &[])
}

pub(crate) fn draw() -> Vec<Build> {
    vec![build("draw", add_draw)]
}

pub(crate) fn field() -> Vec<Build> {
    vec![build("field", |s| {
        let (prompt, draw) = (s.prompt, add_draw(s));
        let field = s.add(
            Op::Field("logp".to_string()),
            &[draw],
            Elem::Real,
            &[prompt],
        );
        s.give(field, &[prompt])
    })]
}

pub(crate) fn model() -> Vec<Build> {
    let with = |output: ModelOutput| {
        build(format!("model {output:?}"), move |s| {
            let mut dims = vec![s.prompt, s.sample, s.token];
            let (tokens, context) = (s.integers(&dims, 5), s.integers(&dims, 5));
            let (mask, temperature) = (s.mask(&dims).unwrap(), s.literal(1.0));
            if output == ModelOutput::Logits {
                dims.push(s.feature);
            }
            let op = Op::Model {
                model: MODEL,
                output,
            };
            let model = s.add(
                op,
                &[tokens, context, temperature, mask, mask],
                Elem::Real,
                &dims,
            );
            s.give(model, &dims)
        })
    };
    [
        ModelOutput::Logp,
        ModelOutput::Entropy,
        ModelOutput::Value,
        ModelOutput::Logits,
    ]
    .map(with)
    .into()
}

pub(crate) fn backward() -> Vec<Build> {
    vec![build("backward", |s| {
        let dims = [s.prompt, s.sample, s.token];
        let (tokens, context) = (s.integers(&dims, 5), s.integers(&dims, 5));
        let (mask, temperature) = (s.mask(&dims).unwrap(), s.literal(1.0));
        let adjoint = s.constant(&dims, -1.0, 1.0);
        let op = Op::Backward {
            model: MODEL,
            outputs: vec![ModelOutput::Logp],
        };
        let operands = [tokens, context, temperature, mask, mask, adjoint];
        let feature = s.feature;
        let gradient = s.add(op, &operands, Elem::Real, &[feature]);
        s.give(gradient, &[feature])
    })]
}

pub(crate) fn trainable() -> Vec<Build> {
    vec![build("trainable", |s| {
        let feature = s.feature;
        let vector = s.add(Op::Trainable(MODEL), &[], Elem::Real, &[feature]);
        s.give(vector, &[feature])
    })]
}

pub(crate) fn random() -> Vec<Build> {
    let with = |kind: RandomKind| {
        build(format!("random {kind:?}"), move |s| {
            let feature = s.feature;
            let random = s.add(Op::Random { kind, key: 7 }, &[], Elem::Real, &[feature]);
            s.give(random, &[feature])
        })
    };
    [RandomKind::Normal, RandomKind::Uniform].map(with).into()
}

pub(crate) fn stop_grad() -> Vec<Build> {
    vec![build("stop_grad", |s| {
        let prompt = s.prompt;
        // A gradient flows into the value by no other way, so differences are not asked for.
        let x = s.constant(&[prompt], -1.0, 1.0);
        s.add_like(Op::StopGrad, &[x], x)
    })]
}

pub(crate) fn grad() -> Vec<Build> {
    vec![build("grad", |s| {
        let dims = [s.prompt, s.sample, s.token];
        let x = s.variable(&dims, -1.0, 1.0);
        let square = s.mul(x, x);
        let cube = s.mul(square, x);
        s.add_like(Op::Grad, &[cube, x], x)
    })]
}
