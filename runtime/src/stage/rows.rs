//! Rows of values: some taken, several joined, sequences made longer. Texts follow the positions of their elements.

use std::sync::Arc;

use crate::error::Fault;
use crate::tensor::{Device, Kind, Tensor, TextArray, Value, elements};

/// The elements at `index` (int64) along an axis.
pub(crate) fn select(value: &Value, axis: usize, index: &Tensor) -> Result<Value, Fault> {
    rearrange(value, |tensor| {
        Ok(tensor.f_index_select(axis as i64, &index.f_to_device(tensor.device())?)?)
    })
}

/// The values one after another along an axis; their other sizes agree.
pub(crate) fn join(values: &[Value], axis: usize) -> Result<Value, Fault> {
    if let [only] = values {
        return Ok(only.clone());
    }
    let mut offset = 0;
    let mut texts: Vec<Arc<str>> = Vec::new();
    let mut tensors = Vec::new();
    for value in values {
        match value {
            Value::Tensor(tensor) => tensors.push(tensor.shallow_clone()),
            Value::Text(text) => {
                tensors.push(positions(text)? + offset);
                offset += text.elements.len() as i64;
                texts.extend(text.elements.iter().cloned());
            }
        }
    }
    let joined = Tensor::f_cat(&tensors, axis as i64)?;
    if texts.is_empty() {
        Ok(joined.into())
    } else {
        pick(&texts, &joined)
    }
}

/// The value with an axis of size `size`: what is added holds 0, false or "".
pub(crate) fn widen(value: &Value, axis: usize, size: i64) -> Result<Value, Fault> {
    let shape = value.shape();
    if shape[axis] == size {
        return Ok(value.clone());
    }
    let mut padding = vec![0; 2 * (shape.len() - axis)];
    if let Some(after) = padding.last_mut() {
        *after = size - shape[axis];
    }
    match value {
        Value::Tensor(tensor) => Ok(tensor.f_constant_pad_nd(&padding)?.into()),
        Value::Text(text) => {
            // Position 0 is the text that is added.
            let texts: Vec<Arc<str>> = std::iter::once("".into())
                .chain(text.elements.iter().cloned())
                .collect();
            pick(&texts, &(positions(text)? + 1).f_constant_pad_nd(&padding)?)
        }
    }
}

/// The value that `of` makes of a tensor; of texts, by their positions.
pub(crate) fn rearrange(
    value: &Value,
    of: impl Fn(&Tensor) -> Result<Tensor, Fault>,
) -> Result<Value, Fault> {
    match value {
        Value::Tensor(tensor) => Ok(of(tensor)?.into()),
        Value::Text(text) => pick(&text.elements, &of(&positions(text)?)?),
    }
}

fn positions(text: &TextArray) -> Result<Tensor, Fault> {
    Ok(
        Tensor::f_arange(text.elements.len() as i64, (Kind::Int64, Device::Cpu))?
            .f_reshape(&text.shape)?,
    )
}

fn pick(texts: &[Arc<str>], positions: &Tensor) -> Result<Value, Fault> {
    let elements = elements::<i64>(positions)?
        .iter()
        .map(|&position| texts[position as usize].clone())
        .collect();
    Ok(TextArray {
        shape: positions.size(),
        elements,
    }
    .into())
}
