//! The parameters of a causal language model: names and shapes of the Hugging Face layout, and initial values.

use rlp_account::model::{CausalLmConfig, Initial, VALUE_HEAD, layout};
use tch::{Device, Kind, Tensor};

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
