//! The loss of a minibatch and its gradient by the parameters, exact whatever the micro-batches.
//!
//! The outputs of the model are computed first, in micro-batches; the loss and its gradient by those outputs once, on the
//! whole minibatch; then each micro-batch is read again and the gradient flows on to the parameters, where it adds up. A
//! loss never sees micro-batches, so it may couple rows as it likes.

use rlp_compiler::graph::{Graph, ModelOutput, ModelRef, NodeId, Op};

use super::clause::Clause;
use super::guard;
use super::host::StageHost;
use super::leaves;
use super::sequence::{Differentiated, OutputAxes, Sequences};
use crate::error::{Fault, Result, RunError};
use crate::executor::Executor;
use crate::profile::{self, Label, Work};
use crate::tensor::{Kind, Tensor, Value, gradients, without_gradient};

/// What a minibatch says.
pub(crate) struct Gradient {
    pub(crate) loss: f64,
    /// By each parameter of each target, in order.
    pub(crate) of: Vec<Vec<Tensor>>,
    /// By each trainable tensor, in order.
    pub(crate) tensors: Vec<Tensor>,
    /// The outputs of the models through which it flowed.
    pub(crate) outputs: Vec<(NodeId, Tensor)>,
}

impl Gradient {
    /// Its global norm.
    pub(crate) fn norm(&self) -> Result<f64, Fault> {
        let mut squares: f64 = 0.0;
        for part in self.of.iter().flatten().chain(&self.tensors) {
            let flat = part.f_reshape([-1])?;
            let norm = flat.f_linalg_norm(2, None::<&[i64]>, false, Kind::Double)?;
            squares += norm.f_double_value(&[])?.powi(2);
        }
        Ok(squares.sqrt())
    }
}

/// `Model` nodes of one trained model that read the same sequences, and so share a pass.
struct Call {
    model: usize,
    operands: Vec<NodeId>,
    nodes: Vec<(NodeId, ModelOutput)>,
}

impl Call {
    fn axes(&self, graph: &Graph, node: NodeId) -> OutputAxes {
        OutputAxes::new(&graph.ty(self.operands[0]).dims, &graph.ty(node).dims)
    }
}

/// The gradient of a clause's loss; `minibatch` holds what the loss reads of earlier phases.
pub(crate) fn gradient(
    clause: &Clause,
    minibatch: &mut Executor<'_>,
    host: &mut StageHost<'_>,
) -> Result<Gradient> {
    let graph = minibatch.graph();
    host.forget_passes();
    let mut outputs = leaves::give(clause, minibatch, host)?;
    let mut passes = Vec::new();
    for call in calls(graph, &clause.plan.outputs)? {
        let operands = minibatch.evaluate(&call.operands, host)?;
        let kinds: Vec<ModelOutput> = call.nodes.iter().map(|&(_, output)| output).collect();
        let network = &host.world.models[call.model].network;
        let read = profile::within(Label::Node(graph, call.nodes[0].0), || {
            let sequences = Sequences::new(&operands)?;
            sequences.check(network)?;
            Differentiated::forward(network, sequences, clause.plan.micro_batch, &kinds)
        });
        let (pass, values) =
            read.map_err(|fault| RunError::from(fault).at(graph, call.nodes[0].0))?;
        for (&(node, _), value) in call.nodes.iter().zip(values) {
            let value = call.axes(graph, node).to_graph(&value)?;
            let leaf = value.f_detach()?.f_set_requires_grad(true)?;
            minibatch.give(
                node,
                leaf.shallow_clone().into(),
                format_args!("an output of the model"),
            )?;
            outputs.push((node, leaf));
        }
        passes.push((call, pass));
    }

    guard::asserted(clause, minibatch, host)?;
    let (value, by_output) = match &clause.fused {
        Some(fused) => {
            let found = fused.differentiate(minibatch, host)?;
            if !found.loss.is_finite() {
                return Err(guard::loss_not_finite(clause, minibatch, host)?);
            }
            if !found.is_finite {
                return Err(guard::gradient_not_finite(clause, minibatch, host)?);
            }
            (found.loss, found.in_order(&outputs)?)
        }
        None => by_autograd(clause, minibatch, &outputs, host)?,
    };

    let named = outputs.iter().map(|(node, _)| *node);
    let named: Vec<(NodeId, Tensor)> = named
        .zip(by_output.iter().map(Tensor::shallow_clone))
        .collect();
    let tensors = leaves::gradients(clause, graph, &named)?;
    let mut of: Vec<Option<Vec<Tensor>>> = clause.plan.targets.iter().map(|_| None).collect();
    for (call, pass) in passes {
        let upstream = call.nodes.iter().map(|&(node, output)| {
            let place = outputs.iter().position(|(own, _)| *own == node);
            let place = place.ok_or_else(|| Fault::broken("every output has a gradient"))?;
            Ok((output, call.axes(graph, node).to_pass(&by_output[place])?))
        });
        let upstream = upstream.collect::<Result<Vec<_>, Fault>>()?;
        let network = &host.world.models[call.model].network;
        let gradients = profile::within(Label::Node(graph, call.nodes[0].0), || {
            pass.backward(network, &upstream)
        })?;
        if !guard::all_finite(&gradients)? {
            let numbers = guard::entering(&upstream)?;
            return Err(guard::not_finite(
                "the gradient through the model",
                numbers,
                graph,
                call.nodes[0].0,
            ));
        }
        let carried = without_gradient(|| {
            let targets = &clause.plan.targets;
            host.world.carry(call.model, gradients, targets)
        })?;
        for (model, gradients) in carried {
            let target = clause.plan.targets.iter().position(|&own| own == model);
            let target = target.ok_or_else(|| Fault::broken("what is trained is a target"))?;
            match &mut of[target] {
                None => of[target] = Some(gradients),
                Some(sum) => sum
                    .iter_mut()
                    .zip(gradients)
                    .for_each(|(sum, gradient)| *sum += gradient),
            }
        }
    }
    let of = of.into_iter().map(Option::unwrap_or_default).collect();
    let outputs = outputs
        .into_iter()
        .map(|(node, leaf)| (node, leaf.detach()))
        .collect();
    Ok(Gradient {
        loss: value,
        of,
        tensors,
        outputs,
    })
}

/// The loss and its gradient by the outputs, which are leaves of libtorch's autograd.
fn by_autograd(
    clause: &Clause,
    minibatch: &mut Executor<'_>,
    outputs: &[(NodeId, Tensor)],
    host: &mut StageHost<'_>,
) -> Result<(f64, Vec<Tensor>)> {
    let graph = minibatch.graph();
    // On a copy: if something is not finite, all of it is computed again to see where.
    let loss = minibatch.clone().evaluate(&[clause.plan.loss], host)?;
    let [Value::Tensor(loss)] = loss.as_slice() else {
        return Err(Fault::broken("a loss is a number").into());
    };
    let value = loss.f_double_value(&[])?;
    if !value.is_finite() {
        return Err(guard::loss_not_finite(clause, minibatch, host)?);
    }
    let leaves: Vec<&Tensor> = outputs.iter().map(|(_, leaf)| leaf).collect();
    let by_output = profile::within(Label::Work(Work::LossGradient), || {
        gradients(loss, &leaves, false)
    })?;
    // What stands where nothing is real is anything.
    let by_output = outputs.iter().zip(by_output).map(|((node, _), gradient)| {
        minibatch
            .extents()
            .keep_real(gradient, &graph.ty(*node).dims)
    });
    let by_output = by_output.collect::<Result<Vec<_>, Fault>>()?;
    if !guard::all_finite(&by_output)? {
        return Err(guard::gradient_not_finite(clause, minibatch, host)?);
    }
    Ok((value, by_output))
}

fn calls(graph: &Graph, outputs: &[NodeId]) -> Result<Vec<Call>> {
    let mut calls: Vec<Call> = Vec::new();
    for &node in outputs {
        let Op::Model {
            model: ModelRef { model, .. },
            output,
        } = graph.op(node)
        else {
            // A trainable tensor is a leaf by itself.
            continue;
        };
        let operands = graph.operands(node);
        match calls
            .iter_mut()
            .find(|call| call.model == *model && call.operands == operands)
        {
            Some(call) => call.nodes.push((node, *output)),
            None => calls.push(Call {
                model: *model,
                operands,
                nodes: vec![(node, *output)],
            }),
        }
    }
    Ok(calls)
}
