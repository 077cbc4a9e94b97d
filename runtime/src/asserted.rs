//! Assertions of blocks, checked while running.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Assertion, Graph, NodeId};
use rlp_compiler::ty::DimId;

use crate::error::{Fault, Place, Result, RunError};
use crate::executor::{Executor, Host};
use crate::tensor::{Tensor, Value, without_gradient};

/// The assertions of a graph with these indices.
pub(crate) fn of<'g>(graph: &'g Graph, indices: &[usize]) -> Vec<&'g Assertion> {
    let found = indices.iter().filter_map(|&index| graph.asserts.get(index));
    found.collect()
}

/// Checks assertions on the values of an executor: one reduction each, and one look at all of them together.
///
/// The error of the first that does not hold says where, and what its condition read there.
pub(crate) fn check(
    asserts: &[&Assertion],
    executor: &mut Executor<'_>,
    host: &mut dyn Host,
) -> Result<()> {
    if asserts.is_empty() {
        return Ok(());
    }
    let nodes: Vec<NodeId> = asserts
        .iter()
        .map(|assertion| assertion.condition)
        .collect();
    let conditions = without_gradient(|| executor.evaluate(&nodes, host))?;
    if hold(&conditions)? {
        return Ok(());
    }
    for (assertion, condition) in asserts.iter().zip(&conditions) {
        if !hold(std::slice::from_ref(condition))? {
            return Err(broken(assertion, condition, executor, host)?);
        }
    }
    Ok(())
}

fn hold(conditions: &[Value]) -> Result<bool, Fault> {
    let each = conditions
        .iter()
        .map(|condition| Ok(condition.tensor()?.f_all()?));
    let each = each.collect::<Result<Vec<Tensor>, Fault>>()?;
    Ok(Tensor::f_stack(&each, 0)?.f_all()?.f_int64_value(&[])? != 0)
}

/// The error of an assertion that does not hold.
fn broken(
    assertion: &Assertion,
    condition: &Value,
    executor: &mut Executor<'_>,
    host: &mut dyn Host,
) -> Result<RunError> {
    let graph = executor.graph();
    let condition = condition.to_array()?;
    let Elements::Bool(elements) = &condition.elements else {
        return Err(Fault::broken("the condition of an assertion is a bool").into());
    };
    let count = elements.iter().filter(|holds| !**holds).count();
    let first = elements.iter().position(|holds| !holds).unwrap_or_default();
    let dims = &graph.ty(assertion.condition).dims;
    let at = positions(dims, &condition.shape, first);
    let nodes: Vec<NodeId> = assertion.reads.iter().map(|&(_, node)| node).collect();
    let read = without_gradient(|| executor.evaluate(&nodes, host))?;
    let mut values = Vec::new();
    for ((name, node), value) in assertion.reads.iter().zip(read) {
        let value = element(&value.to_array()?, &graph.ty(*node).dims, &at);
        values.extend(value.map(|value| (name.clone(), value)));
    }
    let name = |&(dim, position): &(DimId, usize)| (graph.dims.name(dim).to_string(), position);
    let fault = Fault::Assertion {
        claim: assertion.claim.clone(),
        at: at.iter().map(name).collect(),
        values,
        count,
    };
    let place = Place::at(graph, assertion.span, assertion.call);
    Ok(RunError {
        fault,
        place: Some(Box::new(place)),
    })
}

/// A place in row-major order, along each dimension.
fn positions(dims: &[DimId], shape: &[usize], place: usize) -> Vec<(DimId, usize)> {
    let position = |axis: usize| place / shape[axis + 1..].iter().product::<usize>() % shape[axis];
    let axes = dims.iter().enumerate();
    axes.map(|(axis, &dim)| (dim, position(axis))).collect()
}

/// The element of an array at a place that names all its dimensions, as users write it.
fn element(array: &Array, dims: &[DimId], at: &[(DimId, usize)]) -> Option<String> {
    let mut place = 0;
    for (dim, size) in dims.iter().zip(&array.shape) {
        let (_, position) = at.iter().find(|(own, _)| own == dim)?;
        place = place * size + position;
    }
    match &array.elements {
        Elements::Real(values) => values.get(place).map(f64::to_string),
        Elements::Int(values) => values.get(place).map(i64::to_string),
        Elements::Bool(values) => values.get(place).map(bool::to_string),
        Elements::Text(values) => values.get(place).map(|text| format!("{text:?}")),
    }
}
