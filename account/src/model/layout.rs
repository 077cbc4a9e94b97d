//! The parameters of a causal language model: names, shapes and where their first values come from.

use super::config::CausalLmConfig;

pub const VALUE_HEAD: &str = "value_head.weight";

/// Where the initial values of a parameter come from.
pub enum Initial {
    Zeros,
    Ones,
    /// Independent normals of this standard deviation.
    Normal(f64),
}

/// Index of the tensor that maps hidden states to logits.
pub fn head(config: &CausalLmConfig) -> usize {
    if config.tied {
        0
    } else {
        layout(config).len() - 1
    }
}

/// Name, shape and initial values of every parameter, in order.
///
/// Every map starts with variance 1 / fan-in, so that it keeps the scale of its input; what writes to the residual
/// stream is smaller by √(2 layers), the number of such writes (Radford et al. 2019, section 2.3).
pub fn layout(config: &CausalLmConfig) -> Vec<(String, Vec<i64>, Initial)> {
    let CausalLmConfig {
        layers,
        hidden,
        heads,
        kv_heads,
        ffn,
        vocab,
        tied,
        ..
    } = *config;
    let form = &config.form;
    let width = config.head_width();
    let residual = (2.0 * layers as f64).powf(-0.5);
    // Twice the scale of a map: small models from scratch then learn as fast from any seed, where at the scale of
    // a map some seeds take several times as many updates.
    let embedding = 2.0;
    let map = |name: String, outputs: i64, inputs: i64, scale: f64| {
        let deviation = scale * (inputs as f64).powf(-0.5);
        (name, vec![outputs, inputs], Initial::Normal(deviation))
    };
    let norm = |name: String, width: i64| {
        let initial = match form.norms_from_one {
            true => Initial::Zeros,
            false => Initial::Ones,
        };
        (name, vec![width], initial)
    };

    let mut layout = vec![map(
        "model.embed_tokens.weight".to_owned(),
        vocab,
        hidden,
        embedding,
    )];
    for layer in 0..layers {
        let named = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let linear = |part: &str, outputs: i64, inputs: i64, scale: f64, has_bias: bool| {
            let bias = (
                format!("model.layers.{layer}.{part}.bias"),
                vec![outputs],
                Initial::Zeros,
            );
            let weight = map(named(part), outputs, inputs, scale);
            [Some(weight), has_bias.then_some(bias)]
                .into_iter()
                .flatten()
        };
        let bias = form.bias;
        layout.push(norm(named("input_layernorm"), hidden));
        for (part, heads) in [
            ("q_proj", heads),
            ("k_proj", kv_heads),
            ("v_proj", kv_heads),
        ] {
            let part = format!("self_attn.{part}");
            layout.extend(linear(
                &part,
                heads * width,
                hidden,
                1.0,
                bias.query_key_value,
            ));
        }
        if form.head_norms {
            layout.push(norm(named("self_attn.q_norm"), width));
            layout.push(norm(named("self_attn.k_norm"), width));
        }
        let (inputs, has_bias) = (heads * width, bias.attention_output);
        layout.extend(linear(
            "self_attn.o_proj",
            hidden,
            inputs,
            residual,
            has_bias,
        ));
        layout.push(norm(named("post_attention_layernorm"), hidden));
        if form.post_norms {
            // The layout's name of the norm before: here it comes after attention, and this one is the ffn's.
            layout.push(norm(named("pre_feedforward_layernorm"), hidden));
        }
        layout.extend(linear("mlp.gate_proj", ffn, hidden, 1.0, bias.ffn));
        layout.extend(linear("mlp.up_proj", ffn, hidden, 1.0, bias.ffn));
        layout.extend(linear("mlp.down_proj", hidden, ffn, residual, bias.ffn));
        if form.post_norms {
            layout.push(norm(named("post_feedforward_layernorm"), hidden));
        }
    }
    layout.push(norm("model.norm.weight".to_owned(), hidden));
    if !tied {
        layout.push(map("lm_head.weight".to_owned(), vocab, hidden, 1.0));
    }
    layout
}
