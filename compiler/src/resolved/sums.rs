//! A number for what a value computes: of its primitives, with the values that it reads by their names.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Owner, Stage};
use crate::array::Elements;
use crate::dump;
use crate::graph::{Graph, NodeId, Op};

impl Stage<'_> {
    /// Of a value: all nodes of it that others read, or that nothing reads.
    pub(super) fn sum_of(&self, owner: Owner) -> String {
        let graph = &self.own.graph;
        let is_inside = |id: &NodeId| self.owners[id.index()] == Some(owner);
        let is_result = |id: &NodeId| {
            let users = graph.users(*id);
            users.is_empty() || users.iter().any(|user| !is_inside(user))
        };
        let mut known = BTreeMap::new();
        let results = graph.ids().filter(is_inside).filter(is_result);
        let sums = results.map(|id| self.sum_inside(id, Some(owner), &mut known));
        show(sums.fold(START, |all, sum| mix(all, &sum.to_le_bytes())))
    }

    /// Of an expression that is no value of its own.
    pub(super) fn sum(&self, node: NodeId) -> String {
        show(self.sum_inside(node, None, &mut BTreeMap::new()))
    }

    fn sum_inside(
        &self,
        id: NodeId,
        inside: Option<Owner>,
        known: &mut BTreeMap<NodeId, u64>,
    ) -> u64 {
        if let Some(&sum) = known.get(&id) {
            return sum;
        }
        let graph = &self.own.graph;
        let sum = match self.owners[id.index()] {
            Some(owner) if Some(owner) != inside => {
                // Of a draw, its field; of a block, its type, should it have several results.
                let part = match owner {
                    Owner::Draw(_) => dump::head(graph, id),
                    Owner::Model(_) | Owner::Call(_) | Owner::Named(_) => {
                        dump::show(&graph.dims, graph.ty(id))
                    }
                };
                mix(mix(START, self.names[&owner].as_bytes()), part.as_bytes())
            }
            Some(_) | None => {
                let own = mix(START, self.primitive(id).as_bytes());
                let operands = graph.operands(id);
                let sums = operands
                    .into_iter()
                    .map(|operand| self.sum_inside(operand, inside, known));
                sums.collect::<Vec<_>>()
                    .iter()
                    .fold(own, |all, sum| mix(all, &sum.to_le_bytes()))
            }
        };
        known.insert(id, sum);
        sum
    }

    /// A primitive as text, without the numbers that depend on the rest of the file.
    fn primitive(&self, id: NodeId) -> String {
        let graph = &self.own.graph;
        match graph.op(id) {
            Op::Draw(draw) => format!("{} {:?}", graph.draws[*draw].block, self.draw_args(*draw)),
            Op::Model { .. } => self.output(id),
            Op::Trainable(tensor) => {
                let name = self.plan.tensors.get(tensor.model).map(|own| &own.name);
                format!("trainable {name:?} {:?}", tensor.frozen)
            }
            // Two places of a program draw other numbers, of the same distribution.
            Op::Random { kind, .. } => format!("{kind:?}"),
            _ => primitive(graph, id),
        }
    }
}

fn primitive(graph: &Graph, id: NodeId) -> String {
    let mut text = dump::head(graph, id) + &dump::show(&graph.dims, graph.ty(id));
    match graph.op(id) {
        // Long ones are cut short in a dump.
        Op::Literal(array) => {
            let _ = match &array.elements {
                Elements::Real(values) => write!(text, "{values:?}"),
                Elements::Int(values) => write!(text, "{values:?}"),
                Elements::Bool(values) => write!(text, "{values:?}"),
                Elements::Text(values) => write!(text, "{values:?}"),
            };
        }
        Op::Scan { body, .. } => {
            for id in body.graph.ids() {
                let operands = body.graph.operands(id);
                let _ = write!(text, "{} {operands:?}", primitive(&body.graph, id));
            }
            let _ = write!(text, "{:?}", body.next);
        }
        _ => {}
    }
    text
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo 1991): the same on every machine and in every version.
const START: u64 = 0xcbf2_9ce4_8422_2325;

fn mix(sum: u64, bytes: &[u8]) -> u64 {
    let mixed = bytes.iter().fold(sum, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    // An end, so that what is joined from other parts is something else.
    (mixed ^ 0x1ff).wrapping_mul(0x100_0000_01b3)
}

fn show(sum: u64) -> String {
    format!("{sum:016x}")
}
