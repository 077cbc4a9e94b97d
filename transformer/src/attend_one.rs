//! Attention of one position, as decoding does it.

use crate::vector::{Block, Scalar, Vector, blocks};

/// Keys and values of one head at some positions, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a, T> {
    pub keys: &'a [T],
    pub values: &'a [T],
}

#[inline(always)]
pub(crate) fn attend_one<V: Vector>(
    queries: &[V::Scalar],
    width: usize,
    prompt: Keys<V::Scalar>,
    response: Keys<V::Scalar>,
    scores: &mut Vec<V::Scalar>,
    output: &mut [V::Scalar],
) {
    assert!(queries.len() == output.len() && queries.len() % width == 0);
    for part in [prompt, response] {
        assert!(part.keys.len() == part.values.len() && part.keys.len() % width == 0);
    }
    let in_prompt = prompt.keys.len() / width;
    scores.resize(in_prompt + response.keys.len() / width, V::Scalar::ZERO);
    let scale = V::Scalar::from_f64(1.0 / (width as f64).sqrt());
    for (query, output) in queries
        .chunks_exact(width)
        .zip(output.chunks_exact_mut(width))
    {
        let keys = prompt
            .keys
            .chunks_exact(width)
            .chain(response.keys.chunks_exact(width));
        for (key, score) in keys.zip(scores.iter_mut()) {
            let mut product = V::zero();
            blocks!(V, width, |at| {
                product = V::load(query, at).mul_add(V::load(key, at), product);
            });
            *score = product.sum() * scale;
        }
        let total = soften::<V>(scores);
        let (of_prompt, of_response) = scores.split_at(in_prompt);
        blocks!(V, width, |at| {
            let sum = mix(V::zero(), of_prompt, prompt.values, width, at);
            let sum = mix(sum, of_response, response.values, width, at);
            sum.mul(V::splat(V::Scalar::ONE / total)).store(output, at);
        });
    }
}

/// Scores become e^(score − largest); their sum.
#[inline(always)]
fn soften<V: Vector>(scores: &mut [V::Scalar]) -> V::Scalar {
    let lowest = V::Scalar::from_f64(f64::NEG_INFINITY);
    let mut largest = V::splat(lowest);
    blocks!(V, scores.len(), |at| {
        largest = largest.max(V::load_or(scores, at, lowest));
    });
    let largest = V::splat(largest.largest());
    let mut sum = V::zero();
    blocks!(V, scores.len(), |at| {
        let weight = V::load_or(scores, at, lowest).sub(largest).exp();
        weight.store(scores, at);
        sum = sum.add(weight);
    });
    sum.sum()
}

/// `sum` and the values at `at` of a head, weighted.
#[inline(always)]
fn mix<V: Vector>(
    sum: V,
    weights: &[V::Scalar],
    values: &[V::Scalar],
    width: usize,
    at: Block,
) -> V {
    // Two sums, since a fused multiply-add waits for the one before it.
    let (mut even, mut odd) = (sum, V::zero());
    let mut pairs = weights.chunks_exact(2);
    let mut rows = values.chunks_exact(2 * width);
    for (weights, values) in (&mut pairs).zip(&mut rows) {
        let (first, second) = values.split_at(width);
        even = V::splat(weights[0]).mul_add(V::load(first, at), even);
        odd = V::splat(weights[1]).mul_add(V::load(second, at), odd);
    }
    if let [weight] = pairs.remainder() {
        even = V::splat(*weight).mul_add(V::load(rows.remainder(), at), even);
    }
    even.add(odd)
}
