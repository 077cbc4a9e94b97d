//! The tensors of a plan, trainable and fixed: made, read, copied.

use std::collections::BTreeMap;

use rlp_compiler::graph::{Graph, ModelRef, NodeId, Op};
use rlp_compiler::plan::{Owner, Plan, TensorPlan};

use crate::error::{Fault, Numbers, Result};
use crate::executor::{Drawn, Executor, Host, NoHost};
use crate::random::{Purpose, Stream};
use crate::state::{Archive, replace};
use crate::tensor::{Device, Kind, Tensor, Value, without_gradient};
use crate::torch::Context;

/// A tensor of the plan.
pub struct Trainable {
    /// The name the pipeline gives it, or its owner's block.
    pub name: String,
    /// The model or data source that it is a part of.
    pub owner: Option<Owner>,
    pub value: Tensor,
}

impl Trainable {
    /// The name of what is trained: the model's, or its own.
    pub(crate) fn target(&self) -> &str {
        self.owner.as_ref().map_or(&self.name, |owner| &owner.name)
    }

    /// Whether it is trained, or a part of a model that is.
    pub(crate) fn is_weight(&self) -> bool {
        self.owner.as_ref().is_none_or(|owner| owner.is_model)
    }

    /// `policy.weight`
    pub(crate) fn full_name(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{}.{}", owner.name, self.name),
            None => self.name.clone(),
        }
    }
}

/// The tensors of a plan with their initial values, random ones drawn from `seed` where they have no seed of their own.
pub(crate) fn open(plan: &Plan, seed: u64, kind: Kind, device: Device) -> Result<Vec<Trainable>> {
    let mut opened: Vec<Trainable> = Vec::new();
    for tensor in &plan.tensors {
        // Models have the streams before these. Tensors that are made together share their random numbers.
        let stream = Stream::new(tensor.seed.unwrap_or(seed), Purpose::Initialise);
        let place = match tensor.seed {
            Some(_) => 0,
            None => (plan.models.len() + tensor.first) as u64,
        };
        let context = Context {
            kind,
            device,
            seed: stream.at(place).bits(0),
            step: 1,
            steps: 1,
        };
        let made = start(tensor, context, &opened).map_err(|error| error.at_span(tensor.span))?;
        opened.push(made);
    }
    Ok(opened)
}

fn start(plan: &TensorPlan, context: Context, before: &[Trainable]) -> Result<Trainable> {
    let mut executor = Executor::new(&plan.graph, context);
    let values = without_gradient(|| executor.evaluate(&[plan.start], &mut Before(before)))?;
    let [Value::Tensor(value)] = values.as_slice() else {
        return Err(Fault::broken("a tensor of the plan starts as numbers").into());
    };
    if value.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
        let what = format!("the initial value of `{}`", plan.name);
        return Err(Fault::not_finite(what, Numbers::default()).into());
    }
    Ok(Trainable {
        name: plan.name.clone(),
        owner: plan.owner.clone(),
        // An initial value may share the elements of something else, or be one number repeated.
        value: value.f_contiguous()?.copy(),
    })
}

/// The tensors that were made before one, which it may read.
struct Before<'a>(&'a [Trainable]);

impl Host for Before<'_> {
    fn draw(
        &mut self,
        executor: &mut Executor<'_>,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Drawn> {
        NoHost.draw(executor, node, operands)
    }

    fn model(&mut self, graph: &Graph, node: NodeId, operands: &[Value]) -> Result<Value> {
        match graph.op(node) {
            Op::Trainable(tensor) if tensor.model < self.0.len() => {
                Ok(self.0[tensor.model].value.copy().into())
            }
            _ => NoHost.model(graph, node, operands),
        }
    }
}

/// The frozen copies of one stage, by tensor and period.
pub(crate) struct FrozenTensors(BTreeMap<(usize, u64), Tensor>);

impl FrozenTensors {
    /// The copies that the graph of a stage names.
    pub(crate) fn new(graph: &Graph, tensors: &[Trainable]) -> FrozenTensors {
        let copy = |op: &Op| match op {
            Op::Trainable(ModelRef {
                model,
                frozen: Some(period),
            }) => Some(((*model, *period), tensors[*model].value.copy())),
            _ => None,
        };
        FrozenTensors(graph.ids().filter_map(|id| copy(graph.op(id))).collect())
    }

    /// Takes the copies anew that are due at the start of a step, counted from 1.
    pub(crate) fn refresh(&mut self, step: u64, tensors: &[Trainable]) {
        for (&(tensor, period), copy) in &mut self.0 {
            if period > 0 && step > 1 && (step - 1).is_multiple_of(period) {
                *copy = tensors[tensor].value.copy();
            }
        }
    }

    pub(crate) fn save(&self, archive: &mut Archive) {
        let FrozenTensors(copies) = self;
        for ((tensor, period), copy) in copies {
            archive.put_tensor(&format!("frozen_tensor.{tensor}.{period}"), copy);
        }
    }

    pub(crate) fn restore(&mut self, archive: &mut Archive, device: Device) -> Result<(), Fault> {
        for ((tensor, period), copy) in &mut self.0 {
            let name = format!("frozen_tensor.{tensor}.{period}");
            replace(copy, Some(archive.take_tensor(&name, device)?), device)?;
        }
        Ok(())
    }

    /// The value that an expression names.
    pub(crate) fn resolve(
        &self,
        tensor: &ModelRef,
        tensors: &[Trainable],
    ) -> Result<Tensor, Fault> {
        let found = match tensor.frozen {
            None => tensors.get(tensor.model).map(|own| &own.value),
            Some(period) => self.0.get(&(tensor.model, period)),
        };
        let found = found.ok_or_else(|| Fault::broken("a trainable tensor was made"))?;
        // Updates are in place, and what was read before them stays.
        Ok(found.copy())
    }
}
