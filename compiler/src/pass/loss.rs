//! The graph of a minibatch: from what it is given to the loss, and back to the outputs of the models.

use std::collections::{BTreeMap, BTreeSet};

use super::autodiff::{clean, gradients, has_derivative};
use super::rewrite::Rewritten;
use super::roots::Roots;
use super::{apply, cse, dce, simplify};
use crate::graph::{Binary, Graph, NodeId, Op, Reduction, Unary};
use crate::ty::{Elem, Ty};

/// A loss and its gradient as a graph of its own, over the dimensions of the stage's graph and some more.
///
/// What a minibatch is given is an input here: what is made of it must not be taken for the same of the whole batch.
#[derive(Clone, Debug)]
pub struct LossGraph {
    pub graph: Graph,
    /// Nodes of the stage's graph, each with the input that has its value here.
    pub given: Vec<(NodeId, NodeId)>,
    pub loss: NodeId,
    /// The gradient by each output, 0 where nothing is real.
    pub gradients: Vec<NodeId>,
    /// A bool: whether all elements of all gradients are finite.
    pub finite: NodeId,
}

impl LossGraph {
    /// The gradient of `loss` by `outputs`, given the nodes `given` (the outputs among them), from which all others follow.
    /// Masks of ragged dimensions are known besides.
    ///
    /// An error says what has no derivative.
    pub fn new(
        stage: &Graph,
        loss: NodeId,
        outputs: &[NodeId],
        given: &BTreeSet<NodeId>,
    ) -> Result<LossGraph, &'static str> {
        let needed = needed(stage, loss, given);
        let mut graph = Graph::default();
        graph.dims = stage.dims.clone();
        graph.calls = stage.calls.clone();
        let mut map: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for (&dim, &mask) in &stage.masks {
            if needed.iter().any(|&id| stage.ty(id).has(dim)) {
                let node = stage.node(mask);
                let own = graph.add(Op::Mask(dim), &[], node.ty.clone(), node.span, node.call);
                graph.masks.insert(dim, own);
                map.insert(mask, own);
            }
        }
        let mut inputs = Vec::new();
        for &id in &needed {
            if map.contains_key(&id) {
                continue;
            }
            let node = stage.node(id);
            let own = if given.contains(&id) {
                let input = Op::Input(format!("given.{}", id.index()));
                let own = graph.add(input, &[], node.ty.clone(), node.span, node.call);
                inputs.push((id, own));
                own
            } else {
                has_derivative(&node.op)?;
                let operands: Vec<NodeId> = stage
                    .operands(id)
                    .iter()
                    .filter_map(|operand| map.get(operand).copied())
                    .collect();
                graph.add(
                    node.op.clone(),
                    &operands,
                    node.ty.clone(),
                    node.span,
                    node.call,
                )
            };
            map.insert(id, own);
        }
        let loss = map[&loss];
        let wrt: Vec<NodeId> = outputs
            .iter()
            .filter_map(|output| map.get(output).copied())
            .collect();
        if wrt.len() != outputs.len() {
            return Err("a loss that does not read what the model computes");
        }
        let gradients = gradients(&mut graph, loss, &wrt);
        let gradients: Vec<NodeId> = gradients
            .into_iter()
            .map(|id| clean(&mut graph, id))
            .collect();
        let finite = all_finite(&mut graph, &gradients);
        let mut made = LossGraph {
            graph,
            given: inputs,
            loss,
            gradients,
            finite,
        };
        for pass in [simplify::simplify, cse::cse, dce::dce] {
            apply(pass, &mut made);
        }
        Ok(made)
    }

    /// Everything that a minibatch computes.
    pub fn wanted(&self) -> Vec<NodeId> {
        [self.loss, self.finite]
            .into_iter()
            .chain(self.gradients.iter().copied())
            .collect()
    }
}

/// What the loss is computed from, down to what is given; operands first.
fn needed(stage: &Graph, loss: NodeId, given: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let mut needed = BTreeSet::new();
    let mut open = vec![loss];
    while let Some(id) = open.pop() {
        let is_new = !matches!(stage.op(id), Op::Draw(_)) && needed.insert(id);
        if is_new && !given.contains(&id) {
            open.extend(stage.operands(id));
        }
    }
    needed.into_iter().collect()
}

fn all_finite(graph: &mut Graph, gradients: &[NodeId]) -> NodeId {
    let mut all: Option<NodeId> = None;
    for &gradient in gradients {
        let node = graph.node(gradient).clone();
        let mut add =
            |op: Op, operands: &[NodeId], ty: Ty| graph.add(op, operands, ty, node.span, node.call);
        let finite = add(
            Op::Unary(Unary::IsFinite),
            &[gradient],
            node.ty.with_elem(Elem::Bool),
        );
        let every = Op::Reduce {
            kind: Reduction::All,
            over: node.ty.dims.clone(),
        };
        let own = add(every, &[finite], Ty::scalar(Elem::Bool));
        all = Some(match all {
            None => own,
            Some(others) => add(
                Op::Binary(Binary::And),
                &[others, own],
                Ty::scalar(Elem::Bool),
            ),
        });
    }
    all.unwrap_or_else(|| {
        let holds = Op::Literal(crate::array::Array::bool(true));
        graph.add(holds, &[], Ty::scalar(Elem::Bool), Default::default(), None)
    })
}

impl Roots for LossGraph {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    fn roots(&mut self) -> Vec<(String, &mut NodeId)> {
        let mut roots = vec![
            ("loss".to_string(), &mut self.loss),
            ("finite".to_string(), &mut self.finite),
        ];
        let gradients = self.gradients.iter_mut().enumerate();
        roots.extend(gradients.map(|(number, id)| (format!("gradient.{number}"), id)));
        roots
    }

    fn follow(&mut self, rewritten: &Rewritten) {
        let given = std::mem::take(&mut self.given).into_iter();
        let renamed = given.filter_map(|(of, own)| Some((of, rewritten.map[own.index()]?)));
        self.given = renamed.collect();
    }
}
