//! How the usual slips are mended.

use super::Stop;
use crate::error::SyntaxError;
use crate::lexis::{CLAUSE_WORDS, borrowed_word};
use crate::outline::Around;
use crate::scan::TokenKind;

impl Stop<'_> {
    pub(super) fn with_borrowed(&self, error: SyntaxError, tokens: &[usize]) -> SyntaxError {
        match tokens
            .iter()
            .find_map(|token| borrowed_word(self.text(*token)))
        {
            Some(help) => error.help(help),
            None => error,
        }
    }

    /// How the usual slips are mended.
    pub(super) fn mend(&self, expected: &str) -> Option<String> {
        let (before, found) = (self.text(self.before()), self.text(self.found));
        let is_word = |token: usize| self.outline.is(token, TokenKind::Word);
        let enclosed = ["`,` or `)`", "`,` or `]`", "`,` or `}`"].contains(&expected);
        let is_number = self.outline.is(self.found, TokenKind::Number);
        let help = match found {
            "=" if enclosed && is_word(self.before()) && self.around == Around::Parens => {
                format!("a named argument reads `{before}: …`; equality is `==`")
            }
            "=" if enclosed && self.around == Around::Fields => {
                format!("a field reads `{before}: …`")
            }
            "=" if self.around == Around::Train && CLAUSE_WORDS.contains(&before) => {
                format!("a clause is a word and its value: `{before} 100`")
            }
            "=" if self.after_operand() => "equality is `==`, nearness `~=`".to_owned(),
            "<-" if expected == "`=`" => {
                "`let x = …` names a value, `x <- …` gives a state its next one".to_owned()
            }
            "==" if expected == "`=`" => "a name is given by one `=`".to_owned(),
            "[" if self.after_operand() => "`at(x, dimension: 0)` picks one index".to_owned(),
            "." if expected == "an expression" => "a number begins with a digit: `0.5`".to_owned(),
            "{" if expected == "a type" => {
                "write the fields' types: `{ a: real, b: real }`".to_owned()
            }
            _ if expected == "`:`" => format!("a field reads `{before}: …`"),
            _ if expected == "`else`" => {
                "an `if` is a value: write `if c { a } else { b }`".to_owned()
            }
            _ if expected == "`(`" && before != "." => format!("write `{before}()`"),
            _ if before == "."
                && self
                    .outline
                    .is(self.found.saturating_sub(2), TokenKind::Number) =>
            {
                "a number has digits behind its `.`".to_owned()
            }
            _ if before == "." && is_number => {
                format!("a field has a name; `at(x, dimension: {found})` picks an index")
            }
            _ if is_number && expected == "an expression" => {
                "digits stand together; a product needs `*`".to_owned()
            }
            "real" | "int" | "bool" | "text" if is_word(self.before()) => {
                format!("write `{before}: {found}`")
            }
            _ if enclosed && self.outline.begins_operand(self.found) => {
                "is a comma missing?".to_owned()
            }
            _ => return None,
        };
        Some(help)
    }
}
