//! The account of a plan: what its models hold, what each phase of each stage takes, and how long a step goes on.

use rlp_compiler::plan::Plan;
use rlp_grammar::ast::Span;

use crate::arguments::Known;
use crate::error::Unreadable;
use crate::language_model::LanguageModel;
use crate::lengths::Lengths;
use crate::machine::Speed;
use crate::memory::{Amounts, Term};
use crate::model::Dtype;
use crate::stage::stage;
use crate::work::{Work, Worker};

/// What a process holds before it opens a model: libtorch 2.11.0 for x86-64, the program and its kernels, measured as the
/// resident memory of a run whose model has 400 parameters.
const BASE: u64 = 141 << 20;
/// And what libtorch loads for its own products, where a model has no kernels: one with 5,744 parameters from a folder.
const BASE_OF_PRODUCTS: u64 = 11 << 20;
/// And where a GPU is used: on the GPU, what the driver and libtorch keep there.
const BASE_OF_GPU: u64 = 500 << 20;

/// On what a plan is to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    pub is_on_gpu: bool,
    pub threads: u64,
}

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Loading,
    Rollout,
    Update,
    Optimizer,
    Evaluation,
    Saving,
}

impl Phase {
    pub const ALL: [Phase; 6] = [
        Phase::Loading,
        Phase::Rollout,
        Phase::Update,
        Phase::Optimizer,
        Phase::Evaluation,
        Phase::Saving,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Loading => "loading",
            Phase::Rollout => "rollout",
            Phase::Update => "update",
            Phase::Optimizer => "optimizer",
            Phase::Evaluation => "evaluation",
            Phase::Saving => "saving",
        }
    }
}

/// What a pipeline takes.
#[derive(Clone, PartialEq, Debug)]
pub struct Account {
    pub pipeline: String,
    pub models: Vec<ModelAccount>,
    pub loading: Amounts,
    pub stages: Vec<StageAccount>,
    /// What was assumed, since nothing says it before a run.
    pub notes: Vec<String>,
    /// Whether times are known.
    pub has_times: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ModelAccount {
    pub name: String,
    /// Of its network, and those among them and beside them that are trained.
    pub parameters: u64,
    pub trained: u64,
    pub held: Dtype,
    pub computed: Dtype,
    /// Where the pipeline makes it.
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct StageAccount {
    pub name: String,
    pub steps: u64,
    /// Models by name, with their parameters.
    pub trained: Vec<(String, u64)>,
    pub frozen: Vec<(String, u64)>,
    /// What is in use at most, for each draw and each clause.
    pub phases: Vec<PhaseAccount>,
    /// Of a step.
    pub work: Work,
    /// Of the draws that only evaluations read.
    pub evaluation: Work,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PhaseAccount {
    pub phase: Phase,
    pub peak: Amounts,
    pub(crate) span: Span,
    /// Rows that are there at once.
    pub(crate) rows: Option<u64>,
}

impl StageAccount {
    /// The largest amounts of a phase; none if the stage has no such phase.
    pub fn peak(&self, phase: Phase) -> Option<&PhaseAccount> {
        let own = self.phases.iter().filter(|own| own.phase == phase);
        own.max_by_key(|own| own.peak.total())
    }
}

impl Account {
    /// The most that is in use at any moment.
    pub fn peak(&self) -> u64 {
        let phases = self.stages.iter().flat_map(|stage| &stage.phases);
        let all = phases.map(|own| own.peak.total());
        all.chain([self.loading.total()]).max().unwrap_or_default()
    }

    /// Seconds of all steps, if that is known. Evaluations are not among them.
    pub fn seconds(&self) -> Option<f64> {
        let stages = self.stages.iter();
        let all = stages.map(|stage| stage.steps as f64 * stage.work.seconds);
        self.has_times.then(|| all.sum())
    }
}

/// What an account is made from.
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) models: Vec<Option<LanguageModel>>,
    /// Of each data source.
    pub(crate) lengths: Vec<Lengths>,
    pub(crate) options: Options,
    speed: Option<&'a Speed>,
}

impl<'a> Context<'a> {
    pub(crate) fn worker(&self) -> Worker<'a> {
        Worker {
            speed: self.speed,
            threads: self.options.threads,
            work: Work::default(),
        }
    }

    /// Bytes of a tensor that is made before the run.
    pub(crate) fn of_tensor(&self, index: usize) -> u64 {
        let own = &self.plan.tensors[index];
        let graph = &own.graph;
        let dims = graph.ty(own.start).dims.iter();
        let sizes = dims.map(|&dim| graph.dims.get(dim).size.unwrap_or(1));
        4 * sizes.product::<u64>()
    }

    /// What is there from the first step to the last.
    pub(crate) fn standing(&self) -> Amounts {
        let models = self.models.iter().flatten().map(LanguageModel::weights);
        let tensors = (0..self.plan.tensors.len()).map(|index| self.of_tensor(index));
        let has_kernels = self.models.iter().flatten().all(LanguageModel::has_kernels);
        let base = match (self.options.is_on_gpu, has_kernels) {
            (true, _) => BASE_OF_GPU,
            (false, true) => BASE,
            (false, false) => BASE + BASE_OF_PRODUCTS,
        };
        Amounts::of(Term::Base, base).with(Term::Weights, models.chain(tensors).sum())
    }
}

/// The account of a plan, before or after its passes. Without `speed` it has no times.
///
/// # Errors
/// The folder of a model cannot be read; with the place where the pipeline names it.
pub fn account(
    plan: &Plan,
    options: Options,
    speed: Option<&Speed>,
) -> Result<Account, (Unreadable, Span)> {
    let mut models = Vec::new();
    for (index, resource) in plan.models.iter().enumerate() {
        let own = LanguageModel::of(plan, index).map_err(|error| (error, resource.span))?;
        models.push(own);
    }
    let learned = models
        .iter()
        .position(|own| own.as_ref().is_some_and(|own| own.is_pretrained));
    let is_chat = learned.is_some_and(|index| {
        let known = Known::of_resource(&plan.models[index]);
        known.flag("chat").unwrap_or_default()
    });
    let lengths = plan.data.iter().map(|task| {
        let own = Lengths::of(task);
        if learned.is_some() {
            own.learned(is_chat)
        } else {
            own
        }
    });
    let speed = speed.filter(|_| !options.is_on_gpu);
    let context = Context {
        plan,
        lengths: lengths.collect(),
        models,
        options,
        speed,
    };
    let largest = context.models.iter().flatten().map(|own| {
        // From scratch, numbers are drawn in f64, as a list and as a tensor.
        if own.is_pretrained {
            0
        } else {
            16 * own.largest()
        }
    });
    let loading = context
        .standing()
        .with(Term::Weights, largest.max().unwrap_or_default());
    let stages = plan.stages.iter().map(|own| stage(&context, own)).collect();
    Ok(Account {
        pipeline: plan.name.clone(),
        models: named(&context),
        loading,
        stages,
        notes: notes(&context),
        has_times: speed.is_some(),
    })
}

fn named(context: &Context<'_>) -> Vec<ModelAccount> {
    let models = context.models.iter().zip(&context.plan.models);
    let known = models.filter_map(|(own, resource)| {
        let own = own.as_ref()?;
        Some(ModelAccount {
            name: own.name.clone(),
            parameters: own.count(),
            trained: if own.is_trained {
                own.trainable_count()
            } else {
                0
            },
            held: own.held,
            computed: own.computed,
            span: resource.span,
        })
    });
    known.collect()
}

/// What nothing says before a run.
fn notes(context: &Context<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for (own, resource) in context.models.iter().zip(&context.plan.models) {
        if own.is_none() {
            notes.push(format!(
                "`{}` is not counted: it is no transformer",
                resource.name
            ));
        }
    }
    for (own, resource) in context.lengths.iter().zip(&context.plan.data) {
        if !own.is_known {
            notes.push(format!(
                "texts of `{}` are taken to have at most {} tokens",
                resource.name, own.prompt
            ));
        }
    }
    notes
}
