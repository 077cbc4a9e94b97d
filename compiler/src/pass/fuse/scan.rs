//! Loops along the cells of a kernel.

use std::sync::Arc;

use super::build::constant;
use crate::graph::{Binary, Graph, NodeId, Op};
use crate::kernel::{Instruction, KernelOp, Level, ScanLoop, ValueId};
use crate::ty::Elem;

/// A loop whose body is written once the kernel's own is complete.
pub(super) enum Loop<'g> {
    RunningSum {
        x: ValueId,
        zero: ValueId,
        reverse: bool,
        elem: Elem,
        node: NodeId,
    },
    /// The scan of a graph, with the values of its operands.
    Body {
        graph: &'g Graph,
        scan: NodeId,
        operands: Vec<ValueId>,
    },
}

/// Which operands of a scan have a value for each cell.
pub(super) fn of_cells(op: &Op) -> Vec<usize> {
    let Op::Scan {
        xs,
        captured,
        carries,
        masked,
        ..
    } = op
    else {
        return Vec::new();
    };
    let mask = xs + captured + carries;
    (0..*xs).chain(masked.then_some(mask)).collect()
}

impl Loop<'_> {
    /// Whether a scan is another part of this one.
    pub(super) fn is_of(&self, graph: &Graph, id: NodeId) -> bool {
        let Loop::Body { scan, .. } = self else {
            return false;
        };
        let Op::Scan {
            over,
            reverse,
            body,
            ..
        } = graph.op(*scan)
        else {
            return false;
        };
        let is_same = |other: &Op| {
            matches!(other, Op::Scan { over: own, reverse: turned, body: inner, .. }
                if own == over && turned == reverse && Arc::ptr_eq(inner, body))
        };
        is_same(graph.op(id)) && graph.operands(*scan) == graph.operands(id)
    }

    /// The loop, in a kernel whose body has so many instructions.
    pub(super) fn write(&self, first: usize) -> ScanLoop {
        match self {
            &Loop::RunningSum {
                x,
                zero,
                reverse,
                elem,
                node,
            } => {
                let carry = instruction(KernelOp::Carry { part: 0 }, elem, node);
                let before = ValueId(first as u32);
                let sum = instruction(KernelOp::Binary(Binary::Add, before, x), elem, node);
                ScanLoop {
                    reverse,
                    mask: None,
                    initial: vec![zero],
                    body: vec![carry, sum],
                    next: vec![ValueId(first as u32 + 1)],
                }
            }
            Loop::Body {
                graph,
                scan,
                operands,
            } => write_body(graph, *scan, operands, first),
        }
    }
}

fn instruction(op: KernelOp, elem: Elem, node: NodeId) -> Instruction {
    Instruction {
        op,
        elem,
        level: Level::Cell,
        node,
    }
}

fn write_body(graph: &Graph, scan: NodeId, operands: &[ValueId], first: usize) -> ScanLoop {
    let Op::Scan {
        reverse,
        xs,
        captured,
        carries,
        body: inner,
        ..
    } = graph.op(scan)
    else {
        return ScanLoop {
            reverse: false,
            mask: None,
            initial: Vec::new(),
            body: Vec::new(),
            next: Vec::new(),
        };
    };
    let mut body: Vec<Instruction> = Vec::new();
    let mut values: Vec<ValueId> = Vec::new();
    for id in inner.graph.ids() {
        let read: Vec<ValueId> = inner
            .graph
            .operands(id)
            .iter()
            .map(|operand| values[operand.index()])
            .collect();
        let elem = inner.graph.ty(id).elem;
        let mut push = |op: KernelOp| {
            body.push(instruction(op, elem, scan));
            ValueId((first + body.len()) as u32 - 1)
        };
        let value = match (inner.graph.op(id), read.as_slice()) {
            (Op::Input(name), _) => {
                let (kind, number) = name.split_at(1);
                let number: usize = number.parse().unwrap_or(0);
                match kind {
                    "x" => operands[number],
                    "k" => operands[xs + number],
                    _ => push(KernelOp::Carry { part: number }),
                }
            }
            (Op::Literal(array), _) => push(constant(&array.elements)),
            (Op::Unary(op), &[x]) => push(KernelOp::Unary(*op, x)),
            (Op::Binary(op), &[a, b]) => push(KernelOp::Binary(*op, a, b)),
            (Op::Select, &[condition, then, otherwise]) => {
                push(KernelOp::Select(condition, then, otherwise))
            }
            (Op::Cast(_), &[x]) => push(KernelOp::Cast(x)),
            (Op::Broadcast, &[x, mask]) => {
                let zero = push(match elem {
                    Elem::Int => KernelOp::Int(0),
                    Elem::Bool => KernelOp::Bool(false),
                    Elem::Real | Elem::Text => KernelOp::Real(0.0),
                });
                push(KernelOp::Select(mask, x, zero))
            }
            (_, read) => read[0],
        };
        values.push(value);
    }
    let start = xs + captured;
    ScanLoop {
        reverse: *reverse,
        mask: operands.get(start + carries).copied(),
        initial: operands[start..start + carries].to_vec(),
        body,
        next: inner.next.iter().map(|next| values[next.index()]).collect(),
    }
}
