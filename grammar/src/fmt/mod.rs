//! The one style of `.rlp` texts.
//!
//! The printer walks over what pest matched, so that parentheses stay as they were written, and puts each comment where
//! it stood among the tokens. What has been broken after an opening bracket, or before an operator, stays broken.

mod doc;
mod expr;
mod item;
mod stmt;
mod train;

use pest::Parser;
use pest::iterators::Pair;

use self::doc::{Behind, Doc};
use crate::ast::SourceId;
use crate::error::SyntaxError;
use crate::parse::parse;
use crate::scan::{Scan, scan};
use crate::syntax::{Rule, Syntax};

/// Puts a text into the one style. Its meaning and its comments stay; so does a text that is in that style already.
///
/// # Errors
///
/// A text with mistakes is left alone; they are returned.
pub fn fmt(text: &str) -> Result<String, Vec<SyntaxError>> {
    let errors = parse(SourceId::default(), text).errors;
    if !errors.is_empty() {
        return Err(errors);
    }
    let scan = scan(SourceId::default(), text);
    let mut printer = Printer {
        text,
        scan: &scan,
        next: 0,
    };
    let docs = Syntax::parse(Rule::file, &scan.readable)
        .map(|pairs| pairs.flat_map(|file| printer.file(file)).collect());
    Ok(doc::print(&docs.unwrap_or_else(|_| vec![Doc::text(text)])))
}

struct Printer<'a> {
    text: &'a str,
    scan: &'a Scan,
    /// The first comment that has not been printed.
    next: usize,
}

/// The brackets of a list, and what stands inside them on one line.
struct Brackets {
    open: &'static str,
    close: &'static str,
    pad: &'static str,
    /// Whether as many elements as fit stand on a line.
    packed: bool,
}

const PARENS: Brackets = Brackets {
    open: "(",
    close: ")",
    pad: "",
    packed: false,
};
const SQUARE: Brackets = Brackets {
    open: "[",
    close: "]",
    pad: "",
    packed: false,
};
const BRACES: Brackets = Brackets {
    open: "{",
    close: "}",
    pad: " ",
    packed: false,
};

impl<'a> Printer<'a> {
    /// Where a pair begins and ends; pest counts what it skipped in search of something optional.
    fn place(&self, pair: &Pair<'_, Rule>) -> (usize, usize) {
        let span = pair.as_span();
        let tokens = &self.scan.tokens;
        let last = tokens
            .partition_point(|token| token.end <= span.end())
            .checked_sub(1);
        (
            span.start(),
            last.map_or(span.end(), |last| tokens[last].end)
                .max(span.start()),
        )
    }

    fn is_one_line(&self, start: usize, end: usize) -> bool {
        !self.text[start..end].contains('\n')
    }

    /// Whether an empty line stands before a place.
    fn follows_blank(&self, place: usize) -> bool {
        let before = &self.text[..place];
        let blank = &before[before.trim_end().len()..];
        blank.bytes().filter(|byte| *byte == b'\n').count() > 1
    }

    /// The next comment, if it begins before a place.
    fn take_comment(&mut self, before: usize) -> Option<(usize, Doc)> {
        let comment = self
            .scan
            .comments
            .get(self.next)
            .filter(|comment| (comment.span.start as usize) < before)?;
        self.next += 1;
        let start = comment.span.start as usize;
        let line = &self.text[self.text[..start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1)..start];
        let behind = (!line.trim().is_empty()).then(|| Behind {
            column: line.chars().count(),
            width: line.trim_end().chars().count(),
        });
        Some((
            start,
            Doc::Comment {
                text: format!("//{}", comment.text),
                behind,
            },
        ))
    }

    /// The comments before a place in the midst of something.
    fn comments(&mut self, before: usize, docs: &mut Vec<Doc>) {
        while let Some((_, comment)) = self.take_comment(before) {
            docs.push(comment);
        }
    }

    /// The comments before something that begins a line, each on its line, and an empty line where there was one.
    fn lead(&mut self, start: usize, first: &mut bool, docs: &mut Vec<Doc>) {
        while let Some((place, comment)) = self.take_comment(start) {
            let own_line = matches!(comment, Doc::Comment { behind: None, .. });
            if own_line && !*first && self.follows_blank(place) {
                docs.push(Doc::Blank);
            }
            docs.push(comment);
            if own_line {
                docs.push(Doc::Hard);
                *first = false;
            }
        }
        if !*first && self.follows_blank(start) {
            docs.push(Doc::Blank);
        }
        *first = false;
    }

    /// The comments before a closing bracket.
    fn lead_out(&mut self, end: usize, docs: &mut Vec<Doc>) {
        while let Some((place, comment)) = self.take_comment(end) {
            if matches!(comment, Doc::Comment { behind: None, .. }) {
                docs.push(if self.follows_blank(place) && !docs.is_empty() {
                    Doc::Blank
                } else {
                    Doc::Hard
                });
            }
            docs.push(comment);
        }
    }

    /// A pair that is printed as it is.
    fn token(&mut self, pair: &Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        self.comments(pair.as_span().start(), &mut docs);
        docs.push(Doc::text(pair.as_str().trim_end()));
        docs
    }

    /// Elements between brackets, on one line or each on its own; `start` and `end` are the places of the brackets.
    fn list<'i>(
        &mut self,
        brackets: &Brackets,
        (start, end): (usize, usize),
        elements: impl Iterator<Item = Pair<'i, Rule>>,
        mut print: impl FnMut(&mut Self, Pair<'i, Rule>) -> Vec<Doc>,
    ) -> Doc {
        let mut elements = elements.peekable();
        let broken = elements
            .peek()
            .is_some_and(|first| !self.is_one_line(start, first.as_span().start()));
        let mut docs = Vec::new();
        self.comments(start, &mut docs);
        docs.push(Doc::text(brackets.open));
        let mut inner = Vec::new();
        let mut flat = brackets.pad;
        while let Some(element) = elements.next() {
            let mut docs = vec![Doc::Line(flat)];
            // Empty lines between elements go.
            self.lead(element.as_span().start(), &mut true, &mut docs);
            docs.append(&mut print(self, element));
            let is_last = elements.peek().is_none();
            if !is_last {
                docs.push(Doc::text(","));
            }
            if brackets.packed && !inner.is_empty() {
                inner.push(Doc::group(docs, false))
            } else {
                inner.append(&mut docs)
            }
            if is_last {
                inner.push(Doc::Broken(",".to_owned()));
            }
            flat = " ";
        }
        let is_empty = inner.is_empty();
        self.lead_out(end.saturating_sub(1), &mut inner);
        docs.push(Doc::Nest(inner));
        docs.push(if is_empty {
            Doc::Line("")
        } else {
            Doc::Line(brackets.pad)
        });
        docs.push(Doc::text(brackets.close));
        Doc::group(docs, broken)
    }
}

/// The spaces that fill a cell up to a width.
fn fill(cell: &[Doc], wanted: usize) -> String {
    " ".repeat(doc::width(cell).map_or(0, |width| wanted.saturating_sub(width)))
}

/// The width of the widest cell.
fn widest<'d>(cells: impl Iterator<Item = &'d Vec<Doc>>) -> usize {
    cells.filter_map(|cell| doc::width(cell)).max().unwrap_or(0)
}
