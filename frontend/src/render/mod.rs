//! Diagnostics as text: reports for people, one line each for logs, JSON for programs.

mod json;
mod place;
mod report;

use std::collections::BTreeMap;

use rlp_compiler::diagnostic::{Diagnostic, Severity};
use rlp_compiler::source::SourceMap;
use rlp_grammar::ast::Span;

use place::{Place, Text, escaped};

/// For whom a diagnostic is rendered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// The message, the lines it is about with labels under them, the calls that led there, and help.
    #[default]
    Human,
    /// `FILE:LINE:COLUMN: error[CODE]: MESSAGE`
    Short,
    /// One object a line: `code`, `severity`, `message`, `spans`, `help`, `fix`, `calls`.
    Json,
}

/// How a report for people looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    pub color: bool,
    /// Columns before a message is wrapped; the terminal's if absent.
    pub width: Option<usize>,
}

/// The columns of a report that goes to a file or a pipe.
pub const PLAIN_WIDTH: usize = 110;

/// One report for people ends after so many diagnostics; the other formats give all.
const MOST_REPORTS: usize = 50;

/// Renders diagnostics in the order given. Each of the lines ends in a line break.
pub fn render(
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
    format: Format,
    look: Look,
) -> String {
    let mut texts = Texts {
        sources,
        known: BTreeMap::new(),
    };
    let mut out = String::new();
    match format {
        Format::Human => {
            for diagnostic in diagnostics.iter().take(MOST_REPORTS) {
                out += &report::report(&readable(diagnostic), &mut texts, look);
                out.push('\n');
            }
            if let Some(more) = diagnostics
                .len()
                .checked_sub(MOST_REPORTS)
                .filter(|more| *more > 0)
            {
                out += &format!("and {more} more, which `--message-format short` lists\n");
            }
        }
        Format::Short => {
            for diagnostic in diagnostics {
                out += &short(&readable(diagnostic), &mut texts);
            }
        }
        Format::Json => {
            for diagnostic in diagnostics {
                out += &json::object(diagnostic, &mut texts).to_string();
                out.push('\n');
            }
        }
    }
    out
}

/// `FILE:LINE:COLUMN: error[CODE]: MESSAGE`
fn short(diagnostic: &Diagnostic, texts: &mut Texts) -> String {
    let text = texts.of(diagnostic.span());
    let Place { line, column } = text.place(text.range(diagnostic.span()).0);
    let Diagnostic { code, message, .. } = diagnostic;
    format!(
        "{}:{line}:{column}: {}[{code}]: {message}\n",
        text.path(),
        word(diagnostic.severity)
    )
}

/// The same in words that a terminal shows as they are, whatever text they quote.
fn readable(diagnostic: &Diagnostic) -> Diagnostic {
    let mut readable = diagnostic.clone();
    readable.message = escaped(&readable.message);
    readable.help = readable.help.as_deref().map(escaped);
    for label in &mut readable.labels {
        label.text = escaped(&label.text);
    }
    readable
}

/// How a severity is called.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The texts that diagnostics point into, each cut into lines once.
struct Texts<'a> {
    sources: &'a SourceMap,
    known: BTreeMap<u32, Text<'a>>,
}

impl<'a> Texts<'a> {
    fn of(&mut self, span: Span) -> &Text<'a> {
        let sources = self.sources;
        self.known
            .entry(span.source.0)
            .or_insert_with(|| Text::new(sources.get(span.source)))
    }
}
