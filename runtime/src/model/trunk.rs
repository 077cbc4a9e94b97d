//! The layers of the transformer, from token ids to the last residual stream, by libtorch's operations.
//!
//! Llama's form (Touvron et al. 2023, arXiv:2302.13971): pre-normalisation by RMSNorm, rotary positions
//! (arXiv:2104.09864, halves paired as in the Hugging Face layout), grouped-query attention (arXiv:2305.13245)
//! and a SwiGLU feed-forward layer (arXiv:2002.05202), all without biases; and what [`Form`] changes of it.

use std::slice;

use tch::{Kind, Tensor};

use super::CausalLmConfig;
use super::attention::{Sight, causal_attention};
use super::{Activation, Form};

/// The parameters by their role, borrowed from a list in the order of [`super::CausalLm::parameters`].
pub(crate) struct Weights<'a> {
    pub(crate) embedding: &'a Tensor,
    pub(crate) layers: Vec<Layer<'a>>,
    pub(crate) norm: &'a Tensor,
}

pub(crate) struct Layer<'a> {
    attention_norm: &'a Tensor,
    query_key_value: Linear<'a>,
    query_norm: Option<&'a Tensor>,
    key_norm: Option<&'a Tensor>,
    attention_output: Linear<'a>,
    attention_post_norm: Option<&'a Tensor>,
    ffn_norm: &'a Tensor,
    gate_up: Linear<'a>,
    down: Linear<'a>,
    ffn_post_norm: Option<&'a Tensor>,
    pub(crate) is_local: bool,
}

/// Linear maps of one input.
enum Linear<'a> {
    /// Each with its weight and bias.
    Apart(Vec<(&'a Tensor, Option<&'a Tensor>)>),
    /// One product for all, their outputs side by side; worth a copy of the weights where rows are few.
    Joined(Tensor, Option<Tensor>, Vec<i64>),
}

/// Parameters one after the other, in their order.
struct Next<'a>(slice::Iter<'a, Tensor>);

impl<'a> Next<'a> {
    fn one(&mut self) -> &'a Tensor {
        self.0
            .next()
            .unwrap_or_else(|| panic!("parameters in the model's order"))
    }

    fn one_if(&mut self, is_there: bool) -> Option<&'a Tensor> {
        is_there.then(|| self.one())
    }

    fn linear(&mut self, count: usize, has_bias: bool) -> Linear<'a> {
        Linear::Apart(
            (0..count)
                .map(|_| (self.one(), self.one_if(has_bias)))
                .collect(),
        )
    }

    fn layer(&mut self, form: &Form, is_local: bool) -> Layer<'a> {
        Layer {
            attention_norm: self.one(),
            query_key_value: self.linear(3, form.bias.query_key_value),
            query_norm: self.one_if(form.head_norms),
            key_norm: self.one_if(form.head_norms),
            attention_output: self.linear(1, form.bias.attention_output),
            attention_post_norm: self.one_if(form.post_norms),
            ffn_norm: self.one(),
            gate_up: self.linear(2, form.bias.ffn),
            down: self.linear(1, form.bias.ffn),
            ffn_post_norm: self.one_if(form.post_norms),
            is_local,
        }
    }
}

impl<'a> Weights<'a> {
    pub(crate) fn new(config: &CausalLmConfig, parameters: &'a [Tensor]) -> Weights<'a> {
        let mut next = Next(parameters.iter());
        let embedding = next.one();
        let layers = 0..config.layers as usize;
        let layers = layers.map(|layer| next.layer(&config.form, config.is_local(layer)));
        Weights {
            embedding,
            layers: layers.collect(),
            norm: next.one(),
        }
    }

    /// The same weights with fewer, wider products, for decoding.
    pub(crate) fn joined(mut self) -> Weights<'a> {
        for layer in &mut self.layers {
            layer.query_key_value.join();
            layer.gate_up.join();
        }
        self
    }
}

impl Linear<'_> {
    fn join(&mut self) {
        if let Linear::Apart(maps) = self {
            let weights: Vec<&Tensor> = maps.iter().map(|(weight, _)| *weight).collect();
            let biases: Option<Vec<&Tensor>> = maps.iter().map(|(_, bias)| *bias).collect();
            let sizes = weights.iter().map(|weight| weight.size()[0]).collect();
            let bias = biases.map(|biases| Tensor::cat(&biases, 0));
            *self = Linear::Joined(Tensor::cat(&weights, 0), bias, sizes);
        }
    }

    fn apply(&self, input: &Tensor) -> Vec<Tensor> {
        match self {
            Linear::Apart(maps) => maps
                .iter()
                .map(|&(weight, bias)| input.linear(weight, bias))
                .collect(),
            Linear::Joined(weight, bias, sizes) => input
                .linear(weight, bias.as_ref())
                .split_with_sizes(sizes, -1),
        }
    }

    /// Of a single map.
    fn apply_one(&self, input: &Tensor) -> Tensor {
        self.apply(input).swap_remove(0)
    }
}

impl Layer<'_> {
    /// One layer on `[rows, length, hidden]`. `attend` maps queries `[rows, length, heads, width]`, keys and values
    /// `[rows, length, kv_heads, width]`, turned by the rotations, to `[rows, length, heads, width]`.
    pub(crate) fn apply(
        &self,
        config: &CausalLmConfig,
        input: &Tensor,
        rotations: &Rotations,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Tensor,
    ) -> Tensor {
        let split = |x: &Tensor| x.unflatten(-1, [-1, config.head_width()]);
        let maybe_norm = |x: Tensor, norm: Option<&Tensor>| match norm {
            Some(norm) => rms_norm(config, &x, norm),
            None => x,
        };

        let normed = rms_norm(config, input, self.attention_norm);
        let projected = self.query_key_value.apply(&normed);
        let rotation = rotations.of(self.is_local);
        let query = rotation.apply(&maybe_norm(split(&projected[0]), self.query_norm));
        let key = rotation.apply(&maybe_norm(split(&projected[1]), self.key_norm));
        let mixed = attend(&query, &key, &split(&projected[2])).flatten(2, 3);
        let mixed = self.attention_output.apply_one(&mixed);
        let attended = input + maybe_norm(mixed, self.attention_post_norm);

        let normed = rms_norm(config, &attended, self.ffn_norm);
        let gates = self.gate_up.apply(&normed);
        let gate = match config.form.activation {
            Activation::Silu => gates[0].silu(),
            Activation::GeluTanh => gates[0].gelu("tanh"),
        };
        let fed = self.down.apply_one(&(gate * &gates[1]));
        attended + maybe_norm(fed, self.ffn_post_norm)
    }
}

/// What all layers share when they read sequences from position 0 on: where they turn, and what they see.
pub(super) struct Reading {
    rotations: Rotations,
    sight: Sight,
}

impl Reading {
    /// Of token ids `[rows, length]`, by parameters of this kind.
    pub(super) fn new(config: &CausalLmConfig, tokens: &Tensor, kind: Kind) -> Reading {
        let (length, device) = (tokens.size()[1], tokens.device());
        let positions = Tensor::arange(length, (Kind::Int64, device));
        Reading {
            rotations: Rotations::new(config, &positions, kind),
            sight: Sight::causal(config, length, device),
        }
    }

    pub(super) fn layer(
        &self,
        config: &CausalLmConfig,
        layer: &Layer<'_>,
        stream: &Tensor,
    ) -> Tensor {
        let seen = self.sight.of(layer.is_local);
        layer.apply(config, stream, &self.rotations, |query, key, value| {
            causal_attention(config, query, key, value, seen)
        })
    }
}

/// The residual stream `[rows, length, hidden]` after the last layer, before its normalisation, for token ids
/// `[rows, length]` that start at position 0.
pub(super) fn trunk(config: &CausalLmConfig, weights: &Weights, tokens: &Tensor) -> Tensor {
    let mut stream = embed(config, weights.embedding, tokens);
    let reading = Reading::new(config, tokens, stream.kind());
    for layer in &weights.layers {
        stream = reading.layer(config, layer, &stream);
    }
    stream
}

/// The residual stream after every layer, `[rows, length, layer, hidden]`.
pub(super) fn states(config: &CausalLmConfig, weights: &Weights, tokens: &Tensor) -> Tensor {
    let mut stream = embed(config, weights.embedding, tokens);
    let reading = Reading::new(config, tokens, stream.kind());
    let mut states = Vec::new();
    for layer in &weights.layers {
        stream = reading.layer(config, layer, &stream);
        states.push(stream.shallow_clone());
    }
    Tensor::stack(&states, 2)
}

pub(crate) fn embed(config: &CausalLmConfig, embedding: &Tensor, tokens: &Tensor) -> Tensor {
    let entries = Tensor::embedding(embedding, tokens, -1, false, false);
    match config.form.embedding_scale {
        // The factor is rounded to the kind of the weights first, as it was when the model was trained.
        Some(scale) => {
            let scale = Tensor::from(scale).to_kind(entries.kind());
            entries * scale.to_device(embedding.device())
        }
        None => entries,
    }
}

/// The kind that sums of elements of `kind` are taken in.
pub(crate) fn wide(kind: Kind) -> Kind {
    if kind == Kind::Double {
        Kind::Double
    } else {
        Kind::Float
    }
}

/// Over the last dimension.
pub(crate) fn rms_norm(config: &CausalLmConfig, input: &Tensor, weight: &Tensor) -> Tensor {
    let (width, kind, eps) = (weight.size()[0], input.kind(), config.norm_eps);
    let is_wide = wide(kind) == kind;
    if is_wide && !config.form.norms_from_one {
        return input.rms_norm(width, Some(weight), eps);
    }
    let normed = input
        .to_kind(wide(kind))
        .rms_norm(width, None::<&Tensor>, eps);
    // Rounded where the models were when they were trained: Llama before the weight, Gemma after it.
    if config.form.norms_from_one {
        (normed * (weight.to_kind(wide(kind)) + 1.0)).to_kind(kind)
    } else {
        normed.to_kind(kind) * weight
    }
}

/// What positions `[.., hidden]` say of the next token, `[.., vocab]`, by the weight of the head.
pub(crate) fn logits(config: &CausalLmConfig, hidden: &Tensor, weight: &Tensor) -> Tensor {
    let logits = hidden.linear(weight, None::<&Tensor>);
    let logits = logits.to_kind(wide(hidden.kind()));
    match config.form.logit_cap {
        Some(cap) => (logits / cap).tanh() * cap,
        None => logits,
    }
}

/// The rotations of queries and keys by their positions, in layers of either kind.
pub(crate) struct Rotations {
    far: Rotation,
    /// If local layers turn in another way.
    near: Option<Rotation>,
}

struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotations {
    /// For positions of shape `[length]`, shared by all rows, or `[rows, length]`.
    pub(crate) fn new(config: &CausalLmConfig, positions: &Tensor, kind: Kind) -> Rotations {
        let rotation = |is_local| {
            let frequencies = Tensor::from_slice(&config.rope_frequencies(is_local));
            Rotation::new(positions, &frequencies, kind)
        };
        let local = config.form.local.as_ref();
        let theta = local.and_then(|local| local.rope_theta);
        Rotations {
            far: rotation(false),
            near: theta.map(|_| rotation(true)),
        }
    }

    fn of(&self, is_local: bool) -> &Rotation {
        let near = self.near.as_ref().filter(|_| is_local);
        near.unwrap_or(&self.far)
    }
}

impl Rotation {
    fn new(positions: &Tensor, frequencies: &Tensor, kind: Kind) -> Rotation {
        let angles = positions.unsqueeze(-1).to_kind(Kind::Double)
            * frequencies.to_device(positions.device());
        let angles = angles.unsqueeze(-2);
        Rotation {
            cos: angles.cos().to_kind(kind),
            sin: angles.sin().to_kind(kind),
        }
    }

    /// `x` is `[rows, length, heads, width]`; element i turns with element i + width / 2.
    fn apply(&self, x: &Tensor) -> Tensor {
        let halves = x.chunk(2, -1);
        let (first, second) = (&halves[0], &halves[1]);
        let turned_first = first * &self.cos - second * &self.sin;
        let turned_second = second * &self.cos + first * &self.sin;
        Tensor::cat(&[turned_first, turned_second], -1)
    }
}
