//! One stage: its definitions in any order, its sinks, its graph.

use rlp_grammar::ast::{Allow, Expr, Ident, Span, Stmt, StmtKind};

use crate::diagnostic::Diagnostic;
use crate::elaborate::block::assertion::attribute;
use crate::elaborate::pipeline::Base;
use crate::elaborate::scope::{Binding, Pending};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::{Op, State};
use crate::phase::{self, Trained};
use crate::plan::{ReportPlan, StagePlan, TrainPlan};

impl Elaborator<'_> {
    pub(crate) fn stage(
        &mut self,
        base: &Base,
        name: &Ident,
        stmts: &[Stmt],
        span: Span,
    ) -> Option<StagePlan> {
        let before = self.error_count();
        let (body, level) = self.apart(Mode::Pipeline, |this| {
            this.in_scope(base.scope.clone(), |this| {
                this.stage_body(base, name, stmts)
            })
        });
        if self.error_count() > before {
            return None;
        }
        let StageBody {
            trains,
            reports,
            steps,
            asserts,
        } = body;
        let trained = Trained::by(&trains);
        let phases = phase::phases(&level.graph, &trained);
        let names = level
            .names
            .into_iter()
            .map(|(name, node, _)| (name, node))
            .collect();
        Some(StagePlan {
            name: name.name.clone(),
            graph: level.graph,
            phases,
            steps,
            trains,
            reports,
            asserts,
            names,
            span,
        })
    }

    pub(crate) fn error_count(&self) -> usize {
        self.diagnostics
            .iter()
            .chain(&self.library.diagnostics)
            .filter(|diagnostic| diagnostic.severity == crate::diagnostic::Severity::Error)
            .count()
    }

    pub(crate) fn stage_body(&mut self, base: &Base, name: &Ident, stmts: &[Stmt]) -> StageBody {
        let before = self.error_count();
        for (name, array) in &base.settings {
            if let Ok(tensor) = self.literal(array.clone(), name.span) {
                self.scope
                    .bind(&name.name, Value::Tensor(tensor), name.span);
            }
        }
        for pending in &base.pending {
            self.scope.set(
                &pending.name.name,
                Binding::Pending(pending.clone().into()),
                pending.name.span,
            );
        }
        self.bind_trainables(&base.trainables);
        let mut lets: Vec<(Pending, Vec<Allow>)> = Vec::new();
        let mut seen: Vec<Ident> = Vec::new();
        for stmt in stmts {
            match &stmt.kind {
                StmtKind::Let { name, ty, value } => {
                    self.refuse_twice(name, &mut seen);
                    let pending = Pending {
                        name: name.clone(),
                        ty: ty.clone(),
                        value: value.clone(),
                        span: stmt.span,
                    };
                    self.scope.set(
                        &name.name,
                        Binding::Pending(pending.clone().into()),
                        name.span,
                    );
                    lets.push((pending, stmt.allows.clone()));
                }
                StmtKind::State { name, .. } => self.refuse_twice(name, &mut seen),
                _ => {}
            }
        }
        self.stage_scope = Some(self.scope.clone());
        self.stage_states(stmts);
        // Every definition is looked at, also one that nothing uses.
        let mut made: Vec<Made> = Vec::new();
        for (pending, allows) in lets {
            let kept = self.allows.len();
            self.allow_all(&allows, pending.span);
            let value = self
                .bound(&pending.name.name, pending.name.span)
                .ok()
                .flatten();
            if let Some(value) = &value {
                self.name_record(value, &pending.name.name, pending.name.span);
                self.name_transformed(value, &pending.name.name, &name.name);
            }
            self.allows.truncate(kept);
            made.push(Made {
                pending,
                allows,
                value,
            });
        }
        let mut body = StageBody {
            trains: Vec::new(),
            reports: Vec::new(),
            steps: 0,
            asserts: Vec::new(),
        };
        let mut own_steps = None;
        let mut trains: Vec<(TrainPlan, Span)> = Vec::new();
        for stmt in stmts {
            let kept = self.allows.len();
            self.allow(stmt);
            match &stmt.kind {
                StmtKind::Let { .. } | StmtKind::State { .. } => {}
                StmtKind::Assign { name, value } => {
                    let _ = self.stage_assign(name, value);
                }
                StmtKind::Train { targets, clauses } => {
                    trains.extend(self.train(targets, clauses, stmt.span));
                }
                StmtKind::Report { entries, every } => {
                    if let Ok(report) = self.report_entries(entries, every.as_ref(), stmt.span) {
                        body.reports.push(report);
                    }
                }
                StmtKind::Steps { count } => own_steps = self.whole(count, "steps", 1).ok(),
                StmtKind::Param { .. }
                | StmtKind::Function(_)
                | StmtKind::Stage { .. }
                | StmtKind::Assert { .. } => {
                    let _ = self.error::<()>(
                        "misplaced-statement",
                        stmt.span,
                        "this may not stand inside a stage",
                    );
                }
            }
            self.allows.truncate(kept);
        }
        // What one clause trains, another computes anew on each minibatch: all must be known to cut batches.
        let trained = Trained::by(trains.iter().map(|(train, _)| train));
        let (trains, minibatches): (Vec<TrainPlan>, Vec<Span>) = trains.into_iter().unzip();
        body.trains = trains;
        attribute(&mut self.levels[0], &mut body);
        for (train, minibatch) in body.trains.iter_mut().zip(minibatches) {
            train.batches = self.batches(train, &trained);
            let _ = self.check_minibatch(train, minibatch);
        }
        body.steps = body
            .trains
            .iter()
            .map(|train| train.steps)
            .chain(own_steps)
            .max()
            .unwrap_or(1);
        // What is missing or unused because of a mistake need not be said.
        if base.is_whole && self.error_count() == before {
            if body.trains.is_empty()
                && body.reports.is_empty()
                && self.levels[0].graph.states.is_empty()
            {
                let diagnostic = Diagnostic::error(
                    "nothing-to-run",
                    name.span,
                    "this stage neither trains nor reports anything",
                )
                .help("train policy { … } or report name = value");
                self.report(diagnostic);
            }
            self.refuse_train_twice(&body.trains);
            self.unused(&made, &body, stmts);
        }
        body
    }

    /// `state x = …` directly in a stage.
    pub(crate) fn stage_states(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            let StmtKind::State {
                name,
                ty,
                value,
                lazy,
            } = &stmt.kind
            else {
                continue;
            };
            if *lazy {
                let _ = self.error::<()>(
                    "misplaced-statement",
                    stmt.span,
                    "`init` belongs to the states of an optimizer; here it is `state x = …`",
                );
            }
            let made = (|| -> Result<Tensor> {
                if let Some(memory) = self.memory_of(value) {
                    return Ok(self.declare_memory(name, &memory, value.span)?.old);
                }
                let initial = self.let_value(ty.as_ref(), value)?;
                let initial = self.tensor(initial, value.span)?;
                let index = self.levels[0].graph.states.len();
                let ty = self.ty(initial).clone();
                let old = self.push(Op::State(index), &[], ty.clone(), name.span)?;
                let state = State {
                    name: name.name.clone(),
                    ty,
                    initial: initial.node,
                    next: old.node,
                    is_memory: false,
                    span: name.span,
                };
                self.levels[0].graph.states.push(state);
                Ok(old)
            })();
            let value = made.map_or(Value::Poison, Value::Tensor);
            self.scope.bind(&name.name, value.clone(), name.span);
            if let Some(scope) = &mut self.stage_scope {
                scope.bind(&name.name, value, name.span);
            }
        }
    }

    pub(crate) fn stage_assign(&mut self, name: &Ident, value: &Expr) -> Result<()> {
        let Some(index) = self.levels[0]
            .graph
            .states
            .iter()
            .position(|state| state.name == name.name)
        else {
            let diagnostic = Diagnostic::error(
                "unknown-state",
                name.span,
                format!("`{}` is not a state of this stage", name.name),
            )
            .help(format!("declare it: `state {} = …`", name.name));
            return Err(self.report(diagnostic));
        };
        let next = self.expr_tensor(value)?;
        let wanted = self.levels[0].graph.states[index].ty.clone();
        let next = self.expect_elem(next, wanted.elem, value.span)?;
        let next = if self.ty(next).dims.is_empty() {
            self.broadcast(next, &wanted.dims, value.span)?
        } else {
            next
        };
        if *self.ty(next) != wanted {
            let (found, wanted) = (self.show_type(next), self.show(&wanted));
            let message = format!(
                "`{}` is `{wanted}`, and its next value would be `{found}`",
                name.name
            );
            return self.error("dimension-mismatch", value.span, message);
        }
        self.levels[0].graph.states[index].next = next.node;
        Ok(())
    }

    /// `report a = …, b = …`, and the entries of `evaluate`: scalars.
    pub(crate) fn report_entries(
        &mut self,
        entries: &[(Ident, Expr)],
        every: Option<&Expr>,
        span: Span,
    ) -> Result<ReportPlan> {
        let every = match every {
            Some(every) => Some(self.whole(every, "every", 1)?),
            None => None,
        };
        let mut plan = ReportPlan {
            entries: Vec::new(),
            every,
            asserts: Vec::new(),
            span,
        };
        let mut seen = Vec::new();
        for (name, value) in entries {
            self.refuse_twice(name, &mut seen);
            let Ok(x) = self.expr_tensor(value) else {
                continue;
            };
            let Ok(x) = (if self.ty(x).elem == crate::ty::Elem::Bool {
                self.cast(x, crate::ty::Elem::Real, value.span)
            } else {
                self.real(x, value.span)
            }) else {
                continue;
            };
            if !self.ty(x).dims.is_empty() {
                let shown = self.show_type(x);
                let diagnostic = Diagnostic::error(
                    "dimension-mismatch",
                    value.span,
                    format!(
                        "`{}` is reported as one number, and this is `{shown}`",
                        name.name
                    ),
                )
                .here(shown)
                .help(format!(
                    "mean({})",
                    crate::elaborate::block::call::one_line(self.library.map.text(value.span))
                ));
                self.report(diagnostic);
                continue;
            }
            plan.entries.push((name.name.clone(), x.node));
        }
        Ok(plan)
    }

    /// A whole number of at least `least`, known before the run.
    pub(crate) fn whole(&mut self, expr: &Expr, what: &str, least: u64) -> Result<u64> {
        let value = self.expr_tensor(expr)?;
        match self.static_number(value) {
            Some(number) if number >= least as f64 && number.fract() == 0.0 && number < 1e15 => {
                Ok(number as u64)
            }
            Some(number) => self.error(
                "value-out-of-range",
                expr.span,
                format!("`{what}` is a whole number of at least {least}, not {number}"),
            ),
            None => self.error(
                "not-known-before-run",
                expr.span,
                format!("`{what}` must be known before the run"),
            ),
        }
    }

    pub(crate) fn refuse_train_twice(&mut self, trains: &[TrainPlan]) {
        for (index, train) in trains.iter().enumerate() {
            for other in &trains[..index] {
                let model = train.targets.iter().find(|own| other.targets.contains(own));
                let tensor = train.tensors.iter().find(|own| other.tensors.contains(own));
                let name = match (model, tensor) {
                    (Some(&model), _) => &self.models[model].name,
                    (None, Some(&tensor)) => &self.tensors[tensor].full_name(),
                    (None, None) => continue,
                };
                let message = format!("`{name}` is trained by two clauses of one stage");
                let diagnostic = Diagnostic::error("trained-twice", train.span, message)
                    .label(other.span, "also trained here")
                    .help("join the two losses in one `minimize`");
                self.report(diagnostic);
            }
        }
    }
}

/// A definition of a stage, and what became of it.
pub(crate) struct Made {
    pub(crate) pending: Pending,
    pub(crate) allows: Vec<Allow>,
    pub(crate) value: Option<Value>,
}

/// The sinks of a stage.
pub(crate) struct StageBody {
    pub(crate) trains: Vec<TrainPlan>,
    pub(crate) reports: Vec<ReportPlan>,
    pub(crate) steps: u64,
    /// Of the states' values.
    pub(crate) asserts: Vec<usize>,
}
