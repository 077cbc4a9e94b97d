//! `run.json`: what a run was started with, enough to go on with it or to run the same once more.

use std::collections::BTreeMap;

use clap::ValueEnum;
use rlp_compiler::plan::Plan;
use rlp_compiler::resolved::plain;
use rlp_compiler::source::SourceMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::arguments::{Device, Executor, Run};
use crate::checkpoint::cadence::{Every, Metric, Wishes};
use crate::checkpoint::manifest::sum;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    /// The version of the program.
    pub(crate) rlpc: String,
    pub(crate) pipeline: String,
    /// The file that holds it, among the sources.
    pub(crate) file: String,
    /// The settings as they were given, and every setting as it is.
    pub(crate) set: Vec<(String, String)>,
    pub(crate) settings: Map<String, Json>,
    pub(crate) seed: u64,
    pub(crate) steps: Option<u64>,
    executor: String,
    device: String,
    pub(crate) threads: i32,
    checkpoints: Checkpoints,
    /// The sum of the files of the standard library that are used.
    pub(crate) standard: String,
    /// The other files, by path.
    pub(crate) sources: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Checkpoints {
    every: Option<String>,
    keep: usize,
    best: Option<String>,
}

impl Description {
    pub(crate) fn new(
        arguments: &Run,
        plan: &Plan,
        file: &str,
        sources: &SourceMap,
    ) -> Description {
        let settings = plan.settings.iter();
        let own = sources.iter().filter(|source| !is_standard(&source.path));
        Description {
            rlpc: env!("CARGO_PKG_VERSION").to_string(),
            pipeline: plan.name.clone(),
            file: file.to_string(),
            set: arguments.settings.clone(),
            settings: settings
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
            seed: arguments.seed,
            steps: arguments.steps,
            executor: arguments.executor.name().to_string(),
            device: name_of(arguments.machine.device),
            threads: tch::get_num_threads(),
            checkpoints: Checkpoints {
                every: arguments.checkpoint_every.map(Every::text),
                keep: arguments.keep,
                best: arguments.best.as_ref().map(Metric::text),
            },
            standard: standard(sources),
            sources: own
                .map(|source| (source.path.clone(), source.text.to_string()))
                .collect(),
        }
    }

    pub(crate) fn executor(&self) -> Result<Executor, String> {
        Executor::from_str(&self.executor, false)
    }

    pub(crate) fn device(&self) -> Result<Device, String> {
        Device::from_str(&self.device, false)
    }

    pub(crate) fn wishes(&self) -> Result<Wishes, String> {
        let Checkpoints { every, keep, best } = &self.checkpoints;
        Ok(Wishes {
            every: every.as_deref().map(Every::parse).transpose()?,
            keep: *keep,
            best: best.as_deref().map(Metric::parse).transpose()?,
        })
    }
}

/// The sum of the files of the standard library among the sources.
pub(crate) fn standard(sources: &SourceMap) -> String {
    let used = sources.iter().filter(|source| is_standard(&source.path));
    sum(used.flat_map(|source| [source.path.as_str(), source.text.as_ref()]))
}

fn is_standard(path: &str) -> bool {
    path.starts_with("std/")
}

fn name_of(device: Device) -> String {
    format!("{device:?}").to_lowercase()
}
