//! What the rules of a `train` clause hold beside the parameters (`runtime/src/stage/group.rs`).

use std::collections::BTreeMap;

use rlp_compiler::elementwise::is_elementwise;
use rlp_compiler::plan::{ParameterGroup, Plan, RulePlan, TrainPlan, UpdatePlan, matches_name};
use rlp_compiler::ty::{DimId, Elem};

use crate::language_model::{LanguageModel, belongs, elements};

/// Rules that treat every element alike update parameters of up to so many elements together as one kernel on the CPU;
/// to copy the gradients of more would cost more than another run.
pub const MOST_JOINED: u64 = 1 << 16;

/// Bytes that a clause holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    /// Elements of what is trained.
    pub(crate) trained: u64,
    /// Of the largest parameter.
    pub(crate) largest: u64,
    /// States from update to update, and the values before the last one, whose memory the next takes.
    pub(crate) states: u64,
    pub(crate) spare: u64,
    /// What an update needs for itself.
    pub(crate) working: u64,
}

pub(crate) fn held(
    plan: &Plan,
    train: &TrainPlan,
    models: &[Option<LanguageModel>],
    is_on_gpu: bool,
) -> Held {
    let mut held = Held::default();
    let mut working: u64 = 0;
    let mut add = |parameter: &(String, Vec<i64>), rule: Option<&RulePlan>| {
        let (name, shape) = parameter;
        let count = elements(shape);
        held.trained += count;
        held.largest = held.largest.max(count);
        let Some(rule) = rule else { return };
        debug_assert!(!name.is_empty(), "parameters have names");
        let update = if shape.len() > 1 {
            &rule.matrix
        } else {
            &rule.vector
        };
        let states = states(update, shape);
        held.states += states;
        let values = 4 * count;
        let is_alike = is_elementwise(update);
        if is_alike && !is_on_gpu && train.skips == 0 {
            if count > MOST_JOINED {
                held.spare += values;
            }
            // At first the initial states of a rule are there beside the next ones.
            working = working.max(states);
        } else {
            // All new values are there before the first is written, and a rule works on several copies of one.
            held.working += values + states;
            working = working.max(if is_alike { 0 } else { 4 * values });
        }
    };
    for &target in &train.targets {
        let Some(Some(model)) = models.get(target) else {
            continue;
        };
        for parameter in model.trainable() {
            let rule = train.rules.iter().find(|rule| belongs(&rule.on, parameter));
            add(parameter, rule);
        }
    }
    for &tensor in &train.tensors {
        let own = &plan.tensors[tensor];
        let graph = &own.graph;
        let dims = graph.ty(own.start).dims.iter();
        let shape = dims.map(|&dim| graph.dims.get(dim).size.unwrap_or(1) as i64);
        let parameter = (own.full_name(), shape.collect::<Vec<i64>>());
        let is_matrix = own.owner.is_some() && parameter.1.len() == 2;
        let is_for = |rule: &&RulePlan| match &rule.on {
            ParameterGroup::All => true,
            ParameterGroup::Matrices => is_matrix,
            ParameterGroup::Others => !is_matrix,
            ParameterGroup::Named(pattern) => matches_name(pattern, &own.name),
        };
        add(&parameter, train.rules.iter().find(is_for));
    }
    held.working += working;
    held
}

/// Bytes of the states of one parameter.
fn states(update: &UpdatePlan, shape: &[i64]) -> u64 {
    let graph = &update.graph;
    let rows = shape.first().map_or(1, |&rows| rows.max(1) as u64);
    let all = elements(shape);
    let of_param = &graph.ty(update.param).dims;
    let sizes: BTreeMap<DimId, u64> = match *of_param.as_slice() {
        [row, col] => [(row, rows), (col, all / rows)].into(),
        [only] => [(only, all)].into(),
        _ => BTreeMap::new(),
    };
    let size = |dim: &DimId| {
        let least = sizes.values().copied().min().unwrap_or(1);
        let known = sizes.get(dim).copied();
        // What else a rule has dimensions for is no larger than the smaller side.
        known.or(graph.dims.get(*dim).size).unwrap_or(least)
    };
    let bytes = update.states.iter().map(|state| {
        let each = match state.ty.elem {
            Elem::Real => 4,
            Elem::Int => 8,
            Elem::Bool | Elem::Text => 1,
        };
        each * state.ty.dims.iter().map(size).product::<u64>()
    });
    bytes.sum()
}
