//! Trainable tensors that are no model: made, read, copied.

use std::collections::BTreeMap;

use rlp_compiler::graph::{Graph, ModelRef, Op};
use rlp_compiler::plan::{Plan, TensorPlan};

use crate::error::{Fault, Numbers, Result};
use crate::executor::{Executor, NoHost};
use crate::random::{Purpose, Stream};
use crate::state::{Archive, replace};
use crate::tensor::{Device, Kind, Tensor, Value, without_gradient};
use crate::torch::Context;

/// A trainable tensor of the plan.
pub struct Trainable {
    /// The name the pipeline gives it.
    pub name: String,
    pub value: Tensor,
}

/// The trainable tensors of a plan with their initial values, random ones drawn from `seed`.
pub(crate) fn open(plan: &Plan, seed: u64, kind: Kind, device: Device) -> Result<Vec<Trainable>> {
    // Models have the streams before these.
    let stream = Stream::new(seed, Purpose::Initialise).at(plan.models.len() as u64);
    let tensors = plan.tensors.iter().enumerate();
    let opened = tensors.map(|(index, tensor)| {
        let context = Context {
            kind,
            device,
            seed: stream.at(index as u64).bits(0),
            step: 1,
            steps: 1,
        };
        start(tensor, context).map_err(|error| error.at_span(tensor.span))
    });
    opened.collect()
}

fn start(plan: &TensorPlan, context: Context) -> Result<Trainable> {
    let mut executor = Executor::new(&plan.graph, context);
    let values = without_gradient(|| executor.evaluate(&[plan.start], &mut NoHost))?;
    let [Value::Tensor(value)] = values.as_slice() else {
        return Err(Fault::broken("a trainable tensor starts as numbers").into());
    };
    if value.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
        let what = format!("the initial value of `{}`", plan.name);
        return Err(Fault::not_finite(what, Numbers::default()).into());
    }
    Ok(Trainable {
        name: plan.name.clone(),
        // An initial value may share the elements of something else, or be one number repeated.
        value: value.f_contiguous()?.copy(),
    })
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
