//! Trained weights in the layout that they were read in: `transformers` loads them back bit for bit.

use std::fs::{self, File};
use std::path::Path;

use rlp_frontend::files::reason;
use serde_json::{Map, Value as Json};

use super::weights::WEIGHTS;
use crate::error::Fault;
use crate::model::{CausalLm, Parameter, write_tensors};
use crate::tensor::{Kind, Tensor};
use rlp_account::pretrained::{CONFIG, GENERATION_CONFIG};

/// Files that are copied as they are, where there are such.
const COPIED: [&str; 9] = [
    GENERATION_CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// Writes a model to a folder, with what belongs to it from the folder `from` that it was read from, or that was put there
/// when its weights were first written: by the end of a run, `from` may have gone. A value head stands in a file of
/// its own, which `transformers` does not look at.
///
/// # Errors
/// A file cannot be read or written.
pub fn save(model: &CausalLm, from: &Path, to: &Path) -> Result<(), Fault> {
    fs::create_dir_all(to).map_err(|error| Fault::file(to, reason(&error)))?;
    for name in COPIED {
        let (source, copy) = (from.join(name), to.join(name));
        if source.is_file() && !copy.exists() {
            fs::copy(&source, &copy).map_err(|error| Fault::file(&copy, reason(&error)))?;
            sync(&copy)?;
        }
    }
    let config = to.join(CONFIG);
    if !config.exists() {
        write_config(&from.join(CONFIG), &config, model.kind())?;
        sync(&config)?;
    }
    let is_head = |parameter: &&Parameter| parameter.is_value_head();
    let (heads, own): (Vec<&Parameter>, Vec<&Parameter>) =
        model.parameters().iter().partition(is_head);
    let write = |name: &str, parameters: Vec<&Parameter>| {
        let path = to.join(name);
        let values: Vec<(&str, Tensor)> = parameters
            .iter()
            .map(|own| (own.name.as_str(), own.value.to_kind(model.kind())))
            .collect();
        let tensors = values.iter().map(|(name, value)| (*name, value));
        write_tensors(&path, tensors).map_err(|error| Fault::file(&path, error.message))
    };
    write(WEIGHTS, own)?;
    if !heads.is_empty() {
        write("value_head.safetensors", heads)?;
    }
    Ok(())
}

pub(super) fn sync(path: &Path) -> Result<(), Fault> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| Fault::file(path, reason(&error)))
}

/// The configuration with the kind that the weights are written in, which is what they are loaded as.
fn write_config(from: &Path, to: &Path, kind: Kind) -> Result<(), Fault> {
    let text = fs::read(from).map_err(|error| Fault::file(from, reason(&error)))?;
    let mut fields: Map<String, Json> =
        serde_json::from_slice(&text).map_err(|error| Fault::file(from, error))?;
    let name = match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Double => "float64",
        _ => "float32",
    };
    let field = match fields.contains_key("dtype") {
        true => "dtype",
        false => "torch_dtype",
    };
    fields.insert(field.to_string(), name.into());
    let text = format!("{:#}\n", Json::Object(fields));
    fs::write(to, text).map_err(|error| Fault::file(to, reason(&error)))
}
