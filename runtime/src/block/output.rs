//! The results of a block as files: tensors in the safetensors format, texts in JSON.

use std::path::{Path, PathBuf};

use rlp_compiler::array::Elements;
use serde_json::{Number, Value as Json};

use super::nested;
use crate::error::{Fault, Result};
use crate::model::write_tensors;
use crate::tensor::Value;

/// Writes results by name, and returns the files that were written.
///
/// A path that ends in `.json` gets everything as nested lists, with `null` for what is not finite; another gets the
/// tensors, and beside it a `.json` file the texts, if there are any.
pub fn write(path: &Path, results: &[(String, Value)]) -> Result<Vec<PathBuf>> {
    let is_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let is_listed = |value: &Value| is_json || matches!(value, Value::Text(_));
    let (listed, tensors): (Vec<_>, Vec<_>) =
        results.iter().partition(|(_, value)| is_listed(value));
    let mut written = Vec::new();
    if !is_json {
        let tensors = tensors
            .iter()
            .map(|(name, value)| Ok((name.as_str(), value.tensor()?)));
        let tensors = tensors.collect::<Result<Vec<_>, Fault>>()?;
        write_tensors(path, tensors).map_err(|error| Fault::file(path, error.message))?;
        written.push(path.to_path_buf());
    }
    if is_json || !listed.is_empty() {
        let path = path.with_extension("json");
        std::fs::write(&path, format!("{}\n", to_json(listed)?))
            .map_err(|error| Fault::file(&path, error))?;
        written.push(path);
    }
    Ok(written)
}

/// Results by name, as nested lists with `null` for what is not finite.
pub fn to_json<'a>(results: impl IntoIterator<Item = &'a (String, Value)>) -> Result<Json, Fault> {
    let fields = results
        .into_iter()
        .map(|(name, value)| Ok((name.clone(), lists(value)?)));
    Ok(Json::Object(fields.collect::<Result<_, Fault>>()?))
}

fn lists(value: &Value) -> Result<Json, Fault> {
    let array = value.to_array()?;
    let mut leaves: Box<dyn Iterator<Item = Json>> = match array.elements {
        Elements::Real(values) => Box::new(
            values
                .into_iter()
                .map(|value| Number::from_f64(value).map_or(Json::Null, Json::Number)),
        ),
        Elements::Int(values) => Box::new(values.into_iter().map(Json::from)),
        Elements::Bool(values) => Box::new(values.into_iter().map(Json::from)),
        Elements::Text(texts) => Box::new(texts.into_iter().map(Json::from)),
    };
    Ok(nested::to_json(&value.shape(), &mut leaves))
}
