//! From text to syntax tree, whatever the text.

use pest::Parser;

use crate::ast::{File, SourceId, Span};
use crate::build::Builder;
use crate::error::SyntaxError;
use crate::scan::{Comment, scan};
use crate::syntax::{Rule, Syntax};

/// What a text says, as far as it can be read.
pub struct Parsed {
    pub file: File,
    /// The mistakes, by place; none if all was read.
    pub errors: Vec<SyntaxError>,
    /// The comments, by place.
    pub comments: Vec<Comment>,
}

/// Reads a text. Never fails: what could not be read is reported and missing from the tree.
pub fn parse(source: SourceId, text: &str) -> Parsed {
    let scan = scan(source, text);
    let mut file = File::default();
    let mut errors = scan.errors;
    if errors.is_empty() {
        let mut builder = Builder::new(source, 0, &scan.comments);
        match Syntax::parse(Rule::file, &scan.readable) {
            Ok(pairs) => {
                for pair in pairs {
                    builder.file(pair, &mut file);
                }
                errors = builder.errors;
            }
            Err(error) => {
                let (start, end) = match error.location {
                    pest::error::InputLocation::Pos(at) => (at, at),
                    pest::error::InputLocation::Span(span) => span,
                };
                let place = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
                errors.push(SyntaxError::unreadable(Span { source, start: place(start), end: place(end) }));
            }
        }
    }
    Parsed { file, errors, comments: scan.comments }
}
