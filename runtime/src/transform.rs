//! Models seen through transforms: what they train, the weights that come of it, and the way back for gradients.
//!
//! The network of such a model holds plain weights, computed anew whenever what they come from changes, so that whatever
//! reads it knows nothing of transforms. Weights that no transform selects are those of the base, in the same memory.

mod weight;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rlp_compiler::array::Elements;
use rlp_compiler::pass::pullback;
use rlp_compiler::plan::{
    BlockPlan, Except, ParameterGroup, Plan, Resource, ResourceArg, TransformPlan, matches_name,
};

use crate::error::{Fault, Result, RunError};
use crate::executor::{Kernels, Steps};
use crate::model::{CausalLm, Parameter};
use crate::pretrained;
use crate::random::{Purpose, Stream};
use crate::resource::{Model, World, is_trained, reads};
use crate::state::{Named, replace};
use crate::tensor::{Device, Tensor, without_gradient};
use crate::torch::Context;
use weight::Slots;
pub(crate) use weight::size_dimensions;

/// What a model has of its own that is another one seen through a transform.
pub(crate) struct Transformed {
    pub(crate) plan: TransformPlan,
    /// The arguments of the transform.
    pub(crate) args: Vec<(String, f64)>,
    /// The gradients by the `param`s, then by the weight.
    pullback: BlockPlan,
    /// How the transform and its gradients run as kernels.
    steps: [OnceCell<Rc<Steps>>; 2],
    base: Base,
    /// Those of the network's parameters that are transformed: their places and names.
    pub(crate) weights: Vec<(usize, String)>,
    /// The names of all parameters of the network.
    names: Vec<String>,
    /// The `param`s of each of these in turn; then the value head, if values are read of this model.
    pub(crate) parameters: Vec<Parameter>,
    /// The states of each of these in turn, which stay as they are.
    states: Vec<Parameter>,
    has_head: bool,
    /// The stage before which the initial values are computed: the first that reads this model.
    first: usize,
    seed: u64,
}

/// What a transform is applied to.
enum Base {
    /// A model of the plan, as it is at any time.
    Live(usize),
    /// One that is trained later than its copy was taken.
    Copy(usize, Box<CausalLm>),
}

impl Transformed {
    /// The model that a plan describes, on those before it.
    pub(crate) fn open(
        plan: &Plan,
        resource: &Resource,
        index: usize,
        before: &[Model],
        context: Context,
    ) -> Result<Model> {
        let own = plan.transforms.iter().find(|own| own.model == index);
        let own = own.ok_or_else(|| Fault::broken("`apply` makes what the plan describes"))?;
        let from = &before[own.base.model];
        let first = plan
            .stages
            .iter()
            .position(|stage| reads(plan, stage, index));
        let first = first.unwrap_or_default();
        let network = from.network.share();
        let weights =
            selected(own, &network).map_err(|fault| RunError::from(fault).at_span(own.span))?;
        let is_copied = own.base.frozen.is_some() && is_trained_from(plan, own.base.model, first);
        let wrt: Vec<String> = own
            .params
            .iter()
            .cloned()
            .chain(["weight".to_string()])
            .collect();
        let mut model = Model {
            name: resource.name.clone(),
            folder: from.folder.clone(),
            has_own_weights: is_trained(plan, index),
            network,
            transformed: Some(Box::new(Transformed {
                plan: own.clone(),
                args: resource.args.iter().filter_map(number).collect(),
                pullback: pullback(&own.block, &wrt),
                steps: Default::default(),
                base: match is_copied {
                    true => Base::Copy(own.base.model, Box::new(from.network.deep_copy())),
                    false => Base::Live(own.base.model),
                },
                names: from
                    .network
                    .parameters()
                    .iter()
                    .map(|own| own.name.clone())
                    .collect(),
                weights,
                parameters: Vec::new(),
                states: Vec::new(),
                has_head: false,
                first,
                seed: context.seed,
            })),
        };
        model.start(before, context, None)?;
        Ok(model)
    }

    pub(crate) fn base(&self) -> usize {
        match self.base {
            Base::Live(model) | Base::Copy(model, _) => model,
        }
    }

    fn network<'a>(&'a self, before: &'a [Model]) -> &'a CausalLm {
        match &self.base {
            Base::Live(model) => &before[*model].network,
            Base::Copy(_, copy) => copy,
        }
    }

    /// How many modules of the model have a weight of this name.
    pub(crate) fn all_of(&self, module: &str) -> usize {
        let ending = format!(".{module}.weight");
        self.names
            .iter()
            .filter(|name| name.ends_with(&ending))
            .count()
    }

    fn steps(&self, graph: usize, kernels: Option<&Rc<Kernels>>) -> Option<&Rc<Steps>> {
        kernels.map(|kernels| self.steps[graph].get_or_init(|| Steps::new(kernels)))
    }

    /// What of the transform belongs to one weight.
    fn slots(&self, place: usize) -> Slots<'_> {
        let of = |all: &[Parameter], each: usize| -> Vec<Tensor> {
            let own = all[place * each..][..each].iter();
            own.map(|own| own.value.shallow_clone()).collect()
        };
        Slots {
            block: &self.plan.block,
            params: of(&self.parameters, self.plan.params.len()),
            states: of(&self.states, weight::n_states(&self.plan.block)),
            span: self.plan.span,
        }
    }

    /// All that a checkpoint holds of it; the other weights follow from these and from those of the base.
    pub(crate) fn saved(&self) -> Named {
        let own = self.parameters.iter().chain(&self.states);
        let own = own.map(|own| (own.name.clone(), own.value.shallow_clone()));
        let copied = match &self.base {
            Base::Live(_) => [].as_slice(),
            Base::Copy(_, copy) => copy.parameters(),
        };
        let copied = copied.iter();
        own.chain(copied.map(|own| (copied_name(own), own.value.shallow_clone())))
            .collect()
    }

    /// Puts back what was saved.
    pub(crate) fn restore(
        &mut self,
        saved: &mut BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<(), Fault> {
        for own in self.parameters.iter_mut().chain(&mut self.states) {
            replace(&mut own.value, saved.remove(&own.name), device)?;
        }
        if let Base::Copy(_, copy) = &mut self.base {
            for own in copy.parameters_mut() {
                let name = copied_name(own);
                replace(&mut own.value, saved.remove(&name), device)?;
            }
        }
        Ok(())
    }
}

fn copied_name(parameter: &Parameter) -> String {
    format!("base.{}", parameter.name)
}

impl Model {
    /// Computes the initial values from the base as it is.
    fn start(
        &mut self,
        before: &[Model],
        context: Context,
        kernels: Option<&Rc<Kernels>>,
    ) -> Result<()> {
        let Some(own) = self.transformed.as_deref_mut() else {
            return Ok(());
        };
        if let Base::Copy(model, copy) = &mut own.base {
            **copy = before[*model].network.deep_copy();
        }
        let base = own.network(before);
        let mut parameters = Vec::new();
        let mut states = Vec::new();
        for (place, (index, name)) in own.weights.iter().enumerate() {
            let seed = Stream::new(own.seed, Purpose::Initialise)
                .at(place as u64)
                .bits(0);
            let context = Context { seed, ..context };
            let value = &base.parameters()[*index].value;
            let steps = own.steps(0, kernels);
            let started = weight::start(&own.plan, value, context, steps)?;
            let stem = name.strip_suffix(".weight").unwrap_or(name);
            let named = |(own, value): (String, Tensor)| Parameter {
                name: format!("{stem}.{own}"),
                value,
            };
            parameters.extend(started.params.into_iter().map(named));
            states.extend(started.states.into_iter().map(named));
        }
        if own.has_head {
            parameters.extend(self.network.new_head(base));
        }
        own.parameters = parameters;
        own.states = states;
        if let Some(from) = own.plan.from.clone() {
            pretrained::read_adapter(own, from.as_ref())
                .map_err(|fault| RunError::from(fault).at_span(own.plan.span))?;
        }
        self.merge(before, context, kernels)
    }

    /// Computes the weights of the network anew.
    fn merge(
        &mut self,
        before: &[Model],
        context: Context,
        kernels: Option<&Rc<Kernels>>,
    ) -> Result<()> {
        let Some(own) = self.transformed.as_deref() else {
            return Ok(());
        };
        let base = own.network(before);
        let kind = self.network.kind();
        let merged = self.network.parameters_mut();
        if own.has_head
            && let (Some(to), Some(head)) = (merged.last_mut(), own.parameters.last())
        {
            to.value = head.value.shallow_clone();
        }
        let mut selected = own.weights.iter().enumerate().peekable();
        // One at a time, so that what one was before makes room for the next.
        for (index, (to, from)) in merged.iter_mut().zip(base.parameters()).enumerate() {
            if own.has_head && to.is_value_head() {
                continue;
            }
            to.value = match selected.next_if(|(_, (own, _))| *own == index) {
                None => from.value.shallow_clone(),
                Some((place, _)) => {
                    let slots = own.slots(place);
                    let seen = slots.seen(&from.value, context, own.steps(0, kernels))?;
                    seen.f_to_kind(kind).map_err(Fault::from)?
                }
            };
        }
        Ok(())
    }

    /// Gives a model a value head, of its own where it is seen through a transform.
    pub(crate) fn add_value_head(&mut self) {
        self.network.add_value_head();
        if let Some(own) = self.transformed.as_deref_mut()
            && !own.has_head
        {
            own.has_head = true;
            own.parameters.extend(self.network.head_parameter());
        }
    }

    /// What is trained of it.
    pub fn parameters(&self) -> &[Parameter] {
        match &self.transformed {
            Some(own) => &own.parameters,
            None => self.network.parameters(),
        }
    }

    pub(crate) fn parameters_mut(&mut self) -> &mut [Parameter] {
        match &mut self.transformed {
            Some(own) => &mut own.parameters,
            None => self.network.parameters_mut(),
        }
    }

    /// Whether one of them is a matrix of a layer, or what a transform trains for one.
    pub(crate) fn is_matrix(&self, parameter: usize) -> bool {
        match &self.transformed {
            Some(own) => {
                let own = &own.parameters[parameter];
                own.value.dim() > 1 && !own.is_value_head()
            }
            None => self.network.matrices().contains(&parameter),
        }
    }
}

impl World {
    /// Where transforms are computed: nothing of a run is known there but its seed.
    fn outside(&self) -> Context {
        Context {
            kind: self.kind,
            device: self.device,
            seed: self.seed,
            step: 1,
            steps: 1,
        }
    }

    /// Before the first step of a stage: initial values come from weights as they are now.
    pub(crate) fn enter(&mut self, stage: usize) -> Result<()> {
        let (context, kernels) = (self.outside(), self.kernels.clone());
        without_gradient(|| {
            for index in 0..self.models.len() {
                let (before, rest) = self.models.split_at_mut(index);
                let starts = rest[0].transformed.as_ref();
                if stage > 0 && starts.is_some_and(|own| own.first == stage) {
                    rest[0].start(before, context, kernels.as_ref())?;
                } else {
                    rest[0].merge(before, context, kernels.as_ref())?;
                }
            }
            Ok(())
        })
    }

    /// After what they come from has changed: the weights of those of some models, ascending, that are seen through transforms.
    pub(crate) fn merge(&mut self, models: &[usize]) -> Result<()> {
        let (context, kernels) = (self.outside(), self.kernels.clone());
        without_gradient(|| {
            for &index in models {
                let (before, rest) = self.models.split_at_mut(index);
                rest[0].merge(before, context, kernels.as_ref())?;
            }
            Ok(())
        })
    }

    /// The gradients by what `targets` have of their own, given those by the weights that a model computes with.
    pub(crate) fn carry(
        &self,
        model: usize,
        mut gradients: Vec<Tensor>,
        targets: &[usize],
    ) -> Result<Vec<(usize, Vec<Tensor>)>> {
        let Some(own) = self.models[model].transformed.as_deref() else {
            return Ok(match targets.contains(&model) {
                true => vec![(model, gradients)],
                false => Vec::new(),
            });
        };
        let is_target = targets.contains(&model);
        let goes_on = match own.base {
            Base::Live(base) => own.plan.base.frozen.is_none() && self.reaches(base, targets),
            Base::Copy(..) => false,
        };
        let base = own.network(&self.models);
        let head = own.has_head.then(|| gradients.pop()).flatten();
        if base.parameters().len() > gradients.len() {
            // The head of the base is not read.
            gradients.extend(head.as_ref().map(Tensor::zeros_like));
        }
        let mut by_params = Vec::new();
        let steps = own.steps(1, self.kernels.as_ref());
        for (place, (index, _)) in own.weights.iter().enumerate() {
            let weight = &base.parameters()[*index].value;
            let upstream = &gradients[*index];
            let slots = own.slots(place);
            let wanted = if is_target { own.plan.params.len() } else { 0 };
            let found = slots.gradients(
                &own.pullback,
                weight,
                upstream,
                (wanted, goes_on),
                self.outside(),
                steps,
            )?;
            by_params.extend(found.by_params);
            if let Some(by_weight) = found.by_weight {
                gradients[*index] = by_weight;
            }
        }
        by_params.extend(head);
        let mut carried = Vec::new();
        if is_target {
            carried.push((model, by_params));
        }
        if goes_on {
            carried.extend(self.carry(own.base(), gradients, targets)?);
        }
        Ok(carried)
    }

    /// Whether the weights of a model change with those of one of `targets`.
    pub(crate) fn reaches(&self, model: usize, targets: &[usize]) -> bool {
        targets.contains(&model)
            || self.models[model].transformed.as_ref().is_some_and(|own| {
                own.plan.base.frozen.is_none() && self.reaches(own.base(), targets)
            })
    }
}

/// Whether a stage from `first` on trains a model, or what it is a transform of.
fn is_trained_from(plan: &Plan, model: usize, first: usize) -> bool {
    let later = plan.stages.iter().skip(first);
    later
        .flat_map(|stage| &stage.trains)
        .any(|train| train.moved.contains(&model))
}

/// The weights that a transform is for, by their places and names.
fn selected(plan: &TransformPlan, network: &CausalLm) -> Result<Vec<(usize, String)>, Fault> {
    let all = network.parameters();
    let is_named = |index: &usize, pattern: &str| matches_name(pattern, &all[*index].name);
    let mut places: Vec<usize> = match &plan.on {
        ParameterGroup::All => (0..all.len()).collect(),
        ParameterGroup::Matrices => network.matrices(),
        ParameterGroup::Others => network.others(),
        ParameterGroup::Named(pattern) => (0..all.len())
            .filter(|index| is_named(index, pattern))
            .collect(),
    };
    match &plan.except {
        Some(Except::Last) => drop(places.pop()),
        Some(Except::Named(pattern)) => places.retain(|index| !is_named(index, pattern)),
        None => {}
    }
    if places.is_empty() {
        let message = match &plan.on {
            ParameterGroup::Named(pattern) => {
                format!("`on` selects no weight: no name of one is like \"{pattern}\"")
            }
            ParameterGroup::All | ParameterGroup::Matrices | ParameterGroup::Others => {
                "`on` selects no weight: all are left out".to_string()
            }
        };
        let names: Vec<&str> = all.iter().take(3).map(|own| own.name.as_str()).collect();
        return Err(Fault::input_help(
            message,
            format!("names are like {}", names.join(", ")),
        ));
    }
    let named = |index: usize| {
        let own = &all[index];
        if own.value.dim() != 2 {
            return Err(Fault::input(format!(
                "`{}` is for matrices, and `{}` is none",
                plan.block.name, own.name
            )));
        }
        Ok((index, own.name.clone()))
    };
    places.into_iter().map(named).collect()
}

fn number((name, arg): &(String, ResourceArg)) -> Option<(String, f64)> {
    let ResourceArg::Value(array) = arg else {
        return None;
    };
    let value = match &array.elements {
        Elements::Real(values) => values.first().copied(),
        Elements::Int(values) => values.first().map(|&value| value as f64),
        Elements::Bool(_) | Elements::Text(_) => None,
    };
    value.map(|value| (name.clone(), value))
}
