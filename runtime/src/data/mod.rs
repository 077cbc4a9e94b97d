//! Tasks: finite sets of problems, some of them held out.

mod arithmetic;
mod chain_sum;
pub(crate) mod files;
mod fit;
mod letters;
mod letters_after;
mod letters_peak;
mod mixture;
mod order;
mod rows;
mod running_sum;
mod text;

pub use arithmetic::Arithmetic;
pub use chain_sum::ChainSum;
pub(crate) use fit::{Fit, Limits};
pub use letters::Letters;
pub use letters_after::LettersAfter;
pub use letters_peak::LettersPeak;
pub use mixture::Mixture;
pub use order::{ProblemOrder, evaluation};
pub use rows::Rows;
pub use running_sum::RunningSum;
pub use text::Text;

use rlp_data::{DataError, Message};
use serde::{Deserialize, Serialize};

use crate::error::{ArgumentError, Fault};
use crate::random::{Permutation, Purpose, Stream};

/// Which part of a task's problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    HeldOut,
}

/// One item of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The problem's identity within its task: equal ids, equal prompts.
    pub id: u64,
    /// What was said before the prompt.
    #[serde(default)]
    pub context: Vec<Message>,
    pub prompt: String,
    pub answer: String,
    /// A response that solves it, without the end token.
    pub demonstration: String,
    /// A response is over after so many tokens, without an end token; otherwise at its end token.
    pub length: Option<u64>,
}

/// A finite set of problems, numbered within each split. No problem is in both splits.
pub trait Task {
    /// As the language writes it, such as `data.arithmetic`.
    fn name(&self) -> &str;

    /// How many problems a split has; at least one to train on.
    fn size(&self, split: Split) -> u64;

    /// The problem `index` of a split, below its size. The same index always gives the same prompt and answer;
    /// what is random in a demonstration is drawn from `stream`.
    fn problem(&self, split: Split, index: u64, stream: Stream) -> Result<Problem, Fault>;

    /// What is the same as long as its files are; nothing without files.
    fn digest(&self) -> Option<String> {
        None
    }

    /// What a user should know of its files.
    fn warning(&self) -> Option<DataError> {
        None
    }
}

/// The prompt of tasks whose responses answer nothing in particular: a model needs something to go on from.
const NO_PROMPT: &str = ":";

/// A problem without a question, the only one of its split; a response is over after `length` tokens.
fn unprompted(split: Split, length: u64, demonstration: String) -> Problem {
    Problem {
        id: match split {
            Split::Train => 0,
            Split::HeldOut => 1,
        },
        context: Vec::new(),
        prompt: NO_PROMPT.to_string(),
        answer: String::new(),
        demonstration,
        length: Some(length),
    }
}

/// A whole number among the arguments of a task that lies in `range`.
fn within(
    name: &'static str,
    value: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<u64, ArgumentError> {
    if range.contains(&value) {
        return Ok(value as u64);
    }
    let message = format!(
        "`{name}` must be from {} to {}, found {value}",
        range.start(),
        range.end()
    );
    Err(ArgumentError::new(name, message))
}

/// The letter of this number, from `a` on.
fn letter(number: u64) -> char {
    char::from(b'a' + number as u8)
}

/// The fixed division of `0..size` into nine tenths to train on and one tenth held out.
///
/// It is a function of the size alone, so that runs with different seeds are evaluated on the same problems and no
/// stage of any run trains on them.
struct Partition {
    held_out: u64,
    size: u64,
    order: Permutation,
}

impl Partition {
    fn new(size: u64) -> Partition {
        let order = Permutation::new(Stream::new(0, Purpose::Problem), size);
        Partition {
            held_out: size.div_ceil(10),
            size,
            order,
        }
    }

    fn size(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.size - self.held_out,
            Split::HeldOut => self.held_out,
        }
    }

    fn element(&self, split: Split, index: u64) -> u64 {
        assert!(
            index < self.size(split),
            "problem {index} lies outside its split"
        );
        match split {
            Split::Train => self.order.at(self.held_out + index),
            Split::HeldOut => self.order.at(index),
        }
    }
}
