//! A cluster written out as a kernel.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::scan::{self, Loop};
use super::space::{Place, reads};
use crate::array::Elements;
use crate::graph::{Binary, Graph, NodeId, Op, Reduction};
use crate::kernel::{Form, Input, Instruction, Kernel, KernelOp, Level, Output, ValueId};
use crate::ty::Elem;

pub(super) fn kernel(graph: &Graph, cluster: &Cluster) -> Kernel {
    let mut builder = Builder {
        graph,
        cluster,
        inputs: Vec::new(),
        body: Vec::new(),
        values: BTreeMap::new(),
        loops: Vec::new(),
    };
    let slice = &cluster.slice;
    for &id in slice.loads.union(&slice.computed) {
        let value = if slice.loads.contains(&id) {
            builder.load(id)
        } else {
            builder.compute(id)
        };
        builder.values.insert(id, value);
    }
    let outputs = cluster
        .roots
        .iter()
        .map(|(&root, place)| builder.output(root, *place))
        .collect();
    let first = builder.body.len();
    let scans = builder.loops.iter().map(|own| own.write(first)).collect();
    Kernel {
        rows: cluster.space.rows.clone(),
        cells: cluster.space.cells.clone(),
        inputs: builder.inputs,
        body: builder.body,
        scans,
        outputs,
    }
}

struct Builder<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    inputs: Vec<Input>,
    body: Vec<Instruction>,
    values: BTreeMap<NodeId, ValueId>,
    loops: Vec<Loop<'a>>,
}

impl Builder<'_> {
    fn push(&mut self, op: KernelOp, elem: Elem, level: Level, node: NodeId) -> ValueId {
        self.body.push(Instruction {
            op,
            elem,
            level,
            node,
        });
        ValueId(self.body.len() as u32 - 1)
    }

    /// As [`Builder::push`], as coarse as what it reads allows.
    fn push_at_operands(&mut self, op: KernelOp, operands: &[ValueId], node: NodeId) -> ValueId {
        let levels = operands.iter().map(|operand| self.level(*operand));
        let level = levels.max().unwrap_or(Level::Row);
        self.push(op, self.graph.ty(node).elem, level, node)
    }

    fn level(&self, value: ValueId) -> Level {
        self.body[value.0 as usize].level
    }

    fn load(&mut self, id: NodeId) -> ValueId {
        let ty = self.graph.ty(id);
        self.inputs.push(Input {
            node: id,
            elem: ty.elem,
            dims: ty.dims.clone(),
        });
        let is_cell = ty
            .dims
            .iter()
            .any(|dim| self.cluster.space.cells.contains(dim));
        let level = if is_cell { Level::Cell } else { Level::Row };
        self.push(KernelOp::Load(self.inputs.len() - 1), ty.elem, level, id)
    }

    /// A value of the row, at every cell.
    fn at_cells(&mut self, value: ValueId) -> ValueId {
        let Instruction {
            elem, level, node, ..
        } = self.body[value.0 as usize];
        match level {
            Level::Cell => value,
            Level::Row => self.push(KernelOp::Cast(value), elem, Level::Cell, node),
        }
    }

    fn zero(&mut self, elem: Elem, node: NodeId) -> ValueId {
        let zero = match elem {
            Elem::Int => KernelOp::Int(0),
            Elem::Bool => KernelOp::Bool(false),
            Elem::Real => KernelOp::Real(0.0),
            Elem::Text => KernelOp::TextValue(String::new()),
        };
        self.push(zero, elem, Level::Row, node)
    }

    fn compute(&mut self, id: NodeId) -> ValueId {
        let read = reads(self.graph, id);
        let operands: Vec<ValueId> = read.iter().map(|operand| self.values[operand]).collect();
        let elem = self.graph.ty(id).elem;
        let op = self.graph.op(id);
        if let Op::Literal(array) = op {
            return self.push(constant(&array.elements), elem, Level::Row, id);
        }
        if let Op::Position(dim) = op {
            let level = if self.cluster.space.cells.contains(dim) {
                Level::Cell
            } else {
                Level::Row
            };
            return self.push(KernelOp::Position(*dim), elem, level, id);
        }
        if let Op::Scan { part, .. } = op {
            return self.scan(id, *part, &operands);
        }
        let own = match (op, operands.as_slice()) {
            (Op::Unary(op), &[x]) => KernelOp::Unary(*op, x),
            (Op::Binary(op), &[a, b]) => KernelOp::Binary(*op, a, b),
            (Op::Select, &[condition, then, otherwise]) => {
                KernelOp::Select(condition, then, otherwise)
            }
            (Op::Text(op), operands) => KernelOp::Text(op.clone(), operands.to_vec()),
            (Op::Cast(_), &[x]) if self.body[x.0 as usize].elem != elem => KernelOp::Cast(x),
            (Op::Broadcast, &[x, mask]) => {
                let zero = self.zero(elem, id);
                return self.push_at_operands(KernelOp::Select(mask, x, zero), &[mask, x], id);
            }
            (
                Op::Reduce {
                    kind: Reduction::Count,
                    ..
                },
                &[mask],
            ) if self.is_masked(id) => {
                return self.reduce(Reduction::Count, mask, Some(mask), id);
            }
            (Op::Reduce { kind, .. }, &[x]) => return self.reduce(*kind, x, None, id),
            (Op::Reduce { kind, .. }, &[x, mask]) => return self.reduce(*kind, x, Some(mask), id),
            (Op::Contract { .. }, &[a, b]) => {
                let product =
                    self.push_at_operands(KernelOp::Binary(Binary::Mul, a, b), &[a, b], id);
                return self.reduce(Reduction::Sum, product, None, id);
            }
            (Op::Cumsum { reverse, .. }, &[x]) => {
                let x = self.at_cells(x);
                let zero = self.zero(elem, id);
                let scan = self.loops.len();
                self.loops.push(Loop::RunningSum {
                    x,
                    zero,
                    reverse: *reverse,
                    elem,
                    node: id,
                });
                return self.push(KernelOp::Scan { scan, part: 0 }, elem, Level::Cell, id);
            }
            (Op::Shift { by, .. }, &[x, fill]) => {
                let value = self.at_cells(x);
                let shift = KernelOp::Shift {
                    value,
                    by: *by,
                    fill,
                };
                return self.push(shift, elem, Level::Cell, id);
            }
            // What is repeated, stopped or cast to its own element is the value itself.
            (_, operands) => return operands[0],
        };
        self.push_at_operands(own, &operands, id)
    }

    fn reduce(
        &mut self,
        kind: Reduction,
        value: ValueId,
        mask: Option<ValueId>,
        node: NodeId,
    ) -> ValueId {
        let value = self.at_cells(value);
        let mask = mask.map(|mask| self.at_cells(mask));
        let elem = self.graph.ty(node).elem;
        self.push(
            KernelOp::Reduce { kind, value, mask },
            elem,
            Level::Row,
            node,
        )
    }

    fn is_masked(&self, id: NodeId) -> bool {
        self.graph.operands(id).len() > 1
    }

    /// One part of a scan; parts of the same scan share a loop.
    fn scan(&mut self, id: NodeId, part: usize, operands: &[ValueId]) -> ValueId {
        let graph = self.graph;
        let same = self.loops.iter().position(|own| own.is_of(graph, id));
        let number = match same {
            Some(number) => number,
            None => {
                let mut operands = operands.to_vec();
                for place in scan::of_cells(graph.op(id)) {
                    operands[place] = self.at_cells(operands[place]);
                }
                self.loops.push(Loop::Body {
                    graph,
                    scan: id,
                    operands,
                });
                self.loops.len() - 1
            }
        };

        self.push(
            KernelOp::Scan { scan: number, part },
            graph.ty(id).elem,
            Level::Cell,
            id,
        )
    }

    fn output(&mut self, root: NodeId, place: Place) -> Output {
        let form = match place {
            Place::Cells => Form::Cells,
            Place::Rows => Form::Rows,
            Place::Total => return self.total(root),
        };
        let mut value = self.values[&root];
        if form == Form::Cells {
            value = self.at_cells(value);
        }
        Output {
            node: root,
            value,
            form,
        }
    }

    fn total(&mut self, root: NodeId) -> Output {
        let operands = self.graph.operands(root);
        let is_of_cells = self
            .graph
            .ty(operands[0])
            .dims
            .iter()
            .any(|dim| self.cluster.space.cells.contains(dim));
        let read = reads(self.graph, root);
        let mut values: Vec<ValueId> = read.iter().map(|operand| self.values[operand]).collect();
        if is_of_cells {
            values = values
                .into_iter()
                .map(|value| self.at_cells(value))
                .collect();
        }
        let kind = if let Op::Reduce { kind, .. } = self.graph.op(root) {
            *kind
        } else {
            Reduction::Sum
        };
        let mask = if self.is_masked(root) {
            values.last().copied()
        } else {
            None
        };
        let form = Form::Total { kind, mask };
        Output {
            node: root,
            value: values[0],
            form,
        }
    }
}

pub(super) fn constant(elements: &Elements) -> KernelOp {
    match elements {
        Elements::Real(values) => KernelOp::Real(values[0]),
        Elements::Int(values) => KernelOp::Int(values[0]),
        Elements::Bool(values) => KernelOp::Bool(values[0]),
        Elements::Text(values) => KernelOp::TextValue(values[0].clone()),
    }
}
