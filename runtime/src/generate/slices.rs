//! Rollouts on the CPU: the keys and values of a prompt are kept once for all its samples, and a row that has ended
//! leaves the batch.

use std::ops::Range;

use rlp_transformer::{Heads, Keys};

use super::{Response, Sampling, filter};
use crate::model::{Activations, Angles, CausalLm, Joined, Matrix, Number, each_head, heads};
use crate::random::Stream;

/// `sampling.samples` responses to each prompt, in their order.
pub(super) fn generate<T: Number>(
    model: &CausalLm,
    prompts: &[Vec<i64>],
    sampling: &Sampling,
    end: i64,
    stream: Stream,
) -> Vec<Response> {
    let values = model.leaves(false);
    let mut decoder = Decoder::<T>::new(model, &values, prompts, sampling);
    let samples = sampling.samples as usize;
    let mut responses: Vec<Response> = Vec::new();
    responses.resize_with(prompts.len() * samples, Response::default);
    let of_row = |row: usize| stream.at((row / samples) as u64).at((row % samples) as u64);
    let streams: Vec<Stream> = (0..responses.len()).map(of_row).collect();
    let mut draw = Draw::new(sampling);

    let mut live: Vec<usize> = (0..responses.len()).collect();
    decoder.read_prompts(prompts);
    for place in 0..sampling.max_tokens as u64 {
        for (index, &row) in live.iter().enumerate() {
            // Before the first token, all samples of a prompt stand at the same logits.
            let index = if place == 0 { row / samples } else { index };
            let uniform = streams[row].uniform(place);
            let (token, logp) = draw.from(decoder.logits.row(index), uniform);
            let response = &mut responses[row];
            response.tokens.push(token);
            response.logp.push(logp);
            response.finished = token == end;
        }
        live.retain(|&row| !responses[row].finished);
        if live.is_empty() || place + 1 == sampling.max_tokens as u64 {
            break;
        }
        let last = live
            .iter()
            .filter_map(|&row| responses[row].tokens.last().copied());
        let tokens: Vec<i64> = last.collect();
        decoder.read_tokens(&live, &tokens, place as usize);
    }
    responses
}

/// Draws from rows of logits.
struct Draw<'a, T> {
    sampling: &'a Sampling,
    weights: Vec<T>,
}

impl<T: Number> Draw<'_, T> {
    fn new(sampling: &Sampling) -> Draw<'_, T> {
        Draw {
            sampling,
            weights: Vec::new(),
        }
    }

    /// A token and its log-probability, without filters.
    fn from(&mut self, logits: &[T], uniform: f64) -> (i64, f64) {
        let temperature = self.sampling.recorded_temperature();
        if self.sampling.is_greedy() || self.sampling.is_filtered(logits.len() as i64) {
            let normaliser = T::log_sum_exp(logits, temperature);
            let logp = |token: usize| logits[token].to_f64() / temperature - normaliser;
            let token = if self.sampling.is_greedy() {
                likeliest(logits)
            } else {
                let all: Vec<f64> = (0..logits.len()).map(logp).collect();
                filter::draw(&all, self.sampling, uniform)
            };
            return (token as i64, logp(token));
        }
        let drawn = T::draw(logits, temperature, uniform, &mut self.weights);
        (drawn.token as i64, drawn.logp)
    }
}

/// The first of the largest.
fn likeliest<T: PartialOrd>(logits: &[T]) -> usize {
    let mut likeliest = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[likeliest] {
            likeliest = token;
        }
    }
    likeliest
}

/// The model with what it has read.
struct Decoder<'a, T> {
    weights: Joined<'a>,
    /// Of every position that can come.
    angles: Angles<T>,
    samples: usize,
    max_tokens: usize,
    /// Where the rows of each prompt begin among those of all prompts, and where the last ends.
    starts: Vec<usize>,
    /// By layer.
    caches: Vec<Cache<T>>,
    activations: Activations<T>,
    scores: Vec<T>,
    /// `[rows read last, vocab]`.
    logits: Matrix<T>,
}

/// Keys and values that a layer has computed.
struct Cache<T> {
    /// Of each prompt, one head after the other: its positions in order.
    prompts: KeyValues<T>,
    /// Of each response, one head after the other: room for `max_tokens` positions.
    responses: KeyValues<T>,
}

struct KeyValues<T> {
    /// A row is one head's at one position.
    keys: Matrix<T>,
    values: Matrix<T>,
}

impl<T: Number> KeyValues<T> {
    fn new(rows: usize, width: usize) -> KeyValues<T> {
        KeyValues {
            keys: Matrix::new(rows, width),
            values: Matrix::new(rows, width),
        }
    }

    fn set(&mut self, row: usize, key: &[T], value: &[T]) {
        self.keys.row_mut(row).copy_from_slice(key);
        self.values.row_mut(row).copy_from_slice(value);
    }

    fn rows(&self, rows: Range<usize>) -> Keys<'_, T> {
        let width = self.keys.columns();
        let range = rows.start * width..rows.end * width;
        Keys {
            keys: &self.keys.slice()[range.clone()],
            values: &self.values.slice()[range],
        }
    }
}

impl<'a, T: Number> Decoder<'a, T> {
    fn new(
        model: &'a CausalLm,
        values: &'a [tch::Tensor],
        prompts: &[Vec<i64>],
        sampling: &Sampling,
    ) -> Decoder<'a, T> {
        let config = model.config();
        let (samples, max_tokens) = (sampling.samples as usize, sampling.max_tokens as usize);
        let mut starts = vec![0];
        for prompt in prompts {
            starts.push(starts[starts.len() - 1] + prompt.len());
        }
        let of_prompts = starts[starts.len() - 1];
        let of_responses = prompts.len() * samples * max_tokens;
        let Heads { keys, width, .. } = heads(config);
        let longest = prompts.iter().map(Vec::len).max().unwrap_or_default();
        let cache = |_| Cache {
            prompts: KeyValues::new(of_prompts * keys, width),
            responses: KeyValues::new(of_responses * keys, width),
        };
        Decoder {
            weights: Joined::new(config, values),
            angles: Angles::new(config, longest + max_tokens),
            samples,
            max_tokens,
            starts,
            caches: (0..config.layers).map(cache).collect(),
            activations: Activations::new(config),
            scores: Vec::new(),
            logits: Matrix::new(0, config.vocab as usize),
        }
    }

    /// Reads each prompt once, for all its samples; leaves the logits at the last token of each.
    fn read_prompts(&mut self, prompts: &[Vec<i64>]) {
        let config = self.weights.config;
        let heads = heads(config);
        let angles = self
            .angles
            .of(prompts.iter().flat_map(|prompt| 0..prompt.len()));
        self.activations.embed(&self.weights, &prompts.concat());
        for (layer, cache) in self.weights.layers.iter().zip(&mut self.caches) {
            let (starts, scores) = (&self.starts, &mut self.scores);
            self.activations
                .layer(config, layer, &angles, None, |rows, mixed, _| {
                    for prompt in starts.windows(2) {
                        let (start, length) = (prompt[0], prompt[1] - prompt[0]);
                        for place in 0..length {
                            let output = mixed.row_mut(start + place);
                            for head in each_head(heads, rows.row(start + place), output) {
                                let first = start * heads.keys + head.index * length;
                                cache.prompts.set(first + place, head.key, head.value);
                                let seen = cache.prompts.rows(first..first + place + 1);
                                let none = cache.prompts.rows(0..0);
                                T::attend_one(
                                    head.queries,
                                    heads.width,
                                    seen,
                                    none,
                                    scores,
                                    head.output,
                                );
                            }
                        }
                    }
                });
        }
        self.activations.norm(config, self.weights.norm);
        let mut last = Matrix::new(prompts.len(), config.hidden as usize);
        for (row, &end) in self.starts[1..].iter().enumerate() {
            last.row_mut(row)
                .copy_from_slice(self.activations.normed.row(end - 1));
        }
        self.logits.set_product(&last, &self.weights.head.tr());
    }

    /// Reads the token at `place` of the responses `rows`; leaves the logits after each.
    fn read_tokens(&mut self, rows: &[usize], tokens: &[i64], place: usize) {
        let config = self.weights.config;
        let heads = heads(config);
        let prompt =
            |row: usize| self.starts[row / self.samples]..self.starts[row / self.samples + 1];
        let angles = self
            .angles
            .of(rows.iter().map(|&row| prompt(row).len() + place));
        self.activations.embed(&self.weights, tokens);
        for (layer, cache) in self.weights.layers.iter().zip(&mut self.caches) {
            let (max_tokens, scores) = (self.max_tokens, &mut self.scores);
            self.activations
                .layer(config, layer, &angles, None, |activations, mixed, _| {
                    for (index, &row) in rows.iter().enumerate() {
                        let (start, length) = (prompt(row).start, prompt(row).len());
                        for head in each_head(heads, activations.row(index), mixed.row_mut(index)) {
                            let first = (row * heads.keys + head.index) * max_tokens;
                            cache.responses.set(first + place, head.key, head.value);
                            let own = cache.responses.rows(first..first + place + 1);
                            let first = start * heads.keys + head.index * length;
                            let shared = cache.prompts.rows(first..first + length);
                            T::attend_one(
                                head.queries,
                                heads.width,
                                shared,
                                own,
                                scores,
                                head.output,
                            );
                        }
                    }
                });
        }
        self.activations.norm(config, self.weights.norm);
        self.logits
            .set_product(&self.activations.normed, &self.weights.head.tr());
    }
}
