//! A diagnostic for people, drawn by miette: one snippet for each file it touches, one for each call that led there.

use std::fmt;

use miette::{
    GraphicalTheme, LabeledSpan, MietteError, MietteHandler, MietteHandlerOpts, ReportHandler,
    SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use rlp_compiler::diagnostic::{Diagnostic, Label, Severity};
use rlp_grammar::ast::Span;

use super::place::{Place, Text};
use super::{Look, Texts, short, word};

/// A line beyond this is not shown: it would fill the screen.
const LONGEST_LINE: usize = 500;

/// Renders one diagnostic, without an empty line after it.
pub(super) fn report(diagnostic: &Diagnostic, texts: &mut Texts, look: Look) -> String {
    let span = diagnostic.span();
    let text = texts.of(span);
    if text.is_empty() || text.longest_line(text.range(span)) > LONGEST_LINE {
        let help = diagnostic
            .help
            .iter()
            .map(|help| format!("  help: {help}\n"));
        return std::iter::once(short(diagnostic, texts))
            .chain(help)
            .collect();
    }
    let (drawn, apart) = arranged(&diagnostic.labels, text);
    let head = Part {
        icon: format!("{}[{}]:", word(diagnostic.severity), diagnostic.code),
        severity: Some(diagnostic.severity),
        message: &diagnostic.message,
        at: text.range(span).0,
        labels: drawn
            .iter()
            .map(|label| (label.span, label.text.as_str()))
            .collect(),
        help: diagnostic.help.as_deref(),
    };
    let mut out = head.draw(text, look);
    for label in apart {
        out += &note(&label.text, label.span, texts, look);
    }
    for (block, place) in &diagnostic.calls {
        out += &note(&format!("`{block}` is called here"), *place, texts, look);
    }
    out
}

/// The labels to draw in one snippet, and those that need one of their own: in another file, or over text that has a
/// label already, where miette would draw one across the other.
fn arranged<'a>(labels: &'a [Label], text: &Text) -> (Vec<&'a Label>, Vec<&'a Label>) {
    let mut drawn: Vec<&Label> = Vec::new();
    let mut apart: Vec<&Label> = Vec::new();
    let lines = |label: &Label| text.lines_of(text.drawn(label.span));
    let [first, others @ ..] = labels else {
        return (drawn, apart);
    };
    // A place without words goes without a mark if the words beside it say more.
    let outdone =
        |other: &Label| other.span.source == first.span.source && lines(other) == lines(first);
    if !(first.text.is_empty() && others.iter().any(outdone)) {
        drawn.push(first);
    }
    for label in others {
        let (start, end) = text.drawn(label.span);
        let covers = |other: &&Label| {
            let (from, to) = text.drawn(other.span);
            start < to && from < end || (start, end) == (from, to)
        };
        if label.span.source == first.span.source && !drawn.iter().any(covers) {
            drawn.push(label);
        } else {
            apart.push(label);
        }
    }
    (drawn, apart)
}

/// A snippet of its own, for what lies in another file.
fn note(message: &str, span: Span, texts: &mut Texts, look: Look) -> String {
    let text = texts.of(span);
    if text.longest_line(text.range(span)) > LONGEST_LINE {
        let Place { line, column } = text.place(text.range(span).0);
        return format!("note: {message} ({}:{line}:{column})\n", text.path());
    }
    let note = Part {
        icon: "note:".to_string(),
        severity: None,
        message,
        at: text.range(span).0,
        labels: vec![(span, "")],
        help: None,
    };
    note.draw(text, look)
}

/// What one snippet says; all its labels are in one text.
struct Part<'a> {
    /// What stands before the message: `error[outer-product]:`
    icon: String,
    /// `None` for a note.
    severity: Option<Severity>,
    message: &'a str,
    /// The byte that the head of the snippet names by line and column.
    at: usize,
    labels: Vec<(Span, &'a str)>,
    help: Option<&'a str>,
}

impl Part<'_> {
    fn draw(&self, text: &Text, look: Look) -> String {
        let bound = Bound { part: self, text };
        let drawn = Drawn {
            handler: handler(&self.icon, look),
            bound: &bound,
        }
        .to_string();
        // miette indents the message by two, in favour of causes, which our diagnostics do not have.
        drawn
            .strip_prefix("  ")
            .map_or_else(|| drawn.clone(), str::to_string)
    }
}

fn handler(icon: &str, look: Look) -> MietteHandler {
    let icon = icon.to_string();
    let characters = ThemeCharacters {
        error: icon.clone(),
        warning: icon.clone(),
        advice: icon,
        ..ThemeCharacters::unicode()
    };
    let styles = if look.color {
        ThemeStyles::ansi()
    } else {
        ThemeStyles::none()
    };
    let options = MietteHandlerOpts::new()
        .graphical_theme(GraphicalTheme { characters, styles })
        .force_graphical(true)
        .without_syntax_highlighting()
        .terminal_links(false)
        .break_words(false)
        .context_lines(0);
    match look.width {
        Some(width) => options.width(width).build(),
        None => options.build(),
    }
}

/// A part with its text, as miette wants to see a diagnostic.
#[derive(Debug)]
struct Bound<'a> {
    part: &'a Part<'a>,
    text: &'a Text<'a>,
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl fmt::Display for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.part.message)
    }
}

impl std::error::Error for Bound<'_> {}

/// The text, in which the first line has the column that the head of the snippet is to name.
impl SourceCode for Bound<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        self.text.read(self.part.at, span, before, after)
    }
}

impl miette::Diagnostic for Bound<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.part.severity {
            Some(Severity::Error) => miette::Severity::Error,
            Some(Severity::Warning) => miette::Severity::Warning,
            None => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.part
            .help
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self
            .part
            .labels
            .iter()
            .enumerate()
            .map(|(index, (span, label))| {
                let (start, end) = self.text.drawn(*span);
                let label = (!label.is_empty()).then(|| label.to_string());
                if index == 0 {
                    LabeledSpan::new_primary_with_span(label, (start, end - start))
                } else {
                    LabeledSpan::new_with_span(label, (start, end - start))
                }
            });
        Some(Box::new(labels))
    }
}

struct Drawn<'a> {
    handler: MietteHandler,
    bound: &'a Bound<'a>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handler.debug(self.bound, f)
    }
}
