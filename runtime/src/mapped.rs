//! Models whose weights are a function of those of others, weight by weight.

use std::collections::BTreeSet;

use rlp_compiler::graph::ModelRef;
use rlp_compiler::plan::{MapPlan, Resource};

use crate::block::{Content, ExecutorChoice, Inputs, Options, evaluate};
use crate::error::{Fault, Result};
use crate::model::CausalLm;
use crate::resource::{Frozen, Model, World};
use crate::tensor::{Kind, Tensor, Value, without_gradient};

impl World {
    /// The copies that reading a model takes: its own, and those that it is made of.
    pub(crate) fn copies(&self, model: &ModelRef, found: &mut BTreeSet<(usize, u64)>) {
        if let Some(period) = model.frozen {
            found.insert((model.model, period));
        }
        let map = self.maps.iter().find(|map| map.model == model.model);
        for (_, of) in map.into_iter().flat_map(|map| &map.weights) {
            self.copies(of, found);
        }
    }

    /// Gives the models that are made of others, and that a stage has read, the weights that they have at its end.
    pub(crate) fn keep_maps(&mut self, frozen: &Frozen) -> Result<()> {
        for place in 0..self.maps.len() {
            let map = &self.maps[place];
            let network = &self.models[map.model].network;
            let read = ModelRef {
                model: map.model,
                frozen: Some(1),
            };
            if frozen.resolve(&read, self).is_ok() {
                let made = mapped(map, network, |of| frozen.resolve(of, self))?;
                let model = map.model;
                self.models[model].network = made;
            }
        }
        Ok(())
    }
}

/// A model with the weights that a map says, as those that it reads have begun.
pub(crate) fn made_of_others(
    map: &MapPlan,
    resource: &Resource,
    models: &[Model],
) -> Result<Model> {
    check_forms(map, models)?;
    let Some((_, first)) = map.weights.first() else {
        return Err(Fault::broken("a map is of models").into());
    };
    let of = |of: &ModelRef| Ok(&models[of.model].network);
    Ok(Model {
        name: resource.name.clone(),
        network: mapped(map, &models[first.model].network, of)?,
        folder: models[first.model].folder.clone(),
        transformed: None,
        has_own_weights: true,
    })
}

/// The model that a map makes of those that it reads, as `resolve` finds them; `like` is one of its form.
pub(crate) fn mapped<'a>(
    map: &MapPlan,
    like: &CausalLm,
    resolve: impl Fn(&ModelRef) -> Result<&'a CausalLm, Fault>,
) -> Result<CausalLm> {
    let sources = map.weights.iter();
    let sources = sources.map(|(name, of)| Ok((name.as_str(), resolve(of)?)));
    let sources = sources.collect::<Result<Vec<_>, Fault>>()?;
    let mut made = like.deep_copy();
    for (index, parameter) in made.parameters_mut().iter_mut().enumerate() {
        let shape = parameter.value.size();
        let mut inputs = Inputs::default();
        for (name, source) in &sources {
            // What only one of them has, a value head, is nothing to take together.
            let Some(own) = source.parameters().get(index) else {
                continue;
            };
            inputs.insert(name, Content::Tensor(as_weight(map, &own.value)?));
        }
        if inputs.names().count() < sources.len() {
            continue;
        }
        let options = Options {
            executor: ExecutorChoice::Eager,
            device: parameter.value.device(),
            seed: 0,
            step: 1,
            steps: Some(1),
            gradients: false,
        };
        let results = without_gradient(|| evaluate(&map.function, &inputs, &options))?;
        let Some((_, Value::Tensor(value))) = results.into_iter().next() else {
            return Err(Fault::broken("a map gives a weight").into());
        };
        let kind = parameter.value.kind();
        parameter.value = value
            .f_reshape(&shape)
            .and_then(|value| value.f_to_kind(kind))
            .map_err(Fault::from)?;
    }
    Ok(made)
}

/// A weight over as many dimensions as the function takes: a vector is a row, where it takes two.
fn as_weight(map: &MapPlan, value: &Tensor) -> Result<Tensor, Fault> {
    let inputs = map.function.inputs.iter();
    let takes_two = inputs.map(|input| input.axes.len()).max() == Some(2);
    let value = match value.kind() {
        Kind::Double => value.shallow_clone(),
        _ => value.f_to_kind(Kind::Float)?,
    };
    let shape = match (takes_two, value.size().as_slice()) {
        (true, &[rows, ref others @ ..]) if !others.is_empty() => vec![rows, -1],
        (true, _) => vec![1, -1],
        (false, _) => vec![-1],
    };
    Ok(value.f_reshape(&shape)?)
}

/// Whether two models have the same weights, by name and shape.
fn check_forms(map: &MapPlan, models: &[Model]) -> Result<(), Fault> {
    let form = |of: &ModelRef| -> Vec<(String, Vec<i64>)> {
        let parameters = models[of.model].network.parameters().iter();
        let parameters = parameters.map(|own| (own.name.clone(), own.value.size()));
        parameters.collect()
    };
    let mut forms = map.weights.iter().map(|(_, of)| (of, form(of)));
    let Some((first, wanted)) = forms.next() else {
        return Ok(());
    };
    match forms.find(|(_, other)| {
        let both = wanted.len().min(other.len());
        wanted[..both] != other[..both]
    }) {
        None => Ok(()),
        Some((other, _)) => Err(Fault::input(format!(
            "`{}` and `{}` are not of one form: their weights cannot be taken together",
            models[first.model].name, models[other.model].name
        ))),
    }
}
