//! The driver: the stages of the compiler in order.

use rlp_grammar::ast::{Block, Pipeline};

use crate::diagnostic::Diagnostic;
use crate::plan::{BlockPlan, Plan, TestPlan};
use crate::source::{SourceMap, Sources};

/// Values for the `param`s of a pipeline, or for the arguments of a block: `--set name=value`, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings(pub Vec<(String, String)>);

/// A file that was checked: everything that could be understood of it, and everything that is wrong with it.
#[derive(Debug, Default)]
pub struct Checked {
    pub sources: SourceMap,
    /// Sorted by place. Without an error among them, `plans` and `tests` are whole.
    pub diagnostics: Vec<Diagnostic>,
    /// One for each `pipeline` of the file, in order.
    pub plans: Vec<Plan>,
    /// One for each `test` of the file, in order.
    pub tests: Vec<TestPlan>,
    /// The blocks that the file defines.
    pub blocks: Vec<Block>,
    pub pipelines: Vec<Pipeline>,
}

/// Checks a file: never fails, always answers. `settings` applies to its pipelines.
pub fn check(_sources: &dyn Sources, _main: &str, _settings: &Settings) -> Checked {
    Checked::default()
}

/// Checks one file of the standard library (its blocks and tests), as [`check`].
pub fn check_library(sources: &dyn Sources, path: &str) -> Checked {
    check(sources, path, &Settings::default())
}

/// A block to be evaluated alone, by its full name (`loss.ppo_clip`, or `mine.rlp:my_loss` of a user's file).
/// Text arguments and parameters given in `settings` become constants. The second part holds the sources, for messages.
pub fn block(_sources: &dyn Sources, _name: &str, _settings: &Settings) -> (Result<BlockPlan, Vec<Diagnostic>>, SourceMap) {
    (Err(Vec::new()), SourceMap::default())
}
