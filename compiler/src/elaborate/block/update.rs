//! Optimizers: a rule with its arguments, and the update of one parameter as a graph.

use std::rc::Rc;

use rlp_grammar::ast::{ExprKind, Span, StmtKind};

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::block::argument::Given;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::Scope;
use crate::elaborate::value::{Rule, Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Reported, Result, walk};
use crate::graph::Op;
use crate::plan::{InputPlan, UpdatePlan};
use crate::ty::{Dim, DimId, Elem, Ty};

/// What an optimizer's body reads and gives while it is elaborated.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) param: Tensor,
    /// Values of states that are given; the others start at their initial value.
    pub(crate) given: Vec<(String, Tensor)>,
    pub(crate) states: Vec<UpdateState>,
    pub(crate) next: Option<Tensor>,
}

#[derive(Clone, Debug)]
pub(crate) struct UpdateState {
    pub(crate) name: String,
    pub(crate) initial: Tensor,
    pub(crate) old: Tensor,
    pub(crate) next: Tensor,
}

impl Elaborator<'_> {
    /// `optimizer.adamw(lr: 1e-3)`: the rule with its arguments.
    pub(crate) fn rule(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Value> {
        let mut scope = Scope::new(definition.file);
        let places = self.bind_parameters(definition, given, &mut scope, span)?;
        let mut args = Vec::new();
        for param in &definition.block.params {
            let name = &param.name.name;
            let Some((slot, _)) = scope.get(name) else {
                continue;
            };
            let crate::elaborate::scope::Binding::Done(Value::Tensor(tensor)) =
                slot.borrow().clone()
            else {
                continue;
            };
            if !self.ty(tensor).dims.is_empty() {
                let shown = self.show_type(tensor);
                return self.error(
                    "dimension-mismatch",
                    places[name],
                    format!("an argument of an optimizer is a scalar, not `{shown}`"),
                );
            }
            args.push((name.clone(), tensor, places[name]));
        }
        // The rule's own conditions on its arguments are looked at now, where the arguments stand. What is known only
        // while running is asserted by its update.
        let first_assert = self.levels[self.level].asserted.len();
        self.framed(definition, span, |this| {
            this.in_scope(scope, |this| this.preconditions(definition, &places))
        })?;
        self.levels[self.level].asserted.truncate(first_assert);
        Ok(Value::Rule(Rc::new(Rule {
            definition: definition.clone(),
            args,
            span,
        })))
    }

    pub(crate) fn preconditions(
        &mut self,
        definition: &Rc<Definition>,
        places: &std::collections::HashMap<String, Span>,
    ) -> Result<()> {
        let stmts = || definition.block.body.iter().flat_map(|body| &body.stmts);
        // What the body defines, or is given at each update, is not known where the arguments stand.
        let inner = |condition: &rlp_grammar::ast::Expr| {
            let defined = stmts().any(|stmt| {
                matches!(&stmt.kind, StmtKind::Let { name, .. } | StmtKind::State { name, .. }
                    if walk::mentions(condition, &name.name))
            });
            defined
                || ["param", "grad"]
                    .iter()
                    .any(|name| walk::mentions(condition, name))
        };
        let mut sound = Ok(());
        for stmt in stmts() {
            if let StmtKind::Assert {
                value,
                close_to: None,
            } = &stmt.kind
                && !inner(value)
            {
                sound = sound.and(self.precondition(definition, value, places));
            }
        }
        sound
    }

    /// The inputs of an optimizer that is evaluated alone: a parameter of any form, and its gradient.
    pub(crate) fn optimizer_inputs(
        &mut self,
        definition: &Rc<Definition>,
    ) -> Result<Vec<InputPlan>> {
        let names: &[&str] = if needs_matrix(definition) {
            &["row", "col"]
        } else {
            &["row"]
        };
        let axes = self.parameter_dims(names, definition.block.span);
        let mut inputs = Vec::new();
        let mut tensors = Vec::new();
        for name in ["param", "grad"] {
            let tensor = self.push(
                Op::Input(name.to_string()),
                &[],
                Ty {
                    elem: Elem::Real,
                    dims: axes.clone(),
                },
                definition.block.name.span,
            )?;
            self.scope
                .bind(name, Value::Tensor(tensor), definition.block.name.span);
            inputs.push(InputPlan {
                name: name.to_string(),
                node: tensor.node,
                elem: Elem::Real,
                axes: axes.clone(),
                default: None,
                initial: None,
            });
            tensors.push(tensor);
        }
        self.update = Some(Update {
            param: tensors[0],
            given: Vec::new(),
            states: Vec::new(),
            next: None,
        });
        self.states_are_inputs = true;
        Ok(inputs)
    }

    fn parameter_dims(&mut self, names: &[&str], span: Span) -> Vec<DimId> {
        names
            .iter()
            .map(|name| {
                let id = self.new_dim(Dim {
                    name: name.to_string(),
                    origin: "the parameter".to_string(),
                    span,
                    ragged: None,
                    size: None,
                });
                self.scope.dims.insert(name.to_string(), id);
                id
            })
            .collect()
    }

    /// The update of a parameter over `row`, or over `row` and `col`.
    pub(crate) fn update_plan(&mut self, rule: &Rule, names: &[&str]) -> Result<UpdatePlan> {
        let definition = rule.definition.clone();
        let known: Vec<(String, Span, Option<Array>, Ty)> = rule
            .args
            .iter()
            .map(|(name, tensor, span)| {
                (
                    name.clone(),
                    *span,
                    self.static_value(*tensor),
                    self.ty(*tensor).clone(),
                )
            })
            .collect();
        let outer = self.update.take();
        let (plan, level) = self.apart(Mode::Update, |this| {
            this.in_scope(
                Scope::new(definition.file),
                |this| -> Result<(Tensor, Vec<UpdateState>)> {
                    let dims = this.parameter_dims(names, definition.block.span);
                    let at = definition.block.name.span;
                    let ty = Ty {
                        elem: Elem::Real,
                        dims,
                    };
                    let param = this.push(Op::Input("param".to_string()), &[], ty.clone(), at)?;
                    let grad = this.push(Op::Input("grad".to_string()), &[], ty, at)?;
                    let mut args = Vec::new();
                    for (name, span, value, ty) in known {
                        let tensor = match value {
                            Some(value) => this.literal(value, span)?,
                            None => this.push(Op::Input(name.clone()), &[], ty, span)?,
                        };
                        args.push((name, tensor));
                    }
                    this.states_are_inputs = true;
                    let result =
                        this.run_update(&definition, param, grad, &args, Vec::new(), rule.span);
                    this.states_are_inputs = false;
                    result
                },
            )
        });
        self.update = outer;
        let (param, states) = plan?;
        let states = states
            .into_iter()
            .map(|state| crate::plan::UpdateState {
                name: state.name,
                ty: level.graph.ty(state.old.node).clone(),
                initial: state.initial.node,
                next: state.next.node,
            })
            .collect();
        Ok(UpdatePlan {
            graph: level.finish(),
            param: param.node,
            states,
        })
    }

    /// One update, inlined: the new parameter and the states.
    pub(crate) fn run_update(
        &mut self,
        definition: &Rc<Definition>,
        param: Tensor,
        grad: Tensor,
        args: &[(String, Tensor)],
        given: Vec<(String, Tensor)>,
        span: Span,
    ) -> Result<(Tensor, Vec<UpdateState>)> {
        let at = definition.block.name.span;
        let mut scope = Scope::new(definition.file);
        scope.dims = self.scope.dims.clone();
        for name in ["step", "steps"] {
            if let Some((slot, place)) = self.scope.get(name) {
                scope.set(name, slot.borrow().clone(), place);
            }
        }
        scope.bind("param", Value::Tensor(param), at);
        scope.bind("grad", Value::Tensor(grad), at);
        for (name, tensor) in args {
            scope.bind(name, Value::Tensor(*tensor), at);
        }
        let outer = self.update.replace(Update {
            param,
            given,
            states: Vec::new(),
            next: None,
        });
        let done = self.framed(definition, span, |this| {
            this.in_scope(scope, |this| {
                this.block_body(definition, &Default::default())
            })
        });
        let update = std::mem::replace(&mut self.update, outer);
        done?;
        let Some(update) = update else {
            return Err(Reported);
        };
        let Some(next) = update.next else {
            return Err(self.never_updates(definition));
        };
        Ok((next, update.states))
    }
}

impl Elaborator<'_> {
    pub(crate) fn never_updates(&mut self, definition: &Definition) -> Reported {
        let message = format!("`{}` never says what `param` becomes", definition.name);
        let diagnostic = Diagnostic::error("missing-result", definition.block.head, message);
        self.report(diagnostic.help("param <- param - lr * grad"))
    }
}

/// Whether an optimizer names the axes of a matrix, and so is not for parameters of any form.
fn needs_matrix(definition: &Definition) -> bool {
    let mut found = false;
    if let Some(body) = &definition.block.body {
        walk::body(body, &mut |expr| {
            if let ExprKind::Name(name) = &expr.kind {
                found |= name == "row" || name == "col";
            }
        });
    }
    found
}
