//! The times of one block on given arguments.

use rlp_compiler::plan::BlockPlan;

use super::Times;
use crate::block::{Content, Evaluation, Inputs, Options};
use crate::clock::{Elapsed, Moment};
use crate::error::Result;
use crate::tensor::{Tensor, Value};

/// What one executor takes for a block.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct BlockTimes {
    /// The first result, with all that comes once: differentiation, code.
    pub(crate) first: Elapsed,
    pub(crate) times: Times,
    /// What has to be moved at least: arguments read once, results and gradients written once.
    pub(crate) bytes: u64,
}

/// Computes a block, and its gradients by the arguments `by` (all real tensors if absent) if `options` asks for them.
pub(crate) fn block(
    plan: &BlockPlan,
    inputs: &Inputs,
    options: &Options,
    by: Option<&[String]>,
    repeat: usize,
) -> Result<BlockTimes> {
    let mut evaluation = Evaluation::new(plan, inputs, options, options.step)?;
    if let Some(names) = by {
        evaluation = evaluation.by(names);
    }
    let start = Moment::on(options.device);
    let (values, gradients, _) = evaluation.compute(options)?;
    let first = start.elapsed_on(options.device);
    let written = values.iter().map(bytes_of).sum::<u64>()
        + gradients
            .iter()
            .map(|(_, gradient)| bytes_of_tensor(gradient))
            .sum::<u64>();
    drop((values, gradients));
    let times = Times::of(repeat, options.device, || evaluation.compute(options))?;
    Ok(BlockTimes {
        first,
        times,
        bytes: written + read(plan, inputs),
    })
}

fn read(plan: &BlockPlan, inputs: &Inputs) -> u64 {
    let contents = plan
        .inputs
        .iter()
        .filter_map(|input| inputs.get(&input.name));
    contents
        .map(|content| match content {
            Content::Tensor(tensor) => bytes_of_tensor(tensor),
            Content::Nested(json) => characters(json),
        })
        .sum()
}

/// The bytes of all texts in nested lists; numbers count for eight each.
fn characters(json: &serde_json::Value) -> u64 {
    match json {
        serde_json::Value::Array(items) => items.iter().map(characters).sum(),
        serde_json::Value::String(text) => text.len() as u64,
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Object(_) => 8,
    }
}

fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::Tensor(tensor) => bytes_of_tensor(tensor),
        Value::Text(texts) => texts.elements.iter().map(|text| text.len() as u64).sum(),
    }
}

fn bytes_of_tensor(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}
