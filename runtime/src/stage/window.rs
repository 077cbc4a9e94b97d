//! `sampler.windowed`: responses that grow by a window of tokens a step, and make room when they end.

use std::collections::BTreeSet;
use std::rc::Rc;

use rlp_compiler::graph::{Graph, NodeId};
use serde::{Deserialize, Serialize};

use super::args::Args;
use super::draw::Batch;
use super::host::{Record, StageHost, draw_index, draw_of};
use crate::data::Problem;
use crate::error::{Fault, Result};
use crate::generate::{End, Sampling, rollout};
use crate::random::Purpose;
use crate::state::Archive;
use crate::tensor::{Tensor, elements};

/// A response that is being generated.
pub(crate) struct Slot {
    problem: Problem,
    prompt: Vec<i64>,
    tokens: Vec<i64>,
    /// Log-probability of each token when it was drawn.
    logp: Vec<f64>,
    finished: bool,
}

impl StageHost<'_> {
    /// Fills the slots of responses that ended, and continues every one.
    pub(crate) fn windowed(&mut self, graph: &Graph, node: NodeId) -> Result<Record> {
        let draw = draw_of(graph, node)?;
        let index = draw_index(graph, node)?;
        let args = Args {
            draw,
            operands: &[],
        };
        let shape = vec![args.whole("prompts")?, args.whole("samples")?];
        let (window, most) = (args.whole("window")?, args.whole("max_tokens")? as usize);
        let policy = args.model("policy")?.clone();
        let tokenizer = Rc::clone(&self.world.tokenizer);

        let mut pool = self.pools.remove(&index).unwrap_or_default();
        let n_slots = shape.iter().product::<i64>() as usize;
        let kept = pool.iter().filter(|slot| !slot.finished).count();
        let more = (n_slots - kept) as u64;
        let problems = self.problems(graph, node, more, &BTreeSet::new())?;
        if (problems.len() as u64) < more {
            return Err(Fault::input(format!(
                "`sampler.windowed` needs {more} problems to go on, and there are {}",
                problems.len()
            ))
            .into());
        }
        let slot = |problem: Problem| {
            Ok(Slot {
                prompt: tokenizer.prompt_after(&problem.context, &problem.prompt)?,
                problem,
                tokens: Vec::new(),
                logp: Vec::new(),
                finished: false,
            })
        };
        let fresh = problems.into_iter().map(slot);
        let mut fresh = fresh.collect::<Result<Vec<Slot>, Fault>>()?.into_iter();
        for slot in pool.iter_mut().filter(|slot| slot.finished) {
            if let Some(new) = fresh.next() {
                *slot = new;
            }
        }
        pool.extend(fresh);

        let older: Vec<usize> = pool.iter().map(|slot| slot.tokens.len()).collect();
        let shortest = older.iter().min().copied().unwrap_or_default();
        let sampling = Sampling {
            samples: 1,
            max_tokens: window.min((most - shortest) as i64),
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
        };
        let stream = self.stream(Purpose::Sample, index).at(self.step);
        let network = self.frozen.resolve(&policy, self.world)?;
        let prefixes: Vec<Vec<i64>> = pool
            .iter()
            .map(|slot| [slot.prompt.as_slice(), &slot.tokens].concat())
            .collect();
        let to_come = |slot: &Slot| Some(slot.problem.length? - slot.tokens.len() as u64);
        let end = End {
            tokens: tokenizer.ends(),
            lengths: &pool.iter().map(to_come).collect::<Vec<_>>(),
        };
        let more = rollout(network, &prefixes, &sampling, end, stream)?;
        let logp = elements::<f64>(&more.logp)?;
        let width = more.logp.size()[1] as usize;
        for (row, (slot, tokens)) in pool.iter_mut().zip(more.batch.responses()).enumerate() {
            let count = tokens.len().min(most - slot.tokens.len());
            slot.tokens.extend(&tokens[..count]);
            slot.logp.extend(&logp[row * width..][..count]);
            slot.finished =
                slot.tokens.len() == most || (count == tokens.len() && more.finished[row]);
        }

        let batch = Batch {
            shape,
            items: pool.iter().map(|slot| slot.problem.id).collect(),
            text: pool
                .iter()
                .map(|slot| tokenizer.decode(&slot.tokens))
                .collect::<Result<_, Fault>>()?,
            prompt_text: pool
                .iter()
                .map(|slot| slot.problem.prompt.clone())
                .collect(),
            answer: pool
                .iter()
                .map(|slot| slot.problem.answer.clone())
                .collect(),
            prompts: pool.iter().map(|slot| slot.prompt.clone()).collect(),
            responses: pool.iter().map(|slot| slot.tokens.clone()).collect(),
            temperature: 1.0,
            logp: Some(side_by_side(&pool)?.f_to_device(self.world.device)?),
            finished: pool.iter().map(|slot| slot.finished).collect(),
            older,
        };
        let generated =
            batch.responses.iter().map(Vec::len).sum::<usize>() - batch.older.iter().sum::<usize>();
        self.tokens += generated as u64;
        let drawn = batch.drawn(graph, draw, "", (self.world.kind, self.world.device))?;
        let problems = pool.iter().map(|slot| slot.problem.id).collect();
        self.pools.insert(index, pool);
        Ok(Record {
            drawn,
            problems,
            is_empty: false,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SavedSlot {
    problem: Problem,
    prompt: Vec<i64>,
    tokens: Vec<i64>,
    finished: bool,
}

/// Saves the responses that a draw goes on with.
pub(super) fn save(name: &str, pool: &[Slot], archive: &mut Archive) -> Result<(), Fault> {
    let mut slots = Vec::new();
    for (place, slot) in pool.iter().enumerate() {
        let Slot {
            problem,
            prompt,
            tokens,
            logp,
            finished,
        } = slot;
        archive.put_reals(&format!("{name}.{place}.logp"), logp)?;
        slots.push(SavedSlot {
            problem: problem.clone(),
            prompt: prompt.clone(),
            tokens: tokens.clone(),
            finished: *finished,
        });
    }
    archive.put(name, &slots)
}

pub(super) fn restore(name: &str, archive: &mut Archive) -> Result<Vec<Slot>, Fault> {
    let slots: Vec<SavedSlot> = archive.take(name)?;
    let slots = slots.into_iter().enumerate().map(|(place, slot)| {
        Ok(Slot {
            problem: slot.problem,
            prompt: slot.prompt,
            tokens: slot.tokens,
            logp: archive.take_reals(&format!("{name}.{place}.logp"))?,
            finished: slot.finished,
        })
    });
    slots.collect()
}

/// `[slots, longest response]`: the recorded log-probabilities, 0 behind the shorter ones.
fn side_by_side(pool: &[Slot]) -> Result<Tensor> {
    let width = pool
        .iter()
        .map(|slot| slot.logp.len())
        .max()
        .unwrap_or_default();
    let mut values = vec![0.0; pool.len() * width];
    for (row, slot) in pool.iter().enumerate() {
        values[row * width..][..slot.logp.len()].copy_from_slice(&slot.logp);
    }
    Ok(Tensor::f_from_slice(&values)?.f_reshape([pool.len() as i64, width as i64])?)
}
