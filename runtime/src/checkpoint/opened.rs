//! Weights that are as they were when the run opened them: a checkpoint names them with their sums, and does not hold them.

use std::collections::BTreeMap;

use rlp_compiler::plan::Plan;
use rlp_frontend::description::hexadecimal;
use sha2::{Digest, Sha256};

use crate::error::Fault;
use crate::model::bytes;
use crate::resource::World;
use crate::state::{Named, State};

/// The sums of weights by the names of their models, as they were opened: from a folder or from the seed.
#[derive(Default)]
pub(crate) struct Opened(BTreeMap<String, String>);

impl Opened {
    /// Of all that no stage of the plan trains. What is trained changes, and is not worth a sum.
    pub(crate) fn of(plan: &Plan, world: &World) -> Opened {
        let trains = || plan.stages.iter().flat_map(|stage| &stage.trains);
        let models = trains().flat_map(|train| &train.targets);
        let tensors = trains().flat_map(|train| &train.tensors);
        let trained: Vec<&str> = models
            .map(|&own| world.models[own].name.as_str())
            .chain(tensors.map(|&own| world.tensors[own].target()))
            .collect();
        let weights = world.weights().into_iter();
        let left = weights.filter(|(name, _)| !trained.contains(&name.as_str()));
        Opened(left.map(|(name, own)| (name, sum(&own))).collect())
    }

    /// The sum of these weights, if they are still what was opened.
    pub(super) fn still(&self, name: &str, own: &Named) -> Option<String> {
        let before = self.0.get(name)?;
        Some(sum(own)).filter(|now| now == before)
    }
}

/// Puts the weights that a checkpoint only names into its state: those of the models as they were opened now.
///
/// # Errors
/// They are not those that the run began with.
pub(super) fn complete(
    state: &mut State,
    named: BTreeMap<String, String>,
    world: &World,
) -> Result<(), Fault> {
    let mut weights: BTreeMap<String, Named> = world.weights().into_iter().collect();
    for (name, before) in named {
        let own = weights.remove(&name);
        let own = own.filter(|own| sum(own) == before).ok_or_else(|| {
            Fault::input_help(
                format!("the weights of `{name}` are not those that the run began with"),
                "put back the folder that the model was read from as it was",
            )
        })?;
        state.weights.push((name, own));
    }
    Ok(())
}

/// The SHA-256 of names, kinds, shapes and elements.
fn sum(weights: &Named) -> String {
    let mut sum = Sha256::new();
    for (name, tensor) in weights {
        sum.update(format!(
            "{name:?} {:?} {:?}\n",
            tensor.kind(),
            tensor.size()
        ));
        sum.update(bytes(tensor));
    }
    hexadecimal(&sum.finalize())
}
