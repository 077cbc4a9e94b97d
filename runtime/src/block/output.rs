//! The results of a block as files: tensors in the safetensors format, texts in JSON.

use std::path::{Path, PathBuf};

use rlp_compiler::array::Elements;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Number, Value as Json};

use super::nested;
use crate::error::{Fault, Result};
use crate::tensor::{Device, Kind, Tensor, Value};

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
        write_tensors(path, &tensors)?;
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

fn write_tensors(path: &Path, tensors: &[&(String, Value)]) -> Result<()> {
    let mut contents = Vec::new();
    for (name, value) in tensors {
        let (dtype, bytes) = bytes(value.tensor()?)?;
        contents.push((
            name,
            dtype,
            value
                .shape()
                .iter()
                .map(|&size| size as usize)
                .collect::<Vec<_>>(),
            bytes,
        ));
    }
    let views = contents.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes)
            .map_err(|error| Fault::file(path, error))?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, Fault>>()?;
    Ok(safetensors::serialize_to_file(views, None, path)
        .map_err(|error| Fault::file(path, error))?)
}

/// The elements in row-major order, little-endian.
fn bytes(tensor: &Tensor) -> Result<(Dtype, Vec<u8>), Fault> {
    let dtype = match tensor.f_kind()? {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Int64 => Dtype::I64,
        Kind::Bool => Dtype::BOOL,
        other => {
            return Err(Fault::broken(format!(
                "no result has elements of kind {other:?}"
            )));
        }
    };
    let tensor = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok((dtype, bytes))
}
