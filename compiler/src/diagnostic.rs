//! What a user is told: code, message, the places involved and how to mend it.

use rlp_grammar::SyntaxError;
use rlp_grammar::ast::Span;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Error,
    /// A lint: named, silenced where it occurs by `@allow(name, "reason")`.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// Stable, kebab-case, never reused: `outer-product`. `rlpc explain CODE` says more.
    pub code: &'static str,
    pub severity: Severity,
    /// One lower-case sentence without a full stop, which stands alone.
    pub message: String,
    /// The first is the place of the diagnostic.
    pub labels: Vec<Label>,
    /// How to mend it; a piece of `.rlp` that would compile, where there is one.
    pub help: Option<String>,
    /// The calls that led here, the innermost first: block and place of the call.
    pub calls: Vec<(String, Span)>,
    /// A change of the text that mends it.
    pub fix: Option<Fix>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Fix {
    pub span: Span,
    pub replacement: String,
}

impl Diagnostic {
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: vec![Label {
                span,
                text: String::new(),
            }],
            help: None,
            calls: Vec::new(),
            fix: None,
        }
    }

    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(code, span, message)
        }
    }

    /// Says something under the place of the diagnostic.
    pub fn here(mut self, text: impl Into<String>) -> Diagnostic {
        self.labels[0].text = text.into();
        self
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    pub fn fix(mut self, span: Span, replacement: impl Into<String>) -> Diagnostic {
        self.fix = Some(Fix {
            span,
            replacement: replacement.into(),
        });
        self
    }

    pub fn span(&self) -> Span {
        self.labels[0].span
    }
}

impl From<SyntaxError> for Diagnostic {
    fn from(error: SyntaxError) -> Diagnostic {
        let mut diagnostic =
            Diagnostic::error(error.code, error.span, error.message).here(error.label);
        diagnostic.help = error.help;
        for (span, text) in error.related {
            diagnostic = diagnostic.label(span, text);
        }
        diagnostic
    }
}

/// How many names a misspelt one is compared with.
const MOST_COMPARED: usize = 500;

/// The candidates nearest to a misspelt name, best first, at most three.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 4);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter(|candidate| *candidate != name)
        // A cheap look first, and not at all of them: a program may have a hundred thousand names, and as many mistakes.
        .filter(|candidate| {
            candidate.len().abs_diff(name.len()) <= 4 * limit
                || candidate.starts_with(name)
                || name.starts_with(candidate)
        })
        .take(MOST_COMPARED)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|&(distance, candidate)| {
            distance <= limit
                || (name.len() >= 3
                    && (candidate.starts_with(name)
                        || name.starts_with(candidate) && candidate.len() >= 3))
        })
        .collect();
    found.sort();
    found.dedup();
    found
        .into_iter()
        .take(3)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let edited = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped =
                    i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if swapped {
                    edited.min(rows[i - 2][j - 2] + 1)
                } else {
                    edited
                }
            };
        }
    }
    rows[from.len()][to.len()]
}
