//! `on: matrices(m, except: last)`: which weights of a model a transform is for.

use rlp_grammar::ast::{Expr, ExprKind};

use crate::diagnostic::Diagnostic;
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Result};
use crate::plan::{Except, ParameterGroup};

/// Which weights a transform is for.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) on: ParameterGroup,
    pub(crate) except: Option<Except>,
}

impl Elaborator<'_> {
    /// What is written after `on:`; all matrices where nothing is.
    pub(crate) fn selection(&mut self, on: Option<&Expr>) -> Result<Selection> {
        let on_matrices = |except| Selection {
            on: ParameterGroup::Matrices,
            except,
        };
        let Some(on) = on else {
            return Ok(on_matrices(None));
        };
        let wrong = "`matrices`, `matrices(m, except: …)` or a pattern of names is expected here";
        let name = |expr: &Expr| match &expr.kind {
            ExprKind::Name(name) => Some(name.clone()),
            _ => None,
        };
        let (named, args) = match &on.kind {
            ExprKind::Text(pattern) => {
                return Ok(Selection {
                    on: ParameterGroup::Named(pattern.clone()),
                    except: None,
                });
            }
            ExprKind::Call { callee, args } => (name(callee), args.as_slice()),
            _ => (name(on), [].as_slice()),
        };
        if named.as_deref() != Some("matrices") {
            let diagnostic = Diagnostic::error("unknown-name", on.span, wrong);
            return Err(self.report(diagnostic.help("on: matrices")));
        }
        let mut except = None;
        for arg in args {
            match (
                arg.name.as_ref().map(|name| name.name.as_str()),
                &arg.value.kind,
            ) {
                (Some("except"), ExprKind::Text(pattern)) => {
                    except = Some(Except::Named(pattern.clone()));
                }
                (Some("except"), ExprKind::Name(name)) if name == "last" => {
                    except = Some(Except::Last);
                }
                (Some("except"), _) => {
                    let message = "what is left out is `last` or a pattern of names";
                    return self.error("unknown-name", arg.value.span, message);
                }
                (None, _)
                    if matches!(self.expr(&arg.value)?, Value::Model(_) | Value::Network(_)) => {}
                _ => return self.error("type-mismatch", arg.value.span, wrong),
            }
        }
        Ok(on_matrices(except))
    }
}
