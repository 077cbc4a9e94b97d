//! Responses of one token, drawn from a table of logits over prompts and actions.

use rlp_compiler::graph::{Draw, DrawArg, Graph, NodeId};

use super::args::Args;
use super::draw::Batch;
use crate::data::{Problem, Split, Task};
use crate::error::{Fault, Result};
use crate::generate::{Sampling, drawn_token};
use crate::random::Stream;
use crate::tensor::{Device, Kind, Tensor};

/// The prompts of a table, named by their numbers.
pub(super) struct Prompts(u64);

impl Task for Prompts {
    fn name(&self) -> &str {
        "a table of prompts"
    }

    fn size(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.0,
            Split::HeldOut => 0,
        }
    }

    fn problem(&self, _: Split, index: u64, _: Stream) -> Result<Problem, Fault> {
        Ok(Problem {
            id: index,
            context: Vec::new(),
            prompt: index.to_string(),
            answer: String::new(),
            demonstration: String::new(),
            length: None,
        })
    }
}

/// The prompts that a draw is made for, if its policy is a table.
pub(super) fn prompts(graph: &Graph, node: NodeId, draw: &Draw) -> Result<Option<Prompts>, Fault> {
    let policy = draw.args.iter().find(|(name, _)| name == "policy");
    let Some((_, DrawArg::Operand(operand))) = policy else {
        return Ok(None);
    };
    let table = graph.operands(node)[*operand];
    let mut dims = graph.ty(table).dims.iter();
    let prompt = dims.find(|dim| graph.dims.name(**dim) == "prompt");
    let size = prompt.and_then(|&dim| graph.dims.get(dim).size);
    match size {
        Some(size) => Ok(Some(Prompts(size))),
        None => Err(Fault::broken("a table has so many prompts")),
    }
}

/// `samples` responses to each problem. A response is one action, whose text is its number among those of all prompts.
pub(super) fn draw(
    args: &Args,
    table: &Tensor,
    samples: i64,
    problems: &[Problem],
    stream: Stream,
) -> Result<Batch> {
    let sampling = args.sampling(samples)?;
    let greedy = sampling.temperature == 0.0;
    let temperature = if greedy { 1.0 } else { sampling.temperature };
    let logp = table
        .f_to_kind(Kind::Double)?
        .f_div_scalar(temperature)?
        .f_log_softmax(-1, Kind::Double)?
        .f_to_device(Device::Cpu)?;
    let actions = logp.size()[1];
    let logp: Vec<Vec<f64>> = Vec::try_from(&logp)
        .map_err(|error| Fault::broken(format!("a table is of numbers: {error}")))?;
    let rows = problems.len() * samples as usize;
    let of_row = |row: usize| &problems[row / samples as usize];
    let most = Sampling {
        top_k: if greedy { 1 } else { sampling.top_k },
        ..sampling
    };
    let chosen: Vec<usize> = (0..rows)
        .map(|row| {
            let of_prompt = &logp[of_row(row).id as usize];
            drawn_token(of_prompt, &most, stream.uniform(row as u64))
        })
        .collect();
    let own: Vec<f64> = (0..rows)
        .map(|row| logp[of_row(row).id as usize][chosen[row]])
        .collect();
    let text = |row: usize| (of_row(row).id as i64 * actions + chosen[row] as i64).to_string();
    Ok(Batch {
        shape: vec![problems.len() as i64, samples],
        items: (0..rows).map(|row| of_row(row).id).collect(),
        text: (0..rows).map(text).collect(),
        prompt_text: (0..rows).map(|row| of_row(row).prompt.clone()).collect(),
        answer: vec![String::new(); rows],
        prompts: (0..rows).map(|row| vec![of_row(row).id as i64]).collect(),
        responses: chosen.iter().map(|&action| vec![action as i64]).collect(),
        temperature,
        logp: Some(Tensor::f_from_slice(&own)?.f_reshape([rows as i64, 1])?),
        finished: vec![true; rows],
        older: vec![0; rows],
    })
}
