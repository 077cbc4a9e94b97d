//! Sequences without padding: rows one after the other, and a prompt once for all the responses to it.

use std::collections::BTreeMap;
use std::ops::Range;

use rlp_transformer::Span;

use super::batch::SequenceBatch;

/// Positions of several sequences, small enough that what they become on the way through a layer stays in the cache.
pub(super) struct Chunk {
    pub(super) tokens: Vec<i64>,
    /// The place of each in its sequence.
    pub(super) places: Vec<usize>,
    pub(super) spans: Vec<Span>,
    /// For response tokens, counted row by row over the whole batch: the position here that predicts each.
    pub(super) predicting: Vec<(usize, usize)>,
}

/// Positions of a chunk: enough for products to run at full speed, and no more.
const MOST: usize = 512;

pub(super) fn chunks(batch: &SequenceBatch) -> Vec<Chunk> {
    let length = batch.tokens.size()[1] as usize;
    let tokens = Vec::<i64>::try_from(batch.tokens.flatten(0, 1))
        .unwrap_or_else(|error| panic!("the tokens of a batch: {error}"));
    let mut chunks = vec![Chunk::new()];
    let mut first = 0;
    let mut by_prompt: BTreeMap<&[i64], Vec<Row<'_>>> = BTreeMap::new();
    let lengths = batch.prompt_length.iter().zip(&batch.response_length);
    for (row, (&prompt, &response)) in tokens.chunks(length.max(1)).zip(lengths) {
        let (prompt, response) = (prompt as usize, response as usize);
        if response > 0 {
            let row = Row {
                first,
                response: &row[prompt..prompt + response],
                prompt: &row[..prompt],
            };
            by_prompt.entry(row.prompt).or_default().push(row);
        }
        first += response;
    }
    for rows in by_prompt.values() {
        let mut prefix = None;
        for row in rows {
            let last = chunks.len() - 1;
            let beginning = if prefix.is_some() {
                0
            } else {
                row.prompt.len()
            };
            let grown = chunks[last].tokens.len() + beginning + row.response.len() - 1;
            if grown > MOST && !chunks[last].tokens.is_empty() {
                chunks.push(Chunk::new());
                prefix = None;
            }
            let last = chunks.len() - 1;
            let chunk = &mut chunks[last];
            let prefix = prefix.get_or_insert_with(|| chunk.read(row.prompt, 0..0));
            chunk.respond(row, prefix);
        }
    }
    chunks
}

struct Row<'a> {
    /// The number of its first response token.
    first: usize,
    prompt: &'a [i64],
    response: &'a [i64],
}

impl Chunk {
    fn new() -> Chunk {
        Chunk {
            tokens: Vec::new(),
            places: Vec::new(),
            spans: Vec::new(),
            predicting: Vec::new(),
        }
    }

    /// Adds tokens that follow a prefix; where they stand.
    fn read(&mut self, tokens: &[i64], prefix: Range<usize>) -> Range<usize> {
        let own = self.tokens.len()..self.tokens.len() + tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.places
            .extend(prefix.len()..prefix.len() + tokens.len());
        self.spans.push(Span {
            prefix,
            own: own.clone(),
        });
        own
    }

    /// Adds a response, whose first token the last one of the prompt predicts, and whose last predicts nothing.
    fn respond(&mut self, row: &Row<'_>, prompt: &Range<usize>) {
        let read = &row.response[..row.response.len() - 1];
        self.predicting.push((row.first, prompt.end - 1));
        if !read.is_empty() {
            let own = self.read(read, prompt.clone());
            self.predicting.extend((row.first + 1..).zip(own));
        }
    }
}
