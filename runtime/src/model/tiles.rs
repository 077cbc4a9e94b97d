//! The head on the CPU: logits of some positions for some tokens at a time, in tiles that never leave the cache.

use rlp_transformer::Distribution;
use tch::Tensor;

use super::head::{Head, HeadUpstream};
use super::joined::{Direction, packed};
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
fn tiles(length: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length)
        .step_by(size)
        .map(move |start| (start, size.min(length - start)))
}

fn part(x: &Tensor, (start, length): (usize, usize)) -> Tensor {
    x.narrow(0, start as i64, length as i64)
}

fn rows<T>(x: &[T], width: usize, (start, length): (usize, usize)) -> &[T] {
    &x[start * width..][..length * width]
}

fn rows_mut<T>(x: &mut [T], width: usize, (start, length): (usize, usize)) -> &mut [T] {
    &mut x[start * width..][..length * width]
}

/// For hidden states `[position, hidden]`.
pub(super) fn predictions<T: Number>(head: &Head<'_>, hidden: &Tensor) -> Vec<Prediction> {
    let targets = elements::<i64>(head.targets);
    let (hidden, width) = (elements::<T>(hidden), hidden.size()[1] as usize);
    let mut predictions = vec![
        Prediction {
            distribution: Distribution::NOTHING,
            logp: 0.0,
        };
        targets.len()
    ];
    for tokens in tiles(head.weight.size()[0] as usize, TOKENS) {
        let weight = packed(&[part(head.weight, tokens)], Direction::There);
        let mut logits = Matrix::<T>::new(0, tokens.1);
        for positions in tiles(targets.len(), POSITIONS) {
            logits.set_rows(positions.1);
            T::set_product(rows(hidden, width, positions), &weight, logits.slice_mut());
            for row in 0..positions.1 {
                let (position, logits) = (positions.0 + row, logits.row(row));
                let distribution = T::distribution(logits, head.temperature);
                let prediction = &mut predictions[position];
                prediction.distribution = prediction.distribution.with(distribution);
                if let Some(logit) = logits.get((targets[position] as usize).wrapping_sub(tokens.0))
                {
                    prediction.logp = logit.to_f64() / head.temperature;
                }
            }
        }
    }
    for prediction in &mut predictions {
        prediction.logp -= prediction.distribution.log_sum;
    }
    predictions
}

/// The gradients by the hidden states and by the weight; logits are computed once more.
pub(super) fn backward<T: Number>(
    head: &Head<'_>,
    hidden: &Tensor,
    predictions: &[Prediction],
    upstream: &HeadUpstream,
) -> (Tensor, Tensor) {
    let targets = elements::<i64>(head.targets);
    let vocab = head.weight.size()[0] as usize;
    let upstreams = [&upstream.logp, &upstream.entropy, &upstream.logits];
    let upstreams = upstreams.map(|upstream| upstream.as_ref().map(Tensor::contiguous));
    let [by_logp, by_entropy, by_logits] = upstreams
        .each_ref()
        .map(|upstream| upstream.as_ref().map(elements::<T>));
    let at = |upstream: Option<&[T]>, position: usize| {
        upstream.map_or(0.0, |upstream| upstream[position].to_f64())
    };
    let (hidden, width) = (elements::<T>(hidden), hidden.size()[1] as usize);
    let mut hidden_gradient = Matrix::new(targets.len(), width);
    let mut weight_gradient = Matrix::new(vocab, width);
    for tokens in tiles(vocab, TOKENS) {
        let weight = [part(head.weight, tokens)];
        let (there, back) = (
            packed(&weight, Direction::There),
            packed(&weight, Direction::Back),
        );
        let mut logits = Matrix::<T>::new(0, tokens.1);
        for positions in tiles(targets.len(), POSITIONS) {
            let states = rows(hidden, width, positions);
            logits.set_rows(positions.1);
            T::set_product(states, &there, logits.slice_mut());
            for row in 0..positions.1 {
                let position = positions.0 + row;
                let (by_logp, by_entropy) = (at(by_logp, position), at(by_entropy, position));
                let distribution = predictions[position].distribution;
                let logits = logits.row_mut(row);
                T::distribution_backward(
                    logits,
                    head.temperature,
                    distribution,
                    by_logp,
                    by_entropy,
                );
                let target = (targets[position] as usize).wrapping_sub(tokens.0);
                if let Some(gradient) = logits.get_mut(target) {
                    *gradient += T::from_f64(by_logp / head.temperature);
                }
                if let Some(by_logits) = by_logits {
                    let from = &by_logits[position * vocab + tokens.0..][..tokens.1];
                    for (gradient, &from) in logits.iter_mut().zip(from) {
                        *gradient += from;
                    }
                }
            }
            let by_hidden = rows_mut(hidden_gradient.slice_mut(), width, positions);
            T::add_product(logits.slice(), &back, by_hidden);
            let by_weight = rows_mut(weight_gradient.slice_mut(), width, tokens);
            T::add_product_across(logits.slice(), tokens.1, states, width, by_weight);
        }
    }
    (hidden_gradient.into_tensor(), weight_gradient.into_tensor())
}
