//! From text to syntax tree, whatever the text.

use pest::Parser;

use crate::ast::{File, SourceId};
use crate::build::Builder;
use crate::error::SyntaxError;
use crate::recover::recover;
use crate::scan::{Comment, MAX_ERRORS, scan};
use crate::syntax::{Rule, Syntax};

/// The largest text that is read, in bytes.
pub const MAX_SIZE: usize = 4 << 20;

/// What a text says, as far as it can be read.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    /// What was read. Where text could not be read stands an [`ExprKind::Error`](crate::ast::ExprKind::Error), or nothing.
    pub file: File,
    /// The mistakes, by place, at most 50; none if all was read.
    pub errors: Vec<SyntaxError>,
    /// The comments, by place.
    pub comments: Vec<Comment>,
}

/// Reads a text, of which at most [`MAX_SIZE`] bytes are accepted. Never fails: mistakes are reported beside what was read.
pub fn parse(source: SourceId, text: &str) -> Parsed {
    if text.len() > MAX_SIZE {
        let errors = vec![SyntaxError::file_too_large(source, text.len())];
        return Parsed {
            file: File::default(),
            errors,
            comments: Vec::new(),
        };
    }
    let scan = scan(source, text);
    // What the scanner refuses may be too deep for the parser.
    let whole = if scan.errors.is_empty() {
        Syntax::parse(Rule::file, &scan.readable).ok()
    } else {
        None
    };
    let (file, mut errors) = match whole {
        Some(pairs) => {
            let mut file = File::default();
            let mut builder = Builder::new(source, 0, &scan);
            for pair in pairs {
                builder.file(pair, &mut file);
            }
            (file, builder.errors)
        }
        None => recover(source, text, &scan),
    };
    errors.sort_by_key(|error| error.span.start);
    errors.truncate(MAX_ERRORS);
    Parsed {
        file,
        errors,
        comments: scan.comments,
    }
}
