//! `train` and its clauses.

use pest::iterators::Pair;

use super::Printer;
use super::doc::Doc;
use super::stmt::is_expr;
use crate::syntax::Rule;

/// Values of clauses stand below each other, behind the longest of the words that nearly every `train` has.
const CLAUSE_WORD: usize = "minimize".len();

impl Printer<'_> {
    pub(super) fn train(&mut self, pair: Pair<'_, Rule>) -> Vec<Doc> {
        let (_, end) = self.place(&pair);
        let mut docs = vec![Doc::text("train ")];
        let mut clauses = Vec::new();
        let mut targets = Vec::new();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::expr => targets.push(part),
                Rule::clause => clauses.push(part),
                _ => {}
            }
        }
        let open = targets.last().map_or(0, |last| self.place(last).1);
        let open = self.open_brace(open);
        for (index, target) in targets.into_iter().enumerate() {
            if index > 0 {
                docs.push(Doc::text(", "));
            }
            docs.append(&mut self.value(target));
        }
        docs.push(Doc::text(" {"));
        let flat = self.is_one_line(open, end);
        let mut inner = Vec::new();
        let mut first = true;
        for clause in clauses {
            inner.push(match (flat, inner.is_empty()) {
                (true, true) => Doc::Line(" "),
                (true, false) => Doc::Line("  "),
                (false, _) => Doc::Hard,
            });
            self.lead(clause.as_span().start(), &mut first, &mut inner);
            self.allows(&clause, &mut inner);
            inner.extend(
                clause
                    .into_inner()
                    .filter(|part| part.as_rule() != Rule::allow)
                    .flat_map(|part| self.clause(part)),
            );
        }
        let is_empty = inner.is_empty();
        self.lead_out(end.saturating_sub(1), &mut inner);
        let close = if is_empty && inner.is_empty() {
            Doc::Line("")
        } else {
            Doc::Line(" ")
        };
        docs.push(Doc::group(
            vec![Doc::Nest(inner), close, Doc::text("}")],
            !flat && !is_empty,
        ));
        docs
    }

    /// The first `{` behind a place, where only white space and comments may stand before it.
    fn open_brace(&self, place: usize) -> usize {
        let tokens = &self.scan.tokens;
        let next = tokens.partition_point(|token| token.start < place);
        tokens.get(next).map_or(place, |token| token.start)
    }

    fn clause(&mut self, pair: Pair<'_, Rule>) -> Vec<Doc> {
        let rule = pair.as_rule();
        let text = pair.as_str();
        let word = &text[..text
            .find(|c: char| !c.is_ascii_alphabetic() && c != '_')
            .unwrap_or(text.len())];
        let padding = " ".repeat(CLAUSE_WORD.saturating_sub(word.len()));
        let mut docs = vec![Doc::text(word), Doc::Broken(padding), Doc::text(" ")];
        match rule {
            Rule::evaluate => docs.append(&mut self.entries(pair)),
            Rule::optimizers => {
                let mut inner = Vec::new();
                let mut keep = Vec::new();
                let count = pair
                    .clone()
                    .into_inner()
                    .filter(|part| part.as_rule() == Rule::optimizer)
                    .count();
                for part in pair.into_inner() {
                    match part.as_rule() {
                        Rule::optimizer => {
                            if !inner.is_empty() {
                                inner.push(Doc::text(","));
                                inner.push(Doc::Line(" "));
                            }
                            inner.append(&mut self.optimizer(part));
                        }
                        Rule::keep_state => keep.push(Doc::text(" keep state")),
                        _ => {}
                    }
                }
                docs.append(&mut if count > 1 {
                    vec![Doc::Align(vec![Doc::group(inner, false)])]
                } else {
                    inner
                });
                docs.append(&mut keep);
            }
            _ => docs.extend(
                pair.into_inner()
                    .filter(is_expr)
                    .flat_map(|value| self.value(value)),
            ),
        }
        docs
    }

    fn optimizer(&mut self, pair: Pair<'_, Rule>) -> Vec<Doc> {
        let mut parts = pair.into_inner().filter(is_expr);
        let mut docs: Vec<_> = parts
            .next()
            .into_iter()
            .flat_map(|rule| self.value(rule))
            .collect();
        if let Some(on) = parts.next() {
            let mut inner = vec![Doc::Line(" "), Doc::text("on ")];
            inner.append(&mut self.value(on));
            docs.push(Doc::group(vec![Doc::Nest(inner)], false));
        }
        docs
    }
}
