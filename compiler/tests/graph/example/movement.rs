//! Examples of the primitives that move values between positions.

use rlp_compiler::graph::{Binary, Op, Reduction, Unary};
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
