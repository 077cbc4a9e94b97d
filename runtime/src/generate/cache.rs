//! Keys and values that the layers have computed: those of a prompt once for all its responses.

use std::ops::Range;

use rlp_transformer::{Heads, Keys};

use crate::model::{Matrix, Number};

/// Layer by layer, and in a layer prompt by prompt and response by response, one head after the other, each with its
/// positions in order.
pub(super) struct Cache<T> {
    heads: Heads,
    /// Where each prompt begins among the positions of all prompts, and where the last ends.
    starts: Vec<usize>,
    rows: usize,
    max_tokens: usize,
    prompts: Store<T>,
    responses: Store<T>,
}

struct Store<T> {
    /// A row is one head's at one position.
    keys: Matrix<T>,
    values: Matrix<T>,
}

impl<T: Number> Cache<T> {
    /// Room for prompts of these lengths, each with `samples` responses of at most `max_tokens`.
    pub(super) fn new(
        heads: Heads,
        layers: usize,
        prompts: &[usize],
        samples: usize,
        max_tokens: usize,
    ) -> Cache<T> {
        let mut starts = vec![0];
        for length in prompts {
            starts.push(starts[starts.len() - 1] + length);
        }
        let rows = prompts.len() * samples;
        let of_prompts = layers * starts[starts.len() - 1] * heads.keys;
        let of_responses = layers * rows * heads.keys * max_tokens;
        Cache {
            heads,
            starts,
            rows,
            max_tokens,
            prompts: Store::new(of_prompts, heads.width),
            responses: Store::new(of_responses, heads.width),
        }
    }

    /// The positions of a prompt among those of all prompts.
    pub(super) fn positions(&self, prompt: usize) -> Range<usize> {
        self.starts[prompt]..self.starts[prompt + 1]
    }

    fn of_prompt(&self, layer: usize, prompt: usize, head: usize) -> Range<usize> {
        let positions = self.positions(prompt);
        let all = self.starts[self.starts.len() - 1];
        let first = (layer * all + positions.start) * self.heads.keys + head * positions.len();
        first..first + positions.len()
    }

    fn of_response(&self, layer: usize, row: usize, head: usize) -> usize {
        ((layer * self.rows + row) * self.heads.keys + head) * self.max_tokens
    }

    pub(super) fn prompt(&self, layer: usize, prompt: usize, head: usize) -> Keys<'_, T> {
        self.prompts.rows(self.of_prompt(layer, prompt, head))
    }

    /// The first `length` positions.
    pub(super) fn response(
        &self,
        layer: usize,
        row: usize,
        head: usize,
        length: usize,
    ) -> Keys<'_, T> {
        let first = self.of_response(layer, row, head);
        self.responses.rows(first..first + length)
    }

    /// Keeps a row of queries, keys and values at a place of a prompt.
    pub(super) fn keep_of_prompt(&mut self, layer: usize, prompt: usize, place: usize, row: &[T]) {
        for head in 0..self.heads.keys {
            let to = self.of_prompt(layer, prompt, head).start + place;
            self.prompts.set(to, row, self.heads, head);
        }
    }

    /// Keeps a row of queries, keys and values at a place of a response.
    pub(super) fn keep_of_response(
        &mut self,
        layer: usize,
        response: usize,
        place: usize,
        row: &[T],
    ) {
        for head in 0..self.heads.keys {
            let to = self.of_response(layer, response, head) + place;
            self.responses.set(to, row, self.heads, head);
        }
    }
}

impl<T: Number> Store<T> {
    fn new(rows: usize, width: usize) -> Store<T> {
        Store {
            keys: Matrix::uninitialised(rows, width),
            values: Matrix::uninitialised(rows, width),
        }
    }

    fn set(&mut self, to: usize, row: &[T], heads: Heads, head: usize) {
        self.keys.row_mut(to).copy_from_slice(&row[heads.key(head)]);
        self.values
            .row_mut(to)
            .copy_from_slice(&row[heads.value(head)]);
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
