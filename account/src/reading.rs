//! A language model that reads sequences: the memory of the way there and of the way back.
//!
//! Each amount names what holds it: `runtime/src/model/` has the code that it counts. Sizes are those of f32 kernels on the
//! CPU (`tape.rs`, `joined.rs`, `tiles.rs`), or of libtorch's operations (`trunk.rs`, `recompute.rs`, `head.rs`).

use crate::language_model::LanguageModel;
use crate::memory::{Amounts, Term, peak};
use crate::model::{Activation, Dtype};

/// Sequences of a pass, all as long as the longest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sequences {
    /// Different prompts, and rows that share each.
    pub(crate) prompts: u64,
    pub(crate) samples: u64,
    pub(crate) prompt: u64,
    pub(crate) response: u64,
}

/// Positions that kernels read together (`packing.rs`), and tokens of a tile of logits (`tiles.rs`).
const CHUNK: u64 = 512;
/// What a panel of weights that are laid out for products is rounded up to (`linear.rs`).
const PANEL: u64 = 32;
/// Logits of a chunk on the CPU, and on a GPU (`head.rs`).
const LOGITS: u64 = 1 << 22;
const LOGITS_OF_GPU: u64 = 1 << 26;

impl Sequences {
    pub(crate) fn rows(&self) -> u64 {
        self.prompts * self.samples
    }

    /// Tokens that are predicted.
    pub(crate) fn predicted(&self) -> u64 {
        self.rows() * self.response
    }

    /// Positions without padding, a prompt once for the rows of a chunk that share it; and the most of a chunk.
    pub(crate) fn packed(&self) -> (u64, u64) {
        let (mut all, mut chunk, mut most) = (0, 0, 0);
        let own = self.response.saturating_sub(1);
        for _ in 0..self.prompts {
            let mut has_prompt = false;
            for _ in 0..self.samples {
                let grown = chunk + own + if has_prompt { 0 } else { self.prompt };
                if grown > CHUNK && chunk > 0 {
                    (chunk, has_prompt) = (0, false);
                }
                let read = own + if has_prompt { 0 } else { self.prompt };
                (chunk, all, has_prompt) = (chunk + read, all + read, true);
                most = most.max(chunk);
            }
        }
        (all, most)
    }

    /// Positions of rows side by side.
    pub(crate) fn padded(&self) -> u64 {
        self.rows() * (self.prompt + self.response).saturating_sub(1)
    }

    /// At most so many rows of them.
    pub(crate) fn of_rows(&self, rows: u64) -> Sequences {
        if rows >= self.rows() {
            return *self;
        }
        // Rows are dealt out one by one: of all that share a prompt, few meet again.
        let missed = (1.0 - 1.0 / self.prompts.max(1) as f64).powf(rows as f64);
        let prompts = (self.prompts as f64 * (1.0 - missed)).round() as u64;
        let prompts = prompts.clamp(1, rows.max(1));
        Sequences {
            prompts,
            samples: rows.max(1).div_ceil(prompts),
            ..*self
        }
    }
}

/// Widths of a model, in elements.
struct Widths {
    hidden: u64,
    ffn: u64,
    layers: u64,
    vocab: u64,
    heads: u64,
    queries: u64,
    keys: u64,
}

impl Widths {
    fn of(model: &LanguageModel) -> Widths {
        let config = &model.config;
        let width = config.head_width() as u64;
        Widths {
            hidden: config.hidden as u64,
            ffn: config.ffn as u64,
            layers: config.layers as u64,
            vocab: config.vocab as u64,
            heads: config.heads as u64,
            queries: config.heads as u64 * width,
            keys: config.kv_heads as u64 * width,
        }
    }

    /// Queries, keys and values of a position.
    fn row(&self) -> u64 {
        self.queries + 2 * self.keys
    }
}

/// A model on a device.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'m> {
    pub(crate) model: &'m LanguageModel,
    pub(crate) is_on_gpu: bool,
}

/// What a pass takes.
pub(crate) struct Passed {
    /// At the most, and what is left of it until the way back.
    pub(crate) peak: Amounts,
    pub(crate) kept: Amounts,
}

impl Reader<'_> {
    pub(crate) fn has_kernels(&self) -> bool {
        self.model.has_kernels() && !self.is_on_gpu
    }

    /// Weights of the layers laid out for products, in one direction.
    fn laid_out(&self) -> u64 {
        let w = Widths::of(self.model);
        let padded = |outputs: u64| outputs.div_ceil(PANEL) * PANEL;
        let layer = w.hidden * padded(w.row())
            + w.queries * padded(w.hidden)
            + w.hidden * padded(2 * w.ffn)
            + w.ffn * padded(w.hidden);
        4 * w.layers * layer
    }

    /// What layers work on, for so many positions at once.
    fn work(&self, positions: u64) -> u64 {
        let w = Widths::of(self.model);
        4 * positions * (3 * w.hidden + w.row() + 3 * w.ffn + w.heads)
    }

    /// The way there: hidden states, and what the way back needs if it is to be kept.
    pub(crate) fn there(&self, sequences: &Sequences, keeps: bool) -> Passed {
        let w = Widths::of(self.model);
        let predicted = sequences.predicted();
        // Tokens, positions and places of each, in 8 bytes.
        let indices = Amounts::of(Term::Graph, 8 * (6 * sequences.padded() + 3 * predicted));
        let (kept, peak) = if self.has_kernels() {
            let (positions, chunk) = sequences.packed();
            let of_layer = 3 * w.hidden + w.row() + w.heads + 2 * w.ffn;
            let width = w.queries / w.heads.max(1);
            let tape = 4 * positions * (w.layers * of_layer + w.hidden + 1 + width);
            // What is known of each prediction is three reals of 8 bytes.
            let hidden = predicted * (4 * w.hidden + 24);
            let kept = Amounts::of(Term::Activations, hidden + if keeps { tape } else { 0 });
            let peak = kept
                .with(Term::Weights, self.laid_out())
                .with(Term::Activations, self.work(chunk));
            let head = kept.with(Term::Logp, self.tiles());
            (kept, peak_of(&[peak, head]))
        } else {
            let bytes = self.model.computed.bytes();
            let hidden = bytes * predicted * w.hidden;
            let positions = sequences.padded();
            let streams = bytes * positions * (w.layers + 1) * w.hidden;
            let saved = match (keeps, self.model.recomputes) {
                (false, _) => 0,
                (true, true) => streams,
                (true, false) => positions * w.layers * self.saved_of_layer(sequences),
            };
            let copies = Amounts::of(Term::Weights, self.model.copies());
            let kept = copies.with(Term::Activations, hidden + saved);
            let peak = kept.with(Term::Activations, positions * self.work_of_layer());
            let head = kept.with(Term::Logp, 2 * self.chunk(predicted));
            (kept, peak_of(&[peak, head]))
        };
        Passed {
            peak: peak + indices,
            kept: kept + indices,
        }
    }

    /// Logits that stay with the process once they are freed: the allocator keeps them, and what is asked for next and stays
    /// takes a part of their place, so that the next ones do not find it.
    pub(crate) fn left(&self, sequences: &Sequences) -> u64 {
        if self.has_kernels() || self.is_on_gpu {
            0
        } else {
            2 * self.chunk(sequences.predicted())
        }
    }

    /// The way back, from the gradient by the outputs to that by the parameters, beside what was `kept`.
    pub(crate) fn back(&self, sequences: &Sequences, kept: Amounts) -> Amounts {
        let w = Widths::of(self.model);
        let predicted = sequences.predicted();
        let head = 4 * self.model.of_head();
        let all = 4 * self.model.count();
        let tied = if self.model.config.tied { head } else { 0 };
        if self.has_kernels() {
            let by_hidden = 4 * predicted * w.hidden;
            let at_head = kept
                .with(Term::Activations, 2 * by_hidden)
                .with(Term::Gradients, head)
                .with(Term::Logp, self.tiles());
            let (_, chunk) = sequences.packed();
            let way = 4 * chunk * (4 * w.hidden + 4 * w.ffn + w.row() + 1);
            // The gradient of a tied embedding has two parts until they are added.
            let in_layers = kept
                .with(Term::Activations, by_hidden + way)
                .with(Term::Weights, self.laid_out())
                .with(Term::Gradients, all + tied);
            let added = Amounts::of(Term::Gradients, all + 2 * tied);
            return peak_of(&[at_head, in_layers, added]);
        }
        let bytes = self.model.computed.bytes();
        let chunk = self.chunk(predicted);
        let by_hidden = bytes * predicted * w.hidden;
        let at_head = kept
            .with(Term::Activations, 2 * by_hidden)
            .with(Term::Logp, 3 * chunk)
            .with(Term::Gradients, 2 * head);
        let positions = sequences.padded();
        let layer = if self.model.recomputes {
            positions * self.saved_of_layer(sequences)
        } else {
            0
        };
        let narrow = if self.model.computed == Dtype::F32 {
            0
        } else {
            bytes * self.model.count()
        };
        let in_layers = kept
            .with(
                Term::Activations,
                by_hidden + layer + positions * self.work_of_layer(),
            )
            .with(Term::Gradients, all + head + narrow)
            .with(Term::Logp, 3 * chunk);
        peak_of(&[at_head, in_layers])
    }

    /// A tile of logits and of the weights of the head.
    fn tiles(&self) -> u64 {
        4 * (CHUNK * CHUNK + 2 * CHUNK * self.model.config.hidden as u64)
    }

    /// The logits of a chunk of positions, in f32.
    fn chunk(&self, predicted: u64) -> u64 {
        let vocab = self.model.config.vocab as u64;
        let most = if self.is_on_gpu {
            LOGITS_OF_GPU
        } else {
            LOGITS
        };
        4 * predicted.min((most / vocab).max(1)) * vocab
    }

    /// Bytes that autograd saves of a layer for each position: the inputs of its products, norms, rotations, of attention
    /// and of the gate.
    fn saved_of_layer(&self, sequences: &Sequences) -> u64 {
        let (w, form) = (Widths::of(self.model), &self.model.config.form);
        let bytes = self.model.computed.bytes();
        // The stream before attention and before the feed-forward layer, each with its norm: as it is, scaled, and given on.
        let norms = 2 * (2 + usize::from(form.post_norms) as u64);
        let mut elements = 2 * w.hidden + norms * w.hidden;
        // Queries and keys before and after their rotation, values, what was read, and that with heads side by side.
        elements += 4 * w.queries + 3 * w.keys + w.heads;
        if w.keys < w.queries {
            // Heads that are shared are repeated.
            elements += 2 * w.queries;
        }
        if form.head_norms {
            elements += 2 * (w.queries + w.keys);
        }
        // Gate, its activation, the other half, and their product.
        elements += match form.activation {
            Activation::Silu | Activation::GeluTanh => 4 * w.ffn,
        };
        let wide = if self.model.computed == Dtype::F32 {
            0
        } else {
            // Norms are computed in f32.
            4 * 2 * 2 * w.hidden
        };
        let scores = if form.attention_cap.is_some() {
            // Without a fused kernel all scores are there.
            4 * 4 * w.heads * (sequences.prompt + sequences.response)
        } else {
            0
        };
        bytes * elements + wide + scores
    }

    /// Bytes that a layer works on for each position, on the way there without a way back or on the way back.
    fn work_of_layer(&self) -> u64 {
        let w = Widths::of(self.model);
        let attention = 3 * w.queries + 3 * w.keys;
        self.model.computed.bytes() * (3 * w.hidden + attention.max(3 * w.ffn))
    }
}

/// Rollouts of a model.
pub(crate) struct Rollout {
    pub(crate) sequences: Sequences,
    /// Whether some tokens may be left out of a draw.
    pub(crate) is_filtered: bool,
}

/// The processor's cache that keys and values are kept in, where they fit (`slices.rs`).
const CACHE: u64 = 8 << 20;

impl Reader<'_> {
    /// Prompts that are answered together, on so many threads at once.
    pub(crate) fn at_once(&self, sequences: &Sequences, threads: u64) -> (u64, u64) {
        let prompts = sequences.prompts.max(1);
        if !self.has_kernels() {
            return (prompts, 1);
        }
        let w = Widths::of(self.model);
        let positions = sequences.prompt + sequences.samples * sequences.response;
        let of_prompt = 2 * w.layers * w.keys * positions;
        let fits = match (CACHE / 4).checked_sub(self.model.count()) {
            Some(room) => (room / of_prompt.max(1)).max(1),
            None => prompts,
        };
        let together = fits.min(prompts.div_ceil(threads)).max(1);
        (together, threads.min(prompts.div_ceil(together)))
    }

    pub(crate) fn rollout(&self, rollout: &Rollout, threads: u64) -> Amounts {
        let (w, sequences) = (Widths::of(self.model), &rollout.sequences);
        let told = Amounts::of(Term::Graph, sequences.predicted() * 16);
        let bytes = self.model.computed.bytes();
        let of_position = 2 * w.layers * w.keys * bytes;
        if self.has_kernels() {
            let (prompts, groups) = self.at_once(sequences, threads);
            let rows = prompts * sequences.samples;
            let head = 4 * w.hidden * w.vocab.div_ceil(PANEL) * PANEL;
            // The head is joined before it is laid out.
            let laying = Amounts::of(
                Term::Weights,
                self.laid_out() + head + 4 * self.model.of_head(),
            );
            let read = prompts * sequences.prompt;
            let positions = read + rows * sequences.response;
            let logits = 4 * w.vocab * rows.max(prompts);
            let group = Amounts::of(Term::Cache, positions * of_position)
                .with(Term::Activations, self.work(read.max(rows)))
                .with(Term::Logp, logits + 4 * w.vocab);
            let mut drawing = told.with(Term::Weights, self.laid_out() + head);
            for _ in 0..groups {
                drawing += group;
            }
            return peak([laying, drawing]);
        }
        let rows = sequences.rows();
        let joined = w.layers * w.hidden * (w.row() + 2 * w.ffn) * bytes;
        // Logits scaled, their softmax in f64, and its running sum; sorted with their order if some are left out.
        let of_token = 4 + 8 + 8 + if rollout.is_filtered { 32 } else { 0 };
        let reading = sequences.prompts * sequences.prompt * self.work_of_layer();
        told.with(Term::Weights, self.model.copies() + joined)
            .with(
                Term::Cache,
                rows * (sequences.prompt + sequences.response) * of_position,
            )
            .with(Term::Logp, rows * w.vocab * of_token)
            .with(Term::Activations, reading.max(rows * self.work_of_layer()))
    }
}

fn peak_of(moments: &[Amounts]) -> Amounts {
    peak(moments.iter().copied())
}
