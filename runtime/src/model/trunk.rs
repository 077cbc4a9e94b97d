//! The layers of the transformer, from token ids to the last residual stream.
//!
//! Llama's form (Touvron et al. 2023, arXiv:2302.13971): pre-normalisation by RMSNorm, rotary positions
//! (arXiv:2104.09864, halves paired as in the Hugging Face layout), grouped-query attention (arXiv:2305.13245)
//! and a SwiGLU feed-forward layer (arXiv:2002.05202), all without biases.

use tch::{Kind, Tensor};

use super::config::CausalLmConfig;

/// The parameters by their role, borrowed from a list in the order of [`super::CausalLm::parameters`].
pub(crate) struct Weights<'a> {
    pub(crate) embedding: &'a Tensor,
    pub(crate) layers: Vec<Layer<'a>>,
    pub(crate) norm: &'a Tensor,
}

pub(crate) struct Layer<'a> {
    attention_norm: &'a Tensor,
    query_key_value: Linear<'a>,
    attention_output: &'a Tensor,
    ffn_norm: &'a Tensor,
    gate_up: Linear<'a>,
    down: &'a Tensor,
}

/// Several linear maps of one input.
enum Linear<'a> {
    Apart(&'a [Tensor]),
    /// One product for all, their outputs side by side; worth a copy of the weights where rows are few.
    Joined(Tensor, Vec<i64>),
}

impl<'a> Weights<'a> {
    pub(crate) fn new(config: &CausalLmConfig, parameters: &'a [Tensor]) -> Weights<'a> {
        const TENSORS: usize = 9;
        let n_layers = config.layers as usize;
        let layer = |index: usize| {
            let tensors = &parameters[1 + TENSORS * index..][..TENSORS];
            Layer {
                attention_norm: &tensors[0],
                query_key_value: Linear::Apart(&tensors[1..4]),
                attention_output: &tensors[4],
                ffn_norm: &tensors[5],
                gate_up: Linear::Apart(&tensors[6..8]),
                down: &tensors[8],
            }
        };
        Weights {
            embedding: &parameters[0],
            layers: (0..n_layers).map(layer).collect(),
            norm: &parameters[1 + TENSORS * n_layers],
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
        if let Linear::Apart(weights) = self {
            let sizes = weights.iter().map(|weight| weight.size()[0]).collect();
            *self = Linear::Joined(Tensor::cat(weights, 0), sizes);
        }
    }

    fn apply(&self, input: &Tensor) -> Vec<Tensor> {
        match self {
            Linear::Apart(weights) => weights.iter().map(|weight| linear(input, weight)).collect(),
            Linear::Joined(weight, sizes) => linear(input, weight).split_with_sizes(sizes, -1),
        }
    }
}

impl Layer<'_> {
    /// One layer on `[rows, length, hidden]`. `attend` maps queries `[rows, length, heads, width]`, keys and values
    /// `[rows, length, kv_heads, width]`, rotated by `rotation`, to `[rows, length, heads, width]`.
    pub(crate) fn apply(
        &self,
        config: &CausalLmConfig,
        input: &Tensor,
        rotation: &Rotation,
        attend: impl FnOnce(&Tensor, &Tensor, &Tensor) -> Tensor,
    ) -> Tensor {
        let (rows, length, _) = input
            .size3()
            .unwrap_or_else(|error| panic!("a layer's input: {error}"));
        let split = |x: &Tensor| x.unflatten(-1, [-1, config.head_width()]);

        let normed = rms_norm(config, input, self.attention_norm);
        let projected = self.query_key_value.apply(&normed);
        let query = rotation.apply(&split(&projected[0]));
        let key = rotation.apply(&split(&projected[1]));
        let mixed = attend(&query, &key, &split(&projected[2]));
        let mixed = mixed.reshape([rows, length, config.hidden]);
        let attended = input + linear(&mixed, self.attention_output);

        let normed = rms_norm(config, &attended, self.ffn_norm);
        let gates = self.gate_up.apply(&normed);
        let gated = gates[0].silu() * &gates[1];
        attended + linear(&gated, self.down)
    }
}

/// The residual stream `[rows, length, hidden]` after the last layer, before its normalisation, for token ids
/// `[rows, length]` that start at position 0.
pub(super) fn trunk(config: &CausalLmConfig, weights: &Weights, tokens: &Tensor) -> Tensor {
    let mut stream = embed(weights, tokens);
    let length = tokens.size()[1];
    let positions = Tensor::arange(length, (Kind::Int64, tokens.device()));
    let rotation = Rotation::new(config, &positions, stream.kind());
    for layer in &weights.layers {
        stream = layer.apply(config, &stream, &rotation, causal_attention);
    }
    stream
}

/// The residual stream after every layer, `[rows, length, layer, hidden]`.
pub(super) fn states(config: &CausalLmConfig, weights: &Weights, tokens: &Tensor) -> Tensor {
    let mut stream = embed(weights, tokens);
    let length = tokens.size()[1];
    let positions = Tensor::arange(length, (Kind::Int64, tokens.device()));
    let rotation = Rotation::new(config, &positions, stream.kind());
    let mut states = Vec::new();
    for layer in &weights.layers {
        stream = layer.apply(config, &stream, &rotation, causal_attention);
        states.push(stream.shallow_clone());
    }
    Tensor::stack(&states, 2)
}

pub(crate) fn embed(weights: &Weights, tokens: &Tensor) -> Tensor {
    Tensor::embedding(weights.embedding, tokens, -1, false, false)
}

/// Every position sees itself and what came before it, so padding on the right stays unseen without a mask.
pub(crate) fn causal_attention(query: &Tensor, key: &Tensor, value: &Tensor) -> Tensor {
    let groups = query.size()[2] / key.size()[2];
    let heads_first = |x: &Tensor| x.transpose(1, 2);
    let attended = Tensor::scaled_dot_product_attention(
        &heads_first(query),
        &heads_first(&repeat_heads(key, groups)),
        &heads_first(&repeat_heads(value, groups)),
        None::<&Tensor>,
        0.0,
        true,
        None,
        false,
    );
    attended.transpose(1, 2)
}

/// Each head `groups` times in a row. libtorch's own grouped attention leaves the fused kernel on the CPU.
fn repeat_heads(x: &Tensor, groups: i64) -> Tensor {
    if groups == 1 {
        x.shallow_clone()
    } else {
        x.repeat_interleave_self_int(groups, 2, None)
    }
}

pub(crate) fn rms_norm(config: &CausalLmConfig, input: &Tensor, weight: &Tensor) -> Tensor {
    input.rms_norm(config.hidden, Some(weight), config.norm_eps)
}

pub(crate) fn linear(input: &Tensor, weight: &Tensor) -> Tensor {
    input.linear(weight, None::<&Tensor>)
}

/// The rotation of queries and keys by their positions.
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    /// For positions of shape `[length]`, shared by all rows, or `[rows, length]`.
    pub(crate) fn new(config: &CausalLmConfig, positions: &Tensor, kind: Kind) -> Rotation {
        let width = config.head_width();
        let device = positions.device();
        // In f64, since an f32 angle at position 10⁵ is off by several thousandths.
        let exponents = Tensor::arange(width / 2, (Kind::Double, device)) * (-2.0 / width as f64);
        let frequencies = (exponents * config.rope_theta.ln()).exp();
        let angles = positions.unsqueeze(-1).to_kind(Kind::Double) * frequencies;
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
