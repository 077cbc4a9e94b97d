//! The derivatives of the reductions.

use crate::graph::{Binary, NodeId, Reduction, Unary};
use crate::pass::autodiff::builder::Builder;
use crate::pass::autodiff::scan;
use crate::ty::{DimId, Elem};

/// y = the reduction of x
pub(super) fn reduce(
    b: &mut Builder,
    kind: Reduction,
    over: &[DimId],
    x: NodeId,
    mask: Option<NodeId>,
    y: NodeId,
    g: NodeId,
) -> Option<NodeId> {
    let dims = b.ty(x).dims;
    match kind {
        Reduction::Sum => Some(b.broadcast(g, &dims, mask)),
        Reduction::Mean => {
            let count = match mask {
                // Any node of these dimensions is counted alike; of the mask, all means share the count.
                Some(mask) if b.ty(mask).dims == dims => {
                    b.reduce(Reduction::Count, mask, over, Some(mask))
                }
                Some(_) => b.reduce(Reduction::Count, x, over, mask),
                None => {
                    let count = elements(b, over);
                    b.spread(count, &b.ty(y).dims)
                }
            };
            let one = b.int(1);
            let one = b.spread(one, &b.ty(count).dims);
            // The mean of nothing is constant, whatever stands here.
            let count = b.binary(Binary::Max, count, one);
            let count = b.cast(Elem::Real, count);
            let share = b.binary(Binary::Div, g, count);
            Some(b.broadcast(share, &dims, mask))
        }
        Reduction::Max | Reduction::Min => {
            let first = first_equal(b, over, x, mask, y);
            let g = b.broadcast(g, &dims, mask);
            Some(b.only(first, g))
        }
        Reduction::Product => {
            let x = match mask {
                Some(mask) => {
                    let ones = b.constant(1.0, &b.ty(x));
                    b.select(mask, x, ones)
                }
                None => x,
            };
            let others = product_of_others(b, over, x);
            let g = b.broadcast(g, &dims, mask);
            let gain = b.mul(g, others);
            Some(match mask {
                Some(mask) => b.only(mask, gain),
                None => gain,
            })
        }
        Reduction::LogSumExp => {
            // With nothing but −∞ the shares are 0, not not-a-number.
            let finite = b.unary(Unary::IsFinite, y);
            let y = b.only(finite, y);
            let y = b.broadcast(y, &dims, mask);
            let below = b.binary(Binary::Sub, x, y);
            let share = b.unary(Unary::Exp, below);
            let g = b.broadcast(g, &dims, mask);
            Some(b.mul(g, share))
        }
        Reduction::Any | Reduction::All | Reduction::Count => None,
    }
}

/// How many elements there are over some dimensions; known before anything is computed.
fn elements(b: &mut Builder, over: &[DimId]) -> NodeId {
    let one = b.int(1);
    over.iter().fold(one, |count, &dim| {
        let size = b.size(dim);
        b.binary(Binary::Mul, count, size)
    })
}

/// Where x first (in row-major order) equals its reduction y.
fn first_equal(
    b: &mut Builder,
    over: &[DimId],
    x: NodeId,
    mask: Option<NodeId>,
    y: NodeId,
) -> NodeId {
    let dims = b.ty(x).dims;
    let y = b.broadcast(y, &dims, mask);
    let mut equal = b.binary(Binary::Eq, x, y);
    if let Some(mask) = mask {
        equal = b.binary(Binary::And, equal, mask);
    }
    let mut number: Option<NodeId> = None;
    for &dim in dims.iter().filter(|dim| over.contains(dim)) {
        let position = b.position(dim, &dims);
        number = Some(match number {
            Some(before) => {
                let size = b.size(dim);
                let size = b.spread(size, &dims);
                let before = b.mul(before, size);
                b.binary(Binary::Add, before, position)
            }
            None => position,
        });
    }
    let Some(number) = number else { return equal };
    let first = b.reduce(Reduction::Min, number, over, Some(equal));
    let first = b.spread(first, &dims);
    let is_first = b.binary(Binary::Eq, number, first);
    b.binary(Binary::And, equal, is_first)
}

/// For each element the product of all others over the given dimensions, without dividing, so that zeros do no harm.
fn product_of_others(b: &mut Builder, over: &[DimId], x: NodeId) -> NodeId {
    let dims = b.ty(x).dims;
    let Some((&dim, rest)) = over.split_last() else {
        return b.constant(1.0, &b.ty(x));
    };
    let (before, after) = (
        exclusive_product(b, dim, x, false),
        exclusive_product(b, dim, x, true),
    );
    let beside = b.mul(before, after);
    if rest.is_empty() {
        return beside;
    }
    let inner = b.reduce(Reduction::Product, x, &[dim], None);
    let others = product_of_others(b, rest, inner);
    let others = b.spread(others, &dims);
    b.mul(beside, others)
}

/// The product of what comes before each element (after it, if `reverse`).
fn exclusive_product(b: &mut Builder, over: DimId, x: NodeId, reverse: bool) -> NodeId {
    let slice = b.ty(x).without(&[over]);
    let one = b.constant(1.0, &slice);
    let through = scan::running_product(b, over, reverse, x, one);
    b.shift(over, if reverse { -1 } else { 1 }, through, one)
}
