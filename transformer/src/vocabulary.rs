//! The distribution over the vocabulary: its normaliser, and draws from it.

use crate::vector::{Block, Scalar, Vector, blocks};

/// A token and what its distribution said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    pub token: usize,
    /// Nats.
    pub logp: f64,
}

/// A distribution over (a part of) the vocabulary, softmax(logits / temperature).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// ln Σ e^(logit / temperature).
    pub log_sum: f64,
    /// The mean of logit / temperature.
    pub mean: f64,
}

impl Distribution {
    /// Nats.
    pub fn entropy(&self) -> f64 {
        self.log_sum - self.mean
    }
}

/// What tokens weigh so far, relative to the likeliest of them: e^((logit − largest) / temperature).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// The largest logit.
    largest: f64,
    sum: f64,
    /// Σ weight · (logit − largest) / temperature.
    moment: f64,
}

impl Weights {
    /// Of no token at all.
    pub const NOTHING: Weights = Weights {
        largest: f64::NEG_INFINITY,
        sum: 0.0,
        moment: 0.0,
    };

    /// The distribution over all these tokens, at the temperature that they were added at.
    pub fn distribution(&self, temperature: f64) -> Distribution {
        let largest = self.largest / temperature;
        Distribution {
            log_sum: largest + self.sum.ln(),
            mean: largest + self.moment / self.sum,
        }
    }

    /// The same relative to a larger logit.
    fn below(&mut self, largest: f64, temperature: f64) {
        if self.sum > 0.0 {
            let step = (self.largest - largest) / temperature;
            let factor = step.exp();
            self.moment = factor * step.mul_add(self.sum, self.moment);
            self.sum *= factor;
        }
        self.largest = largest;
    }
}

/// Weights of so many tokens are added up in the scalar's own precision, and these sums in f64.
const BLOCK: usize = 256;

#[inline(always)]
pub(crate) fn distribution<V: Vector>(logits: &[V::Scalar], temperature: f64) -> Distribution {
    let mut weights = Weights::NOTHING;
    add_weights::<V>(logits, temperature, &mut weights);
    weights.distribution(temperature)
}

#[inline(always)]
pub(crate) fn add_weights<V: Vector>(
    logits: &[V::Scalar],
    temperature: f64,
    weights: &mut Weights,
) {
    let largest = largest::<V>(logits).to_f64();
    if largest > weights.largest {
        weights.below(largest, temperature);
    }
    let largest = V::Scalar::from_f64(weights.largest);
    for logits in logits.chunks(BLOCK) {
        let mut sums = [V::zero(); 2];
        blocks!(V, logits.len(), |at| {
            let x = below::<V>(logits, at, largest, temperature);
            let weight = x.exp_in_range();
            sums[0] = sums[0].add(weight);
            sums[1] = weight.mul_add(x, sums[1]);
        });
        weights.sum += sums[0].sum().to_f64();
        weights.moment += sums[1].sum().to_f64();
    }
}

/// With p = softmax(z): ∂logp/∂z = onehot − p, and of the entropy H: ∂H/∂z = −p (log p + H).
#[inline(always)]
pub(crate) fn distribution_backward<V: Vector>(
    logits: &mut [V::Scalar],
    temperature: f64,
    distribution: Distribution,
    by_logp: f64,
    by_entropy: f64,
) {
    let constant = |x: f64| V::splat(V::Scalar::from_f64(x));
    let (inverse, log_sum) = (constant(1.0 / temperature), constant(-distribution.log_sum));
    let lowest = constant(V::Scalar::EXP_RANGE[0]);
    let slope = constant(-by_entropy / temperature);
    let offset = constant(-(by_logp + by_entropy * distribution.entropy()) / temperature);
    blocks!(V, logits.len(), |at| {
        let logp = lowest.max(V::load(logits, at).mul_add(inverse, log_sum));
        let gradient = logp.exp_in_range().mul(logp.mul_add(slope, offset));
        gradient.store(logits, at);
    });
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
        let mut sum = V::zero();
        blocks!(V, logits.len(), |at| {
            let weight = below::<V>(logits, at, largest, temperature).exp_in_range();
            weight.store(weights, at);
            sum = sum.add(weight);
        });
        sums[index * BLOCK / wide] += sum.sum().to_f64();
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

/// (x − largest) / temperature, or what `exp` makes 0 of; that too beyond the end of the slice.
#[inline(always)]
fn below<V: Vector>(x: &[V::Scalar], at: Block, largest: V::Scalar, temperature: f64) -> V {
    let lowest = V::Scalar::from_f64(f64::NEG_INFINITY);
    let factor = V::splat(V::Scalar::from_f64(1.0 / temperature));
    let x = V::load_or(x, at, lowest).sub(V::splat(largest)).mul(factor);
    V::splat(V::Scalar::from_f64(V::Scalar::EXP_RANGE[0])).max(x)
}
