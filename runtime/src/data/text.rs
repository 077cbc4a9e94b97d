//! Pieces of plain text as problems: the first word is the prompt, what follows the demonstration.

use std::path::PathBuf;
use std::rc::Rc;

use rlp_data::{Part, Texts};
use rlp_frontend::description::hexadecimal;

use super::{Problem, Split, Task};
use crate::error::Fault;
use crate::random::{Permutation, Purpose, Stream};
use crate::tokenizer::Tokenizer;

/// `data.text`.
pub struct Text {
    texts: Texts,
    tokenizer: Rc<Tokenizer>,
    /// Tokens of a response at most.
    tokens: u64,
    /// The pieces in an order of their own, those to train on first.
    order: Permutation,
    trained: u64,
    held_out: u64,
}

/// How many places the length of a token is measured at, and bytes at each.
const SAMPLES: u64 = 16;
const SAMPLE: u64 = 4096;

impl Text {
    /// Reads the files through, and cuts them into pieces of about `tokens` tokens.
    pub(crate) fn open(
        files: &[PathBuf],
        tokenizer: &Rc<Tokenizer>,
        tokens: u64,
    ) -> Result<Text, Fault> {
        let mut texts = Texts::open(files)?;
        let (mut bytes, mut read) = (0, 0);
        for sample in texts.samples(SAMPLES, SAMPLE)? {
            bytes += sample.len() as u64;
            read += tokenizer.prompt(&sample)?.len() as u64;
        }
        texts.cut(tokens * bytes.max(1) / read.max(1));
        let pieces = texts.pieces();
        Ok(Text {
            texts,
            tokenizer: Rc::clone(tokenizer),
            tokens,
            order: order(pieces),
            trained: pieces,
            held_out: 0,
        })
    }

    /// A part of the first `limit` pieces.
    pub(crate) fn divided(
        self,
        part: Part,
        fraction: f64,
        limit: Option<u64>,
    ) -> Result<Text, Fault> {
        let pieces = self.trained.min(limit.unwrap_or(u64::MAX));
        // Of two pieces or more that are to be divided, each side has one.
        let least = u64::from(fraction < 1.0 && pieces > 1);
        let held_out = ((pieces as f64 * (1.0 - fraction)).round() as u64).clamp(least, pieces - 1);
        let (trained, held_out) = match part {
            Part::Train => (pieces - held_out, held_out),
            Part::HeldOut => (held_out, 0),
        };
        if trained == 0 {
            let message = "`data.text` has one piece, and none is held out";
            return Err(Fault::input_help(
                message,
                "fewer `tokens` make more pieces",
            ));
        }
        Ok(Text {
            order: order(pieces),
            trained,
            held_out,
            ..self
        })
    }

    /// The number of a piece in its text.
    fn number(&self, split: Split, index: u64) -> u64 {
        // The pieces held out come first in the order, those trained on behind them, whichever of the two this source has.
        match split {
            Split::Train => self.order.at(self.held_out + index),
            Split::HeldOut => self.order.at(index),
        }
    }
}

/// The order is the same in every run, so that no stage of any run trains on what is held out.
fn order(pieces: u64) -> Permutation {
    Permutation::new(Stream::new(0, Purpose::Problem), pieces)
}

impl Task for Text {
    fn name(&self) -> &str {
        "data.text"
    }

    fn size(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.trained,
            Split::HeldOut => self.held_out,
        }
    }

    fn problem(&self, split: Split, index: u64, _stream: Stream) -> Result<Problem, Fault> {
        let number = self.number(split, index);
        let piece = self.texts.piece(number)?;
        let (prompt, response) = piece.text.split_at(first_word(&piece.text));
        let tokens = self.tokenizer.response(prompt, response)?.len() as u64;
        Ok(Problem {
            id: number,
            context: Vec::new(),
            prompt: prompt.to_string(),
            answer: String::new(),
            demonstration: response.to_string(),
            length: match piece.is_last && tokens < self.tokens {
                true => None,
                false => Some(tokens.min(self.tokens)),
            },
        })
    }

    fn digest(&self) -> Option<String> {
        Some(hexadecimal(self.texts.digest()))
    }
}

/// Where the first word of a text ends, with the space before it; where the first character does, if nothing follows the word.
fn first_word(text: &str) -> usize {
    let begin = text.find(|c: char| !c.is_whitespace()).unwrap_or(0);
    let end = text[begin..].find(char::is_whitespace);
    end.map_or_else(
        || text.chars().next().map_or(0, char::len_utf8),
        |end| begin + end,
    )
}
