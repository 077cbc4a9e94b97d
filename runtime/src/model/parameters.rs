//! The parameters of a causal language model: names and shapes of the Hugging Face layout, and initial values.

use tch::{Device, Kind, Tensor};

use super::config::CausalLmConfig;
use crate::random::Stream;

/// A named tensor of a model.
#[derive(Debug)]
pub struct Parameter {
    /// As in the Hugging Face layout: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    pub value: Tensor,
}

impl Parameter {
    /// Whether this is a weight matrix of a layer: neither embedding nor head nor norm.
    pub(super) fn is_layer_matrix(&self) -> bool {
        self.name.starts_with("model.layers.") && self.value.dim() == 2
    }

    pub(crate) fn is_value_head(&self) -> bool {
        self.name == VALUE_HEAD
    }
}

pub(super) const VALUE_HEAD: &str = "value_head.weight";

/// Where the initial values of a parameter come from.
pub(super) enum Initial {
    Zeros,
    Ones,
    /// Independent normals of this standard deviation.
    Normal(f64),
}

pub(super) fn initial(
    config: &CausalLmConfig,
    stream: Stream,
    options: (Kind, Device),
) -> Vec<Parameter> {
    let layout = layout(config).into_iter().enumerate();
    let parameter = |(index, (name, shape, initial)): (usize, (String, Vec<i64>, Initial))| {
        let value = match initial {
            Initial::Zeros => Tensor::zeros(&shape, options),
            Initial::Ones => Tensor::ones(&shape, options),
            Initial::Normal(deviation) => {
                let draws = stream.at(index as u64);
                let count = shape.iter().product::<i64>() as u64;
                let values: Vec<f64> = (0..count).map(|i| deviation * draws.normal(i)).collect();
                Tensor::from_slice(&values)
                    .view(shape.as_slice())
                    .to_kind(options.0)
                    .to_device(options.1)
            }
        };
        Parameter { name, value }
    };
    layout.map(parameter).collect()
}

/// Index of the tensor that maps hidden states to logits.
pub(super) fn head(config: &CausalLmConfig) -> usize {
    if config.tied {
        0
    } else {
        layout(config).len() - 1
    }
}

/// Whether `found` can be the value of `parameter`; otherwise what is wrong, as a sentence.
pub(super) fn check(parameter: &Parameter, found: Option<&Tensor>) -> Result<(), String> {
    let Parameter { name, value } = parameter;
    let Some(found) = found else {
        return Err(format!("`{name}` is missing"));
    };
    if found.size() != value.size() {
        let (expected, found) = (value.size(), found.size());
        return Err(format!(
            "`{name}` has the shape {found:?} where the model has {expected:?}"
        ));
    }
    Ok(())
}

/// Name, shape and initial values of every parameter, in order.
///
/// Every map starts with variance 1 / fan-in, so that it keeps the scale of its input; what writes to the residual
/// stream is smaller by √(2 layers), the number of such writes (Radford et al. 2019, section 2.3).
pub(super) fn layout(config: &CausalLmConfig) -> Vec<(String, Vec<i64>, Initial)> {
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
