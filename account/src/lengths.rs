//! How long the prompts and responses of a task are at most, in tokens.

use std::fs::File;
use std::io::{BufRead, BufReader};

use rlp_compiler::plan::Resource;
use serde_json::Value as Json;

use crate::arguments::Known;

/// The longest texts of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lengths {
    pub prompt: u64,
    /// Of a response that is written in the task, its end included.
    pub response: u64,
    /// What every response is cut at, whatever a draw allows.
    pub cut: Option<u64>,
    /// False where nothing was known, and [`Lengths::ASSUMED`] stands for it.
    pub is_known: bool,
}

/// Rows of a file that are looked at.
const ROWS: usize = 1_000;
/// Bytes of a row that are read.
const LONGEST_ROW: u64 = 1 << 20;
/// Bytes of a token of a learned vocabulary, which are more in most languages.
const BYTES_OF_TOKEN: u64 = 3;
/// Tokens that a chat template adds to a prompt, about.
const TEMPLATE: u64 = 32;

impl Lengths {
    /// Of a task that nothing is known of.
    pub const ASSUMED: Lengths = Lengths {
        prompt: 64,
        response: 64,
        cut: None,
        is_known: false,
    };

    /// Of the texts in bytes, which are the tokens of a model from scratch.
    pub fn of(task: &Resource) -> Lengths {
        let known = Known::of_resource(task);
        let count = |name: &str| known.count(name).unwrap_or_default();
        let longest = |texts: (u64, u64), cut: Option<u64>| Lengths {
            prompt: texts.0,
            response: texts.1,
            cut,
            is_known: true,
        };
        match task.block.as_str() {
            "data.arithmetic" => {
                let digits = count("digits");
                let of_product = known.text("ops").is_some_and(|ops| ops.contains('*'));
                let answer = if of_product { 2 * digits } else { digits + 1 };
                longest((2 * digits + 2, answer + 1), None)
            }
            // `QX:`, and how long the response is to be if there are several lengths.
            "data.letters" => {
                let lengths = known.ints("lengths");
                let most = lengths.iter().map(|&own| own.max(0) as u64).max();
                let length = most.unwrap_or(count("length"));
                longest((if most.is_some() { 7 } else { 3 }, length), Some(length))
            }
            "data.letters_peak" | "data.letters_after" | "data.mixture" => {
                longest((1, count("length")), Some(count("length")))
            }
            "data.chain_sum" => {
                let terms = count("max_terms");
                longest((terms + 1, 2 * terms + 1), None)
            }
            "data.running_sum" => {
                let terms = count("terms");
                longest((2 * terms, 4 * terms * (1 + count("redundancy"))), None)
            }
            _ => known.text("file").map_or(Lengths::ASSUMED, of_file),
        }
    }

    /// Of the same texts in tokens of a learned vocabulary, as prompts of a chat or as they are.
    #[must_use]
    pub fn learned(self, is_chat: bool) -> Lengths {
        if !self.is_known {
            return self;
        }
        // Digits and short texts have a token a character.
        let tokens = |bytes: u64| bytes.min(bytes / BYTES_OF_TOKEN + 16);
        Lengths {
            prompt: tokens(self.prompt) + if is_chat { TEMPLATE } else { 0 },
            response: tokens(self.response),
            cut: self.cut,
            is_known: true,
        }
    }
}

/// The longest of the first rows of a file with an object a line.
fn of_file(path: &str) -> Lengths {
    let mut found = Lengths {
        prompt: 0,
        response: 0,
        cut: None,
        is_known: true,
    };
    let Ok(file) = File::open(path) else {
        return Lengths::ASSUMED;
    };
    let mut reader = BufReader::new(file);
    for _ in 0..ROWS {
        let mut line = Vec::new();
        let limited = &mut std::io::Read::take(&mut reader, LONGEST_ROW);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok(Json::Object(row)) = serde_json::from_slice::<Json>(&line) else {
            continue;
        };
        let length = |text: &Json| text.as_str().map_or(0, |text| text.len() as u64);
        for (name, text) in &row {
            let own = match name.as_str() {
                "prompt" | "question" => &mut found.prompt,
                _ => &mut found.response,
            };
            *own = (*own).max(length(text) + 1);
        }
    }
    if found.prompt == 0 {
        return Lengths::ASSUMED;
    }
    found
}
