//! `data.running_sum`: `7+2+5=` is worked out as `9;9;14;#14`.

use super::{Partition, Problem, Split, Task};
use crate::error::{ArgumentError, Fault};
use crate::random::Stream;

/// Sums of 2 to `terms` digits, each number of terms equally frequent. A demonstration writes every running total
/// 1 to 1 + `redundancy` times: the totals help, the repeats do not, a stand-in for overthinking.
pub struct RunningSum {
    redundancy: u64,
    /// The sums of 2, 3, … terms, numbered by the digits that they add.
    sums: Vec<Partition>,
}

const FEWEST_TERMS: u32 = 2;
/// Keeps the number of problems within 64 bits with room to spare.
const MOST_TERMS: u32 = 12;

impl RunningSum {
    /// `terms` is in 2..=12, `redundancy` at least 0.
    pub fn new(terms: i64, redundancy: i64) -> Result<RunningSum, ArgumentError> {
        let most = u32::try_from(terms)
            .ok()
            .filter(|n| (FEWEST_TERMS..=MOST_TERMS).contains(n));
        let Some(most) = most else {
            let message =
                format!("`terms` must be from {FEWEST_TERMS} to {MOST_TERMS}, found {terms}");
            return Err(ArgumentError::new("terms", message));
        };
        let Ok(redundancy) = u64::try_from(redundancy) else {
            let message = format!("`redundancy` must be at least 0, found {redundancy}");
            return Err(ArgumentError::new("redundancy", message));
        };
        let sums = (FEWEST_TERMS..=most)
            .map(|n| Partition::new(10u64.pow(n)))
            .collect();
        Ok(RunningSum { redundancy, sums })
    }
}

impl Task for RunningSum {
    fn name(&self) -> &str {
        "data.running_sum"
    }

    /// The longest sums once, and the shorter ones as often as makes every number of terms equally frequent.
    fn size(&self, split: Split) -> u64 {
        let longest = self
            .sums
            .iter()
            .map(|sums| sums.size(split))
            .max()
            .unwrap_or_default();
        longest * self.sums.len() as u64
    }

    fn problem(&self, split: Split, index: u64, stream: Stream) -> Result<Problem, Fault> {
        let n_lengths = self.sums.len() as u64;
        let (place, choice) = (index / n_lengths, index % n_lengths);
        let sums = &self.sums[choice as usize];
        // Sizes are tenths of powers of ten, so shorter sums repeat a whole number of times.
        let number = sums.element(split, place % sums.size(split));
        let terms: Vec<u64> = (0..FEWEST_TERMS + choice as u32)
            .map(|term| number / 10u64.pow(term) % 10)
            .collect();

        let mut demonstration = String::new();
        let mut total = terms[0];
        for (position, term) in terms[1..].iter().enumerate() {
            total += term;
            let repeats = 1 + stream.below(position as u64, self.redundancy + 1);
            for _ in 0..repeats {
                demonstration += &format!("{total};");
            }
        }
        demonstration += &format!("#{total}");

        let digits: Vec<String> = terms.iter().map(u64::to_string).collect();
        Ok(Problem {
            // Sums of n terms take the numbers from 10ⁿ on, so ids of different lengths differ.
            id: 10u64.pow(terms.len() as u32) + number,
            context: Vec::new(),
            prompt: digits.join("+") + "=",
            answer: total.to_string(),
            demonstration,
            length: None,
        })
    }
}
