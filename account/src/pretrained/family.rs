//! The families of the Hugging Face layout that are read, and what sets them apart: one row each.

/// How a family reads its `config.json`, and what of its form is not written there.
pub(super) struct Family {
    pub(super) model_type: &'static str,
    /// The name of the class in `transformers` that has the head of a language model.
    pub(super) architecture: &'static str,
    /// The field that names the non-linearity of the gate.
    pub(super) activation: &'static str,
    pub(super) bias: Biases,
    pub(super) head_norms: bool,
    /// Norms after attention and feed-forward layers, norms stored less 1, and embeddings multiplied by √hidden.
    pub(super) is_gemma: bool,
    /// Whether `head_dim` must be there; else it may be, and is `hidden / heads` if not.
    pub(super) needs_head_width: bool,
    /// Whether scores and logits are capped.
    pub(super) has_caps: bool,
    pub(super) windows: Windows,
    /// Whether the head is the embedding if `tie_word_embeddings` is absent, which `transformers` writes only where it
    /// differs from this.
    pub(super) tied: bool,
    /// Base of the rotary wavelengths where none is given, and that of local layers if they have their own.
    pub(super) rope_theta: f64,
    pub(super) local_rope_theta: Option<f64>,
}

/// Which maps have biases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Biases {
    None,
    QueryKeyValue,
    /// All maps of attention if `attention_bias`.
    Attention,
    /// And those of feed-forward layers if `mlp_bias`.
    AttentionAndFfn,
}

/// Which layers see only what lies in `sliding_window`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    None,
    /// All, if there is a window.
    All,
    /// Those from `max_window_layers` on, if `use_sliding_window`.
    Last,
    /// All but each `sliding_window_pattern`-th; this is the pattern where none is given.
    Pattern(usize),
}

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    activation: "hidden_act",
    bias: Biases::AttentionAndFfn,
    head_norms: false,
    is_gemma: false,
    needs_head_width: false,
    has_caps: false,
    windows: Windows::None,
    tied: false,
    rope_theta: 10_000.0,
    local_rope_theta: None,
};

pub(super) const FAMILIES: [Family; 6] = [
    LLAMA,
    Family {
        model_type: "mistral",
        architecture: "MistralForCausalLM",
        bias: Biases::None,
        windows: Windows::All,
        ..LLAMA
    },
    Family {
        model_type: "qwen2",
        architecture: "Qwen2ForCausalLM",
        bias: Biases::QueryKeyValue,
        windows: Windows::Last,
        ..LLAMA
    },
    Family {
        model_type: "qwen3",
        architecture: "Qwen3ForCausalLM",
        bias: Biases::Attention,
        head_norms: true,
        needs_head_width: true,
        windows: Windows::Last,
        ..LLAMA
    },
    Family {
        has_caps: true,
        windows: Windows::Pattern(2),
        ..GEMMA
    },
    Family {
        model_type: "gemma3_text",
        architecture: "Gemma3ForCausalLM",
        head_norms: true,
        rope_theta: 1_000_000.0,
        local_rope_theta: Some(10_000.0),
        ..GEMMA
    },
];

const GEMMA: Family = Family {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    activation: "hidden_activation",
    bias: Biases::Attention,
    is_gemma: true,
    needs_head_width: true,
    windows: Windows::Pattern(6),
    tied: true,
    ..LLAMA
};
