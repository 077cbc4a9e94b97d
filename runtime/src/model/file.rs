//! Named tensors in safetensors files.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use rlp_frontend::files::reason;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
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

/// Writes tensors of bf16, f32, f64, i64 or bool. The file appears whole or not at all, is safe on the disk by then, and
/// one that stood there before is replaced only then.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), FileError> {
    let fault = |error: &dyn fmt::Display| FileError::new(path, error);
    let mut stored = Vec::new();
    for (name, tensor) in tensors {
        let kind = tensor.kind();
        let dtype = dtype(kind).ok_or_else(|| {
            FileError::new(
                path,
                format!("`{name}` has elements of type {kind:?}, which is not stored"),
            )
        })?;
        stored.push((name, dtype, tensor));
    }
    // The widest elements first, so that all are aligned; then by name.
    stored.sort_by_key(|&(name, dtype, _)| (Reverse(dtype), name));
    let mut end = 0;
    let described = stored.iter().map(|&(name, dtype, tensor)| {
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        let start = end;
        end += bytes_of(tensor);
        let data_offsets = (start, end);
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets,
        };
        (name.to_owned(), info)
    });
    // What PyTorch's own writers put there; some readers insist on it.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata =
        Metadata::new(Some(format), described.collect()).map_err(|error| fault(&error))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| fault(&error))?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&beside)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, _, tensor) in &stored {
            file.write_all(&bytes(tensor))?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // What is left of the attempt is of no use, and of no harm if it cannot be removed either.
        let _ = fs::remove_file(&beside);
        fault(&reason(&error))
    })
}

/// Reads all tensors of a file, by name, to the host.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, FileError> {
    let fault = |error: io::Error| FileError::new(path, reason(&error));
    // A pipe would be waited for, and a device never end.
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(FileError::new(path, "it is no file"));
    }
    let bytes = fs::read(path).map_err(fault)?;
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

fn bytes_of(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

/// The elements in row-major order, little-endian.
pub(crate) fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; bytes_of(tensor)];
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}
