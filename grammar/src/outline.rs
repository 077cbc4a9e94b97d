//! Where a token stands: the brackets around it and the statement it belongs to.

use crate::lexis::{CLAUSE_WORDS, RESERVED, STATEMENT_WORDS};
use crate::scan::{Scan, Token, TokenKind};

/// A text seen as its tokens. Tokens are named by their index.
pub(crate) struct Outline<'a> {
    pub(crate) text: &'a str,
    pub(crate) scan: &'a Scan,
}

/// What the innermost brackets around a token are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Around {
    File,
    /// The parameters of a block.
    Params,
    Parens,
    List,
    /// The fields of a record or of a record type.
    Fields,
    /// A block's or a branch's.
    Body,
    /// A pipeline's or a stage's.
    Statements,
    Test,
    Train,
}

/// A statement or a clause: its tokens, and the `{` it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) open: usize,
    pub(crate) first: usize,
    /// One past the last.
    pub(crate) end: usize,
    pub(crate) around: Around,
}

impl<'a> Outline<'a> {
    pub(crate) fn tokens(&self) -> &'a [Token] {
        &self.scan.tokens
    }

    pub(crate) fn text(&self, token: usize) -> &'a str {
        self.tokens()
            .get(token)
            .map_or("", |token| &self.text[token.start..token.end])
    }

    pub(crate) fn is(&self, token: usize, kind: TokenKind) -> bool {
        self.tokens()
            .get(token)
            .is_some_and(|token| token.kind == kind)
    }

    /// The first token that ends after a place.
    pub(crate) fn token_at(&self, at: usize) -> usize {
        self.tokens().partition_point(|token| token.end <= at)
    }

    /// Whether the token is a `-` or a `(` that begins an expression of its own.
    pub(crate) fn is_fresh(&self, token: usize) -> bool {
        self.tokens()
            .get(token)
            .is_some_and(|token| self.scan.readable.as_bytes()[token.start] < 3)
    }

    /// The innermost bracket that is open before a token.
    pub(crate) fn enclosing(&self, token: usize) -> Option<usize> {
        let mut before = token;
        while let Some(index) = before.checked_sub(1) {
            let candidate = &self.tokens()[index];
            before = candidate.closes.unwrap_or(index);
            if candidate.kind == TokenKind::Open && candidate.until > token {
                return Some(index);
            }
        }
        None
    }

    pub(crate) fn around(&self, token: usize) -> Around {
        self.enclosing(token)
            .map_or(Around::File, |open| self.inside(open))
    }

    /// What stands inside a bracket.
    pub(crate) fn inside(&self, open: usize) -> Around {
        match self.text(open) {
            "[" => Around::List,
            "(" if self.is_head(open) => Around::Params,
            "(" => Around::Parens,
            _ => self.inside_braces(open),
        }
    }

    /// Whether a parenthesis opens the parameters of a block: `loss dpo(`.
    fn is_head(&self, open: usize) -> bool {
        open >= 2
            && (open - 2..open).all(|token| self.is(token, TokenKind::Word))
            && (self.enclosing(open).is_none() || self.text(open - 2) == "fn")
    }

    fn inside_braces(&self, open: usize) -> Around {
        if let Some(before) = open.checked_sub(2) {
            match self.text(before) {
                "pipeline" | "stage" => return Around::Statements,
                "test" => return Around::Test,
                _ => {}
            }
        }
        let labelled = self.is(open + 1, TokenKind::Word) && self.text(open + 2) == ":";
        let follows = open
            .checked_sub(1)
            .is_some_and(|before| self.ends_operand(before) || self.text(before) == "else");
        if labelled || !follows {
            return Around::Fields;
        }
        // The targets of `train` are expressions: look back for the word, past whole brackets, to what cannot stand there.
        let mut before = open;
        while let Some(index) = before.checked_sub(1) {
            let token = &self.tokens()[index];
            before = token.closes.unwrap_or(index);
            match self.text(index) {
                "train" => return Around::Train,
                "if" | "else" | "=" | "<-" | "->" => return Around::Body,
                _ if token.kind == TokenKind::Open && token.until > open => return Around::Body,
                _ => {}
            }
        }
        Around::Body
    }

    /// The statement or clause that a token belongs to, if it stands in braces that hold statements.
    pub(crate) fn segment(&self, token: usize) -> Option<Segment> {
        // A closing bracket belongs to what its opening one belongs to.
        let mut child = self
            .tokens()
            .get(token)
            .and_then(|token| token.closes)
            .unwrap_or(token);
        let (open, around) = loop {
            let open = self.enclosing(child)?;
            let around = self.inside(open);
            if matches!(
                around,
                Around::Body | Around::Statements | Around::Test | Around::Train
            ) {
                break (open, around);
            }
            child = open;
        };
        let close = self.tokens()[open].until.saturating_sub(1);
        let (mut first, mut end) = (open + 1, close);
        let mut index = open + 1;
        while index < close {
            if self.begins_statement(index, open, around) {
                if index > child {
                    end = index;
                    break;
                }
                first = index;
            }
            index = self.after(index);
        }
        (first < end).then_some(Segment {
            open,
            first,
            end,
            around,
        })
    }

    /// The next token that is not inside this one.
    pub(crate) fn after(&self, token: usize) -> usize {
        match self.tokens().get(token) {
            Some(open) if open.kind == TokenKind::Open => open.until.max(token + 1),
            Some(_) | None => token + 1,
        }
    }

    /// Whether a token directly inside braces begins a statement of them, well formed or not.
    pub(crate) fn begins_statement(&self, token: usize, open: usize, around: Around) -> bool {
        let before = token.saturating_sub(1);
        if before <= open {
            return true;
        }
        let (word, next) = (self.text(token), self.text(token + 1));
        // What `@allow(…)` stands before is one statement with it.
        if self.tokens()[before]
            .closes
            .is_some_and(|open| open >= 2 && self.text(open - 2) == "@")
        {
            return false;
        }
        if STATEMENT_WORDS.contains(&word) {
            let is_label = matches!(
                self.text(before),
                "." | "," | "report" | "stage" | "evaluate"
            );
            return !(is_label && matches!(next, "=" | "{"));
        }
        let is_complete = self.ends_operand(before);
        if !is_complete && !STATEMENT_WORDS.contains(&self.text(before)) {
            return false;
        }
        let named = self.is(token + 1, TokenKind::Word) && !RESERVED.contains(&next);
        match word {
            "state" | "param" if named => return true,
            "with" if around == Around::Train && next != "{" => return true,
            "steps" if around == Around::Statements => return true,
            "@" => return true,
            _ if around == Around::Train && CLAUSE_WORDS.contains(&word) => return true,
            _ if next == "<-" && self.is(token, TokenKind::Word) => return is_complete,
            _ => {}
        }
        is_complete && self.tokens()[token].first && self.begins_operand(token)
    }

    /// Whether an expression may begin with this token where another has just ended.
    pub(crate) fn begins_operand(&self, token: usize) -> bool {
        match self.tokens().get(token).map(|token| token.kind) {
            Some(TokenKind::Word) => {
                let goes_on = [
                    "and", "or", "else", "with", "within", "on", "every", "keep", "as", "new",
                ];
                !goes_on.contains(&self.text(token))
            }
            Some(TokenKind::Number | TokenKind::Text | TokenKind::Doc) => true,
            Some(TokenKind::Open) => self.text(token) == "[" || self.is_fresh(token),
            Some(TokenKind::Mark) => self.is_fresh(token),
            Some(TokenKind::Close) | None => false,
        }
    }

    pub(crate) fn ends_operand(&self, token: usize) -> bool {
        match self.tokens().get(token).map(|token| token.kind) {
            Some(TokenKind::Word) => {
                let word = self.text(token);
                matches!(word, "true" | "false") || !RESERVED.contains(&word)
            }
            Some(TokenKind::Number | TokenKind::Text | TokenKind::Close) => true,
            Some(TokenKind::Doc | TokenKind::Open | TokenKind::Mark) | None => false,
        }
    }
}
