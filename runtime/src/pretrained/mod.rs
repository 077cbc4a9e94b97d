//! Models in the Hugging Face layout: a folder of `config.json`, safetensors files and `tokenizer.json`, read and written.

mod chat;
mod growth;
mod peft;
mod save;
mod tokens;
mod weights;

use std::path::{Path, PathBuf};

pub(crate) use peft::{read_adapter, save_adapter};
pub use save::{save, save_in_shards};
pub use tokens::{PretrainedTokenizer, Prompting};

use rlp_account::model::Dtype;
use rlp_account::pretrained::{self as described, Described};

use self::weights::Weights;
use crate::error::Fault;
use crate::model::{CausalLm, parameter_shapes};
use crate::tensor::{Device, Kind};
use crate::tokenizer::Tokenizer;

/// A folder that was opened: its configuration is known and its weights fit it, but none is read yet.
pub struct Pretrained {
    path: PathBuf,
    described: Described,
    weights: Weights,
}

impl Pretrained {
    /// Reads what a folder says of itself.
    ///
    /// # Errors
    /// A file is missing or is not what it should be, or the model is of a form that is not supported.
    pub fn open(path: &Path) -> Result<Pretrained, Fault> {
        let described = described::read(path)?;
        let weights = Weights::open(path)?;
        let layout = parameter_shapes(&described.config);
        weights.check(&layout, described.config.tied)?;
        Ok(Pretrained {
            path: path.to_path_buf(),
            described,
            weights,
        })
    }

    /// The kind that the model computes in: what is asked for, or that of the folder.
    fn kind(&self, asked: Option<Kind>) -> Result<Kind, Fault> {
        let described_kind = self.described.kind.map(kind_of);
        let of_weights = || self.weights.kind("model.embed_tokens.weight");
        match asked.or(described_kind).or_else(of_weights) {
            Some(kind @ (Kind::Float | Kind::Double | Kind::BFloat16)) => Ok(kind),
            Some(_) | None => Err(Fault::input_help(
                format!(
                    "the weights of `{}` are float16, in which nothing is computed",
                    self.path.display()
                ),
                "dtype: \"bf16\", or dtype: \"f32\"",
            )),
        }
    }

    /// The model with its weights; they are held in `held` if that is given, else in what the model computes in.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn load(
        &self,
        asked: Option<Kind>,
        held: Option<Kind>,
        device: Device,
    ) -> Result<CausalLm, Fault> {
        let kind = self.kind(asked)?;
        let config = self.described.config.clone();
        let read = |name: &str| self.weights.tensor(name, held.unwrap_or(kind), device);
        CausalLm::from_weights(config, kind, read)
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// It is missing or is none, or has no chat template where one is asked for.
    pub fn tokenizer(&self, prompting: Prompting) -> Result<Tokenizer, Fault> {
        let (ends, vocab) = (self.described.ends.clone(), self.described.config.vocab);
        let own = PretrainedTokenizer::open(&self.path, prompting, ends, vocab)?;
        Ok(Tokenizer::Pretrained(Box::new(own)))
    }
}

fn kind_of(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F16 => Kind::Half,
        Dtype::Bf16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
    }
}
