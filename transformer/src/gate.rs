//! The gate of a SwiGLU layer (Shazeer 2020, arXiv:2002.05202).

use crate::vector::{Scalar, Vector, blocks};

#[inline(always)]
pub(crate) fn gate<V: Vector>(gate_up: &[V::Scalar], width: usize, output: &mut [V::Scalar]) {
    assert!(gate_up.len() == 2 * output.len() && output.len() % width == 0);
    let rows = gate_up.chunks_exact(2 * width);
    for (row, output) in rows.zip(output.chunks_exact_mut(width)) {
        let (gate, up) = row.split_at(width);
        blocks!(V, width, |at| {
            let x = V::load(gate, at);
            x.mul(sigmoid(x)).mul(V::load(up, at)).store(output, at);
        });
    }
}

/// With σ = sigmoid(gate): ∂/∂up = gate σ g and ∂/∂gate = up σ (1 + gate (1 − σ)) g.
#[inline(always)]
pub(crate) fn gate_backward<V: Vector>(
    gate_up: &[V::Scalar],
    width: usize,
    upstream: &[V::Scalar],
    gradient: &mut [V::Scalar],
    output: &mut [V::Scalar],
) {
    assert!(gate_up.len() == 2 * output.len() && output.len() % width == 0);
    assert!(gate_up.len() == gradient.len() && upstream.len() == output.len());
    let rows = gate_up
        .chunks_exact(2 * width)
        .zip(upstream.chunks_exact(width));
    let results = gradient
        .chunks_exact_mut(2 * width)
        .zip(output.chunks_exact_mut(width));
    let one = V::splat(V::Scalar::ONE);
    for ((row, upstream), (gradient, output)) in rows.zip(results) {
        let (gate, up) = row.split_at(width);
        let (by_gate, by_up) = gradient.split_at_mut(width);
        blocks!(V, width, |at| {
            let (x, up, g) = (V::load(gate, at), V::load(up, at), V::load(upstream, at));
            let sigmoid = sigmoid(x);
            let silu = x.mul(sigmoid);
            silu.mul(up).store(output, at);
            silu.mul(g).store(by_up, at);
            let slope = x.mul(one.sub(sigmoid)).mul_add(sigmoid, sigmoid);
            up.mul(slope).mul(g).store(by_gate, at);
        });
    }
}

#[inline(always)]
fn sigmoid<V: Vector>(x: V) -> V {
    let one = V::splat(V::Scalar::ONE);
    one.div(one.add(V::zero().sub(x).exp()))
}
