//! Bodies and statements.

use pest::iterators::Pair;

use super::doc::Doc;
use super::{Printer, fill, widest};
use crate::syntax::Rule;

/// A statement that gives a name a value. Neighbours of one form are aligned.
struct Row {
    /// What may be aligned together: the form of the statement, and whether it names a type.
    form: (Rule, bool),
    lead: Vec<Doc>,
    head: Vec<Doc>,
    ty: Vec<Doc>,
    mark: &'static str,
    value: Vec<Doc>,
}

impl Printer<'_> {
    /// The statements of a pipeline, a stage or a test with their braces; a single one may stay on the line if `short` allows.
    pub(super) fn statements(&mut self, pair: Pair<'_, Rule>, short: bool) -> Vec<Doc> {
        let (start, end) = self.place(&pair);
        let stmts: Vec<_> = pair.into_inner().collect();
        let flat = short && stmts.len() == 1 && self.is_one_line(start, end);
        let mut docs = Vec::new();
        self.comments(start, &mut docs);
        docs.push(Doc::text("{"));
        docs.push(self.body((start, end), stmts, flat));
        docs
    }

    /// Statements, perhaps with a result, and the closing brace.
    pub(super) fn body(
        &mut self,
        (_, end): (usize, usize),
        parts: Vec<Pair<'_, Rule>>,
        flat: bool,
    ) -> Doc {
        let is_empty = parts.is_empty();
        let mut inner = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut first = true;
        let line = || if flat { Doc::Line(" ") } else { Doc::Hard };
        for part in parts {
            let mut lead = vec![line()];
            let behind = lead.len();
            self.lead(part.as_span().start(), &mut first, &mut lead);
            let stands_apart = lead[behind..]
                .iter()
                .any(|doc| matches!(doc, Doc::Blank | Doc::Hard));
            let mut docs = Vec::new();
            let row = self.statement(part, lead, &mut docs);
            let joins = row
                .as_ref()
                .is_some_and(|row| rows.last().is_some_and(|last| last.form == row.form));
            if !joins || stands_apart {
                align(std::mem::take(&mut rows), &mut inner);
            }
            rows.extend(row);
            inner.append(&mut docs);
        }
        align(rows, &mut inner);
        let behind = inner.len();
        self.lead_out(end.saturating_sub(1), &mut inner);
        let has_comments = inner.len() > behind;
        let close = if is_empty && !has_comments {
            Doc::Line("")
        } else {
            line()
        };
        Doc::group(vec![Doc::Nest(inner), close, Doc::text("}")], false)
    }

    /// A statement or a result: a row, or else documents that are pushed.
    fn statement(
        &mut self,
        pair: Pair<'_, Rule>,
        mut lead: Vec<Doc>,
        docs: &mut Vec<Doc>,
    ) -> Option<Row> {
        if pair.as_rule() == Rule::expr {
            docs.append(&mut lead);
            docs.append(&mut self.element(pair));
            return None;
        }
        let has_allow = self.allows(&pair, &mut lead);
        let pair = pair
            .into_inner()
            .find(|part| part.as_rule() != Rule::allow)?;
        match pair.as_rule() {
            Rule::binding | Rule::state | Rule::parameter | Rule::update => {
                let row = self.row(pair, lead);
                if !has_allow {
                    return Some(row);
                }
                align(vec![row], docs);
            }
            Rule::stage => {
                docs.append(&mut lead);
                docs.push(Doc::text("stage"));
                for part in pair
                    .into_inner()
                    .filter(|part| part.as_rule() != Rule::STAGE)
                {
                    docs.push(Doc::text(" "));
                    let is_name = part.as_rule() == Rule::label;
                    docs.append(&mut if is_name {
                        self.token(&part)
                    } else {
                        self.statements(part, false)
                    });
                }
            }
            Rule::train => {
                docs.append(&mut lead);
                docs.append(&mut self.train(pair));
            }
            Rule::report => {
                docs.append(&mut lead);
                docs.push(Doc::text("report "));
                docs.append(&mut self.entries(pair));
            }
            Rule::assertion => {
                docs.append(&mut lead);
                docs.append(&mut self.assertion(pair));
            }
            Rule::function => {
                docs.append(&mut lead);
                docs.append(&mut self.item(pair));
            }
            _ => {
                docs.append(&mut lead);
                docs.push(Doc::text("steps "));
                docs.extend(
                    pair.into_inner()
                        .filter(is_expr)
                        .flat_map(|count| self.value(count)),
                );
            }
        }
        None
    }

    /// The lines of `@allow` before a statement or a clause; whether there are any.
    pub(super) fn allows(&mut self, pair: &Pair<'_, Rule>, docs: &mut Vec<Doc>) -> bool {
        let mut any = false;
        for allow in pair
            .clone()
            .into_inner()
            .filter(|part| part.as_rule() == Rule::allow)
        {
            let (mut separator, mut inner) = ("@allow(", Vec::new());
            for part in allow
                .into_inner()
                .filter(|part| part.as_rule() != Rule::ALLOW)
            {
                inner.push(Doc::text(separator));
                inner.append(&mut self.token(&part));
                separator = ", ";
            }
            docs.append(&mut inner);
            docs.push(Doc::text(")"));
            docs.push(Doc::Hard);
            any = true;
        }
        any
    }

    fn row(&mut self, pair: Pair<'_, Rule>, lead: Vec<Doc>) -> Row {
        let rule = pair.as_rule();
        let word = match rule {
            Rule::binding => "let ",
            Rule::state => "state ",
            Rule::parameter => "param ",
            _ => "",
        };
        let mut row = Row {
            form: (rule, false),
            lead,
            head: vec![Doc::text(word)],
            ty: Vec::new(),
            mark: if rule == Rule::update { "<-" } else { "" },
            value: Vec::new(),
        };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => row.head.append(&mut self.token(&part)),
                Rule::annotation => {
                    row.head.push(Doc::text(":"));
                    row.ty = self.annotation(part);
                    row.form.1 = true;
                }
                Rule::EQUALS => row.mark = "=",
                Rule::init => {
                    row.mark = "init";
                    row.value = part
                        .into_inner()
                        .filter(is_expr)
                        .flat_map(|value| self.value(value))
                        .collect();
                }
                Rule::expr => row.value = self.value(part),
                _ => {}
            }
        }
        row
    }

    /// `every`, and labels with their values: all on one line, or each on its own.
    pub(super) fn entries(&mut self, pair: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut rows: Vec<(Vec<Doc>, Vec<Doc>)> = Vec::new();
        let mut every = Vec::new();
        let mut broken = false;
        let mut end = None;
        for part in pair.into_inner() {
            let (start, stop) = self.place(&part);
            match part.as_rule() {
                Rule::every => {
                    every.push(Doc::text("every "));
                    every.extend(
                        part.into_inner()
                            .filter(is_expr)
                            .flat_map(|count| self.value(count)),
                    );
                    if rows.is_empty() {
                        docs.append(&mut every);
                        docs.push(Doc::text(" "));
                    }
                }
                Rule::entry => {
                    broken |= end.is_some_and(|end| !self.is_one_line(end, start));
                    end = Some(stop);
                    let (mut label, mut value) = (Vec::new(), Vec::new());
                    for part in part.into_inner() {
                        match part.as_rule() {
                            Rule::label => label.append(&mut self.token(&part)),
                            Rule::expr => value = self.value(part),
                            _ => {}
                        }
                    }
                    rows.push((label, value));
                }
                _ => {}
            }
        }
        let column = widest(rows.iter().map(|(label, _)| label));
        let is_single = rows.len() == 1 && every.is_empty();
        let mut inner = Vec::new();
        for (label, value) in rows {
            if !inner.is_empty() {
                inner.push(Doc::text(","));
                inner.push(Doc::Line(" "));
            }
            let padding = fill(&label, column);
            inner.extend(label);
            inner.push(Doc::Broken(padding));
            inner.push(Doc::text(" = "));
            inner.extend(value);
        }
        if !every.is_empty() {
            inner.push(Doc::Line(" "));
            inner.append(&mut every);
        }
        docs.append(&mut if is_single {
            inner
        } else {
            vec![Doc::Align(vec![Doc::group(inner, broken)])]
        });
        docs
    }

    fn assertion(&mut self, pair: Pair<'_, Rule>) -> Vec<Doc> {
        let mut docs = vec![Doc::text("assert ")];
        let mut close = Vec::new();
        let mut words = ["", "~= ", "within "].into_iter();
        let mut is_hanging = false;
        for part in pair.into_inner().filter(is_expr) {
            let word = words.next().unwrap_or_default();
            if word.is_empty() {
                docs.append(&mut self.value(part));
                continue;
            }
            // A list begins where it is compared, and only its elements move to the next lines.
            is_hanging |= is_list(&part);
            close.push(if is_hanging {
                Doc::text(" ")
            } else {
                Doc::Line(" ")
            });
            close.push(Doc::text(word));
            close.append(&mut self.value(part));
        }
        docs.append(&mut if is_hanging {
            close
        } else {
            vec![Doc::Nest(vec![Doc::group(close, false)])]
        });
        docs
    }

    pub(super) fn conditional(&mut self, pair: Pair<'_, Rule>) -> Doc {
        let mut docs = Vec::new();
        let mut broken = false;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::IF => docs.push(Doc::text("if ")),
                Rule::ELSE => docs.push(Doc::text(" else ")),
                Rule::expr => {
                    docs.append(&mut self.value(part));
                    docs.push(Doc::text(" "));
                }
                _ => {
                    let (start, end) = self.place(&part);
                    let parts: Vec<_> = part.into_inner().collect();
                    let begin = parts.first().map_or(end, |first| first.as_span().start());
                    broken |= !self.is_one_line(start, begin);
                    let flat = parts.iter().all(is_expr);
                    docs.push(Doc::text("{"));
                    match self.body((start, end), parts, flat) {
                        // All branches break or none.
                        Doc::Group {
                            docs: mut branch, ..
                        } => docs.append(&mut branch),
                        other => docs.push(other),
                    }
                }
            }
        }
        Doc::group(docs, broken)
    }
}

pub(super) fn is_expr(pair: &Pair<'_, Rule>) -> bool {
    pair.as_rule() == Rule::expr
}

/// Whether an expression is a list literal alone.
fn is_list(pair: &Pair<'_, Rule>) -> bool {
    let mut parts = pair.clone().into_inner().map(|part| part.as_rule());
    parts.next() == Some(Rule::list) && parts.next().is_none()
}

/// Prints rows with what follows their names below each other: types, or else marks and values.
fn align(rows: Vec<Row>, docs: &mut Vec<Doc>) {
    let column = widest(rows.iter().map(|row| &row.head));
    for mut row in rows {
        let padding = fill(&row.head, column);
        docs.append(&mut row.lead);
        docs.append(&mut row.head);
        if !row.ty.is_empty() || !row.value.is_empty() {
            docs.push(Doc::text(padding));
        }
        if !row.ty.is_empty() {
            docs.push(Doc::text(" "));
            docs.append(&mut row.ty);
        }
        if !row.value.is_empty() {
            docs.push(Doc::text(format!(" {} ", row.mark)));
            docs.append(&mut row.value);
        }
    }
}
