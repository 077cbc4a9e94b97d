//! The loss of a minibatch and its gradient by the outputs of the models, differentiated by the compiler.

use std::collections::BTreeSet;
use std::rc::Rc;

use rlp_compiler::graph::{Graph, NodeId};
use rlp_compiler::pass::LossGraph;
use rlp_compiler::plan::TrainPlan;

use super::host::StageHost;
use crate::error::{Fault, Result};
use crate::executor::{Executor, Kernels, NoHost, Steps};
use crate::tensor::{Tensor, Value, without_gradient};

/// What does not change while a stage runs.
pub(crate) struct Fused {
    own: LossGraph,
    outputs: Vec<NodeId>,
    steps: Rc<Steps>,
}

/// What kernels say of a minibatch.
pub(crate) struct Differentiated {
    pub(crate) loss: f64,
    /// By each output of the models; 0 where nothing is real.
    by_output: Vec<(NodeId, Tensor)>,
    pub(crate) is_finite: bool,
}

impl Differentiated {
    /// The gradients by these outputs.
    pub(crate) fn in_order(&self, outputs: &[(NodeId, Tensor)]) -> Result<Vec<Tensor>, Fault> {
        let of = |(node, _): &(NodeId, Tensor)| {
            let found = self.by_output.iter().find(|(own, _)| own == node);
            found.map(|(_, gradient)| gradient.shallow_clone())
        };
        let found: Option<Vec<Tensor>> = outputs.iter().map(of).collect();
        found.ok_or_else(|| Fault::broken("every output has a gradient"))
    }
}

impl Fused {
    /// For a clause whose minibatches are `given` some nodes and compute others `late`. `None` if the compiler cannot
    /// differentiate it, which is noted.
    pub(crate) fn new(
        graph: &Graph,
        plan: &TrainPlan,
        given: &[NodeId],
        late: &[NodeId],
        kernels: &Rc<Kernels>,
    ) -> Option<Fused> {
        // What models compute without gradient is given as well: they are no part of any kernel.
        let models = late.iter().filter(|&&id| graph.op(id).is_of_a_model());
        let given: BTreeSet<NodeId> = given
            .iter()
            .chain(models)
            .chain(&plan.outputs)
            .copied()
            .collect();
        match LossGraph::new(graph, plan.loss, &plan.outputs, &given) {
            Ok(own) => Some(Fused {
                own,
                outputs: plan.outputs.clone(),
                steps: Steps::new(kernels),
            }),
            Err(reason) => {
                kernels.note(format!(
                    "a loss runs node by node: {reason} has no derivative here"
                ));
                None
            }
        }
    }

    /// The gradient for a minibatch that knows the outputs of the models.
    pub(crate) fn differentiate(
        &self,
        minibatch: &mut Executor<'_>,
        host: &mut StageHost<'_>,
    ) -> Result<Differentiated> {
        let LossGraph { graph, given, .. } = &self.own;
        let nodes: Vec<NodeId> = given.iter().map(|&(node, _)| node).collect();
        let values = without_gradient(|| minibatch.evaluate(&nodes, host))?;
        let mut executor = minibatch.within(graph, &self.steps);
        for (&(_, own), value) in given.iter().zip(values) {
            let value = match value {
                Value::Tensor(tensor) => tensor.f_detach()?.into(),
                Value::Text(_) => value,
            };
            executor.give(own, value, format_args!("a value here"))?;
        }
        let wanted = self.own.wanted();
        let values = without_gradient(|| executor.evaluate(&wanted, &mut NoHost))?;
        let [loss, finite, by_output @ ..] = values.as_slice() else {
            return Err(Fault::broken("a loss has a gradient").into());
        };
        let by_output = self.outputs.iter().zip(by_output);
        let by_output = by_output.map(|(&node, value)| Ok((node, value.tensor()?.shallow_clone())));
        Ok(Differentiated {
            loss: loss.tensor()?.f_double_value(&[])?,
            by_output: by_output.collect::<Result<_, Fault>>()?,
            is_finite: finite.tensor()?.f_int64_value(&[])? != 0,
        })
    }
}
