//! Where the elements of a named-dimension array lie, and the primitives that only move them.

use super::{Fault, Operand, Sizes};
use crate::array::{Array, Elements};
use crate::ty::{DimId, Elem, Ty};

/// The strides along the dimensions `along` of a row-major array over `dims`: 0 along those that it lacks.
pub(super) fn strides(dims: &[DimId], shape: &[usize], along: &[DimId]) -> Vec<usize> {
    let stride = |dim: &DimId| match dims.iter().position(|own| own == dim) {
        Some(axis) => shape[axis + 1..].iter().product(),
        None => 0,
    };
    along.iter().map(stride).collect()
}

/// Where each position of `shape` (in row-major order) lies in an array with these strides.
pub(super) fn offsets(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for (&size, &stride) in shape.iter().zip(strides) {
        offsets = offsets
            .iter()
            .flat_map(|&base| (0..size).map(move |position| base + position * stride))
            .collect();
    }
    offsets
}

/// For each position of the dimensions `kept`, where the elements of `x` with that position lie, in order.
pub(super) fn groups(x: Operand, kept: &[DimId]) -> Vec<Vec<usize>> {
    let kept_shape: Vec<usize> =
        x.ty.dims
            .iter()
            .zip(&x.array.shape)
            .filter(|(dim, _)| kept.contains(dim))
            .map(|(_, &n)| n)
            .collect();
    let kept_dims: Vec<DimId> =
        x.ty.dims
            .iter()
            .copied()
            .filter(|dim| kept.contains(dim))
            .collect();
    let mut groups = vec![Vec::new(); kept_shape.iter().product()];
    let group_of = offsets(
        &x.array.shape,
        &strides(&kept_dims, &kept_shape, &x.ty.dims),
    );
    for (position, group) in group_of.into_iter().enumerate() {
        groups[group].push(position);
    }
    groups
}

/// The lanes of `x` along one dimension: for each position of the others, where its elements lie.
pub(super) fn lanes(x: Operand, over: DimId) -> Vec<Vec<usize>> {
    groups(x, &x.ty.without(&[over]).dims)
}

/// The elements at the given offsets.
pub(super) fn take(elements: &Elements, at: &[usize]) -> Elements {
    match elements {
        Elements::Real(values) => Elements::Real(at.iter().map(|&offset| values[offset]).collect()),
        Elements::Int(values) => Elements::Int(at.iter().map(|&offset| values[offset]).collect()),
        Elements::Bool(values) => Elements::Bool(at.iter().map(|&offset| values[offset]).collect()),
        Elements::Text(values) => {
            Elements::Text(at.iter().map(|&offset| values[offset].clone()).collect())
        }
    }
}

/// One after the other; all of one kind.
pub(super) fn concatenate<'a>(
    parts: impl IntoIterator<Item = &'a Elements>,
) -> Result<Elements, Fault> {
    let mut parts = parts.into_iter();
    let mut all = parts.next().ok_or(Fault::Type)?.clone();
    for part in parts {
        match (&mut all, part) {
            (Elements::Real(all), Elements::Real(part)) => all.extend(part),
            (Elements::Int(all), Elements::Int(part)) => all.extend(part),
            (Elements::Bool(all), Elements::Bool(part)) => all.extend(part),
            (Elements::Text(all), Elements::Text(part)) => all.extend(part.iter().cloned()),
            _ => return Err(Fault::Type),
        }
    }
    Ok(all)
}

/// 0, false or "".
pub(super) fn zero(elem: Elem) -> Elements {
    match elem {
        Elem::Real => Elements::Real(vec![0.0]),
        Elem::Int => Elements::Int(vec![0]),
        Elem::Bool => Elements::Bool(vec![false]),
        Elem::Text => Elements::Text(vec![String::new()]),
    }
}

/// One element, everywhere.
pub(super) fn full(shape: &[usize], element: Elements) -> Result<Array, Fault> {
    let count = shape.iter().product();
    Ok(Array {
        shape: shape.to_vec(),
        elements: take(&element, &vec![0; count]),
    })
}

pub(super) fn broadcast(
    x: Operand,
    mask: Option<Operand>,
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let shape = sizes.shape(&ty.dims)?;
    let mut at = offsets(&shape, &strides(&x.ty.dims, &x.array.shape, &ty.dims));
    let with_zero = concatenate([&x.array.elements, &zero(ty.elem)])?;
    if let Some(mask) = mask {
        for (at, &real) in at.iter_mut().zip(mask.bool()?) {
            if !real {
                *at = x.array.len();
            }
        }
    }
    Ok(Array {
        shape,
        elements: take(&with_zero, &at),
    })
}

pub(super) fn rename(x: Operand, pairs: &[(DimId, DimId)], ty: &Ty) -> Result<Array, Fault> {
    let old_name = |new: &DimId| {
        pairs
            .iter()
            .find(|(_, to)| to == new)
            .map_or(*new, |&(old, _)| old)
    };
    let old_names: Vec<DimId> = ty.dims.iter().map(old_name).collect();
    let mut shape = Vec::new();
    for dim in &old_names {
        let axis =
            x.ty.dims
                .iter()
                .position(|own| own == dim)
                .ok_or(Fault::Type)?;
        shape.push(x.array.shape[axis]);
    }
    let at = offsets(&shape, &strides(&x.ty.dims, &x.array.shape, &old_names));
    Ok(Array {
        shape,
        elements: take(&x.array.elements, &at),
    })
}

/// How far apart neighbours along each of `parts` are, in steps of the dimension that they make together.
fn part_strides(parts: &[DimId], sizes: &Sizes) -> Result<Vec<usize>, Fault> {
    let shape = sizes.shape(parts)?;
    Ok((0..parts.len())
        .map(|axis| shape[axis + 1..].iter().product())
        .collect())
}

pub(super) fn split(
    x: Operand,
    dim: DimId,
    into: &[DimId],
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let shape = sizes.shape(&ty.dims)?;
    if shape.iter().product::<usize>() != x.array.len() {
        return Err(Fault::SizesDisagree {
            dim,
            sizes: [sizes.get(dim)?, sizes.shape(into)?.iter().product()],
        });
    }
    let parts = part_strides(into, sizes)?;
    let whole = strides(&x.ty.dims, &x.array.shape, &[dim])[0];
    let along: Vec<usize> = ty
        .dims
        .iter()
        .map(|result| match into.iter().position(|part| part == result) {
            Some(part) => parts[part] * whole,
            None => strides(&x.ty.dims, &x.array.shape, &[*result])[0],
        })
        .collect();
    let at = offsets(&shape, &along);
    Ok(Array {
        shape,
        elements: take(&x.array.elements, &at),
    })
}

pub(super) fn merge(
    x: Operand,
    dims: &[DimId],
    into: DimId,
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let shape = sizes.shape(&ty.dims)?;
    let parts = part_strides(dims, sizes)?;
    let whole = strides(&ty.dims, &shape, &[into])[0];
    let along: Vec<usize> =
        x.ty.dims
            .iter()
            .map(|own| match dims.iter().position(|part| part == own) {
                Some(part) => parts[part] * whole,
                None => strides(&ty.dims, &shape, &[*own])[0],
            })
            .collect();
    let mut at = vec![0; x.array.len()];
    for (from, to) in offsets(&x.array.shape, &along).into_iter().enumerate() {
        at[to] = from;
    }
    Ok(Array {
        shape,
        elements: take(&x.array.elements, &at),
    })
}
