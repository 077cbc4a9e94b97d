//! Rollouts: a whole batch of responses at once, from a cache of keys and values.

mod cache;
mod filter;
mod slices;
mod tensors;

use tch::{Kind, Tensor, no_grad};

use crate::error::ArgumentError;
use crate::model::{CausalLm, CausalLmConfig, SequenceBatch};
use crate::random::Stream;

/// The token where `uniform` falls among those that `top_k` and `top_p` leave, of logarithms of probabilities.
pub(crate) fn drawn_token(logp: &[f64], sampling: &Sampling, uniform: f64) -> usize {
    filter::draw(logp, sampling, uniform)
}

/// How responses are drawn; the arguments of `sampler.rollout`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Responses to each prompt.
    pub samples: i64,
    /// A response without an end token is cut here.
    pub max_tokens: i64,
    /// 0 takes the likeliest token; otherwise logits are divided by it.
    pub temperature: f64,
    /// Draw from the `top_k` likeliest tokens only; 0 draws from all.
    pub top_k: i64,
    /// Draw from the fewest likeliest tokens whose probabilities reach `top_p`; 1 draws from all.
    pub top_p: f64,
}

/// Where responses are over.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Tokens that end a response, as the last of it.
    pub tokens: &'a [i64],
    /// For each prompt: its responses are over after so many tokens, whatever these are. Those beyond the list, and
    /// those with nothing in it, end at the token alone.
    pub lengths: &'a [Option<u64>],
}

impl<'a> End<'a> {
    /// At these tokens and nowhere else.
    pub fn at(tokens: &'a [i64]) -> End<'a> {
        End {
            tokens,
            lengths: &[],
        }
    }

    /// Whether a response to `prompt` is over that has `length` tokens, `last` the latest.
    fn is_reached(&self, prompt: usize, last: i64, length: usize) -> bool {
        self.tokens.contains(&last) || self.length(prompt) <= length as u64
    }

    fn length(&self, prompt: usize) -> u64 {
        let length = self.lengths.get(prompt).copied().flatten();
        length.unwrap_or(u64::MAX)
    }
}

/// Responses drawn from a model, `samples` rows a prompt.
pub struct Rollout {
    /// Prompts and responses. Its temperature is the one that `logp` is at: that of the sampling, or 1 for greedy rows.
    pub batch: SequenceBatch,
    /// `[rows, width]`: log-probability of each token when it was drawn, nats, without `top_k` and `top_p`; 0 at
    /// padding.
    pub logp: Tensor,
    /// Whether each response came to its [`End`]; an end token counts as part of it.
    pub finished: Vec<bool>,
}

impl Sampling {
    fn validate(&self, config: &CausalLmConfig, longest_prompt: i64) -> Result<(), ArgumentError> {
        let refuse = |argument, message: String| Err(ArgumentError::new(argument, message));
        if self.samples < 1 {
            return refuse(
                "samples",
                format!("`samples` must be at least 1, found {}", self.samples),
            );
        }
        if self.max_tokens < 1 {
            return refuse(
                "max_tokens",
                format!("`max_tokens` must be at least 1, found {}", self.max_tokens),
            );
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return refuse(
                "temperature",
                format!(
                    "`temperature` must be at least 0, found {}",
                    self.temperature
                ),
            );
        }
        if self.top_k < 0 {
            return refuse(
                "top_k",
                format!("`top_k` must be at least 0, found {}", self.top_k),
            );
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse(
                "top_p",
                format!(
                    "`top_p` must be above 0 and at most 1, found {}",
                    self.top_p
                ),
            );
        }
        if longest_prompt + self.max_tokens > config.positions {
            let message = format!(
                "a prompt of {longest_prompt} tokens and `max_tokens` of {} exceed the model's {} positions",
                self.max_tokens, config.positions
            );
            return refuse("max_tokens", message);
        }
        Ok(())
    }

    fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether some of `vocab` tokens may be left out.
    fn is_filtered(&self, vocab: i64) -> bool {
        self.top_p < 1.0 || (1..vocab).contains(&self.top_k)
    }

    /// The temperature that log-probabilities are recorded at.
    fn recorded_temperature(&self) -> f64 {
        if self.is_greedy() {
            1.0
        } else {
            self.temperature
        }
    }
}

/// Draws `sampling.samples` responses to each prompt, each up to its `end`. Sample s of prompt p draws its token at position t by
/// `stream.at(p).at(s).uniform(t)`, so what else is in the batch matters to float noise only.
pub fn rollout(
    model: &CausalLm,
    prompts: &[Vec<i64>],
    sampling: &Sampling,
    end: End<'_>,
    stream: Stream,
) -> Result<Rollout, ArgumentError> {
    let longest = prompts
        .iter()
        .map(|prompt| prompt.len() as i64)
        .max()
        .unwrap_or_default();
    sampling.validate(model.config(), longest)?;
    if prompts.iter().any(Vec::is_empty) {
        return Err(ArgumentError::new(
            "task",
            "a prompt must have at least one token",
        ));
    }
    if prompts.is_empty() {
        return Err(ArgumentError::new(
            "prompts",
            "`prompts` must be at least 1",
        ));
    }
    let responses = no_grad(|| match (model.has_kernels(), model.kind()) {
        (true, Kind::Float) => slices::generate::<f32>(model, prompts, sampling, end, stream),
        (true, Kind::Double) => slices::generate::<f64>(model, prompts, sampling, end, stream),
        _ => tensors::generate(model, prompts, sampling, end, stream),
    });
    Ok(gathered(model, prompts, sampling, &responses))
}

/// One response, token by token.
#[derive(Default)]
struct Response {
    tokens: Vec<i64>,
    logp: Vec<f64>,
    finished: bool,
}

fn gathered(
    model: &CausalLm,
    prompts: &[Vec<i64>],
    sampling: &Sampling,
    responses: &[Response],
) -> Rollout {
    let samples = sampling.samples as usize;
    let rows = responses.iter().enumerate();
    let rows: Vec<(&[i64], &[i64])> = rows
        .map(|(row, response)| {
            (
                prompts[row / samples].as_slice(),
                response.tokens.as_slice(),
            )
        })
        .collect();
    let batch = SequenceBatch::new(&rows, sampling.recorded_temperature(), model.device());
    let width = batch.width() as usize;
    let mut logp = vec![0.0; responses.len() * width];
    for (row, response) in logp.chunks_exact_mut(width).zip(responses) {
        row[..response.logp.len()].copy_from_slice(&response.logp);
    }
    let logp = Tensor::from_slice(&logp).view([responses.len() as i64, width as i64]);
    Rollout {
        batch,
        logp: logp.to_kind(model.kind()).to_device(model.device()),
        finished: responses.iter().map(|response| response.finished).collect(),
    }
}
