//! The sizes of a decoder-only transformer.

use super::form::Form;
use crate::error::ArgumentError;

/// What `model.causal_lm` is given; every field but the last is an argument of that name.
#[derive(Clone, Debug, PartialEq)]
pub struct CausalLmConfig {
    pub layers: i64,
    /// Width of the residual stream.
    pub hidden: i64,
    /// Attention heads of the queries.
    pub heads: i64,
    /// Attention heads of keys and values, each shared by `heads / kv_heads` query heads.
    pub kv_heads: i64,
    /// Inner width of the gated feed-forward layers.
    pub ffn: i64,
    /// Number of token ids.
    pub vocab: i64,
    /// Longest sequence, prompt and response together.
    pub positions: i64,
    /// Whether the head is the embedding itself.
    pub tied: bool,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// Added to the mean square before its root is taken.
    pub norm_eps: f64,
    /// Llama's, for a model from scratch.
    pub form: Form,
}

impl CausalLmConfig {
    pub const PRESETS: [&str; 2] = ["tiny", "small"];

    /// The sizes called `name`, one of [`Self::PRESETS`].
    pub fn preset(name: &str) -> Option<CausalLmConfig> {
        let tiny = CausalLmConfig {
            layers: 2,
            hidden: 64,
            heads: 4,
            kv_heads: 4,
            ffn: 176,
            vocab: 256,
            positions: 256,
            tied: true,
            rope_theta: 100.0,
            norm_eps: 1e-5,
            form: Form::default(),
        };
        match name {
            "tiny" => Some(tiny),
            "small" => Some(CausalLmConfig {
                layers: 4,
                hidden: 128,
                ffn: 384,
                positions: 512,
                ..tiny
            }),
            _ => None,
        }
    }

    pub fn validate(&self) -> Result<(), ArgumentError> {
        let sizes = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("ffn", self.ffn),
            ("vocab", self.vocab),
            ("positions", self.positions),
        ];
        for (argument, size) in sizes {
            if size < 1 {
                let message = format!("`{argument}` must be at least 1, found {size}");
                return Err(ArgumentError::new(argument, message));
            }
        }
        let (hidden, heads, kv_heads) = (self.hidden, self.heads, self.kv_heads);
        if self.form.head_width.is_none() && hidden % heads != 0 {
            let message =
                format!("`heads` must divide `hidden`, and {heads} does not divide {hidden}");
            return Err(ArgumentError::new("heads", message));
        }
        if self.head_width() % 2 != 0 {
            let width = self.head_width();
            let message = format!(
                "`hidden` / `heads` must be even, because rotary positions pair its elements, found {width}"
            );
            return Err(ArgumentError::new("heads", message));
        }
        if heads % kv_heads != 0 {
            let message =
                format!("`kv_heads` must divide `heads`, and {kv_heads} does not divide {heads}");
            return Err(ArgumentError::new("kv_heads", message));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            let message = format!(
                "`rope_theta` must be a number above 1, found {}",
                self.rope_theta
            );
            return Err(ArgumentError::new("rope_theta", message));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            let message = format!(
                "`norm_eps` must be a number of at least 0, found {}",
                self.norm_eps
            );
            return Err(ArgumentError::new("norm_eps", message));
        }
        Ok(())
    }

    pub fn head_width(&self) -> i64 {
        self.form.head_width.unwrap_or(self.hidden / self.heads)
    }
}
