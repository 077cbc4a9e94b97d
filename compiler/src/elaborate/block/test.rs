//! `test` blocks: assertions over literals, as a graph of their own.

use rlp_grammar::ast::{Expr, SourceId, Stmt, StmtKind, Test};

use crate::diagnostic::Diagnostic;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Record, Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Result};
use crate::plan::{AssertPlan, TestPlan};
use crate::ty::Elem;

impl Elaborator<'_> {
    pub(crate) fn test(&mut self, test: &Test, file: SourceId) -> TestPlan {
        // What fails may have been reported before: a mistake inside a block that a statement calls.
        let mut is_read = true;
        let (asserts, level) = self.apart(Mode::Pure, |this| {
            this.in_scope(Scope::new(file), |this| {
                let mut asserts = Vec::new();
                for stmt in &test.stmts {
                    let allows = this.allows.len();
                    this.allow(stmt);
                    is_read &= this.test_stmt(stmt, &mut asserts).is_ok();
                    this.allows.truncate(allows);
                }
                asserts
            })
        });
        if asserts.is_empty() && is_read {
            self.lint_with(Diagnostic::warning(
                "unused-definition",
                test.title_span,
                "this test asserts nothing",
            ));
        }
        TestPlan {
            title: test.title.clone(),
            graph: level.finish(),
            asserts,
            span: test.span,
        }
    }

    fn test_stmt(&mut self, stmt: &Stmt, asserts: &mut Vec<AssertPlan>) -> Result<()> {
        match &stmt.kind {
            StmtKind::Let { name, ty, value } => {
                let value = self.let_value(ty.as_ref(), value);
                self.bind_let(name, value.unwrap_or(Value::Poison));
                Ok(())
            }
            StmtKind::Assert {
                value,
                close_to: None,
            } => {
                let x = self.expr_tensor(value)?;
                let x = self.expect_elem(x, Elem::Bool, value.span)?;
                // What is not real does not have to hold.
                let x = self.or_unreal(x, stmt.span)?;
                asserts.push(AssertPlan::Holds {
                    value: x.node,
                    span: stmt.span,
                });
                Ok(())
            }
            StmtKind::Assert {
                value,
                close_to: Some((other, within)),
            } => {
                let tolerance = match within {
                    Some(within) => {
                        let tensor = self.expr_tensor(within)?;
                        match self.static_number(tensor) {
                            Some(number) if number >= 0.0 => number,
                            _ => {
                                return self.error(
                                    "value-out-of-range",
                                    within.span,
                                    "`within` takes a number that is not negative",
                                );
                            }
                        }
                    }
                    None => 1e-9,
                };
                let left = self.expr(value)?;
                let right = self.expr(other)?;
                self.close(left, right, (value, other), tolerance, stmt, asserts)
            }
            StmtKind::State { .. }
            | StmtKind::Param { .. }
            | StmtKind::Assign { .. }
            | StmtKind::Function(_)
            | StmtKind::Stage { .. }
            | StmtKind::Train { .. }
            | StmtKind::Report { .. }
            | StmtKind::Steps { .. } => self.error(
                "misplaced-statement",
                stmt.span,
                "only `let` and `assert` may stand in a test",
            ),
        }
    }

    fn close(
        &mut self,
        left: Value,
        right: Value,
        exprs: (&Expr, &Expr),
        within: f64,
        stmt: &Stmt,
        asserts: &mut Vec<AssertPlan>,
    ) -> Result<()> {
        let (left_expr, right_expr) = exprs;
        if let (Value::Record(a), Value::Record(b)) = (&left, &right) {
            return self.close_records(a.clone(), b.clone(), exprs, within, stmt, asserts);
        }
        let (a, b): (Tensor, Tensor) = match (left, right) {
            (Value::List(list), Value::Tensor(other)) => (self.list_like(&list, other)?, other),
            (Value::Tensor(other), Value::List(list)) => (other, self.list_like(&list, other)?),
            (left, right) => (
                self.tensor(left, left_expr.span)?,
                self.tensor(right, right_expr.span)?,
            ),
        };
        if self.ty(a).elem == Elem::Text || self.ty(a).elem == Elem::Bool {
            let shown = self.show_type(a);
            let diagnostic = Diagnostic::error(
                "type-mismatch",
                stmt.span,
                format!("`~=` compares numbers, not `{shown}`"),
            )
            .help("`==` compares exactly");
            return Err(self.report(diagnostic));
        }
        let a = self.real(a, left_expr.span)?;
        let b = self.real(b, right_expr.span)?;
        self.refuse_outer(
            "~=",
            stmt.span,
            &[(a, left_expr.span), (b, right_expr.span)],
        )?;
        let dims = self.joint_dims(&[a, b]);
        let a = self.broadcast(a, &dims, stmt.span)?;
        let b = self.broadcast(b, &dims, stmt.span)?;
        let mask = self.mask(&dims, stmt.span)?.map(|mask| mask.node);
        asserts.push(AssertPlan::Close {
            left: a.node,
            right: b.node,
            within,
            mask,
            span: stmt.span,
        });
        Ok(())
    }

    fn close_records(
        &mut self,
        a: std::rc::Rc<Record>,
        b: std::rc::Rc<Record>,
        exprs: (&Expr, &Expr),
        within: f64,
        stmt: &Stmt,
        asserts: &mut Vec<AssertPlan>,
    ) -> Result<()> {
        for (name, value) in &b.fields {
            let Some(found) = a.get(name) else {
                return self.error(
                    "unknown-field",
                    exprs.1.span,
                    format!("the left side has no field `{name}`"),
                );
            };
            self.close(found.clone(), value.clone(), exprs, within, stmt, asserts)?;
        }
        Ok(())
    }
}
