//! `data.letters_after`: symbols of which those that follow `#` count.

use super::{Problem, Split, Task, letter, unprompted, within};
use crate::error::{ArgumentError, Fault};
use crate::random::Stream;

/// One prompt; a demonstration is symbols drawn evenly, `#` and the letters from `a` on.
pub struct LettersAfter {
    length: u64,
    symbols: u64,
}

impl LettersAfter {
    /// `length` is in 1..=1000, `symbols` in 3..=27.
    pub fn new(length: i64, symbols: i64) -> Result<LettersAfter, ArgumentError> {
        Ok(LettersAfter {
            length: within("length", length, 1..=1000)?,
            symbols: within("symbols", symbols, 3..=27)?,
        })
    }
}

impl Task for LettersAfter {
    fn name(&self) -> &str {
        "data.letters_after"
    }

    fn size(&self, _split: Split) -> u64 {
        1
    }

    fn problem(&self, split: Split, _index: u64, stream: Stream) -> Result<Problem, Fault> {
        let drawn = |position| match stream.below(position, self.symbols) {
            0 => '#',
            number => letter(number - 1),
        };
        let demonstration = (0..self.length).map(drawn).collect();
        Ok(unprompted(split, self.length, demonstration))
    }
}
