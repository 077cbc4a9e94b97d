//! Nested lists: the axes that they make, and the positions that they leave out where their lengths differ.

use std::ops::Range;

use rlp_compiler::ty::Elem;
use serde_json::Value as Json;

use crate::error::Fault;
use crate::tensor::Tensor;
use crate::text::Codes;

/// A nested list, filled up with 0, false or "" to a dense array; its axes are in the order of the signature.
pub(super) struct Nested {
    pub(super) tensor: Tensor,
    /// For each axis along which lists differ in length: which positions of the axes up to it are there.
    pub(super) masks: Vec<(usize, Tensor)>,
}

/// Lists of one element kind. Texts become numbers of `codes`; reals are `Double`.
pub(super) fn nested(
    name: &str,
    value: &Json,
    elem: Elem,
    codes: &mut Codes,
) -> Result<Nested, Fault> {
    let rank = depth(value);
    let mut shape = vec![0; rank];
    let mut uneven = vec![false; rank];
    measure(
        name,
        value,
        0,
        &mut shape,
        &mut vec![None; rank],
        &mut uneven,
    )?;
    let mut filled = Filled {
        leaves: Vec::new(),
        present: vec![Vec::new(); rank],
    };
    fill(Some(value), 0, &shape, &mut filled);

    let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let masks = (0..rank).filter(|&axis| uneven[axis]).map(|axis| {
        let mask = Tensor::f_from_slice(&filled.present[axis])?.f_reshape(&sizes[..=axis])?;
        Ok((axis, mask))
    });
    let masks = masks.collect::<Result<Vec<_>, Fault>>()?;
    let refuse = |found: &Json| {
        Fault::input(format!(
            "`{name}` is of {}, and the file has {found}",
            elem.name()
        ))
    };
    let leaves = filled.leaves.iter();
    let tensor = match elem {
        Elem::Real => each(leaves, 0.0, |leaf| {
            leaf.as_f64().ok_or_else(|| refuse(leaf))
        })?,
        Elem::Int => each(leaves, 0, |leaf| leaf.as_i64().ok_or_else(|| refuse(leaf)))?,
        Elem::Bool => each(leaves, false, |leaf| {
            leaf.as_bool().ok_or_else(|| refuse(leaf))
        })?,
        Elem::Text => each(leaves, 0, |leaf| {
            Ok(codes.encode_one(leaf.as_str().ok_or_else(|| refuse(leaf))?))
        })?,
    };
    Ok(Nested {
        tensor: tensor.f_reshape(&sizes)?,
        masks,
    })
}

fn each<'a, T: tch::kind::Element>(
    leaves: impl Iterator<Item = &'a Option<&'a Json>>,
    absent: T,
    mut read: impl FnMut(&Json) -> Result<T, Fault>,
) -> Result<Tensor, Fault> {
    let elements = leaves
        .map(|leaf| leaf.map_or_else(|| Ok(absent.clone()), &mut read))
        .collect::<Result<Vec<T>, Fault>>()?;
    Ok(Tensor::f_from_slice(&elements)?)
}

impl Nested {
    /// With some neighbouring axes (or none) as one. Of these, the last whose lists differ knows all that is missing.
    pub(super) fn join(self, axes: Range<usize>) -> Result<Nested, Fault> {
        let sizes = self.tensor.size();
        let joined = |tensor: &Tensor| {
            let mut sizes = tensor.size();
            let product: i64 = sizes[axes.clone()].iter().product();
            sizes.splice(axes.clone(), [product]);
            tensor.f_reshape(&sizes)
        };
        let mut masks = Vec::new();
        for (axis, mask) in &self.masks {
            if *axis < axes.start {
                masks.push((*axis, mask.shallow_clone()));
            } else if *axis >= axes.end {
                masks.push((axis + 1 - axes.len(), joined(mask)?));
            } else {
                masks.retain(|(known, _)| *known != axes.start);
                let further = vec![1; axes.end - axis - 1];
                let repeated = mask
                    .f_reshape([&mask.size()[..], &further].concat())?
                    .f_expand(&sizes[..axes.end], false)?;
                masks.push((axes.start, joined(&repeated)?));
            }
        }
        Ok(Nested {
            tensor: joined(&self.tensor)?,
            masks,
        })
    }
}

/// How deep the lists are nested, along the first element that goes deepest.
fn depth(value: &Json) -> usize {
    match value {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => 0,
    }
}

/// The longest list at each depth, and whether all are as long.
fn measure(
    name: &str,
    value: &Json,
    axis: usize,
    shape: &mut [usize],
    first: &mut [Option<usize>],
    uneven: &mut [bool],
) -> Result<(), Fault> {
    match value {
        Json::Array(items) => {
            let length = *first[axis].get_or_insert(items.len());
            uneven[axis] |= length != items.len();
            shape[axis] = shape[axis].max(items.len());
            items
                .iter()
                .try_for_each(|item| measure(name, item, axis + 1, shape, first, uneven))
        }
        Json::Object(_) => Err(Fault::input(format!(
            "`{name}` is a list, and the file has an object in it"
        ))),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) if axis < shape.len() => {
            Err(Fault::input(format!(
                "`{name}` has {value} where other elements are lists"
            )))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
    }
}

struct Filled<'a> {
    /// `None` where there is nothing.
    leaves: Vec<Option<&'a Json>>,
    /// For each axis, which positions of the axes up to it are there.
    present: Vec<Vec<bool>>,
}

fn fill<'a>(value: Option<&'a Json>, axis: usize, shape: &[usize], filled: &mut Filled<'a>) {
    let Some(&size) = shape.get(axis) else {
        filled.leaves.push(value);
        return;
    };
    let items = value.and_then(Json::as_array);
    for position in 0..size {
        let item = items.and_then(|items| items.get(position));
        filled.present[axis].push(item.is_some());
        fill(item, axis + 1, shape, filled);
    }
}

/// Nested lists of the elements of a tensor; what is not finite becomes `null`.
pub(super) fn to_json(shape: &[i64], leaves: &mut impl Iterator<Item = Json>) -> Json {
    match shape.split_first() {
        None => leaves.next().unwrap_or(Json::Null),
        Some((&size, rest)) => Json::Array((0..size).map(|_| to_json(rest, leaves)).collect()),
    }
}
