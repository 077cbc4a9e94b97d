//! Why the grammar stopped, in the user's words.
//!
//! pest knows the place and which rules would have gone on there; the tokens around the place say the rest.

mod mend;
mod statement;

use crate::ast::{SourceId, Span};
use crate::error::SyntaxError;
use crate::lexis::{RESERVED, STATEMENT_WORDS, borrowed_word};
use crate::outline::{Around, Outline};
use crate::scan::TokenKind;
use crate::syntax::Rule;

/// A mistake, and the token whose statement cannot be read because of it.
type Explained = (SyntaxError, usize);

/// Explains why the text cannot be read beyond a place where only `expected` could have followed.
pub(crate) fn explain(
    outline: &Outline<'_>,
    source: SourceId,
    at: usize,
    expected: &[Rule],
) -> Explained {
    let mut found = outline.token_at(at);
    let mut expected = expected;
    // Any word may be a label, even one that begins the next statement because a label is missing.
    if expected.contains(&Rule::EQUALS)
        && let Some(before) = found.checked_sub(1)
        && outline.tokens()[before].first
        && STATEMENT_WORDS.contains(&outline.text(before))
    {
        found = before;
        expected = &[Rule::label];
    }
    let around = outline.around(found);
    let stop = Stop {
        outline,
        source,
        found,
        around,
        expected,
    };
    stop.documentation()
        .or_else(|| stop.fresh_line())
        .or_else(|| stop.reserved_word())
        .or_else(|| stop.head())
        .or_else(|| stop.nothing_to_train())
        .or_else(|| stop.after_pipe())
        .or_else(|| stop.not_a_statement())
        .or_else(|| stop.result_not_last())
        .unwrap_or_else(|| stop.expectation())
}

/// Where the grammar stopped.
struct Stop<'a> {
    outline: &'a Outline<'a>,
    source: SourceId,
    /// The first token that could not be read; it may lie beyond the last one.
    found: usize,
    around: Around,
    expected: &'a [Rule],
}

impl Stop<'_> {
    fn expects(&self, rules: &[Rule]) -> bool {
        self.expected.iter().any(|rule| rules.contains(rule))
    }

    /// Whether an expression was complete.
    fn after_operand(&self) -> bool {
        self.expects(&[Rule::operator])
    }

    fn expects_operand(&self) -> bool {
        !self.after_operand()
            && self.expects(&[Rule::expr, Rule::number, Rule::variable, Rule::prefix])
    }

    fn expects_statement(&self) -> bool {
        self.expects(&[
            Rule::statement,
            Rule::local,
            Rule::test_statement,
            Rule::clause,
            Rule::allow,
            Rule::LET,
            Rule::MINIMIZE,
        ])
    }

    fn text(&self, token: usize) -> &str {
        self.outline.text(token)
    }

    fn before(&self) -> usize {
        self.found.saturating_sub(1)
    }

    fn span(&self, first: usize, end: usize) -> Span {
        let tokens = self.outline.tokens();
        let start = tokens
            .get(first)
            .map_or(self.outline.text.len(), |token| token.start);
        let stop = end
            .checked_sub(1)
            .and_then(|last| tokens.get(last))
            .map_or(start, |token| token.end.max(start));
        Span::new(self.source, start, stop)
    }

    fn found_span(&self) -> Span {
        self.span(self.found, self.found + 1)
    }

    /// What stands where the grammar stopped.
    fn found_words(&self) -> String {
        let text = self.text(self.found);
        match text.char_indices().nth(24) {
            _ if text.is_empty() => "the end of the file".to_owned(),
            Some((cut, _)) => format!("`{}…`", &text[..cut]),
            None => format!("`{text}`"),
        }
    }

    /// `///` and `//!` where nothing can be documented.
    fn documentation(&self) -> Option<Explained> {
        let is_doc = |token: usize| self.outline.is(token, TokenKind::Doc);
        let (token, message) = if is_doc(self.found) && self.text(self.found).starts_with("//!") {
            (
                self.found,
                "`//!` says what a file is about, and stands at its head",
            )
        } else if is_doc(self.found) {
            (
                self.found,
                "`///` documents a block or a pipeline, and none begins here",
            )
        } else {
            let documented = self
                .found
                .checked_sub(2)
                .filter(|doc| is_doc(*doc) && self.around == Around::File);
            let dangling = self
                .found
                .checked_sub(1)
                .filter(|doc| is_doc(*doc) && self.found == self.outline.tokens().len());
            let word = documented.filter(|doc| matches!(self.text(doc + 1), "test" | "use"));
            (
                word.or(dangling)?,
                "`///` documents a block or a pipeline, and none follows",
            )
        };
        let error = SyntaxError::new(
            "misplaced-doc",
            self.span(token, token + 1),
            message,
            "documents nothing",
        );
        Some((error.help("begin a comment with `//`"), token))
    }

    /// A line that begins with `-` or `(`, no deeper than its body, where no expression can begin.
    fn fresh_line(&self) -> Option<Explained> {
        let result = self
            .outline
            .segment(self.before())
            .map(|segment| segment.first);
        let token = if self.outline.is_fresh(self.found) {
            self.found
        } else {
            result.filter(|first| {
                self.outline.is_fresh(*first) && self.text(first - 1) != "{" && self.after_operand()
            })?
        };
        let mark = self.text(token);
        let message =
            format!("the line that begins with `{mark}` does not go on with the one above");
        let label = "begins a new expression";
        let error = SyntaxError::new("line-start", self.span(token, token + 1), message, label);
        Some((
            error.help("to go on with the line above, indent it deeper"),
            token,
        ))
    }

    fn reserved_word(&self) -> Option<Explained> {
        let word = self.text(self.found);
        let wants_name = self.expects(&[Rule::name, Rule::param])
            && !self.after_operand()
            && !self.expects_operand();
        let begins_line = self
            .outline
            .tokens()
            .get(self.found)
            .is_some_and(|token| token.first);
        if !wants_name
            || !RESERVED.contains(&word)
            || STATEMENT_WORDS.contains(&word) && begins_line
        {
            return None;
        }
        let message = format!("`{word}` is a word of the language and cannot be a name");
        let error = SyntaxError::new(
            "reserved-word",
            self.found_span(),
            message,
            "expected a name",
        );
        let culprit = if self.around == Around::Params {
            self.found
        } else {
            self.before()
        };
        Some((error, culprit))
    }

    /// The head of a block: `loss f(a: real) real {`.
    fn head(&self) -> Option<Explained> {
        if self.around != Around::File
            || !self.expects(&[Rule::name, Rule::params, Rule::result, Rule::body])
        {
            return None;
        }
        // After the parameters anything is read as the kind of the next block.
        let kind = self
            .found
            .checked_sub(2)
            .filter(|close| self.text(*close) == ")");
        let token = if self.expects(&[Rule::name]) {
            kind? + 1
        } else {
            self.found
        };
        if let Some(help) = token.checked_sub(2).and_then(|kind| match self.text(kind) {
            "use" => Some(r#"write `use "mine.rlp" as mine`"#),
            "test" => Some(r#"write `test "title" { … }`"#),
            _ => None,
        }) {
            let error = Stop {
                found: token - 1,
                ..*self
            }
            .expected("a text in double quotes");
            return Some((error.help(help), token - 1));
        }
        let closed = token
            .checked_sub(1)
            .is_some_and(|close| self.text(close) == ")");
        let expected = if closed { "`->` or `{`" } else { "`(`" };
        let error = Stop {
            found: token,
            ..*self
        }
        .expected(expected);
        let help = match self.text(token) {
            ":" => "a result type follows `->`",
            _ if closed => "write `-> real { … }`",
            _ => "a block reads `loss name(a: real) -> real { … }`",
        };
        Some((error.help(help), token))
    }

    /// `x |> f() + 1`: nothing but another `|>` goes on after a pipe.
    fn after_pipe(&self) -> Option<Explained> {
        let is_operator = matches!(
            self.text(self.found),
            "+" | "-" | "*" | "/" | "^" | "and" | "or" | "==" | "<" | ">" | "<=" | ">="
        );
        if self.after_operand() || !self.expects(&[Rule::pipe]) || !is_operator {
            return None;
        }
        let message = format!("`{}` cannot follow a `|>`", self.text(self.found));
        let error = SyntaxError::new(
            "syntax",
            self.found_span(),
            message,
            "binds tighter than `|>`",
        );
        Some((
            error.help("put the part with `|>` in parentheses"),
            self.found,
        ))
    }

    /// Anything else: what was expected and what was found.
    fn expectation(&self) -> Explained {
        let tokens = self.outline.tokens();
        // What is incomplete lies before; a new statement is not at fault for it.
        let culprit = if self.expects_statement() || self.after_operand() {
            self.found
        } else {
            self.before()
        };
        let culprit = if self.text(self.found) == "}" || self.found >= tokens.len() {
            self.before()
        } else {
            culprit
        };
        let listed = match self.around {
            Around::Params | Around::Parens => "`,` or `)`",
            Around::List => "`,` or `]`",
            Around::Fields => "`,` or `}`",
            Around::Body | Around::Statements | Around::Test => "an operator or the next statement",
            Around::Train => "an operator or the next clause",
            Around::File => "a block, `pipeline`, `test` or `use`",
        };
        let expected = if self.after_operand() {
            self.braces_missing().unwrap_or(listed)
        } else if self.expects_operand() {
            "an expression"
        } else {
            let named = NAMES.iter().find(|(rules, _)| self.expects(rules));
            let enclosed = matches!(self.around, Around::Params | Around::List | Around::Fields);
            match named {
                Some((_, "`=`")) | None if enclosed => listed,
                Some((_, name)) => name,
                None => listed,
            }
        };
        let error = self.expected(expected);
        let error = match self.outline.enclosing(self.found) {
            Some(open)
                if expected == listed
                    && matches!(self.text(open), "(" | "[")
                    && !self.on_one_line(open) =>
            {
                error.related(self.span(open, open + 1), "opened here")
            }
            Some(_) | None => error,
        };
        let borrowed = borrowed_word(self.text(self.found)).map(str::to_owned);
        let error = match borrowed.or_else(|| self.mend(expected)) {
            Some(help) => error.help(help),
            None => self.with_borrowed(error, &[self.before()]),
        };
        (error, culprit)
    }

    /// What follows a condition, and what `train` names.
    fn braces_missing(&self) -> Option<&'static str> {
        let first = self.outline.segment(self.found)?.first;
        let mut token = self.found;
        while let Some(before) = token.checked_sub(1).filter(|before| *before >= first) {
            match self.text(before) {
                "if" => return Some("an operator or `{`"),
                "train" if self.text(before.saturating_sub(1)) != "." => return Some("`,` or `{`"),
                "else" | "=" | "<-" | "," | "}" => return None,
                _ => token = self.outline.tokens()[before].closes.unwrap_or(before),
            }
        }
        None
    }

    fn on_one_line(&self, open: usize) -> bool {
        let tokens = self.outline.tokens();
        tokens
            .get(open + 1..=self.found)
            .is_some_and(|between| between.iter().all(|token| !token.first))
    }

    fn expected(&self, expected: &str) -> SyntaxError {
        let tokens = self.outline.tokens();
        let label = format!("expected {expected}");
        // What is missing at the end of a line is shown there, not at whatever comes next.
        match self.found.checked_sub(1) {
            Some(before) if tokens.get(self.found).is_none_or(|found| found.first) => {
                let message = format!("expected {expected} after `{}`", self.text(before));
                SyntaxError::new("syntax", self.span(before, self.found), message, label)
            }
            Some(_) | None => {
                let message = format!("expected {expected}, found {}", self.found_words());
                SyntaxError::new("syntax", self.found_span(), message, label)
            }
        }
    }
}

/// What a rule is called when it alone could have followed; the first that fits is named.
const NAMES: &[(&[Rule], &str)] = &[
    (&[Rule::EQUALS, Rule::hole], "`=`"),
    (&[Rule::COLON], "`:`"),
    (&[Rule::BAR], "`,` or `|`"),
    (&[Rule::ELSE], "`else`"),
    (&[Rule::call], "`(`"),
    (&[Rule::result], "`->` or `{`"),
    (&[Rule::body, Rule::statements, Rule::tests], "`{`"),
    (&[Rule::params], "`(`"),
    (&[Rule::text], "a text in double quotes"),
    (&[Rule::AS], "`as` and a name"),
    (&[Rule::NEW], "`new` and the names of dimensions"),
    (&[Rule::STATE], "`state`"),
    (
        &[Rule::r#type, Rule::named_type, Rule::record_type],
        "a type",
    ),
    (&[Rule::dim, Rule::rest], "a dimension"),
    (
        &[
            Rule::name,
            Rule::label,
            Rule::entry,
            Rule::field_type,
            Rule::record_field,
            Rule::param,
        ],
        "a name",
    ),
];
