//! Items, signatures and types.

use pest::iterators::Pair;

use super::doc::{self, Doc};
use super::{BRACES, Printer, SQUARE, fill, widest};
use crate::syntax::Rule;

impl Printer<'_> {
    pub(super) fn file(&mut self, file: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut first = true;
        let mut before = Rule::EOI;
        let mut was_line = true;
        for part in file.into_inner() {
            let rule = part.as_rule();
            let mut lead = vec![Doc::Hard];
            let is_first = first;
            self.lead(part.as_span().start(), &mut first, &mut lead);
            let mut item = match rule {
                Rule::FILE_DOC => self.token(&part),
                Rule::EOI => Vec::new(),
                _ => self.item(part),
            };
            // The head of the file and items of several lines stand apart, with the comments before them.
            let is_line = doc::is_line(&item);
            let apart = if rule == Rule::FILE_DOC {
                false
            } else {
                before == Rule::FILE_DOC || !(was_line && is_line)
            };
            if apart && !is_first && rule != Rule::EOI {
                let is_behind = |doc: &Doc| {
                    matches!(
                        doc,
                        Doc::Hard
                            | Doc::Comment {
                                behind: Some(_),
                                ..
                            }
                    )
                };
                let behind = lead.iter().take_while(|doc| is_behind(doc)).count();
                lead.insert(behind, Doc::Blank);
            }
            (before, was_line) = (rule, is_line);
            docs.append(&mut lead);
            docs.append(&mut item);
        }
        docs
    }

    pub(super) fn item(&mut self, item: Pair<'_, Rule>) -> Vec<Doc> {
        let rule = item.as_rule();
        let mut docs = Vec::new();
        for part in item.into_inner() {
            match part.as_rule() {
                Rule::USE => docs.append(&mut self.token(&part)),
                Rule::DOC | Rule::block | Rule::pipeline => {
                    if !docs.is_empty() {
                        docs.push(Doc::Hard);
                    }
                    self.lead(part.as_span().start(), &mut true, &mut docs);
                    docs.append(&mut match part.as_rule() {
                        Rule::block => self.block(part),
                        Rule::pipeline => self.item(part),
                        _ => self.token(&part),
                    });
                }
                Rule::statements => {
                    docs.push(Doc::text(" "));
                    docs.append(&mut self.statements(part, false));
                }
                Rule::tests => {
                    docs.push(Doc::text(" "));
                    docs.append(&mut self.statements(part, true));
                }
                _ => {
                    if !(docs.is_empty() && matches!(rule, Rule::test | Rule::pipeline)) {
                        docs.push(Doc::text(" "));
                    }
                    docs.append(&mut self.token(&part));
                }
            }
        }
        docs
    }

    fn block(&mut self, block: Pair<'_, Rule>) -> Vec<Doc> {
        let mut parts = block.into_inner();
        let mut docs = Vec::new();
        // The signature breaks as one: its parameters, before anything in its result type.
        let mut signature = Vec::new();
        for part in parts.next().into_iter().flat_map(Pair::into_inner) {
            match part.as_rule() {
                Rule::params => signature.append(&mut self.params(part)),
                Rule::result => {
                    signature.push(Doc::text(" -> "));
                    for part in part.into_inner() {
                        signature.append(&mut if part.as_rule() == Rule::like {
                            self.like(part)
                        } else {
                            self.ty(part)
                        });
                    }
                }
                _ => {
                    if !docs.is_empty() {
                        docs.push(Doc::text(" "));
                    }
                    docs.append(&mut self.token(&part));
                }
            }
        }
        let Some(body) = parts.next() else {
            docs.push(Doc::group(signature, false));
            return docs;
        };
        signature.push(Doc::text(" "));
        self.comments(body.as_span().start(), &mut signature);
        signature.push(Doc::text("{"));
        docs.push(Doc::group(signature, false));
        let (start, end) = self.place(&body);
        let parts: Vec<_> = body.into_inner().collect();
        // A single statement or result may stay on the line if all the block stands on it.
        let brief = parts.len() == 1 && self.is_one_line(start, end) && {
            let ahead = end - start;
            doc::is_line(&docs)
                && doc::width(&docs).is_some_and(|width| width + ahead <= doc::WIDTH)
        };
        docs.push(self.body((start, end), parts, brief));
        docs
    }

    /// The parameters and the parenthesis behind them, without a group of their own.
    fn params(&mut self, params: Pair<'_, Rule>) -> Vec<Doc> {
        let (start, end) = self.place(&params);
        let mut rows = Vec::new();
        let mut is_broken = false;
        for param in params.into_inner() {
            let begin = param.as_span().start();
            is_broken |= rows.is_empty() && !self.is_one_line(start, begin);
            let mut lead = Vec::new();
            self.lead(begin, &mut true, &mut lead);
            rows.push((lead, self.param(param)));
        }
        let column = widest(
            rows.iter()
                .filter(|(_, row)| !row.1.is_empty())
                .map(|(_, row)| &row.0),
        );
        let mut inner = Vec::new();
        let count = rows.len();
        for (index, (mut lead, (name, ty, default))) in rows.into_iter().enumerate() {
            // A parameter list that was broken stays so.
            inner.push(if is_broken {
                Doc::Hard
            } else {
                Doc::Line(if index == 0 { "" } else { " " })
            });
            inner.append(&mut lead);
            let padding = fill(&name, column);
            inner.extend(name);
            if !ty.is_empty() {
                inner.push(Doc::Broken(padding));
                inner.push(Doc::text(" "));
                inner.extend(ty);
            }
            inner.extend(default);
            inner.push(if index + 1 < count {
                Doc::text(",")
            } else {
                Doc::Broken(",".to_owned())
            });
        }
        self.lead_out(end.saturating_sub(1), &mut inner);
        vec![
            Doc::text("("),
            Doc::Nest(inner),
            Doc::Line(""),
            Doc::text(")"),
        ]
    }

    /// The name with its colon, the type, and the default with its `=`.
    fn param(&mut self, param: Pair<'_, Rule>) -> (Vec<Doc>, Vec<Doc>, Vec<Doc>) {
        let (mut name, mut ty, mut default) = (Vec::new(), Vec::new(), Vec::new());
        for part in param.into_inner() {
            match part.as_rule() {
                Rule::trainable => name.push(Doc::text("param ")),
                Rule::annotation => {
                    name.push(Doc::text(":"));
                    ty = self.annotation(part);
                }
                Rule::expr => {
                    default.push(Doc::text(" = "));
                    default.append(&mut self.value(part));
                }
                Rule::EQUALS => {}
                _ => name.append(&mut self.token(&part)),
            }
        }
        (name, ty, default)
    }

    /// The type behind a colon.
    pub(super) fn annotation(&mut self, annotation: Pair<'_, Rule>) -> Vec<Doc> {
        annotation.into_inner().flat_map(|ty| self.ty(ty)).collect()
    }

    fn like(&mut self, like: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut separator = "";
        for part in like.into_inner() {
            if part.as_rule() == Rule::name {
                docs.push(Doc::text(separator));
                docs.append(&mut self.token(&part));
                separator = if separator.is_empty() {
                    " with new "
                } else {
                    ", "
                };
            }
        }
        docs
    }

    pub(super) fn ty(&mut self, ty: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        for part in ty.into_inner() {
            match part.as_rule() {
                Rule::named_type => {
                    for part in part.into_inner() {
                        if part.as_rule() == Rule::dims {
                            let place = self.place(&part);
                            docs.push(self.list(&SQUARE, place, part.into_inner(), Self::dim));
                        } else {
                            docs.append(&mut self.token(&part));
                        }
                    }
                }
                _ => {
                    let (start, end) = self.place(&part);
                    let start = start + self.text[start..].find('{').unwrap_or(0);
                    docs.push(self.list(
                        &BRACES,
                        (start, end),
                        part.into_inner(),
                        Self::field_type,
                    ));
                }
            }
        }
        docs
    }

    fn dim(&mut self, dim: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        for part in dim.into_inner() {
            if part.as_rule() == Rule::size {
                docs.push(Doc::text(": "));
                docs.extend(part.into_inner().flat_map(|size| self.value(size)));
            } else {
                docs.append(&mut self.token(&part));
            }
        }
        docs
    }

    fn field_type(&mut self, field: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        for part in field.into_inner() {
            if part.as_rule() == Rule::annotation {
                docs.push(Doc::text(": "));
                docs.append(&mut self.annotation(part));
            } else {
                docs.append(&mut self.token(&part));
            }
        }
        docs
    }
}
