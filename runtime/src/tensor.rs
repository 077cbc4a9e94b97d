//! The values of a run: libtorch tensors and arrays of text. The axes of both are the dimensions of their type, ascending.

use std::sync::Arc;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::ty::Elem;
use tch::Scalar;
use tch::kind::Element;
pub use tch::{Device, Kind, Tensor};

use crate::error::Fault;

/// The value of a node.
#[derive(Debug)]
pub enum Value {
    Tensor(Tensor),
    Text(Arc<TextArray>),
}

/// Texts in row-major order.
#[derive(Clone, PartialEq, Debug)]
pub struct TextArray {
    pub shape: Vec<i64>,
    pub elements: Vec<Arc<str>>,
}

impl Clone for Value {
    /// Shares the elements, and libtorch's record of how they came about.
    fn clone(&self) -> Value {
        match self {
            Value::Tensor(tensor) => Value::Tensor(tensor.shallow_clone()),
            Value::Text(texts) => Value::Text(Arc::clone(texts)),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Value {
        Value::Tensor(tensor)
    }
}

impl From<TextArray> for Value {
    fn from(texts: TextArray) -> Value {
        Value::Text(Arc::new(texts))
    }
}

impl Value {
    pub fn shape(&self) -> Vec<i64> {
        match self {
            Value::Tensor(tensor) => tensor.size(),
            Value::Text(texts) => texts.shape.clone(),
        }
    }

    pub fn tensor(&self) -> Result<&Tensor, Fault> {
        match self {
            Value::Tensor(tensor) => Ok(tensor),
            Value::Text(_) => Err(Fault::broken("a value is a tensor, not text")),
        }
    }

    pub fn text(&self) -> Result<&TextArray, Fault> {
        match self {
            Value::Text(texts) => Ok(texts),
            Value::Tensor(_) => Err(Fault::broken("a value is text, not a tensor")),
        }
    }

    /// From a plain array; reals become elements of `kind` (`Float` or `Double`).
    pub fn from_array(array: &Array, kind: Kind, device: Device) -> Result<Value, Fault> {
        let shape: Vec<i64> = array.shape.iter().map(|&size| size as i64).collect();
        let tensor = match &array.elements {
            Elements::Real(values) => Tensor::f_from_slice(values)?.f_to_kind(kind)?,
            Elements::Int(values) => Tensor::f_from_slice(values)?,
            Elements::Bool(values) => Tensor::f_from_slice(values)?,
            Elements::Text(texts) => {
                return Ok(TextArray {
                    shape,
                    elements: texts.iter().map(|text| text.as_str().into()).collect(),
                }
                .into());
            }
        };
        Ok(tensor.f_reshape(&shape)?.f_to_device(device)?.into())
    }

    /// To a plain array, on the host, without gradient.
    pub fn to_array(&self) -> Result<Array, Fault> {
        let shape = self.shape().iter().map(|&size| size as usize).collect();
        let elements = match self {
            Value::Text(texts) => {
                Elements::Text(texts.elements.iter().map(|text| text.to_string()).collect())
            }
            Value::Tensor(tensor) => match elem(tensor)? {
                Elem::Real => Elements::Real(elements(tensor)?),
                Elem::Int => Elements::Int(elements(tensor)?),
                Elem::Bool => Elements::Bool(elements(tensor)?),
                Elem::Text => return Err(Fault::broken("no tensor holds text")),
            },
        };
        Ok(Array { shape, elements })
    }
}

/// What a tensor holds.
pub fn elem(tensor: &Tensor) -> Result<Elem, Fault> {
    match tensor.f_kind()? {
        Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 => Ok(Elem::Real),
        Kind::Int64 | Kind::Int | Kind::Int16 | Kind::Int8 | Kind::Uint8 => Ok(Elem::Int),
        Kind::Bool => Ok(Elem::Bool),
        other => Err(Fault::broken(format!(
            "no value of a program has elements of kind {other:?}"
        ))),
    }
}

/// The elements in row-major order, converted to `T`.
pub fn elements<T: Element + Copy>(tensor: &Tensor) -> Result<Vec<T>, Fault> {
    let tensor = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_to_kind(T::KIND)?
        .f_contiguous()?;
    let mut values = vec![T::ZERO; tensor.numel()];
    let count = values.len();
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// `x` where `real` holds, `otherwise` elsewhere; no gradient reaches those elements of `x`, whatever they hold.
pub fn keep(x: &Tensor, real: &Tensor, otherwise: impl Into<Scalar>) -> Result<Tensor, Fault> {
    Ok(x.f_where_self(real, &scalar(otherwise, x)?)?)
}

/// A single element of the kind and on the device of `like`.
pub fn scalar(value: impl Into<Scalar>, like: &Tensor) -> Result<Tensor, Fault> {
    Ok(Tensor::f_full(
        [0i64; 0],
        value,
        (like.f_kind()?, like.device()),
    )?)
}

/// Runs `f` without recording how values come about; nothing in it can be differentiated afterwards.
pub fn without_gradient<T>(f: impl FnOnce() -> T) -> T {
    tch::no_grad(f)
}

/// Runs `f` while gradients are recorded, also inside of [`without_gradient`].
pub fn with_gradient<T>(f: impl FnOnce() -> T) -> T {
    tch::with_grad(f)
}

/// The gradient of the sum of `y` with respect to each of `xs` (all of which require one): zeros where `y` does not depend on it.
///
/// With `keep`, further gradients of `y` can be taken; the gradients themselves cannot be differentiated.
pub fn gradients(y: &Tensor, xs: &[&Tensor], keep: bool) -> Result<Vec<Tensor>, Fault> {
    let found: Vec<Option<Tensor>> = if y.requires_grad() && !xs.is_empty() {
        let gradients = Tensor::f_run_backward(&[y], xs, keep, false)?;
        gradients
            .into_iter()
            .map(|gradient| gradient.defined().then_some(gradient))
            .collect()
    } else {
        xs.iter().map(|_| None).collect()
    };
    found
        .into_iter()
        .zip(xs)
        .map(|(gradient, x)| Ok(gradient.map_or_else(|| x.f_zeros_like(), Ok)?))
        .collect()
}
