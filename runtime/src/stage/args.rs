//! What a sampler is given.

use rlp_compiler::array::Elements;
use rlp_compiler::graph::{DataRef, Draw, DrawArg, ModelRef};

use crate::error::Fault;
use crate::generate::Sampling;
use crate::tensor::{Value, elements};

/// The arguments of a draw, by name.
pub(crate) struct Args<'a> {
    pub(crate) draw: &'a Draw,
    /// The values of its operands, in order.
    pub(crate) operands: &'a [Value],
}

impl<'a> Args<'a> {
    fn get(&self, name: &str) -> Result<&'a DrawArg, Fault> {
        let arg = self
            .draw
            .args
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, arg)| arg);
        arg.ok_or_else(|| self.broken(name))
    }

    /// The value of an argument that is computed while the stage runs; `None` if it is known otherwise.
    pub(crate) fn computed(&self, name: &str) -> Result<Option<&'a Value>, Fault> {
        Ok(match self.get(name)? {
            DrawArg::Operand(operand) => self.operands.get(*operand),
            DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Data(_) | DrawArg::Record(_) => None,
        })
    }

    pub(crate) fn model(&self, name: &str) -> Result<&ModelRef, Fault> {
        match self.get(name)? {
            DrawArg::Model(model) => Ok(model),
            DrawArg::Static(_) | DrawArg::Data(_) | DrawArg::Operand(_) | DrawArg::Record(_) => {
                Err(self.broken(name))
            }
        }
    }

    pub(crate) fn data(&self, name: &str) -> Result<&DataRef, Fault> {
        match self.get(name)? {
            DrawArg::Data(data) => Ok(data),
            DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Operand(_) | DrawArg::Record(_) => {
                Err(self.broken(name))
            }
        }
    }

    /// Name and operand of each field of a record.
    pub(crate) fn record(&self, name: &str) -> Result<&'a [(String, usize)], Fault> {
        match self.get(name)? {
            DrawArg::Record(fields) => Ok(fields),
            DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Data(_) | DrawArg::Operand(_) => {
                Err(self.broken(name))
            }
        }
    }

    /// The operand that is a tensor argument.
    pub(crate) fn operand(&self, name: &str) -> Result<usize, Fault> {
        match self.get(name)? {
            DrawArg::Operand(operand) => Ok(*operand),
            DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Data(_) | DrawArg::Record(_) => {
                Err(self.broken(name))
            }
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<f64, Fault> {
        let value = match self.get(name)? {
            DrawArg::Static(array) => match &array.elements {
                Elements::Real(values) => values.first().copied(),
                Elements::Int(values) => values.first().map(|&value| value as f64),
                Elements::Bool(_) | Elements::Text(_) => None,
            },
            DrawArg::Operand(operand) => match self.operands.get(*operand) {
                Some(value) => elements::<f64>(value.tensor()?)?.first().copied(),
                None => None,
            },
            DrawArg::Model(_) | DrawArg::Data(_) | DrawArg::Record(_) => None,
        };
        value.ok_or_else(|| self.broken(name))
    }

    pub(crate) fn whole(&self, name: &str) -> Result<i64, Fault> {
        Ok(self.number(name)? as i64)
    }

    /// How responses are drawn, `samples` to each prompt.
    pub(crate) fn sampling(&self, samples: i64) -> Result<Sampling, Fault> {
        Ok(Sampling {
            samples,
            max_tokens: self.whole("max_tokens")?,
            temperature: self.number("temperature")?,
            top_k: self.whole("top_k")?,
            top_p: self.number("top_p")?,
        })
    }

    fn broken(&self, name: &str) -> Fault {
        Fault::broken(format!(
            "`{}` is given `{name}` as its signature says",
            self.draw.block
        ))
    }
}
