//! The libtorch executor against the reference interpreter: values, gradients, and what padding may touch.
#![allow(clippy::unwrap_used)]

#[path = "eager/edges.rs"]
mod edges;
#[path = "eager/sources.rs"]
mod sources;
#[path = "eager/world.rs"]
mod world;

use std::sync::Arc;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Binary, Factor, Graph, NodeId, Op, Reduction, ScanBody, TextOp, Unary};
use rlp_compiler::ty::DimId;
use rlp_compiler::ty::Elem::{Bool, Int, Real, Text};
use rlp_compiler::ty::Ty;
use rlp_grammar::ast::Span;
use sources::*;
use world::{INNER, OTHER, PROMPT, Program, RANK, RIVAL, SAMPLE, TOKEN, VOCAB, check};

/// One element a sequence, and one a token.
const SEQUENCES: &[DimId] = &[PROMPT, SAMPLE];
const TOKENS: &[DimId] = &[PROMPT, SAMPLE, TOKEN];
const LOGITS: &[DimId] = &[PROMPT, SAMPLE, TOKEN, VOCAB];

/// One test a primitive, and a `match` without `_`: a primitive that is not in this list does not compile.
macro_rules! primitives {
    ($($name:ident: $pattern:pat => $test:block)*) => {
        const _: fn(&Op) = |op| match op { $($pattern => (),)* };

        $(#[test] fn $name() $test)*
    };
}

/// Every variant of an enum, with what belongs to it.
macro_rules! every {
    ($enum:ident { $($pattern:pat => $variant:expr, $with:expr;)* }) => {{
        // Without `_`, so that a new variant does not compile.
        let _ = |variant: &$enum| match variant { $($pattern => (),)* };
        [$(($variant, $with)),*]
    }};
}

primitives! {
    literal: Op::Literal(_) => {
        check("a scalar", &|p| p.constant(1.5));
        check("a text", &|p| p.add(Op::Literal(Array::text("marker")), &[], Text, &[]));
        check("an array", &|p| {
            let array = Array { shape: vec![2, 3], elements: Elements::Real(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) };
            p.add(Op::Literal(array), &[], Real, &[RIVAL, RANK])
        });
    }
    input: Op::Input(_) => {
        check("of reals", &|p| p.real(TOKENS, -1.0, 1.0));
        check("of texts", &|p| p.text(SEQUENCES));
    }
    mask: Op::Mask(_) => { check("of token", &|p| p.mask(TOKENS)); }
    size: Op::Size(_) => { check("of token", &|p| p.add(Op::Size(TOKEN), &[], Int, &[])); }
    position: Op::Position(_) => { check("of token", &|p| p.add(Op::Position(TOKEN), &[], Int, &[TOKEN])); }
    step: Op::Step => { check("step", &|p| p.add(Op::Step, &[], Int, &[])); }
    steps: Op::Steps => { check("steps", &|p| p.add(Op::Steps, &[], Int, &[])); }
    state: Op::State(_) => { states_are_given(); }
    draw: Op::Draw(_) => { a_draw_is_made_once_and_can_be_redrawn(); }
    field: Op::Field(_) => { a_draw_is_made_once_and_can_be_redrawn(); }
    model: Op::Model { .. } => { models_are_asked_of_the_host(); }
    backward: Op::Backward { .. } => { models_are_asked_of_the_host(); }
    trainable: Op::Trainable(_) => { models_are_asked_of_the_host(); }
    random: Op::Random { .. } => { random_numbers_repeat(); }

    unary: Op::Unary(_) => {
        for (op, (low, high)) in every!(Unary {
            Unary::Neg => Unary::Neg, (-2.0, 2.0);
            Unary::Not => Unary::Not, (0.0, 0.0);
            Unary::Abs => Unary::Abs, (-2.0, 2.0);
            Unary::Sign => Unary::Sign, (-2.0, 2.0);
            Unary::Exp => Unary::Exp, (-2.0, 2.0);
            Unary::Expm1 => Unary::Expm1, (-2.0, 2.0);
            Unary::Log => Unary::Log, (0.2, 3.0);
            Unary::Log1p => Unary::Log1p, (-0.5, 3.0);
            Unary::Sqrt => Unary::Sqrt, (0.2, 3.0);
            Unary::Sin => Unary::Sin, (-4.0, 4.0);
            Unary::Cos => Unary::Cos, (-4.0, 4.0);
            Unary::Tan => Unary::Tan, (-1.0, 1.0);
            Unary::Atan => Unary::Atan, (-4.0, 4.0);
            Unary::Tanh => Unary::Tanh, (-4.0, 4.0);
            Unary::Sigmoid => Unary::Sigmoid, (-40.0, 40.0);
            Unary::LogSigmoid => Unary::LogSigmoid, (-9000.0, 9000.0);
            Unary::Floor => Unary::Floor, (-4.0, 4.0);
            Unary::Ceil => Unary::Ceil, (-4.0, 4.0);
            Unary::Round => Unary::Round, (-4.0, 4.0);
            Unary::IsFinite => Unary::IsFinite, (-4.0, 4.0);
        }) {
            let result = if op == Unary::IsFinite { Bool } else { Real };
            check(&format!("{op:?}"), &|p| {
                if op == Unary::Not {
                    let x = p.bool(TOKENS);
                    return p.add(Op::Unary(op), &[x], Bool, TOKENS);
                }
                let x = p.real(TOKENS, low, high);
                p.add(Op::Unary(op), &[x], result, TOKENS)
            });
        }
        for op in [Unary::Neg, Unary::Abs, Unary::Sign] {
            check(&format!("{op:?} of integers"), &|p| {
                let x = p.int(TOKENS, -3, 4);
                p.add(Op::Unary(op), &[x], Int, TOKENS)
            });
        }
    }
    binary: Op::Binary(_) => {
        for (op, elems) in every!(Binary {
            Binary::Add => Binary::Add, &[(Real, Real), (Int, Int)][..];
            Binary::Sub => Binary::Sub, &[(Real, Real), (Int, Int)][..];
            Binary::Mul => Binary::Mul, &[(Real, Real), (Int, Int)][..];
            Binary::Div => Binary::Div, &[(Real, Real), (Int, Int)][..];
            Binary::Pow => Binary::Pow, &[(Real, Real)][..];
            Binary::Mod => Binary::Mod, &[(Real, Real), (Int, Int)][..];
            Binary::Min => Binary::Min, &[(Real, Real), (Int, Int)][..];
            Binary::Max => Binary::Max, &[(Real, Real), (Int, Int)][..];
            Binary::Eq => Binary::Eq, &[(Real, Bool), (Int, Bool), (Bool, Bool)][..];
            Binary::Ne => Binary::Ne, &[(Real, Bool), (Int, Bool), (Bool, Bool)][..];
            Binary::Lt => Binary::Lt, &[(Real, Bool), (Int, Bool)][..];
            Binary::Le => Binary::Le, &[(Real, Bool), (Int, Bool)][..];
            Binary::Gt => Binary::Gt, &[(Real, Bool), (Int, Bool)][..];
            Binary::Ge => Binary::Ge, &[(Real, Bool), (Int, Bool)][..];
            Binary::And => Binary::And, &[(Bool, Bool)][..];
            Binary::Or => Binary::Or, &[(Bool, Bool)][..];
        }) {
            for &(elem, result) in elems {
                check(&format!("{op:?} of {}", elem.name()), &|p| {
                    let base = if op == Binary::Pow { 0.2 } else { -2.0 };
                    let (a, b) = match elem {
                        Real => (p.real(TOKENS, base, 2.0), p.real(TOKENS, 0.5, 2.0)),
                        Int => (p.int(TOKENS, -5, 6), p.int(TOKENS, 1, 4)),
                        Bool | Text => (p.bool(TOKENS), p.bool(TOKENS)),
                    };
                    p.add(Op::Binary(op), &[a, b], result, TOKENS)
                });
            }
        }
        check("Pow of integers", &|p| {
            let (a, b) = (p.int(TOKENS, -3, 4), p.int(TOKENS, 0, 4));
            p.add(Op::Binary(Binary::Pow), &[a, b], Int, TOKENS)
        });
        check("Div by negative integers", &|p| {
            let (a, b) = (p.int(TOKENS, -5, 6), p.int(TOKENS, -3, 0));
            p.add(Op::Binary(Binary::Div), &[a, b], Int, TOKENS)
        });
    }
    select: Op::Select => {
        check("of reals", &|p| {
            let (condition, a, b) = (p.bool(TOKENS), p.real(TOKENS, -1.0, 1.0), p.real(TOKENS, -1.0, 1.0));
            p.add(Op::Select, &[condition, a, b], Real, TOKENS)
        });
        check("of texts", &|p| {
            let (condition, a, b) = (p.bool(SEQUENCES), p.text(SEQUENCES), p.text(SEQUENCES));
            p.add(Op::Select, &[condition, a, b], Text, SEQUENCES)
        });
    }
    cast: Op::Cast(_) => {
        check("int to real", &|p| { let x = p.int(TOKENS, -3, 4); p.add(Op::Cast(Real), &[x], Real, TOKENS) });
        check("bool to real", &|p| { let x = p.bool(TOKENS); p.add(Op::Cast(Real), &[x], Real, TOKENS) });
        check("bool to int", &|p| { let x = p.bool(TOKENS); p.add(Op::Cast(Int), &[x], Int, TOKENS) });
        check("real to int", &|p| { let x = p.real(TOKENS, -3.0, 3.0); p.add(Op::Cast(Int), &[x], Int, TOKENS) });
    }
    text: Op::Text(_) => {
        for (op, (operands, result)) in every!(TextOp {
            TextOp::Contains => TextOp::Contains, (2, Bool);
            TextOp::StartsWith => TextOp::StartsWith, (2, Bool);
            TextOp::EndsWith => TextOp::EndsWith, (2, Bool);
            TextOp::AfterLast => TextOp::AfterLast, (2, Text);
            TextOp::AfterFirst => TextOp::AfterFirst, (2, Text);
            TextOp::Before => TextOp::Before, (2, Text);
            TextOp::Between => TextOp::Between, (3, Text);
            TextOp::Trim => TextOp::Trim, (1, Text);
            TextOp::Lower => TextOp::Lower, (1, Text);
            TextOp::Upper => TextOp::Upper, (1, Text);
            TextOp::Words => TextOp::Words, (1, Int);
            TextOp::Length => TextOp::Length, (1, Int);
            TextOp::Number => TextOp::Number, (1, Real);
            TextOp::Matches(_) => TextOp::Matches("^<x>[0-9]".into()), (1, Bool);
            TextOp::Captures { .. } => TextOp::Captures { pattern: "<x>([0-9])</x>".into(), group: 1 }, (1, Text);
            TextOp::Replace => TextOp::Replace, (3, Text);
            TextOp::Occurrences => TextOp::Occurrences, (2, Int);
            TextOp::EditDistance => TextOp::EditDistance, (2, Int);
            TextOp::Repetition(_) => TextOp::Repetition(1), (1, Real);
            TextOp::Join => TextOp::Join, (2, Text);
            TextOp::Equal => TextOp::Equal, (2, Bool);
        }) {
            check(&format!("{op:?}"), &|p| {
                let mut values: Vec<NodeId> = (0..operands).map(|_| p.text(SEQUENCES)).collect();
                if op == TextOp::Number {
                    let otherwise = p.constant(-1.0);
                    values.push(p.add(Op::Broadcast, &[otherwise], Real, SEQUENCES));
                }
                p.add(Op::Text(op.clone()), &values, result, SEQUENCES)
            });
        }
    }

    broadcast: Op::Broadcast => {
        check("a scalar to tokens", &|p| {
            let (x, mask) = (p.real(&[], -1.0, 1.0), p.mask(TOKENS));
            p.add(Op::Broadcast, &[x, mask], Real, TOKENS)
        });
        check("sequences to logits", &|p| {
            let (x, mask) = (p.real(SEQUENCES, -1.0, 1.0), p.mask(LOGITS));
            p.add(Op::Broadcast, &[x, mask], Real, LOGITS)
        });
        check("over a dimension in front", &|p| { let x = p.real(&[SAMPLE], -1.0, 1.0); p.add(Op::Broadcast, &[x], Real, SEQUENCES) });
        check("tokens to logits", &|p| { let x = p.real(TOKENS, -1.0, 1.0); p.add(Op::Broadcast, &[x], Real, LOGITS) });
        check("text", &|p| {
            let (x, mask) = (p.text(&[PROMPT]), p.mask(TOKENS));
            p.add(Op::Broadcast, &[x, mask], Text, TOKENS)
        });
    }
    rename: Op::Rename(_) => {
        check("to a later one", &|p| {
            let x = p.real(SEQUENCES, -1.0, 1.0);
            p.add(Op::Rename(vec![(PROMPT, RIVAL)]), &[x], Real, &[SAMPLE, RIVAL])
        });
        check("exchanged", &|p| {
            let x = p.real(&[VOCAB, OTHER], -1.0, 1.0);
            p.add(Op::Rename(vec![(VOCAB, OTHER), (OTHER, VOCAB)]), &[x], Real, &[VOCAB, OTHER])
        });
        check("text", &|p| {
            let x = p.text(SEQUENCES);
            p.add(Op::Rename(vec![(PROMPT, RIVAL)]), &[x], Text, &[SAMPLE, RIVAL])
        });
    }
    reduce: Op::Reduce { .. } => {
        for (kind, elems) in every!(Reduction {
            Reduction::Sum => Reduction::Sum, &[(Real, Real), (Int, Int)][..];
            Reduction::Mean => Reduction::Mean, &[(Real, Real)][..];
            Reduction::Max => Reduction::Max, &[(Real, Real), (Int, Int)][..];
            Reduction::Min => Reduction::Min, &[(Real, Real), (Int, Int)][..];
            Reduction::Product => Reduction::Product, &[(Real, Real), (Int, Int)][..];
            Reduction::LogSumExp => Reduction::LogSumExp, &[(Real, Real)][..];
            Reduction::Any => Reduction::Any, &[(Bool, Bool)][..];
            Reduction::All => Reduction::All, &[(Bool, Bool)][..];
            Reduction::Count => Reduction::Count, &[(Real, Int), (Text, Int)][..];
        }) {
            for &(elem, result) in elems {
                for (dims, over) in [
                    (TOKENS, &[TOKEN][..]),
                    (TOKENS, TOKENS),
                    (TOKENS, &[PROMPT, TOKEN]),
                    (LOGITS, &[TOKEN, VOCAB]),
                    (LOGITS, &[VOCAB]),
                    (SEQUENCES, &[SAMPLE]),
                    (SEQUENCES, &[PROMPT]),
                    (SEQUENCES, &[]),
                ] {
                    check(&format!("{kind:?} over {over:?}"), &|p| {
                        let x = match elem {
                            Real => p.real(dims, -2.0, 2.0),
                            Int => p.int(dims, -3, 4),
                            Bool => p.bool(dims),
                            Text => p.text(dims),
                        };
                        let kept: Vec<DimId> = dims.iter().copied().filter(|dim| !over.contains(dim)).collect();
                        let reduce = Op::Reduce { kind, over: over.to_vec() };
                        // What is summed over `vocab` alone stays in its token, and needs no mask.
                        if dims.contains(&TOKEN) && over != [VOCAB] {
                            let mask = p.mask(dims);
                            p.add(reduce, &[x, mask], result, &kept)
                        } else {
                            p.add(reduce, &[x], result, &kept)
                        }
                    });
                }
            }
        }
    }
    arg_reduce: Op::ArgReduce { .. } => {
        for largest in [true, false] {
            check("the token of a sequence", &|p| {
                let (x, mask) = (p.real(TOKENS, -1.0, 1.0), p.mask(TOKENS));
                p.add(Op::ArgReduce { largest, over: TOKEN }, &[x, mask], Int, SEQUENCES)
            });
            check("with ties", &|p| {
                let (x, mask) = (p.int(TOKENS, 0, 2), p.mask(TOKENS));
                p.add(Op::ArgReduce { largest, over: TOKEN }, &[x, mask], Int, SEQUENCES)
            });
            check("the first axis", &|p| {
                let x = p.real(SEQUENCES, -1.0, 1.0);
                p.add(Op::ArgReduce { largest, over: PROMPT }, &[x], Int, &[SAMPLE])
            });
        }
    }
    contract: Op::Contract { .. } => {
        check("matrices", &|p| {
            let (a, b) = (p.real(&[PROMPT, VOCAB], -1.0, 1.0), p.real(&[SAMPLE, VOCAB], -1.0, 1.0));
            p.add(Op::Contract { over: vec![VOCAB] }, &[a, b], Real, SEQUENCES)
        });
        check("an outer product", &|p| {
            let (a, b) = (p.real(&[PROMPT], -1.0, 1.0), p.real(&[SAMPLE], -1.0, 1.0));
            p.add(Op::Contract { over: vec![] }, &[a, b], Real, SEQUENCES)
        });
        check("with a scalar", &|p| {
            let (a, b) = (p.real(&[], -1.0, 1.0), p.real(&[SAMPLE], -1.0, 1.0));
            p.add(Op::Contract { over: vec![SAMPLE] }, &[a, b], Real, &[])
        });
        check("tokens away", &|p| {
            let (a, b) = (p.real(LOGITS, -1.0, 1.0), p.real(TOKENS, -1.0, 1.0));
            let (a, b) = (p.zeroed(a), p.zeroed(b));
            p.add(Op::Contract { over: vec![TOKEN] }, &[a, b], Real, &[PROMPT, SAMPLE, VOCAB])
        });
        check("tokens with a table", &|p| {
            let (a, b) = (p.real(LOGITS, -1.0, 1.0), p.real(&[VOCAB, OTHER], -1.0, 1.0));
            let a = p.zeroed(a);
            let c = p.add(Op::Contract { over: vec![VOCAB] }, &[a, b], Real, &[PROMPT, SAMPLE, TOKEN, OTHER]);
            // The gradient that arrives at tokens that are not real is 0 · NaN.
            let other = p.real(&[PROMPT, SAMPLE, TOKEN, OTHER], -1.0, 1.0);
            p.add(Op::Binary(Binary::Mul), &[c, other], Real, &[PROMPT, SAMPLE, TOKEN, OTHER])
        });
        check("integers", &|p| {
            let (a, b) = (p.int(&[PROMPT, VOCAB], -2, 3), p.int(&[SAMPLE, VOCAB], -2, 3));
            p.add(Op::Contract { over: vec![VOCAB] }, &[a, b], Int, SEQUENCES)
        });
    }
    scan: Op::Scan { .. } => {
        for reverse in [false, true] {
            for masked in [false, true] {
                for part in [0, 1] {
                    check(&format!("reverse {reverse}, masked {masked}, part {part}"), &|p| two_carries(p, reverse, masked, part));
                }
            }
        }
        for reverse in [false, true] {
            check("a body that fails where nothing is real", &|p| quotients(p, reverse));
        }
        check("a result that meets garbage", &|p| {
            let scan = two_carries(p, true, true, 0);
            let garbage = p.real(TOKENS, -1.0, 1.0);
            p.add(Op::Binary(Binary::Mul), &[scan, garbage], Real, TOKENS)
        });
    }
    cumsum: Op::Cumsum { .. } => {
        for reverse in [true, false] {
            check("along tokens", &|p| {
                let x = p.real(TOKENS, -1.0, 1.0);
                let x = p.zeroed(x);
                let sums = p.add(Op::Cumsum { over: TOKEN, reverse }, &[x], Real, TOKENS);
                let garbage = p.real(TOKENS, -1.0, 1.0);
                p.add(Op::Binary(Binary::Mul), &[sums, garbage], Real, TOKENS)
            });
            check("integers along the first axis", &|p| {
                let x = p.int(SEQUENCES, -2, 3);
                p.add(Op::Cumsum { over: PROMPT, reverse }, &[x], Int, SEQUENCES)
            });
        }
    }
    shift: Op::Shift { .. } => {
        for by in [-5, -1, 0, 1, 2, 5, i64::MIN] {
            check(&format!("tokens by {by}"), &|p| {
                let (x, fill) = (p.real(TOKENS, -1.0, 1.0), p.real(SEQUENCES, -1.0, 1.0));
                let x = p.zeroed(x);
                let shifted = p.add(Op::Shift { over: TOKEN, by }, &[x, fill], Real, TOKENS);
                let garbage = p.real(TOKENS, -1.0, 1.0);
                p.add(Op::Binary(Binary::Mul), &[shifted, garbage], Real, TOKENS)
            });
        }
        check("text along the first axis", &|p| {
            let (x, fill) = (p.text(SEQUENCES), p.text(&[SAMPLE]));
            p.add(Op::Shift { over: PROMPT, by: 1 }, &[x, fill], Text, SEQUENCES)
        });
    }
    arg_sort: Op::ArgSort { .. } => {
        for descending in [true, false] {
            check("tokens", &|p| {
                let (x, mask) = (p.real(TOKENS, -1.0, 1.0), p.mask(TOKENS));
                p.add(Op::ArgSort { over: TOKEN, descending }, &[x, mask], Int, TOKENS)
            });
            check("ties", &|p| {
                let x = p.int(SEQUENCES, 0, 2);
                p.add(Op::ArgSort { over: PROMPT, descending }, &[x], Int, SEQUENCES)
            });
        }
    }
    gather: Op::Gather { .. } => {
        check("logits of tokens", &|p| {
            let (x, index) = (p.real(LOGITS, -1.0, 1.0), index(p, TOKENS, VOCAB));
            p.add(Op::Gather { over: VOCAB }, &[x, index], Real, TOKENS)
        });
        check("rows of a table", &|p| {
            let (x, index) = (p.real(&[VOCAB, OTHER], -1.0, 1.0), index(p, TOKENS, VOCAB));
            let rows = p.add(Op::Gather { over: VOCAB }, &[x, index], Real, &[PROMPT, SAMPLE, TOKEN, OTHER]);
            let garbage = p.real(&[PROMPT, SAMPLE, TOKEN, OTHER], -1.0, 1.0);
            p.add(Op::Binary(Binary::Mul), &[rows, garbage], Real, &[PROMPT, SAMPLE, TOKEN, OTHER])
        });
        check("of what belongs to a prompt", &|p| {
            let (x, index) = (p.real(&[PROMPT, VOCAB], -1.0, 1.0), index(p, SEQUENCES, VOCAB));
            p.add(Op::Gather { over: VOCAB }, &[x, index], Real, SEQUENCES)
        });
        check("an order of the same dimension", &|p| {
            let (x, index) = (p.real(&[PROMPT, VOCAB, OTHER], -1.0, 1.0), index(p, &[PROMPT, VOCAB], VOCAB));
            p.add(Op::Gather { over: VOCAB }, &[x, index], Real, &[PROMPT, VOCAB, OTHER])
        });
        check("tokens in their order", &|p| {
            let (x, mask) = (p.real(TOKENS, -1.0, 1.0), p.mask(TOKENS));
            let descending = true;
            let order = p.add(Op::ArgSort { over: TOKEN, descending }, &[x, mask], Int, TOKENS);
            p.add(Op::Gather { over: TOKEN }, &[x, order], Real, TOKENS)
        });
        check("one element", &|p| {
            let (x, index) = (p.real(LOGITS, -1.0, 1.0), index(p, &[], VOCAB));
            p.add(Op::Gather { over: VOCAB }, &[x, index], Real, TOKENS)
        });
        check("text", &|p| {
            let (x, index) = (p.text(&[PROMPT, VOCAB]), index(p, SEQUENCES, VOCAB));
            p.add(Op::Gather { over: VOCAB }, &[x, index], Text, SEQUENCES)
        });
    }
    scatter_add: Op::ScatterAdd { .. } => {
        check("tokens into logits", &|p| {
            let (g, index) = (p.real(TOKENS, -1.0, 1.0), index(p, TOKENS, VOCAB));
            p.add(Op::ScatterAdd { over: VOCAB }, &[g, index], Real, LOGITS)
        });
        check("tokens into what belongs to a prompt", &|p| {
            let (g, index) = (p.real(TOKENS, -1.0, 1.0), index(p, TOKENS, VOCAB));
            let g = p.zeroed(g);
            p.add(Op::ScatterAdd { over: VOCAB }, &[g, index], Real, &[PROMPT, VOCAB])
        });
        check("sequences into what belongs to a prompt", &|p| {
            let (g, index) = (p.real(SEQUENCES, -1.0, 1.0), index(p, SEQUENCES, VOCAB));
            p.add(Op::ScatterAdd { over: VOCAB }, &[g, index], Real, &[PROMPT, VOCAB])
        });
        check("an order of the same dimension", &|p| {
            let (g, index) = (p.real(&[PROMPT, VOCAB, OTHER], -1.0, 1.0), index(p, &[PROMPT, VOCAB], VOCAB));
            p.add(Op::ScatterAdd { over: VOCAB }, &[g, index], Real, &[PROMPT, VOCAB, OTHER])
        });
        check("one element", &|p| {
            let (g, index) = (p.real(&[PROMPT], -1.0, 1.0), index(p, &[], VOCAB));
            p.add(Op::ScatterAdd { over: VOCAB }, &[g, index], Real, &[PROMPT, VOCAB])
        });
    }
    stack: Op::Stack(_) => {
        check("three", &|p| {
            let parts = [p.real(TOKENS, -1.0, 1.0), p.real(TOKENS, -1.0, 1.0), p.real(TOKENS, -1.0, 1.0)];
            p.add(Op::Stack(RIVAL), &parts, Real, &[PROMPT, SAMPLE, TOKEN, RIVAL])
        });
        check("texts", &|p| {
            let parts = [p.text(SEQUENCES), p.text(SEQUENCES)];
            p.add(Op::Stack(RIVAL), &parts, Text, &[PROMPT, SAMPLE, RIVAL])
        });
    }
    split: Op::Split { .. } => {
        check("back into its parts", &|p| {
            let x = p.real(&[SAMPLE, VOCAB, OTHER], -1.0, 1.0);
            let merged = p.add(Op::Merge { dims: vec![OTHER, SAMPLE], into: RANK }, &[x], Real, &[VOCAB, RANK]);
            p.add(Op::Split { dim: RANK, into: vec![OTHER, SAMPLE] }, &[merged], Real, &[SAMPLE, VOCAB, OTHER])
        });
        check("with a part that follows from the others", &|p| {
            let x = p.real(&[VOCAB, OTHER], -1.0, 1.0);
            let merged = p.add(Op::Merge { dims: vec![VOCAB, OTHER], into: RANK }, &[x], Real, &[RANK]);
            p.add(Op::Split { dim: RANK, into: vec![OTHER, INNER] }, &[merged], Real, &[OTHER, INNER])
        });
    }
    merge: Op::Merge { .. } => {
        check("neighbours", &|p| {
            let x = p.real(&[PROMPT, SAMPLE, VOCAB], -1.0, 1.0);
            p.add(Op::Merge { dims: vec![PROMPT, SAMPLE], into: RIVAL }, &[x], Real, &[VOCAB, RIVAL])
        });
        check("the other way round", &|p| {
            let x = p.real(&[PROMPT, SAMPLE, VOCAB], -1.0, 1.0);
            p.add(Op::Merge { dims: vec![VOCAB, PROMPT], into: RIVAL }, &[x], Real, &[SAMPLE, RIVAL])
        });
        check("texts", &|p| {
            let x = p.text(SEQUENCES);
            p.add(Op::Merge { dims: vec![SAMPLE, PROMPT], into: RIVAL }, &[x], Text, &[RIVAL])
        });
    }
    factor: Op::Factor { .. } => {
        for (factor, (dims, square)) in every!(Factor {
            Factor::SvdLeft => Factor::SvdLeft, ([VOCAB, RANK], false);
            Factor::SvdValues => Factor::SvdValues, ([RANK, RANK], false);
            Factor::SvdRight => Factor::SvdRight, ([RANK, OTHER], false);
            Factor::QrQ => Factor::QrQ, ([VOCAB, RANK], false);
            Factor::QrR => Factor::QrR, ([RANK, OTHER], false);
            Factor::EighValues => Factor::EighValues, ([RANK, RANK], true);
            Factor::EighVectors => Factor::EighVectors, ([VOCAB, RANK], true);
            Factor::Cholesky => Factor::Cholesky, ([VOCAB, OTHER], true);
            Factor::Inverse => Factor::Inverse, ([VOCAB, OTHER], true);
        }) {
            let rank = (!matches!(factor, Factor::Cholesky | Factor::Inverse)).then_some(RANK);
            check(&format!("{factor:?}"), &|p| {
                let x = well_conditioned(p, &[PROMPT, VOCAB, OTHER], VOCAB, OTHER);
                let op = Op::Factor { factor, row: VOCAB, col: OTHER, rank };
                p.add(op, &[x], Real, &[&[PROMPT], &dims[..]].concat())
            });
            // Rows behind columns in the order of axes.
            let transposed = dims.map(|dim| if dim == VOCAB { OTHER } else if dim == OTHER { VOCAB } else { dim });
            check(&format!("{factor:?} of the transposed"), &|p| {
                let x = well_conditioned(p, &[VOCAB, OTHER], VOCAB, OTHER);
                p.add(Op::Factor { factor, row: OTHER, col: VOCAB, rank }, &[x], Real, &transposed)
            });
            if !square {
                check(&format!("{factor:?} of what is not square"), &|p| {
                    let (row, col) = if p.size(PROMPT) >= p.size(SAMPLE) { (PROMPT, SAMPLE) } else { (SAMPLE, PROMPT) };
                    let x = well_conditioned(p, SEQUENCES, row, col);
                    let dims = dims.map(|dim| if dim == VOCAB { row } else if dim == OTHER { col } else { dim });
                    p.add(Op::Factor { factor, row, col, rank }, &[x], Real, &dims)
                });
            }
        }
    }
    solve: Op::Solve { .. } => {
        check("one system", &|p| {
            let (a, b) = (well_conditioned(p, &[VOCAB, OTHER], VOCAB, OTHER), p.real(&[VOCAB], -1.0, 1.0));
            p.add(Op::Solve { row: VOCAB, col: OTHER }, &[a, b], Real, &[OTHER])
        });
        check("several right-hand sides", &|p| {
            let (a, b) = (well_conditioned(p, &[VOCAB, OTHER], OTHER, VOCAB), p.real(&[PROMPT, SAMPLE, OTHER], -1.0, 1.0));
            p.add(Op::Solve { row: OTHER, col: VOCAB }, &[a, b], Real, &[PROMPT, SAMPLE, VOCAB])
        });
        check("a system for each prompt", &|p| {
            let a = well_conditioned(p, &[PROMPT, VOCAB, OTHER], VOCAB, OTHER);
            let b = p.real(&[PROMPT, SAMPLE, VOCAB], -1.0, 1.0);
            p.add(Op::Solve { row: VOCAB, col: OTHER }, &[a, b], Real, &[PROMPT, SAMPLE, OTHER])
        });
    }
    stop_grad: Op::StopGrad => {
        check("of integers", &|p| { let x = p.int(TOKENS, 0, 4); p.add(Op::StopGrad, &[x], Int, TOKENS) });
        no_gradient_passes_stop_grad();
    }
    grad: Op::Grad => { grad_is_gone_before_the_run(); }
}

/// Indices of `over`, far outside where they are not real.
fn index(p: &mut Program, dims: &[DimId], over: DimId) -> NodeId {
    let size = p.size(over) as i64;
    p.int(dims, 0, size)
}

/// Random matrices with distinct singular and eigenvalues, far from singular: 2, 4, 6, … on the diagonal.
fn well_conditioned(p: &mut Program, dims: &[DimId], row: DimId, col: DimId) -> NodeId {
    let noise = p.real(dims, -0.3, 0.3);
    let position = |p: &mut Program, dim: DimId| {
        let position = p.add(Op::Position(dim), &[], Int, &[dim]);
        p.add(Op::Broadcast, &[position], Int, &[row, col])
    };
    let (rows, cols) = (position(p, row), position(p, col));
    let on_diagonal = p.add(Op::Binary(Binary::Eq), &[rows, cols], Bool, &[row, col]);
    let scaled = p.add(Op::Cast(Real), &[rows], Real, &[row, col]);
    let (one, two) = (p.constant(1.0), p.constant(2.0));
    let (one, two) = (
        p.add(Op::Broadcast, &[one], Real, &[row, col]),
        p.add(Op::Broadcast, &[two], Real, &[row, col]),
    );
    let scaled = p.add(Op::Binary(Binary::Add), &[scaled, one], Real, &[row, col]);
    let scaled = p.add(Op::Binary(Binary::Mul), &[scaled, two], Real, &[row, col]);
    let diagonal = p.add(Op::Cast(Real), &[on_diagonal], Real, &[row, col]);
    let diagonal = p.add(
        Op::Binary(Binary::Mul),
        &[diagonal, scaled],
        Real,
        &[row, col],
    );
    let diagonal = p.add(Op::Broadcast, &[diagonal], Real, dims);
    p.add(Op::Binary(Binary::Add), &[noise, diagonal], Real, dims)
}

/// c0 ← x0 · k0 + c0 · k1, c1 ← c0 · x1 + c1: two carries over sequences, one of the captured with a dimension, one without.
fn two_carries(p: &mut Program, reverse: bool, masked: bool, part: usize) -> NodeId {
    let mut body = Graph::default();
    body.dims = p.graph.dims.clone();
    let mut add = |op: Op, operands: &[NodeId], dims: &[DimId]| {
        body.add(
            op,
            operands,
            Ty::new(Real, dims.to_vec()),
            Span::default(),
            None,
        )
    };
    let mut input = |name: &str, dims: &[DimId]| add(Op::Input(name.into()), &[], dims);
    let (x0, x1) = (input("x0", SEQUENCES), input("x1", SEQUENCES));
    let (k0, k1) = (input("k0", &[]), input("k1", SEQUENCES));
    let (c0, c1) = (input("c0", SEQUENCES), input("c1", SEQUENCES));
    let k0 = add(Op::Broadcast, &[k0], SEQUENCES);
    let fresh = add(Op::Binary(Binary::Mul), &[x0, k0], SEQUENCES);
    let kept = add(Op::Binary(Binary::Mul), &[c0, k1], SEQUENCES);
    let next0 = add(Op::Binary(Binary::Add), &[fresh, kept], SEQUENCES);
    let product = add(Op::Binary(Binary::Mul), &[c0, x1], SEQUENCES);
    let next1 = add(Op::Binary(Binary::Add), &[product, c1], SEQUENCES);
    let body = Arc::new(ScanBody {
        graph: body,
        next: vec![next0, next1],
    });

    let over = if masked { TOKEN } else { OTHER };
    let dims = &[PROMPT, SAMPLE, over];
    let mut operands = vec![p.real(dims, -1.0, 1.0), p.real(dims, -1.0, 1.0)];
    operands.extend([p.real(&[], -1.0, 1.0), p.real(SEQUENCES, -1.0, 1.0)]);
    operands.extend([p.real(SEQUENCES, -1.0, 1.0), p.real(SEQUENCES, -1.0, 1.0)]);
    if masked {
        operands.push(p.mask(TOKENS));
    }
    let op = Op::Scan {
        over,
        reverse,
        xs: 2,
        captured: 2,
        carries: 2,
        masked,
        part,
        body,
    };
    p.add(op, &operands, Real, dims)
}

/// c0 ← c0 / x0: the body divides by 0 where nothing is real.
fn quotients(p: &mut Program, reverse: bool) -> NodeId {
    let mut body = Graph::default();
    body.dims = p.graph.dims.clone();
    let mut add = |op: Op, operands: &[NodeId]| {
        let ty = Ty::new(Real, SEQUENCES.to_vec());
        body.add(op, operands, ty, Span::default(), None)
    };
    let (x, carry) = (
        add(Op::Input("x0".into()), &[]),
        add(Op::Input("c0".into()), &[]),
    );
    let next = add(Op::Binary(Binary::Div), &[carry, x]);
    let body = Arc::new(ScanBody {
        graph: body,
        next: vec![next],
    });
    let operands = [
        p.real(TOKENS, 0.5, 2.0),
        p.real(SEQUENCES, -1.0, 1.0),
        p.mask(TOKENS),
    ];
    let (xs, captured, carries) = (1, 0, 1);
    let op = Op::Scan {
        over: TOKEN,
        reverse,
        xs,
        captured,
        carries,
        masked: true,
        part: 0,
        body,
    };
    p.add(op, &operands, Real, TOKENS)
}
