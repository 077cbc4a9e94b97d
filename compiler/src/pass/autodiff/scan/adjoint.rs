//! The scan of adjoints: its body, and what the operands of the forward scan gain from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Scan;
use crate::graph::{Binary, Graph, NodeId, Op, Reduction, ScanBody};
use crate::pass::autodiff::backward;
use crate::pass::autodiff::builder::Builder;
use crate::pass::autodiff::rule::Gain;
use crate::pass::dce::dce;
use crate::pass::rewrite::{copy, rewrite_body, without_nodes};
use crate::ty::{DimId, Elem, Ty};

/// A scan of adjoints, and what each of its carries is.
pub(super) struct AdjointScan {
    scan: Scan,
    carries: Vec<Role>,
    /// Which positions are real, over the parents of the scanned dimension and itself.
    real: Option<NodeId>,
}

/// What a carry of the adjoint scan holds the adjoint of: a carry, a slice or a captured value of the forward scan.
#[derive(Clone, Copy)]
enum Role {
    Carry(usize),
    Slice(usize),
    Captured(usize),
}

/// The body of an adjoint scan under construction: its inputs by name, and what those stand for outside.
struct Body {
    graph: Graph,
    inputs: BTreeMap<String, NodeId>,
    /// Sliced along the scanned dimension.
    slices: Vec<(String, NodeId)>,
    captured: Vec<(String, NodeId)>,
}

impl Body {
    fn input(&mut self, name: &str, ty: Ty, b: &Builder) -> NodeId {
        let input = self
            .graph
            .add(Op::Input(name.to_string()), &[], ty, b.span(), None);
        self.inputs.insert(name.to_string(), input);
        input
    }

    fn slice(&mut self, name: String, of: NodeId, over: DimId, b: &Builder) -> NodeId {
        let input = self.input(&name, b.graph.ty(of).without(&[over]), b);
        self.slices.push((name, of));
        input
    }

    /// A slice of what has the scanned dimension, all of what has not.
    fn read(&mut self, name: String, of: NodeId, over: DimId, b: &Builder) -> NodeId {
        if b.graph.ty(of).has(over) {
            self.slice(name, of, over, b)
        } else {
            self.capture(name, of, b)
        }
    }

    fn capture(&mut self, name: String, of: NodeId, b: &Builder) -> NodeId {
        let input = self.input(&name, b.ty(of), b);
        self.captured.push((name, of));
        input
    }

    /// Copies the forward body, whose inputs are there already.
    fn copy(&mut self, forward: &Graph) -> Vec<NodeId> {
        let mut map: Vec<NodeId> = Vec::with_capacity(forward.len());
        for id in forward.ids() {
            let operands: Vec<NodeId> = forward
                .operands(id)
                .iter()
                .map(|operand| map[operand.index()])
                .collect();
            let input = if let Op::Input(name) = forward.op(id) {
                self.inputs.get(name).copied()
            } else {
                None
            };
            map.push(input.unwrap_or_else(|| {
                copy(
                    forward,
                    &mut self.graph,
                    id,
                    forward.op(id).clone(),
                    &operands,
                )
            }));
        }
        map
    }
}

/// The adjoint of a carry at one position, inside the body: from the later positions, and from its own value here.
struct CarryAdjoint {
    carry: usize,
    later: NodeId,
    here: Vec<NodeId>,
}

impl AdjointScan {
    pub(super) fn new(
        b: &mut Builder,
        forward: &Scan,
        parts: &[(NodeId, Option<NodeId>)],
        active: &[bool],
    ) -> AdjointScan {
        let over = forward.over;
        let real = forward.mask.or_else(|| b.mask(over));
        let mut graph = without_nodes(&forward.body.graph);
        graph.dims = b.graph.dims.clone();
        let mut body = Body {
            graph,
            inputs: BTreeMap::new(),
            slices: Vec::new(),
            captured: Vec::new(),
        };

        // What the forward body reads: the carries from their values one position earlier.
        for (number, &x) in forward.xs.iter().enumerate() {
            body.slice(format!("x{number}"), x, over, b);
        }
        for (number, &k) in forward.captured.iter().enumerate() {
            body.capture(format!("k{number}"), k, b);
        }
        for (number, &initial) in forward.initial.iter().enumerate() {
            let before = forward.before(b, number, initial, real);
            body.slice(format!("c{number}"), before, over, b);
        }
        let mut ambient = Vec::new();
        ambient.extend(real.map(|real| body.read("real".to_string(), real, over, b)));
        for (number, mask) in b.ambient.clone().into_iter().enumerate() {
            ambient.push(body.read(format!("ambient{number}"), mask, over, b));
        }
        let own = &forward.body.graph;
        let dims: BTreeSet<DimId> = own.ids().flat_map(|id| own.ty(id).dims.clone()).collect();
        for dim in dims {
            if let Some(mask) = b.mask(dim) {
                let input = body.read(format!("mask{}", dim.0), mask, over, b);
                body.graph.masks.insert(dim, input);
            }
        }
        let adjoints = carry_adjoints(b, &mut body, forward, parts);
        let copied = body.copy(&forward.body.graph);
        let next: Vec<NodeId> = forward
            .body
            .next
            .iter()
            .map(|next| copied[next.index()])
            .collect();
        let (next, carries) =
            differentiate(b, &mut body, forward, &next, &adjoints, &ambient, active);
        b.graph.dims = body.graph.dims.clone();

        let initial = carries.iter().map(|role| {
            let ty = match *role {
                Role::Carry(number) => b.ty(forward.initial[number]),
                Role::Slice(number) => b.graph.ty(forward.xs[number]).without(&[over]),
                Role::Captured(number) => b.ty(forward.captured[number]),
            };
            b.zeros(&ty)
        });
        let initial = initial.collect();
        let (body, xs, captured) = close(body, next, &carries);
        let scan = Scan {
            over,
            reverse: !forward.reverse,
            xs,
            captured,
            initial,
            mask: None,
            body: Arc::new(body),
        };
        AdjointScan {
            scan,
            carries,
            real,
        }
    }

    /// What the operands of the forward scan gain.
    pub(super) fn gains(&self, b: &mut Builder, forward: &Scan, active: &[bool]) -> Vec<Gain> {
        let (n_xs, n_captured, over) = (forward.xs.len(), forward.captured.len(), forward.over);
        let mut gains = Vec::new();
        for (part, role) in self.carries.iter().enumerate() {
            let position = match *role {
                Role::Slice(number) => number,
                Role::Captured(number) => n_xs + number,
                Role::Carry(number) => n_xs + n_captured + number,
            };
            if !active[position] {
                continue;
            }
            let values = self.scan.part(b, part);
            let gain = match role {
                Role::Slice(_) => values,
                Role::Captured(_) => b.reduce(Reduction::Sum, values, &[over], None),
                Role::Carry(_) => {
                    // Where the forward scan begins, the adjoint of a carry is that of its initial value.
                    let first = forward.first(b, self.real, &b.ty(values).dims);
                    let first = b.only(first, values);
                    b.reduce(Reduction::Sum, first, &[over], None)
                }
            };
            gains.push((position, gain));
        }
        gains
    }
}

/// The adjoints of the real carries at one position, as inputs of the body.
fn carry_adjoints(
    b: &mut Builder,
    body: &mut Body,
    forward: &Scan,
    parts: &[(NodeId, Option<NodeId>)],
) -> Vec<CarryAdjoint> {
    let mut adjoints = Vec::new();
    for (carry, &initial) in forward.initial.iter().enumerate() {
        let ty = b.ty(initial);
        if ty.elem != Elem::Real {
            continue;
        }
        let later = body.input(&format!("adjoint{carry}"), ty, b);
        let mut here = Vec::new();
        for &(id, adjoint) in parts {
            let own = matches!(b.graph.op(id), Op::Scan { part, .. } if *part == carry);
            if let (true, Some(adjoint)) = (own, adjoint) {
                // Nobody reads the value where it is not real, so its adjoint is garbage there.
                let adjoint = b.clean(adjoint);
                here.push(body.slice(format!("gain{}", id.index()), adjoint, forward.over, b));
            }
        }
        adjoints.push(CarryAdjoint { carry, later, here });
    }
    adjoints
}

/// Adds the adjoint computation to the body: the next value of each of its carries, and what they are.
fn differentiate(
    b: &Builder,
    body: &mut Body,
    forward: &Scan,
    next: &[NodeId],
    adjoints: &[CarryAdjoint],
    ambient: &[NodeId],
    active: &[bool],
) -> (Vec<NodeId>, Vec<Role>) {
    let mut within = Builder::new(&mut body.graph, true);
    within.at_span(b.span());
    let mut seeds = Vec::new();
    let mut held = Vec::new();
    for CarryAdjoint { carry, later, here } in adjoints {
        let dims = within.ty(*later).dims;
        let holds = forward.mask.map(|_| within.spread(ambient[0], &dims));
        let mut total = *later;
        for &gain in here {
            let gain = holds.map_or(gain, |holds| within.only(holds, gain));
            total = within.binary(Binary::Add, total, gain);
        }
        held.push(holds.map(|holds| within.except(holds, total)));
        seeds.push((
            next[*carry],
            holds.map_or(total, |holds| within.only(holds, total)),
        ));
    }
    within.ambient = ambient.to_vec();

    let n_xs = forward.xs.len();
    let roles = adjoints.iter().map(|adjoint| Role::Carry(adjoint.carry));
    let roles = roles.chain((0..n_xs).filter(|&number| active[number]).map(Role::Slice));
    let captured = (0..forward.captured.len()).filter(|&number| active[n_xs + number]);
    let roles: Vec<Role> = roles.chain(captured.map(Role::Captured)).collect();
    let wrt: Vec<NodeId> = roles.iter().map(|role| body.inputs[&role.name()]).collect();
    let mut gains = backward(&mut within, &seeds, &wrt);
    for (gain, held) in gains.iter_mut().zip(held) {
        if let Some(held) = held {
            *gain = within.binary(Binary::Add, held, *gain);
        }
    }
    (gains, roles)
}

impl Role {
    /// The input of the forward body.
    fn name(self) -> String {
        match self {
            Role::Carry(number) => format!("c{number}"),
            Role::Slice(number) => format!("x{number}"),
            Role::Captured(number) => format!("k{number}"),
        }
    }
}

/// The body without what it does not need, its inputs numbered as a scan numbers them, and what those are outside.
fn close(body: Body, next: Vec<NodeId>, carries: &[Role]) -> (ScanBody, Vec<NodeId>, Vec<NodeId>) {
    let Body {
        mut graph,
        slices,
        captured,
        ..
    } = body;
    graph.masks.clear();
    let ScanBody { graph, next } = rewrite_body(&ScanBody { graph, next }, dce);
    let reads = |name: &String| {
        graph
            .ids()
            .any(|id| matches!(graph.op(id), Op::Input(own) if own == name))
    };
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (place, role) in carries.iter().enumerate() {
        if let Role::Carry(number) = role {
            names.insert(format!("adjoint{number}"), format!("c{place}"));
        }
    }
    let mut keep = |prefix: &str, inputs: Vec<(String, NodeId)>| {
        let read = inputs
            .into_iter()
            .filter(|(name, _)| reads(name))
            .enumerate();
        read.map(|(number, (name, of))| {
            names.insert(name, format!("{prefix}{number}"));
            of
        })
        .collect::<Vec<NodeId>>()
    };
    let (xs, captured) = (keep("x", slices), keep("k", captured));
    let mut renamed = without_nodes(&graph);
    for id in graph.ids() {
        let op = match graph.op(id) {
            Op::Input(name) => Op::Input(names[name].clone()),
            op => op.clone(),
        };
        copy(&graph, &mut renamed, id, op, &graph.operands(id));
    }
    (
        ScanBody {
            graph: renamed,
            next,
        },
        xs,
        captured,
    )
}
