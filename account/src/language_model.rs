//! The language models of a plan: sizes, what they are held and computed in, and by which of the two ways they run.

use std::path::Path;

use rlp_compiler::graph::{DrawArg, Graph, ModelOutput, ModelRef, Op};
use rlp_compiler::plan::{ParameterGroup, Plan, Resource, matches_name};

use crate::arguments::Known;
use crate::error::Unreadable;
use crate::model::{CausalLmConfig, Dtype, VALUE_HEAD, layout};
use crate::pretrained;
use crate::transformed::Transformed;

/// A language model, its weights unread.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    /// The name the pipeline gives it.
    pub name: String,
    pub config: CausalLmConfig,
    pub held: Dtype,
    pub computed: Dtype,
    /// Whether the way back computes what is inside layers again.
    pub recomputes: bool,
    pub is_trained: bool,
    /// Whether it comes from a folder.
    pub is_pretrained: bool,
    /// Name and shape of each parameter of the network.
    pub parameters: Vec<(String, Vec<i64>)>,
    /// If it is another model seen through a transform.
    pub transformed: Option<Transformed>,
}

/// The numbers of a model from scratch: those of its `size`, replaced by those that are given. `None` if an argument is
/// missing, which the signature does not allow.
pub fn config_from_scratch(resource: &Resource) -> Option<CausalLmConfig> {
    let known = Known::of_resource(resource);
    let preset = CausalLmConfig::preset(known.text("size")?);
    let given = |name: &str, preset: Option<i64>| match (known.int(name)?, preset) {
        (0, Some(preset)) => Some(preset),
        (number, _) => Some(number),
    };
    let heads = given("heads", preset.as_ref().map(|preset| preset.heads))?;
    let kv_heads = match (known.int("kv_heads")?, &preset) {
        (0, Some(preset)) if preset.heads == heads => preset.kv_heads,
        (0, _) => heads,
        (number, _) => number,
    };
    let base = preset.clone().or_else(|| CausalLmConfig::preset("tiny"))?;
    Some(CausalLmConfig {
        layers: given("layers", preset.as_ref().map(|preset| preset.layers))?,
        hidden: given("hidden", preset.as_ref().map(|preset| preset.hidden))?,
        heads,
        kv_heads,
        ffn: given("ffn", preset.as_ref().map(|preset| preset.ffn))?,
        vocab: known.int("vocab")?,
        positions: known.int("positions")?,
        tied: known.flag("tied")?,
        rope_theta: known.real("rope_theta")?,
        norm_eps: base.norm_eps,
        form: base.form,
    })
}

impl LanguageModel {
    /// The model with this index in the plan; `None` if it is no transformer.
    ///
    /// # Errors
    /// Its folder cannot be read, or its numbers do not fit each other.
    pub fn of(plan: &Plan, index: usize) -> Result<Option<LanguageModel>, Unreadable> {
        let resource = &plan.models[index];
        let mut trains = plan.stages.iter().flat_map(|stage| &stage.trains);
        let is_trained = trains.any(|train| train.targets.contains(&index));
        if let Some(own) = plan.transforms.iter().find(|own| own.model == index) {
            // A network of the same form, with a value head of its own.
            let base = LanguageModel::of(plan, own.base.model)?;
            return Ok(base.map(|mut base| {
                base.parameters.retain(|(name, _)| name != VALUE_HEAD);
                if reads_value(plan, index) {
                    let head = (VALUE_HEAD.to_string(), vec![1, base.config.hidden]);
                    base.parameters.push(head);
                }
                LanguageModel {
                    name: resource.name.clone(),
                    is_trained,
                    transformed: Some(Transformed::of(plan, own, &base.parameters)),
                    ..base
                }
            }));
        }
        if !matches!(
            resource.block.as_str(),
            "model.causal_lm" | "model.value_lm"
        ) {
            return Ok(None);
        }
        let known = Known::of_resource(resource);
        let folder = known.text("size").filter(|size| size.contains('/'));
        let (config, said) = match folder {
            Some(folder) => {
                let described = pretrained::read(Path::new(folder))?;
                (Some(described.config), described.kind)
            }
            None => (config_from_scratch(resource), None),
        };
        let Some(config) = config else {
            return Ok(None);
        };
        config.validate().map_err(|error| Unreadable {
            path: None,
            reason: error.message,
        })?;
        let computed = match known.text("dtype") {
            Some("bf16") => Dtype::Bf16,
            Some("f32") => Dtype::F32,
            Some(_) | None => said.unwrap_or(Dtype::F32),
        };
        let layout = layout(&config).into_iter();
        let mut parameters: Vec<(String, Vec<i64>)> =
            layout.map(|(name, shape, _)| (name, shape)).collect();
        if resource.block == "model.value_lm" || reads_value(plan, index) {
            parameters.push((VALUE_HEAD.to_string(), vec![1, config.hidden]));
        }
        Ok(Some(LanguageModel {
            name: resource.name.clone(),
            // Weights that are trained, and those from scratch, are kept in f32.
            held: if is_trained || folder.is_none() {
                Dtype::F32
            } else {
                computed
            },
            computed,
            recomputes: known.flag("recompute").unwrap_or_default(),
            is_trained,
            is_pretrained: folder.is_some(),
            parameters,
            transformed: None,
            config,
        }))
    }

    /// Whether the kernels of the CPU compute it; libtorch's operations do elsewhere.
    pub fn has_kernels(&self) -> bool {
        self.computed == Dtype::F32 && self.config.is_llama() && !self.recomputes
    }

    /// What is trained of it where anything is: its own parameters, or those of its transform.
    pub fn trainable(&self) -> &[(String, Vec<i64>)] {
        match &self.transformed {
            Some(own) => &own.parameters,
            None => &self.parameters,
        }
    }

    /// How many of them there are.
    pub fn trainable_count(&self) -> u64 {
        let each = self.trainable().iter();
        each.map(|(_, shape)| elements(shape)).sum()
    }

    /// How many parameters the network has.
    pub fn count(&self) -> u64 {
        self.parameters
            .iter()
            .map(|(_, shape)| elements(shape))
            .sum()
    }

    /// Elements of the largest parameter.
    pub fn largest(&self) -> u64 {
        let each = self.parameters.iter().map(|(_, shape)| elements(shape));
        each.max().unwrap_or_default()
    }

    /// Elements of the matrices of all layers.
    pub fn of_layers(&self) -> u64 {
        let matrices = self.parameters.iter().filter(|own| is_layer_matrix(own));
        matrices.map(|(_, shape)| elements(shape)).sum()
    }

    /// Elements of the map to the vocabulary.
    pub fn of_head(&self) -> u64 {
        (self.config.vocab * self.config.hidden) as u64
    }

    /// What is held of it; of another model seen through a transform, what that does not hold.
    pub fn weights(&self) -> u64 {
        let Some(own) = &self.transformed else {
            return self.count() * self.held.bytes();
        };
        let copied = if own.has_copy { self.count() } else { 0 };
        let own_values = self.trainable_count() + own.states;
        (own.selected + copied) * self.computed.bytes() + own_values * Dtype::F32.bytes()
    }

    /// Copies of the parameters in what is computed in, for the length of a pass.
    pub(crate) fn copies(&self) -> u64 {
        if self.computed == self.held {
            return 0;
        }
        // What a transform makes is in that already.
        let made = self.transformed.as_ref().map_or(0, |own| own.selected);
        self.count().saturating_sub(made) * self.computed.bytes()
    }

    /// What a transform works on to make the weights, or the gradients of its own, of one matrix at a time.
    pub(crate) fn work_of_transform(&self) -> u64 {
        let own = self.transformed.as_ref();
        own.map_or(0, |own| 2 * Dtype::F32.bytes() * own.largest)
    }
}

/// Whether a rule for `group` has a parameter.
pub(crate) fn belongs(group: &ParameterGroup, parameter: &(String, Vec<i64>)) -> bool {
    match group {
        ParameterGroup::All => true,
        ParameterGroup::Matrices => is_layer_matrix(parameter),
        ParameterGroup::Others => !is_layer_matrix(parameter),
        ParameterGroup::Named(pattern) => matches_name(pattern, &parameter.0),
    }
}

fn is_layer_matrix((name, shape): &(String, Vec<i64>)) -> bool {
    name.starts_with("model.layers.") && shape.len() == 2
}

pub(crate) fn elements(shape: &[i64]) -> u64 {
    shape.iter().map(|&size| size.max(0) as u64).product()
}

/// The models that the graph of a stage names.
pub(crate) fn model_refs(graph: &Graph) -> Vec<&ModelRef> {
    let of_nodes = graph.ids().filter_map(|id| match graph.op(id) {
        Op::Model { model, .. } | Op::Backward { model, .. } => Some(model),
        _ => None,
    });
    let args = graph.draws.iter().flat_map(|draw| &draw.args);
    let of_draws = args.filter_map(|(_, arg)| match arg {
        DrawArg::Model(model) => Some(model),
        DrawArg::Static(_) | DrawArg::Data(_) | DrawArg::Operand(_) | DrawArg::Record(_) => None,
    });
    of_nodes.chain(of_draws).collect()
}

fn reads_value(plan: &Plan, index: usize) -> bool {
    let reads = |op: &Op| matches!(op, Op::Model { model, output: ModelOutput::Value } if model.model == index);
    let mut graphs = plan.stages.iter().map(|stage| &stage.graph);
    graphs.any(|graph| graph.ids().any(|id| reads(graph.op(id))))
}
