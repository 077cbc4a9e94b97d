//! Text: its functions, whose meaning is the compiler's, and the primitives that only move it about.

use std::sync::Arc;

use rlp_compiler::eval::{self, text};
use rlp_compiler::graph::{NodeId, TextOp};

use crate::error::Fault;
use crate::tensor::{Device, Kind, Tensor, TextArray, Value, elements};

/// Applies a function of text elementwise; the operands have one shape.
pub(crate) fn apply(
    op: &TextOp,
    operands: &[(NodeId, Value)],
    kind: Kind,
    device: Device,
) -> Result<Value, Fault> {
    let arrays = operands
        .iter()
        .map(|(_, value)| value.to_array())
        .collect::<Result<Vec<_>, Fault>>()?;
    let result =
        text::evaluate(op, &arrays.iter().collect::<Vec<_>>()).map_err(|fault| match fault {
            eval::Fault::Pattern(reason) => Fault::Pattern { reason },
            other => Fault::broken(format!("functions of text are total, but {other}")),
        })?;
    Value::from_array(&result, kind, device)
}

/// Texts as numbers, so that tensor code can move them: number 0 is "", which is what an empty place of text holds.
pub(crate) struct Codes {
    texts: Vec<Arc<str>>,
    device: Device,
}

impl Codes {
    pub(crate) fn new(device: Device) -> Codes {
        Codes {
            texts: vec!["".into()],
            device,
        }
    }

    pub(crate) fn encode_one(&mut self, text: &str) -> i64 {
        self.texts.push(text.into());
        self.texts.len() as i64 - 1
    }

    pub(crate) fn encode(&mut self, texts: &TextArray) -> Result<Tensor, Fault> {
        let first = self.texts.len() as i64;
        self.texts.extend(texts.elements.iter().cloned());
        let numbers: Vec<i64> = (first..self.texts.len() as i64).collect();
        Ok(Tensor::f_from_slice(&numbers)?
            .f_reshape(&texts.shape)?
            .f_to_device(self.device)?)
    }

    pub(crate) fn decode(&self, numbers: &Tensor) -> Result<TextArray, Fault> {
        let text = |number: i64| Arc::clone(&self.texts[number as usize]);
        Ok(TextArray {
            shape: numbers.size(),
            elements: elements(numbers)?.into_iter().map(text).collect(),
        })
    }
}
