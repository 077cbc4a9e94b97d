//! Roles: what the name of a loss's argument says of its value, beyond its type.
//!
//! `old_logp` and `ref_logp` are of one type with `logp`, and a chosen response of one with a rejected one.
//! By convention the name of a parameter says which is which: what begins with `old_` or `ref_` is fixed while
//! the policy moves, and `chosen` and `rejected` are the sides of a pair.

use std::collections::{BTreeSet, HashMap};

use rlp_grammar::ast::Span;

use crate::diagnostic::Diagnostic;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Mode};
use crate::graph::{Graph, NodeId, Op};
use crate::phase::{self, Trained};
use crate::ty::Elem;

/// How the names of values begin that are fixed while the policy moves.
const FIXED: [&str; 2] = ["old_", "ref_"];

/// The sides of a pair, as records of pairs and parameters of losses name them.
const SIDES: [&str; 2] = ["chosen", "rejected"];

/// An argument of a call of a loss.
#[derive(Clone, Debug)]
struct Given {
    param: String,
    node: NodeId,
    span: Span,
}

/// An argument whose name says that it is fixed, and the one that it is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    block: String,
    fixed: Given,
    moving: Option<Given>,
}

impl Elaborator<'_> {
    /// Looks at the sides of pairs, and takes note of what should be fixed.
    pub(crate) fn roles(
        &mut self,
        definition: &Definition,
        scope: &Scope,
        places: &HashMap<String, Span>,
    ) {
        if definition.kind() != "loss" || self.mode != Mode::Pipeline || self.level != 0 {
            return;
        }
        let given = |param: &str| {
            let (slot, _) = scope.get(param)?;
            match &*slot.borrow() {
                Binding::Done(Value::Tensor(tensor)) if tensor.level == 0 => Some(Given {
                    param: param.to_string(),
                    node: tensor.node,
                    span: *places.get(param)?,
                }),
                Binding::Done(_) | Binding::Pending(_) | Binding::Busy => None,
            }
        };
        let params = definition.block.params.iter();
        let all: Vec<Given> = params.filter_map(|param| given(&param.name.name)).collect();
        for one in &all {
            self.side(definition, one);
            let bare = FIXED
                .iter()
                .find_map(|prefix| one.param.strip_prefix(prefix));
            if let Some(bare) = bare
                && self.graph().ty(one.node).elem == Elem::Real
            {
                let fixed = Fixed {
                    block: definition.name.clone(),
                    fixed: one.clone(),
                    moving: all.iter().find(|other| other.param == bare).cloned(),
                };
                self.levels[0].fixed.push(fixed);
            }
        }
    }

    /// A rejected response where a chosen one belongs, or the other way round.
    fn side(&mut self, definition: &Definition, given: &Given) {
        let Some(wanted) = SIDES.iter().find(|side| given.param.contains(*side)) else {
            return;
        };
        let read = sides(self.graph(), given.node);
        let (Some(found), false) = (read.first(), read.contains(wanted)) else {
            return;
        };
        let message = format!(
            "`{}` of `{}` is computed from the {found} responses",
            given.param, definition.name
        );
        let diagnostic = Diagnostic::warning("swapped-sides", given.span, message)
            .here(format!("reads only `{found}`"))
            .help(format!("the same of `{wanted}`"));
        self.lint_with(diagnostic);
    }

    /// What should be fixed, and moves with what is trained.
    pub(crate) fn sense_of_roles(&mut self, loss: NodeId, trained: &Trained) {
        let graph = &self.levels[0].graph;
        let passed: BTreeSet<NodeId> = phase::live(graph, loss).into_iter().collect();
        let moves = |node: NodeId| {
            phase::live(graph, node)
                .into_iter()
                .any(|node| trained.reads(graph.op(node)))
        };
        let mut said: Vec<NodeId> = Vec::new();
        let mut diagnostics = Vec::new();
        for call in &self.levels[0].fixed {
            // A block that stops the gradient itself does not depend on its caller; one that hands on is said once.
            if !passed.contains(&call.fixed.node)
                || said.contains(&call.fixed.node)
                || !moves(call.fixed.node)
            {
                continue;
            }
            said.push(call.fixed.node);
            let (fixed, block) = (&call.fixed.param, &call.block);
            let diagnostic = match &call.moving {
                Some(moving) if !moves(moving.node) => {
                    let message = format!(
                        "`{}` and `{fixed}` of `{block}` are swapped: the gradient flows through `{fixed}` alone",
                        moving.param
                    );
                    Diagnostic::warning("moving-reference", call.fixed.span, message)
                        .here("moves with what is trained")
                        .label(moving.span, format!("`{}` is fixed", moving.param))
                        .help("give each the other's value")
                }
                Some(_) | None => {
                    let message = format!(
                        "`{fixed}` of `{block}` is fixed while the policy moves, and this has a gradient"
                    );
                    Diagnostic::warning("moving-reference", call.fixed.span, message)
                        .here("moves with what is trained")
                        .help("what was recorded while sampling, as `rollouts.logp`, or a copy: `logp(frozen(policy), rollouts)`")
                }
            };
            diagnostics.push(diagnostic);
        }
        for diagnostic in diagnostics {
            self.lint_with(diagnostic);
        }
    }
}

/// The sides of pairs that a value is computed from, without what they were drawn from.
fn sides(graph: &Graph, node: NodeId) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if !seen.insert(node) {
            continue;
        }
        match graph.op(node) {
            Op::Field(name) => {
                let side = name.split('.').next();
                found.extend(SIDES.iter().find(|known| Some(**known) == side));
            }
            _ => open.extend(graph.operands(node)),
        }
    }
    found
}
