//! The weights of a folder: safetensors files, one or several with an index. Pickles are never read.
//!
//! Each tensor is read from its place in its file. A file that is mapped into memory would end the process if somebody cut
//! it meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rlp_frontend::files::reason;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::Fault;
use crate::model::read;
use crate::tensor::{Device, Kind, Tensor};
use rlp_account::pretrained::Fields;

pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// All tensors of a folder, by name.
pub(super) struct Weights {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Which shard holds each.
    places: BTreeMap<String, usize>,
}

struct Shard {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the elements begin.
    start: u64,
}

/// The largest header that is read; those of real models are below a mebibyte.
const MOST_HEADER: u64 = 16 << 20;
const MOST_SHARDS: usize = 4096;
/// So much of a file is held beside the tensors.
const AT_ONCE: usize = 32 << 20;

impl Weights {
    pub(super) fn open(folder: &Path) -> Result<Weights, Fault> {
        let mut weights = Weights {
            folder: folder.to_path_buf(),
            shards: Vec::new(),
            places: BTreeMap::new(),
        };
        let single = folder.join(WEIGHTS);
        if single.exists() {
            let shard = Shard::open(&single)?;
            let names = shard.metadata.offset_keys().into_iter();
            weights.places = names.map(|name| (name, 0)).collect();
            weights.shards.push(shard);
            return Ok(weights);
        }
        let index = folder.join(INDEX);
        let Some(mut index) = Fields::read(&index)? else {
            let message = format!(
                "`{}` holds neither `{WEIGHTS}` nor `{INDEX}`",
                folder.display()
            );
            let help =
                "weights are read from safetensors files, never from pickles (`pytorch_model.bin`)";
            return Err(Fault::input_help(message, help));
        };
        let map = index.object("weight_map")?;
        let mut map = map.ok_or_else(|| index.missing("weight_map"))?;
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for name in map.names() {
            let file = map.text(&name)?.ok_or_else(|| map.missing(&name))?;
            let number = match numbers.get(&file) {
                Some(&number) => number,
                None => {
                    if !is_plain_name(&file) {
                        let message = format!(
                            "the weights of `{name}` are said to be in `{file}`, which is no safetensors file of this folder"
                        );
                        return Err(index.fault(message).into());
                    }
                    if numbers.len() == MOST_SHARDS {
                        let message = format!("it names more than {MOST_SHARDS} files");
                        return Err(index.fault(message).into());
                    }
                    weights.shards.push(Shard::open(&folder.join(&file))?);
                    numbers.insert(file.clone(), weights.shards.len() - 1);
                    weights.shards.len() - 1
                }
            };
            if weights.shards[number].metadata.info(&name).is_none() {
                let message = format!("`{file}` does not hold `{name}`");
                return Err(index.fault(message).into());
            }
            weights.places.insert(name, number);
        }
        Ok(weights)
    }

    /// The kind of the elements of a tensor.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let shard = &self.shards[*self.places.get(name)?];
        kind(shard.metadata.info(name)?.dtype)
    }

    /// Checks, before anything is allocated, that the tensors of `layout` are there in their shapes, and no others. A
    /// head beside an embedding that it is tied to must be the same.
    pub(super) fn check(&self, layout: &[(String, Vec<i64>)], tied: bool) -> Result<(), Fault> {
        for (name, shape) in layout {
            let (shard, info) = self.find(name)?;
            let found = info.shape.iter().map(|&size| size as i64);
            if !found.eq(shape.iter().copied()) {
                let message = format!(
                    "`{name}` has the shape {:?} where the model has {shape:?}",
                    info.shape
                );
                return Err(Fault::file(&shard.path, message));
            }
            if kind(info.dtype).is_none() {
                let message = format!(
                    "`{name}` has elements of type {:?}; F32, BF16 and F16 are read",
                    info.dtype
                );
                return Err(Fault::file(&shard.path, message));
            }
        }
        for (name, &number) in &self.places {
            let is_known = layout.iter().any(|(own, _)| own == name);
            // What old versions of `transformers` saved of what follows from the configuration.
            if is_known || name.ends_with(".rotary_emb.inv_freq") {
                continue;
            }
            let path = &self.shards[number].path;
            if tied && name == "lm_head.weight" {
                if !self.is_same(name, "model.embed_tokens.weight")? {
                    let message = "`lm_head.weight` differs from the embedding that `tie_word_embeddings` makes it";
                    return Err(Fault::file(path, message));
                }
                continue;
            }
            let message = format!("`{name}` is no weight of a model like this");
            return Err(Fault::file(path, message));
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<(&Shard, &TensorInfo), Fault> {
        let number = self.places.get(name);
        let found = number.and_then(|&number| {
            let shard = &self.shards[number];
            Some((shard, shard.metadata.info(name)?))
        });
        found.ok_or_else(|| Fault::file(&self.folder, format!("the weight `{name}` is missing")))
    }

    /// Whether two tensors have the same bytes.
    fn is_same(&self, name: &str, other: &str) -> Result<bool, Fault> {
        let ((one, own), (two, others)) = (self.find(name)?, self.find(other)?);
        if own.dtype != others.dtype || own.shape != others.shape {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for part in parts(own) {
            one.read(own, part, &mut ours)?;
            two.read(others, part, &mut theirs)?;
            if ours != theirs {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A copy of a tensor in elements of `wanted`.
    pub(super) fn tensor(&self, name: &str, wanted: Kind, device: Device) -> Result<Tensor, Fault> {
        let (shard, info) = self.find(name)?;
        let own = kind(info.dtype).ok_or_else(|| Fault::broken("the weights were checked"))?;
        let shape: Vec<i64> = info.shape.iter().map(|&size| size as i64).collect();
        if own == wanted {
            let place = shard.start + info.data_offsets.0 as u64;
            let tensor = read(&shape, own, &shard.file, place)?;
            let tensor = tensor.map_err(|error| shard.unreadable(&error))?;
            return Ok(tensor.f_to_device(device)?);
        }
        let tensor = Tensor::f_empty(&shape, (wanted, device))?;
        let flat = tensor.f_view([-1])?;
        let mut bytes = Vec::new();
        for part in parts(info) {
            shard.read(info, part, &mut bytes)?;
            let size = own.elt_size_in_bytes();
            let (first, count) = ((part.0 / size) as i64, (part.1 / size) as i64);
            let elements = Tensor::f_from_data_size(&bytes, &[count], own)?;
            flat.f_narrow(0, first, count)?.f_copy_(&elements)?;
        }
        Ok(tensor)
    }
}

/// Where the parts of a tensor that are read at once begin among its bytes, and how long they are.
fn parts(info: &TensorInfo) -> impl Iterator<Item = (usize, usize)> {
    let (start, end) = info.data_offsets;
    let length = end - start;
    let places = (0..length).step_by(AT_ONCE);
    places.map(move |place| (place, AT_ONCE.min(length - place)))
}

impl Shard {
    fn open(path: &Path) -> Result<Shard, Fault> {
        let fault = |error: io::Error| Fault::file(path, reason(&error));
        let none = |why: &str| Fault::file(path, format!("it is no safetensors file: {why}"));
        // A pipe would be waited for when it is opened.
        let found = fs::metadata(path).map_err(fault)?;
        if !found.is_file() {
            return Err(Fault::file(path, "it is no file"));
        }
        let file = File::open(path).map_err(fault)?;
        let mut length = [0; 8];
        let length = file
            .read_exact_at(&mut length, 0)
            .map(|()| u64::from_le_bytes(length));
        let length = length.ok().filter(|&length| length <= MOST_HEADER);
        let length = length.ok_or_else(|| none("its header is missing or too large"))?;
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, 8)
            .map_err(|_| none("its header is cut"))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| none(&error.to_string()))?;
        let start = 8 + length;
        let end = start.checked_add(metadata.data_len() as u64);
        if end != Some(found.len()) {
            return Err(none("it is not as long as its header says"));
        }
        Ok(Shard {
            path: path.to_path_buf(),
            file,
            metadata,
            start,
        })
    }

    /// Reads a part of a tensor, given by where it begins and how long it is.
    fn read(
        &self,
        info: &TensorInfo,
        (place, length): (usize, usize),
        to: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        to.resize(length, 0);
        let place = self.start + (info.data_offsets.0 + place) as u64;
        let read = self.file.read_exact_at(to, place);
        read.map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &io::Error) -> Fault {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it was cut while it was read".to_string(),
            _ => reason(error),
        };
        Fault::file(&self.path, why)
    }
}

/// Whether a file can only be in the folder itself.
fn is_plain_name(name: &str) -> bool {
    let path = Path::new(name);
    let mut parts = path.components();
    let is_plain = matches!(parts.next(), Some(Component::Normal(only)) if only == name);
    is_plain && parts.next().is_none() && name.ends_with(".safetensors")
}

fn kind(dtype: Dtype) -> Option<Kind> {
    const KINDS: [(Dtype, Kind); 3] = [
        (Dtype::F32, Kind::Float),
        (Dtype::BF16, Kind::BFloat16),
        (Dtype::F16, Kind::Half),
    ];
    KINDS.iter().find(|pair| pair.0 == dtype).map(|pair| pair.1)
}
