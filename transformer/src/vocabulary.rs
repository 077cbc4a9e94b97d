//! The distribution over the vocabulary: its normaliser, and draws from it.

use crate::vector::{Block, Scalar, Vector, blocks};

/// A token and what its distribution said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    pub token: usize,
    /// Nats.
    pub logp: f64,
}

/// Weights of so many tokens are added up in the scalar's own precision, and these sums in f64.
const BLOCK: usize = 256;

#[inline(always)]
pub(crate) fn log_sum_exp<V: Vector>(logits: &[V::Scalar], temperature: f64) -> f64 {
    let largest = largest::<V>(logits);
    let sum = |block| exponentials::<V>(block, largest, temperature, |_, _| {});
    let sum: f64 = logits.chunks(BLOCK).map(sum).sum();
    largest.to_f64() / temperature + sum.ln()
}

#[inline(always)]
pub(crate) fn draw<V: Vector>(
    logits: &[V::Scalar],
    temperature: f64,
    uniform: f64,
    weights: &mut Vec<V::Scalar>,
) -> Drawn {
    let largest = largest::<V>(logits);
    weights.resize(logits.len(), V::Scalar::ZERO);
    let mut sums = [0.0; 16];
    let wide = logits.len().div_ceil(sums.len()).next_multiple_of(BLOCK);
    let blocks = logits.chunks(BLOCK).zip(weights.chunks_mut(BLOCK));
    for (index, (logits, weights)) in blocks.enumerate() {
        let store = |at, weight: V| weight.store(weights, at);
        sums[index * BLOCK / wide] += exponentials::<V>(logits, largest, temperature, store);
    }
    let total: f64 = sums.iter().sum();
    let threshold = uniform * total;

    // The wide block, then the token in it: so that a large vocabulary is not walked token by token.
    let mut below = 0.0;
    let mut start = 0;
    for sum in sums {
        if below + sum > threshold || start + wide >= logits.len() {
            break;
        }
        below += sum;
        start += wide;
    }
    let end = logits.len().min(start + wide);
    let mut token = start;
    for (index, weight) in weights.iter().enumerate().take(end).skip(start) {
        let weight = weight.to_f64();
        // The last token of any weight, if rounding left the threshold beyond all of them.
        if weight > 0.0 {
            token = index;
        }
        below += weight;
        if below > threshold {
            break;
        }
    }
    let logp = (logits[token] - largest).to_f64() / temperature - total.ln();
    Drawn { token, logp }
}

#[inline(always)]
fn largest<V: Vector>(logits: &[V::Scalar]) -> V::Scalar {
    let lowest = V::Scalar::from_f64(f64::NEG_INFINITY);
    let mut largest = V::splat(lowest);
    blocks!(V, logits.len(), |at| {
        largest = largest.max(V::load_or(logits, at, lowest));
    });
    largest.largest()
}

/// The sum of e^((x − largest) / temperature), each of which `keep` is given with its place.
#[inline(always)]
fn exponentials<V: Vector>(
    x: &[V::Scalar],
    largest: V::Scalar,
    temperature: f64,
    mut keep: impl FnMut(Block, V),
) -> f64 {
    let factor = V::splat(V::Scalar::from_f64(1.0 / temperature));
    let largest = V::splat(largest);
    let lowest = V::Scalar::from_f64(f64::NEG_INFINITY);
    let mut sum = V::zero();
    blocks!(V, x.len(), |at| {
        let weight = V::load_or(x, at, lowest).sub(largest).mul(factor).exp();
        keep(at, weight);
        sum = sum.add(weight);
    });
    sum.sum().to_f64()
}
