//! Attention by libtorch's operations: what each position reads from those that it sees.

use tch::{Device, Kind, Tensor};

use super::CausalLmConfig;
use super::trunk::wide;

/// What the positions of layers of either kind see, as masks that hold where a key is seen and broadcast to
/// `[rows, heads, query, key]`; `None` where that is all keys.
pub(crate) struct Sight {
    pub(crate) far: Option<Tensor>,
    pub(crate) near: Option<Tensor>,
}

impl Sight {
    pub(crate) fn of(&self, is_local: bool) -> Option<&Tensor> {
        if is_local {
            self.near.as_ref()
        } else {
            self.far.as_ref()
        }
    }

    /// Of `length` positions that see themselves and what came before them, so that padding on the right stays unseen.
    /// A mask is made only where libtorch's own causal attention does not serve.
    pub(crate) fn causal(config: &CausalLmConfig, length: i64, device: Device) -> Sight {
        let causal = || Tensor::ones([length, length], (Kind::Bool, device)).tril(0);
        let window = config.window(true).filter(|&window| window < length);
        Sight {
            far: config.form.attention_cap.map(|_| causal()),
            near: match window {
                Some(window) => {
                    let too_far =
                        Tensor::ones([length, length], (Kind::Bool, device)).tril(-window);
                    Some(causal().logical_and(&too_far.logical_not()))
                }
                None => config.form.attention_cap.map(|_| causal()),
            },
        }
    }
}

/// For queries, keys and values `[rows, length, heads, width]` of one sequence a row.
pub(crate) fn causal_attention(
    config: &CausalLmConfig,
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    seen: Option<&Tensor>,
) -> Tensor {
    let groups = query.size()[2] / key.size()[2];
    let heads_first = |x: &Tensor| x.transpose(1, 2);
    let attended = attention(
        config,
        &heads_first(query),
        &heads_first(&repeat_heads(key, groups)),
        &heads_first(&repeat_heads(value, groups)),
        seen,
        true,
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

/// softmax(cap(q kᵀ · scale)) v for `[rows, heads, query or key, width]`, over the keys that are `seen`; without that
/// over all, or over those at and before the query if it `is_causal`.
pub(crate) fn attention(
    config: &CausalLmConfig,
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    seen: Option<&Tensor>,
    is_causal: bool,
) -> Tensor {
    let scale = config.attention_scale();
    let Some(cap) = config.form.attention_cap else {
        let is_causal = is_causal && seen.is_none();
        return Tensor::scaled_dot_product_attention(
            query, key, value, seen, 0.0, is_causal, scale, false,
        );
    };
    let scores = query.matmul(&key.transpose(-2, -1)) * scale;
    let mut scores = (scores / cap).tanh() * cap;
    if let Some(seen) = seen {
        scores = scores.masked_fill(&seen.logical_not(), f64::NEG_INFINITY);
    }
    let weights = scores.softmax(-1, wide(query.kind()));
    weights.to_kind(query.kind()).matmul(value)
}
