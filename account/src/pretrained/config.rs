//! `config.json` and `generation_config.json`: what model a folder holds. A field that would change the model and is
//! not known is refused.

use std::path::Path;

use super::family::{Biases, FAMILIES, Family, Windows};
use super::fields::Fields;
use crate::error::Unreadable;
use crate::model::{Activation, Bias, CausalLmConfig, Dtype, Form, Local, RopeScaling};

pub const CONFIG: &str = "config.json";
pub const GENERATION_CONFIG: &str = "generation_config.json";

/// What the two files say.
#[derive(Clone, Debug)]
pub struct Described {
    pub config: CausalLmConfig,
    /// The tokens that end a sequence, the usual one first.
    pub ends: Vec<i64>,
    /// The kind of the weights, where it is said.
    pub kind: Option<Dtype>,
}

/// Largest sizes: what is computed from them before the weights are looked at stays small.
const MOST_LAYERS: i64 = 4096;
const MOST_HEADS: i64 = 1 << 16;
const MOST_WIDTH: i64 = 1 << 24;
const MOST_POSITIONS: i64 = 1 << 31;

/// Fields that do not change what is computed.
const INERT: &[&str] = &[
    "_name_or_path",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "id2label",
    "initializer_range",
    "label2id",
    "max_window_layers",
    "pad_token_id",
    "pretraining_tp",
    "return_dict",
    "sliding_window",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

pub fn read(folder: &Path) -> Result<Described, Unreadable> {
    let path = folder.join(CONFIG);
    let Some(mut fields) = Fields::read(&path)? else {
        let message = format!(
            "`{}` holds no `{CONFIG}`, so it is no model in the Hugging Face layout",
            folder.display()
        );
        return Err(Unreadable {
            path: None,
            reason: message,
        });
    };
    let family = family(&mut fields)?;
    let kind = kind(&mut fields)?;
    let ends = fields.ids("eos_token_id")?;
    let config = config(&mut fields, family)?;
    fields.finish(INERT)?;
    config
        .validate()
        .map_err(|error| Unreadable::file(&path, error.message))?;

    let generation = Fields::read(&folder.join(GENERATION_CONFIG))?;
    let generation = generation.map(|mut fields| fields.ids("eos_token_id"));
    let ends = generation.transpose()?.flatten().or(ends);
    let ends = ends.ok_or_else(|| {
        Unreadable::file(
            &path,
            "`eos_token_id` is missing, so a sequence would never end",
        )
    })?;
    if let Some(&end) = ends.iter().find(|&&end| end >= config.vocab) {
        let message = format!(
            "`eos_token_id` {end} is outside the {} tokens of the model",
            config.vocab
        );
        return Err(Unreadable::file(&path, message));
    }
    Ok(Described { config, ends, kind })
}

fn family(fields: &mut Fields) -> Result<&'static Family, Unreadable> {
    let model_type = fields.text("model_type")?;
    let model_type = model_type.ok_or_else(|| fields.missing("model_type"))?;
    let known = || {
        let names: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
        names.join(", ")
    };
    let found = FAMILIES.iter().find(|own| own.model_type == model_type);
    let family = found.ok_or_else(|| {
        fields.fault(format!(
            "the family `{model_type}` is not supported; those that are: {}",
            known()
        ))
    })?;
    if let Some(architectures) = fields.texts("architectures")?
        && !architectures.iter().any(|own| own == family.architecture)
    {
        return Err(fields.fault(format!(
            "`architectures` is {architectures:?} where a language model is `{}`",
            family.architecture
        )));
    }
    Ok(family)
}

/// `dtype`, or `torch_dtype` as it was called before.
fn kind(fields: &mut Fields) -> Result<Option<Dtype>, Unreadable> {
    let old = fields.text("torch_dtype")?;
    match fields.text("dtype")?.or(old).as_deref() {
        None => Ok(None),
        Some("float32") => Ok(Some(Dtype::F32)),
        Some("bfloat16") => Ok(Some(Dtype::Bf16)),
        Some("float16") => Ok(Some(Dtype::F16)),
        Some(other) => Err(fields.fault(format!(
            "`dtype` is `{other}`; float32, bfloat16 and float16 are read"
        ))),
    }
}

fn config(fields: &mut Fields, family: &Family) -> Result<CausalLmConfig, Unreadable> {
    let needed = |fields: &mut Fields, name: &str, most: i64| {
        let size = fields.size(name, most)?;
        size.ok_or_else(|| fields.missing(name))
    };
    let layers = needed(fields, "num_hidden_layers", MOST_LAYERS)?;
    let hidden = needed(fields, "hidden_size", MOST_WIDTH)?;
    let heads = needed(fields, "num_attention_heads", MOST_HEADS)?;
    let kv_heads = fields.size("num_key_value_heads", MOST_HEADS)?;
    let head_width = fields.size("head_dim", MOST_WIDTH)?;
    if family.needs_head_width && head_width.is_none() {
        return Err(fields.missing("head_dim"));
    }
    let norm_eps = fields.number_above("rms_norm_eps", 0.0)?;
    let (rope_theta, rope_scaling, local_rope_theta) = rope(fields, family)?;
    let window = window(fields, family, layers as usize)?;
    let local = window.map(|(window, layers)| Local {
        window,
        layers,
        rope_theta: local_rope_theta,
    });
    Ok(CausalLmConfig {
        layers,
        hidden,
        heads,
        kv_heads: kv_heads.unwrap_or(heads),
        ffn: needed(fields, "intermediate_size", MOST_WIDTH)?,
        vocab: needed(fields, "vocab_size", MOST_WIDTH)?,
        positions: needed(fields, "max_position_embeddings", MOST_POSITIONS)?,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(family.tied),
        rope_theta,
        norm_eps: norm_eps.ok_or_else(|| fields.missing("rms_norm_eps"))?,
        form: Form {
            // A width that is as usual is no different form.
            head_width: head_width.filter(|width| width * heads != hidden),
            activation: activation(fields, family)?,
            bias: bias(fields, family)?,
            head_norms: family.head_norms,
            post_norms: family.is_gemma,
            norms_from_one: family.is_gemma,
            embedding_scale: family.is_gemma.then(|| (hidden as f64).sqrt()),
            attention_scale: attention_scale(fields, family)?,
            attention_cap: cap(fields, family, "attn_logit_softcapping")?,
            logit_cap: cap(fields, family, "final_logit_softcapping")?,
            rope_scaling,
            local,
        },
    })
}

fn activation(fields: &mut Fields, family: &Family) -> Result<Activation, Unreadable> {
    // Gemma's configurations have both, and the older one is not read.
    let older = fields.text("hidden_act")?;
    let name = match family.activation {
        "hidden_act" => older,
        newer => fields.text(newer)?,
    };
    match name.as_deref() {
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
        Some(other) => Err(fields.fault(format!(
            "the activation `{other}` is not supported; silu and gelu_pytorch_tanh are"
        ))),
        None => Err(fields.missing(family.activation)),
    }
}

fn bias(fields: &mut Fields, family: &Family) -> Result<Bias, Unreadable> {
    let is_asked = |fields: &mut Fields, name| fields.flag(name).map(Option::unwrap_or_default);
    Ok(match family.bias {
        Biases::None => Bias::default(),
        Biases::QueryKeyValue => Bias {
            query_key_value: true,
            ..Bias::default()
        },
        Biases::Attention | Biases::AttentionAndFfn => {
            let attention = is_asked(fields, "attention_bias")?;
            Bias {
                query_key_value: attention,
                attention_output: attention,
                ffn: family.bias == Biases::AttentionAndFfn && is_asked(fields, "mlp_bias")?,
            }
        }
    })
}

fn attention_scale(fields: &mut Fields, family: &Family) -> Result<Option<f64>, Unreadable> {
    // What else would be inert is known by what has it: there is no dropout here, neither in training.
    if fields.has("attention_dropout")
        && fields.number_above("attention_dropout", -1.0)? != Some(0.0)
    {
        return Err(fields.fault("`attention_dropout` is not supported, and must be 0"));
    }
    if !family.is_gemma {
        return Ok(None);
    }
    let scalar = fields.number_above("query_pre_attn_scalar", 0.0)?;
    let scalar = scalar.ok_or_else(|| fields.missing("query_pre_attn_scalar"))?;
    Ok(Some(scalar.powf(-0.5)))
}

fn cap(fields: &mut Fields, family: &Family, name: &str) -> Result<Option<f64>, Unreadable> {
    if family.has_caps {
        fields.number_above(name, 0.0)
    } else {
        Ok(None)
    }
}

/// The window, and whether each layer is bound by it.
fn window(
    fields: &mut Fields,
    family: &Family,
    layers: usize,
) -> Result<Option<(i64, Vec<bool>)>, Unreadable> {
    let is_local: Vec<bool> = match family.windows {
        Windows::None => return Ok(None),
        Windows::All => vec![true; layers],
        Windows::Last => {
            if !fields.flag("use_sliding_window")?.unwrap_or_default() {
                // The window then counts for nothing, whatever the layers are called.
                fields.take("layer_types");
                return Ok(None);
            }
            let first = match fields.take("max_window_layers") {
                None => return Err(fields.missing("max_window_layers")),
                Some(first) => first.as_u64().unwrap_or(u64::MAX) as usize,
            };
            (0..layers).map(|layer| layer >= first).collect()
        }
        Windows::Pattern(usual) => {
            let old = fields.size("_sliding_window_pattern", MOST_LAYERS)?;
            let given = fields.size("sliding_window_pattern", MOST_LAYERS)?;
            let pattern = given.or(old).map_or(usual, |given| given as usize);
            (0..layers)
                .map(|layer| (layer + 1) % pattern != 0)
                .collect()
        }
    };
    let is_local = match family.windows {
        Windows::None | Windows::All => is_local,
        Windows::Last | Windows::Pattern(_) => layer_types(fields, layers)?.unwrap_or(is_local),
    };
    if !is_local.contains(&true) {
        return Ok(None);
    }
    let window = fields.size("sliding_window", MOST_POSITIONS)?;
    match window {
        Some(window) => Ok(Some((window, is_local))),
        None if family.windows == Windows::All => Ok(None),
        None => Err(fields.missing("sliding_window")),
    }
}

fn layer_types(fields: &mut Fields, layers: usize) -> Result<Option<Vec<bool>>, Unreadable> {
    let Some(types) = fields.texts("layer_types")? else {
        return Ok(None);
    };
    if types.len() != layers {
        return Err(fields.fault(format!(
            "`layer_types` names {} layers where the model has {layers}",
            types.len()
        )));
    }
    let is_local = types.iter().map(|name| match name.as_str() {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => Err(fields.fault(format!(
            "layers of the type `{other}` are not supported; full_attention and sliding_attention are"
        ))),
    });
    is_local.collect::<Result<_, _>>().map(Some)
}

/// Base and scaling of the rotary wavelengths, and the base of local layers if they have their own: as `rope_parameters`,
/// or as `rope_theta`, `rope_scaling` and `rope_local_base_freq`, which came before.
fn rope(
    fields: &mut Fields,
    family: &Family,
) -> Result<(f64, RopeScaling, Option<f64>), Unreadable> {
    let mut theta = fields.number_above("rope_theta", 1.0)?;
    let mut scaling = RopeScaling::None;
    let mut local = fields.number_above("rope_local_base_freq", 1.0)?;
    if local.is_some() && family.local_rope_theta.is_none() {
        return Err(fields.fault("`rope_local_base_freq` is not supported for this family"));
    }
    if let Some(older) = fields.object("rope_scaling")? {
        let (given, how) = wavelengths(older)?;
        theta = given.or(theta);
        scaling = how;
    }
    if let Some(mut newer) = fields.object("rope_parameters")? {
        let far = match family.local_rope_theta {
            None => newer,
            Some(_) => {
                let near = newer.object("sliding_attention")?;
                if let Some((given, how)) = near.map(wavelengths).transpose()? {
                    if how != RopeScaling::None {
                        return Err(fields.fault(
                            "wavelengths of local layers are not scaled in any model known",
                        ));
                    }
                    local = given.or(local);
                }
                let far = newer.object("full_attention")?;
                let far = far.ok_or_else(|| newer.missing("full_attention"))?;
                newer.finish(&[])?;
                far
            }
        };
        let (given, how) = wavelengths(far)?;
        theta = given.or(theta);
        scaling = how;
    }
    Ok((
        theta.unwrap_or(family.rope_theta),
        scaling,
        local.or(family.local_rope_theta),
    ))
}

fn wavelengths(mut fields: Fields) -> Result<(Option<f64>, RopeScaling), Unreadable> {
    let older = fields.text("type")?;
    let name = fields.text("rope_type")?.or(older);
    let theta = fields.number_above("rope_theta", 1.0)?;
    let needed = |fields: &mut Fields, name: &str| {
        let number = fields.number_above(name, 0.0)?;
        number.ok_or_else(|| fields.missing(name))
    };
    let scaling = match name.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: needed(&mut fields, "factor")?,
        },
        Some("llama3") => {
            let (low, high) = (
                needed(&mut fields, "low_freq_factor")?,
                needed(&mut fields, "high_freq_factor")?,
            );
            if low >= high {
                return Err(fields.fault("`low_freq_factor` must be below `high_freq_factor`"));
            }
            RopeScaling::Llama3 {
                factor: needed(&mut fields, "factor")?,
                low,
                high,
                original: needed(&mut fields, "original_max_position_embeddings")?,
            }
        }
        Some(other) => {
            return Err(fields.fault(format!(
                "rotary positions of the type `{other}` are not supported; default, linear and llama3 are"
            )));
        }
    };
    if fields
        .number_above("partial_rotary_factor", 0.0)?
        .unwrap_or(1.0)
        != 1.0
    {
        return Err(
            fields.fault("`partial_rotary_factor` must be 1: rotary positions turn whole heads")
        );
    }
    fields.finish(&[])?;
    Ok((theta, scaling))
}
