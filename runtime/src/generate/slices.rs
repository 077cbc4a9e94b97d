//! Rollouts on the CPU: the keys and values of a prompt are kept once for all its samples, and a row that has ended
//! leaves the batch.

use rlp_transformer::{Packed, Scalar, Scratch, Span};

use super::cache::Cache;
use super::{End, Response, Sampling, filter};
use crate::model::{
    Activations, Angles, CausalLm, Direction, Joined, Matrix, Number, heads, packed,
};
use crate::part::{self, Part};
use crate::profile::{self, Label, Work};
use crate::random::Stream;

/// `sampling.samples` responses to each prompt, in their order; on as many threads as libtorch has, which change no bit.
pub(super) fn generate<T: Number>(
    model: &CausalLm,
    prompts: &[Vec<i64>],
    sampling: &Sampling,
    end: End<'_>,
    stream: Stream,
) -> Vec<Response> {
    let values = model.leaves(false);
    let weights = Weights::<T> {
        layers: Joined::new(model.config(), &values, Direction::There),
        head: packed(&[model.head(&values).shallow_clone()], Direction::There),
    };
    let threads = (tch::get_num_threads() as usize).max(1);
    let at_once =
        prompts_at_once::<T>(model, prompts, sampling).min(prompts.len().div_ceil(threads));
    let groups = prompts.chunks(at_once).zip((0..).step_by(at_once));
    let groups: Vec<Group<'_>> = groups
        .map(|(prompts, first)| Group {
            prompts,
            end: End {
                lengths: end.lengths.get(first as usize..).unwrap_or_default(),
                ..end
            },
            streams: (first..)
                .map(|prompt| stream.at(prompt))
                .take(prompts.len())
                .collect(),
        })
        .collect();
    let of_thread = groups.len().div_ceil(threads);
    part::begin(
        Part::Rollout,
        groups.len() as u64 * sampling.max_tokens as u64,
    );
    let respond = |groups: &[Group<'_>]| -> Vec<Response> {
        let responses = groups
            .iter()
            .map(|group| respond(&weights, group, sampling));
        responses.flatten().collect()
    };
    std::thread::scope(|scope| {
        let mut parts = groups.chunks(of_thread);
        let own = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(|| respond(part))).collect();
        let mut responses = own.map(respond).unwrap_or_default();
        for other in others {
            match other.join() {
                Ok(more) => responses.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        responses
    })
}

struct Weights<'a, T> {
    layers: Joined<'a, T>,
    head: Packed<T>,
}

/// Prompts that are answered together.
struct Group<'a> {
    prompts: &'a [Vec<i64>],
    end: End<'a>,
    /// Of each prompt.
    streams: Vec<Stream>,
}

/// As many as keep weights, keys and values in the processor's cache, where every step reads all of them; all, if the
/// weights alone are too much.
fn prompts_at_once<T>(model: &CausalLm, prompts: &[Vec<i64>], sampling: &Sampling) -> usize {
    const CACHE: usize = 8 << 20;
    let config = model.config();
    let weights: usize = model.parameters().iter().map(|p| p.value.numel()).sum();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or_default();
    let positions = longest + (sampling.samples * sampling.max_tokens) as usize;
    let heads = heads(config);
    let of_prompt = 2 * config.layers as usize * heads.keys * heads.width * positions;
    let room = (CACHE / size_of::<T>()).checked_sub(weights);
    room.map_or(prompts.len(), |room| (room / of_prompt).max(1))
}

fn respond<T: Number>(
    weights: &Weights<'_, T>,
    group: &Group<'_>,
    sampling: &Sampling,
) -> Vec<Response> {
    let Group {
        prompts,
        end,
        streams,
    } = group;
    let mut decoder = Decoder::new(weights, prompts, sampling);
    let samples = sampling.samples as usize;
    let mut responses: Vec<Response> = Vec::new();
    responses.resize_with(prompts.len() * samples, Response::default);
    let of_row = |row: usize| streams[row / samples].at((row % samples) as u64);
    let streams: Vec<Stream> = (0..responses.len()).map(of_row).collect();
    let mut draw = Draw::new(sampling);

    let mut live: Vec<usize> = (0..responses.len()).collect();
    profile::within(Label::Work(Work::PromptReading), || {
        decoder.read_prompts(prompts)
    });
    for place in 0..sampling.max_tokens as u64 {
        for (index, &row) in live.iter().enumerate() {
            // Before the first token, all samples of a prompt stand at the same logits.
            let index = if place == 0 { row / samples } else { index };
            let uniform = streams[row].uniform(place);
            let (token, logp) = draw.from(decoder.logits.row(index), uniform);
            let response = &mut responses[row];
            response.tokens.push(token);
            response.logp.push(logp);
            response.finished = end.is_reached(row / samples, token, response.tokens.len());
        }
        live.retain(|&row| !responses[row].finished);
        part::advance(1);
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
            let normaliser = T::distribution(logits, temperature).log_sum;
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
    weights: &'a Joined<'a, T>,
    head: &'a Packed<T>,
    /// Of every position that can come.
    angles: Angles<T>,
    samples: usize,
    cache: Cache<T>,
    activations: Activations<T>,
    scratch: Scratch<T>,
    scores: Vec<T>,
    /// `[rows read last, vocab]`.
    logits: Matrix<T>,
}

impl<'a, T: Number> Decoder<'a, T> {
    fn new(
        weights: &'a Weights<'a, T>,
        prompts: &[Vec<i64>],
        sampling: &Sampling,
    ) -> Decoder<'a, T> {
        let config = weights.layers.config;
        let (samples, max_tokens) = (sampling.samples as usize, sampling.max_tokens as usize);
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let longest = lengths.iter().max().copied().unwrap_or_default();
        let layers = config.layers as usize;
        Decoder {
            weights: &weights.layers,
            head: &weights.head,
            angles: Angles::new(config, longest + max_tokens),
            samples,
            cache: Cache::new(heads(config), layers, &lengths, samples, max_tokens),
            activations: Activations::new(config),
            scratch: Scratch::default(),
            scores: Vec::new(),
            logits: Matrix::new(0, config.vocab as usize),
        }
    }

    /// Reads each prompt once, for all its samples; leaves the logits at the last token of each.
    fn read_prompts(&mut self, prompts: &[Vec<i64>]) {
        let config = self.weights.config;
        let heads = heads(config);
        let (cache, scratch) = (&mut self.cache, &mut self.scratch);
        let places = prompts.iter().flat_map(|prompt| 0..prompt.len());
        let angles = self.angles.of(places);
        self.activations.embed(self.weights, &prompts.concat());
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let attend = |rows: &Matrix<T>, mixed: &mut Matrix<T>, normalisers: &mut Vec<T>| {
                normalisers.resize(rows.rows() * heads.queries, Scalar::ZERO);
                for prompt in 0..prompts.len() {
                    let own = cache.positions(prompt);
                    for (place, position) in own.clone().enumerate() {
                        cache.keep_of_prompt(index, prompt, place, rows.row(position));
                    }
                    let span = Span { prefix: 0..0, own };
                    T::attend(
                        heads,
                        rows.slice(),
                        &span,
                        scratch,
                        mixed.slice_mut(),
                        normalisers,
                    );
                }
            };
            self.activations.layer(config, layer, &angles, None, attend);
        }
        self.activations.norm(config, self.weights.norm);
        let mut last = Matrix::new(prompts.len(), config.hidden as usize);
        for prompt in 0..prompts.len() {
            let position = self.cache.positions(prompt).end - 1;
            last.row_mut(prompt)
                .copy_from_slice(self.activations.normed.row(position));
        }
        self.logits.set_product(&last, self.head);
    }

    /// Reads the token at `place` of the responses `rows`; leaves the logits after each.
    fn read_tokens(&mut self, rows: &[usize], tokens: &[i64], place: usize) {
        let config = self.weights.config;
        let heads = heads(config);
        let (samples, cache, scores) = (self.samples, &mut self.cache, &mut self.scores);
        let places = rows
            .iter()
            .map(|row| cache.positions(row / samples).len() + place);
        let angles = self.angles.of(places);
        self.activations.embed(self.weights, tokens);
        let readers = heads.queries / heads.keys * heads.width;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let attend = |activations: &Matrix<T>, mixed: &mut Matrix<T>, _: &mut Vec<T>| {
                for (number, &row) in rows.iter().enumerate() {
                    let activations = activations.row(number);
                    cache.keep_of_response(index, row, place, activations);
                    let queries = activations.chunks_exact(readers);
                    let outputs = mixed.row_mut(number).chunks_exact_mut(readers);
                    for (head, (queries, output)) in queries.zip(outputs).enumerate() {
                        let prompt = cache.prompt(index, row / samples, head);
                        let own = cache.response(index, row, head, place + 1);
                        T::attend_one(queries, heads.width, prompt, own, scores, output);
                    }
                }
            };
            self.activations.layer(config, layer, &angles, None, attend);
        }
        self.activations.norm(config, self.weights.norm);
        self.logits.set_product(&self.activations.normed, self.head);
    }
}
