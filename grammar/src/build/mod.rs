//! From what pest matched to the syntax tree.

mod expr;
mod item;
mod stmt;

use pest::iterators::{Pair, Pairs};

pub(crate) use self::expr::binding;

use crate::ast::{File, Ident, Item, SourceId, Span};
use crate::error::SyntaxError;
use crate::lexis::unescape;
use crate::scan::Scan;
use crate::syntax::Rule;

/// How deep a syntax tree may become: those who walk it recurse.
pub(crate) const MAX_DEPTH: usize = 512;

/// Builds the tree of one text, or of one item of it.
pub(crate) struct Builder<'a> {
    source: SourceId,
    /// Where in the source the parsed text begins.
    offset: usize,
    scan: &'a Scan,
    depth: usize,
    /// Mistakes that the grammar does not see: escapes, chained comparisons, missing bodies.
    pub(crate) errors: Vec<SyntaxError>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(source: SourceId, offset: usize, scan: &'a Scan) -> Self {
        Builder {
            source,
            offset,
            scan,
            depth: 0,
            errors: Vec::new(),
        }
    }

    /// Adds what a `file` pair holds to `file`.
    pub(crate) fn file(&mut self, pair: Pair<'_, Rule>, file: &mut File) {
        let mut parts = Parts::of(pair);
        while let Some(line) = parts.take(Rule::FILE_DOC) {
            file.doc.push(doc_line(&line));
        }
        while let Some(pair) = parts.next() {
            let item = match pair.as_rule() {
                Rule::import => Item::Use(self.import(pair)),
                Rule::test => Item::Test(self.test(pair)),
                Rule::documented => self.documented(pair),
                Rule::EOI => break,
                rule => unexpected(rule),
            };
            file.items.push(item);
        }
    }

    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        // pest counts what it skipped while looking for something optional; a node ends where its last token does.
        let tokens = &self.scan.tokens;
        let after = tokens.partition_point(|token| token.end <= self.offset + span.end());
        let last = after
            .checked_sub(1)
            .map(|last| tokens[last].end - self.offset.min(tokens[last].end));
        let end = last.filter(|end| *end > span.start()).unwrap_or(span.end());
        self.span_at(span.start(), end)
    }

    /// The span of bytes of the text that is being parsed.
    fn span_at(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, self.offset + start, self.offset + end)
    }

    fn ident(&self, pair: Pair<'_, Rule>) -> Ident {
        Ident {
            name: pair.as_str().to_owned(),
            span: self.span(&pair),
        }
    }

    /// What a text literal means: without quotes, escapes resolved.
    fn text(&mut self, pair: &Pair<'_, Rule>) -> String {
        let literal = pair.as_str();
        let body = literal.strip_prefix('"').unwrap_or(literal);
        let body = body.strip_suffix('"').unwrap_or(body);
        let start = pair.as_span().start() + 1;
        let (meaning, bad) = unescape(body);
        for (from, to) in bad {
            let span = self.span_at(start + from, start + to);
            self.errors
                .push(SyntaxError::bad_escape(span, &body[from..to]));
        }
        meaning
    }

    /// Runs `build` if the tree stays shallow enough with `levels` more, reports it otherwise.
    fn nested<T>(
        &mut self,
        levels: usize,
        span: Span,
        build: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if self.depth + levels > MAX_DEPTH {
            self.errors.push(SyntaxError::too_deep(span));
            return None;
        }
        self.depth += levels;
        let built = build(self);
        self.depth -= levels;
        Some(built)
    }
}

/// The text of a documentation line, without its marker and the space after it.
fn doc_line(pair: &Pair<'_, Rule>) -> String {
    let line = pair.as_str()[3..].trim_end();
    line.strip_prefix(' ').unwrap_or(line).to_owned()
}

/// The parts of a pair, in order, without the words and marks that only hold its place.
struct Parts<'i>(Pairs<'i, Rule>);

impl<'i> Parts<'i> {
    fn of(pair: Pair<'i, Rule>) -> Self {
        Parts(pair.into_inner())
    }

    fn peek(&mut self) -> Option<Rule> {
        while let Some(pair) = self.0.peek() {
            if !is_silent(pair.as_rule()) {
                return Some(pair.as_rule());
            }
            self.0.next();
        }
        None
    }

    fn next(&mut self) -> Option<Pair<'i, Rule>> {
        self.peek().and_then(|_| self.0.next())
    }

    /// The next part, if it is of this rule.
    fn take(&mut self, rule: Rule) -> Option<Pair<'i, Rule>> {
        if self.peek() == Some(rule) {
            self.0.next()
        } else {
            None
        }
    }

    /// The next part, which the grammar says is there.
    fn need(&mut self) -> Pair<'i, Rule> {
        need(self.next())
    }
}

fn need(pair: Option<Pair<'_, Rule>>) -> Pair<'_, Rule> {
    match pair {
        Some(pair) => pair,
        None => unexpected(Rule::EOI),
    }
}

/// The grammar and the builder disagree: not a mistake of the text, but of this crate.
fn unexpected(rule: Rule) -> ! {
    panic!("the grammar has put {rule:?} where the tree builder knows no place for it")
}

/// Whether a word says nothing beyond what the rule around it says.
fn is_silent(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::ALLOW
            | Rule::AS
            | Rule::ASSERT
            | Rule::BAR
            | Rule::COLON
            | Rule::ELSE
            | Rule::EQUALS
            | Rule::EVALUATE
            | Rule::EVERY
            | Rule::IF
            | Rule::INIT
            | Rule::KEEP
            | Rule::LET
            | Rule::NEW
            | Rule::ON
            | Rule::PARAM
            | Rule::PIPELINE
            | Rule::REPORT
            | Rule::STAGE
            | Rule::STATE
            | Rule::STEPS
            | Rule::TEST
            | Rule::TRAIN
            | Rule::USE
            | Rule::WITH
            | Rule::WITHIN
    )
}
