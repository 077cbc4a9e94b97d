//! Arguments for a block by its signature: random, and the same for the same seed.

use std::fmt::Write as _;

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::plan::{BlockPlan, InputPlan};
use rlp_compiler::ty::{DimId, Elem};
use serde_json::Value as Json;

use crate::block::{Content, Inputs};
use crate::error::{Fault, Result};
use crate::random::{Purpose, Stream};
use crate::tensor::{Device, Kind, Tensor};

/// The size of each dimension, by name.
type Sizes = [(String, i64)];

/// What is known of the arguments to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) sizes: &'a Sizes,
    /// The share of a ragged dimension that is real, on average; above 0.5 and at most 1.
    pub(crate) filled: f64,
    /// Of each text.
    pub(crate) characters: usize,
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
}

impl Given<'_> {
    /// Adds to `inputs` what they lack of the arguments of a block.
    ///
    /// Reals are standard normal; those whose name has `logp` in it lie near −1 with a deviation of 0.05, as two
    /// policies that differ by an update have them. Integers are 0 or 1. Of texts see [`texts`].
    pub(crate) fn complete(&self, plan: &BlockPlan, inputs: &mut Inputs) -> Result<()> {
        let named = |name: &str| {
            plan.graph
                .dims
                .ids()
                .any(|dim| plan.graph.dims.name(dim) == name)
        };
        if let Some((name, _)) = self.sizes.iter().find(|(name, _)| !named(name)) {
            let message = format!("`{}` has no dimension `{name}`", plan.name);
            let names: Vec<&str> = plan
                .graph
                .dims
                .ids()
                .map(|dim| plan.graph.dims.name(dim))
                .collect();
            let near = nearest(name, names);
            return Err(match near.first() {
                Some(near) => Fault::input_help(message, format!("--size {near}=…")),
                None => Fault::input(message),
            }
            .into());
        }
        tch::manual_seed(self.seed as i64);
        let mut texts = 0;
        for input in &plan.inputs {
            let is_needed =
                input.default.is_none() && input.initial.is_none() && !input.axes.is_empty();
            if !is_needed || inputs.get(&input.name).is_some() {
                continue;
            }
            let shape = self.shape(plan, &input.axes)?;
            let content = match input.elem {
                Elem::Real => Content::Tensor(self.reals(&input.name, &shape)?),
                Elem::Int => {
                    Content::Tensor(Tensor::f_randint(2, &shape, (Kind::Int64, Device::Cpu))?)
                }
                Elem::Bool => {
                    Content::Tensor(Tensor::f_rand(&shape, (Kind::Float, Device::Cpu))?.f_lt(0.5)?)
                }
                Elem::Text => {
                    texts += 1;
                    Content::Nested(self.texts(&input.name, texts - 1, &shape))
                }
            };
            inputs.insert(&input.name, content);
        }
        if self.filled < 1.0 {
            self.add_masks(plan, inputs)?;
        }
        Ok(())
    }

    fn shape(&self, plan: &BlockPlan, axes: &[DimId]) -> Result<Vec<i64>, Fault> {
        axes.iter().map(|&dim| self.size(plan, dim)).collect()
    }

    fn size(&self, plan: &BlockPlan, dim: DimId) -> Result<i64, Fault> {
        let own = plan.graph.dims.get(dim);
        let given = self.sizes.iter().rev().find(|(name, _)| *name == own.name);
        match (given, own.size) {
            (_, Some(size)) => Ok(size as i64),
            (Some((_, size)), None) => Ok(*size),
            (None, None) => Err(Fault::input_help(
                format!("nothing tells the size of dimension `{}`", own.name),
                format!("--size {}=…", own.name),
            )),
        }
    }

    fn reals(&self, name: &str, shape: &[i64]) -> Result<Tensor, Fault> {
        let normal = Tensor::f_randn(shape, (self.kind, Device::Cpu))?;
        if name.contains("logp") {
            return Ok(normal.f_mul_scalar(0.05)?.f_sub_scalar(1.0)?);
        }
        Ok(normal)
    }

    /// Masks of the ragged dimensions, each over the axes up to it where it first stands in the signature: the length
    /// of each sequence is uniform, and `filled` of the longest on average.
    fn add_masks(&self, plan: &BlockPlan, inputs: &mut Inputs) -> Result<()> {
        for (dim, upto) in ragged(&plan.inputs, |dim| plan.graph.dims.is_ragged(dim)) {
            let name = match plan.graph.dims.name(dim) {
                ".." => "#token".to_string(),
                name => format!("#{name}"),
            };
            if inputs.get(&name).is_some() {
                continue;
            }
            let shape = self.shape(plan, &upto)?;
            let Some((&longest, rows)) = shape.split_last() else {
                continue;
            };
            let least = (longest as f64 * (2.0 * self.filled - 1.0)).round() as i64;
            let rows = [rows, &[1]].concat();
            let lengths =
                Tensor::f_randint_low(least, longest + 1, &rows, (Kind::Int64, Device::Cpu))?;
            let positions = Tensor::f_arange(longest, (Kind::Int64, Device::Cpu))?;
            inputs.insert(&name, Content::Tensor(positions.f_lt_tensor(&lengths)?));
        }
        Ok(())
    }

    /// Texts for an argument, which is the `number`-th of text, in nested lists.
    ///
    /// A response is `<think>`, random letters, `</think><answer> N </answer>`; an argument `answer` has N for every
    /// second of them and N + 1 for the others. A second text that is no answer is the first one turned by a third, so
    /// that the two have much in common.
    fn texts(&self, name: &str, number: usize, shape: &[i64]) -> Json {
        let count: i64 = shape.iter().product();
        let stream = Stream::new(self.seed, Purpose::Problem);
        let text = |index: u64| {
            let stream = stream.at(index);
            let answer = stream.below(0, 1000);
            if name.contains("answer") {
                return (answer + index % 2).to_string();
            }
            let response = response(stream, answer, self.characters);
            let turned = number * response.len() / 3 % response.len().max(1);
            format!("{}{}", &response[turned..], &response[..turned])
        };
        let mut leaves = (0..count as u64).map(|index| Json::String(text(index)));
        nested(shape, &mut leaves)
    }
}

/// ASCII of `characters` characters, cut where that is too few for its tags.
fn response(stream: Stream, answer: u64, characters: usize) -> String {
    let tail = format!("</think><answer> {answer} </answer>");
    let mut text = String::from("<think>");
    let letters = characters.saturating_sub(text.len() + tail.len());
    let mut bits = 0;
    for place in 0..letters {
        if place % 12 == 0 {
            bits = stream.bits(1 + place as u64 / 12);
        }
        // 27 of 32 five-bit numbers: a letter each, or a space.
        let letter = (bits & 31) as u8 % 27;
        bits >>= 5;
        text.push(if letter == 26 {
            ' '
        } else {
            char::from(b'a' + letter)
        });
    }
    let _ = write!(text, "{tail}");
    text.truncate(characters);
    text
}

fn nested(shape: &[i64], leaves: &mut impl Iterator<Item = Json>) -> Json {
    match shape.split_first() {
        None => leaves.next().unwrap_or(Json::Null),
        Some((&size, rest)) => Json::Array((0..size).map(|_| nested(rest, leaves)).collect()),
    }
}

fn ragged(inputs: &[InputPlan], is_ragged: impl Fn(DimId) -> bool) -> Vec<(DimId, Vec<DimId>)> {
    let mut found: Vec<(DimId, Vec<DimId>)> = Vec::new();
    for input in inputs {
        for (position, &dim) in input.axes.iter().enumerate() {
            if is_ragged(dim) && found.iter().all(|(known, _)| *known != dim) {
                found.push((dim, input.axes[..=position].to_vec()));
            }
        }
    }
    found
}
