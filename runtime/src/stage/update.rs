//! Optimizers: the update rules of a `train` clause, run from their graphs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ptr;

use rlp_compiler::graph::{Assertion, Graph, NodeId, Op};
use rlp_compiler::pass::{CLIP, RuleGraph};
use rlp_compiler::plan::{RulePlan, TrainPlan};

use super::carried::Carried;
use super::gradient::Gradient;
use super::group::{Group, groups};
use super::host::StageHost;
use crate::asserted;
use crate::error::{Fault, Result};
use crate::executor::{Executor, NoHost};
use crate::profile::{self, Label};
use crate::resource::World;
use crate::state::Archive;
use crate::tensor::{Device, Tensor, Value, without_gradient};
use crate::torch::Context;

/// The rules of one `train` clause with their states.
pub(crate) struct Optimizer<'p> {
    plan: &'p TrainPlan,
    groups: Vec<Group<'p>>,
    /// Updates done, by earlier stages too if their states are kept.
    updates: u64,
    /// Minibatches that were left out in this stage.
    pub(super) skipped: u64,
    /// What an earlier stage left, if it is to be kept.
    carried: Carried,
}

impl<'p> Optimizer<'p> {
    pub(crate) fn new(
        plan: &'p TrainPlan,
        world: &mut World,
        carried: &Carried,
    ) -> Result<Optimizer<'p>> {
        let mut groups = groups(plan, world);
        for group in &mut groups {
            group.join(world)?;
        }
        world.merge(&plan.moved)?;
        let carried = if plan.keep_state {
            carried.clone()
        } else {
            Carried::default()
        };
        let updates = groups
            .iter()
            .map(|group| group.updates_left(&carried))
            .max()
            .unwrap_or(0);
        Ok(Optimizer {
            plan,
            groups,
            updates,
            skipped: 0,
            carried,
        })
    }

    /// Updates the parameters by the gradient of the clause's loss, whose global norm is `norm`; weights change only if
    /// all is well.
    ///
    /// `total` is the number of all updates of the clause. Arguments are computed by `graph`, the stage's own.
    pub(crate) fn update(
        &mut self,
        gradient: &Gradient,
        norm: f64,
        total: u64,
        graph: &Graph,
        host: &mut StageHost<'_>,
    ) -> Result<()> {
        let world = &host.world;
        let step = self.updates + 1;
        let context = Context {
            kind: world.kind,
            device: world.device,
            seed: world.seed,
            step,
            steps: total,
        };
        // What scales the gradient down to the norm that it may have.
        let clip = self
            .plan
            .clip_norm
            .map(|limit| if norm > limit { limit / norm } else { 1.0 });
        let mut args = HashMap::new();
        for group in &self.groups {
            if let Entry::Vacant(vacant) = args.entry(ptr::from_ref(group.rule)) {
                vacant.insert(arguments(group.rule, graph, context, host)?);
            }
        }
        let mut next = Vec::new();
        for group in &self.groups {
            let args = &args[&ptr::from_ref(group.rule)];
            let rule = Label::Rule(&group.rule.block, self.plan.span);
            let updated = profile::within(rule, || {
                without_gradient(|| self.run(group, gradient, clip, args, context, host.world))
            });
            next.push(updated.map_err(|error| error.at_span(self.plan.span))?);
        }
        for (group, (parameters, states)) in self.groups.iter_mut().zip(next) {
            group.states = Some(states);
            without_gradient(|| group.write(&parameters, host.world))?;
        }
        host.world.merge(&self.plan.moved)?;
        self.updates = step;
        Ok(())
    }

    /// The new value of a group's parameters, in the form of the rule, and of its states.
    fn run(
        &self,
        group: &Group,
        gradient: &Gradient,
        clip: Option<f64>,
        args: &[(String, Value)],
        context: Context,
        world: &World,
    ) -> Result<(Tensor, Vec<Value>)> {
        let RuleGraph { update, finite } = group.own.as_ref();
        let mut executor = Executor::fused(&update.graph, context, group.steps.as_ref());
        let parameters = group.parameters(world)?;
        executor.give_input("param", &parameters.shallow_clone().into())?;
        let gradients = group.gradients(gradient)?;
        executor.give_input("grad", &gradients.shallow_clone().into())?;
        if let Some(clip) = clip {
            let clip = Tensor::f_full([0i64; 0], clip, (context.kind, context.device))?;
            executor.give_input(CLIP, &clip.into())?;
        }
        for (name, value) in args {
            executor.give_input(name, value)?;
        }
        let states = match &group.states {
            Some(states) => states.clone(),
            None => {
                let initial: Vec<NodeId> =
                    update.states.iter().map(|state| state.initial).collect();
                let mut states = executor.clone().evaluate(&initial, &mut NoHost)?;
                group.recall(&mut states, &self.carried)?;
                states
            }
        };
        for (state, value) in update.states.iter().zip(&states) {
            executor.give_input(&format!("state.{}", state.name), value)?;
        }
        let asserts: Vec<&Assertion> = update.graph.asserts.iter().collect();
        asserted::check(&asserts, &mut executor, &mut NoHost)?;
        group.give_away(&mut executor, &parameters)?;
        let next = update.states.iter().map(|state| state.next);
        let wanted: Vec<NodeId> = [*finite, update.param].into_iter().chain(next).collect();
        let values = executor.evaluate(&wanted, &mut NoHost)?;
        let [finite, Value::Tensor(updated), states @ ..] = values.as_slice() else {
            return Err(Fault::broken("a rule gives a parameter").into());
        };
        if finite.tensor()?.f_int64_value(&[])? == 0 {
            return Err(group.not_finite(&parameters, &gradients, updated)?.into());
        }
        Ok((updated.shallow_clone(), states.to_vec()))
    }

    /// Saves what changes from update to update, under names that begin with `name`.
    pub(crate) fn save(&self, name: &str, archive: &mut Archive) -> Result<(), Fault> {
        let Optimizer {
            plan: _,
            groups,
            updates,
            skipped,
            // What an earlier stage left is saved by itself.
            carried: _,
        } = self;
        archive.put(&format!("{name}.updates"), &(updates, skipped))?;
        for (place, group) in groups.iter().enumerate() {
            group.save(&format!("{name}.group.{place}"), archive)?;
        }
        Ok(())
    }

    pub(crate) fn restore(
        &mut self,
        name: &str,
        archive: &mut Archive,
        device: Device,
    ) -> Result<(), Fault> {
        (self.updates, self.skipped) = archive.take(&format!("{name}.updates"))?;
        for (place, group) in self.groups.iter_mut().enumerate() {
            group.restore(&format!("{name}.group.{place}"), archive, device)?;
        }
        Ok(())
    }

    /// Leaves the states behind for a later stage.
    pub(crate) fn leave(&self, carried: &mut Carried) -> Result<(), Fault> {
        self.groups
            .iter()
            .try_for_each(|group| group.leave(self.updates, carried))
    }
}

/// The arguments of a rule that are not constants.
fn arguments(
    rule: &RulePlan,
    graph: &Graph,
    context: Context,
    host: &mut StageHost<'_>,
) -> Result<Vec<(String, Value)>> {
    let is_open = |(_, node): &&(String, NodeId)| !matches!(graph.op(*node), Op::Literal(_));
    let open: Vec<&(String, NodeId)> = rule.args.iter().filter(is_open).collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let nodes: Vec<NodeId> = open.iter().map(|(_, node)| *node).collect();
    let mut batch = host.batch(graph, context)?;
    asserted::check(&asserted::of(graph, &rule.asserts), &mut batch, host)?;
    let values = batch.evaluate(&nodes, host)?;
    Ok(open
        .into_iter()
        .map(|(name, _)| name.clone())
        .zip(values)
        .collect())
}
