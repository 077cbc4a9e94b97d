//! Lines and columns of spans, and the text that a report shows around them.

use std::borrow::Cow;

use miette::{MietteError, MietteSpanContents, SourceSpan, SpanContents};
use rlp_compiler::source::Source;
use rlp_grammar::ast::Span;

/// A range of as many lines is drawn by its first one.
const MOST_LINES: usize = 5;

/// A text with the places where its lines begin, so that many diagnostics of a large file stay cheap.
#[derive(Debug)]
pub(super) struct Text<'a> {
    source: &'a Source,
    /// The text as a terminal may see it; bytes stand where they stand in the text.
    shown: Cow<'a, str>,
    /// The first byte of each line.
    starts: Vec<usize>,
}

/// A place as people and editors count it: both from 1, the column in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl<'a> Text<'a> {
    pub(super) fn new(source: &'a Source) -> Text<'a> {
        let breaks = source
            .text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Text {
            source,
            shown: visible(&source.text),
            starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.source.path
    }

    /// Whether there is no line to show: an empty file, or one that could not be read.
    pub(super) fn is_empty(&self) -> bool {
        self.source.text.trim().is_empty()
    }

    /// The bytes of a span, inside the text and between characters.
    pub(super) fn bytes(&self, span: Span) -> (usize, usize) {
        let start = self.source.text.floor_char_boundary(span.start as usize);
        (
            start,
            self.source
                .text
                .floor_char_boundary(span.end as usize)
                .max(start),
        )
    }

    /// The bytes to point at: what lies behind the last word (an unexpected end) stands right after it, where
    /// there is a line to show.
    pub(super) fn range(&self, span: Span) -> (usize, usize) {
        let (start, end) = self.bytes(span);
        let last = self.source.text.trim_end().len();
        if start > last {
            (last, last)
        } else {
            (start, end)
        }
    }

    /// The bytes to draw: of a long range (a whole stage, say) only what stands on its first line.
    pub(super) fn drawn(&self, span: Span) -> (usize, usize) {
        let (start, end) = self.range(span);
        let first = self.line(start);
        if self.line(end) - first < MOST_LINES {
            (start, end)
        } else {
            (start, self.lines(first, first).1)
        }
    }

    pub(super) fn place(&self, byte: usize) -> Place {
        let line = self.line(byte);
        let column = self
            .source
            .text
            .get(self.starts[line]..byte)
            .map_or(0, |before| before.chars().count());
        Place {
            line: line + 1,
            column: column + 1,
        }
    }

    /// The number of the line, from 0, that a byte stands on.
    fn line(&self, byte: usize) -> usize {
        self.starts.partition_point(|&start| start <= byte) - 1
    }

    /// The bytes of some whole lines, numbered from 0, without the last one's end.
    fn lines(&self, first: usize, last: usize) -> (usize, usize) {
        let end = match self.starts.get(last + 1) {
            Some(&next) => next - 1,
            None => self.source.text.len(),
        };
        (self.starts[first], end)
    }

    /// The first and the last line of a range of bytes, from 0.
    pub(super) fn lines_of(&self, (start, end): (usize, usize)) -> (usize, usize) {
        (self.line(start), self.line(end))
    }

    /// Whole lines around a span, as miette wants them. The first is given the column of the byte `at` if it is on it.
    pub(super) fn read<'t>(
        &'t self,
        at: usize,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'t> + 't>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > self.source.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let first = self.line(start).saturating_sub(before);
        // The end of a line belongs to it, not to the next one.
        let last = (self.line(end.saturating_sub(1).max(start)) + after).min(self.starts.len() - 1);
        let (from, to) = self.lines(first, last);
        let named = if self.line(at) == self.line(start) {
            at
        } else {
            start
        };
        let contents = MietteSpanContents::new_named(
            self.source.path.clone(),
            &self.shown.as_bytes()[from..to],
            (from, to - from).into(),
            first,
            if before == 0 {
                self.place(named).column - 1
            } else {
                0
            },
            last - first + 1,
        );
        Ok(Box::new(contents))
    }

    /// The bytes of the longest line of a range.
    pub(super) fn longest_line(&self, (start, end): (usize, usize)) -> usize {
        let lengths = (self.line(start)..=self.line(end)).map(|line| {
            let (from, to) = self.lines(line, line);
            to - from
        });
        lengths.max().unwrap_or(0)
    }
}

/// A character that a terminal may obey rather than show.
fn is_hidden(letter: char) -> bool {
    let turns_text = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns_text || letter.is_control() && !matches!(letter, '\n' | '\r' | '\t')
}

/// A text of the same length in bytes in which no character is hidden.
fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|letter| {
        if is_hidden(letter) {
            "?".repeat(letter.len_utf8())
        } else {
            letter.to_string()
        }
    });
    Cow::Owned(shown.collect())
}

/// A message in which every hidden character is written out.
pub(super) fn escaped(message: &str) -> String {
    let shown = message.chars().map(|letter| {
        if is_hidden(letter) {
            letter.escape_unicode().to_string()
        } else {
            letter.to_string()
        }
    });
    shown.collect()
}
