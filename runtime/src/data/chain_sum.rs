//! `data.chain_sum`: `314.....=` is worked out as `343` modulo 5, by a teacher who errs.

use super::{Problem, Split, Task, within};
use crate::error::{ArgumentError, Fault};
use crate::random::{Purpose, Stream};

/// Chains of digits with their totals, the same in every run.
pub struct ChainSum {
    modulus: u64,
    max_terms: u64,
    error: f64,
    /// The length of every chain; 0 for various.
    terms: u64,
    /// The numbers of the items, to train on and held out.
    train: Vec<u64>,
    held_out: Vec<u64>,
}

/// How frequent chains of 1, 2, … terms are.
const FREQUENCIES: [f64; 8] = [0.3, 0.25, 0.18, 0.12, 0.07, 0.04, 0.025, 0.015];

/// Digits, what a teacher writes of their totals, and the true last one.
struct Item {
    digits: String,
    totals: String,
    answer: String,
}

impl ChainSum {
    /// `modulus` is in 2..=10, `max_terms` in 1..=8, `terms` in 0..=`max_terms`, `error` in [0, 1), `items` in
    /// 10..=1000000. With `filter` items with a wrong last total are left out.
    pub fn new(
        (modulus, max_terms, terms): (i64, i64, i64),
        error: f64,
        items: i64,
        filter: bool,
    ) -> Result<ChainSum, ArgumentError> {
        if !(0.0..1.0).contains(&error) {
            let message = format!("`error` must be at least 0 and below 1, found {error}");
            return Err(ArgumentError::new("error", message));
        }
        let items = within("items", items, 10..=1_000_000)?;
        let mut task = ChainSum {
            modulus: within("modulus", modulus, 2..=10)?,
            max_terms: within("max_terms", max_terms, 1..=8)?,
            error,
            terms: within("terms", terms, 0..=max_terms)?,
            train: Vec::new(),
            held_out: Vec::new(),
        };
        let kept = |number: &u64| {
            let item = task.item(*number);
            !filter || item.totals.ends_with(&item.answer)
        };
        let (train, held_out) = (
            (0..items).filter(kept).collect::<Vec<u64>>(),
            (items..items + items / 10).filter(kept).collect(),
        );
        if train.is_empty() {
            let message = format!("none of the {items} items has a right last total");
            return Err(ArgumentError::new("items", message));
        }
        (task.train, task.held_out) = (train, held_out);
        Ok(task)
    }

    fn item(&self, number: u64) -> Item {
        // Chains of one length are other items than those of various lengths.
        let stream = Stream::new(0, Purpose::Problem).at(self.terms).at(number);
        let length = if self.terms > 0 {
            self.terms
        } else {
            self.drawn_length(stream.uniform(0))
        };
        let digit = |value: u64| char::from(b'0' + value as u8);
        let (mut digits, mut totals) = (String::new(), String::new());
        let (mut truth, mut written) = (0, 0);
        for term in 0..length {
            let own = stream.at(term);
            let value = own.below(0, self.modulus);
            truth = (truth + value) % self.modulus;
            written = (written + value) % self.modulus;
            if own.uniform(1) < self.error {
                written = (written + 1 + own.below(2, self.modulus - 1)) % self.modulus;
            }
            digits.push(digit(value));
            totals.push(digit(written));
        }
        Item {
            digits,
            totals,
            answer: digit(truth).to_string(),
        }
    }

    fn drawn_length(&self, uniform: f64) -> u64 {
        let frequencies = &FREQUENCIES[..self.max_terms as usize];
        let mut left = uniform * frequencies.iter().sum::<f64>();
        for (place, frequency) in frequencies.iter().enumerate() {
            left -= frequency;
            if left < 0.0 {
                return place as u64 + 1;
            }
        }
        self.max_terms
    }
}

impl Task for ChainSum {
    fn name(&self) -> &str {
        "data.chain_sum"
    }

    fn size(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.train.len() as u64,
            Split::HeldOut => self.held_out.len() as u64,
        }
    }

    fn problem(&self, split: Split, index: u64, _stream: Stream) -> Result<Problem, Fault> {
        let number = match split {
            Split::Train => self.train[index as usize],
            Split::HeldOut => self.held_out[index as usize],
        };
        let item = self.item(number);
        let width = self.max_terms as usize;
        Ok(Problem {
            id: number,
            context: Vec::new(),
            prompt: format!("{:.<width$}=", item.digits),
            answer: item.answer,
            demonstration: item.totals,
            length: None,
        })
    }
}
