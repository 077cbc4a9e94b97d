//! The scan: a body applied along a dimension, its carries handed on.

use super::{EvalError, Fault, Given, Operand, Sizes, axis, evaluate};
use crate::array::{Array, Elements};
use crate::graph::ScanBody;
use crate::ty::{DimId, Ty};

/// The fields of `Op::Scan`.
pub(super) struct Scan<'a> {
    pub(super) over: DimId,
    pub(super) reverse: bool,
    pub(super) xs: usize,
    pub(super) captured: usize,
    pub(super) carries: usize,
    pub(super) masked: bool,
    pub(super) part: usize,
    pub(super) body: &'a ScanBody,
}

pub(super) fn scan(
    scan: Scan,
    operands: &[Operand],
    ty: &Ty,
    sizes: &Sizes,
    given: &Given,
) -> Result<Array, Fault> {
    let Scan {
        over,
        reverse,
        part,
        body,
        ..
    } = scan;
    if operands.len() != scan.xs + scan.captured + scan.carries + usize::from(scan.masked) {
        return Err(Fault::Missing);
    }
    let (xs, rest) = operands.split_at(scan.xs);
    let (captured, rest) = rest.split_at(scan.captured);
    let (initial, mask) = rest.split_at(scan.carries);

    let n = sizes.get(over)?;
    let mut carries: Vec<Array> = initial
        .iter()
        .map(|operand| operand.array.clone())
        .collect();
    let mut inside = Given {
        masks: given.masks.clone(),
        sizes: sizes.known().clone(),
        step: given.step,
        steps: given.steps,
        ..Given::default()
    };
    for (number, operand) in captured.iter().enumerate() {
        inside
            .inputs
            .insert(format!("k{number}"), operand.array.clone());
    }
    let mut values = vec![Elements::Real(Vec::new()); n];
    for step in 0..n {
        let position = if reverse { n - 1 - step } else { step };
        for (number, x) in xs.iter().enumerate() {
            inside
                .inputs
                .insert(format!("x{number}"), slice(*x, over, position));
        }
        for (number, carry) in carries.iter().enumerate() {
            inside.inputs.insert(format!("c{number}"), carry.clone());
        }
        let next =
            evaluate(&body.graph, &inside, &body.next).map_err(|EvalError { fault, .. }| fault)?;
        for ((carry, next), initial) in carries.iter_mut().zip(next).zip(initial) {
            *carry = match mask.first() {
                Some(mask) => hold(
                    slice(*mask, over, position),
                    &mask.ty.without(&[over]),
                    carry,
                    next,
                    initial.ty,
                )?,
                None => next,
            };
        }
        values[position] = carries.get(part).ok_or(Fault::Type)?.elements.clone();
    }
    stack(&values, over, ty, sizes)
}

/// The slice of `x` at one position of `over`.
fn slice(x: Operand, over: DimId, position: usize) -> Array {
    let lanes = axis::lanes(x, over);
    let at: Vec<usize> = lanes.iter().map(|lane| lane[position]).collect();
    let shape =
        x.ty.dims
            .iter()
            .zip(&x.array.shape)
            .filter(|(dim, _)| **dim != over)
            .map(|(_, &n)| n)
            .collect();
    Array {
        shape,
        elements: axis::take(&x.array.elements, &at),
    }
}

/// `next` where the mask holds, `carry` elsewhere; the mask has some of the dimensions of the carry.
fn hold(mask: Array, mask_ty: &Ty, carry: &Array, next: Array, ty: &Ty) -> Result<Array, Fault> {
    let real = axis::offsets(
        &carry.shape,
        &axis::strides(&mask_ty.dims, &mask.shape, &ty.dims),
    );
    let mask = Operand {
        ty: mask_ty,
        array: &mask,
    }
    .bool()?;
    let n = carry.len();
    let both = axis::concatenate([&next.elements, &carry.elements])?;
    let at: Vec<usize> = real
        .iter()
        .enumerate()
        .map(|(position, &real)| if mask[real] { position } else { n + position })
        .collect();
    Ok(Array {
        shape: carry.shape.clone(),
        elements: axis::take(&both, &at),
    })
}

/// The values of one carry at every position, along `over`.
fn stack(values: &[Elements], over: DimId, ty: &Ty, sizes: &Sizes) -> Result<Array, Fault> {
    let shape = sizes.shape(&ty.dims)?;
    if values.is_empty() {
        return axis::full(&shape, axis::zero(ty.elem));
    }
    let along = ty.without(&[over]);
    let along_shape = sizes.shape(&along.dims)?;
    let mut strides = axis::strides(&along.dims, &along_shape, &ty.dims);
    let axis = ty
        .dims
        .iter()
        .position(|own| *own == over)
        .ok_or(Fault::Type)?;
    strides[axis] = along_shape.iter().product();
    let at = axis::offsets(&shape, &strides);
    Ok(Array {
        shape,
        elements: axis::take(&axis::concatenate(values)?, &at),
    })
}
