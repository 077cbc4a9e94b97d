//! The weights of a folder: safetensors files, mapped into memory, one or several with an index. Pickles are never read.
#![allow(unsafe_code, reason = "files are mapped into memory")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};
use rlp_frontend::files::reason;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::error::Fault;
use crate::model::filled;
use crate::tensor::{Device, Kind, Tensor};
use rlp_account::pretrained::Fields;

pub(super) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All tensors of a folder, by name.
pub(super) struct Weights {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Which shard holds each.
    places: BTreeMap<String, usize>,
}

struct Shard {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where the elements begin.
    start: usize,
}

/// The largest header that is read; those of real models are below a mebibyte.
const MOST_HEADER: u64 = 16 << 20;
const MOST_SHARDS: usize = 4096;

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
                if self.bytes(name)? != self.bytes("model.embed_tokens.weight")? {
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

    fn bytes(&self, name: &str) -> Result<&[u8], Fault> {
        let (shard, info) = self.find(name)?;
        let (start, end) = info.data_offsets;
        Ok(&shard.map[shard.start + start..shard.start + end])
    }

    /// A copy of a tensor in elements of `wanted`. What is mapped of the file is let go of, so that it is never held twice.
    pub(super) fn tensor(&self, name: &str, wanted: Kind, device: Device) -> Result<Tensor, Fault> {
        const AT_ONCE: usize = 32 << 20;
        let (shard, info) = self.find(name)?;
        let own = kind(info.dtype).ok_or_else(|| Fault::broken("the weights were checked"))?;
        let shape: Vec<i64> = info.shape.iter().map(|&size| size as i64).collect();
        let (start, end) = info.data_offsets;
        let places = (shard.start + start..shard.start + end).step_by(AT_ONCE);
        let parts = places.map(|place| {
            let length = AT_ONCE.min(shard.start + end - place);
            Part {
                shard,
                place,
                length,
            }
        });
        if own == wanted {
            let parts = parts.collect::<Vec<_>>();
            let tensor = filled(&shape, own, parts.iter().map(Part::bytes))?;
            return Ok(tensor.f_to_device(device)?);
        }
        let tensor = Tensor::f_empty(&shape, (wanted, device))?;
        let flat = tensor.f_view([-1])?;
        let mut first = 0;
        for part in parts {
            let count = (part.length / own.elt_size_in_bytes()) as i64;
            let elements = Tensor::f_from_data_size(part.bytes(), &[count], own)?;
            flat.f_narrow(0, first, count)?.f_copy_(&elements)?;
            first += count;
        }
        Ok(tensor)
    }
}

/// A part of a file that is read once.
struct Part<'a> {
    shard: &'a Shard,
    place: usize,
    length: usize,
}

impl Part<'_> {
    fn bytes(&self) -> &[u8] {
        &self.shard.map[self.place..][..self.length]
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // SAFETY: the pages are those of a file that is mapped to be read: whoever reads them again gets the same.
        // If they are not let go of, they only count for longer.
        let _ = unsafe {
            let (place, length) = (self.place, self.length);
            self.shard
                .map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, place, length)
        };
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Shard, Fault> {
        let fault = |error: std::io::Error| Fault::file(path, reason(&error));
        let file = File::open(path).map_err(fault)?;
        if !file.metadata().map_err(fault)?.is_file() {
            return Err(Fault::file(path, "it is no file"));
        }
        // SAFETY: the map is only read. As of every mapped file, nobody may shorten this one meanwhile, which is as
        // long as the model is being opened.
        let map = unsafe { Mmap::map(&file) }.map_err(fault)?;
        let length: Option<[u8; 8]> = map.first_chunk().copied();
        if length.is_none_or(|length| u64::from_le_bytes(length) > MOST_HEADER) {
            return Err(Fault::file(
                path,
                "it is no safetensors file: its header is missing or too large",
            ));
        }
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| Fault::file(path, format!("it is no safetensors file: {error}")))?;
        Ok(Shard {
            path: path.to_path_buf(),
            map,
            metadata,
            start: 8 + header,
        })
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
