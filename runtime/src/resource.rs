//! The models and data sources of a plan, opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use rlp_account::language_model::config_from_scratch;
use rlp_compiler::array::Elements;
use rlp_compiler::graph::{DrawArg, Graph, ModelOutput, ModelRef, Op};
use rlp_compiler::plan::{MapPlan, Plan, Resource, ResourceArg, StagePlan};
use rlp_data::DataError;

use crate::data::{
    Arithmetic, ChainSum, Letters, LettersAfter, LettersPeak, Limits, Mixture, RunningSum, Task,
    files,
};
use crate::error::{Fault, Result, RunError};
use crate::executor::Kernels;
use crate::mapped::{made_of_others, mapped};
use crate::model::CausalLm;
use crate::pretrained::{Pretrained, Prompting};
use crate::random::{Purpose, Stream};
use crate::state::{Archive, replace};
use crate::tensor::{Device, Kind, without_gradient};
use crate::tokenizer::Tokenizer;
use crate::torch::Context;
use crate::trainable::{self, Trainable};
use crate::transform::Transformed;

/// Everything that stages share.
pub struct World {
    /// By their index in the plan.
    pub models: Vec<Model>,
    /// How those of them that are made of others have their weights.
    pub maps: Vec<MapPlan>,
    /// The tensors of the plan, by their index in it.
    pub tensors: Vec<Trainable>,
    pub tasks: Vec<Box<dyn Task>>,
    /// How all models read and write text: sequences are drawn once, whichever models then read them.
    pub tokenizer: Rc<Tokenizer>,
    pub seed: u64,
    /// The kind of reals: `Float` or `Double`.
    pub kind: Kind,
    pub device: Device,
    /// The machine code that stages share; graphs run node by node without.
    pub kernels: Option<Rc<Kernels>>,
}

/// A language model of the plan.
pub struct Model {
    /// The name the pipeline gives it.
    pub name: String,
    pub network: CausalLm,
    /// Where it was read from, if it is a pretrained one.
    pub(crate) folder: Option<PathBuf>,
    /// What it is of another one, if it is one seen through a transform.
    pub(crate) transformed: Option<Box<Transformed>>,
    /// Whether its weights may become others than those of `folder`: some stage trains it, or it is made of others.
    pub(crate) has_own_weights: bool,
}

impl Model {
    /// Whether a run keeps its weights: those of a folder that nothing trains are there already.
    pub(crate) fn is_kept(&self) -> bool {
        self.has_own_weights || self.folder.is_none() || self.transformed.is_some()
    }
}

impl World {
    /// Makes the models and data sources of a plan. Weights are drawn from `seed`. Graphs will run as kernels.
    pub fn open(plan: &Plan, seed: u64, kind: Kind, device: Device) -> Result<World> {
        let stream = Stream::new(seed, Purpose::Initialise);
        let mut models: Vec<Model> = Vec::new();
        let mut tokenizer: Option<Tokenizer> = None;
        for (index, resource) in plan.models.iter().enumerate() {
            if let Some(map) = plan.maps.iter().find(|map| map.model == index) {
                let made = made_of_others(map, resource, &models)
                    .map_err(|error| error.at_span(resource.span))?;
                models.push(made);
                continue;
            }
            let making = Making {
                seed: stream.at(index as u64).bits(0),
                kind,
                device,
                is_trained: is_trained(plan, index),
            };
            if resource.block == "apply" {
                let context = Context {
                    kind,
                    device,
                    seed: making.seed,
                    step: 1,
                    steps: 1,
                };
                let mut model = without_gradient(|| {
                    Transformed::open(plan, resource, index, &models, context)
                })?;
                if reads_value(plan, index) {
                    model.add_value_head();
                }
                models.push(model);
                continue;
            }
            let opened = open_model(resource, making).and_then(|(model, own)| {
                if let (Some(tokenizer), Some(first)) = (&tokenizer, models.first())
                    && *tokenizer != own
                {
                    return Err(Fault::input(format!(
                        "`{}` and `{}` read text by different tokenizers, and the models of a pipeline share their sequences",
                        first.name, model.name
                    )));
                }
                Ok((model, own))
            });
            let (mut model, own) =
                opened.map_err(|fault| RunError::from(fault).at_span(resource.span))?;
            tokenizer.get_or_insert(own);
            if resource.block == "model.value_lm" || reads_value(plan, index) {
                model.add_value_head();
            }
            models.push(model);
        }
        let tokenizer = Rc::new(tokenizer.unwrap_or(Tokenizer::Bytes));
        let open = |(index, resource): (usize, &Resource)| {
            let limits = Limits::of(plan, index, &models);
            let opened = files::open(resource, &limits, &tokenizer).and_then(|task| match task {
                Some(task) => Ok(task),
                None => open_task(resource, seed),
            });
            opened.map_err(|fault| RunError::from(fault).at_span(resource.span))
        };
        let data = plan.data.iter().enumerate();
        let tasks = data.map(open).collect::<Result<_>>()?;
        Ok(World {
            models,
            maps: plan.maps.clone(),
            tokenizer,
            tensors: trainable::open(plan, seed, kind, device)?,
            tasks,
            seed,
            kind,
            device,
            kernels: Some(Rc::new(Kernels::new())),
        })
    }
}

impl World {
    /// What is the same as long as the files of the data sources are.
    pub(crate) fn digests(&self) -> Vec<Option<String>> {
        self.tasks.iter().map(|task| task.digest()).collect()
    }

    /// What a user should know of the files of the data sources.
    pub(crate) fn warnings(&self) -> Vec<DataError> {
        let warnings = self.tasks.iter().map(|task| task.warning());
        warnings.flatten().collect()
    }
}

/// The frozen copies of one stage, by model and period.
pub(crate) struct Frozen(BTreeMap<(usize, u64), CausalLm>);

impl Frozen {
    /// The copies that the graph and the draws of a stage name.
    pub(crate) fn new<'a>(
        named: impl Iterator<Item = &'a ModelRef>,
        world: &World,
    ) -> Result<Frozen> {
        let mut due = BTreeSet::new();
        named.for_each(|model| world.copies(model, &mut due));
        let mut frozen = Frozen(BTreeMap::new());
        frozen.take(due, world)?;
        Ok(frozen)
    }

    /// Takes the copies anew that are due at the start of a step, counted from 1.
    pub(crate) fn refresh(&mut self, step: u64, world: &World) -> Result<()> {
        let is_due = |&&(_, period): &&(usize, u64)| {
            period > 0 && step > 1 && (step - 1).is_multiple_of(period)
        };
        let due = self.0.keys().filter(is_due).copied().collect();
        self.take(due, world)
    }

    /// In ascending order: a model that is made of others comes after them.
    fn take(&mut self, due: BTreeSet<(usize, u64)>, world: &World) -> Result<()> {
        for (model, period) in due {
            let network = &world.models[model].network;
            let map = world.maps.iter().find(|map| map.model == model);
            let copy = match map {
                None => network.deep_copy(),
                Some(map) => mapped(map, network, |of| self.resolve(of, world))?,
            };
            self.0.insert((model, period), copy);
        }
        Ok(())
    }

    pub(crate) fn save(&self, archive: &mut Archive) {
        let Frozen(copies) = self;
        for ((model, period), copy) in copies {
            for own in copy.parameters() {
                archive.put_tensor(&format!("frozen.{model}.{period}.{}", own.name), &own.value);
            }
        }
    }

    pub(crate) fn restore(&mut self, archive: &mut Archive, device: Device) -> Result<(), Fault> {
        for ((model, period), copy) in &mut self.0 {
            for own in copy.parameters_mut() {
                let name = format!("frozen.{model}.{period}.{}", own.name);
                replace(
                    &mut own.value,
                    Some(archive.take_tensor(&name, device)?),
                    device,
                )?;
            }
        }
        Ok(())
    }

    /// The model that an expression names.
    pub(crate) fn resolve<'a>(
        &'a self,
        model: &ModelRef,
        world: &'a World,
    ) -> Result<&'a CausalLm, Fault> {
        match model.frozen {
            None => Ok(&world.models[model.model].network),
            Some(period) => {
                let copy = self.0.get(&(model.model, period));
                copy.ok_or_else(|| Fault::broken("a frozen copy was taken when its stage started"))
            }
        }
    }
}

fn reads_value(plan: &Plan, index: usize) -> bool {
    let reads = |op: &Op| matches!(op, Op::Model { model, output: ModelOutput::Value } if model.model == index);
    plan.stages
        .iter()
        .any(|stage| stage.graph.ids().any(|id| reads(stage.graph.op(id))))
}

/// Whether a stage reads a model, or one that is seen through transforms of it.
pub(crate) fn reads(plan: &Plan, stage: &StagePlan, model: usize) -> bool {
    let mut refs = model_refs(&stage.graph).into_iter();
    let mut above = plan.transforms.iter();
    refs.any(|own| own.model == model)
        || above.any(|own| own.base.model == model && reads(plan, stage, own.model))
}

/// The models that the graph of a stage names.
pub(crate) fn model_refs(graph: &Graph) -> Vec<&ModelRef> {
    let mut refs = Vec::new();
    for id in graph.ids() {
        if let Op::Model { model, .. } | Op::Backward { model, .. } = graph.op(id) {
            refs.push(model);
        }
    }
    for (_, arg) in graph.draws.iter().flat_map(|draw| &draw.args) {
        if let DrawArg::Model(model) = arg {
            refs.push(model);
        }
    }
    refs
}

pub(crate) fn is_trained(plan: &Plan, index: usize) -> bool {
    let mut trains = plan.stages.iter().flat_map(|stage| &stage.trains);
    trains.any(|train| train.targets.contains(&index))
}

/// What a model is made for.
#[derive(Clone, Copy)]
struct Making {
    seed: u64,
    kind: Kind,
    device: Device,
    is_trained: bool,
}

fn open_model(resource: &Resource, making: Making) -> Result<(Model, Tokenizer), Fault> {
    if !matches!(
        resource.block.as_str(),
        "model.causal_lm" | "model.value_lm"
    ) {
        return Err(Fault::input(format!(
            "`{}` is not a model that this engine can make",
            resource.block
        )));
    }
    let dtype = match text(resource, "dtype")? {
        "bf16" => Some(Kind::BFloat16),
        "f32" => Some(making.kind),
        _ => None,
    };
    let size = text(resource, "size")?;
    let (mut network, tokenizer, folder) = if size.contains('/') {
        let folder = PathBuf::from(size);
        let pretrained = Pretrained::open(&folder)?;
        let prompting = Prompting {
            is_chat: flag(resource, "chat")?,
            system: text(resource, "system")?.to_string(),
        };
        let tokenizer = pretrained.tokenizer(prompting)?;
        // An update is often smaller than the step from one bf16 to the next, and would be lost.
        let held = making.is_trained.then_some(making.kind);
        let network = pretrained.load(dtype, held, making.device)?;
        (network, tokenizer, Some(folder))
    } else {
        let Making {
            seed, kind, device, ..
        } = making;
        let config = config_from_scratch(resource).ok_or_else(|| missing(resource, "size"))?;
        let mut network = CausalLm::new(config, seed, kind, device)?;
        network.compute_in(dtype.unwrap_or(kind));
        let tokenizer = Tokenizer::Bytes;
        let (vocab, needed) = (network.config().vocab, tokenizer.vocab());
        if vocab < needed {
            let message = format!(
                "`vocab` must be at least {needed}, one id a byte and the end, found {vocab}"
            );
            return Err(Fault::input(message));
        }
        (network, tokenizer, None)
    };
    if flag(resource, "recompute")? {
        network.recompute();
    }
    let name = resource.name.clone();
    Ok((
        Model {
            name,
            network,
            folder,
            transformed: None,
            has_own_weights: making.is_trained,
        },
        tokenizer,
    ))
}

/// What is random in a task, beyond its single problems, is drawn from `seed`.
fn open_task(resource: &Resource, seed: u64) -> Result<Box<dyn Task>, Fault> {
    match resource.block.as_str() {
        "data.arithmetic" => {
            let task = Arithmetic::new(int(resource, "digits")?, text(resource, "ops")?)?;
            Ok(Box::new(task))
        }
        "data.letters" => {
            let task = Letters::new(
                int(resource, "prompts")?,
                int(resource, "length")?,
                int(resource, "symbols")?,
                real(resource, "offset")?,
                &ints(resource, "lengths")?,
                &reals(resource, "weights")?,
            )?;
            Ok(Box::new(task))
        }
        "data.letters_peak" => {
            let task = LettersPeak::new(int(resource, "length")?, int(resource, "symbols")?)?;
            Ok(Box::new(task))
        }
        "data.letters_after" => {
            let task = LettersAfter::new(int(resource, "length")?, int(resource, "symbols")?)?;
            Ok(Box::new(task))
        }
        "data.chain_sum" => {
            let sizes = (
                int(resource, "modulus")?,
                int(resource, "max_terms")?,
                int(resource, "terms")?,
            );
            let task = ChainSum::new(
                sizes,
                real(resource, "error")?,
                int(resource, "items")?,
                flag(resource, "filter")?,
            )?;
            Ok(Box::new(task))
        }
        "data.mixture" => {
            let task = Mixture::new(
                int(resource, "length")?,
                int(resource, "symbols")?,
                real(resource, "redundant")?,
                real(resource, "chain")?,
                seed,
            )?;
            Ok(Box::new(task))
        }
        "data.running_sum" => {
            let task = RunningSum::new(int(resource, "terms")?, int(resource, "redundancy")?)?;
            Ok(Box::new(task))
        }
        other => Err(Fault::input(format!(
            "`{other}` is not a data source that this engine can open"
        ))),
    }
}

fn value<'a>(resource: &'a Resource, name: &str) -> Result<&'a Elements, Fault> {
    match resource.args.iter().find(|(own, _)| own == name) {
        Some((_, ResourceArg::Value(array))) => Ok(&array.elements),
        Some((_, ResourceArg::Data(_) | ResourceArg::Model(_))) | None => {
            Err(missing(resource, name))
        }
    }
}

fn int(resource: &Resource, name: &str) -> Result<i64, Fault> {
    first(resource, name, &ints(resource, name)?)
}

fn ints(resource: &Resource, name: &str) -> Result<Vec<i64>, Fault> {
    match value(resource, name)? {
        Elements::Int(values) => Ok(values.clone()),
        Elements::Real(_) | Elements::Bool(_) | Elements::Text(_) => Err(missing(resource, name)),
    }
}

fn real(resource: &Resource, name: &str) -> Result<f64, Fault> {
    first(resource, name, &reals(resource, name)?)
}

fn reals(resource: &Resource, name: &str) -> Result<Vec<f64>, Fault> {
    match value(resource, name)? {
        Elements::Real(values) => Ok(values.clone()),
        Elements::Int(_) | Elements::Bool(_) | Elements::Text(_) => Err(missing(resource, name)),
    }
}

fn first<T: Copy>(resource: &Resource, name: &str, values: &[T]) -> Result<T, Fault> {
    let first = values.first().copied();
    first.ok_or_else(|| missing(resource, name))
}

fn flag(resource: &Resource, name: &str) -> Result<bool, Fault> {
    match value(resource, name)? {
        Elements::Bool(values) => values
            .first()
            .copied()
            .ok_or_else(|| missing(resource, name)),
        Elements::Real(_) | Elements::Int(_) | Elements::Text(_) => Err(missing(resource, name)),
    }
}

fn text<'a>(resource: &'a Resource, name: &str) -> Result<&'a str, Fault> {
    match value(resource, name)? {
        Elements::Text(values) => values
            .first()
            .map(String::as_str)
            .ok_or_else(|| missing(resource, name)),
        Elements::Real(_) | Elements::Int(_) | Elements::Bool(_) => Err(missing(resource, name)),
    }
}

fn missing(resource: &Resource, name: &str) -> Fault {
    Fault::broken(format!(
        "`{}` is given `{name}` as its signature says",
        resource.block
    ))
}
