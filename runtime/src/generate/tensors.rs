//! Rollouts by libtorch's operations, for every device.
//!
//! Prompts of different lengths start in the same slots of the cache and responses share the slots behind the longest
//! prompt, so a step writes one slot for all rows. Each row keeps positions of its own, and a mask hides the slots
//! between its prompt and its response.

use tch::{Kind, Tensor};

use super::{End, Response, Sampling};
use crate::model::{
    CausalLm, CausalLmConfig, Rotations, SequenceBatch, Sight, Weights, attention,
    causal_attention, embed, logits, rms_norm,
};
use crate::part::{self, Part};
use crate::profile::{self, Label, Work};
use crate::random::Stream;

/// `sampling.samples` responses to each prompt, in their order.
pub(super) fn generate(
    model: &CausalLm,
    prompts: &[Vec<i64>],
    sampling: &Sampling,
    end: End<'_>,
    stream: Stream,
) -> Vec<Response> {
    let device = model.device();
    let uniforms = uniforms(prompts.len(), sampling, stream).to_device(device);
    let values = model.leaves(false);
    let head = model.head(&values);
    let mut decoder = Decoder::new(model, &values, prompts, sampling);
    let all_ends = Tensor::from_slice(end.tokens).to_device(device);
    let is_end = |token: &Tensor| Tensor::isin(token, &all_ends, false, false);

    let mut hidden = profile::within(Label::Work(Work::PromptReading), || decoder.read_prompts());
    let rows = hidden.size()[0];
    let mut ended = Tensor::zeros([rows], (Kind::Bool, device));
    let prompt_of = |row: usize| row / sampling.samples as usize;
    let longest: Vec<i64> = (0..rows as usize)
        .map(|row| i64::try_from(end.length(prompt_of(row))).unwrap_or(i64::MAX))
        .collect();
    let longest = Tensor::from_slice(&longest).to_device(device);
    let (mut tokens, mut logps) = (Vec::new(), Vec::new());
    part::begin(Part::Rollout, sampling.max_tokens as u64);
    loop {
        let logits = logits(model.config(), &hidden, head) / sampling.recorded_temperature();
        let drawn = draw(&logits, sampling, &uniforms.select(1, tokens.len() as i64));
        // A row that has ended is still read; what it draws is left out below.
        let token = drawn;
        let logp = logits
            .log_softmax(-1, None)
            .gather(-1, &token.unsqueeze(-1), false)
            .squeeze_dim(-1);
        logps.push(logp);
        part::advance(1);
        let is_there = longest.le(tokens.len() as i64 + 1);
        ended = ended.logical_or(&is_end(&token)).logical_or(&is_there);
        let is_last = tokens.len() as i64 + 1 == sampling.max_tokens;
        let is_over = is_last || ended.all().int64_value(&[]) == 1;
        if !is_over {
            hidden = decoder.read_token(&token);
        }
        tokens.push(token);
        if is_over {
            break;
        }
    }

    let width = tokens.len();
    let tokens = Vec::<i64>::try_from(Tensor::stack(&tokens, 1).flatten(0, 1));
    let logps = Vec::<f64>::try_from(Tensor::stack(&logps, 1).flatten(0, 1));
    let (tokens, logps) = (in_memory(tokens), in_memory(logps));
    let rows = tokens.chunks(width).zip(logps.chunks(width));
    rows.enumerate()
        .map(|(row, (tokens, logps))| {
            let is_last = |place: &usize| end.is_reached(prompt_of(row), tokens[*place], place + 1);
            let last = (0..width).find(is_last);
            let length = last.map_or(width, |place| place + 1);
            Response {
                tokens: tokens[..length].to_vec(),
                logp: logps[..length].to_vec(),
                finished: last.is_some(),
            }
        })
        .collect()
}

fn in_memory<T>(elements: Result<Vec<T>, tch::TchError>) -> Vec<T> {
    elements.unwrap_or_else(|error| panic!("the elements of a tensor: {error}"))
}

/// f64 `[rows, max_tokens]`: the uniform draw behind each token.
fn uniforms(prompts: usize, sampling: &Sampling, stream: Stream) -> Tensor {
    let samples = sampling.samples as u64;
    let rows = prompts as u64 * samples;
    let draws: Vec<f64> = (0..rows)
        .map(|row| stream.at(row / samples).at(row % samples))
        .flat_map(|row| (0..sampling.max_tokens as u64).map(move |token| row.uniform(token)))
        .collect();
    Tensor::from_slice(&draws).view([rows as i64, sampling.max_tokens])
}

/// int64 `[rows]`: a token of each row for scaled logits `[rows, vocab]`, where its uniform falls in the cumulative
/// distribution of the tokens that the filters leave.
fn draw(logits: &Tensor, sampling: &Sampling, uniforms: &Tensor) -> Tensor {
    if sampling.is_greedy() {
        return logits.argmax(-1, false);
    }
    let p = logits.softmax(-1, None).to_kind(Kind::Double);
    let vocab = p.size()[1];
    if !sampling.is_filtered(vocab) {
        return inverse_cdf(&p, uniforms);
    }
    // Stable, so that of equally likely tokens the lower id is kept.
    let (mut p, order) = p.sort_stable(true, -1, true);
    if sampling.top_k > 0 {
        p = p.narrow(-1, 0, sampling.top_k.min(vocab));
    }
    let likelier = p.cumsum(-1, None) - &p;
    let p = &p * likelier.lt(sampling.top_p);
    order
        .gather(-1, &inverse_cdf(&p, uniforms).unsqueeze(-1), false)
        .squeeze_dim(-1)
}

/// The index where `uniforms` `[rows]` fall in the cumulative sums of the weights `p` `[rows, index]`.
fn inverse_cdf(p: &Tensor, uniforms: &Tensor) -> Tensor {
    let cumulative = p.cumsum(-1, None);
    let last = cumulative.size()[1] - 1;
    let threshold = cumulative.narrow(-1, last, 1) * uniforms.unsqueeze(-1);
    let index = threshold.searchsorted(&cumulative, false, true, "right", None::<&Tensor>);
    // A row that is not a number falls beyond the end; its log-probability will say so.
    index.clamp_max(last).squeeze_dim(-1)
}

/// The model over a static cache of keys and values.
struct Decoder<'a> {
    config: &'a CausalLmConfig,
    weights: Weights<'a>,
    /// int64 `[prompt, longest]`, padded on the right.
    prompts: Tensor,
    samples: i64,
    /// int64 `[rows]`.
    prompt_length: Tensor,
    /// A layer's keys and values, each `[rows, slot, kv_heads, width]`.
    caches: Vec<(Tensor, Tensor)>,
    /// Bool `[rows, slot]`, without the padding of prompts; none if no prompt has any.
    real: Option<Tensor>,
    /// int64 `[rows, slot]`: the position in its row that a slot holds.
    position: Tensor,
    /// Slots written.
    filled: i64,
}

impl<'a> Decoder<'a> {
    fn new(
        model: &'a CausalLm,
        values: &'a [Tensor],
        prompts: &[Vec<i64>],
        sampling: &Sampling,
    ) -> Decoder<'a> {
        let (config, kind, device) = (model.config(), model.kind(), model.device());
        let lengths: Vec<i64> = prompts.iter().map(|prompt| prompt.len() as i64).collect();
        let rows: Vec<(&[i64], &[i64])> = prompts
            .iter()
            .map(|prompt| (prompt.as_slice(), [].as_slice()))
            .collect();
        let tokens = SequenceBatch::new(&rows, 1.0, device).tokens;
        let longest = tokens.size()[1];

        let lengths = Tensor::from_slice(&lengths).to_device(device);
        let lengths = lengths.repeat_interleave_self_int(sampling.samples, 0, None);
        let slots = longest + sampling.max_tokens;
        let shape = [
            lengths.size()[0],
            slots,
            config.kv_heads,
            config.head_width(),
        ];
        let cache = || Tensor::zeros(shape, (kind, device));
        let has_padding = prompts.iter().any(|prompt| (prompt.len() as i64) < longest);
        let slot = Tensor::arange(slots, (Kind::Int64, device));
        let is_prompt = slot.lt(longest);
        let length = lengths.unsqueeze(-1);
        let real = has_padding.then(|| {
            let is_padding = is_prompt.logical_and(&slot.ge_tensor(&length));
            is_padding.logical_not()
        });
        // Behind the longest prompt every row goes on from the end of its own.
        let position = slot.where_self(&is_prompt, &(&slot - longest + &length));
        Decoder {
            config,
            weights: Weights::new(config, values).joined(),
            prompts: tokens,
            samples: sampling.samples,
            prompt_length: lengths,
            caches: (0..config.layers).map(|_| (cache(), cache())).collect(),
            real,
            position,
            filled: 0,
        }
    }

    /// Reads each prompt once, for all its samples; `[rows, hidden]` at the last token of each.
    fn read_prompts(&mut self) -> Tensor {
        let longest = self.prompts.size()[1];
        let positions = Tensor::arange(longest, (Kind::Int64, self.prompts.device()));
        let mut stream = embed(self.config, self.weights.embedding, &self.prompts);
        let rotations = Rotations::new(self.config, &positions, stream.kind());
        let sight = Sight::causal(self.config, longest, stream.device());
        for (layer, cache) in self.weights.layers.iter().zip(&self.caches) {
            let seen = sight.of(layer.is_local);
            stream = layer.apply(self.config, &stream, &rotations, |query, key, value| {
                for (cache, x) in [(&cache.0, key), (&cache.1, value)] {
                    let repeated = x.repeat_interleave_self_int(self.samples, 0, None);
                    cache.narrow(1, 0, longest).copy_(&repeated);
                }
                causal_attention(self.config, query, key, value, seen)
            });
        }
        self.filled = longest;
        let row = Tensor::arange(self.prompt_length.size()[0], (Kind::Int64, stream.device()));
        let prompt = row.floor_divide_scalar(self.samples);
        let last = prompt * longest + &self.prompt_length - 1;
        rms_norm(
            self.config,
            &stream.flatten(0, 1).index_select(0, &last),
            self.weights.norm,
        )
    }

    /// Reads the next token `[rows]` of every row into the next slot; `[rows, hidden]` there.
    fn read_token(&mut self, token: &Tensor) -> Tensor {
        let slot = self.filled;
        self.filled += 1;
        let position = self.position.narrow(1, slot, 1);
        let mut stream = embed(self.config, self.weights.embedding, &token.unsqueeze(-1));
        let rotations = Rotations::new(self.config, &position, stream.kind());
        let sight = self.sight(&position);
        for (layer, cache) in self.weights.layers.iter().zip(&self.caches) {
            let seen = sight.of(layer.is_local);
            stream = layer.apply(self.config, &stream, &rotations, |query, key, value| {
                cache.0.narrow(1, slot, 1).copy_(key);
                cache.1.narrow(1, slot, 1).copy_(value);
                self.attend(query, &cache.0, &cache.1, seen)
            });
        }
        rms_norm(self.config, &stream.squeeze_dim(1), self.weights.norm)
    }

    /// What of the filled slots the positions `[rows, 1]` see.
    fn sight(&self, position: &Tensor) -> Sight {
        let filled = |x: &Tensor| x.narrow(1, 0, self.filled);
        let seen = |x: &Tensor| x.unsqueeze(1).unsqueeze(1);
        let real = self.real.as_ref().map(filled);
        let window = self.config.window(true);
        let near = window.filter(|&window| window < self.filled).map(|window| {
            let near = (position - filled(&self.position)).lt(window);
            match &real {
                Some(real) => near.logical_and(real),
                None => near,
            }
        });
        Sight {
            near: near.as_ref().or(real.as_ref()).map(seen),
            far: real.as_ref().map(seen),
        }
    }

    /// One query position against the filled slots. The query heads that share a key head stand in for query
    /// positions of it, so that no key is repeated.
    fn attend(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        seen: Option<&Tensor>,
    ) -> Tensor {
        let heads_first = |cache: &Tensor| cache.narrow(1, 0, self.filled).transpose(1, 2);
        let (kv_heads, width) = (self.config.kv_heads, self.config.head_width());
        let attended = attention(
            self.config,
            &query.view([-1, kv_heads, self.config.heads / kv_heads, width]),
            &heads_first(keys),
            &heads_first(values),
            seen,
            false,
        );
        attended.view(query.size().as_slice())
    }
}
