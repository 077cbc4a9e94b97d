//! One pass over the characters, before the grammar: tokens, comments, brackets, and what no grammar can read.

mod brackets;

use crate::ast::{SourceId, Span};
use crate::error::SyntaxError;
use crate::lexis::{
    Foreign, ITEM_WORDS, STATEMENT_WORDS, is_word_char, is_word_start, word_length,
};

/// How many mistakes of one text are reported.
pub(crate) const MAX_ERRORS: usize = 50;

/// Stand for a `-` and a `(` that begin an expression although one could go on before them; see `rlp.pest`.
const FRESH_MINUS: u8 = 1;
const FRESH_PAREN: u8 = 2;
/// Stands for an expression that could not be read; see `rlp.pest`.
pub(crate) const HOLE: u8 = 3;

/// A comment `// …`; documentation (`///`, `//!`) is part of the syntax tree instead.
#[derive(Clone, PartialEq, Debug)]
pub struct Comment {
    /// What stands after `//`.
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenKind {
    Word,
    Number,
    Text,
    Doc,
    Open,
    Close,
    /// An operator or another mark.
    Mark,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it is the first of its line.
    pub(crate) first: bool,
    /// For an opening bracket: one past the token that closes it, or past the last before it was given up.
    pub(crate) until: usize,
    /// For a closing bracket: the token that it closes.
    pub(crate) closes: Option<usize>,
}

/// How much of the text a mistake makes unreadable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Statement,
    Item,
}

/// What the scanner knows of a text.
pub(crate) struct Scan {
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    /// The text for the grammar, byte by byte as long as the source.
    pub(crate) readable: String,
    pub(crate) errors: Vec<SyntaxError>,
    /// Where the text cannot be read, already reported.
    pub(crate) broken: Vec<(usize, Reach)>,
    /// The tokens that items begin with.
    pub(crate) items: Vec<usize>,
}

/// An open bracket.
struct Open {
    token: usize,
    bracket: u8,
    /// Where the first token in it stands in its line.
    column: Option<usize>,
    /// Branches and lambdas that began in it and have not ended for certain.
    inner: usize,
    /// Where the line it stands in begins, and how far that is indented.
    line: usize,
    indent: usize,
}

struct Scanner<'a> {
    source: SourceId,
    text: &'a str,
    at: usize,
    scan: Scan,
    readable: Vec<u8>,
    open: Vec<Open>,
    /// The sum of `inner` over the open brackets.
    inner: usize,
    line: usize,
    /// A place on this line and its column, so that a long line is measured once.
    measured: (usize, usize),
    indent: usize,
    first: bool,
    /// Whether the item that is being read has been given up.
    given_up: bool,
    /// An `{` and an `}` that stand at different depths of indentation.
    askew: Option<(usize, usize)>,
    /// The line of the last mistake, from which the others on it follow, and how much it makes unreadable.
    last_error: Option<(usize, Option<Reach>)>,
}

/// Reads a text of at most 4 GiB.
pub(crate) fn scan(source: SourceId, text: &str) -> Scan {
    let scan = Scan {
        tokens: Vec::with_capacity(text.len() / 4),
        comments: Vec::new(),
        readable: String::new(),
        errors: Vec::new(),
        broken: Vec::new(),
        items: Vec::new(),
    };
    let mut scanner = Scanner {
        source,
        text,
        at: 0,
        scan,
        readable: text.as_bytes().to_vec(),
        open: Vec::new(),
        inner: 0,
        line: 0,
        measured: (0, 0),
        indent: 0,
        first: true,
        given_up: false,
        askew: None,
        last_error: None,
    };
    scanner.run();
    let mut scan = scanner.scan;
    // Only ASCII characters have been exchanged, and others blanked whole, so it is UTF-8 still.
    scan.readable = String::from_utf8(scanner.readable).unwrap_or_else(|_| text.to_owned());
    scan
}

impl<'a> Scanner<'a> {
    fn run(&mut self) {
        // Some editors put a byte-order mark before the text.
        if self.text.starts_with('\u{feff}') {
            self.blank(0, 3);
            (self.at, self.line, self.measured) = (3, 3, (3, 0));
        }
        while let Some(character) = self.rest().chars().next() {
            match character {
                '\n' => {
                    self.at += 1;
                    self.line = self.at;
                    self.measured = (self.at, 0);
                    self.first = true;
                }
                ' ' | '\t' | '\r' => self.at += 1,
                '/' if self.rest().starts_with("//") => self.comment(),
                '"' => self.text_literal(),
                '0'..='9' => self.number(),
                '(' | '[' | '{' => self.open_bracket(),
                ')' | ']' | '}' => self.close_bracket(),
                _ if is_word_start(character) => self.word(),
                _ => self.mark(character),
            }
        }
        self.end_item(self.text.len());
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, start, end)
    }

    fn column(&mut self) -> usize {
        let (place, column) = self.measured;
        let column = column + self.text[place..self.at].chars().count();
        self.measured = (self.at, column);
        column
    }

    /// Takes the next `length` bytes as a token.
    fn token(&mut self, kind: TokenKind, length: usize) {
        if self.first {
            self.indent = self.column();
        }
        if self.open.last().is_some_and(|open| open.column.is_none()) {
            let column = self.column();
            if let Some(open) = self.open.last_mut() {
                open.column = Some(column);
            }
        }
        let (start, end) = (self.at, self.at + length);
        self.scan.tokens.push(Token {
            kind,
            start,
            end,
            first: self.first,
            until: 0,
            closes: None,
        });
        self.first = false;
        self.at = end;
    }

    /// Reports a mistake on the current line.
    fn report(&mut self, at: usize, reach: Option<Reach>, error: SyntaxError) {
        self.report_on(self.line, at, reach, error);
    }

    /// Reports a mistake on the line that begins at `line`, unless it follows from one before it there.
    fn report_on(&mut self, line: usize, at: usize, reach: Option<Reach>, error: SyntaxError) {
        if self.scan.errors.len() >= MAX_ERRORS {
            return;
        }
        if self.last_error != Some((line, reach)) && !self.given_up {
            if self.last_error.is_none_or(|(last, _)| last != line) {
                self.scan.errors.push(error);
            }
            self.last_error = Some((line, reach));
            self.scan.broken.extend(reach.map(|reach| (at, reach)));
            self.given_up = reach == Some(Reach::Item);
        }
    }

    fn blank(&mut self, start: usize, end: usize) {
        self.readable[start..end].fill(b' ');
    }

    fn comment(&mut self) {
        let line = self.rest();
        let length = line.find('\n').unwrap_or(line.len());
        let line = &line[..length];
        let is_doc =
            line.starts_with("//!") || line.starts_with("///") && !line.starts_with("////");
        if is_doc {
            let begins_line = self.first && self.column() == 0;
            if begins_line && line.starts_with("///") {
                self.begin_item(self.at);
            }
            self.token(TokenKind::Doc, length);
        } else {
            let text = line[2..].trim_end().to_owned();
            let end = self.at + 2 + text.len();
            self.scan.comments.push(Comment {
                text,
                span: self.span(self.at, end),
            });
            self.at += length;
        }
    }

    fn text_literal(&mut self) {
        let rest = &self.rest().as_bytes()[1..];
        let mut length = 0;
        let closed = loop {
            match rest.get(length) {
                Some(b'"') => break true,
                Some(b'\\') if !matches!(rest.get(length + 1), None | Some(b'\n')) => length += 2,
                Some(b'\n') | None => break false,
                Some(_) => length += 1,
            }
        };
        // An escape may have stepped into the middle of a character, never past the closing quote.
        if closed {
            return self.token(TokenKind::Text, length + 2);
        }
        let start = self.at;
        let line = self.rest();
        let length = line.find('\n').unwrap_or(line.len());
        let length = line[..length].trim_end().len();
        self.token(TokenKind::Text, length);
        let error = SyntaxError::unclosed_text(
            self.span(start, start + 1),
            self.span(start, start + length),
        );
        self.report(start, Some(Reach::Statement), error);
    }

    fn number(&mut self) {
        let rest = self.rest().as_bytes();
        let digits = |from: usize| {
            rest[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut length = digits(0);
        if rest.get(length) == Some(&b'.') && rest.get(length + 1).is_some_and(u8::is_ascii_digit) {
            length += 1 + digits(length + 1);
        }
        if matches!(rest.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits((length + 1 + sign).min(rest.len()));
            if exponent > 0 {
                length += 1 + sign + exponent;
            }
        }
        // `2x` is one mistake, not two tokens.
        length += word_length(&self.rest()[length..]);
        self.token(TokenKind::Number, length);
    }

    fn word(&mut self) {
        let length = word_length(self.rest());
        let start = self.at;
        let after = self.rest()[length..].trim_start_matches([' ', '\t']);
        let word = &self.rest()[..length];
        let next = after.chars().next().unwrap_or('\n');
        if self.first {
            let then = if matches!(word, "use" | "test" | "pipeline") {
                ['"', '{']
            } else {
                ['\0'; 2]
            };
            let begins_item =
                ITEM_WORDS.contains(&word) && (is_word_start(next) || then.contains(&next));
            if begins_item && self.column() == 0 {
                self.begin_item(start);
            } else if STATEMENT_WORDS.contains(&word)
                && !matches!(next, ':' | ',' | ')' | '=' | '.' | ']')
            {
                self.close_until(b'{', start);
            }
        }
        if self.text[start..start + length] == *"if" {
            self.deepen(start);
        } else if self.text[start..start + length] == *"let" {
            self.settle();
        }
        self.token(TokenKind::Word, length);
    }

    fn mark(&mut self, character: char) {
        let rest = self.rest();
        let start = self.at;
        if let Some(mistake) = Foreign::at(rest) {
            return self.foreign(character, mistake);
        }
        let length = ["|>", "<-", "->", "==", "!=", "<=", ">=", "~=", ".."]
            .iter()
            .find(|mark| rest.starts_with(**mark))
            .map_or(character.len_utf8(), |mark| mark.len());
        match &rest[..length] {
            "-" => self.mark_fresh(FRESH_MINUS),
            "," => self.settle(),
            // A result type follows the parameters: none of them is still open.
            "->" if self.open.iter().any(|open| open.bracket == b'{') => {
                self.close_until(b'{', start);
            }
            "->" => self.close_all(start),
            "|" if begins_lambda(rest) => self.deepen(start),
            _ => {}
        }
        self.token(TokenKind::Mark, length);
    }

    /// Something of another language: blanked where the text reads well without it.
    fn foreign(&mut self, character: char, mistake: Foreign) {
        let mut start = self.at;
        let end = start + mistake.length;
        // Letters that no name can hold make one mistake with those before them.
        if character.is_alphabetic()
            && let Some(word) = self
                .scan
                .tokens
                .pop_if(|token| token.kind == TokenKind::Word && token.end == start)
        {
            start = word.start;
            (self.at, self.first) = (word.start, word.first);
        }
        let span = self.span(start, end);
        let error = SyntaxError::foreign(span, &self.text[start..end], mistake.help);
        if mistake.can_go {
            self.blank(start, end);
            self.at = end;
            self.report(start, None, error);
        } else {
            self.token(TokenKind::Mark, end - start);
            self.report(start, Some(Reach::Statement), error);
        }
    }
}

/// Whether this `|` opens the parameters of a lambda.
fn begins_lambda(rest: &str) -> bool {
    let params = rest[1..]
        .trim_start_matches(|c: char| is_word_char(c) || c == ',' || c.is_ascii_whitespace());
    params.starts_with('|') && !params.starts_with("|>")
}
