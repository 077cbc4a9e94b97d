//! The primitives that remove dimensions.

use super::elementwise::{greatest, least};
use super::{Fault, Operand, Sizes, axis};
use crate::array::{Array, Elements};
use crate::graph::Reduction;
use crate::ty::{DimId, Ty};

pub(super) fn reduce(
    kind: Reduction,
    x: Operand,
    mask: Option<Operand>,
    ty: &Ty,
) -> Result<Array, Fault> {
    let groups = real_groups(x, mask, &ty.dims)?;
    let shape: Vec<usize> =
        x.ty.dims
            .iter()
            .zip(&x.array.shape)
            .filter(|(dim, _)| ty.has(**dim))
            .map(|(_, &n)| n)
            .collect();
    let elements = match (&x.array.elements, kind) {
        (_, Reduction::Count) => {
            Elements::Int(groups.iter().map(|group| group.len() as i64).collect())
        }
        (Elements::Real(values), kind) => {
            Elements::Real(each(&groups, values, |group| reduce_real(kind, group))?)
        }
        (Elements::Int(values), kind) => {
            Elements::Int(each(&groups, values, |group| reduce_int(kind, group))?)
        }
        (Elements::Bool(values), Reduction::Any) => {
            Elements::Bool(each(&groups, values, |group| Some(group.contains(&true)))?)
        }
        (Elements::Bool(values), Reduction::All) => {
            Elements::Bool(each(&groups, values, |group| {
                Some(!group.contains(&false))
            })?)
        }
        (Elements::Bool(_) | Elements::Text(_), _) => return Err(Fault::Type),
    };
    Ok(Array { shape, elements })
}

/// Where the real elements of each group lie.
fn real_groups(
    x: Operand,
    mask: Option<Operand>,
    kept: &[DimId],
) -> Result<Vec<Vec<usize>>, Fault> {
    let mut groups = axis::groups(x, kept);
    if let Some(mask) = mask {
        let real = mask.bool()?;
        if real.len() != x.array.len() {
            return Err(Fault::Type);
        }
        for group in &mut groups {
            group.retain(|&position| real[position]);
        }
    }
    Ok(groups)
}

fn each<T: Copy, R>(
    groups: &[Vec<usize>],
    values: &[T],
    reduce: impl Fn(&[T]) -> Option<R>,
) -> Result<Vec<R>, Fault> {
    groups
        .iter()
        .map(|group| {
            let group: Vec<T> = group.iter().map(|&position| values[position]).collect();
            reduce(&group).ok_or(Fault::Type)
        })
        .collect()
}

fn reduce_real(kind: Reduction, group: &[f64]) -> Option<f64> {
    let sum = || group.iter().fold(0.0, |acc, x| acc + x);
    Some(match kind {
        Reduction::Sum => sum(),
        Reduction::Mean if group.is_empty() => 0.0,
        Reduction::Mean => sum() / group.len() as f64,
        Reduction::Max => group.iter().copied().reduce(greatest).unwrap_or(0.0),
        Reduction::Min => group.iter().copied().reduce(least).unwrap_or(0.0),
        Reduction::Product => group.iter().product(),
        Reduction::LogSumExp => log_sum_exp(group),
        Reduction::Any | Reduction::All | Reduction::Count => return None,
    })
}

fn log_sum_exp(group: &[f64]) -> f64 {
    let largest = group.iter().copied().fold(f64::NEG_INFINITY, greatest);
    if largest.is_infinite() {
        return largest;
    }
    largest + group.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

fn reduce_int(kind: Reduction, group: &[i64]) -> Option<i64> {
    match kind {
        Reduction::Sum => Some(group.iter().fold(0, |acc, &x| acc.wrapping_add(x))),
        Reduction::Max => Some(group.iter().copied().max().unwrap_or(0)),
        Reduction::Min => Some(group.iter().copied().min().unwrap_or(0)),
        Reduction::Product => Some(group.iter().fold(1, |acc, &x| acc.wrapping_mul(x))),
        Reduction::Mean
        | Reduction::LogSumExp
        | Reduction::Any
        | Reduction::All
        | Reduction::Count => None,
    }
}

pub(super) fn arg_reduce(
    largest: bool,
    over: DimId,
    x: Operand,
    mask: Option<Operand>,
    ty: &Ty,
) -> Result<Array, Fault> {
    let lanes = axis::lanes(x, over);
    let real = mask.map(Operand::bool).transpose()?;
    let shape: Vec<usize> =
        x.ty.dims
            .iter()
            .zip(&x.array.shape)
            .filter(|(dim, _)| ty.has(**dim))
            .map(|(_, &n)| n)
            .collect();
    let values: Vec<f64> = match &x.array.elements {
        Elements::Real(values) => values.clone(),
        Elements::Int(values) => values.iter().map(|&x| x as f64).collect(),
        Elements::Bool(_) | Elements::Text(_) => return Err(Fault::Type),
    };
    let best = |lane: &Vec<usize>| {
        let mut best: Option<usize> = None;
        for (index, &position) in lane.iter().enumerate() {
            if real.is_some_and(|real| !real[position]) {
                continue;
            }
            let x = values[position];
            let better = best.is_none_or(|best| {
                let known = values[lane[best]];
                (if largest { x > known } else { x < known }) || x.is_nan() && !known.is_nan()
            });
            if better {
                best = Some(index);
            }
        }
        best.unwrap_or(0) as i64
    };
    Ok(Array {
        shape,
        elements: Elements::Int(lanes.iter().map(best).collect()),
    })
}

pub(super) fn contract(a: Operand, b: Operand, ty: &Ty, sizes: &Sizes) -> Result<Array, Fault> {
    let joint = Ty::new(
        ty.elem,
        a.ty.dims.iter().chain(&b.ty.dims).copied().collect(),
    );
    let joint_shape = sizes.shape(&joint.dims)?;
    let shape = sizes.shape(&ty.dims)?;
    let at = |operand: Operand| offsets_in(&joint, &joint_shape, operand.ty, &operand.array.shape);
    let targets = offsets_in(&joint, &joint_shape, ty, &shape);
    let places = targets
        .iter()
        .zip(at(a))
        .zip(at(b))
        .map(|((&target, a), b)| (target, a, b));
    let count = shape.iter().product();
    let elements = match (&a.array.elements, &b.array.elements) {
        (Elements::Real(a), Elements::Real(b)) => {
            let mut sums = vec![0.0; count];
            places.for_each(|(target, i, j)| sums[target] += a[i] * b[j]);
            Elements::Real(sums)
        }
        (Elements::Int(a), Elements::Int(b)) => {
            let mut sums = vec![0i64; count];
            places.for_each(|(target, i, j)| {
                sums[target] = sums[target].wrapping_add(a[i].wrapping_mul(b[j]))
            });
            Elements::Int(sums)
        }
        _ => return Err(Fault::Type),
    };
    Ok(Array { shape, elements })
}

fn offsets_in(joint: &Ty, joint_shape: &[usize], ty: &Ty, shape: &[usize]) -> Vec<usize> {
    axis::offsets(joint_shape, &axis::strides(&ty.dims, shape, &joint.dims))
}
