//! The derivative of a scan: a scan in the other direction.
//!
//! Its carries are the adjoints of the carries. At each position it computes the body anew from the slices
//! and the carries before it, and gives the adjoints of the slices, and the shares that this position has
//! in the adjoints of what is captured. Where the mask does not hold, the adjoints of the carries stay.

mod adjoint;

use std::sync::Arc;

use super::builder::Builder;
use super::rule::Gain;
use crate::graph::{Binary, Graph, NodeId, Op, ScanBody};
use crate::ty::{DimId, Elem, Ty};
use adjoint::AdjointScan;

/// If the node is a scan, the scans (among the first nodes) that give the carries of the same computation.
pub(super) fn parts(graph: &Graph, id: NodeId, end: usize) -> Vec<NodeId> {
    let key = |id: NodeId| {
        let Op::Scan {
            over,
            reverse,
            body,
            ..
        } = graph.op(id)
        else {
            return None;
        };
        Some((*over, *reverse, Arc::as_ptr(body), graph.operands(id)))
    };
    let Some(own) = key(id) else {
        return Vec::new();
    };
    let readers = own
        .3
        .first()
        .map_or(Vec::new(), |&operand| graph.users(operand));
    readers
        .into_iter()
        .filter(|other| other.index() < end && key(*other).as_ref() == Some(&own))
        .collect()
}

/// A scan taken apart.
struct Scan {
    over: DimId,
    reverse: bool,
    xs: Vec<NodeId>,
    captured: Vec<NodeId>,
    initial: Vec<NodeId>,
    mask: Option<NodeId>,
    body: Arc<ScanBody>,
}

impl Scan {
    fn of(graph: &Graph, id: NodeId) -> Option<Scan> {
        let Op::Scan {
            over,
            reverse,
            xs,
            captured,
            carries,
            body,
            ..
        } = graph.op(id)
        else {
            return None;
        };
        let mut operands = graph.operands(id).into_iter();
        let mut next = |count: usize| operands.by_ref().take(count).collect::<Vec<NodeId>>();
        let (xs, captured, initial) = (next(*xs), next(*captured), next(*carries));
        let mask = operands.next();
        Some(Scan {
            over: *over,
            reverse: *reverse,
            xs,
            captured,
            initial,
            mask,
            body: body.clone(),
        })
    }

    /// The value of one carry at every position.
    fn part(&self, b: &mut Builder, part: usize) -> NodeId {
        let ty = b.ty(self.initial[part]);
        let ty = Ty::new(ty.elem, [ty.dims, vec![self.over]].concat());
        let op = Op::Scan {
            over: self.over,
            reverse: self.reverse,
            xs: self.xs.len(),
            captured: self.captured.len(),
            carries: self.initial.len(),
            masked: self.mask.is_some(),
            part,
            body: self.body.clone(),
        };
        let operands: Vec<NodeId> = self
            .xs
            .iter()
            .chain(&self.captured)
            .chain(&self.initial)
            .chain(&self.mask)
            .copied()
            .collect();
        b.add(op, &operands, ty)
    }

    /// The value of one carry before every position.
    fn before(
        &self,
        b: &mut Builder,
        part: usize,
        initial: NodeId,
        real: Option<NodeId>,
    ) -> NodeId {
        let values = self.part(b, part);
        let before = b.shift(
            self.over,
            if self.reverse { -1 } else { 1 },
            values,
            initial,
        );
        if real.is_none() {
            return before;
        }
        // Where padding comes first, the value there is the initial one, but its adjoint would be lost as that of padding.
        let dims = b.ty(values).dims;
        let first = self.first(b, real, &dims);
        let initial = b.spread(initial, &dims);
        b.select(first, initial, before)
    }

    /// Where the scan begins, over the given dimensions.
    fn first(&self, b: &mut Builder, real: Option<NodeId>, dims: &[DimId]) -> NodeId {
        let (over, reverse) = (self.over, self.reverse);
        let first = match real {
            // The first real position.
            Some(real) if b.graph.ty(real).dims.iter().all(|dim| dims.contains(dim)) => {
                let numbers = b.cast(Elem::Int, real);
                let ty = b.ty(numbers);
                let numbers = b.add(Op::Cumsum { over, reverse }, &[numbers], ty.clone());
                let one = b.int(1);
                let one = b.spread(one, &ty.dims);
                let first = b.binary(Binary::Eq, numbers, one);
                b.binary(Binary::And, first, real)
            }
            Some(_) | None => {
                let position = b.position(over, &[over]);
                let (one, size) = (b.int(1), b.size(over));
                let first = if reverse {
                    b.binary(Binary::Sub, size, one)
                } else {
                    b.int(0)
                };
                let first = b.spread(first, &[over]);
                b.binary(Binary::Eq, position, first)
            }
        };
        b.spread(first, dims)
    }
}

/// What the operands of scans of one computation gain, given their adjoints.
pub(super) fn rule(
    b: &mut Builder,
    parts: &[(NodeId, Option<NodeId>)],
    active: &[bool],
) -> Vec<Gain> {
    if parts.iter().all(|(_, adjoint)| adjoint.is_none()) {
        return Vec::new();
    }
    let Some(forward) = Scan::of(b.graph, parts[0].0) else {
        return Vec::new();
    };
    let adjoint_scan = AdjointScan::new(b, &forward, parts, active);
    adjoint_scan.gains(b, &forward, active)
}

/// The product of the elements up to each one, it included.
pub(super) fn running_product(
    b: &mut Builder,
    over: DimId,
    reverse: bool,
    x: NodeId,
    one: NodeId,
) -> NodeId {
    let slice = b.ty(one);
    let mut graph = Graph::default();
    graph.dims = b.graph.dims.clone();
    let mut within = Builder::new(&mut graph, true);
    within.at_span(b.span());
    let element = within.add(Op::Input("x0".to_string()), &[], slice.clone());
    let product = within.add(Op::Input("c0".to_string()), &[], slice);
    let next = within.mul(product, element);
    let body = Arc::new(ScanBody {
        graph,
        next: vec![next],
    });
    let scan = Scan {
        over,
        reverse,
        xs: vec![x],
        captured: Vec::new(),
        initial: vec![one],
        mask: None,
        body,
    };
    scan.part(b, 0)
}
