//! Optimizers: the update rules of a `train` clause, run from their graphs.

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::plan::{RulePlan, TrainPlan};

use super::group::{Carried, Group, groups};
use super::host::StageHost;
use crate::eager::{Executor, NoHost};
use crate::error::{Fault, Result};
use crate::profile::{self, Label};
use crate::resource::World;
use crate::tensor::{Tensor, Value, without_gradient};
use crate::torch::Context;

/// The rules of one `train` clause with their states.
pub(crate) struct Optimizer<'p> {
    plan: &'p TrainPlan,
    groups: Vec<Group<'p>>,
    /// Updates done, by earlier stages too if their states are kept.
    updates: u64,
    /// What an earlier stage left, if it is to be kept.
    carried: Carried,
}

impl<'p> Optimizer<'p> {
    pub(crate) fn new(plan: &'p TrainPlan, world: &World, carried: &Carried) -> Optimizer<'p> {
        let groups = groups(plan, world);
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
        Optimizer {
            plan,
            groups,
            updates,
            carried,
        }
    }

    /// Updates the parameters by the gradients of each target's parameters; weights change only if all is well.
    ///
    /// `total` is the number of all updates of the clause. Arguments are computed by `graph`, the stage's own.
    pub(crate) fn update(
        &mut self,
        gradients: &[Vec<Tensor>],
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
        let mut next = Vec::new();
        for group in &self.groups {
            let args = arguments(group.rule, graph, context, host)?;
            let rule = Label::Rule(&group.rule.block, self.plan.span);
            let updated = profile::within(rule, || {
                without_gradient(|| self.run(group, gradients, &args, context, host.world))
            });
            next.push(updated.map_err(|error| error.at_span(self.plan.span))?);
        }
        for (group, (parameters, states)) in self.groups.iter_mut().zip(next) {
            group.states = Some(states);
            without_gradient(|| group.write(&parameters, host.world))?;
        }
        self.updates = step;
        Ok(())
    }

    /// The new value of a group's parameters, in the form of the rule, and of its states.
    fn run(
        &self,
        group: &Group,
        gradients: &[Vec<Tensor>],
        args: &[(String, Value)],
        context: Context,
        world: &World,
    ) -> Result<(Tensor, Vec<Value>)> {
        let update = group.update;
        let mut executor = Executor::new(&update.graph, context);
        executor.give_input("param", &group.parameters(world)?.into())?;
        executor.give_input("grad", &group.gradients(gradients)?.into())?;
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
        let next = update.states.iter().map(|state| state.next);
        let wanted: Vec<NodeId> = [update.param].into_iter().chain(next).collect();
        let mut values = executor.evaluate(&wanted, &mut NoHost)?.into_iter();
        let Some(Value::Tensor(parameters)) = values.next() else {
            return Err(Fault::broken("a rule gives a parameter").into());
        };
        group.check(&parameters)?;
        Ok((parameters, values.collect()))
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
    let values = host.batch(graph, context)?.evaluate(&nodes, host)?;
    Ok(open
        .into_iter()
        .map(|(name, _)| name.clone())
        .zip(values)
        .collect())
}
