//! The state of a run between two steps: with the program, its settings and the seed, all that its future follows from.
//!
//! | what | who saves and restores it |
//! | --- | --- |
//! | weights of models, trainable tensors | [`World`], here |
//! | what transforms train, and copies under them | `transform.rs` |
//! | states of rules that a later stage may keep | `stage/carried.rs` |
//! | states of rules, updates done, minibatches skipped | `stage/update.rs` |
//! | frozen copies | `resource.rs`, `trainable.rs` |
//! | positions in data, pools and pass rates of samplers, once-draws, states of blocks | `stage/host.rs` |
//! | what a stage computes once | `stage/steady.rs` |
//!
//! Random numbers are functions of the seed, the stage and the step, so that no generator has a state.
//! Whoever owns a part takes its fields apart without `..`: a new field does not compile until someone has said
//! whether it is state.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::error::Fault;
use crate::resource::World;
use crate::tensor::{Device, Tensor, TextArray, Value};

/// A real that is saved as the number of its bits: its text may not give them back, and has none for what is not finite.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(crate) struct Exact(pub(crate) f64);

impl From<u64> for Exact {
    fn from(bits: u64) -> Exact {
        Exact(f64::from_bits(bits))
    }
}

impl From<Exact> for u64 {
    fn from(Exact(real): Exact) -> u64 {
        real.to_bits()
    }
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The place of the stage in its pipeline.
    pub stage: usize,
    /// Steps of this stage that are done.
    pub step: u64,
    /// Steps of all stages that are done.
    pub done: u64,
}

/// Tensors by name, in the order of their owner.
pub(crate) type Named = Vec<(String, Tensor)>;

/// Everything that changes while a run goes on. The tensors share their elements with the run, and hold good until its next
/// step.
#[derive(Debug)]
pub struct State {
    pub(crate) position: Position,
    /// Of each model and each trainable tensor, by its name in the pipeline.
    pub(crate) weights: Vec<(String, Named)>,
    pub(crate) archive: Archive,
}

/// What is no weight, by names such as `clause.0.group.1.momentum`.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// Whole numbers, truth values and texts. Reals are tensors, since their text may not give the same bits again.
    pub(crate) facts: Map<String, Json>,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

#[derive(Serialize, Deserialize)]
struct Texts {
    shape: Vec<i64>,
    elements: Vec<String>,
}

impl Archive {
    pub(crate) fn put(&mut self, name: &str, fact: &impl Serialize) -> Result<(), Fault> {
        let fact = serde_json::to_value(fact)
            .map_err(|error| Fault::broken(format!("a fact is JSON: {error}")))?;
        self.facts.insert(name.to_string(), fact);
        Ok(())
    }

    pub(crate) fn put_tensor(&mut self, name: &str, tensor: &Tensor) {
        self.tensors
            .insert(name.to_string(), tensor.shallow_clone());
    }

    pub(crate) fn put_value(&mut self, name: &str, value: &Value) -> Result<(), Fault> {
        match value {
            Value::Tensor(tensor) => self.put_tensor(name, tensor),
            Value::Text(texts) => {
                let elements = texts.elements.iter().map(|text| text.to_string()).collect();
                let shape = texts.shape.clone();
                self.put(name, &Texts { shape, elements })?;
            }
        }
        Ok(())
    }

    pub(crate) fn put_reals(&mut self, name: &str, reals: &[f64]) -> Result<(), Fault> {
        self.put_tensor(name, &Tensor::f_from_slice(reals)?);
        Ok(())
    }

    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Fault> {
        let fact = self.facts.remove(name).ok_or_else(|| missing(name))?;
        serde_json::from_value(fact).map_err(|error| unfit(name, error))
    }

    /// On `device`, in memory of its own.
    pub(crate) fn take_tensor(&mut self, name: &str, device: Device) -> Result<Tensor, Fault> {
        let tensor = self.tensors.remove(name).ok_or_else(|| missing(name))?;
        Ok(tensor.f_to_device(device)?)
    }

    pub(crate) fn take_value(&mut self, name: &str, device: Device) -> Result<Value, Fault> {
        if self.tensors.contains_key(name) {
            return Ok(self.take_tensor(name, device)?.into());
        }
        let Texts { shape, elements } = self.take(name)?;
        let elements = elements.into_iter().map(Into::into).collect();
        Ok(TextArray { shape, elements }.into())
    }

    pub(crate) fn take_reals(&mut self, name: &str) -> Result<Vec<f64>, Fault> {
        let tensor = self.take_tensor(name, Device::Cpu)?;
        Vec::try_from(&tensor).map_err(|error| unfit(name, error))
    }

    /// After all has been restored: something that nobody asked for is not of this run.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        match self.facts.keys().chain(self.tensors.keys()).next() {
            None => Ok(()),
            Some(name) => Err(Fault::input(format!(
                "the checkpoint holds `{name}`, which is no part of this run"
            ))),
        }
    }
}

fn missing(name: &str) -> Fault {
    Fault::input(format!("the checkpoint does not hold `{name}`"))
}

fn unfit(name: &str, error: impl std::fmt::Display) -> Fault {
    Fault::input(format!("`{name}` of the checkpoint does not fit: {error}"))
}

impl World {
    /// Every parameter of every model, and the trainable tensors. What data sources hold follows from the seed.
    pub(crate) fn weights(&self) -> Vec<(String, Named)> {
        let World {
            models,
            tensors,
            // What follows from the program and how it is run.
            maps: _,
            tasks: _,
            tokenizer: _,
            seed: _,
            kind: _,
            device: _,
            kernels: _,
        } = self;
        let models = models.iter().map(|model| {
            let parameters = model.network.parameters().iter();
            let own = parameters.map(|own| (own.name.clone(), own.value.shallow_clone()));
            let own = match &model.transformed {
                Some(transformed) => transformed.saved(),
                None => own.collect(),
            };
            (model.name.clone(), own)
        });
        let mut weights: Vec<(String, Named)> = models.collect();
        for tensor in tensors.iter().filter(|tensor| tensor.is_weight()) {
            let own = (tensor.name.clone(), tensor.value.shallow_clone());
            match weights.iter_mut().find(|(name, _)| name == tensor.target()) {
                Some((_, of_model)) => of_model.push(own),
                None => weights.push((tensor.target().to_string(), vec![own])),
            }
        }
        weights
    }

    /// Replaces all weights by those of [`World::weights`].
    pub(crate) fn restore(&mut self, weights: Vec<(String, Named)>) -> Result<(), Fault> {
        let device = self.device;
        let mut weights: BTreeMap<String, BTreeMap<String, Tensor>> = weights
            .into_iter()
            .map(|(name, own)| (name, own.into_iter().collect()))
            .collect();
        for model in &mut self.models {
            let own = weights.get_mut(&model.name);
            let own = own.ok_or_else(|| missing(&model.name))?;
            if let Some(transformed) = &mut model.transformed {
                transformed
                    .restore(own, device)
                    .map_err(|fault| unfit(&model.name, fault))?;
                continue;
            }
            for parameter in model.network.parameters_mut() {
                replace(&mut parameter.value, own.remove(&parameter.name), device)
                    .map_err(|fault| unfit(&parameter.name, fault))?;
            }
        }
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.is_weight()) {
            let own = weights.get_mut(tensor.target());
            let own = own.ok_or_else(|| missing(tensor.target()))?;
            replace(&mut tensor.value, own.remove(&tensor.name), device)
                .map_err(|fault| unfit(&tensor.full_name(), fault))?;
        }
        let models: Vec<usize> = (0..self.models.len()).collect();
        self.merge(&models).map_err(|error| error.fault)
    }
}

/// Puts a tensor in place of another one of the same shape and kind.
pub(crate) fn replace(old: &mut Tensor, new: Option<Tensor>, device: Device) -> Result<(), Fault> {
    let new = new.ok_or_else(|| Fault::input("it is missing"))?;
    if (new.size(), new.f_kind()?) != (old.size(), old.f_kind()?) {
        return Err(Fault::input(format!(
            "it is {:?} of shape {:?} where the run has {:?} of shape {:?}",
            new.f_kind()?,
            new.size(),
            old.f_kind()?,
            old.size()
        )));
    }
    *old = new.f_to_device(device)?;
    Ok(())
}
