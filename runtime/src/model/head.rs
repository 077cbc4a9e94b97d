//! From hidden states to log-probabilities over the vocabulary and back, in chunks of positions.
//!
//! The logits of a whole batch are the largest tensor of training by far (4096 positions of a 32768-token vocabulary
//! are half a gigabyte in f32, and autograd would keep three of them), so they are never held: a chunk's logits live
//! only until its results are taken, and the backward pass computes them again and differentiates in closed form.

use tch::{Device, Tensor};

use super::CausalLmConfig;
use super::trunk::{logits, wide};

/// The last linear map, the tokens in question, and the temperature that divides its logits.
pub(super) struct Head<'a> {
    pub(super) config: &'a CausalLmConfig,
    /// `[vocab, hidden]`.
    pub(super) weight: &'a Tensor,
    /// int64 `[position]`.
    pub(super) targets: &'a Tensor,
    pub(super) temperature: f64,
}

/// The gradient of a scalar by what the head computes, `[position]` and for logits `[position, vocab]`.
pub(super) struct HeadUpstream {
    pub(super) logp: Option<Tensor>,
    pub(super) entropy: Option<Tensor>,
    pub(super) logits: Option<Tensor>,
}

impl Head<'_> {
    /// `[position]`: log-probability of each target, nats, for hidden states `[position, hidden]`.
    pub(super) fn logp(&self, hidden: &Tensor) -> Tensor {
        self.map_chunks(hidden, |scaled, targets| {
            scaled
                .gather(-1, &targets.unsqueeze(-1), false)
                .squeeze_dim(-1)
                - scaled.logsumexp(-1, false)
        })
    }

    /// `[position]`: entropy of each next-token distribution, nats.
    pub(super) fn entropy(&self, hidden: &Tensor) -> Tensor {
        self.map_chunks(hidden, |scaled, _| {
            let logp = scaled.log_softmax(-1, None);
            entropy_of(&logp, &logp.exp())
        })
    }

    /// The gradients by the hidden states and by the weight.
    ///
    /// With z the logits over the temperature T, p = softmax(z) and H its entropy:
    /// ∂logp/∂z = onehot − p,  ∂H/∂z = −p (log p + H),  ∂z/∂logits = 1/T.
    pub(super) fn backward(&self, hidden: &Tensor, upstream: &HeadUpstream) -> (Tensor, Tensor) {
        let kind = hidden.kind();
        let like = (wide(kind), hidden.device());
        let mut weight_gradient = Tensor::zeros(self.weight.size(), like);
        let hidden_gradient = hidden.empty_like();
        for (start, length) in self.chunks(hidden) {
            let chunk = |x: &Tensor| x.narrow(0, start, length);
            let states = chunk(hidden);
            let mut logits_gradient =
                self.chunk_gradient(&states, &chunk(self.targets), upstream, chunk);
            if let Some(logits) = &upstream.logits {
                logits_gradient += chunk(logits);
            }
            if let Some(cap) = self.config.form.logit_cap {
                // The derivative of c · tanh(s / c) by s, from its value.
                let capped = logits(self.config, &states, self.weight) / cap;
                logits_gradient *= 1.0 - capped.square();
            }
            let logits_gradient = logits_gradient.to_kind(kind);
            chunk(&hidden_gradient).copy_(&logits_gradient.matmul(self.weight));
            weight_gradient += logits_gradient.tr().matmul(&states);
        }
        (hidden_gradient, weight_gradient)
    }

    fn chunk_gradient(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        upstream: &HeadUpstream,
        chunk: impl Fn(&Tensor) -> Tensor,
    ) -> Tensor {
        if upstream.logp.is_none() && upstream.entropy.is_none() {
            return Tensor::zeros(
                [hidden.size()[0], self.weight.size()[0]],
                (wide(hidden.kind()), hidden.device()),
            );
        }
        // In place where it can be: fresh memory for every step costs more than the arithmetic.
        let logp = self.scaled_logits(hidden).log_softmax(-1, None);
        let mut p = logp.exp();
        let mut gradient = match &upstream.entropy {
            Some(entropy_upstream) => {
                let entropy = entropy_of(&logp, &p).unsqueeze(-1);
                let mut gradient = logp;
                gradient += entropy;
                gradient *= &p;
                gradient *= -chunk(entropy_upstream).unsqueeze(-1);
                gradient
            }
            None => p.zeros_like(),
        };
        if let Some(logp_upstream) = &upstream.logp {
            let by_target = chunk(logp_upstream).unsqueeze(-1);
            p *= &by_target;
            gradient -= p;
            let _ = gradient.scatter_add_(-1, &targets.unsqueeze(-1), &by_target);
        }
        gradient /= self.temperature;
        gradient
    }

    fn map_chunks(&self, hidden: &Tensor, of: impl Fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
        // In place: results that lay between the chunks' logits would keep the allocator from using their memory again.
        let results = Tensor::empty([hidden.size()[0]], (wide(hidden.kind()), hidden.device()));
        for (start, length) in self.chunks(hidden) {
            let scaled = self.scaled_logits(&hidden.narrow(0, start, length));
            let of_chunk = of(&scaled, &self.targets.narrow(0, start, length));
            results.narrow(0, start, length).copy_(&of_chunk);
        }
        results
    }

    fn scaled_logits(&self, hidden: &Tensor) -> Tensor {
        let mut scaled = logits(self.config, hidden, self.weight);
        scaled /= self.temperature;
        scaled
    }

    /// Start and length of each chunk of positions.
    fn chunks(&self, hidden: &Tensor) -> impl Iterator<Item = (i64, i64)> + use<> {
        // Elements of a chunk's logits: 16 MiB of f32 on the CPU, where more gains nothing; 256 MiB on a GPU,
        // so that even a vocabulary of 150,000 leaves products of several hundred rows.
        let elements = if hidden.device() == Device::Cpu {
            1 << 22
        } else {
            1 << 26
        };
        let chunk = (elements / self.weight.size()[0]).max(1);
        let positions = hidden.size()[0];
        let starts = (0..positions).step_by(chunk as usize);
        starts.map(move |start| (start, chunk.min(positions - start)))
    }
}

fn entropy_of(logp: &Tensor, p: &Tensor) -> Tensor {
    -(logp * p).sum_dim_intlist(-1, false, None)
}
