//! The primitives that move values along dimensions: repeating, renaming, running sums, shifts, sorting, indexing.

use rlp_compiler::ty::DimId;

use super::{Operand, Site, axis};
use crate::error::Fault;
use crate::tensor::{Kind, Tensor, keep};

pub(super) fn broadcast(site: &Site) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let repeated = axis::spread(x.tensor, x.dims, &site.ty.dims)?.f_expand(site.shape()?, false)?;
    match site.operands.get(1) {
        None => Ok(repeated),
        Some(mask) => keep(
            &repeated,
            &axis::spread(mask.tensor, mask.dims, &site.ty.dims)?,
            0,
        ),
    }
}

pub(super) fn rename(pairs: &[(DimId, DimId)], site: &Site) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let renamed: Vec<DimId> = x
        .dims
        .iter()
        .map(|&dim| {
            pairs
                .iter()
                .find(|(old, _)| *old == dim)
                .map_or(dim, |&(_, new)| new)
        })
        .collect();
    axis::arrange(x.tensor, &renamed, &site.ty.dims)
}

pub(super) fn cumsum(over: DimId, reverse: bool, site: &Site) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let along = axis::axis(x.dims, over)? as i64;
    let sums = if reverse {
        x.tensor
            .f_flip([along])?
            .f_cumsum(along, x.tensor.f_kind()?)?
            .f_flip([along])?
    } else {
        x.tensor.f_cumsum(along, x.tensor.f_kind()?)?
    };
    site.keep_real(sums)
}

pub(super) fn shift(over: DimId, by: i64, site: &Site) -> Result<Tensor, Fault> {
    let (x, fill) = (site.operand(0)?, site.operand(1)?);
    let along = axis::axis(x.dims, over)?;
    let size = x.tensor.size()[along];
    let beyond = by.saturating_abs().min(size);
    let mut shape = x.tensor.size();
    shape[along] = beyond;
    let along = along as i64;
    let fill = axis::spread(fill.tensor, fill.dims, x.dims)?.f_expand(&shape, false)?;
    let kept = x
        .tensor
        .f_narrow(along, if by > 0 { 0 } else { beyond }, size - beyond)?;
    let parts = if by > 0 { [fill, kept] } else { [kept, fill] };
    site.keep_real(Tensor::f_cat(&parts, along)?)
}

/// Sorts by value first and then, stably, the real before the others.
pub(super) fn arg_sort(over: DimId, descending: bool, site: &Site) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let along = axis::axis(x.dims, over)? as i64;
    let by_value = x.tensor.f_argsort_stable(true, along, descending)?;
    match site.operands.get(1) {
        None => Ok(by_value),
        Some(mask) => {
            let real = axis::spread(mask.tensor, mask.dims, x.dims)?.f_expand_as(x.tensor)?;
            let is_padding = real
                .f_logical_not()?
                .f_to_kind(Kind::Int64)?
                .f_gather(along, &by_value, false)?;
            Ok(by_value.f_gather(
                along,
                &is_padding.f_argsort_stable(true, along, false)?,
                false,
            )?)
        }
    }
}

pub(super) fn stack(dim: DimId, site: &Site) -> Result<Tensor, Fault> {
    let parts: Vec<&Tensor> = site.operands.iter().map(|operand| operand.tensor).collect();
    Ok(Tensor::f_stack(
        &parts,
        axis::axis(&site.ty.dims, dim)? as i64,
    )?)
}

pub(super) fn split(dim: DimId, into: &[DimId], site: &Site) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let along = axis::axis(x.dims, dim)?;
    let mut order = x.dims.to_vec();
    order.splice(along..=along, into.iter().copied());
    let mut shape = x.tensor.size();
    shape.splice(along..=along, site.extents.sizes(into)?);
    axis::arrange(&x.tensor.f_reshape(&shape)?, &order, &site.ty.dims)
}

pub(super) fn merge(dims: &[DimId], into: DimId, site: &Site) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let joined = axis::flatten_last(x.tensor, x.dims, dims)?;
    let mut order = axis::without(x.dims, dims);
    order.push(into);
    axis::arrange(&joined, &order, &site.ty.dims)
}

/// How the dimensions of a gather and its adjoint fall into groups, x being indexed along `over`.
struct Plan {
    /// Of x and of the index: one lookup for each position.
    batch: Vec<DimId>,
    /// Of the index alone, or `over` itself.
    picked: Vec<DimId>,
    /// Of x alone: whole slices are looked up.
    slice: Vec<DimId>,
}

impl Plan {
    fn new(x: &[DimId], index: &[DimId], over: DimId) -> Plan {
        let along = axis::without(x, &[over]);
        let batch = axis::common(&along, index);
        Plan {
            picked: axis::without(index, &batch),
            slice: axis::without(&along, &batch),
            batch,
        }
    }

    fn order(&self, middle: &[DimId]) -> Vec<DimId> {
        [self.batch.as_slice(), middle, self.slice.as_slice()].concat()
    }
}

/// The rows that the index names in a table of `batch` × `size` rows: `[batch · picked]`. What is not real names row 0 of its batch.
fn rows(
    index: &Operand,
    plan: &Plan,
    over: DimId,
    size: i64,
    site: &Site,
) -> Result<Tensor, Fault> {
    let checked = match site.extents.real(index.dims)? {
        None => index.tensor.shallow_clone(),
        Some(real) => keep(index.tensor, &real, 0)?,
    };
    let outside = checked.f_lt(0)?.f_logical_or(&checked.f_ge(size)?)?;
    if outside.f_any()?.f_int64_value(&[])? != 0 {
        let first = checked.f_masked_select(&outside)?.f_int64_value(&[0])?;
        return Err(Fault::Index {
            dim: site.extents.name(over).to_string(),
            index: first,
            size,
        });
    }
    let arranged = axis::arrange(
        &checked,
        index.dims,
        &[plan.batch.as_slice(), plan.picked.as_slice()].concat(),
    )?;
    let batches: i64 = site.extents.sizes(&plan.batch)?.iter().product();
    let picked: i64 = arranged.size()[plan.batch.len()..].iter().product();
    let first_rows = Tensor::f_arange(batches, (Kind::Int64, checked.device()))?
        .f_mul_scalar(size)?
        .f_unsqueeze(1)?;
    Ok(arranged
        .f_reshape([batches, picked])?
        .f_add(&first_rows)?
        .f_reshape([batches * picked])?)
}

pub(super) fn gather(over: DimId, site: &Site) -> Result<Tensor, Fault> {
    let (x, index) = (site.operand(0)?, site.operand(1)?);
    let plan = Plan::new(x.dims, index.dims, over);
    let size = x.tensor.size()[axis::axis(x.dims, over)?];
    let rows = rows(index, &plan, over, size, site)?;
    let order = plan.order(&plan.picked);
    let shape = site.extents.sizes(&order)?;
    let table = axis::arrange(x.tensor, x.dims, &plan.order(&[over]))?;
    let slice: i64 = table.size()[plan.batch.len() + 1..].iter().product();
    let batches: i64 = table.size()[..plan.batch.len()].iter().product();
    let found = table
        .f_reshape([batches * size, slice])?
        .f_index_select(0, &rows)?
        .f_reshape(&shape)?;
    site.keep_real(axis::arrange(&found, &order, &site.ty.dims)?)
}

/// Its operand is 0 where it is not real, which names row 0.
pub(super) fn scatter_add(over: DimId, site: &Site) -> Result<Tensor, Fault> {
    let (g, index) = (site.operand(0)?, site.operand(1)?);
    let plan = Plan::new(&site.ty.dims, index.dims, over);
    let size = site.extents.size(over)?;
    let rows = rows(index, &plan, over, size, site)?;
    let order = plan.order(&[over]);
    let shape = site.extents.sizes(&order)?;
    let slice: i64 = shape[plan.batch.len() + 1..].iter().product();
    let batches: i64 = shape[..plan.batch.len()].iter().product();
    let table = Tensor::f_zeros(
        [batches * size, slice],
        (g.tensor.f_kind()?, g.tensor.device()),
    )?;
    let source = axis::arrange(g.tensor, g.dims, &plan.order(&plan.picked))?;
    let source = source.f_reshape([rows.size()[0], slice])?;
    let sums = table.f_index_add(0, &rows, &source)?.f_reshape(&shape)?;
    axis::arrange(&sums, &order, &site.ty.dims)
}
