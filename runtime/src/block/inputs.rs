//! The arguments of a block as files hold them: tensors of safetensors files, nested lists of JSON files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use crate::error::{Fault, Result};
use crate::tensor::{Kind, Tensor};

/// What was given, by name.
#[derive(Debug, Default)]
pub struct Inputs(BTreeMap<String, Content>);

/// One thing that was given; its axes are in the order of the signature.
#[derive(Debug)]
pub enum Content {
    /// Of kind `Float`, `Double`, `Int64`, `Uint8` or `Bool`.
    Tensor(Tensor),
    /// A number, a truth value, a text, or lists of these, nested as deep as there are axes.
    Nested(serde_json::Value),
}

impl Clone for Content {
    fn clone(&self) -> Content {
        match self {
            Content::Tensor(tensor) => Content::Tensor(tensor.shallow_clone()),
            Content::Nested(value) => Content::Nested(value.clone()),
        }
    }
}

impl Inputs {
    /// Reads files: `.json` holds an object of nested lists, any other is in the safetensors format.
    pub fn read(paths: &[PathBuf]) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        for path in paths {
            let bytes = std::fs::read(path).map_err(|error| Fault::file(path, error))?;
            let is_json = path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
            let contents = if is_json {
                of_json(path, &bytes)?
            } else {
                of_safetensors(path, &bytes)?
            };
            for (name, content) in contents {
                if inputs.0.contains_key(&name) {
                    return Err(Fault::file(
                        path,
                        format!("`{name}` was given already, in another file"),
                    )
                    .into());
                }
                inputs.insert(&name, content);
            }
        }
        Ok(inputs)
    }

    /// Sets what a name stands for.
    pub fn insert(&mut self, name: &str, content: Content) {
        self.0.insert(name.to_string(), content);
    }

    pub fn get(&self, name: &str) -> Option<&Content> {
        self.0.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// If these hold `grad.0`, `grad.1`, … instead of `grad`: for each, the same inputs with it as `grad`.
    pub(super) fn by_gradient(&self) -> Vec<Inputs> {
        if self.0.contains_key("grad") {
            return Vec::new();
        }
        let gradients = (0..).map_while(|number| self.0.get(&format!("grad.{number}")));
        let with = |gradient: &Content| {
            let mut inputs = Inputs(self.0.clone());
            inputs.insert("grad", gradient.clone());
            inputs
        };
        gradients.map(with).collect()
    }
}

fn of_json(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Content)>, Fault> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| Fault::file(path, error))?;
    match value {
        serde_json::Value::Object(fields) => Ok(fields
            .into_iter()
            .map(|(name, value)| (name, Content::Nested(value)))
            .collect()),
        _ => Err(Fault::file(
            path,
            "an object is expected, with a field for each argument",
        )),
    }
}

fn of_safetensors(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Content)>, Fault> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| Fault::file(path, error))?;
    let mut contents = Vec::new();
    for (name, view) in file.iter() {
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        let load = |kind| Tensor::f_from_data_size(view.data(), &shape, kind);
        let tensor = match view.dtype() {
            Dtype::F32 => load(Kind::Float)?,
            Dtype::F64 => load(Kind::Double)?,
            Dtype::I64 => load(Kind::Int64)?,
            Dtype::I32 => load(Kind::Int)?.f_to_kind(Kind::Int64)?,
            Dtype::U8 => load(Kind::Uint8)?,
            // A byte other than 0 and 1 would be no bool to libtorch.
            Dtype::BOOL => load(Kind::Uint8)?.f_ne(0)?,
            other => {
                let reason =
                    format!("`{name}` holds {other:?}; inputs are F32, F64, I64, I32, U8 or BOOL");
                return Err(Fault::file(path, reason));
            }
        };
        contents.push((name.to_string(), Content::Tensor(tensor)));
    }
    Ok(contents)
}
