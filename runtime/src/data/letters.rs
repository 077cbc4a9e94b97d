//! `data.letters`: `QX:` asks for letters, of which the prompt likes one best.

use super::{Problem, Split, Task};
use crate::error::{ArgumentError, Fault};
use crate::random::{Permutation, Purpose, Stream};

/// Two-letter codes, each with a target letter and a constant that its score carries, both drawn once for all runs.
///
/// A response is over when it has its length: there is no end token.
/// A demonstration is letters drawn evenly, so that a policy that learnt from demonstrations knows the form and nothing
/// of the targets. Held-out codes have targets that no training shows.
pub struct Letters {
    prompts: u64,
    symbols: u64,
    /// Standard deviation of the constants.
    offset: f64,
    /// The length of the response at each of these places, equally frequent; one place if all are of one length.
    lengths: Vec<u64>,
    /// Whether a prompt says how long its response is.
    says_length: bool,
    /// Numbers of codes, in the order in which they are taken.
    codes: Permutation,
}

const ALPHABET: u64 = 26;
const CODES: u64 = ALPHABET * ALPHABET;
/// Codes of both splits together are at most as many as there are.
const MOST_PROMPTS: i64 = 600;
const LONGEST: u64 = 1000;
/// Weights are rounded to this part of all draws.
const PLACES: u64 = 100;

impl Letters {
    /// `prompts` is in 1..=600, `length` in 1..=1000, `symbols` in 1..=26, `offset` at least 0. `lengths` are several
    /// lengths instead of one, and `weights` how frequent each of them is
    /// beside the others, or 1 for evenly.
    pub fn new(
        prompts: i64,
        length: i64,
        symbols: i64,
        offset: f64,
        lengths: &[i64],
        weights: &[f64],
    ) -> Result<Letters, ArgumentError> {
        let within = |name: &'static str, value: i64, most: i64| {
            if (1..=most).contains(&value) {
                return Ok(value as u64);
            }
            let message = format!("`{name}` must be from 1 to {most}, found {value}");
            Err(ArgumentError::new(name, message))
        };
        if !(offset.is_finite() && offset >= 0.0) {
            let message = format!("`offset` must be at least 0, found {offset}");
            return Err(ArgumentError::new("offset", message));
        }
        let says_length = !lengths.is_empty();
        let lengths = if says_length {
            let read = |&length: &i64| within("lengths", length, LONGEST as i64);
            let lengths: Vec<u64> = lengths.iter().map(read).collect::<Result<_, _>>()?;
            places(&lengths, weights)?
        } else {
            vec![within("length", length, LONGEST as i64)?]
        };
        Ok(Letters {
            prompts: within("prompts", prompts, MOST_PROMPTS)?,
            symbols: within("symbols", symbols, ALPHABET as i64)?,
            offset,
            lengths,
            says_length,
            codes: Permutation::new(Stream::new(0, Purpose::Problem), CODES),
        })
    }

    /// What belongs to a code whatever the run.
    fn stream(code: u64) -> Stream {
        Stream::new(0, Purpose::Problem).at(code)
    }
}

/// The lengths at [`PLACES`] places, each as often as its weight says.
fn places(lengths: &[u64], weights: &[f64]) -> Result<Vec<u64>, ArgumentError> {
    if let [weight] = weights
        && *weight > 0.0
    {
        return Ok(lengths.to_vec());
    }
    if weights.len() != lengths.len() {
        let message = format!(
            "`weights` are one for each length: there are {} for {} lengths",
            weights.len(),
            lengths.len()
        );
        return Err(ArgumentError::new("weights", message));
    }
    let total: f64 = weights.iter().sum();
    if !(total.is_finite() && total > 0.0 && weights.iter().all(|&weight| weight >= 0.0)) {
        let message = "`weights` are at least 0, and one of them is above it";
        return Err(ArgumentError::new("weights", message));
    }
    let mut places = Vec::new();
    let mut reached = 0.0;
    for (&length, weight) in lengths.iter().zip(weights) {
        reached += weight / total;
        places.resize((reached * PLACES as f64).round() as usize, length);
    }
    Ok(places)
}

impl Task for Letters {
    fn name(&self) -> &str {
        "data.letters"
    }

    fn size(&self, split: Split) -> u64 {
        let codes = match split {
            Split::Train => self.prompts,
            Split::HeldOut => self.prompts.div_ceil(10),
        };
        codes * self.lengths.len() as u64
    }

    fn problem(&self, split: Split, index: u64, stream: Stream) -> Result<Problem, Fault> {
        let n_places = self.lengths.len() as u64;
        let (place, length) = (index / n_places, self.lengths[(index % n_places) as usize]);
        let code = self.codes.at(match split {
            Split::Train => place,
            Split::HeldOut => self.prompts + place,
        });
        let letter = |first: char, number: u64| char::from(first as u8 + number as u8);
        let name: String = [code / ALPHABET, code % ALPHABET]
            .map(|number| letter('A', number))
            .iter()
            .collect();
        let own = Letters::stream(code);
        let target = letter('a', own.below(0, self.symbols));
        Ok(Problem {
            id: code * (LONGEST + 1) + length,
            context: Vec::new(),
            prompt: if self.says_length {
                format!("{name}{length}:")
            } else {
                format!("{name}:")
            },
            answer: if self.offset > 0.0 {
                format!("{target} {:.6}", self.offset * own.normal(1))
            } else {
                target.to_string()
            },
            demonstration: (0..length)
                .map(|position| letter('a', stream.below(position, self.symbols)))
                .collect(),
            length: Some(length),
        })
    }
}
