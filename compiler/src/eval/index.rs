//! The primitives that move values along a dimension: running sums, shifts, sorting, indexing.

use std::cmp::Ordering;

use super::{Fault, Operand, Sizes, axis};
use crate::array::{Array, Elements};
use crate::ty::{DimId, Ty};

pub(super) fn cumsum(over: DimId, reverse: bool, x: Operand) -> Result<Array, Fault> {
    let lanes = axis::lanes(x, over);
    let elements = match &x.array.elements {
        Elements::Real(values) => {
            Elements::Real(running(&lanes, values, reverse, |acc, x| acc + x))
        }
        Elements::Int(values) => Elements::Int(running(&lanes, values, reverse, i64::wrapping_add)),
        Elements::Bool(_) | Elements::Text(_) => return Err(Fault::Type),
    };
    Ok(Array {
        shape: x.array.shape.clone(),
        elements,
    })
}

fn running<T: Copy + Default>(
    lanes: &[Vec<usize>],
    values: &[T],
    reverse: bool,
    add: impl Fn(T, T) -> T,
) -> Vec<T> {
    let mut sums = values.to_vec();
    for lane in lanes {
        let mut acc = T::default();
        for step in 0..lane.len() {
            let position = lane[if reverse { lane.len() - 1 - step } else { step }];
            acc = add(acc, values[position]);
            sums[position] = acc;
        }
    }
    sums
}

pub(super) fn shift(over: DimId, by: i64, x: Operand, fill: Operand) -> Result<Array, Fault> {
    let both = axis::concatenate([&x.array.elements, &fill.array.elements])?;
    let n = x.array.len();
    let mut at = vec![0; n];
    for (number, lane) in axis::lanes(x, over).iter().enumerate() {
        for (index, &position) in lane.iter().enumerate() {
            let source = (index as i64)
                .checked_sub(by)
                .and_then(|source| usize::try_from(source).ok());
            at[position] = source
                .and_then(|source| lane.get(source))
                .copied()
                .unwrap_or(n + number);
        }
    }
    Ok(Array {
        shape: x.array.shape.clone(),
        elements: axis::take(&both, &at),
    })
}

pub(super) fn arg_sort(
    over: DimId,
    descending: bool,
    x: Operand,
    mask: Option<Operand>,
) -> Result<Array, Fault> {
    let real = mask.map(Operand::bool).transpose()?;
    let compare: Box<dyn Fn(usize, usize) -> Ordering> = match &x.array.elements {
        Elements::Real(values) => Box::new(|a, b| in_order(values[a], values[b])),
        Elements::Int(values) => Box::new(|a, b| values[a].cmp(&values[b])),
        Elements::Bool(_) | Elements::Text(_) => return Err(Fault::Type),
    };
    let mut indices = vec![0i64; x.array.len()];
    for lane in axis::lanes(x, over) {
        let mut order: Vec<usize> = (0..lane.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (lane[a], lane[b]);
            let is_real = |position: usize| real.is_none_or(|real| real[position]);
            match (is_real(a), is_real(b)) {
                (true, true) if descending => compare(b, a),
                (true, true) => compare(a, b),
                (a, b) => b.cmp(&a),
            }
        });
        for (place, &index) in order.iter().enumerate() {
            indices[lane[place]] = index as i64;
        }
    }
    Ok(Array {
        shape: x.array.shape.clone(),
        elements: Elements::Int(indices),
    })
}

/// By value (−0 and 0 are equal); what is not a number is larger than all others.
fn in_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// For each position of the dimensions `dims`: where it reads `over` of an array over `ty` at the index.
fn indexed(
    over: DimId,
    ty: &Ty,
    shape: &[usize],
    index: Operand,
    dims: &Ty,
    sizes: &Sizes,
) -> Result<Vec<usize>, Fault> {
    let positions = sizes.shape(&dims.dims)?;
    let size = sizes.get(over)?;
    let along = ty.without(&[over]);
    let strides: Vec<usize> = dims
        .dims
        .iter()
        .map(|dim| {
            if along.has(*dim) {
                axis::strides(&ty.dims, shape, &[*dim])[0]
            } else {
                0
            }
        })
        .collect();
    let base = axis::offsets(&positions, &strides);
    let at = axis::offsets(
        &positions,
        &axis::strides(&index.ty.dims, &index.array.shape, &dims.dims),
    );
    let stride = axis::strides(&ty.dims, shape, &[over])[0];
    let index = index.int()?;
    base.iter()
        .zip(at)
        .map(|(base, at)| match usize::try_from(index[at]) {
            Ok(position) if position < size => Ok(base + position * stride),
            _ => Err(Fault::Index {
                index: index[at],
                size,
            }),
        })
        .collect()
}

pub(super) fn gather(
    over: DimId,
    x: Operand,
    index: Operand,
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let at = indexed(over, x.ty, &x.array.shape, index, ty, sizes)?;
    Ok(Array {
        shape: sizes.shape(&ty.dims)?,
        elements: axis::take(&x.array.elements, &at),
    })
}

pub(super) fn scatter_add(
    over: DimId,
    g: Operand,
    index: Operand,
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let shape = sizes.shape(&ty.dims)?;
    let targets = indexed(over, ty, &shape, index, g.ty, sizes)?;
    let mut sums = vec![0.0; shape.iter().product()];
    for (target, g) in targets.into_iter().zip(g.real()?) {
        sums[target] += g;
    }
    Ok(Array {
        shape,
        elements: Elements::Real(sums),
    })
}

pub(super) fn stack(
    dim: DimId,
    operands: &[Operand],
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let all = axis::concatenate(operands.iter().map(|operand| &operand.array.elements))?;
    let shape = sizes.shape(&ty.dims)?;
    let first = operands.first().ok_or(Fault::Type)?;
    let mut strides = axis::strides(&first.ty.dims, &first.array.shape, &ty.dims);
    let axis = ty
        .dims
        .iter()
        .position(|own| *own == dim)
        .ok_or(Fault::Type)?;
    strides[axis] = first.array.len();
    let at = axis::offsets(&shape, &strides);
    Ok(Array {
        shape,
        elements: axis::take(&all, &at),
    })
}
