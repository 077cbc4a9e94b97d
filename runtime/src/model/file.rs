//! Named tensors in safetensors files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};
use tch::{Device, Kind, Tensor};

/// A file that could not be written, or read as what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub path: PathBuf,
    /// One lower-case sentence.
    pub message: String,
}

impl FileError {
    pub fn new(path: &Path, message: impl fmt::Display) -> FileError {
        FileError {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for FileError {}

/// Writes tensors of bf16, f32, f64, i64 or bool. The file appears whole or not at all, and one that stood there before
/// is replaced only then.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), FileError> {
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        let Some(dtype) = dtype(tensor.kind()) else {
            let message = format!(
                "`{name}` has elements of type {:?}, which is not stored",
                tensor.kind()
            );
            return Err(FileError::new(path, message));
        };
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        stored.push((
            name,
            Stored {
                tensor: tensor.detach(),
                dtype,
                shape,
            },
        ));
    }
    // What PyTorch's own writers put there; some readers insist on it.
    let header = [("format".to_owned(), "pt".to_owned())]
        .into_iter()
        .collect();
    safetensors::serialize_to_file(stored, Some(header), path)
        .map_err(|error| FileError::new(path, error))
}

/// Reads all tensors of a file, by name, to the host.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, FileError> {
    let bytes = std::fs::read(path).map_err(|error| FileError::new(path, error))?;
    tensors_of(&bytes).map_err(|message| FileError::new(path, message))
}

/// All tensors of a file that has been read, by name, on the host.
///
/// # Errors
/// A sentence: it is no safetensors file, or holds elements of another type.
pub(crate) fn tensors_of(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let Some(kind) = kind(view.dtype()) else {
            return Err(format!(
                "`{name}` has elements of type {:?}, which is not read",
                view.dtype()
            ));
        };
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        tensors.insert(
            name.to_owned(),
            Tensor::from_data_size(view.data(), &shape, kind),
        );
    }
    Ok(tensors)
}

const KINDS: [(Kind, Dtype); 5] = [
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Int64, Dtype::I64),
    (Kind::Bool, Dtype::BOOL),
];

fn dtype(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|pair| pair.0 == kind).map(|pair| pair.1)
}

fn kind(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|pair| pair.1 == dtype).map(|pair| pair.0)
}

struct Stored {
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        self.tensor
            .to_device(Device::Cpu)
            .contiguous()
            .copy_data_u8(&mut bytes, self.tensor.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}
