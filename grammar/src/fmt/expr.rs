//! Expressions.

use pest::iterators::Pair;

use super::doc::Doc;
use super::{BRACES, Brackets, PARENS, Printer, SQUARE};
use crate::build::binding;
use crate::syntax::Rule;

impl Printer<'_> {
    /// An expression behind its name: operators that begin lines stand below its first character.
    pub(super) fn value(&mut self, expr: Pair<'_, Rule>) -> Vec<Doc> {
        let (docs, is_chain) = self.expr(expr);
        if is_chain {
            vec![Doc::Align(docs)]
        } else {
            docs
        }
    }

    /// An expression that begins a line: operators that begin the next ones stand deeper.
    pub(super) fn element(&mut self, expr: Pair<'_, Rule>) -> Vec<Doc> {
        let (docs, is_chain) = self.expr(expr);
        if is_chain {
            vec![Doc::Nest(docs)]
        } else {
            docs
        }
    }

    /// An expression, and whether it is made by operators.
    fn expr(&mut self, expr: Pair<'_, Rule>) -> (Vec<Doc>, bool) {
        let parts: Vec<_> = expr.into_inner().collect();
        let pipes = parts
            .iter()
            .position(|part| part.as_rule() == Rule::pipe)
            .unwrap_or(parts.len());
        let (chain, pipes) = parts.split_at(pipes);
        let (mut docs, is_chain) = self.chain(chain);
        if pipes.is_empty() {
            return (docs, is_chain);
        }
        let mut broken = false;
        let mut end = chain.last().map_or(0, |last| self.place(last).1);
        for pipe in pipes {
            let (start, stop) = self.place(pipe);
            broken |= !self.is_one_line(end, start);
            end = stop;
            docs.push(Doc::Line(" "));
            self.comments(start, &mut docs);
            docs.push(Doc::text("|> "));
            docs.extend(pipe.clone().into_inner().flat_map(|part| self.part(part)));
        }
        (vec![Doc::group(docs, broken)], true)
    }

    /// Terms and the operators between them, broken before those that bind loosest.
    fn chain(&mut self, parts: &[Pair<'_, Rule>]) -> (Vec<Doc>, bool) {
        // A power is written close together, as one term.
        let is_spaced =
            |part: &&Pair<'_, Rule>| part.as_rule() == Rule::operator && part.as_str() != "^";
        let Some(loosest) = parts.iter().filter(is_spaced).map(binding).min() else {
            return (
                parts
                    .iter()
                    .flat_map(|part| self.part(part.clone()))
                    .collect(),
                false,
            );
        };
        let mut docs = Vec::new();
        let mut broken = false;
        let mut first = 0;
        for (index, operator) in parts.iter().enumerate() {
            if !is_spaced(&operator) || binding(operator) != loosest {
                continue;
            }
            docs.append(&mut self.operand(&parts[first..index]));
            first = index + 1;
            let before = index
                .checked_sub(1)
                .map_or(0, |last| self.place(&parts[last]).1);
            let behind = parts
                .get(first)
                .map_or(before, |next| next.as_span().start());
            broken |= !self.is_one_line(before, behind);
            docs.push(Doc::Line(" "));
            docs.append(&mut self.token(operator));
            docs.push(Doc::text(" "));
        }
        docs.append(&mut self.operand(&parts[first..]));
        (vec![Doc::group(docs, broken)], true)
    }

    fn operand(&mut self, parts: &[Pair<'_, Rule>]) -> Vec<Doc> {
        let (docs, is_chain) = self.chain(parts);
        if is_chain {
            vec![Doc::Nest(docs)]
        } else {
            docs
        }
    }

    /// A part of a term: a prefix, the operand, or what stands behind it.
    fn part(&mut self, part: Pair<'_, Rule>) -> Vec<Doc> {
        let place = self.place(&part);
        match part.as_rule() {
            Rule::prefix => {
                let mut docs = Vec::new();
                self.comments(place.0, &mut docs);
                docs.push(Doc::text(if part.as_str() == "not" { "not " } else { "-" }));
                docs
            }
            Rule::list => {
                let packed = part.clone().into_inner().all(is_plain);
                vec![self.list(
                    &Brackets { packed, ..SQUARE },
                    place,
                    part.into_inner(),
                    Self::element,
                )]
            }
            Rule::group => {
                let mut docs = vec![Doc::text("(")];
                docs.extend(part.into_inner().flat_map(|expr| self.value(expr)));
                self.comments(place.1 - 1, &mut docs);
                docs.push(Doc::text(")"));
                docs
            }
            Rule::record => vec![self.list(&BRACES, place, part.into_inner(), Self::labelled)],
            Rule::call => vec![self.call(part)],
            Rule::field => {
                let mut docs = Vec::new();
                self.comments(place.0, &mut docs);
                docs.push(Doc::text(part.as_str().trim_end()));
                docs
            }
            Rule::with => {
                let mut docs = vec![Doc::text(" with ")];
                let start = place.0 + self.text[place.0..].find('{').unwrap_or(0);
                let fields = part
                    .into_inner()
                    .filter(|part| part.as_rule() == Rule::record_field);
                docs.push(self.list(&BRACES, (start, place.1), fields, Self::labelled));
                docs
            }
            Rule::ascription => {
                let mut docs = vec![Doc::text(" : ")];
                docs.append(&mut self.annotation(part));
                docs
            }
            Rule::conditional => vec![self.conditional(part)],
            Rule::lambda => self.lambda(part),
            _ => self.token(&part),
        }
    }

    fn call(&mut self, call: Pair<'_, Rule>) -> Doc {
        let place = self.place(&call);
        self.list(&PARENS, place, call.into_inner(), Self::labelled)
    }

    /// `over: token`, `score: s`: a label and its value, or a value alone.
    fn labelled(&mut self, pair: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::label => {
                    docs.append(&mut self.token(&part));
                    docs.push(Doc::text(": "));
                }
                Rule::COLON => {}
                _ if docs.is_empty() => docs = self.element(part),
                _ => docs.append(&mut self.value(part)),
            }
        }
        docs
    }

    fn lambda(&mut self, lambda: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = vec![Doc::text("|")];
        let mut separator = "";
        for part in lambda.into_inner() {
            match part.as_rule() {
                Rule::name => {
                    docs.push(Doc::text(separator));
                    separator = ", ";
                    docs.append(&mut self.token(&part));
                }
                Rule::BAR => docs.push(Doc::text("| ")),
                _ => docs.append(&mut self.value(part)),
            }
        }
        docs
    }
}

/// Whether an expression is a number, a text or a name.
fn is_plain(expr: Pair<'_, Rule>) -> bool {
    let plain = [
        Rule::prefix,
        Rule::number,
        Rule::text,
        Rule::boolean,
        Rule::variable,
    ];
    expr.into_inner()
        .all(|part| plain.contains(&part.as_rule()))
}
