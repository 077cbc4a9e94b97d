//! Parameters that one run of an update rule changes: one alone, or several end to end.

use std::mem;
use std::rc::Rc;

use rlp_account::MOST_JOINED;
use rlp_compiler::elementwise::is_elementwise;
use rlp_compiler::pass::RuleGraph;
use rlp_compiler::plan::{RulePlan, TrainPlan, UpdatePlan, UpdateState};

use super::carried::{Carried, Key, Left};
use super::gradient::Gradient;
use super::guard;
use super::named::{belongs, names_tensor};
use crate::error::{Fault, Numbers, Origin};
use crate::executor::{Executor, Steps};
use crate::resource::World;
use crate::state::Archive;
use crate::statistics::Statistics;
use crate::tensor::{Device, Tensor, Value};

/// Rules that treat every element alike update many parameters at once, up to this many elements: more would only
/// make the temporaries of an update larger.
const MOST_ELEMENTS: i64 = 1 << 22;

pub(crate) struct Group<'p> {
    pub(crate) rule: &'p RulePlan,
    update: &'p UpdatePlan,
    /// The rule as it runs.
    pub(crate) own: Rc<RuleGraph>,
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
    /// Whether new values may be written to memory of old ones: kernels do, for rules that treat every element alike.
    reuses: bool,
    /// What held a parameter that is alone before its last update.
    spare: Option<Tensor>,
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
            } => &world.models[model].parameters()[parameter].value,
            Owner::Tensor { tensor, .. } => &world.tensors[tensor].value,
        }
    }

    fn value_mut(self, world: &mut World) -> &mut Tensor {
        match self {
            Owner::Model {
                model, parameter, ..
            } => &mut world.models[model].parameters_mut()[parameter].value,
            Owner::Tensor { tensor, .. } => &mut world.tensors[tensor].value,
        }
    }
}

/// The parameters of a clause's targets, grouped. The first rule that names a parameter has it; one that none names
/// stays as it is.
pub(crate) fn groups<'p>(plan: &'p TrainPlan, world: &World) -> Vec<Group<'p>> {
    let mut groups: Vec<Group> = Vec::new();
    for (target, &model) in plan.targets.iter().enumerate() {
        let of = &world.models[model];
        for (parameter, own) in of.parameters().iter().enumerate() {
            let names = |rule: &&RulePlan| belongs(&rule.on, of, parameter);
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
        let names = |rule: &&RulePlan| names_tensor(&rule.on, own);
        let rule = plan.rules.iter().find(names);
        let member = Member {
            owner: Owner::Tensor { place, tensor },
            name: own.full_name(),
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
    let runs_on_cpu = world.kernels.is_some() && world.device == Device::Cpu;
    let most = if runs_on_cpu {
        MOST_JOINED as i64
    } else {
        MOST_ELEMENTS
    };
    let is_elementwise = is_elementwise(update);
    let is_joined = is_elementwise && member.elements() <= most;
    let is_alike = |group: &&Group| std::ptr::eq(group.update, update);
    let alike = groups.iter().find(is_alike);
    let own = match alike {
        Some(group) => Rc::clone(&group.own),
        None => Rc::new(RuleGraph::new(update, plan.clip_norm.is_some())),
    };
    let steps = match alike {
        Some(group) => group.steps.clone(),
        None => world.kernels.as_ref().map(Steps::new),
    };
    let has_room = |group: &&mut Group| {
        let elements: i64 = group.members.iter().map(Member::elements).sum();
        is_joined
            && group.is_joined
            && std::ptr::eq(group.update, update)
            && elements + member.elements() <= most
    };
    match groups.iter_mut().find(has_room) {
        Some(group) => group.members.push(member),
        None => groups.push(Group {
            rule,
            update,
            own,
            flat: None,
            is_matrix,
            is_joined,
            members: vec![member],
            steps,
            states: None,
            // After an update that fails and is left out, the old states are asked for.
            reuses: is_elementwise && runs_on_cpu && plan.skips == 0,
            spare: None,
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

    /// Gives away the memory of what an update replaces: the old states, and what held an alone parameter before the last
    /// update. The parameter itself stays as it is until all is well; after an error nobody asks for states.
    pub(crate) fn give_away(
        &self,
        executor: &mut Executor,
        parameters: &Tensor,
    ) -> Result<(), Fault> {
        if !self.reuses {
            return Ok(());
        }
        let mut give = |tensor: &Tensor, node| {
            if tensor.data_ptr() != parameters.data_ptr() {
                executor.give_away(tensor.shallow_clone(), node);
            }
        };
        if let Some(spare) = &self.spare {
            give(
                &self.form(vec![spare.shallow_clone()])?,
                self.own.update.param,
            );
        }
        let states = self.own.update.states.iter();
        for (state, value) in states.zip(self.states.iter().flatten()) {
            if !state.ty.dims.is_empty() {
                give(value.tensor()?, state.next);
            }
        }
        Ok(())
    }

    /// Replaces the parameters by their new values.
    pub(crate) fn write(&mut self, parameters: &Tensor, world: &mut World) -> Result<(), Fault> {
        if let ([member], false) = (self.members.as_slice(), self.is_joined) {
            let own = parameters.f_contiguous()?.f_view(member.shape.as_slice())?;
            let old = mem::replace(member.owner.value_mut(world), own);
            self.spare = self.reuses.then_some(old);
            return Ok(());
        }
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

    /// Which of the new values are not finite, and what they came from.
    pub(crate) fn not_finite(
        &self,
        parameters: &Tensor,
        gradients: &Tensor,
        updated: &Tensor,
    ) -> Result<Fault, Fault> {
        for (place, member) in self.members.iter().enumerate() {
            let own = |whole: &Tensor| Statistics::of(&self.part(whole, place)?, [], None);
            if !guard::all_finite(&[self.part(updated, place)?])? {
                let what = format!("`{}` after an update by `{}`", member.name, self.rule.block);
                let named =
                    |name: &str, whole| Ok::<_, Fault>((Origin::Name(name.into()), own(whole)?));
                let numbers = Numbers {
                    found: Some(own(updated)?),
                    from: vec![
                        named("before", parameters)?,
                        named("its gradient", gradients)?,
                    ],
                };
                return Ok(Fault::not_finite(what, numbers));
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

    /// Saves the states of the rule, if there were updates. The parameters are saved as weights.
    pub(crate) fn save(&self, name: &str, archive: &mut Archive) -> Result<(), Fault> {
        let Group {
            rule: _,
            update,
            own: _,
            is_matrix: _,
            is_joined: _,
            members: _,
            flat: _,
            steps: _,
            states,
            reuses: _,
            spare: _,
        } = self;
        archive.put(&format!("{name}.updated"), &states.is_some())?;
        for (state, value) in update.states.iter().zip(states.iter().flatten()) {
            archive.put_value(&format!("{name}.{}", state.name), value)?;
        }
        Ok(())
    }

    pub(crate) fn restore(
        &mut self,
        name: &str,
        archive: &mut Archive,
        device: Device,
    ) -> Result<(), Fault> {
        if archive.take(&format!("{name}.updated"))? {
            let states = self.update.states.iter();
            let states =
                states.map(|state| archive.take_value(&format!("{name}.{}", state.name), device));
            self.states = Some(states.collect::<Result<_, _>>()?);
        }
        Ok(())
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
