//! Examples of the primitives that move values between positions.

use std::sync::Arc;

use rlp_compiler::graph::{Binary, NodeId, Op, Reduction, ScanBody, Unary};
use rlp_compiler::ty::{DimId, Elem};

use super::{Build, build};
use crate::setup::Setup;

pub(crate) fn broadcast() -> Vec<Build> {
    vec![
        build("broadcast scalar to ragged", |s| {
            let x = s.variable(&[], -1.0, 1.0);
            s.broadcast(x, &[s.prompt, s.sample, s.token])
        }),
        build("broadcast to ragged and a feature", |s| {
            let x = s.variable(&[s.sample], -1.0, 1.0);
            s.broadcast(x, &[s.prompt, s.sample, s.token, s.feature])
        }),
        build("broadcast without mask", |s| {
            let x = s.variable(&[s.feature], -1.0, 1.0);
            s.add(Op::Broadcast, &[x], Elem::Real, &[s.prompt, s.feature])
        }),
        build("broadcast of a ragged one", |s| {
            let x = s.variable(&[s.prompt, s.sample, s.token], -1.0, 1.0);
            s.add(
                Op::Broadcast,
                &[x],
                Elem::Real,
                &[s.prompt, s.sample, s.token, s.feature],
            )
        }),
    ]
}

pub(crate) fn rename() -> Vec<Build> {
    vec![build("rename", |s| {
        let (prompt, feature) = (s.prompt, s.feature);
        let rival = s.dim("rival", s.shape.prompts, None);
        let x = s.variable(&[prompt, feature], -1.0, 1.0);
        s.add(
            Op::Rename(vec![(prompt, rival)]),
            &[x],
            Elem::Real,
            &[feature, rival],
        )
    })]
}

pub(crate) fn reduce() -> Vec<Build> {
    let all = [
        Reduction::Sum,
        Reduction::Mean,
        Reduction::Max,
        Reduction::Min,
        Reduction::Product,
        Reduction::LogSumExp,
        Reduction::Any,
        Reduction::All,
        Reduction::Count,
    ];
    // Of everything, of one dimension, and of two that are not neighbours.
    let over = |s: &Setup, way: usize| -> Vec<DimId> {
        match way {
            0 => vec![s.prompt, s.sample, s.token, s.feature],
            1 => vec![s.token],
            _ => vec![s.sample, s.feature],
        }
    };
    let with = |(kind, way): (Reduction, usize)| {
        build(format!("reduce {kind:?} {way}"), move |s| {
            let dims = [s.prompt, s.sample, s.token, s.feature];
            let bool = match kind {
                Reduction::Any | Reduction::All => true,
                Reduction::Sum
                | Reduction::Mean
                | Reduction::Max
                | Reduction::Min
                | Reduction::Product
                | Reduction::LogSumExp
                | Reduction::Count => false,
            };
            let x = if bool {
                s.bools(&dims)
            } else {
                s.variable(&dims, -1.5, 1.5)
            };
            let over = over(s, way);
            s.reduce(kind, x, &over)
        })
    };
    let mut builds: Vec<Build> = all
        .into_iter()
        .flat_map(|kind| [0, 1, 2].map(|way| (kind, way)))
        .map(with)
        .collect();
    builds.push(build("reduce LogSumExp with nothing finite", |s| {
        let (prompt, feature) = (s.prompt, s.feature);
        let x = s.variable(&[prompt, feature], 0.5, 2.0);
        let bottom = s.literal(f64::NEG_INFINITY);
        let bottom = s.broadcast(bottom, &[prompt, feature]);
        let bottom = s.binary(Binary::Add, x, bottom);
        let sums = s.reduce(Reduction::LogSumExp, bottom, &[feature]);
        // Its result is not finite, and what is built on it must not be asked for: 0 of it.
        let exp = s.unary(Unary::Exp, sums);
        let zeros = s.reduce(Reduction::Sum, exp, &[prompt]);
        s.add(
            Op::Reduce {
                kind: Reduction::Sum,
                over: Vec::new(),
            },
            &[zeros],
            Elem::Real,
            &[],
        )
    }));
    builds
}

pub(crate) fn arg_reduce() -> Vec<Build> {
    let with = |largest: bool| {
        build(format!("arg_reduce largest: {largest}"), move |s| {
            let (token, dims) = (s.token, [s.prompt, s.sample, s.token]);
            let x = s.variable(&dims, -1.0, 1.0);
            let mask = s.mask(&dims).unwrap();
            s.add(
                Op::ArgReduce {
                    largest,
                    over: token,
                },
                &[x, mask],
                Elem::Int,
                &[s.prompt, s.sample],
            )
        })
    };
    [true, false].map(with).into()
}

pub(crate) fn contract() -> Vec<Build> {
    let with = |name: &str, a: &'static [u32], b: &'static [u32], over: &'static [u32]| {
        build(name, move |s| {
            let of = |dims: &[u32]| dims.iter().map(|&dim| DimId(dim)).collect::<Vec<_>>();
            let (a_dims, b_dims, over) = (of(a), of(b), of(over));
            let (a, b) = (
                s.variable(&a_dims, -1.0, 1.0),
                s.variable(&b_dims, -1.0, 1.0),
            );
            let (a, b) = (s.clean(a), s.clean(b));
            let dims: Vec<DimId> = a_dims
                .iter()
                .chain(&b_dims)
                .copied()
                .filter(|dim| !over.contains(dim))
                .collect();
            s.add(Op::Contract { over }, &[a, b], Elem::Real, &dims)
        })
    };
    vec![
        with("contract a vector", &[3], &[0, 3], &[3]),
        with("contract over ragged", &[0, 1, 2], &[0, 1, 2, 3], &[1, 2]),
        with("contract keeping ragged", &[0, 1, 2, 3], &[3], &[3]),
        with("contract what only one has", &[0, 3], &[3, 1], &[0, 3]),
        with("contract nothing", &[0, 3], &[1, 3], &[]),
    ]
}

/// c ← tanh(c·k + x) + x², over dimensions without `over`; k is shared by all.
fn recurrence(s: &mut Setup, dims: &[DimId]) -> ScanBody {
    let dims = dims.to_vec();
    s.body(move |s| {
        let (x, k, c) = (
            s.given("x0", Elem::Real, &dims),
            s.given("k0", Elem::Real, &[]),
            s.given("c0", Elem::Real, &dims),
        );
        let k = s.add(Op::Broadcast, &[k], Elem::Real, &dims);
        let scaled = s.mul(c, k);
        let sum = s.binary(Binary::Add, scaled, x);
        let tanh = s.unary(Unary::Tanh, sum);
        let square = s.mul(x, x);
        vec![s.binary(Binary::Add, tanh, square)]
    })
}

fn add_scan(
    s: &mut Setup,
    over: DimId,
    reverse: bool,
    operands: [&[NodeId]; 4],
    part: usize,
    body: ScanBody,
) -> NodeId {
    let [xs, captured, carries, mask] = operands;
    let op = Op::Scan {
        over,
        reverse,
        xs: xs.len(),
        captured: captured.len(),
        carries: carries.len(),
        masked: !mask.is_empty(),
        part,
        body: Arc::new(body),
    };
    let ty = s.graph.ty(carries[part]).clone();
    let dims: Vec<DimId> = ty.dims.into_iter().chain([over]).collect();
    s.add(op, &[xs, captured, carries, mask].concat(), ty.elem, &dims)
}

pub(crate) fn scan() -> Vec<Build> {
    let ragged = |reverse: bool| {
        build(format!("scan ragged, reverse: {reverse}"), move |s| {
            let (over, inner, dims) =
                (s.token, [s.prompt, s.sample], [s.prompt, s.sample, s.token]);
            let x = s.variable(&dims, -1.0, 1.0);
            let (k, initial) = (s.variable(&[], 0.5, 0.9), s.variable(&inner, -1.0, 1.0));
            let mask = s.mask(&dims).unwrap();
            let body = recurrence(s, &inner);
            add_scan(s, over, reverse, [&[x], &[k], &[initial], &[mask]], 0, body)
        })
    };
    vec![
        ragged(false),
        ragged(true),
        build("scan without mask", |s| {
            let (over, inner) = (s.prompt, [s.feature]);
            let x = s.variable(&[s.prompt, s.feature], -1.0, 1.0);
            let (k, initial) = (s.variable(&[], 0.5, 0.9), s.variable(&inner, -1.0, 1.0));
            let body = recurrence(s, &inner);
            add_scan(s, over, false, [&[x], &[k], &[initial], &[]], 0, body)
        }),
        build("scan with two carries and a matrix", matrix_scan),
        build("scan in a scan", nested_scan),
    ]
}

/// h ← tanh(w h + x), n ← n + 1; the sum of both parts.
fn matrix_scan(s: &mut Setup) -> NodeId {
    let (prompt, sample, token, feature) = (s.prompt, s.sample, s.token, s.feature);
    let input = s.dim("input", s.shape.features, None);
    let inner = [prompt, sample, feature];
    let x = s.variable(&[prompt, sample, token, feature], -1.0, 1.0);
    let (w, initial) = (
        s.variable(&[feature, input], -0.7, 0.7),
        s.variable(&inner, -1.0, 1.0),
    );
    let zero = s.integer(0);
    let count = s.add(Op::Broadcast, &[zero], Elem::Int, &[prompt, sample]);
    let mask = s.mask(&[prompt, sample, token]).unwrap();
    let body = s.body(|s| {
        let (x, w) = (
            s.given("x0", Elem::Real, &inner),
            s.given("k0", Elem::Real, &[feature, input]),
        );
        let (h, n) = (
            s.given("c0", Elem::Real, &inner),
            s.given("c1", Elem::Int, &[prompt, sample]),
        );
        let renamed = s.add(
            Op::Rename(vec![(feature, input)]),
            &[h],
            Elem::Real,
            &[prompt, sample, input],
        );
        let product = s.add(
            Op::Contract { over: vec![input] },
            &[w, renamed],
            Elem::Real,
            &inner,
        );
        let sum = s.binary(Binary::Add, product, x);
        let h = s.unary(Unary::Tanh, sum);
        let one = s.integer(1);
        let one = s.add(Op::Broadcast, &[one], Elem::Int, &[prompt, sample]);
        let n = s.binary(Binary::Add, n, one);
        let scale = s.add(Op::Cast(Elem::Real), &[n], Elem::Real, &[prompt, sample]);
        let scale = s.add(Op::Broadcast, &[scale], Elem::Real, &inner);
        vec![s.mul(h, scale), n]
    });
    add_scan(
        s,
        token,
        false,
        [&[x], &[w], &[initial, count], &[mask]],
        0,
        body,
    )
}

/// The outer scan runs over features, the inner one, which it captures a mask for, over tokens.
fn nested_scan(s: &mut Setup) -> NodeId {
    let (prompt, sample, token, feature) = (s.prompt, s.sample, s.token, s.feature);
    let dims = [prompt, sample, token];
    let x = s.variable(&dims, -1.0, 1.0);
    let (scale, initial) = (
        s.variable(&[feature], 0.5, 0.9),
        s.variable(&dims, -1.0, 1.0),
    );
    let mask = s.mask(&dims).unwrap();
    let body = s.body(|s| {
        let (scale, x) = (
            s.given("x0", Elem::Real, &[]),
            s.given("k0", Elem::Real, &dims),
        );
        let (mask, c) = (
            s.given("k1", Elem::Bool, &dims),
            s.given("c0", Elem::Real, &dims),
        );
        let start = s.add(Op::Broadcast, &[scale], Elem::Real, &[prompt, sample]);
        let product = s.mul(c, x);
        let inner = recurrence(s, &[prompt, sample]);
        let through = add_scan(
            s,
            token,
            false,
            [&[product], &[scale], &[start], &[mask]],
            0,
            inner,
        );
        vec![s.unary(Unary::Tanh, through)]
    });
    add_scan(
        s,
        feature,
        false,
        [&[scale], &[x, mask], &[initial], &[]],
        0,
        body,
    )
}

pub(crate) fn cumsum() -> Vec<Build> {
    let with = |reverse: bool| {
        build(format!("cumsum, reverse: {reverse}"), move |s| {
            let (over, dims) = (s.token, [s.prompt, s.sample, s.token]);
            let x = s.variable(&dims, -1.0, 1.0);
            let x = s.clean(x);
            s.add_like(Op::Cumsum { over, reverse }, &[x], x)
        })
    };
    [false, true].map(with).into()
}

pub(crate) fn shift() -> Vec<Build> {
    let with = |by: i64| {
        build(format!("shift by {by}"), move |s| {
            let (over, dims) = (s.token, [s.prompt, s.sample, s.token]);
            let (x, fill) = (
                s.variable(&dims, -1.0, 1.0),
                s.variable(&[s.prompt, s.sample], -1.0, 1.0),
            );
            let x = s.clean(x);
            s.add_like(Op::Shift { over, by }, &[x, fill], x)
        })
    };
    [1, 2, -1, -2, 0, 9, i64::MIN].map(with).into()
}

pub(crate) fn arg_sort() -> Vec<Build> {
    let with = |descending: bool| {
        build(format!("arg_sort, descending: {descending}"), move |s| {
            let (over, dims) = (s.token, [s.prompt, s.sample, s.token]);
            let x = s.variable(&dims, -1.0, 1.0);
            let mask = s.mask(&dims).unwrap();
            s.add(
                Op::ArgSort { over, descending },
                &[x, mask],
                Elem::Int,
                &dims,
            )
        })
    };
    [false, true].map(with).into()
}

pub(crate) fn gather() -> Vec<Build> {
    vec![
        build("gather for each token", |s| {
            let (over, n) = (s.feature, s.shape.features);
            let x = s.variable(&[s.prompt, s.feature], -1.0, 1.0);
            let index = s.integers(&[s.prompt, s.sample, s.token], n);
            s.add(
                Op::Gather { over },
                &[x, index],
                Elem::Real,
                &[s.prompt, s.sample, s.token],
            )
        }),
        build("gather along itself", |s| {
            let (over, n) = (s.feature, s.shape.features);
            let x = s.variable(&[s.prompt, s.feature], -1.0, 1.0);
            let index = s.integers(&[s.prompt, s.feature], n);
            s.add(
                Op::Gather { over },
                &[x, index],
                Elem::Real,
                &[s.prompt, s.feature],
            )
        }),
        build("gather one", |s| {
            let over = s.prompt;
            let x = s.variable(&[s.prompt, s.feature], -1.0, 1.0);
            let index = s.integer(0);
            s.add(Op::Gather { over }, &[x, index], Elem::Real, &[s.feature])
        }),
    ]
}

pub(crate) fn scatter_add() -> Vec<Build> {
    vec![build("scatter_add", |s| {
        let (over, n, dims) = (s.feature, s.shape.features, [s.prompt, s.sample, s.token]);
        let g = s.variable(&dims, -1.0, 1.0);
        let g = s.clean(g);
        let index = s.integers(&dims, n);
        s.add(
            Op::ScatterAdd { over },
            &[g, index],
            Elem::Real,
            &[s.prompt, s.feature],
        )
    })]
}

pub(crate) fn stack() -> Vec<Build> {
    vec![build("stack", |s| {
        let objective = s.dim("objective", 2, None);
        let dims = [s.prompt, s.sample, s.token];
        let (a, b) = (s.variable(&dims, -1.0, 1.0), s.variable(&dims, -1.0, 1.0));
        s.add(
            Op::Stack(objective),
            &[a, b],
            Elem::Real,
            &[s.prompt, s.sample, s.token, objective],
        )
    })]
}

pub(crate) fn split() -> Vec<Build> {
    vec![build("split", |s| {
        let whole = s.dim("whole", 2 * s.shape.features, None);
        let (block, inner) = (
            s.dim("block", 2, None),
            s.dim("inner", s.shape.features, None),
        );
        let x = s.variable(&[s.prompt, whole], -1.0, 1.0);
        s.add(
            Op::Split {
                dim: whole,
                into: vec![inner, block],
            },
            &[x],
            Elem::Real,
            &[s.prompt, block, inner],
        )
    })]
}

pub(crate) fn merge() -> Vec<Build> {
    vec![build("merge", |s| {
        let whole = s.dim("whole", s.shape.prompts * s.shape.features, None);
        let x = s.variable(&[s.prompt, s.sample, s.feature], -1.0, 1.0);
        let dims = vec![s.feature, s.prompt];
        s.add(
            Op::Merge { dims, into: whole },
            &[x],
            Elem::Real,
            &[s.sample, whole],
        )
    })]
}
