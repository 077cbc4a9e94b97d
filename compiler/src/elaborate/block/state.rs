//! States of blocks: what they were, and what they become.

use crate::diagnostic::Diagnostic;
use crate::elaborate::BlockState;
use crate::elaborate::block::update::UpdateState;
use crate::elaborate::library::Definition;
use crate::elaborate::value::Tensor;
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::{Op, State};
use crate::ty::Elem;
use rlp_grammar::ast::{Expr, Ident, Span, TypeExpr};
use std::rc::Rc;

impl Elaborator<'_> {
    pub(crate) fn declare_state(
        &mut self,
        name: &Ident,
        ty: Option<&TypeExpr>,
        value: &Expr,
        lazy: bool,
    ) -> Result<BlockState> {
        if let Some(update) = &self.update
            && let Some(given) = update.given.iter().find(|(known, _)| *known == name.name)
        {
            let old = given.1;
            return Ok(BlockState {
                name: name.name.clone(),
                old,
                initial: old,
                next: None,
            });
        }
        if let Some(memory) = self.memory_of(value) {
            return self.declare_memory(name, &memory, value.span);
        }
        let initial = self.let_value(ty, value)?;
        let initial = self.tensor(initial, value.span)?;
        let initial = if self.ty(initial).elem == Elem::Int && ty.is_none() {
            self.real(initial, value.span)?
        } else {
            initial
        };
        let state_ty = self.ty(initial).clone();
        let old = match self.mode {
            // What a weight was at first is known of a model, and otherwise is the weight that is given.
            _ if self.is_called_transform() => match self.kept_state(name) {
                Some(kept) => kept,
                None => self.push(Op::StopGrad, &[initial], state_ty, name.span)?,
            },
            Mode::Pipeline if self.update.is_none() => {
                let index = self.levels[0].graph.states.len();
                let old = self.push(Op::State(index), &[], state_ty.clone(), name.span)?;
                let state = State {
                    name: self.state_name(name),
                    ty: state_ty,
                    initial: initial.node,
                    next: old.node,
                    is_memory: false,
                    span: name.span,
                };
                self.levels[0].graph.states.push(state);
                old
            }
            _ if self.update.is_some() && !self.states_are_inputs => initial,
            // A test calls a block once: its states are as they start.
            Mode::Pure if self.frames.iter().all(|frame| frame.call.is_some()) => initial,
            Mode::Pure | Mode::Update | Mode::Pipeline => self.push(
                Op::Input(format!("state.{}", name.name)),
                &[],
                state_ty,
                name.span,
            )?,
        };
        let _ = lazy;
        Ok(BlockState {
            name: name.name.clone(),
            old,
            initial,
            next: None,
        })
    }

    /// The name of a state of the block that is called, unique in the stage.
    pub(crate) fn state_name(&self, name: &Ident) -> String {
        let taken = |candidate: &str| {
            self.levels[0]
                .graph
                .states
                .iter()
                .any(|state| state.name == candidate)
        };
        let base = match self.frames.last() {
            Some(frame) => format!("{}.{}", frame.name, name.name),
            None => name.name.clone(),
        };
        let mut unique = base.clone();
        let mut count = 2;
        while taken(&unique) {
            unique = format!("{base}.{count}");
            count += 1;
        }
        unique
    }

    pub(crate) fn assign(
        &mut self,
        definition: &Rc<Definition>,
        name: &Ident,
        value: &Expr,
        states: &mut [BlockState],
    ) -> Result<()> {
        let next = self.let_value(None, value)?;
        let next = self.tensor(next, value.span)?;
        if definition.kind() == "optimizer" && name.name == "param" {
            let Some(update) = &self.update else {
                return self.error(
                    "misplaced-statement",
                    name.span,
                    "`param` is not given here",
                );
            };
            let param = update.param;
            let next = self.fit(next, param, value.span, "param")?;
            if let Some(update) = &mut self.update {
                update.next = Some(next);
            }
            return Ok(());
        }
        let Some(index) = states.iter().position(|state| state.name == name.name) else {
            // Of one that could not be declared nothing more is said.
            self.bound(&name.name, name.span)?;
            let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
            let near = crate::diagnostic::nearest(&name.name, names.iter().copied());
            let mut diagnostic = Diagnostic::error(
                "unknown-state",
                name.span,
                format!("`{}` is not a state of `{}`", name.name, definition.name),
            );
            diagnostic = match near.first() {
                Some(best) => diagnostic
                    .help(format!("did you mean `{best}`?"))
                    .fix(name.span, best.to_string()),
                None => diagnostic.help(format!("declare it: `state {} = …`", name.name)),
            };
            return Err(self.report(diagnostic));
        };
        let next = self.fit(next, states[index].old, value.span, &name.name)?;
        states[index].next = Some(next);
        Ok(())
    }

    /// A next value with the type of the old one.
    pub(crate) fn fit(
        &mut self,
        next: Tensor,
        old: Tensor,
        span: Span,
        name: &str,
    ) -> Result<Tensor> {
        let wanted = self.ty(old).clone();
        let next = self.expect_elem(next, wanted.elem, span)?;
        if self.ty(next).dims.is_empty() && !wanted.dims.is_empty() {
            return self.broadcast(next, &wanted.dims, span);
        }
        if *self.ty(next) != wanted {
            let (found, wanted) = (self.show_type(next), self.show(&wanted));
            let message = format!("`{name}` is `{wanted}`, and its next value would be `{found}`");
            return Err(
                self.report(Diagnostic::error("dimension-mismatch", span, message).here(found))
            );
        }
        Ok(next)
    }

    pub(crate) fn finish_states(&mut self, states: Vec<BlockState>) -> Result<()> {
        if self.is_called_transform() {
            return Ok(());
        }
        for state in states {
            let next = state.next.unwrap_or(state.old);
            if let Some(update) = &mut self.update {
                update.states.push(UpdateState {
                    name: state.name,
                    initial: state.initial,
                    old: state.old,
                    next,
                });
                continue;
            }
            match self.mode {
                Mode::Pipeline => {
                    let Op::State(index) = *self.levels[0].graph.op(state.old.node) else {
                        continue;
                    };
                    self.levels[0].graph.states[index].next = next.node;
                }
                Mode::Pure | Mode::Update => self.alone_states.push((state, next)),
            }
        }
        Ok(())
    }
}
