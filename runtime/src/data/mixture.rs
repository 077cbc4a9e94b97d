//! `data.mixture`: sequences that are redundant, follow hidden rules, or are noise.

use super::{Problem, Split, Task, letter, unprompted, within};
use crate::error::{ArgumentError, Fault};
use crate::random::{Purpose, Stream};

/// One prompt; a demonstration is a sequence of one of three kinds.
pub struct Mixture {
    length: u64,
    symbols: u64,
    redundant: f64,
    chain: f64,
    /// For each letter before the last, what follows each last one.
    rules: Vec<Vec<u64>>,
}

/// Letters in the order that redundant sequences repeat.
const PERIOD: u64 = 3;

impl Mixture {
    /// `length` is in 2..=1000, `symbols` in 3..=26; `redundant` and `chain` are shares whose rest is noise. The rules
    /// of the chains are drawn from `seed`.
    pub fn new(
        length: i64,
        symbols: i64,
        redundant: f64,
        chain: f64,
        seed: u64,
    ) -> Result<Mixture, ArgumentError> {
        for (name, share) in [("redundant", redundant), ("chain", chain)] {
            if !(0.0..=1.0).contains(&share) {
                let message = format!("`{name}` must be from 0 to 1, found {share}");
                return Err(ArgumentError::new(name, message));
            }
        }
        let symbols = within("symbols", symbols, 3..=26)?;
        let stream = Stream::new(seed, Purpose::Problem);
        Ok(Mixture {
            length: within("length", length, 2..=1000)?,
            symbols,
            redundant,
            chain,
            rules: (0..symbols)
                .map(|before| stream.at(before).permutation(symbols))
                .collect(),
        })
    }

    fn follow(&self, stream: Stream) -> Vec<u64> {
        let mut letters = vec![stream.below(0, self.symbols), stream.below(1, self.symbols)];
        while (letters.len() as u64) < self.length {
            let [.., before, last] = letters[..] else {
                break;
            };
            letters.push(self.rules[before as usize][last as usize]);
        }
        letters
    }
}

impl Task for Mixture {
    fn name(&self) -> &str {
        "data.mixture"
    }

    fn size(&self, _split: Split) -> u64 {
        1
    }

    fn problem(&self, split: Split, _index: u64, stream: Stream) -> Result<Problem, Fault> {
        let (kind, own) = (stream.uniform(0), stream.at(0));
        let letters = if kind < self.redundant {
            let phase = own.below(0, PERIOD);
            (0..self.length)
                .map(|position| (phase + position) % PERIOD)
                .collect()
        } else if kind < self.redundant + self.chain {
            self.follow(own)
        } else {
            (0..self.length)
                .map(|position| own.below(position, self.symbols))
                .collect()
        };
        let demonstration = letters.into_iter().map(letter).collect();
        Ok(unprompted(split, self.length, demonstration))
    }
}
