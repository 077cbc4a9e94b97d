//! Parameters that one run of an update rule changes: one alone, or several end to end.

use std::collections::BTreeMap;
use std::rc::Rc;

use rlp_compiler::graph::{NodeId, Op};
use rlp_compiler::pass::RuleGraph;
use rlp_compiler::plan::{ParameterGroup, RulePlan, TrainPlan, UpdatePlan, UpdateState};

use super::gradient::Gradient;
use super::guard;
use crate::error::Fault;
use crate::executor::Steps;
use crate::model::CausalLm;
use crate::resource::World;
use crate::tensor::{Tensor, Value};

/// Rules that treat every element alike update many parameters at once, up to this many elements: more would only
/// make the temporaries of an update larger.
const MOST_ELEMENTS: i64 = 1 << 22;

pub(crate) struct Group<'p> {
    pub(crate) rule: &'p RulePlan,
    update: &'p UpdatePlan,
    /// The rule as it runs.
    pub(crate) own: RuleGraph,
    is_matrix: bool,
    /// Whether the parameters are joined end to end, or there is one alone in its own form.
    is_joined: bool,
    members: Vec<Member>,
    /// The values of the members end to end, if they are joined.
    flat: Option<Tensor>,
    /// What of the rule runs as kernels.
    pub(crate) steps: Option<Rc<Steps>>,
    /// One a state of the rule, once there was a gradient.
    pub(crate) states: Option<Vec<Value>>,
}

#[derive(Clone)]
struct Member {
    owner: Owner,
    name: String,
    shape: Vec<i64>,
}

/// What a member is a parameter of.
#[derive(Clone, Copy)]
enum Owner {
    Model {
        /// Place among the clause's targets, and index of that model in the plan.
        target: usize,
        model: usize,
        /// Place among the parameters of the model.
        parameter: usize,
    },
    /// A trainable tensor by itself.
    Tensor {
        /// Place among the clause's tensors, and its index in the plan.
        place: usize,
        tensor: usize,
    },
}

impl Owner {
    fn value(self, world: &World) -> &Tensor {
        match self {
            Owner::Model {
                model, parameter, ..
            } => &world.models[model].network.parameters()[parameter].value,
            Owner::Tensor { tensor, .. } => &world.tensors[tensor].value,
        }
    }

    fn value_mut(self, world: &mut World) -> &mut Tensor {
        match self {
            Owner::Model {
                model, parameter, ..
            } => &mut world.models[model].network.parameters_mut()[parameter].value,
            Owner::Tensor { tensor, .. } => &mut world.tensors[tensor].value,
        }
    }
}

/// What rules leave behind at the end of their stage, for `keep state`.
#[derive(Clone, Default)]
pub(crate) struct Carried(BTreeMap<Key, Left>);

/// The block of a rule, a model and one of its parameters, or a trainable tensor by itself.
type Key = (String, Option<usize>, String);

#[derive(Clone)]
struct Left {
    updates: u64,
    states: Vec<(String, Value)>,
}

/// The parameters of a clause's targets, grouped. The first rule that names a parameter has it; one that none names
/// stays as it is.
pub(crate) fn groups<'p>(plan: &'p TrainPlan, world: &World) -> Vec<Group<'p>> {
    let mut groups: Vec<Group> = Vec::new();
    for (target, &model) in plan.targets.iter().enumerate() {
        let network = &world.models[model].network;
        for (parameter, own) in network.parameters().iter().enumerate() {
            let names = |rule: &&RulePlan| belongs(&rule.on, network, parameter);
            let rule = plan.rules.iter().find(names);
            let member = Member {
                owner: Owner::Model {
                    target,
                    model,
                    parameter,
                },
                name: own.name.clone(),
                shape: own.value.size(),
            };
            if let Some(rule) = rule {
                join(&mut groups, rule, member, plan, world);
            }
        }
    }
    for (place, &tensor) in plan.tensors.iter().enumerate() {
        let own = &world.tensors[tensor];
        let names = |rule: &&RulePlan| names_tensor(&rule.on, &own.name);
        let rule = plan.rules.iter().find(names);
        let member = Member {
            owner: Owner::Tensor { place, tensor },
            name: own.name.clone(),
            shape: own.value.size(),
        };
        if let Some(rule) = rule {
            join(&mut groups, rule, member, plan, world);
        }
    }
    groups
}

/// Adds a parameter to a group of its rule that has room, or to a new one.
fn join<'p>(
    groups: &mut Vec<Group<'p>>,
    rule: &'p RulePlan,
    member: Member,
    plan: &TrainPlan,
    world: &World,
) {
    let is_matrix = member.shape.len() > 1;
    let update = if is_matrix {
        &rule.matrix
    } else {
        &rule.vector
    };
    let is_joined = is_elementwise(update);
    let has_room = |group: &&mut Group| {
        let elements: i64 = group.members.iter().map(Member::elements).sum();
        is_joined
            && std::ptr::eq(group.update, update)
            && elements + member.elements() <= MOST_ELEMENTS
    };
    match groups.iter_mut().find(has_room) {
        Some(group) => group.members.push(member),
        None => groups.push(Group {
            rule,
            update,
            own: RuleGraph::new(update, plan.clip_norm.is_some()),
            flat: None,
            is_matrix,
            is_joined,
            members: vec![member],
            steps: world.kernels.as_ref().map(Steps::new),
            states: None,
        }),
    }
}

impl Group<'_> {
    /// Puts the values of joined parameters side by side in memory, where they stay.
    pub(crate) fn join(&mut self, world: &mut World) -> Result<(), Fault> {
        if !self.is_joined {
            return Ok(());
        }
        let flat = self.parameters(world)?.f_reshape([-1])?.f_contiguous()?;
        for (place, member) in self.members.iter().enumerate() {
            let start = self.start(place);
            let part = flat
                .f_narrow(0, start, member.elements())?
                .f_view(member.shape.as_slice())?;
            *member.owner.value_mut(world) = part;
        }
        self.flat = Some(flat);
        Ok(())
    }

    /// The joined parameters where they lie; `None` if another group has moved one of them since.
    fn in_place(&self, world: &World) -> Option<Tensor> {
        let flat = self.flat.as_ref()?;
        let mut next = flat.data_ptr() as usize;
        for member in &self.members {
            let value = member.owner.value(world);
            if value.data_ptr() as usize != next {
                return None;
            }
            next += value.numel() * value.f_kind().ok()?.elt_size_in_bytes();
        }
        Some(flat.shallow_clone())
    }

    /// The parameters in the form that the rule takes.
    pub(crate) fn parameters(&self, world: &World) -> Result<Tensor, Fault> {
        if let Some(flat) = self.in_place(world) {
            return if self.is_matrix {
                Ok(flat.f_unsqueeze(-1)?)
            } else {
                Ok(flat)
            };
        }
        let own = |member: &Member| member.owner.value(world).shallow_clone();
        self.form(self.members.iter().map(own).collect())
    }

    /// Their gradients.
    pub(crate) fn gradients(&self, gradient: &Gradient) -> Result<Tensor, Fault> {
        let own = |member: &Member| match member.owner {
            Owner::Model {
                target, parameter, ..
            } => gradient.of[target][parameter].shallow_clone(),
            Owner::Tensor { place, .. } => gradient.tensors[place].shallow_clone(),
        };
        self.form(self.members.iter().map(own).collect())
    }

    /// One alone in its own form, more dimensions than two flattened; or all end to end.
    fn form(&self, tensors: Vec<Tensor>) -> Result<Tensor, Fault> {
        if let ([tensor], false) = (tensors.as_slice(), self.is_joined) {
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

    /// What belongs to one member of something in the form of the rule.
    fn part(&self, whole: &Tensor, place: usize) -> Result<Tensor, Fault> {
        if !self.is_joined {
            return Ok(whole.shallow_clone());
        }
        Ok(whole.f_narrow(0, self.start(place), self.members[place].elements())?)
    }

    /// Where a member begins among those joined.
    fn start(&self, place: usize) -> i64 {
        self.members[..place].iter().map(Member::elements).sum()
    }

    pub(crate) fn write(&self, parameters: &Tensor, world: &mut World) -> Result<(), Fault> {
        if let Some(mut flat) = self.in_place(world) {
            flat.f_copy_(&parameters.f_reshape([-1])?)?;
            return Ok(());
        }
        for (place, member) in self.members.iter().enumerate() {
            let own = self.part(parameters, place)?.f_reshape(&member.shape)?;
            member.owner.value_mut(world).f_copy_(&own)?;
        }
        Ok(())
    }

    /// Which of the new values are not finite.
    pub(crate) fn not_finite(&self, parameters: &Tensor) -> Result<Fault, Fault> {
        for (place, member) in self.members.iter().enumerate() {
            if !guard::all_finite(&[self.part(parameters, place)?])? {
                let what = format!("`{}` after an update by `{}`", member.name, self.rule.block);
                return Ok(Fault::NotFinite { what });
            }
        }
        Err(Fault::broken("every element belongs to a parameter"))
    }

    fn key(&self, member: &Member) -> Key {
        let owner = match member.owner {
            Owner::Model { model, .. } => Some(model),
            Owner::Tensor { .. } => None,
        };
        (self.rule.block.clone(), owner, member.name.clone())
    }

    /// Whether each member has a part of its own in a state.
    fn divides(&self, state: &UpdateState) -> bool {
        self.is_joined && !state.ty.dims.is_empty()
    }

    /// Leaves the states behind for a later stage.
    pub(crate) fn leave(&self, updates: u64, carried: &mut Carried) -> Result<(), Fault> {
        let Some(values) = &self.states else {
            return Ok(());
        };
        for (place, member) in self.members.iter().enumerate() {
            let mut states = Vec::new();
            for (state, value) in self.update.states.iter().zip(values) {
                let own = if self.divides(state) {
                    self.part(value.tensor()?, place)?.into()
                } else {
                    value.clone()
                };
                states.push((state.name.clone(), own));
            }
            carried.0.insert(self.key(member), Left { updates, states });
        }
        Ok(())
    }

    /// Replaces initial states by those that an earlier stage left.
    pub(crate) fn recall(&self, states: &mut [Value], carried: &Carried) -> Result<(), Fault> {
        for (place, member) in self.members.iter().enumerate() {
            let Some(left) = carried.0.get(&self.key(member)) else {
                continue;
            };
            for (state, value) in self.update.states.iter().zip(states.iter_mut()) {
                let Some((_, old)) = left.states.iter().find(|(name, _)| *name == state.name)
                else {
                    continue;
                };
                if self.divides(state) {
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

    /// The updates that an earlier stage made with what it left.
    pub(crate) fn updates_left(&self, carried: &Carried) -> u64 {
        let left = self
            .members
            .iter()
            .filter_map(|member| carried.0.get(&self.key(member)));
        left.map(|left| left.updates).max().unwrap_or(0)
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

/// Whether a group names a trainable tensor by itself, which is none of a model's matrices.
fn names_tensor(group: &ParameterGroup, name: &str) -> bool {
    match group {
        ParameterGroup::All | ParameterGroup::Others => true,
        ParameterGroup::Matrices => false,
        ParameterGroup::Named(pattern) => matches(pattern, name),
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
    let of_param = &graph.ty(update.param).dims;
    let is_alike = |id: NodeId| graph.ty(id).dims.is_empty() || graph.ty(id).dims == *of_param;
    graph.ids().all(is_alike)
        && graph.ids().all(|id| match graph.op(id) {
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
