//! The type rules of what a graph reads from outside.

use std::collections::BTreeSet;

use super::claim;
use super::operand::{exactly, from_draw, has_size};
use crate::array::Array;
use crate::eval::{count_of, elem_of};
use crate::graph::{DrawArg, Graph, ModelOutput, NodeId, Op};
use crate::ty::{DimId, Elem, Ty};

pub(super) fn literal(graph: &Graph, array: &Array, ty: &Ty) -> Result<(), String> {
    claim(elem_of(array) == ty.elem, "a literal of another element")?;
    claim(
        array.shape.len() == ty.dims.len(),
        "a literal with another number of axes",
    )?;
    claim(
        count_of(array) == array.len(),
        "a literal with too few or too many elements",
    )?;
    let mut sizes = ty.dims.iter().zip(&array.shape);
    claim(
        sizes.all(|(&dim, &n)| has_size(graph, dim, n)),
        "a literal of another size than its dimension",
    )
}

/// The type of the mask of a dimension.
pub(super) fn mask(graph: &Graph, dim: DimId, ids: &[NodeId]) -> Result<Ty, String> {
    from_draw(graph, ids)?;
    let parents = graph.dims.get(dim).ragged.as_ref();
    let parents = parents.ok_or("the mask of a dimension that is not ragged")?;
    Ok(Ty::new(
        Elem::Bool,
        parents.iter().copied().chain([dim]).collect(),
    ))
}

pub(super) fn state(graph: &Graph, state: usize, operands: &[&Ty]) -> Result<Ty, String> {
    let state = graph
        .states
        .get(state)
        .ok_or("a state that the graph lacks")?;
    if state.is_memory {
        let [items, initial] = exactly::<_, 2>(operands)?;
        claim(
            *items == state.ty.with_elem(Elem::Int),
            "items that do not fit what is kept of them",
        )?;
        claim(
            *initial == Ty::scalar(state.ty.elem),
            "an initial value that is no such number",
        )?;
    } else {
        exactly::<_, 0>(operands)?;
    }
    Ok(state.ty.clone())
}

pub(super) fn draw(graph: &Graph, draw: usize, n_operands: usize) -> Result<(), String> {
    let draw = graph.draws.get(draw).ok_or("a draw that the graph lacks")?;
    let named = draw.args.iter().flat_map(|(_, arg)| match arg {
        DrawArg::Operand(operand) => vec![*operand],
        DrawArg::Record(fields) => fields.iter().map(|&(_, operand)| operand).collect(),
        DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Data(_) => Vec::new(),
    });
    let named: BTreeSet<usize> = named.collect();
    claim(
        named == (0..n_operands).collect(),
        "operands that are not its arguments",
    )
}

pub(super) fn field(graph: &Graph, name: &str, ids: &[NodeId]) -> Result<Ty, String> {
    let [id] = exactly(ids)?;
    let draw = if let Op::Draw(draw) = graph.op(id) {
        graph.draws.get(*draw)
    } else {
        None
    };
    let mut fields = draw.ok_or("a field of what is no draw")?.fields.iter();
    let (_, ty) = fields
        .find(|(field, _)| field == name)
        .ok_or("a field that its draw lacks")?;
    Ok(ty.clone())
}

pub(super) fn backward(outputs: &[ModelOutput], operands: &[&Ty], ty: &Ty) -> Result<(), String> {
    let (read, adjoints) = operands.split_at(operands.len().saturating_sub(outputs.len()));
    claim(adjoints.len() == outputs.len(), "an output without adjoint")?;
    for (&output, adjoint) in outputs.iter().zip(adjoints) {
        model(output, read, adjoint)?;
    }
    claim(
        ty.elem == Elem::Real && ty.dims.len() == 1,
        "a gradient that is not end to end",
    )
}

pub(super) fn model(output: ModelOutput, operands: &[&Ty], ty: &Ty) -> Result<(), String> {
    let [tokens, context, temperature, mask, context_mask] = exactly::<_, 5>(operands)?;
    claim(
        tokens.elem == Elem::Int && context.elem == Elem::Int,
        "tokens that are not integers",
    )?;
    claim(
        temperature.elem == Elem::Real && tokens.includes(temperature),
        "a temperature that does not fit the tokens",
    )?;
    claim(
        *mask == tokens.with_elem(Elem::Bool),
        "a mask that does not fit the tokens",
    )?;
    claim(
        *context_mask == context.with_elem(Elem::Bool),
        "a mask that does not fit the context",
    )?;
    claim(
        ty.elem == Elem::Real && ty.includes(tokens),
        "an output that does not fit the tokens",
    )?;
    let fresh = ty.dims.iter().filter(|&&dim| !tokens.has(dim)).count();
    match output {
        ModelOutput::Logp | ModelOutput::Entropy | ModelOutput::Value => {
            claim(fresh == 0, "a dimension too many")
        }
        ModelOutput::Logits => claim(fresh == 1, "logits have one dimension more than the tokens"),
    }
}
