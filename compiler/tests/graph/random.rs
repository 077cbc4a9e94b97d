//! Random graphs.

use rlp_compiler::array::Array;
use rlp_compiler::graph::{Binary, NodeId, Op, Reduction, Unary};
use rlp_compiler::ty::{DimId, Elem};

use crate::setup::{Setup, Shape};

/// Some nodes over several dimensions, with much that passes can make simpler.
pub(crate) fn random_graph(shape: Shape, with_gradients: bool) -> (Setup, Vec<NodeId>) {
    let mut s = Setup::new(shape);
    let (p, n, t, f) = (s.prompt, s.sample, s.token, s.feature);
    let spaces = [
        vec![],
        vec![p],
        vec![p, n],
        vec![p, n, t],
        vec![f],
        vec![p, f],
    ];
    let mut reals: Vec<NodeId> = spaces
        .iter()
        .map(|dims| s.variable(dims, -1.5, 1.5))
        .collect();
    let mut bools: Vec<NodeId> = spaces.iter().map(|dims| s.bools(dims)).collect();
    for _ in 0..40 {
        let x = reals[s.below(reals.len() as u64) as usize];
        let dims = s.graph.ty(x).dims.clone();
        let like = |s: &mut Setup, among: &[NodeId]| {
            let fits: Vec<NodeId> = among
                .iter()
                .copied()
                .filter(|&id| s.graph.ty(id).dims == dims)
                .collect();
            fits[s.below(fits.len() as u64) as usize]
        };
        let (y, holds, other) = (
            like(&mut s, &reals),
            like(&mut s, &bools),
            like(&mut s, &bools),
        );
        let choice = s.below(6) as usize;
        match s.below(if with_gradients { 14 } else { 13 }) {
            0 => reals.push(s.unary(
                [
                    Unary::Neg,
                    Unary::Abs,
                    Unary::Exp,
                    Unary::Tanh,
                    Unary::Sigmoid,
                    Unary::Sin,
                ][choice],
                x,
            )),
            1 | 2 => {
                let op = [
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Min,
                    Binary::Max,
                    Binary::Div,
                ][choice];
                reals.push(s.binary(op, x, y));
            }
            3 | 4 => {
                let constant = s.literal([0.0, 1.0, -1.0, -0.0, 2.0, f64::INFINITY][choice]);
                let constant = s.add_like(Op::Broadcast, &[constant], x);
                let op = [
                    Binary::Add,
                    Binary::Sub,
                    Binary::Mul,
                    Binary::Div,
                    Binary::Pow,
                ][s.below(5) as usize];
                reals.push(if s.below(2) == 0 {
                    s.binary(op, x, constant)
                } else {
                    s.binary(op, constant, x)
                });
            }
            5 => {
                let op = [
                    Binary::Lt,
                    Binary::Le,
                    Binary::Gt,
                    Binary::Ge,
                    Binary::Eq,
                    Binary::Ne,
                ][choice];
                bools.push(s.add(Op::Binary(op), &[x, y], Elem::Bool, &dims));
            }
            6 => reals.push(s.add_like(Op::Select, &[holds, x, y], x)),
            7 => {
                let constant = s.add(
                    Op::Literal(Array::bool(choice.is_multiple_of(2))),
                    &[],
                    Elem::Bool,
                    &[],
                );
                let constant = s.add(Op::Broadcast, &[constant], Elem::Bool, &dims);
                let not = s.unary(Unary::Not, holds);
                let right = [constant, other, not][choice / 2];
                bools.extend([
                    not,
                    s.binary(
                        if choice.is_multiple_of(2) {
                            Binary::And
                        } else {
                            Binary::Or
                        },
                        holds,
                        right,
                    ),
                ]);
            }
            8 => {
                let int = s.add(Op::Cast(Elem::Int), &[holds], Elem::Int, &dims);
                reals.push(s.add_like(Op::Cast(Elem::Real), &[int], x));
            }
            9 => {
                let bigger = spaces
                    .iter()
                    .filter(|space| dims.iter().all(|dim| space.contains(dim)))
                    .collect::<Vec<_>>();
                let space = bigger[s.below(bigger.len() as u64) as usize];
                reals.push(s.broadcast(x, space));
            }
            10 => {
                let over: Vec<DimId> = dims.iter().copied().filter(|_| s.below(2) == 0).collect();
                let over = if dims.contains(&t) { vec![t] } else { over };
                let kinds = [
                    Reduction::Sum,
                    Reduction::Mean,
                    Reduction::Max,
                    Reduction::Min,
                    Reduction::LogSumExp,
                    Reduction::Product,
                ];
                if spaces.contains(&s.graph.ty(x).without(&over).dims) {
                    reals.push(s.reduce(kinds[choice], x, &over));
                }
            }
            // The same once more.
            11 => {
                let (op, operands) = (s.graph.op(x).clone(), s.graph.operands(x));
                // A source once more would be the same variable.
                if !matches!(op, Op::Input(_)) {
                    reals.push(s.add_like(op, &operands, x));
                }
            }
            12 => {
                let clean = s.clean(x);
                reals.push(match dims.first() {
                    Some(&over) => s.add_like(
                        Op::Cumsum {
                            over,
                            reverse: choice.is_multiple_of(2),
                        },
                        &[clean],
                        x,
                    ),
                    None => s.add_like(Op::StopGrad, &[x], x),
                });
            }
            _ => {
                let of = reals[s.below(reals.len() as u64) as usize];
                reals.push(s.add_like(Op::Grad, &[of, x], x));
            }
        }
    }
    let sinks = reals
        .iter()
        .chain(&bools)
        .copied()
        .filter(|_| s.below(3) == 0)
        .collect();
    (s, sinks)
}
