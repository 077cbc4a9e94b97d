//! Lints: what is allowed, but is seldom meant. Each is silenced where it occurs by `@allow(name, "reason")`.

pub(crate) mod role;
pub(crate) mod sense;
pub(crate) mod unused;

use rlp_grammar::ast::{Allow, Span, Stmt};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::Elaborator;

/// The names of all lints, as `@allow` takes them.
pub(crate) const LINTS: [&str; 9] = [
    "kl_k1_differentiated",
    "mean_of_means",
    "unused_reward",
    "unused_advantage",
    "unused_definition",
    "kl_counted_twice",
    "shadowed_function",
    "moving_reference",
    "swapped_sides",
];

impl Elaborator<'_> {
    /// Takes note of the `@allow`s before a statement.
    pub(crate) fn allow(&mut self, stmt: &Stmt) {
        self.allow_all(&stmt.allows, stmt.span);
    }

    pub(crate) fn allow_all(&mut self, allows: &[Allow], span: Span) {
        for allow in allows {
            if !LINTS.contains(&allow.lint.name.as_str()) {
                let near = nearest(&allow.lint.name, LINTS);
                let mut diagnostic = Diagnostic::error(
                    "unknown-lint",
                    allow.lint.span,
                    format!("there is no lint `{}`", allow.lint.name),
                );
                diagnostic = match near.first() {
                    Some(best) => diagnostic
                        .help(format!("did you mean `{best}`?"))
                        .fix(allow.lint.span, best.to_string()),
                    None => diagnostic.help(format!("there are {}", LINTS.join(", "))),
                };
                self.report(diagnostic);
            } else if allow.reason.trim().is_empty() {
                let message = format!("`@allow({}, …)` says no reason", allow.lint.name);
                let _ = self.error::<()>("allow-without-reason", allow.span, message);
            }
            self.allows.push((allow.lint.name.clone(), span));
        }
    }

    /// A warning, unless it is allowed here. `code` is the lint's name with hyphens.
    pub(crate) fn lint(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.lint_with(Diagnostic::warning(code, span, message));
    }

    pub(crate) fn lint_with(&mut self, diagnostic: Diagnostic) {
        let name = diagnostic.code.replace('-', "_");
        if self.allows.iter().any(|(allowed, _)| *allowed == name) {
            return;
        }
        let help = format!("if this is meant: `@allow({name}, \"why\")` before the statement");
        let diagnostic = match diagnostic.help.clone() {
            Some(first) => diagnostic.help(format!("{first}\n{help}")),
            None => diagnostic.help(help),
        };
        self.report(diagnostic);
    }
}
