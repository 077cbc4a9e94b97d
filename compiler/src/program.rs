//! The driver: the stages of the compiler in order.

use rlp_grammar::ast::{Block, Item, Pipeline};

use crate::diagnostic::Diagnostic;
use crate::elaborate::Elaborator;
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
pub fn check(sources: &dyn Sources, main: &str, settings: &Settings) -> Checked {
    let mut elaborator = Elaborator::new(sources, settings.clone());
    let mut checked = Checked::default();
    if let Some(file) = elaborator.library.load(main, None) {
        for definition in elaborator.library.blocks(file) {
            elaborator.is_sound(&definition);
        }
        for item in &elaborator.library.file(file).items {
            match item {
                Item::Use(_) => {}
                Item::Block(block) => checked.blocks.push(block.clone()),
                Item::Pipeline(pipeline) => {
                    checked.plans.push(elaborator.pipeline(pipeline, file));
                    checked.pipelines.push(pipeline.clone());
                }
                Item::Test(test) => checked.tests.push(elaborator.test(test, file)),
            }
        }
    }
    checked.diagnostics = elaborator.take_diagnostics();
    checked.sources = std::mem::take(&mut elaborator.library.map);
    checked
}

/// A block to be evaluated alone, by its full name: `loss.ppo_clip`, or `FILE.rlp:loss.mine` of a user's file.
///
/// Arguments given in `settings` become constants.
pub fn block(
    sources: &dyn Sources,
    name: &str,
    settings: &Settings,
) -> (Result<BlockPlan, Vec<Diagnostic>>, SourceMap) {
    let mut elaborator = Elaborator::new(sources, Settings::default());
    let plan = elaborator.block_by_name(name, settings);
    let diagnostics = elaborator.take_diagnostics();
    let map = std::mem::take(&mut elaborator.library.map);
    match plan {
        Ok(plan)
            if !diagnostics
                .iter()
                .any(|diagnostic| diagnostic.severity == crate::diagnostic::Severity::Error) =>
        {
            (Ok(plan), map)
        }
        _ => (Err(diagnostics), map),
    }
}
