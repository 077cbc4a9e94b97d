//! Brackets: which closes which, how deep they are, and where one is missing.

use super::{FRESH_PAREN, Open, Reach, Scanner, TokenKind};
use crate::ast::Span;
use crate::error::SyntaxError;

/// How deep brackets, branches and lambdas may stand in each other: the parser recurses.
const MAX_NESTING: usize = 128;

impl Scanner<'_> {
    /// A branch or a lambda begins: it ends at the next comma, `let` or closing bracket at the latest.
    pub(super) fn deepen(&mut self, at: usize) {
        if let Some(open) = self.open.last_mut() {
            open.inner += 1;
            self.inner += 1;
        }
        self.check_depth(at);
    }

    pub(super) fn settle(&mut self) {
        if let Some(open) = self.open.last_mut() {
            self.inner -= open.inner;
            open.inner = 0;
        }
    }

    fn check_depth(&mut self, at: usize) {
        if self.open.len() + self.inner > MAX_NESTING && !self.given_up {
            let error = SyntaxError::too_deep(self.span(at, at + 1));
            self.report(at, Some(Reach::Item), error);
        }
    }

    pub(super) fn open_bracket(&mut self) {
        let bracket = self.text.as_bytes()[self.at];
        let start = self.at;
        if bracket == b'(' {
            self.mark_fresh(FRESH_PAREN);
        }
        self.token(TokenKind::Open, 1);
        let (token, indent) = (self.scan.tokens.len() - 1, self.indent);
        self.open.push(Open {
            token,
            bracket,
            column: None,
            inner: 0,
            line: self.line,
            indent,
        });
        self.check_depth(start);
    }

    /// Marks the next token if it begins a line no deeper than the first token of the braces around it.
    pub(super) fn mark_fresh(&mut self, mark: u8) {
        let column = self.column();
        let Some(open) = self.open.last() else { return };
        if self.first && open.bracket == b'{' && open.column.is_none_or(|first| column <= first) {
            self.readable[self.at] = mark;
        }
    }

    pub(super) fn close_bracket(&mut self) {
        let close = self.text.as_bytes()[self.at];
        let start = self.at;
        let wanted = match close {
            b')' => b'(',
            b']' => b'[',
            _ => b'{',
        };
        // A `)` or `]` does not reach over an open brace.
        let reachable = self
            .open
            .iter()
            .rev()
            .take_while(|open| wanted == b'{' || open.bracket != b'{');
        if !reachable.into_iter().any(|open| open.bracket == wanted) {
            self.token(TokenKind::Close, 1);
            self.blank(start, start + 1);
            let error = SyntaxError::unopened_bracket(self.span(start, start + 1), close as char);
            let reach = if self.open.is_empty() {
                Some(Reach::Item)
            } else {
                None
            };
            return self.report(start, reach, error);
        }
        self.close_until(wanted, start);
        let first = self.first;
        self.token(TokenKind::Close, 1);
        let token = self.scan.tokens.len() - 1;
        if let Some(open) = self.open.pop() {
            self.inner -= open.inner;
            self.scan.tokens[token].closes = Some(open.token);
            self.scan.tokens[open.token].until = token + 1;
            if first && close == b'}' && open.indent != self.indent && self.askew.is_none() {
                self.askew = Some((open.token, token));
            }
        }
    }

    /// Gives up brackets until one of this kind is innermost.
    pub(super) fn close_until(&mut self, bracket: u8, at: usize) {
        while let Some(open) = self.open.pop_if(|open| open.bracket != bracket) {
            self.inner -= open.inner;
            self.scan.tokens[open.token].until = self.scan.tokens.len();
            let start = self.scan.tokens[open.token].start;
            let span = self.span(start, start + 1);
            let error =
                SyntaxError::unclosed_bracket(span, open.bracket as char, self.end_before(at));
            self.report_on(open.line, start, Some(Reach::Statement), error);
        }
    }

    /// The end of the last token before a place.
    fn end_before(&self, at: usize) -> Span {
        let end = self
            .scan
            .tokens
            .iter()
            .rev()
            .map(|token| token.end)
            .find(|end| *end <= at)
            .unwrap_or(at);
        self.span(end, end)
    }

    pub(super) fn begin_item(&mut self, at: usize) {
        let follows_head = self.open.is_empty()
            && self.scan.tokens.last().is_some_and(|token| {
                let word = &self.text[token.start..token.end];
                token.kind == TokenKind::Doc && word.starts_with("///") || word == "native"
            });
        if !follows_head {
            self.end_item(at);
            self.scan.items.push(self.scan.tokens.len());
        }
    }

    /// At the end of an item every bracket should be closed.
    pub(super) fn end_item(&mut self, at: usize) {
        self.close_all(at);
        self.given_up = false;
        self.askew = None;
    }

    pub(super) fn close_all(&mut self, at: usize) {
        if self.open.iter().any(|open| open.bracket == b'{') {
            self.close_until(b'{', at);
        }
        if let Some(outer) = self.open.first() {
            let suspect = self.askew.filter(|_| outer.bracket == b'{');
            let token = suspect.map_or(outer.token, |(open, _)| open);
            let start = self.scan.tokens[token].start;
            let bracket = self.text.as_bytes()[start] as char;
            let mut error = SyntaxError::unclosed_bracket(
                self.span(start, start + 1),
                bracket,
                self.end_before(at),
            );
            if let Some((_, close)) = suspect {
                let close = self.scan.tokens[close].start;
                error = error.related(
                    self.span(close, close + 1),
                    "this one stands at another depth",
                );
            }
            let line = self.text[..start]
                .rfind('\n')
                .map_or(0, |newline| newline + 1);
            self.report_on(line, start, Some(Reach::Item), error);
        }
        for open in self.open.drain(..) {
            self.scan.tokens[open.token].until = self.scan.tokens.len();
        }
        self.inner = 0;
    }
}
