//! RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467).

use crate::vector::{Scalar, Vector};

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
        for index in (0..width).step_by(V::LANES) {
            let x = V::load(input, index);
            squares = x.mul_add(x, squares);
        }
        let mean = squares.sum().to_f64() / width as f64;
        *scale = V::Scalar::from_f64(1.0 / (mean + epsilon).sqrt());
        let factor = V::splat(*scale);
        for index in (0..width).step_by(V::LANES) {
            let x = V::load(input, index).mul(factor);
            x.mul(V::load(weight, index)).store(output, index);
        }
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
        for index in (0..width).step_by(V::LANES) {
            let (x, g) = (V::load(input, index), V::load(upstream, index));
            along = x.mul(g).mul_add(V::load(weight, index), along);
            let by_weight = V::load(weight_gradient, index);
            x.mul(factor)
                .mul_add(g, by_weight)
                .store(weight_gradient, index);
        }
        let along = along.sum() * scale * scale * scale / V::Scalar::from_f64(width as f64);
        let along = V::splat(-along);
        for index in (0..width).step_by(V::LANES) {
            let g = V::load(upstream, index).mul(V::load(weight, index));
            let sum = g.mul_add(factor, V::load(gradient, index));
            V::load(input, index)
                .mul_add(along, sum)
                .store(gradient, index);
        }
    }
}
