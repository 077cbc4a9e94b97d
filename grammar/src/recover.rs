//! What to do when the grammar stops: report, blank the statement, read the item again.
//!
//! The grammar is strict and stops at its first error. So each item is read by itself; where that fails, the statement at
//! fault is replaced by a hole (`let x = ⟨hole⟩` keeps the name `x` known) and the item is read again. Blanked text keeps its
//! length, so that every place stays true.

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};

use crate::ast::{File, SourceId};
use crate::build::Builder;
use crate::error::SyntaxError;
use crate::explain::explain;
use crate::lexis::RESERVED;
use crate::outline::{Around, Outline, Segment};
use crate::scan::{HOLE, MAX_ERRORS, Reach, Scan, TokenKind};
use crate::syntax::{Rule, Syntax};

/// How many bytes are read again and again before an item is given up: 50 readings of a long file, few of a huge one.
const MAX_WORK: usize = 32 << 20;

/// Reads what can be read of a text with mistakes.
pub(crate) fn recover(source: SourceId, text: &str, scan: &Scan) -> (File, Vec<SyntaxError>) {
    let outline = Outline { text, scan };
    let mut file = File::default();
    let mut errors = scan.errors.clone();
    let starts = scan.items.iter().map(|token| scan.tokens[*token].start);
    let mut start = 0;
    for end in starts.chain([text.len()]) {
        if start < end && errors.len() < MAX_ERRORS {
            Item {
                source,
                outline: &outline,
                start,
                end,
            }
            .read(&mut file, &mut errors);
        }
        start = end;
    }
    (file, errors)
}

/// The text of one item.
struct Item<'a> {
    source: SourceId,
    outline: &'a Outline<'a>,
    start: usize,
    end: usize,
}

impl Item<'_> {
    fn read(&self, file: &mut File, errors: &mut Vec<SyntaxError>) {
        let scan = self.outline.scan;
        let mut readable = scan.readable.as_bytes()[self.start..self.end].to_vec();
        for (at, reach) in &scan.broken {
            if (self.start..self.end).contains(at) {
                let mended = match reach {
                    Reach::Statement => self.blank(&mut readable, self.outline.token_at(*at)),
                    Reach::Item => false,
                };
                if !mended {
                    return;
                }
            }
        }
        let mut last = None;
        for _ in 0..(MAX_WORK / readable.len().max(1)).clamp(4, MAX_ERRORS) {
            let Ok(text) = std::str::from_utf8(&readable) else {
                return;
            };
            let error = match Syntax::parse(Rule::file, text) {
                Ok(pairs) => {
                    let mut builder = Builder::new(self.source, self.start, scan);
                    for pair in pairs {
                        builder.file(pair, file);
                    }
                    errors.append(&mut builder.errors);
                    return;
                }
                Err(error) => error,
            };
            let at = match error.location {
                InputLocation::Pos(at) | InputLocation::Span((at, _)) => self.start + at,
            };
            // A place that fails again cannot be mended by blanking.
            if last.replace(at) == Some(at) {
                return;
            }
            let expected = match error.variant {
                ErrorVariant::ParsingError { positives, .. } => positives,
                ErrorVariant::CustomError { .. } => Vec::new(),
            };
            let (error, mut culprit) = explain(self.outline, self.source, at, &expected);
            if errors.last().is_some_and(|last| last.span == error.span) {
                culprit = self.outline.token_at(at);
            } else {
                errors.push(error);
            }
            if errors.len() >= MAX_ERRORS || !self.blank(&mut readable, culprit) {
                return;
            }
        }
    }

    /// Replaces the statement or parameter of a token by a hole; false if that cannot be done.
    fn blank(&self, readable: &mut [u8], token: usize) -> bool {
        let is_doc = |token: usize| self.outline.is(token, TokenKind::Doc);
        if is_doc(token) {
            let first = (0..=token)
                .rev()
                .take_while(|doc| is_doc(*doc))
                .last()
                .unwrap_or(token);
            let end = (token..).find(|doc| !is_doc(*doc)).unwrap_or(token + 1);
            return self.fill(readable, first, end, false);
        }
        if let Some(segment) = self.outline.segment(token) {
            return self.blank_statement(readable, segment, token);
        }
        self.blank_param(readable, token)
    }

    fn blank_statement(&self, readable: &mut [u8], segment: Segment, token: usize) -> bool {
        let outline = self.outline;
        let Segment { first, end, .. } = segment;
        let mut word = first;
        while outline.text(word) == "@" && outline.text(word + 2) == "(" {
            word = outline.after(word + 2);
        }
        let named = outline.is(word + 1, TokenKind::Word);
        let value = match outline.text(word) {
            "let" | "state" | "param"
                if named && token > word + 1 && segment.around != Around::Train =>
            {
                let mut equals = word + 2;
                while equals < end && outline.text(equals) != "=" {
                    equals = outline.after(equals);
                }
                // A type that cannot be read goes with the value.
                Some(if equals < token.min(end) {
                    equals + 1
                } else {
                    word + 2
                })
            }
            "minimize" | "maximize" if segment.around == Around::Train => Some(word + 1),
            "assert" if matches!(segment.around, Around::Test | Around::Body) => Some(word + 1),
            _ if outline.text(word + 1) == "<-" && token > word => Some(word + 2),
            _ => None,
        };
        if let Some(value) = value
            && self.fill(readable, value, end, true)
        {
            return true;
        }
        let is_result =
            segment.around == Around::Body && outline.tokens()[segment.open].until == end + 1;
        self.fill(readable, first, end, is_result)
    }

    /// A parameter keeps its name, so that calls of the block stay known.
    fn blank_param(&self, readable: &mut [u8], token: usize) -> bool {
        let outline = self.outline;
        let mut child = token;
        let open = loop {
            let Some(open) = outline.enclosing(child) else {
                return false;
            };
            if outline.inside(open) == Around::Params {
                break open;
            }
            child = open;
        };
        let close = outline.tokens()[open].until - 1;
        let (mut first, mut end) = (open + 1, open + 1);
        while end < close {
            if outline.text(end) == "," {
                if end >= child {
                    break;
                }
                first = end + 1;
            }
            end = outline.after(end);
        }
        let name = first
            + usize::from(outline.text(first) == "param" && outline.is(first + 1, TokenKind::Word));
        if outline.is(name, TokenKind::Word)
            && !RESERVED.contains(&outline.text(name))
            && self.fill(readable, name + 1, end, true)
        {
            return true;
        }
        // Without the name the comma has to go as well.
        if end < close {
            self.fill(readable, first, end + 1, false)
        } else {
            self.fill(readable, first - 1, end, false)
        }
    }

    /// Blanks tokens, but for a hole in their place; false if nothing would change or no place is left.
    fn fill(&self, readable: &mut [u8], first: usize, end: usize, hole: bool) -> bool {
        let tokens = self.outline.tokens();
        let is_empty = first >= end;
        let range = if is_empty {
            // A hole for what is missing takes the white space behind what is there.
            first
                .checked_sub(1)
                .and_then(|before| tokens.get(before))
                .map(|before| before.end..before.end + 1)
        } else {
            tokens
                .get(first)
                .zip(tokens.get(end - 1))
                .map(|(first, last)| first.start..last.end)
        };
        let inside = range.and_then(|range| {
            Some(range.start.checked_sub(self.start)?..range.end.checked_sub(self.start)?)
        });
        let Some(range) = inside.and_then(|range| readable.get_mut(range)) else {
            return false;
        };
        if is_empty && !(hole && range[0].is_ascii_whitespace()) {
            return false;
        }
        let before = range.to_vec();
        range.fill(b' ');
        if hole {
            range[0] = HOLE;
        }
        range != before
    }
}
