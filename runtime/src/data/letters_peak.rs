//! `data.letters_peak`: letters of which a few `a` are good and more are bad.

use super::{Problem, Split, Task, letter, unprompted, within};
use crate::error::{ArgumentError, Fault};
use crate::random::Stream;

/// One prompt; a demonstration is letters of which each is `a` with probability ¼ and else one of the others.
pub struct LettersPeak {
    length: u64,
    symbols: u64,
}

impl LettersPeak {
    /// `length` is in 1..=1000, `symbols` in 2..=26.
    pub fn new(length: i64, symbols: i64) -> Result<LettersPeak, ArgumentError> {
        Ok(LettersPeak {
            length: within("length", length, 1..=1000)?,
            symbols: within("symbols", symbols, 2..=26)?,
        })
    }
}

impl Task for LettersPeak {
    fn name(&self) -> &str {
        "data.letters_peak"
    }

    fn size(&self, _split: Split) -> u64 {
        1
    }

    fn problem(&self, split: Split, _index: u64, stream: Stream) -> Result<Problem, Fault> {
        let drawn = |position| {
            if stream.uniform(2 * position) < 0.25 {
                'a'
            } else {
                letter(1 + stream.below(2 * position + 1, self.symbols - 1))
            }
        };
        let demonstration = (0..self.length).map(drawn).collect();
        Ok(unprompted(split, self.length, demonstration))
    }
}
