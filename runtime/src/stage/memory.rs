//! Memories: for each item of a data source the number that it had when it was last seen.
//!
//! A memory is a state like any other: a tensor `[items, 2]` of identities, ascending, and numbers.

use std::collections::BTreeMap;

use rlp_compiler::graph::{Graph, NodeId, Op};

use crate::error::Fault;
use crate::tensor::{Device, Kind, Tensor, Value};

/// The memory of a stage that begins.
pub(super) fn empty() -> Result<Value, Fault> {
    Ok(Tensor::f_zeros([0, 2], (Kind::Double, Device::Cpu))?.into())
}

/// The node that says which items a memory is of, where anything reads the memory.
pub(super) fn items(graph: &Graph, index: usize) -> Option<NodeId> {
    let mut nodes = graph.ids();
    let node = nodes.find(|&id| matches!(graph.op(id), Op::State(own) if *own == index))?;
    graph.operands(node).first().copied()
}

/// What is known of each of `items`; `initial` where nothing is.
pub(super) fn look_up(memory: &Value, items: &Tensor, initial: &Tensor) -> Result<Tensor, Fault> {
    let known = numbers(memory)?;
    let otherwise = initial.f_double_value(&[])?;
    let found: Vec<f64> = whole(items)?
        .into_iter()
        .map(|item| known.get(&item).copied().unwrap_or(otherwise))
        .collect();
    Ok(Tensor::f_from_slice(&found)?
        .f_reshape(items.size())?
        .f_to_kind(initial.f_kind()?)?
        .f_to_device(items.device())?)
}

/// The memory once `values` have been written for `items`; of an item that stands there twice, the last one.
pub(super) fn written(memory: &Value, items: &Tensor, values: &Tensor) -> Result<Value, Fault> {
    let mut known = numbers(memory)?;
    let values = values
        .f_to_kind(Kind::Double)?
        .f_to_device(Device::Cpu)?
        .f_reshape([-1])?;
    let values: Vec<f64> = Vec::try_from(&values)
        .map_err(|error| Fault::broken(format!("a memory is of numbers: {error}")))?;
    known.extend(whole(items)?.into_iter().zip(values));
    let flat: Vec<f64> = known
        .into_iter()
        .flat_map(|(item, value)| [item as f64, value])
        .collect();
    Ok(Tensor::f_from_slice(&flat)?.f_reshape([-1, 2])?.into())
}

fn numbers(memory: &Value) -> Result<BTreeMap<i64, f64>, Fault> {
    let flat = memory.tensor()?.f_reshape([-1])?;
    let flat: Vec<f64> = Vec::try_from(&flat)
        .map_err(|error| Fault::broken(format!("a memory is of numbers: {error}")))?;
    // Identities are below 2^53, which a number of 64 bits has exactly.
    let pairs = flat.chunks_exact(2);
    Ok(pairs.map(|pair| (pair[0] as i64, pair[1])).collect())
}

fn whole(items: &Tensor) -> Result<Vec<i64>, Fault> {
    let flat = items.f_to_device(Device::Cpu)?.f_reshape([-1])?;
    Vec::try_from(&flat)
        .map_err(|error| Fault::broken(format!("identities are whole numbers: {error}")))
}
