//! Statements, and the clauses of `train`.

use pest::iterators::Pair;

use super::{Builder, Parts, unexpected};
use crate::ast::{
    Allow, Body, Clause, ClauseKind, Expr, Ident, Rule as OptimizerRule, Stmt, StmtKind,
};
use crate::syntax::Rule;

impl Builder<'_> {
    pub(super) fn body(&mut self, pair: Pair<'_, Rule>) -> Body {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let mut stmts = Vec::new();
        while let Some(local) = parts.take(Rule::local) {
            stmts.push(self.stmt(local));
        }
        let result = parts.next().map(|pair| Box::new(self.expr(pair)));
        Body {
            stmts,
            result,
            span,
        }
    }

    pub(super) fn stmt(&mut self, pair: Pair<'_, Rule>) -> Stmt {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let allows = self.allows(&mut parts);
        let pair = parts.need();
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        let kind = match rule {
            Rule::binding => {
                let name = self.ident(parts.need());
                let ty = self.annotation(&mut parts);
                StmtKind::Let {
                    name,
                    ty,
                    value: self.value(parts.need()),
                }
            }
            Rule::state => {
                let name = self.ident(parts.need());
                let ty = self.annotation(&mut parts);
                let value = parts.need();
                let lazy = value.as_rule() == Rule::init;
                let value = if lazy { Parts::of(value).need() } else { value };
                StmtKind::State {
                    name,
                    ty,
                    value: self.value(value),
                    lazy,
                }
            }
            Rule::parameter => {
                let name = self.ident(parts.need());
                let ty = self.annotation(&mut parts);
                StmtKind::Param {
                    name,
                    ty,
                    value: parts.next().map(|value| self.value(value)),
                }
            }
            Rule::function => StmtKind::Function(Box::new(self.function(parts))),
            Rule::update => {
                let name = self.ident(parts.need());
                StmtKind::Assign {
                    name,
                    value: self.value(parts.need()),
                }
            }
            Rule::stage => {
                let name = self.ident(parts.need());
                StmtKind::Stage {
                    name,
                    stmts: self.stmts(parts.need()),
                }
            }
            Rule::train => {
                let mut targets = Vec::new();
                while let Some(target) = parts.take(Rule::expr) {
                    targets.push(self.expr(target));
                }
                let mut clauses = Vec::new();
                while let Some(clause) = parts.next() {
                    clauses.push(self.clause(clause));
                }
                StmtKind::Train { targets, clauses }
            }
            Rule::report => {
                let every = self.every(&mut parts);
                StmtKind::Report {
                    entries: self.entries(&mut parts),
                    every,
                }
            }
            Rule::steps => StmtKind::Steps {
                count: self.expr(parts.need()),
            },
            Rule::assertion => {
                let value = self.expr(parts.need());
                let other = parts.next().map(|other| self.expr(other));
                let within = parts.next().map(|within| self.expr(within));
                StmtKind::Assert {
                    value,
                    close_to: other.map(|other| (other, within)),
                }
            }
            rule => unexpected(rule),
        };
        Stmt { allows, kind, span }
    }

    fn clause(&mut self, pair: Pair<'_, Rule>) -> Clause {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let allows = self.allows(&mut parts);
        let pair = parts.need();
        let rule = pair.as_rule();
        let mut parts = Parts::of(pair);
        let kind = match rule {
            Rule::objective => {
                let word = parts.need();
                ClauseKind::Minimize {
                    value: self.expr(parts.need()),
                    negate: word.as_rule() == Rule::MAXIMIZE,
                }
            }
            Rule::optimizers => {
                let mut rules = Vec::new();
                while let Some(pair) = parts.take(Rule::optimizer) {
                    let mut parts = Parts::of(pair);
                    let optimizer = self.expr(parts.need());
                    rules.push(OptimizerRule {
                        optimizer,
                        on: parts.next().map(|on| self.expr(on)),
                    });
                }
                ClauseKind::With {
                    rules,
                    keep_state: parts.take(Rule::keep_state).is_some(),
                }
            }
            Rule::evaluate => {
                let entries = self.entries(&mut parts);
                ClauseKind::Evaluate {
                    entries,
                    every: self.every(&mut parts),
                }
            }
            Rule::setting => {
                let name = self.ident(parts.need());
                ClauseKind::Setting {
                    name,
                    value: self.expr(parts.need()),
                }
            }
            rule => unexpected(rule),
        };
        Clause { allows, kind, span }
    }

    fn allows(&mut self, parts: &mut Parts<'_>) -> Vec<Allow> {
        let mut allows = Vec::new();
        while let Some(pair) = parts.take(Rule::allow) {
            let span = self.span(&pair);
            let mut parts = Parts::of(pair);
            let lint = self.ident(parts.need());
            allows.push(Allow {
                lint,
                reason: self.text(&parts.need()),
                span,
            });
        }
        allows
    }

    fn entries(&mut self, parts: &mut Parts<'_>) -> Vec<(Ident, Expr)> {
        let mut entries = Vec::new();
        while let Some(pair) = parts.take(Rule::entry) {
            let mut parts = Parts::of(pair);
            let label = self.ident(parts.need());
            entries.push((label, self.expr(parts.need())));
        }
        entries
    }

    fn every(&mut self, parts: &mut Parts<'_>) -> Option<Expr> {
        parts
            .take(Rule::every)
            .map(|pair| self.expr(Parts::of(pair).need()))
    }
}
