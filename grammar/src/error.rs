//! What is wrong with a text, told to whoever wrote it.

use crate::ast::{SourceId, Span};
use crate::parse::MAX_SIZE;

/// One mistake of syntax.
#[derive(Clone, PartialEq, Debug)]
pub struct SyntaxError {
    /// A short and stable name of the kind of mistake: `unclosed-bracket`.
    pub code: &'static str,
    /// One lower-case sentence without a full stop; names stand in backticks.
    pub message: String,
    pub span: Span,
    /// What to write under the span.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Other places that matter, with what to write under each.
    pub related: Vec<(Span, String)>,
}

impl SyntaxError {
    pub(crate) fn new(
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        SyntaxError {
            code,
            message: message.into(),
            span,
            label: label.into(),
            help: None,
            related: Vec::new(),
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn file_too_large(source: SourceId, size: usize) -> Self {
        let message = format!("this text has {size} bytes, and at most {MAX_SIZE} are read");
        SyntaxError::new(
            "file-too-large",
            Span::new(source, 0, 0),
            message,
            "the text begins here",
        )
        .help("put its blocks into several files, and `use` them")
    }

    pub(crate) fn bad_escape(span: Span, escape: &str) -> Self {
        SyntaxError::new(
            "bad-escape",
            span,
            format!("`{escape}` means nothing in a text"),
            "not an escape",
        )
        .help(r#"the escapes are `\n`, `\t`, `\"`, `\\` and `\u{e9}`"#)
    }

    pub(crate) fn number_too_large(span: Span, digits: &str) -> Self {
        SyntaxError::new(
            "number-too-large",
            span,
            format!("`{digits}` is larger than any number"),
            "over 1.8e308",
        )
    }

    pub(crate) fn too_deep(span: Span) -> Self {
        SyntaxError::new(
            "too-deep",
            span,
            "this is nested too deeply",
            "too many levels",
        )
        .help("name its parts with `let`")
    }

    pub(crate) fn chained_comparison(span: Span) -> Self {
        SyntaxError::new(
            "chained-comparison",
            span,
            "comparisons do not chain",
            "a second comparison",
        )
        .help("write `a < b and b < c`")
    }

    pub(crate) fn missing_body(span: Span, kind: &str, name: &str) -> Self {
        SyntaxError::new(
            "missing-body",
            span,
            format!("`{kind} {name}` has no body"),
            "expected `{` after this",
        )
        .help("write what it computes in `{ … }`")
    }

    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    pub(crate) fn unclosed_bracket(span: Span, bracket: char, before: Span) -> Self {
        let close = match bracket {
            '(' => ')',
            '[' => ']',
            _ => '}',
        };
        SyntaxError::new(
            "unclosed-bracket",
            span,
            format!("`{bracket}` is never closed"),
            "opened here",
        )
        .related(before, format!("`{close}` is missing before here"))
    }

    pub(crate) fn unopened_bracket(span: Span, bracket: char) -> Self {
        SyntaxError::new(
            "unopened-bracket",
            span,
            format!("`{bracket}` closes nothing"),
            "nothing is open here",
        )
    }

    pub(crate) fn unclosed_text(quote: Span, line: Span) -> Self {
        SyntaxError::new(
            "unclosed-text",
            quote.to(line),
            "the text is not closed on its line",
            "begins here",
        )
        .help(r#"close it with `"`; a line break in a text is written `\n`"#)
    }

    pub(crate) fn foreign(span: Span, found: &str, help: &str) -> Self {
        let first = found.split_whitespace().next().unwrap_or(found);
        let error = SyntaxError::new(
            "foreign",
            span,
            format!("`{first}` is not part of the language"),
            "unknown here",
        );
        if help.is_empty() {
            error
        } else {
            error.help(help)
        }
    }
}
