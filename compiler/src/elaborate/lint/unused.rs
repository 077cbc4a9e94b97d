//! Definitions that nothing trained or reported depends on.

use std::collections::BTreeSet;

use rlp_grammar::ast::{Expr, ExprKind, Stmt};

use crate::elaborate::pipeline::stage::{Made, StageBody};
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, walk};
use crate::graph::NodeId;
use crate::phase;

impl Elaborator<'_> {
    pub(crate) fn unused(&mut self, made: &[Made], body: &StageBody, stmts: &[Stmt]) {
        let mut read: BTreeSet<&str> = BTreeSet::new();
        for stmt in stmts {
            walk::statement(stmt, &mut |expr| {
                if let ExprKind::Name(name) = &expr.kind {
                    read.insert(name);
                }
            });
        }
        let reached = self.reached(body);
        for Made {
            pending,
            allows,
            value,
        } in made
        {
            let name = &pending.name;
            let Some(value) = value else { continue };
            let is_used = match value {
                // What is known before the run may have gone into a size, which no node shows.
                Value::Tensor(tensor) if self.static_value(*tensor).is_none() => {
                    reached.contains(&tensor.node)
                }
                _ => read.contains(name.name.as_str()),
            };
            if is_used || name.name.starts_with('_') {
                continue;
            }
            let code = if calls(&pending.value, "reward") {
                "unused-reward"
            } else if calls(&pending.value, "advantage") {
                "unused-advantage"
            } else {
                "unused-definition"
            };
            let message = format!(
                "nothing that is trained or reported depends on `{}`",
                name.name
            );
            let kept = self.allows.len();
            self.allow_all(allows, pending.span);
            self.lint(code, name.span, message);
            self.allows.truncate(kept);
        }
    }

    /// Everything that a sink of the stage depends on.
    fn reached(&self, body: &StageBody) -> BTreeSet<NodeId> {
        let graph = &self.levels[0].graph;
        let mut sinks: Vec<NodeId> = graph
            .states
            .iter()
            .flat_map(|state| [state.initial, state.next])
            .collect();
        let mut reports: Vec<_> = body.reports.iter().collect();
        for train in &body.trains {
            sinks.push(train.loss);
            sinks.extend(
                train
                    .rules
                    .iter()
                    .flat_map(|rule| rule.args.iter().map(|&(_, node)| node)),
            );
            reports.extend(&train.evaluations);
        }
        sinks.extend(
            reports
                .iter()
                .flat_map(|report| report.entries.iter().map(|&(_, node)| node)),
        );
        phase::upstream(graph, &sinks).into_iter().collect()
    }
}

/// Whether an expression calls a block of a kind.
fn calls(expr: &Expr, kind: &str) -> bool {
    let mut found = false;
    walk::exprs(expr, &mut |inner| {
        if let ExprKind::Field { base, .. } = &inner.kind
            && let ExprKind::Name(module) = &base.kind
        {
            found |= module == kind;
        }
    });
    found
}
