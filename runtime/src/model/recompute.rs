//! A way through the layers that keeps only what entered each, and computes a layer again on the way back through it
//! (gradient checkpointing; Chen et al. 2016, arXiv:1604.06174).

use tch::{Tensor, no_grad};

use super::CausalLmConfig;
use super::trunk::{Reading, Weights, embed, rms_norm};

/// What entered the layers.
pub(super) struct Entries {
    tokens: Tensor,
    positions: Tensor,
    /// The residual stream before each layer, and after the last.
    streams: Vec<Tensor>,
}

/// The normalised hidden states at flat `positions` of token ids `[rows, length]`, without gradient.
pub(super) fn read(
    config: &CausalLmConfig,
    leaves: &[Tensor],
    tokens: &Tensor,
    positions: &Tensor,
) -> (Tensor, Entries) {
    no_grad(|| {
        let weights = Weights::new(config, leaves);
        let mut streams = vec![embed(config, weights.embedding, tokens)];
        let reading = Reading::new(config, tokens, streams[0].kind());
        for layer in &weights.layers {
            let next = reading.layer(config, layer, &streams[streams.len() - 1]);
            streams.push(next);
        }
        let hidden = hidden(config, &weights, &streams[streams.len() - 1], positions);
        let entries = Entries {
            tokens: tokens.shallow_clone(),
            positions: positions.shallow_clone(),
            streams,
        };
        (hidden, entries)
    })
}

/// The normalised hidden states `[position, hidden]` at some of the positions of a stream.
pub(super) fn hidden(
    config: &CausalLmConfig,
    weights: &Weights<'_>,
    stream: &Tensor,
    positions: &Tensor,
) -> Tensor {
    let predicting = stream.flatten(0, 1).index_select(0, positions);
    rms_norm(config, &predicting, weights.norm)
}

impl Entries {
    /// The gradients by the leaves, undefined where there is none, from that by the hidden states.
    pub(super) fn backward(
        mut self,
        config: &CausalLmConfig,
        leaves: &[Tensor],
        hidden_gradient: &Tensor,
    ) -> Vec<Tensor> {
        let weights = Weights::new(config, leaves);
        let reading = Reading::new(config, &self.tokens, self.streams[0].kind());
        let mut gradient = hidden_gradient.shallow_clone();
        if let Some(last) = self.streams.pop() {
            gradient = through(last, &gradient, |stream| {
                hidden(config, &weights, stream, &self.positions)
            });
        }
        for layer in weights.layers.iter().rev() {
            if let Some(entry) = self.streams.pop() {
                gradient = through(entry, &gradient, |stream| {
                    reading.layer(config, layer, stream)
                });
            }
        }
        let embedded = embed(config, weights.embedding, &self.tokens);
        surrogate(&embedded, &gradient).backward();
        leaves.iter().map(Tensor::grad).collect()
    }
}

/// The gradient by what entered a part, from that by what it gives; those by leaves inside add up in the leaves.
fn through(entry: Tensor, gradient: &Tensor, part: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let entry = entry.set_requires_grad(true);
    surrogate(&part(&entry), gradient).backward();
    entry.grad()
}

/// A scalar whose gradient by `output` is `gradient`.
fn surrogate(output: &Tensor, gradient: &Tensor) -> Tensor {
    (output * gradient).sum(output.kind())
}
