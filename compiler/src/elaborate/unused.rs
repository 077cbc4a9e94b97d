//! Definitions that nothing trained or reported depends on.

use crate::diagnostic::Diagnostic;
use crate::elaborate::scope::Pending;
use crate::elaborate::stage::StageBody;
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, walk};
use crate::phase;
use rlp_grammar::ast::{Expr, Stmt};

impl Elaborator<'_> {
    /// Definitions that no sink of the stage reaches.
    pub(crate) fn unused(
        &mut self,
        made: &[(Pending, Option<Value>)],
        body: &StageBody,
        stmts: &[Stmt],
    ) {
        let mut read: Vec<String> = Vec::new();
        for stmt in stmts {
            let mut note = |expr: &Expr| {
                if let rlp_grammar::ast::ExprKind::Name(name) = &expr.kind {
                    read.push(name.clone());
                }
            };
            walk::statement(stmt, &mut note);
        }
        let mut sinks: Vec<crate::graph::NodeId> = Vec::new();
        for train in &body.trains {
            sinks.push(train.loss);
            sinks.extend(
                train
                    .rules
                    .iter()
                    .flat_map(|rule| rule.args.iter().map(|(_, node)| *node)),
            );
            sinks.extend(
                train
                    .evaluations
                    .iter()
                    .flat_map(|report| report.entries.iter().map(|(_, node)| *node)),
            );
        }
        sinks.extend(
            body.reports
                .iter()
                .flat_map(|report| report.entries.iter().map(|(_, node)| *node)),
        );
        let graph = &self.levels[0].graph;
        sinks.extend(graph.states.iter().map(|state| state.next));
        let reached: std::collections::BTreeSet<_> =
            phase::upstream(graph, &sinks).into_iter().collect();
        let mut warnings = Vec::new();
        for (pending, value) in made {
            let name = &pending.name;
            let Some(value) = value else { continue };
            let is_read = match value {
                // What is known before the run may have gone into a size, which no node shows.
                Value::Tensor(tensor) if self.static_value(*tensor).is_none() => {
                    reached.contains(&tensor.node)
                }
                _ => read.contains(&name.name),
            };
            if is_read {
                continue;
            }
            let code = match &pending.value.kind {
                _ if self.comes_from(&pending.value, "reward") => "unused-reward",
                _ if self.comes_from(&pending.value, "advantage") => "unused-advantage",
                _ => "unused-definition",
            };
            if name.name.starts_with('_') {
                continue;
            }
            warnings.push(Diagnostic::warning(
                code,
                name.span,
                format!(
                    "nothing that is trained or reported depends on `{}`",
                    name.name
                ),
            ));
        }
        for warning in warnings {
            self.lint_with(warning);
        }
    }

    /// Whether an expression calls a block of a kind.
    pub(crate) fn comes_from(&self, expr: &Expr, kind: &str) -> bool {
        let mut found = false;
        walk::exprs(expr, &mut |inner| {
            if let rlp_grammar::ast::ExprKind::Field { base, .. } = &inner.kind
                && let rlp_grammar::ast::ExprKind::Name(module) = &base.kind
            {
                found |= module == kind;
            }
        });
        found
    }
}
