//! The head on the CPU: logits of some positions for some tokens at a time, in tiles that never leave the cache.

use rlp_transformer::{Distribution, Packed, Weights};
use tch::Tensor;

use super::crew::{InTurns, each, threads};
use super::head::{Head, HeadUpstream};
use super::matrix::{Matrix, Number, elements};

/// What is known of one position.
#[derive(Clone, Copy)]
pub(super) struct Prediction {
    pub(super) distribution: Distribution,
    /// Log-probability of the target, nats.
    pub(super) logp: f64,
}

/// Tokens of a tile, and positions: a mebibyte of f32.
const TOKENS: usize = 512;
const POSITIONS: usize = 512;

/// `start` and length of the tiles of a side.
fn tiles(length: usize, size: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    (0..length)
        .step_by(size)
        .map(move |start| (start, size.min(length - start)))
}

fn rows<T>(x: &[T], width: usize, (start, length): (usize, usize)) -> &[T] {
    &x[start * width..][..length * width]
}

/// Parts of a matrix of so many rows each, which are changed in turns.
fn parts<T>(x: &mut [T], width: usize, size: usize) -> Vec<InTurns<&mut [T]>> {
    x.chunks_mut((size * width).max(1))
        .map(InTurns::new)
        .collect()
}

/// What the tiles of tokens so far say of one position.
#[derive(Clone, Copy)]
struct Seen {
    weights: Weights,
    /// Of the target, over the temperature.
    logit: f64,
}

/// For hidden states `[position, hidden]`.
pub(super) fn predictions<T: Number>(head: &Head<'_>, hidden: &Tensor) -> Vec<Prediction> {
    let targets = elements::<i64>(head.targets);
    let (hidden, width) = (elements::<T>(hidden), hidden.size()[1] as usize);
    let (weight, vocab) = (elements::<T>(head.weight), head.weight.size()[0] as usize);
    let temperature = head.temperature;
    let nothing = Seen {
        weights: Weights::NOTHING,
        logit: 0.0,
    };
    let mut seen = vec![nothing; targets.len()];
    let places = parts(&mut seen, 1, POSITIONS);
    each(
        threads(),
        tiles(vocab, TOKENS),
        || Matrix::<T>::new(0, TOKENS),
        |crew, logits, turn, tokens| {
            let weight = Packed::transposed(rows(weight, width, tokens), width, tokens.1);
            for (positions, place) in tiles(targets.len(), POSITIONS).zip(&places) {
                let logits = logits.cells_mut(positions.1, tokens.1);
                T::set_product(rows(hidden, width, positions), &weight, logits);
                let targets = rows(targets, 1, positions);
                crew.at(place, turn, |seen| {
                    let each = seen.iter_mut().zip(targets).zip(logits.chunks(tokens.1));
                    for ((seen, &target), logits) in each {
                        T::add_weights(logits, temperature, &mut seen.weights);
                        if let Some(logit) = logits.get((target as usize).wrapping_sub(tokens.0)) {
                            seen.logit = logit.to_f64() / temperature;
                        }
                    }
                });
            }
        },
    );
    let of_position = |seen: &Seen| {
        let distribution = seen.weights.distribution(temperature);
        Prediction {
            distribution,
            logp: seen.logit - distribution.log_sum,
        }
    };
    seen.iter().map(of_position).collect()
}

/// The gradients by the hidden states and by the weight; logits are computed once more.
pub(super) fn backward<T: Number>(
    head: &Head<'_>,
    hidden: &Tensor,
    predictions: &[Prediction],
    upstream: &HeadUpstream,
) -> (Tensor, Tensor) {
    let targets = elements::<i64>(head.targets);
    let (weight, vocab) = (elements::<T>(head.weight), head.weight.size()[0] as usize);
    let upstreams = [&upstream.logp, &upstream.entropy, &upstream.logits];
    let upstreams = upstreams.map(|upstream| upstream.as_ref().map(Tensor::contiguous));
    let [by_logp, by_entropy, by_logits] = upstreams
        .each_ref()
        .map(|upstream| upstream.as_ref().map(elements::<T>));
    let at = |upstream: Option<&[T]>, position: usize| {
        upstream.map_or(0.0, |upstream| upstream[position].to_f64())
    };
    let (hidden, width) = (elements::<T>(hidden), hidden.size()[1] as usize);
    let temperature = head.temperature;
    let mut hidden_gradient = Matrix::new(targets.len(), width);
    let mut weight_gradient = Matrix::new(vocab, width);
    let places = parts(hidden_gradient.slice_mut(), width, POSITIONS);
    let by_weight = weight_gradient.slice_mut().chunks_mut(TOKENS * width);
    each(
        threads(),
        tiles(vocab, TOKENS).zip(by_weight),
        || Matrix::<T>::new(0, TOKENS),
        |crew, logits, turn, (tokens, by_weight)| {
            let weight = rows(weight, width, tokens);
            let there = Packed::transposed(weight, width, tokens.1);
            let back = Packed::new(weight, tokens.1, width);
            for (positions, place) in tiles(targets.len(), POSITIONS).zip(&places) {
                let states = rows(hidden, width, positions);
                let logits = logits.cells_mut(positions.1, tokens.1);
                T::set_product(states, &there, logits);
                for (position, logits) in (positions.0..).zip(logits.chunks_mut(tokens.1)) {
                    let (by_logp, by_entropy) = (at(by_logp, position), at(by_entropy, position));
                    let distribution = predictions[position].distribution;
                    T::distribution_backward(
                        logits,
                        temperature,
                        distribution,
                        by_logp,
                        by_entropy,
                    );
                    let target = (targets[position] as usize).wrapping_sub(tokens.0);
                    if let Some(gradient) = logits.get_mut(target) {
                        *gradient += T::from_f64(by_logp / temperature);
                    }
                    if let Some(by_logits) = by_logits {
                        let from = &by_logits[position * vocab + tokens.0..][..tokens.1];
                        for (gradient, &from) in logits.iter_mut().zip(from) {
                            *gradient += from;
                        }
                    }
                }
                T::add_product_across(logits, tokens.1, states, width, by_weight);
                crew.at(place, turn, |by_hidden| {
                    T::add_product(logits, &back, by_hidden);
                });
            }
        },
    );
    drop(places);
    (hidden_gradient.into_tensor(), weight_gradient.into_tensor())
}
