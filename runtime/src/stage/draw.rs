//! The samplers that visit the problems of a task: rollouts of a policy, and demonstrations.

use std::collections::BTreeSet;
use std::sync::Arc;

use rlp_compiler::graph::{Draw, Graph, NodeId};
use rlp_compiler::ty::{DimId, Ty};

use super::args::Args;
use super::host::{Record, StageHost, draw_index, draw_of};
use super::table;
use crate::data::{Problem, Split, evaluation};
use crate::error::{Fault, Result};
use crate::executor::Drawn;
use crate::generate::{End, rollout};
use crate::profile::{self, Label, Work};
use crate::random::Purpose;
use crate::tensor::{Kind, Tensor, TextArray, Value};

impl StageHost<'_> {
    /// A draw of new problems for the step.
    pub(crate) fn draw_problems(
        &mut self,
        graph: &Graph,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Record> {
        let draw = draw_of(graph, node)?;
        let args = Args {
            draw,
            operands: &[],
        };
        let counted = match draw.block.as_str() {
            "sampler.rollout_pairs" | "sampler.comparisons" => "pairs",
            _ => "prompts",
        };
        let count = args.whole(counted)? as u64;
        let problems = self.problems(graph, node, count, &BTreeSet::new())?;
        self.draw_for(graph, node, operands, &problems, 0)
    }

    /// The next `count` problems of the task of the draw `node`, without those of `seen`. Held-out problems are always the same ones.
    pub(crate) fn problems(
        &mut self,
        graph: &Graph,
        node: NodeId,
        count: u64,
        seen: &BTreeSet<u64>,
    ) -> Result<Vec<Problem>> {
        let draw = draw_of(graph, node)?;
        let args = Args {
            draw,
            operands: &[],
        };
        let index = draw_index(graph, node)?;
        let stream = self.stream(Purpose::Order, index);
        if let Some(prompts) = table::prompts(graph, node, draw)? {
            let walk = self.walks.entry(index).or_default();
            return Ok(walk.draw(&prompts, Split::Train, stream, count)?);
        }
        let data = args.data("task")?;
        let task = self.world.tasks[data.data].as_ref();
        if data.held_out {
            if task.size(Split::HeldOut) == 0 {
                let message = format!("`{}` holds nothing out", task.name());
                return Err(match task.digest() {
                    Some(_) => Fault::input_help(message, "a smaller `fraction` holds out more"),
                    None => Fault::input(message),
                }
                .into());
            }
            let mut problems = evaluation(task, count)?;
            problems.retain(|problem| !seen.contains(&problem.id));
            return Ok(problems);
        }
        let walk = self.walks.entry(index).or_default();
        if seen.is_empty() {
            return Ok(walk.draw(task, Split::Train, stream, count)?);
        }
        // One by one, so that none is passed over for good; a whole pass finds every one that is left.
        let mut problems: Vec<Problem> = Vec::new();
        for _ in 0..task.size(Split::Train) {
            if problems.len() as u64 == count {
                break;
            }
            let found = walk.draw(task, Split::Train, stream, 1)?;
            let is_new = |problem: &Problem| {
                !seen.contains(&problem.id) && problems.iter().all(|own| own.id != problem.id)
            };
            problems.extend(found.into_iter().filter(is_new).collect::<Vec<_>>());
        }
        Ok(problems)
    }

    /// What the draw `node` yields for the given problems; `round` counts the draws of one step from 0.
    pub(crate) fn draw_for(
        &mut self,
        graph: &Graph,
        node: NodeId,
        operands: &[Value],
        problems: &[Problem],
        round: u64,
    ) -> Result<Record> {
        let draw = draw_of(graph, node)?;
        let args = Args { draw, operands };
        let index = draw_index(graph, node)?;
        let stream = self.stream(Purpose::Sample, index).at(self.step).at(round);
        // Each batch with what stands before the names of its fields.
        let batches = match draw.block.as_str() {
            "sampler.rollout" => {
                let samples = args.whole("samples")?;
                vec![("", self.rollout(&args, samples, problems, stream)?)]
            }
            "sampler.rollout_pairs" => {
                let both = self.rollout(&args, 2, problems, stream)?;
                vec![("a.", both.one_of(2, 0)?), ("b.", both.one_of(2, 1)?)]
            }
            "sampler.comparisons" => vec![
                (
                    "chosen.",
                    self.written(problems, |problem| &problem.demonstration)?,
                ),
                (
                    "rejected.",
                    self.written(problems, |problem| &problem.answer)?,
                ),
            ],
            _ => vec![(
                "",
                self.written(problems, |problem| &problem.demonstration)?,
            )],
        };
        let mut drawn = Drawn {
            fields: Vec::new(),
            masks: Vec::new(),
        };
        let options = (self.world.kind, self.world.device);
        for (prefix, batch) in batches {
            let lengths = batch.responses.iter().map(|response| response.len() as u64);
            self.tokens += lengths.sum::<u64>();
            let of_batch = batch.drawn(graph, draw, prefix, options)?;
            drawn.fields.extend(of_batch.fields);
            drawn.masks.extend(of_batch.masks);
        }
        let problems = problems.iter().map(|problem| problem.id).collect();
        Ok(Record {
            drawn,
            problems,
            is_empty: false,
        })
    }

    fn rollout(
        &self,
        args: &Args,
        samples: i64,
        problems: &[Problem],
        stream: crate::random::Stream,
    ) -> Result<Batch> {
        if let Some(table) = args.computed("policy")? {
            return table::draw(args, table.tensor()?, samples, problems, stream);
        }
        let policy = args.model("policy")?;
        let tokenizer = &self.world.tokenizer;
        let sampling = args.sampling(samples)?;
        let prompts = problems
            .iter()
            .map(|problem| tokenizer.prompt_after(&problem.context, &problem.prompt))
            .collect::<Result<Vec<Vec<i64>>, Fault>>()?;
        let lengths: Vec<Option<u64>> = problems.iter().map(|problem| problem.length).collect();
        let end = End {
            tokens: tokenizer.ends(),
            lengths: &lengths,
        };
        let network = self.frozen.resolve(policy, self.world)?;
        let rollout = profile::within(Label::Work(Work::Decoding), || {
            rollout(network, &prompts, &sampling, end, stream)
        })?;
        let samples = sampling.samples as usize;
        let of_row = |row: usize| &problems[row / samples];
        let responses = rollout.batch.responses();
        let rows = responses.len();
        Ok(Batch {
            shape: vec![problems.len() as i64, sampling.samples],
            items: (0..rows).map(|row| of_row(row).id).collect(),
            text: responses
                .iter()
                .map(|tokens| tokenizer.decode(tokens))
                .collect::<Result<_, Fault>>()?,
            prompt_text: (0..rows).map(|row| of_row(row).prompt.clone()).collect(),
            answer: (0..rows).map(|row| of_row(row).answer.clone()).collect(),
            prompts: (0..rows)
                .map(|row| prompts[row / samples].clone())
                .collect(),
            responses,
            temperature: rollout.batch.temperature,
            logp: Some(rollout.logp),
            finished: rollout.finished,
            older: vec![0; rows],
        })
    }

    /// A response that stands in each problem.
    fn written(
        &self,
        problems: &[Problem],
        of: impl Fn(&Problem) -> &String,
    ) -> Result<Batch, Fault> {
        let tokenizer = &self.world.tokenizer;
        let prompt = |problem: &Problem| tokenizer.prompt_after(&problem.context, &problem.prompt);
        let response = |problem: &Problem| {
            let mut tokens =
                tokenizer.response_after(&problem.context, &problem.prompt, of(problem))?;
            match problem.length {
                Some(length) => tokens.truncate(length as usize),
                None => tokens.push(tokenizer.closing()),
            }
            Ok(tokens)
        };
        Ok(Batch {
            shape: vec![problems.len() as i64],
            items: problems.iter().map(|problem| problem.id).collect(),
            text: problems.iter().map(|problem| of(problem).clone()).collect(),
            prompt_text: problems
                .iter()
                .map(|problem| problem.prompt.clone())
                .collect(),
            answer: problems
                .iter()
                .map(|problem| problem.answer.clone())
                .collect(),
            prompts: problems.iter().map(prompt).collect::<Result<_, Fault>>()?,
            responses: problems
                .iter()
                .map(response)
                .collect::<Result<_, Fault>>()?,
            temperature: 1.0,
            logp: None,
            finished: vec![true; problems.len()],
            older: vec![0; problems.len()],
        })
    }
}

/// Rows of prompts and responses, before they become the fields of a record.
pub(super) struct Batch {
    /// Sizes of the dimensions that number the rows.
    pub(super) shape: Vec<i64>,
    /// The identity of each row's problem.
    pub(super) items: Vec<u64>,
    pub(super) text: Vec<String>,
    pub(super) prompt_text: Vec<String>,
    pub(super) answer: Vec<String>,
    pub(super) prompts: Vec<Vec<i64>>,
    pub(super) responses: Vec<Vec<i64>>,
    pub(super) temperature: f64,
    /// `[rows, longest response]`
    pub(super) logp: Option<Tensor>,
    pub(super) finished: Vec<bool>,
    /// How many tokens of each response were generated in earlier steps.
    pub(super) older: Vec<usize>,
}

impl Batch {
    /// Of every `n` rows the one with this number, which then are rows of one dimension.
    fn one_of(&self, n: usize, number: usize) -> Result<Batch, Fault> {
        fn every<T: Clone>(rows: &[T], n: usize, number: usize) -> Vec<T> {
            rows.iter().skip(number).step_by(n).cloned().collect()
        }
        let responses = every(&self.responses, n, number);
        let width = responses.iter().map(Vec::len).max().unwrap_or_default();
        let logp = match &self.logp {
            Some(logp) => {
                let own = logp.f_slice(0, Some(number as i64), None, n as i64)?;
                Some(own.f_narrow(1, 0, width as i64)?.f_contiguous()?)
            }
            None => None,
        };
        Ok(Batch {
            shape: vec![responses.len() as i64],
            items: every(&self.items, n, number),
            text: every(&self.text, n, number),
            prompt_text: every(&self.prompt_text, n, number),
            answer: every(&self.answer, n, number),
            prompts: every(&self.prompts, n, number),
            responses,
            temperature: self.temperature,
            logp,
            finished: every(&self.finished, n, number),
            older: every(&self.older, n, number),
        })
    }

    /// The fields of the draw whose names begin with `prefix`, and what is real of their dimensions.
    pub(super) fn drawn(
        &self,
        graph: &Graph,
        draw: &Draw,
        prefix: &str,
        options: (Kind, crate::tensor::Device),
    ) -> Result<Drawn, Fault> {
        let (kind, device) = options;
        let on_device = |tensor: Tensor| Ok::<_, Fault>(tensor.f_to_device(device)?);
        let texts = |texts: &[String]| {
            let elements = texts.iter().map(|text| Arc::from(text.as_str())).collect();
            Value::from(TextArray {
                shape: self.shape.clone(),
                elements,
            })
        };
        let own = draw.fields.iter().filter_map(|(name, ty)| {
            let name = name.strip_prefix(prefix)?;
            Some((name, ty))
        });
        let own: Vec<(&str, &Ty)> = own.collect();
        let mut fields = Vec::new();
        for (name, ty) in &own {
            fields.push(match *name {
                "item" => {
                    // A dimension inside that of the problems has the same problem throughout.
                    let shape = &self.shape[..ty.dims.len()];
                    let inside: i64 = self.shape[ty.dims.len()..].iter().product();
                    let items = self.items.iter().step_by(inside.max(1) as usize);
                    let items: Vec<i64> = items.map(|&item| item as i64).collect();
                    on_device(Tensor::f_from_slice(&items)?.f_reshape(shape)?)?.into()
                }
                "text" => texts(&self.text),
                "prompt_text" => texts(&self.prompt_text),
                "answer" => texts(&self.answer),
                "tokens" => on_device(self.padded(&self.responses)?.0)?.into(),
                "prompt_tokens" => on_device(self.padded(&self.prompts)?.0)?.into(),
                "length" => {
                    let lengths: Vec<f64> = self
                        .responses
                        .iter()
                        .map(|response| response.len() as f64)
                        .collect();
                    on_device(
                        Tensor::f_from_slice(&lengths)?
                            .f_to_kind(kind)?
                            .f_reshape(&self.shape)?,
                    )?
                    .into()
                }
                "finished" => {
                    on_device(Tensor::f_from_slice(&self.finished)?.f_reshape(&self.shape)?)?.into()
                }
                "fresh" => on_device(self.fresh()?)?.into(),
                "temperature" => {
                    Tensor::f_full([0i64; 0], self.temperature, (kind, device))?.into()
                }
                "logp" => {
                    let logp = self
                        .logp
                        .as_ref()
                        .ok_or_else(|| Fault::broken("demonstrations record no logp"))?;
                    logp.f_to_kind(kind)?
                        .f_reshape([self.shape.as_slice(), &logp.size()[1..]].concat())?
                        .into()
                }
                other => {
                    return Err(Fault::broken(format!(
                        "`{}` has no field `{other}`",
                        draw.block
                    )));
                }
            });
        }
        let mut masks = Vec::new();
        let is_own = |dim: &&DimId| {
            graph.dims.is_ragged(**dim) && own.iter().any(|(_, ty)| ty.dims.contains(*dim))
        };
        for &dim in draw.fresh.iter().filter(is_own) {
            let rows = if graph.dims.name(dim) == "prompt_token" {
                &self.prompts
            } else {
                &self.responses
            };
            masks.push((dim, on_device(self.padded(rows)?.1)?));
        }
        Ok(Drawn { fields, masks })
    }

    /// Which tokens of the responses were generated in this step.
    fn fresh(&self) -> Result<Tensor, Fault> {
        let width = self
            .responses
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or_default();
        let rows = self.responses.iter().zip(&self.older);
        let fresh: Vec<bool> = rows
            .flat_map(|(row, &older)| (0..width).map(move |at| (older..row.len()).contains(&at)))
            .collect();
        let shape = [self.shape.as_slice(), &[width as i64]].concat();
        Ok(Tensor::f_from_slice(&fresh)?.f_reshape(&shape)?)
    }

    /// Rows side by side with 0 behind the shorter ones, and where they are real.
    fn padded(&self, rows: &[Vec<i64>]) -> Result<(Tensor, Tensor), Fault> {
        let width = rows.iter().map(Vec::len).max().unwrap_or_default();
        let mut tokens = vec![0i64; rows.len() * width];
        let mut mask = vec![false; rows.len() * width];
        for (index, row) in rows.iter().enumerate() {
            tokens[index * width..][..row.len()].copy_from_slice(row);
            mask[index * width..][..row.len()].fill(true);
        }
        let shape = [self.shape.as_slice(), &[width as i64]].concat();
        Ok((
            Tensor::f_from_slice(&tokens)?.f_reshape(&shape)?,
            Tensor::f_from_slice(&mask)?.f_reshape(&shape)?,
        ))
    }
}
