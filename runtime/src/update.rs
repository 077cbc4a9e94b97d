//! Optimizers: the update rule of each group of parameters, run from its graph.

use std::collections::BTreeMap;

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::plan::{ParameterGroup, RulePlan, TrainPlan, UpdatePlan};

use crate::eager::{Executor, NoHost};
use crate::error::{Fault, Result};
use crate::guard;
use crate::host::StageHost;
use crate::model::CausalLm;
use crate::resource::World;
use crate::tensor::{Tensor, Value, without_gradient};
use crate::torch::Context;

/// Rules that treat every element alike update many parameters at once, up to this many elements: more would only
/// make the temporaries of an update larger.
const MOST_ELEMENTS: i64 = 1 << 22;

/// The rules of one `train` clause with their states.
pub(crate) struct Optimizer<'p> {
    plan: &'p TrainPlan,
    groups: Vec<Group<'p>>,
    /// Updates done.
    pub(crate) updates: u64,
    /// What an earlier stage left, if it is to be kept.
    carried: Carried,
}

/// Parameters that one run of a rule's graph updates.
struct Group<'p> {
    rule: &'p RulePlan,
    update: &'p UpdatePlan,
    is_matrix: bool,
    /// Whether the parameters are joined end to end, or there is one alone in its own form.
    is_joined: bool,
    members: Vec<Member>,
    /// One a state of the rule, once there was a gradient.
    states: Option<Vec<Value>>,
}

struct Member {
    /// Place among the clause's targets, and among the parameters of that model.
    target: usize,
    parameter: usize,
    shape: Vec<i64>,
}

/// States that outlive their stage, for `keep state`: updates done and the states by name, for each rule, model and parameter.
#[derive(Clone, Default)]
pub(crate) struct Carried(BTreeMap<(String, usize, String), (u64, Vec<(String, Value)>)>);

impl<'p> Optimizer<'p> {
    pub(crate) fn new(plan: &'p TrainPlan, world: &World, carried: &Carried) -> Optimizer<'p> {
        let mut groups: Vec<Group> = Vec::new();
        for (target, &model) in plan.targets.iter().enumerate() {
            let network = &world.models[model].network;
            for (parameter, own) in network.parameters().iter().enumerate() {
                // The first rule that names a parameter has it; one that none names stays as it is.
                let Some(rule) = plan
                    .rules
                    .iter()
                    .find(|rule| belongs(&rule.on, network, parameter))
                else {
                    continue;
                };
                let shape = own.value.size();
                let is_matrix = shape.len() > 1;
                let update = if is_matrix {
                    &rule.matrix
                } else {
                    &rule.vector
                };
                let is_joined = is_elementwise(update);
                let member = Member {
                    target,
                    parameter,
                    shape,
                };
                let room = |group: &&mut Group| {
                    let is_same = std::ptr::eq(group.update, update);
                    group.is_joined
                        && is_same
                        && group.elements() + member.elements() <= MOST_ELEMENTS
                };
                match groups.iter_mut().find(room) {
                    Some(group) => group.members.push(member),
                    None => groups.push(Group {
                        rule,
                        update,
                        is_matrix,
                        is_joined,
                        members: vec![member],
                        states: None,
                    }),
                }
            }
        }
        let carried = if plan.keep_state {
            carried.clone()
        } else {
            Carried::default()
        };
        let keys = groups.iter().flat_map(|group| {
            group
                .members
                .iter()
                .map(|member| group.key(member, plan, world))
        });
        let updates = keys
            .filter_map(|key| carried.0.get(&key))
            .map(|(updates, _)| *updates)
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
        let context = Context {
            kind: host.world.kind,
            device: host.world.device,
            seed: host.world.seed,
            step: self.updates + 1,
            steps: total,
        };
        let mut next = Vec::new();
        for index in 0..self.groups.len() {
            let args = self.arguments(index, graph, context, host)?;
            let updated =
                without_gradient(|| self.run(index, gradients, &args, context, host.world));
            next.push(updated.map_err(|error| error.at_span(self.plan.span))?);
        }
        for (group, (param, states)) in self.groups.iter_mut().zip(next) {
            group.states = Some(states);
            without_gradient(|| group.write(&param, self.plan, host.world))?;
        }
        self.updates += 1;
        Ok(())
    }

    /// The arguments of a group's rule that are not constants.
    fn arguments(
        &self,
        index: usize,
        graph: &Graph,
        context: Context,
        host: &mut StageHost<'_>,
    ) -> Result<Vec<(String, Value)>> {
        let args = &self.groups[index].rule.args;
        let open: Vec<(&String, NodeId)> = args
            .iter()
            .filter(|(_, node)| !matches!(graph.op(*node), Op::Literal(_)))
            .map(|(name, node)| (name, *node))
            .collect();
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

    /// The new value of a group's parameters, in the form of the rule, and of its states.
    fn run(
        &self,
        index: usize,
        gradients: &[Vec<Tensor>],
        args: &[(String, Value)],
        context: Context,
        world: &World,
    ) -> Result<(Tensor, Vec<Value>)> {
        let group = &self.groups[index];
        let update = group.update;
        let param = |member: &Member| {
            let network = &world.models[self.plan.targets[member.target]].network;
            network.parameters()[member.parameter].value.shallow_clone()
        };
        let gradient = |member: &Member| gradients[member.target][member.parameter].shallow_clone();
        let mut executor = Executor::new(&update.graph, context);
        executor.give_input(
            "param",
            &group
                .form(group.members.iter().map(param).collect())?
                .into(),
        )?;
        executor.give_input(
            "grad",
            &group
                .form(group.members.iter().map(gradient).collect())?
                .into(),
        )?;
        for (name, value) in args {
            executor.give_input(name, value)?;
        }
        let states = match &group.states {
            Some(states) => states.clone(),
            None => {
                let initial: Vec<NodeId> =
                    update.states.iter().map(|state| state.initial).collect();
                let mut states = executor.clone().evaluate(&initial, &mut NoHost)?;
                group.recall(&mut states, &self.carried, self.plan, world)?;
                states
            }
        };
        for (state, value) in update.states.iter().zip(&states) {
            executor.give_input(&format!("state.{}", state.name), value)?;
        }
        let wanted: Vec<NodeId> = [update.param]
            .into_iter()
            .chain(update.states.iter().map(|state| state.next))
            .collect();
        let mut values = executor.evaluate(&wanted, &mut NoHost)?.into_iter();
        let param = values
            .next()
            .ok_or_else(|| Fault::broken("a rule gives a parameter"))?
            .tensor()?
            .shallow_clone();
        if !guard::all_finite(&[param.shallow_clone()])? {
            let name = group.name_not_finite(&param, self.plan, world)?;
            return Err(Fault::NotFinite {
                what: format!("`{name}` after an update by `{}`", group.rule.block),
            }
            .into());
        }
        Ok((param, values.collect()))
    }

    /// Leaves the states behind for a later stage.
    pub(crate) fn carry(&self, world: &World, carried: &mut Carried) -> Result<(), Fault> {
        for group in &self.groups {
            let Some(states) = &group.states else {
                continue;
            };
            for (place, member) in group.members.iter().enumerate() {
                let of_member = group
                    .update
                    .states
                    .iter()
                    .zip(states)
                    .map(|(state, value)| {
                        let own = if group.is_joined && !state.ty.dims.is_empty() {
                            group.part(value.tensor()?, place)?.into()
                        } else {
                            value.clone()
                        };
                        Ok((state.name.clone(), own))
                    });
                let states = of_member.collect::<Result<_, Fault>>()?;
                carried
                    .0
                    .insert(group.key(member, self.plan, world), (self.updates, states));
            }
        }
        Ok(())
    }
}

impl Group<'_> {
    fn elements(&self) -> i64 {
        self.members.iter().map(Member::elements).sum()
    }

    /// Tensors of the members in the form that the rule takes: one alone in its own shape, or all end to end.
    fn form(&self, mut tensors: Vec<Tensor>) -> Result<Tensor, Fault> {
        if !self.is_joined
            && let Some(tensor) = tensors.pop()
        {
            let rows = tensor.size().first().copied().unwrap_or(1);
            return Ok(if self.is_matrix {
                tensor.f_reshape([rows, -1])?
            } else {
                tensor.f_reshape([-1])?
            });
        }
        let flat = tensors
            .iter()
            .map(|tensor| Ok(tensor.f_reshape([-1])?))
            .collect::<Result<Vec<_>, Fault>>()?;
        let joined = Tensor::f_cat(&flat, 0)?;
        Ok(if self.is_matrix {
            joined.f_unsqueeze(-1)?
        } else {
            joined
        })
    }

    /// The elements of one member.
    fn part(&self, joined: &Tensor, place: usize) -> Result<Tensor, Fault> {
        let start = self.members[..place]
            .iter()
            .map(Member::elements)
            .sum::<i64>();
        Ok(joined.f_narrow(
            0,
            start,
            if self.is_joined {
                self.members[place].elements()
            } else {
                joined.size()[0]
            },
        )?)
    }

    fn write(&self, param: &Tensor, plan: &TrainPlan, world: &mut World) -> Result<(), Fault> {
        for (place, member) in self.members.iter().enumerate() {
            let network = &mut world.models[plan.targets[member.target]].network;
            let own = self.part(param, place)?.f_reshape(&member.shape)?;
            network.parameters_mut()[member.parameter]
                .value
                .f_copy_(&own)?;
        }
        Ok(())
    }

    fn name_not_finite(
        &self,
        param: &Tensor,
        plan: &TrainPlan,
        world: &World,
    ) -> Result<String, Fault> {
        for (place, member) in self.members.iter().enumerate() {
            if !guard::all_finite(&[self.part(param, place)?])? {
                let network = &world.models[plan.targets[member.target]].network;
                return Ok(network.parameters()[member.parameter].name.clone());
            }
        }
        Err(Fault::broken("some parameter is not finite"))
    }

    fn key(&self, member: &Member, plan: &TrainPlan, world: &World) -> (String, usize, String) {
        let model = plan.targets[member.target];
        let name = world.models[model].network.parameters()[member.parameter]
            .name
            .clone();
        (self.rule.block.clone(), model, name)
    }

    /// Replaces initial states by those that an earlier stage left.
    fn recall(
        &self,
        states: &mut [Value],
        carried: &Carried,
        plan: &TrainPlan,
        world: &World,
    ) -> Result<(), Fault> {
        for (place, member) in self.members.iter().enumerate() {
            let Some((_, left)) = carried.0.get(&self.key(member, plan, world)) else {
                continue;
            };
            for (state, value) in self.update.states.iter().zip(states.iter_mut()) {
                let Some((_, old)) = left.iter().find(|(name, _)| *name == state.name) else {
                    continue;
                };
                if self.is_joined && !state.ty.dims.is_empty() {
                    // An initial value may share the elements of something else.
                    let whole = value.tensor()?.copy();
                    self.part(&whole, place)?.f_copy_(old.tensor()?)?;
                    *value = whole.into();
                } else {
                    *value = old.clone();
                }
            }
        }
        Ok(())
    }
}

impl Member {
    fn elements(&self) -> i64 {
        self.shape.iter().product()
    }
}

fn belongs(group: &ParameterGroup, network: &CausalLm, parameter: usize) -> bool {
    match group {
        ParameterGroup::All => true,
        ParameterGroup::Matrices => network.matrices().contains(&parameter),
        ParameterGroup::Others => !network.matrices().contains(&parameter),
        ParameterGroup::Named(pattern) => matches(pattern, &network.parameters()[parameter].name),
    }
}

/// Whether a name is as the pattern says, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether an update treats each element of a parameter by itself, whatever its form.
fn is_elementwise(update: &UpdatePlan) -> bool {
    let graph = &update.graph;
    graph.ids().all(|id| match graph.op(id) {
        Op::Literal(array) => array.shape.is_empty(),
        Op::Input(name) => !matches!(name.as_str(), "index" | "count"),
        Op::Step
        | Op::Steps
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::StopGrad => true,
        Op::Broadcast => graph
            .operands(id)
            .iter()
            .all(|&operand| graph.ty(operand).dims.is_empty()),
        Op::Mask(_)
        | Op::Size(_)
        | Op::Position(_)
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Text(_)
        | Op::Rename(_)
        | Op::Reduce { .. }
        | Op::ArgReduce { .. }
        | Op::Contract { .. }
        | Op::Scan { .. }
        | Op::Cumsum { .. }
        | Op::Shift { .. }
        | Op::ArgSort { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Stack(_)
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Factor { .. }
        | Op::Solve { .. }
        | Op::Grad => false,
    })
}
