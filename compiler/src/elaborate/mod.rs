//! Elaboration: from syntax to typed graphs.
//!
//! Names, types and dimensions are checked while the graph is built: an expression is elaborated once,
//! and what comes out is a node with its type. A block is first elaborated by itself, over the dimensions
//! of its own signature; that is where its mistakes are reported. A call elaborates the body again over the
//! dimensions of its arguments, so blocks are inlined and nothing after this stage knows of them.
//!
//! `library`, `name` and `scope` say what a name means; `value` what an expression stands for, `expr` how it gets there
//! and `builder` how nodes are added. `block`, `model` and `pipeline` are the things that a file defines, `lint` is what
//! is allowed and seldom meant.

mod block;
mod builder;
mod expr;
mod kept;
mod library;
mod lint;
mod mask;
mod model;
mod name;
mod pipeline;
mod scope;
mod value;
mod walk;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use rlp_grammar::ast::{SourceId, Span};

use crate::diagnostic::Diagnostic;
use crate::elaborate::block::BlockState;
use crate::elaborate::block::taken::Taken;
use crate::elaborate::block::update::Update;
use crate::elaborate::builder::Level;
use crate::elaborate::library::Library;
use crate::elaborate::model::made::Made;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::Tensor;
use crate::graph::{CallId, NodeId};
use crate::plan::{MapPlan, Resource, TensorPlan, TransformPlan};
use crate::program::Settings;
use crate::source::Sources;
use crate::ty::DimId;

pub use expr::builtin::{BUILTINS, Builtin};

/// Something was wrong and has been reported: what depends on it is not looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported;

pub(crate) type Result<T> = std::result::Result<T, Reported>;

/// How many diagnostics are kept: nobody reads more.
const MAX_DIAGNOSTICS: usize = 1000;

/// How many names are looked through for one that was meant: a text of a megabyte may define many, and misspell as many.
const MAX_CANDIDATES: usize = 1000;

/// How deep blocks may call blocks.
const MAX_CALLS: usize = 64;

/// How many nodes one graph may have: a bound on memory, far above any real pipeline.
const MAX_NODES: usize = 1_000_000;

/// How many dimensions a type may have, and a signature in all: what is checked of them takes the square of that.
const MAX_DIMS: usize = 1000;

/// What is being elaborated: it decides what may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// A block by itself, or a test.
    Pure,
    /// A pipeline: gradients stop at rewards and advantages, samplers and models may be used.
    Pipeline,
    /// An optimizer's update rule.
    Update,
}

/// A call of a block that is being elaborated.
#[derive(Clone, Debug)]
struct Frame {
    /// `loss.ppo_clip`
    name: String,
    kind: String,
    span: Span,
    /// The call in the graph; `None` for a block that is elaborated by itself.
    call: Option<CallId>,
}

/// Everything that elaboration carries along.
pub(crate) struct Elaborator<'s> {
    pub(crate) library: Library<'s>,
    diagnostics: Vec<Diagnostic>,
    /// What was already reported: a block inlined twice has its mistake once.
    seen: HashSet<(&'static str, Span, String)>,
    mode: Mode,
    levels: Vec<Level>,
    /// The level that nodes are added to.
    level: usize,
    scope: Scope,
    /// The scope in which pending `let`s of a stage are elaborated.
    stage_scope: Option<Scope>,
    frames: Vec<Frame>,
    /// Blocks that were elaborated by themselves: whether they are sound.
    checked: HashMap<String, bool>,
    models: Vec<Resource>,
    transforms: Vec<TransformPlan>,
    data: Vec<Resource>,
    tensors: Vec<TensorPlan>,
    /// Models and data sources that are blocks of `.rlp`.
    made: Vec<Rc<Made>>,
    /// Models whose weights are a function of those of others.
    maps: Vec<MapPlan>,
    /// `@allow` statements in force.
    allows: Vec<(String, Span)>,
    /// The optimizer whose body is being elaborated.
    update: Option<Update>,
    /// Whether states of an optimizer are given from outside, or start at their initial value.
    states_are_inputs: bool,
    /// The states of a block that is elaborated by itself, with their next values.
    alone_states: Vec<(BlockState, Tensor)>,
    /// The dimensions of its signature whose size follows from that of others.
    alone_sizes: Vec<(DimId, NodeId)>,
    settings: Settings,
    /// The conditions of the branches around what is being elaborated.
    taken: Vec<Taken>,
}

impl<'s> Elaborator<'s> {
    pub(crate) fn new(sources: &'s dyn Sources, settings: Settings) -> Elaborator<'s> {
        Elaborator {
            library: Library::new(sources),
            diagnostics: Vec::new(),
            seen: HashSet::new(),
            mode: Mode::Pure,
            levels: Vec::new(),
            level: 0,
            scope: Scope::default(),
            stage_scope: None,
            frames: Vec::new(),
            checked: HashMap::new(),
            models: Vec::new(),
            transforms: Vec::new(),
            data: Vec::new(),
            tensors: Vec::new(),
            made: Vec::new(),
            maps: Vec::new(),
            allows: Vec::new(),
            update: None,
            states_are_inputs: false,
            alone_states: Vec::new(),
            alone_sizes: Vec::new(),
            settings,
            taken: Vec::new(),
        }
    }

    /// Reports a diagnostic, with the calls that led there, once.
    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) -> Reported {
        diagnostic.calls = self
            .frames
            .iter()
            .rev()
            .filter(|frame| frame.call.is_some())
            .map(|frame| (frame.name.clone(), frame.span))
            .collect();
        let key = (
            diagnostic.code,
            diagnostic.span(),
            diagnostic.message.clone(),
        );
        if self.diagnostics.len() < MAX_DIAGNOSTICS && self.seen.insert(key) {
            self.diagnostics.push(diagnostic);
        }
        Reported
    }

    /// Whether further diagnostics would not be kept, so that what they would say need not be found out.
    pub(crate) fn has_enough(&self) -> bool {
        self.diagnostics.len() >= MAX_DIAGNOSTICS
    }

    pub(crate) fn error<T>(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Result<T> {
        Err(self.report(Diagnostic::error(code, span, message)))
    }

    /// All diagnostics, sorted by place.
    pub(crate) fn take_diagnostics(&mut self) -> Vec<Diagnostic> {
        let mut all = std::mem::take(&mut self.library.diagnostics);
        all.append(&mut self.diagnostics);
        all.sort_by_key(|diagnostic| diagnostic.span());
        all
    }

    /// The file whose text is being elaborated.
    fn file(&self) -> SourceId {
        self.scope.file
    }

    /// Runs `body` with another scope in place of the current one.
    fn in_scope<T>(&mut self, scope: Scope, body: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.scope, scope);
        let result = body(self);
        self.scope = outer;
        result
    }

    /// Runs `body` on new graphs, apart from those being built.
    fn apart<T>(&mut self, mode: Mode, body: impl FnOnce(&mut Self) -> T) -> (T, Level) {
        let levels = std::mem::replace(&mut self.levels, vec![Level::default()]);
        let level = std::mem::replace(&mut self.level, 0);
        let mode = std::mem::replace(&mut self.mode, mode);
        let frames = std::mem::take(&mut self.frames);
        let stage_scope = self.stage_scope.take();
        let taken = std::mem::take(&mut self.taken);
        let result = body(self);
        self.taken = taken;
        self.stage_scope = stage_scope;
        self.frames = frames;
        self.mode = mode;
        self.level = level;
        let built = std::mem::replace(&mut self.levels, levels).swap_remove(0);
        (result, built)
    }
}
