//! Assertions of blocks: what is known before the run is checked now, the rest becomes a sink of the graph.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use rlp_grammar::ast::{Expr, ExprKind, Span};

use crate::array::{Array, Elements};
use crate::diagnostic::Diagnostic;
use crate::elaborate::block::call::{one_line, show_known};
use crate::elaborate::block::taken::Taken;
use crate::elaborate::builder::Level;
use crate::elaborate::library::Definition;
use crate::elaborate::pipeline::draw::flatten;
use crate::elaborate::pipeline::stage::StageBody;
use crate::elaborate::scope::Binding;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result, walk};
use crate::graph::{Assertion, Binary, Graph, NodeId, Op, Reduction, ScanBody, Unary};
use crate::phase::upstream;
use crate::ty::{Elem, Ty};

/// An assertion of a graph that is being built.
#[derive(Clone, Debug)]
pub(crate) struct Asserted {
    pub(crate) assertion: Assertion,
    /// The results of the block that asserts it: whoever reads one of them relies on it.
    pub(crate) guards: Vec<NodeId>,
}

impl Elaborator<'_> {
    /// A condition on arguments: what is known before the run is checked now, the rest while running.
    pub(crate) fn precondition(
        &mut self,
        definition: &Rc<Definition>,
        condition: &Expr,
        places: &HashMap<String, Span>,
    ) -> Result<()> {
        let holds = self.expr_tensor(condition)?;
        let holds = self.expect_elem(holds, Elem::Bool, condition.span)?;
        // What a resource is given has no padding; of other tensors only what is real need hold.
        let known = match definition.block.native {
            true => self.static_array(holds),
            false => self.static_value(holds),
        };
        match known.map(|known| known.elements) {
            Some(Elements::Bool(values)) if values.iter().all(|&holds| holds) => return Ok(()),
            Some(_) => {}
            None => return self.assert_running(definition, condition, holds),
        }
        let text = self.library.map.text(condition.span).to_string();
        let mut involved = Vec::new();
        for param in &definition.block.params {
            if walk::mentions(condition, &param.name.name)
                && let Some(Value::Tensor(tensor)) =
                    self.bound(&param.name.name, param.name.span)?
                && let Some(known) = self.static_array(tensor)
            {
                // A block by itself has no caller: its argument then stands in the signature.
                let place = places
                    .get(&param.name.name)
                    .copied()
                    .unwrap_or(param.name.span);
                let origin = self.levels[tensor.level].graph.node(tensor.node).span;
                involved.push((param.name.name.clone(), show_known(&known), place, origin));
            }
        }
        let values: Vec<String> = involved
            .iter()
            .map(|(name, value, ..)| format!("`{name}` is {value}"))
            .collect();
        let found = match values.is_empty() {
            true => "that does not hold".to_string(),
            false => values.join(", "),
        };
        let message = format!(
            "`{}` needs `{}`, and {found}",
            definition.name,
            one_line(&text)
        );
        let place = involved
            .first()
            .map_or(condition.span, |(_, _, place, _)| *place);
        let mut diagnostic = Diagnostic::error("value-out-of-range", place, message)
            .label(condition.span, "required here");
        for (name, _, place, origin) in &involved {
            // A setting keeps the place of its declaration.
            let elsewhere = origin.end <= place.start || origin.start >= place.end;
            if elsewhere && origin.source == place.source {
                diagnostic =
                    diagnostic.label(*origin, format!("the value of `{name}` comes from here"));
            }
        }
        // The place is the argument's, in the text of the caller.
        let frame = self.frames.pop();
        let reported = self.report(diagnostic);
        self.frames.extend(frame);
        Err(reported)
    }

    /// The condition as an assertion of the graph. It need not hold where another branch is taken, nor where nothing is real.
    fn assert_running(
        &mut self,
        definition: &Rc<Definition>,
        condition: &Expr,
        whole: Tensor,
    ) -> Result<()> {
        let span = condition.span;
        // All elements have to hold in any case; without `all` it can be told which one does not.
        let mut holds = match self.inside_all(condition) {
            Some(inner) => self.expr_tensor(inner)?,
            None => whole,
        };
        for Taken { condition, side } in self.taken.clone() {
            let excused = if side {
                self.unary(Unary::Not, condition, span)?
            } else {
                condition
            };
            holds = self.binary(Binary::Or, excused, holds, span)?;
        }
        let holds = self.or_unreal(holds, span)?;
        let holds = self.here(holds);
        let text = one_line(self.library.map.text(span));
        let assertion = Assertion {
            condition: holds.node,
            claim: format!("`{}` needs `{text}`", definition.name),
            reads: self.reads(condition, holds),
            span,
            call: self.frames.last().and_then(|frame| frame.call),
        };
        self.levels[self.level].asserted.push(Asserted {
            assertion,
            guards: Vec::new(),
        });
        Ok(())
    }

    /// What `all(…)` is applied to, if that is what an expression is.
    fn inside_all<'e>(&self, condition: &'e Expr) -> Option<&'e Expr> {
        let ExprKind::Call { callee, args } = &condition.kind else {
            return None;
        };
        let [arg] = args.as_slice() else {
            return None;
        };
        let is_all = matches!(&callee.kind, ExprKind::Name(name) if name == "all")
            && self.library.local(self.file(), "all").is_none();
        (is_all && arg.name.is_none()).then_some(&arg.value)
    }

    /// What holds, and everything that is not real.
    pub(crate) fn or_unreal(&mut self, holds: Tensor, span: Span) -> Result<Tensor> {
        let dims = self.ty(holds).dims.clone();
        match self.mask(&dims, span)? {
            Some(mask) => {
                let unreal = self.unary(Unary::Not, mask, span)?;
                self.binary(Binary::Or, unreal, holds, span)
            }
            None => Ok(holds),
        }
    }

    /// The names in a condition whose values can be told at each of its elements.
    fn reads(&self, condition: &Expr, holds: Tensor) -> Vec<(String, NodeId)> {
        let mut names = BTreeSet::new();
        walk::exprs(condition, &mut |inner| {
            if let ExprKind::Name(name) = &inner.kind {
                names.insert(name.clone());
            }
        });
        let dims = &self.ty(holds).dims;
        let read = |name: String| {
            let (slot, _) = self.scope.get(&name)?;
            let Binding::Done(Value::Tensor(tensor)) = *slot.borrow() else {
                return None;
            };
            let is_there = tensor.level == holds.level
                && self.ty(tensor).dims.iter().all(|dim| dims.contains(dim));
            is_there.then_some((name, tensor.node))
        };
        names.into_iter().filter_map(read).collect()
    }

    /// Says of the assertions of a body, which are those from `first` on, that these values stand under them.
    pub(crate) fn guard(&mut self, first: usize, values: &[&Value]) {
        let level = self.level;
        if self.levels[level].asserted.len() <= first {
            return;
        }
        let mut guards = Vec::new();
        for value in values {
            match value {
                Value::Tensor(tensor) => guards.push(*tensor),
                Value::Record(record) => flatten(record, "", &mut |_, tensor| guards.push(tensor)),
                Value::Model(_)
                | Value::Network(_)
                | Value::Data(_)
                | Value::Source(_)
                | Value::Method(_)
                | Value::Rule(_)
                | Value::Transform(_)
                | Value::List(_)
                | Value::Noise(_)
                | Value::Lambda(_)
                | Value::Poison => {}
            }
        }
        let guards: Vec<NodeId> = guards
            .into_iter()
            .map(|guard| self.here(guard).node)
            .collect();
        let open = self.levels[level].asserted[first..]
            .iter_mut()
            .filter(|asserted| asserted.guards.is_empty());
        open.for_each(|asserted| asserted.guards.clone_from(&guards));
    }

    /// Makes the assertions of a scan's body those of the graph around it: each is a further carry, true at first,
    /// of which every position must hold. `op` is the scan, `operands` what it reads.
    pub(crate) fn lift_asserts(
        &mut self,
        built: &mut Level,
        scan: (&Op, &[Tensor], Tensor),
        span: Span,
    ) -> Result<()> {
        let (op, operands, result) = scan;
        let Op::Scan {
            over, xs, captured, ..
        } = op
        else {
            return Ok(());
        };
        for Asserted { assertion, .. } in std::mem::take(&mut built.asserted) {
            let carry = Ty {
                elem: Elem::Bool,
                dims: self.ty(result).without(&[*over]).dims,
            };
            let mut graph = built.graph.clone();
            let ty = graph.ty(assertion.condition).clone();
            let mut holds = assertion.condition;
            let further: Vec<_> = ty
                .dims
                .iter()
                .copied()
                .filter(|dim| !carry.dims.contains(dim))
                .collect();
            if !further.is_empty() {
                let kind = Reduction::All;
                let ty = ty.without(&further);
                holds = graph.add(
                    Op::Reduce {
                        kind,
                        over: further,
                    },
                    &[holds],
                    ty,
                    span,
                    None,
                );
            }
            if graph.ty(holds).dims != carry.dims {
                holds = graph.add(Op::Broadcast, &[holds], carry.clone(), span, None);
            }
            let truth = self.literal(Array::bool(true), span)?;
            let truth = self.broadcast(truth, &carry.dims, span)?;
            // Slices, captured values and the carry stay; the new carry comes after it, before the mask.
            let mut all = operands.to_vec();
            all.insert(xs + captured + 1, truth);
            let mut op = op.clone();
            if let Op::Scan {
                carries,
                part,
                body,
                ..
            } = &mut op
            {
                let next = [body.next.as_slice(), &[holds]].concat();
                *body = Arc::new(ScanBody { graph, next });
                *carries += 1;
                *part += 1;
            }
            let ty = self.ty(result).with_elem(Elem::Bool);
            let holds = self.push(op, &all, ty, span)?;
            let holds = self.or_unreal(holds, span)?;
            self.levels[self.level].asserted.push(Asserted {
                assertion: Assertion {
                    condition: holds.node,
                    reads: Vec::new(),
                    call: None,
                    ..assertion
                },
                guards: vec![result.node],
            });
        }
        Ok(())
    }
}

impl Level {
    /// The finished graph, all of whose assertions are to be checked.
    pub(crate) fn finish(mut self) -> Graph {
        let asserted = std::mem::take(&mut self.asserted).into_iter();
        self.graph.asserts = asserted.map(|asserted| asserted.assertion).collect();
        self.graph
    }
}

/// Moves to the graph of a stage those assertions that one of its sinks stands under, and tells each sink which.
pub(crate) fn attribute(level: &mut Level, body: &mut StageBody) {
    let asserted = std::mem::take(&mut level.asserted);
    if asserted.is_empty() {
        return;
    }
    let graph = &level.graph;
    let under = |mut sinks: Vec<NodeId>| -> Vec<usize> {
        let mut found = Vec::new();
        loop {
            let read: BTreeSet<NodeId> = upstream(graph, &sinks).into_iter().collect();
            let more = (0..asserted.len()).filter(|&number| {
                let stands = asserted[number]
                    .guards
                    .iter()
                    .any(|guard| read.contains(guard));
                stands && !found.contains(&number)
            });
            let more: Vec<usize> = more.collect();
            if more.is_empty() {
                found.sort_unstable();
                return found;
            }
            // A condition may itself call blocks that assert something.
            sinks.extend(
                more.iter()
                    .map(|&number| asserted[number].assertion.condition),
            );
            found.extend(more);
        }
    };
    body.asserts = under(
        graph
            .states
            .iter()
            .flat_map(|state| [state.initial, state.next])
            .collect(),
    );
    for report in &mut body.reports {
        report.asserts = under(report.entries.iter().map(|&(_, node)| node).collect());
    }
    for train in &mut body.trains {
        train.asserts = under(vec![train.loss]);
        for report in &mut train.evaluations {
            report.asserts = under(report.entries.iter().map(|&(_, node)| node).collect());
        }
        for rule in &mut train.rules {
            rule.asserts = under(rule.args.iter().map(|&(_, node)| node).collect());
        }
    }
    // What no sink stands under is not checked.
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut renumber = |list: &mut Vec<usize>| {
        for number in list {
            let fresh = numbers.len();
            *number = *numbers.entry(*number).or_insert(fresh);
        }
    };
    renumber(&mut body.asserts);
    body.reports
        .iter_mut()
        .for_each(|report| renumber(&mut report.asserts));
    for train in &mut body.trains {
        renumber(&mut train.asserts);
        train
            .evaluations
            .iter_mut()
            .for_each(|report| renumber(&mut report.asserts));
        train
            .rules
            .iter_mut()
            .for_each(|rule| renumber(&mut rule.asserts));
    }
    let mut kept: Vec<(usize, Assertion)> = asserted
        .into_iter()
        .enumerate()
        .filter_map(|(old, asserted)| Some((*numbers.get(&old)?, asserted.assertion)))
        .collect();
    kept.sort_by_key(|(number, _)| *number);
    level.graph.asserts = kept.into_iter().map(|(_, assertion)| assertion).collect();
}
