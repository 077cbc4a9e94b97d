//! From named dimensions to the axes of tensors.

use rlp_compiler::ty::DimId;

use crate::error::Fault;
use crate::tensor::Tensor;

/// Which axis a dimension is.
pub(crate) fn axis(dims: &[DimId], dim: DimId) -> Result<usize, Fault> {
    dims.iter()
        .position(|&own| own == dim)
        .ok_or_else(|| Fault::broken("an operand has the dimension that its user names"))
}

/// The dimensions of `dims` that are not among `others`.
pub(crate) fn without(dims: &[DimId], others: &[DimId]) -> Vec<DimId> {
    dims.iter()
        .copied()
        .filter(|dim| !others.contains(dim))
        .collect()
}

/// The dimensions of `dims` that are among `others`.
pub(crate) fn common(dims: &[DimId], others: &[DimId]) -> Vec<DimId> {
    dims.iter()
        .copied()
        .filter(|dim| others.contains(dim))
        .collect()
}

/// `x` over the same dimensions in another order.
pub(crate) fn arrange(x: &Tensor, from: &[DimId], to: &[DimId]) -> Result<Tensor, Fault> {
    if from == to {
        return Ok(x.shallow_clone());
    }
    let order: Vec<i64> = to
        .iter()
        .map(|&dim| Ok(axis(from, dim)? as i64))
        .collect::<Result<_, Fault>>()?;
    Ok(x.f_permute(&order)?)
}

/// `x` with an axis of size 1 for each dimension of `to` that it lacks; libtorch repeats it along those. Both orders ascend.
pub(crate) fn spread(x: &Tensor, from: &[DimId], to: &[DimId]) -> Result<Tensor, Fault> {
    if from == to {
        return Ok(x.shallow_clone());
    }
    let sizes = x.size();
    let mut own = from.iter().zip(sizes).peekable();
    let shape: Vec<i64> = to
        .iter()
        .map(|dim| {
            own.next_if(|(next, _)| *next == dim)
                .map_or(1, |(_, size)| size)
        })
        .collect();
    if own.next().is_some() {
        return Err(Fault::broken(
            "the dimensions of an operand are among those of its user",
        ));
    }
    Ok(x.f_reshape(&shape)?)
}

/// `x` with the dimensions `last`, in that order, joined into one last axis; the others come before it, in order.
pub(crate) fn flatten_last(x: &Tensor, dims: &[DimId], last: &[DimId]) -> Result<Tensor, Fault> {
    let first = without(dims, last);
    let order: Vec<DimId> = first.iter().chain(last).copied().collect();
    let x = arrange(x, dims, &order)?;
    let mut shape = x.size();
    let joined: i64 = shape.drain(first.len()..).product();
    shape.push(joined);
    Ok(x.f_reshape(&shape)?)
}
