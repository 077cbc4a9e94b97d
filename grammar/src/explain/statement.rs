//! Statements and clauses that are none, stand elsewhere, or end too soon.

use super::{Explained, Stop};
use crate::error::SyntaxError;
use crate::lexis::{CLAUSE_WORDS, STATEMENT_WORDS, borrowed_word, nearest};
use crate::outline::{Around, Segment};
use crate::scan::TokenKind;
use crate::syntax::Rule;

/// The words that statements begin with, by where they stand.
const BODY: &[&str] = &["let", "state", "param", "assert"];
const STAGE: &[&str] = &["let", "state", "param", "stage", "train", "report", "steps"];
const TEST: &[&str] = &["let", "state", "param", "assert"];
const TRAIN: &[&str] = &[
    "minimize",
    "maximize",
    "with",
    "evaluate",
    "steps",
    "epochs",
    "minibatch",
    "micro_batch",
    "clip_norm",
    "on_nonfinite",
];

impl Stop<'_> {
    /// `train { … }`, which would be read as a record.
    pub(super) fn nothing_to_train(&self) -> Option<Explained> {
        let open = self
            .outline
            .enclosing(self.found)
            .filter(|_| self.around != Around::Statements)?;
        open.checked_sub(1)
            .filter(|word| self.text(*word) == "train")?;
        let error = Stop {
            found: open,
            ..*self
        }
        .expected("what to train");
        Some((error.help("write `train policy { … }`"), open - 1))
    }

    /// A statement or clause that is none, or none here.
    pub(super) fn not_a_statement(&self) -> Option<Explained> {
        let begins = self
            .outline
            .enclosing(self.found)
            .is_some_and(|open| self.outline.begins_statement(self.found, open, self.around));
        if !self.expects_statement() || !begins || self.text(self.found) == "}" {
            return None;
        }
        let (word, next) = (self.text(self.found), self.text(self.found + 1));
        let (noun, known, list) = match self.around {
            Around::Train => (
                "clause",
                TRAIN,
                "the clauses are `minimize`, `with`, `steps`, `epochs`, `minibatch`, `micro_batch`, `clip_norm`, `on_nonfinite`, `evaluate`",
            ),
            Around::Test => ("statement", TEST, "a test holds `let …` and `assert …`"),
            Around::Statements => (
                "statement",
                STAGE,
                "a stage holds `let`, `train`, `report`, `state`, `steps` and `x <- …`",
            ),
            Around::Body
            | Around::File
            | Around::Params
            | Around::Parens
            | Around::List
            | Around::Fields => (
                "statement",
                BODY,
                "a body holds `let`, `state`, `assert`, `x <- …`, and its result",
            ),
        };
        let span = self.found_span();
        if word == "@" {
            let error = SyntaxError::new(
                "syntax",
                span,
                "`@` begins an `@allow`, and this is none",
                "cannot be read",
            );
            return Some((
                error.help(r#"write `@allow(lint, "reason")` before a statement"#),
                self.found,
            ));
        }
        if next == "="
            && self.around != Around::Train
            && self.outline.is(self.found, TokenKind::Word)
        {
            let error = SyntaxError::new(
                "missing-let",
                span,
                format!("`{word} = …` is not a statement"),
                "a name without `let`",
            );
            let help =
                format!("`let {word} = …` names a value, `{word} <- …` gives a state its next one");
            return Some((error.help(help), self.found));
        }
        let elsewhere =
            STATEMENT_WORDS.contains(&word) || CLAUSE_WORDS.contains(&word) || word == "with";
        if elsewhere && !known.contains(&word) {
            let place = match word {
                "let" => "before `train`, not in its braces",
                "stage" | "train" | "report" => "in a pipeline or a stage",
                "assert" => "in a test or the body of a block",
                _ => "in the braces of `train`",
            };
            let error = SyntaxError::new(
                "misplaced-statement",
                span,
                format!("`{word}` stands {place}"),
                "not here",
            );
            return Some((error, self.found));
        }
        let code = if noun == "clause" {
            "unknown-clause"
        } else {
            "unknown-statement"
        };
        let label = format!("not a {noun}");
        let error = SyntaxError::new(
            code,
            span,
            format!("{} begins no {noun}", self.found_words()),
            label,
        );
        let help = borrowed_word(word).map(str::to_owned);
        let help = help.or_else(|| nearest(word, known).map(|near| format!("is `{near}` meant?")));
        Some((
            error.help(help.unwrap_or_else(|| list.to_owned())),
            self.found,
        ))
    }

    /// In a body: an expression that stands alone before the end.
    pub(super) fn result_not_last(&self) -> Option<Explained> {
        if self.around != Around::Body || !self.after_operand() || self.expects_statement() {
            return None;
        }
        let segment = self.outline.segment(self.before())?;
        if let Some(token) = self.neighbour(segment) {
            let error = Stop {
                found: token,
                ..*self
            }
            .expected("an operator or the next statement");
            return Some((self.with_borrowed(error, &[token - 1, token]), token));
        }
        let open = self.outline.enclosing(self.found)?;
        if self.text(segment.first + 1) == "=" {
            return Stop {
                found: segment.first,
                expected: &[Rule::local],
                ..*self
            }
            .not_a_statement();
        }
        if !self.outline.begins_statement(self.found, open, self.around) {
            return None;
        }
        let span = self.span(segment.first, segment.end);
        let message = "only the last expression of a body may stand alone: it is the result";
        let error = SyntaxError::new("result-not-last", span, message, "its value goes nowhere");
        let error = error
            .related(self.found_span(), "something follows")
            .help("name it: `let x = …`");
        Some((self.with_borrowed(error, &[segment.first]), segment.first))
    }

    /// The first token of a statement's value that follows a complete operand although it could begin one.
    fn neighbour(&self, segment: Segment) -> Option<usize> {
        let mut first = segment.first;
        let mut token = segment.first;
        while token < segment.end {
            if matches!(self.text(token), "=" | "<-") {
                first = token + 1;
                break;
            }
            token = self.outline.after(token);
        }
        let mut token = self.outline.after(first);
        while token < segment.end {
            if self.outline.ends_operand(token - 1) && self.outline.begins_operand(token) {
                return Some(token);
            }
            token = self.outline.after(token);
        }
        None
    }
}
