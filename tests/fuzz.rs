//! Random edits of valid files: whatever the text, it is checked in bounded time, and nothing panics.

use std::panic;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rlp_compiler::{Settings, check};
use rlp_frontend::{Files, Format, Look, render};

use crate::disk;

/// How long the test runs: the same edits each time, as many as fit.
const TIME: Duration = Duration::from_secs(10);

/// How long one file may take, with room for a machine that is busy with other tests.
const SLOWEST: Duration = Duration::from_secs(5);

/// The compiler bounds its recursion for the stack that the command gives it.
const STACK: usize = 256 << 20;

/// Words that meet a text where it does not expect them.
const WORDS: [&str; 40] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "//",
    "///",
    ",",
    ":",
    "=",
    "<-",
    "->",
    "|>",
    "|",
    "..",
    "-",
    "^",
    "==",
    "not ",
    "if ",
    "else ",
    "let x = ",
    "state ",
    "param ",
    "over: ",
    "where: ",
    "token",
    "prompt",
    "1e999",
    "-0.5",
    "0",
    "9999999999",
    "real[..]",
    "loss.",
    "with ",
    "é",
    "\u{0}",
    "\u{1b}",
];

/// A linear congruential generator (Knuth's MMIX constants): the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    /// A place between two characters of a text.
    fn place(&mut self, text: &str) -> usize {
        text.floor_char_boundary(self.below(text.len() + 1))
    }

    fn range(&mut self, text: &str, longest: usize) -> (usize, usize) {
        let start = self.place(text);
        (
            start,
            text.floor_char_boundary(start + self.below(longest))
                .max(start),
        )
    }

    fn edit(&mut self, text: &mut String, other: &str) {
        match self.below(6) {
            0 => {
                let (start, end) = self.range(text, 40);
                text.replace_range(start..end, "");
            }
            1 => {
                let (at, word) = (self.place(text), WORDS[self.below(WORDS.len())]);
                text.insert_str(at, word);
            }
            2 => {
                let (start, end) = self.range(text, 60);
                let (at, copy) = (self.place(text), text[start..end].to_string());
                text.insert_str(at, &copy);
            }
            3 => {
                let (start, end) = self.range(other, 200);
                let at = self.place(text);
                text.insert_str(at, &other[start..end]);
            }
            4 => {
                let (start, end) = self.range(text, 12);
                text.replace_range(start..end, WORDS[self.below(WORDS.len())]);
            }
            _ => {
                let at = self.place(text);
                text.truncate(at);
            }
        }
    }
}

/// Checks a text as the command does, and renders what is wrong with it.
fn check_and_render(text: &str) {
    let mut files = Files::new();
    files.add("fuzz.rlp", Ok(text.to_string()));
    let checked = check(&files, "fuzz.rlp", &Settings::default());
    for format in [Format::Human, Format::Json] {
        render(
            &checked.diagnostics,
            &checked.sources,
            format,
            Look {
                color: false,
                width: Some(100),
            },
        );
    }
}

/// A thread that checks the texts it is sent, and says of each whether nothing panicked.
struct Checker {
    texts: Sender<String>,
    survived: Receiver<bool>,
}

impl Checker {
    fn start() -> Checker {
        let ((texts, asked), (answer, survived)) = (channel::<String>(), channel());
        let work = move || {
            for text in asked {
                if answer
                    .send(panic::catch_unwind(|| check_and_render(&text)).is_ok())
                    .is_err()
                {
                    break;
                }
            }
        };
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(work)
            .expect("a thread");
        Checker { texts, survived }
    }

    /// What happens to a text, if it is anything but an answer in time.
    fn failure(&self, text: &str) -> Option<&'static str> {
        self.texts
            .send(text.to_string())
            .expect("the checker waits");
        match self.survived.recv_timeout(SLOWEST) {
            Ok(true) => None,
            Ok(false) => Some("panics"),
            Err(RecvTimeoutError::Timeout) => Some("takes too long"),
            Err(RecvTimeoutError::Disconnected) => Some("ends the checker"),
        }
    }

    /// The text without all lines that it panics without.
    fn shrunk(&self, text: &str) -> String {
        let mut lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            let removed = lines.remove(at);
            if self.failure(&lines.join("\n")) != Some("panics") {
                lines.insert(at, removed);
                at += 1;
            }
        }
        lines.join("\n")
    }
}

#[test]
fn no_text_makes_the_checker_panic_or_hang() {
    let library = rlp_stdlib::files().map(|(_, text)| text.to_string());
    let examples = disk::files_below("examples", "rlp")
        .into_iter()
        .map(|(_, text)| text);
    let seeds: Vec<String> = library.chain(examples).collect();
    let checker = Checker::start();
    let mut random = Random(20_260_101);
    let mut checked = 0;
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let mut text = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        for _ in 0..=random.below(4) {
            random.edit(&mut text, other);
        }
        match checker.failure(&text) {
            None => checked += 1,
            Some("panics") => panic!("this panics:\n{}", checker.shrunk(&text)),
            Some(what) => panic!("this {what}:\n{text}"),
        }
    }
    assert!(checked > 100, "only {checked} texts in {TIME:?}");
}
