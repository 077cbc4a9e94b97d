//! The operations of a step and how long they take: additions and multiplications, two to a product.

use crate::machine::Speed;
use crate::reading::{Reader, Sequences};

/// Operations of one step, and seconds on a machine of known speed.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// Prompts are read.
    pub prefill: f64,
    /// Tokens are drawn.
    pub decode: f64,
    /// Models read what was drawn.
    pub forward: f64,
    pub backward: f64,
    /// Rules change parameters.
    pub update: f64,
    pub seconds: f64,
}

impl Work {
    pub fn total(&self) -> f64 {
        self.prefill + self.decode + self.forward + self.backward + self.update
    }
}

/// Rows of a product on the way there and back: those of a chunk.
const MANY: u64 = 512;
/// How much slower than a product attention is, whose matrices are as small as a head.
const ATTENTION: f64 = 4.0;

/// Adds up work on a machine.
pub(crate) struct Worker<'a> {
    pub(crate) speed: Option<&'a Speed>,
    pub(crate) threads: u64,
    pub(crate) work: Work,
}

impl Worker<'_> {
    fn take(&mut self, seconds: impl Fn(&Speed) -> f64) {
        if let Some(speed) = self.speed {
            self.work.seconds += seconds(speed) / self.threads.max(1) as f64;
        }
    }

    pub(crate) fn rollout(&mut self, reader: &Reader<'_>, sequences: &Sequences) {
        let model = reader.model;
        let (layers, head) = (2.0 * model.of_layers() as f64, 2.0 * model.of_head() as f64);
        let read = (sequences.prompts * sequences.prompt) as f64;
        let prefill = read * layers
            + sequences.prompts as f64 * head
            + attention(reader, read, sequences.prompt as f64 / 2.0);
        let tokens = sequences.predicted() as f64;
        let context = sequences.prompt as f64 + sequences.response as f64 / 2.0;
        let seen = attention(reader, tokens, context);
        self.work.prefill += prefill;
        self.work.decode += tokens * (layers + head) + seen;
        let (together, _) = reader.at_once(sequences, self.threads);
        let rows = together * sequences.samples;
        self.take(|speed| {
            prefill / speed.of_rows(MANY)
                + tokens * (layers + head) / speed.of_rows(rows)
                + ATTENTION * seen / speed.of_rows(MANY)
                + tokens * model.config.vocab as f64 / speed.draws
        });
    }

    /// Models read `sequences` so many times, and go back through them once if that is asked for.
    pub(crate) fn reading(
        &mut self,
        reader: &Reader<'_>,
        sequences: &Sequences,
        times: f64,
        goes_back: bool,
    ) {
        let model = reader.model;
        let positions = if reader.has_kernels() {
            sequences.packed().0
        } else {
            sequences.padded()
        } as f64;
        let predicted = sequences.predicted() as f64;
        let context = (sequences.prompt + sequences.response) as f64 / 2.0;
        let layers = 2.0 * positions * model.of_layers() as f64;
        let head = 2.0 * predicted * model.of_head() as f64;
        let seen = attention(reader, positions, context);
        self.work.forward += times * (layers + head + seen);
        // Twice the way there, the layers once more if they were not kept, and the logits once more.
        let again = if model.recomputes { 3.0 } else { 2.0 };
        let back = if goes_back {
            self.work.backward += again * (layers + seen) + 3.0 * head;
            (again, 3.0)
        } else {
            (0.0, 0.0)
        };
        let activations = 4.0
            * positions
            * (model.config.layers * (model.config.hidden * 8 + model.config.ffn * 4)) as f64;
        self.take(|speed| {
            let product = speed.of_rows(MANY);
            ((times + back.0) * (layers + ATTENTION * seen) + (times + back.1) * head) / product
                + predicted * model.config.vocab as f64 * (times + back.1 / 3.0) / speed.draws
                + (times + 2.0 * back.0) * activations / speed.bytes
        });
    }

    /// A rule changes so many parameters and `states` bytes of its own.
    pub(crate) fn update(&mut self, parameters: u64, states: u64, times: f64) {
        self.work.update += times * (10 * parameters) as f64;
        let bytes = times * (4 * 5 * parameters + 2 * states) as f64;
        self.take(|speed| bytes / speed.bytes);
    }
}

/// Products of queries and keys, and of weights and values, for so many positions that see `context` others each.
fn attention(reader: &Reader<'_>, positions: f64, context: f64) -> f64 {
    let config = &reader.model.config;
    let width = (config.heads * config.head_width()) as f64;
    4.0 * positions * context * width * config.layers as f64
}
