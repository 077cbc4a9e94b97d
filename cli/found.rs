//! What was found in the files of a command line.

use std::collections::HashSet;

use rlp_compiler::diagnostic::{Diagnostic, Severity};
use rlp_compiler::source::SourceMap;
use rlp_frontend::arguments::Output;
use rlp_frontend::{Format, Look, render};

use crate::answer::{Answer, Exit};

/// The diagnostics of several files, each once: two files may use the same broken third one.
pub(crate) struct Found {
    format: Format,
    look: Look,
    text: String,
    /// File, place and message.
    seen: HashSet<(String, u32, u32, String)>,
    n_errors: usize,
    n_warnings: usize,
}

impl Found {
    pub(crate) fn new(output: Output) -> Found {
        Found {
            format: output.format(),
            look: output.look(),
            text: String::new(),
            seen: HashSet::new(),
            n_errors: 0,
            n_warnings: 0,
        }
    }

    pub(crate) fn add(&mut self, diagnostics: &[Diagnostic], sources: &SourceMap) {
        let mut new = Vec::new();
        for diagnostic in diagnostics {
            let span = diagnostic.span();
            let path = sources.get(span.source).path.clone();
            if self
                .seen
                .insert((path, span.start, span.end, diagnostic.message.clone()))
            {
                match diagnostic.severity {
                    Severity::Error => self.n_errors += 1,
                    Severity::Warning => self.n_warnings += 1,
                }
                new.push(diagnostic.clone());
            }
        }
        self.text += &render(&new, sources, self.format, self.look);
    }

    /// `2 errors, 1 warning`
    pub(crate) fn counted(&self) -> Option<String> {
        let counts = [(self.n_errors, "error"), (self.n_warnings, "warning")];
        let counts = counts.iter().filter(|(number, _)| *number > 0);
        let words: Vec<String> = counts.map(|(number, word)| count(*number, word)).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Diagnostics for programs go to standard output, those for people to standard error, and after them what was
    /// `done`, unless there is nothing to say of it.
    pub(crate) fn answer(self, done: &str, exit: Exit) -> Answer {
        let done = if done.is_empty() {
            String::new()
        } else {
            format!("{done}\n")
        };
        match self.format {
            Format::Human => Answer {
                out: String::new(),
                err: self.text + &done,
                exit,
            },
            Format::Short => Answer {
                out: String::new(),
                err: self.text,
                exit,
            },
            Format::Json => Answer {
                out: self.text,
                err: String::new(),
                exit,
            },
        }
    }

    pub(crate) fn n_errors(&self) -> usize {
        self.n_errors
    }

    pub(crate) fn n_warnings(&self) -> usize {
        self.n_warnings
    }
}

/// `1 file`, `2 files`
pub(crate) fn count(number: usize, word: &str) -> String {
    if number == 1 {
        format!("1 {word}")
    } else {
        format!("{number} {word}s")
    }
}
