//! What a transform trains, in the layout of `peft`: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! `peft` knows LoRA by the names and settings written here. Of other transforms the same file of weights is written, with
//! the names that they have in rlpc, and no configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rlp_account::pretrained::Fields;
use rlp_frontend::files::reason;
use serde_json::json;

use super::save::sync;
use crate::error::Fault;
use crate::model::{Parameter, read_tensors, write_tensors};
use crate::transform::Transformed;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What `peft` calls the two matrices of LoRA.
const LORA: [(&str, &str); 2] = [(".a", ".lora_A.weight"), (".b", ".lora_B.weight")];
const PREFIX: &str = "base_model.model.";
const MOST_RANK: i64 = 1 << 24;

/// Writes what a model trains; `base` is the folder or the name of the model that it is applied to.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn save_adapter(own: &Transformed, base: &str, to: &Path) -> Result<(), Fault> {
    fs::create_dir_all(to).map_err(|error| Fault::file(to, reason(&error)))?;
    let path = to.join(WEIGHTS);
    let named: Vec<(String, &Parameter)> = adapted(own)
        .map(|parameter| (stored_name(own, parameter), parameter))
        .collect();
    let tensors = named.iter().map(|(name, own)| (name.as_str(), &own.value));
    write_tensors(&path, tensors).map_err(|error| Fault::file(&path, error.message))?;
    sync(&path)?;
    if let Some((rank, alpha)) = lora(own) {
        let path = to.join(CONFIG);
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": true,
            "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": false,
            "init_lora_weights": true, "target_modules": modules(own),
        });
        fs::write(&path, format!("{config:#}\n"))
            .map_err(|error| Fault::file(&path, reason(&error)))?;
        sync(&path)?;
    }
    Ok(())
}

/// Replaces what a model trains by what a folder holds.
///
/// # Errors
/// A file is missing, or is not of this transform of this model.
pub(crate) fn read_adapter(own: &mut Transformed, from: &Path) -> Result<(), Fault> {
    if let Some((rank, alpha)) = lora(own) {
        check(&from.join(CONFIG), rank, alpha)?;
    }
    let path = from.join(WEIGHTS);
    let mut tensors = read_tensors(&path).map_err(|error| Fault::file(&path, error.message))?;
    let names: Vec<String> = adapted(own)
        .map(|parameter| stored_name(own, parameter))
        .collect();
    for (name, parameter) in names.iter().zip(&mut own.parameters) {
        let found = tensors.remove(name);
        let found = found.ok_or_else(|| Fault::file(&path, format!("`{name}` is missing")))?;
        if found.size() != parameter.value.size() {
            let (found, wanted) = (found.size(), parameter.value.size());
            let message =
                format!("`{name}` has the shape {found:?} where the model has {wanted:?}");
            return Err(Fault::file(&path, message));
        }
        let (kind, device) = (parameter.value.kind(), parameter.value.device());
        parameter.value = found.f_to_kind(kind)?.f_to_device(device)?;
    }
    match tensors.keys().next() {
        None => Ok(()),
        Some(name) => {
            let message = format!("`{name}` belongs to a weight that `on` does not select");
            Err(Fault::file(&path, message))
        }
    }
}

/// Whether the settings are those of the transform, and none would change what is computed.
fn check(path: &Path, rank: i64, alpha: f64) -> Result<(), Fault> {
    let mut fields = Fields::read(path)?.ok_or_else(|| Fault::file(path, "it is missing"))?;
    let kind = fields.text("peft_type")?.unwrap_or_default();
    if kind != "LORA" {
        return Err(fields
            .fault(format!(
                "it is of \"{kind}\", and `transform.lora` reads \"LORA\""
            ))
            .into());
    }
    let found = fields
        .size("r", MOST_RANK)?
        .ok_or_else(|| fields.missing("r"))?;
    if found != rank {
        return Err(fields
            .fault(format!(
                "its rank is {found}: `transform.lora(rank: {found}, …)`"
            ))
            .into());
    }
    let found = fields
        .number_above("lora_alpha", 0.0)?
        .ok_or_else(|| fields.missing("lora_alpha"))?;
    if found != alpha {
        return Err(fields
            .fault(format!(
                "its alpha is {found}: `transform.lora(alpha: {found}, …)`"
            ))
            .into());
    }
    for name in ["use_rslora", "use_dora", "fan_in_fan_out"] {
        if fields.flag(name)? == Some(true) {
            return Err(fields
                .fault(format!("`{name}` is not known to `transform.lora`"))
                .into());
        }
    }
    match fields.text("bias")?.as_deref() {
        None | Some("none") => Ok(()),
        Some(_) => Err(fields
            .fault("it trains biases, which `transform.lora` does not")
            .into()),
    }
}

/// The parameters that belong to weights, without a value head.
fn adapted(own: &Transformed) -> impl Iterator<Item = &Parameter> {
    own.parameters
        .iter()
        .filter(|parameter| !parameter.is_value_head())
}

fn stored_name(own: &Transformed, parameter: &Parameter) -> String {
    let named = LORA.iter().find_map(|(suffix, stored)| {
        let module = parameter.name.strip_suffix(suffix)?;
        Some(format!("{PREFIX}{module}{stored}"))
    });
    named
        .filter(|_| lora(own).is_some())
        .unwrap_or_else(|| parameter.name.clone())
}

/// Rank and alpha, if the transform is LoRA.
fn lora(own: &Transformed) -> Option<(i64, f64)> {
    let number = |name: &str| {
        own.args
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| *value)
    };
    (own.plan.block.name == "transform.lora")
        .then(|| Some((number("rank")? as i64, number("alpha")?)))
        .flatten()
}

/// The modules whose weights are selected: `q_proj` if all of that name are, else each by its whole name.
fn modules(own: &Transformed) -> Vec<String> {
    let module = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_string();
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
    let mut layers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let names: Vec<String> = own.weights.iter().map(|(_, name)| module(name)).collect();
    for name in &names {
        layers.entry(last(name)).or_default().insert(name.clone());
    }
    let whole = |kind: &str| own.all_of(kind) == layers.get(kind).map_or(0, BTreeSet::len);
    let named = names.iter().map(|name| match whole(&last(name)) {
        true => last(name),
        false => name.clone(),
    });
    named.collect::<BTreeSet<String>>().into_iter().collect()
}
