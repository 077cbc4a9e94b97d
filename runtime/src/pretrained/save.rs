//! Trained weights in the layout that they were read in: `transformers` loads them back bit for bit.

use std::fs::{self, File};
use std::path::Path;

use rlp_frontend::files::{reason, write_file};
use serde_json::{Map, Value as Json, json};

use super::weights::{INDEX, WEIGHTS};
use crate::error::Fault;
use crate::model::{CausalLm, Parameter, write_tensors};
use crate::tensor::{Kind, Tensor};
use rlp_account::pretrained::{CONFIG, GENERATION_CONFIG};

/// The largest file of weights, as `transformers` writes them.
const SHARD: usize = 5_000_000_000;

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
    save_in_shards(model, from, to, SHARD)
}

/// As [`save`], in files of weights of at most so many bytes where one tensor is not larger.
///
/// # Errors
/// A file cannot be read or written.
pub fn save_in_shards(
    model: &CausalLm,
    from: &Path,
    to: &Path,
    most_bytes: usize,
) -> Result<(), Fault> {
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
    write_sharded(&own, model.kind(), to, most_bytes)?;
    if !heads.is_empty() {
        write(&heads, model.kind(), &to.join("value_head.safetensors"))?;
    }
    Ok(())
}

fn write(parameters: &[&Parameter], kind: Kind, path: &Path) -> Result<(), Fault> {
    let values: Vec<(&str, Tensor)> = parameters
        .iter()
        .map(|own| (own.name.as_str(), own.value.to_kind(kind)))
        .collect();
    let tensors = values.iter().map(|(name, value)| (*name, value));
    write_tensors(path, tensors).map_err(|error| Fault::file(path, error.message))
}

/// One file, or several of at most `most_bytes` (or of one tensor that is larger) with an index that names them.
fn write_sharded(
    parameters: &[&Parameter],
    kind: Kind,
    to: &Path,
    most_bytes: usize,
) -> Result<(), Fault> {
    let size = |own: &Parameter| own.value.numel() * kind.elt_size_in_bytes();
    let mut shards: Vec<Vec<&Parameter>> = vec![Vec::new()];
    let (mut filled, mut total) = (0, 0);
    for &own in parameters {
        let size = size(own);
        total += size;
        filled += size;
        match shards.last_mut() {
            Some(last) if filled <= most_bytes || last.is_empty() => last.push(own),
            Some(_) | None => {
                shards.push(vec![own]);
                filled = size;
            }
        }
    }
    if let [only] = shards.as_slice() {
        return write(only, kind, &to.join(WEIGHTS));
    }
    let mut map = Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        // One after the other, so that no more than a shard is there twice where the kinds differ.
        write(shard, kind, &to.join(&name))?;
        let names = shard
            .iter()
            .map(|own| (own.name.clone(), name.as_str().into()));
        map.extend(names);
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    let path = to.join(INDEX);
    write_file(&path, &format!("{index:#}\n")).map_err(|reason| Fault::file(&path, reason))
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
