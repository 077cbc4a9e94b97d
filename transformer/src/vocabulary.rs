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
    /// Over no token at all.
    pub const NOTHING: Distribution = Distribution {
        log_sum: f64::NEG_INFINITY,
        mean: 0.0,
    };

    /// Nats.
    pub fn entropy(&self) -> f64 {
        self.log_sum - self.mean
    }

    /// That over the tokens of two parts.
    #[must_use]
    pub fn with(self, other: Distribution) -> Distribution {
        if self.log_sum == f64::NEG_INFINITY {
            return other;
        }
        let share = 1.0 / (1.0 + (other.log_sum - self.log_sum).exp());
        Distribution {
            log_sum: self.log_sum - share.ln(),
            mean: share * self.mean + (1.0 - share) * other.mean,
        }
    }
}

/// Weights of so many tokens are added up in the scalar's own precision, and these sums in f64.
const BLOCK: usize = 256;

#[inline(always)]
pub(crate) fn distribution<V: Vector>(logits: &[V::Scalar], temperature: f64) -> Distribution {
    let largest = largest::<V>(logits);
    let (mut sum, mut moment) = (0.0, 0.0);
    for logits in logits.chunks(BLOCK) {
        let mut sums = [V::zero(); 2];
        blocks!(V, logits.len(), |at| {
            let x = below::<V>(logits, at, largest, temperature);
            let weight = x.exp();
            sums[0] = sums[0].add(weight);
            sums[1] = weight.mul_add(x, sums[1]);
        });
        sum += sums[0].sum().to_f64();
        moment += sums[1].sum().to_f64();
    }
    let largest = largest.to_f64() / temperature;
    Distribution {
        log_sum: largest + sum.ln(),
        mean: largest + moment / sum,
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
    let slope = constant(-by_entropy / temperature);
    let offset = constant(-(by_logp + by_entropy * distribution.entropy()) / temperature);
    blocks!(V, logits.len(), |at| {
        let logp = V::load(logits, at).mul_add(inverse, log_sum);
        let gradient = logp.exp().mul(logp.mul_add(slope, offset));
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
            let weight = below::<V>(logits, at, largest, temperature).exp();
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
