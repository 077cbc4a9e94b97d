//! RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467).

use crate::vector::{Scalar, Vector, blocks};

#[inline(always)]
pub(crate) fn rms_norm<V: Vector>(
    input: &[V::Scalar],
    weight: &[V::Scalar],
    epsilon: f64,
    output: &mut [V::Scalar],
    scales: &mut [V::Scalar],
) {
    let width = weight.len();
    assert!(input.len() == output.len() && input.len() == width * scales.len());
    let rows = input
        .chunks_exact(width)
        .zip(output.chunks_exact_mut(width));
    for ((input, output), scale) in rows.zip(scales) {
        let mut squares = V::zero();
        blocks!(V, width, |at| {
            let x = V::load(input, at);
            squares = x.mul_add(x, squares);
        });
        let mean = squares.sum().to_f64() / width as f64;
        *scale = V::Scalar::from_f64(1.0 / (mean + epsilon).sqrt());
        let factor = V::splat(*scale);
        blocks!(V, width, |at| {
            let x = V::load(input, at).mul(factor);
            x.mul(V::load(weight, at)).store(output, at);
        });
    }
}

/// With y = x s w and s = (mean(x²) + ε)^(−1/2): ∂/∂x = s w g − x s³ mean(w g x) and ∂/∂w = Σ g x s.
#[inline(always)]
pub(crate) fn rms_norm_backward<V: Vector>(
    input: &[V::Scalar],
    weight: &[V::Scalar],
    scales: &[V::Scalar],
    upstream: &[V::Scalar],
    gradient: &mut [V::Scalar],
    weight_gradient: &mut [V::Scalar],
) {
    let width = weight.len();
    assert!(input.len() == upstream.len() && input.len() == gradient.len());
    assert!(input.len() == width * scales.len() && weight_gradient.len() == width);
    let rows = input.chunks_exact(width).zip(upstream.chunks_exact(width));
    let rows = rows.zip(gradient.chunks_exact_mut(width)).zip(scales);
    for (((input, upstream), gradient), &scale) in rows {
        let factor = V::splat(scale);
        let mut along = V::zero();
        blocks!(V, width, |at| {
            let (x, g) = (V::load(input, at), V::load(upstream, at));
            along = x.mul(g).mul_add(V::load(weight, at), along);
            let by_weight = V::load(weight_gradient, at);
            x.mul(factor)
                .mul_add(g, by_weight)
                .store(weight_gradient, at);
        });
        let along = along.sum() * scale * scale * scale / V::Scalar::from_f64(width as f64);
        let along = V::splat(-along);
        blocks!(V, width, |at| {
            let g = V::load(upstream, at).mul(V::load(weight, at));
            let sum = g.mul_add(factor, V::load(gradient, at));
            V::load(input, at).mul_add(along, sum).store(gradient, at);
        });
    }
}
