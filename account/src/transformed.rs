//! What a model has of its own that is another one seen through a transform (`runtime/src/transform.rs`).

use std::collections::BTreeMap;

use rlp_compiler::array::Elements;
use rlp_compiler::eval::{Given, evaluate};
use rlp_compiler::plan::{
    BlockPlan, Except, InputPlan, Plan, StagePlan, TransformPlan, matches_name,
};
use rlp_compiler::ty::DimId;

use crate::language_model::{belongs, elements, model_refs};
use crate::model::VALUE_HEAD;

/// A transform of the weights of a model.
#[derive(Clone, Debug)]
pub struct Transformed {
    /// Name and shape of what is trained for each of the weights, and of the value head.
    pub parameters: Vec<(String, Vec<i64>)>,
    /// Elements of what stays as the transform began.
    pub states: u64,
    /// Elements of the weights that are transformed, whose new values the model holds; all others are those of its base.
    pub selected: u64,
    /// Of the largest of them.
    pub largest: u64,
    /// Whether its base is trained later, so that a copy of it is held.
    pub has_copy: bool,
}

impl Transformed {
    /// Of a model whose network has these parameters.
    pub(crate) fn of(
        plan: &Plan,
        own: &TransformPlan,
        network: &[(String, Vec<i64>)],
    ) -> Transformed {
        let mut found = Transformed {
            parameters: Vec::new(),
            states: 0,
            selected: 0,
            largest: 0,
            has_copy: own.base.frozen.is_some() && is_trained_later(plan, own),
        };
        for (name, shape) in selected(own, network) {
            let count = elements(shape);
            found.selected += count;
            found.largest = found.largest.max(count);
            let stem = name.strip_suffix(".weight").unwrap_or(name);
            for (input, shape) in inputs(&own.block, shape) {
                match input.strip_prefix("state.") {
                    Some(_) => found.states += elements(&shape),
                    None => found.parameters.push((format!("{stem}.{input}"), shape)),
                }
            }
        }
        let head = network.iter().find(|(name, _)| name == VALUE_HEAD);
        found.parameters.extend(head.cloned());
        found
    }
}

/// The weights that a transform is for.
fn selected<'n>(
    own: &TransformPlan,
    network: &'n [(String, Vec<i64>)],
) -> Vec<&'n (String, Vec<i64>)> {
    let of_base = network.iter().filter(|(name, _)| name != VALUE_HEAD);
    let mut found: Vec<_> = of_base.filter(|each| belongs(&own.on, each)).collect();
    match &own.except {
        Some(Except::Last) => drop(found.pop()),
        Some(Except::Named(pattern)) => found.retain(|(name, _)| !matches_name(pattern, name)),
        None => {}
    }
    found
}

/// The inputs of a transform beside the weight, with their shapes for a weight of this one.
fn inputs<'b>(block: &'b BlockPlan, weight: &[i64]) -> Vec<(&'b str, Vec<i64>)> {
    let axes = |input: &'b InputPlan| input.axes.iter().copied();
    let of_weight = block.inputs.iter().find(|input| input.name == "weight");
    let known = of_weight.into_iter().flat_map(axes).zip(weight);
    let known = known.map(|(dim, &size)| (dim, size.max(0) as usize));
    let sizes = sizes(block, known.collect());
    let size = |dim: DimId| sizes.get(&dim).map_or(1, |&size| size as i64);
    let others = block.inputs.iter().filter(|input| input.name != "weight");
    let shaped = |input: &'b InputPlan| (input.name.as_str(), axes(input).map(size).collect());
    others.map(shaped).collect()
}

/// Those of the dimensions of a block, given some, as far as they follow.
fn sizes(block: &BlockPlan, mut known: BTreeMap<DimId, usize>) -> BTreeMap<DimId, usize> {
    let dims = &block.graph.dims;
    for dim in dims.ids() {
        if let Some(size) = dims.get(dim).size {
            known.entry(dim).or_insert(size as usize);
        }
    }
    for &(dim, node) in &block.sizes {
        let given = Given {
            sizes: known.clone(),
            ..Given::default()
        };
        let value = evaluate(&block.graph, &given, &[node]).ok();
        let value = value.and_then(|values| match &values.first()?.elements {
            Elements::Int(values) => values.first().map(|&size| size.max(0) as usize),
            Elements::Real(values) => values.first().map(|&size| size as usize),
            Elements::Bool(_) | Elements::Text(_) => None,
        });
        if let Some(size) = value {
            known.entry(dim).or_insert(size);
        }
    }
    known
}

/// Whether a stage from the first on that reads a model changes its base.
fn is_trained_later(plan: &Plan, own: &TransformPlan) -> bool {
    let stages = plan
        .stages
        .iter()
        .skip_while(|stage| !reads(plan, stage, own.model));
    let mut trains = stages.flat_map(|stage| &stage.trains);
    trains.any(|train| train.moved.contains(&own.base.model))
}

/// Whether a stage reads a model, or one that is seen through transforms of it.
fn reads(plan: &Plan, stage: &StagePlan, model: usize) -> bool {
    let mut refs = model_refs(&stage.graph).into_iter();
    let mut above = plan.transforms.iter();
    refs.any(|own| own.model == model)
        || above.any(|own| own.base.model == model && reads(plan, stage, own.model))
}
