//! What a run is started with: enough to go on with it, or to run the same once more.

use std::collections::BTreeMap;

use rlp_compiler::plan::Plan;
use rlp_compiler::resolved::plain;
use rlp_compiler::source::SourceMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

/// `run.json` in the folder of a run; and, with an account of what it takes, a plan.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The version of the program.
    pub rlpc: String,
    pub pipeline: String,
    /// The file that holds it, among the sources.
    pub file: String,
    /// The settings as they were given, and every setting as it is.
    pub set: Vec<(String, String)>,
    pub settings: Map<String, Json>,
    pub seed: u64,
    pub steps: Option<u64>,
    pub executor: String,
    pub device: String,
    pub threads: i32,
    pub checkpoints: CheckpointWishes,
    /// The sum of the files of the standard library that are used.
    pub standard: String,
    /// The other files, by path.
    pub sources: BTreeMap<String, String>,
}

/// When a run is saved, in the words of the command line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckpointWishes {
    pub every: Option<String>,
    pub keep: usize,
    pub best: Option<String>,
}

/// What of a description a command line says.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    pub set: Vec<(String, String)>,
    pub seed: u64,
    pub steps: Option<u64>,
    pub executor: String,
    pub device: String,
    pub threads: i32,
    pub checkpoints: CheckpointWishes,
}

impl Description {
    /// Of a pipeline in `file`, checked from `sources`.
    pub fn new(asked: Asked, plan: &Plan, file: &str, sources: &SourceMap) -> Description {
        let settings = plan.settings.iter();
        let own = sources.iter().filter(|source| !is_standard(&source.path));
        Description {
            rlpc: env!("CARGO_PKG_VERSION").to_string(),
            pipeline: plan.name.clone(),
            file: file.to_string(),
            set: asked.set,
            settings: settings
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
            seed: asked.seed,
            steps: asked.steps,
            executor: asked.executor,
            device: asked.device,
            threads: asked.threads,
            checkpoints: asked.checkpoints,
            standard: standard(sources),
            sources: own
                .map(|source| (source.path.clone(), source.text.to_string()))
                .collect(),
        }
    }
}

/// The sum of the files of the standard library among the sources.
pub fn standard(sources: &SourceMap) -> String {
    let used = sources.iter().filter(|source| is_standard(&source.path));
    sum(used.flat_map(|source| [source.path.as_str(), source.text.as_ref()]))
}

pub(crate) fn is_standard(path: &str) -> bool {
    path.starts_with("std/")
}

/// The SHA-256 of texts, one after the other.
pub fn sum<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut sum = Sha256::new();
    texts.into_iter().for_each(|text| sum.update(text));
    hexadecimal(&sum.finalize())
}

/// Two digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
