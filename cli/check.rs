//! `rlpc check`: all that is wrong with some files.

use std::collections::HashSet;

use rlp_compiler::diagnostic::{Diagnostic, Severity};
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, check};
use rlp_frontend::{Files, Format, Look, render};

use crate::answer::{Answer, Exit};
use crate::arguments::{Check, Output};
use crate::inputs;

pub(crate) fn run(arguments: &Check) -> Answer {
    let mut files = Files::new();
    let paths = inputs::all(&arguments.paths, &mut files);
    let settings = Settings(arguments.settings.clone());
    let mut found = Found::new(arguments.output);
    for path in &paths {
        let checked = check(&files, path, &settings);
        found.add(&checked.diagnostics, &checked.sources);
    }
    found.answer(
        &format!("checked {}", count(paths.len(), "file")),
        arguments.deny.is_some(),
    )
}

/// The diagnostics of several files, each once: two files may use the same broken third one.
pub(crate) struct Found {
    format: Format,
    look: Look,
    text: String,
    /// File, place and message.
    seen: HashSet<(String, u32, u32, String)>,
    errors: usize,
    warnings: usize,
}

impl Found {
    pub(crate) fn new(output: Output) -> Found {
        Found {
            format: output.message_format.into(),
            look: output.look(),
            text: String::new(),
            seen: HashSet::new(),
            errors: 0,
            warnings: 0,
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
                    Severity::Error => self.errors += 1,
                    Severity::Warning => self.warnings += 1,
                }
                new.push(diagnostic.clone());
            }
        }
        self.text += &render(&new, sources, self.format, self.look);
    }

    /// Diagnostics for programs go to standard output, those for people beside the summary to standard error.
    pub(crate) fn answer(self, done: &str, deny_warnings: bool) -> Answer {
        let failed = self.errors > 0 || deny_warnings && self.warnings > 0;
        let exit = if failed { Exit::Problems } else { Exit::Done };
        let counted: Vec<String> = [(self.errors, "error"), (self.warnings, "warning")]
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| count(number, word))
            .collect();
        let counted = if counted.is_empty() {
            "no problems".to_string()
        } else {
            counted.join(", ")
        };
        match self.format {
            Format::Human => Answer {
                out: String::new(),
                err: format!("{}{done}: {counted}\n", self.text),
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

    /// The warnings beside an answer that is about something else.
    pub(crate) fn warnings_only(self) -> Answer {
        Answer {
            err: self.text,
            ..Answer::default()
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
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
