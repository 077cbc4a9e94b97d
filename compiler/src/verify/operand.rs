//! What the type rules ask of operands and dimensions.

use super::claim;
use crate::graph::{Graph, NodeId, Op};
use crate::ty::{DimId, Elem, Ty};

/// Exactly so many operands.
pub(super) fn exactly<T: Copy, const N: usize>(operands: &[T]) -> Result<[T; N], String> {
    operands
        .try_into()
        .map_err(|_| format!("{} operands instead of {N}", operands.len()))
}

/// One operand and perhaps a mask.
pub(super) fn with_mask<'a>(operands: &[&'a Ty]) -> Result<(&'a Ty, Option<&'a Ty>), String> {
    match operands {
        [x] => Ok((x, None)),
        [x, mask] => Ok((x, Some(mask))),
        _ => Err(format!(
            "{} operands instead of one and a mask",
            operands.len()
        )),
    }
}

pub(super) fn mask_of(mask: Option<&Ty>, x: &Ty) -> Result<(), String> {
    claim(
        mask.is_none_or(|mask| *mask == x.with_elem(Elem::Bool)),
        "a mask that is not over the operand's dimensions",
    )
}

/// A source whose only operand, if any, is the draw that its dimensions come from.
pub(super) fn from_draw(graph: &Graph, ids: &[NodeId]) -> Result<(), String> {
    claim(
        ids.len() <= 1 && ids.iter().all(|&id| matches!(graph.op(id), Op::Draw(_))),
        "an operand that is not a draw",
    )
}

pub(super) fn along(x: &Ty, over: DimId) -> Result<(), String> {
    claim(
        x.has(over),
        "an operand without the dimension it works along",
    )
}

pub(super) fn ordered(x: &Ty) -> Result<(), String> {
    claim(
        matches!(x.elem, Elem::Real | Elem::Int),
        "elements without order",
    )
}

pub(super) fn matrix(x: &Ty, row: DimId, col: DimId) -> Result<(), String> {
    claim(
        x.elem == Elem::Real && row != col && x.has(row) && x.has(col),
        "an operand that is not a real matrix",
    )
}

pub(super) fn union(a: &Ty, b: &Ty) -> Ty {
    Ty::new(a.elem, a.dims.iter().chain(&b.dims).copied().collect())
}

pub(super) fn distinct(dims: &[DimId]) -> bool {
    dims.iter()
        .enumerate()
        .all(|(place, dim)| !dims[..place].contains(dim))
}

pub(super) fn has_size(graph: &Graph, dim: DimId, size: usize) -> bool {
    graph
        .dims
        .get(dim)
        .size
        .is_none_or(|known| known == size as u64)
}

pub(super) fn same_size(graph: &Graph, a: DimId, b: DimId) -> bool {
    graph
        .dims
        .get(a)
        .size
        .is_none_or(|size| has_size(graph, b, size as usize))
}

/// The sizes of `parts`, where all are known, make that of `whole`.
pub(super) fn parts_rule(graph: &Graph, whole: DimId, parts: &[DimId]) -> Result<(), String> {
    claim(
        !parts.is_empty() && distinct(parts),
        "parts that are not several dimensions",
    )?;
    let product: Option<u64> = parts
        .iter()
        .map(|&part| graph.dims.get(part).size)
        .product();
    claim(
        product.is_none_or(|product| has_size(graph, whole, product as usize)),
        "parts whose sizes do not make the whole",
    )
}
