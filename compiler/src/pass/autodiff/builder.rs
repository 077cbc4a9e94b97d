//! Adding nodes to a graph under differentiation.

use rlp_grammar::ast::Span;

use crate::array::Array;
use crate::graph::{Binary, CallId, Graph, NodeId, Op, Reduction, Unary};
use crate::phase;
use crate::ty::{Dim, DimId, Elem, Ty};

/// A graph, and for whom nodes are added to it.
pub(super) struct Builder<'g> {
    pub(super) graph: &'g mut Graph,
    span: Span,
    call: Option<CallId>,
    /// Whether the graph is the body of a scan, whose sources name no draw.
    in_body: bool,
    /// In the body of a scan: which of what runs side by side is real at the current position. What is
    /// over (at least) the dimensions of such a mask is cleaned with it.
    pub(super) ambient: Vec<NodeId>,
}

impl<'g> Builder<'g> {
    pub(super) fn new(graph: &'g mut Graph, in_body: bool) -> Builder<'g> {
        Builder {
            graph,
            span: Span::default(),
            call: None,
            in_body,
            ambient: Vec::new(),
        }
    }

    /// What is added from here on belongs to this node.
    pub(super) fn at(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        (self.span, self.call) = (node.span, node.call);
    }

    pub(super) fn at_span(&mut self, span: Span) {
        self.span = span;
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    pub(super) fn add(&mut self, op: Op, operands: &[NodeId], ty: Ty) -> NodeId {
        self.graph.add(op, operands, ty, self.span, self.call)
    }

    pub(super) fn ty(&self, id: NodeId) -> Ty {
        self.graph.ty(id).clone()
    }

    /// Adds a gain to an adjoint. What is over the dimensions of an ambient mask counts where it holds.
    pub(super) fn accumulate(&mut self, adjoints: &mut [Option<NodeId>], id: NodeId, gain: NodeId) {
        let gain = self.clean_ambient(gain);
        let adjoint = &mut adjoints[id.index()];
        *adjoint = Some(match *adjoint {
            Some(known) => self.binary(Binary::Add, known, gain),
            None => gain,
        });
    }

    // Constants.

    pub(super) fn real(&mut self, value: f64) -> NodeId {
        self.add(Op::Literal(Array::real(value)), &[], Ty::scalar(Elem::Real))
    }

    pub(super) fn int(&mut self, value: i64) -> NodeId {
        self.add(Op::Literal(Array::int(value)), &[], Ty::scalar(Elem::Int))
    }

    /// A real number everywhere.
    pub(super) fn constant(&mut self, value: f64, ty: &Ty) -> NodeId {
        let scalar = self.real(value);
        self.spread(scalar, &ty.dims)
    }

    pub(super) fn zeros(&mut self, ty: &Ty) -> NodeId {
        self.constant(0.0, ty)
    }

    /// 1 at the real positions of a node, 0 at the others.
    pub(super) fn ones(&mut self, like: NodeId) -> NodeId {
        self.at(like);
        let ty = self.ty(like);
        let one = self.real(1.0);
        let mask = self.real_positions(&ty.dims);
        self.broadcast(one, &ty.dims, mask)
    }

    // Elementwise.

    pub(super) fn unary(&mut self, op: Unary, x: NodeId) -> NodeId {
        let elem = if op == Unary::IsFinite {
            Elem::Bool
        } else {
            self.graph.ty(x).elem
        };
        let ty = self.graph.ty(x).with_elem(elem);
        self.add(Op::Unary(op), &[x], ty)
    }

    pub(super) fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> NodeId {
        let claims = matches!(
            op,
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge
        );
        let elem = if claims {
            Elem::Bool
        } else {
            self.graph.ty(a).elem
        };
        let ty = self.graph.ty(a).with_elem(elem);
        self.add(Op::Binary(op), &[a, b], ty)
    }

    pub(super) fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Mul, a, b)
    }

    pub(super) fn neg(&mut self, x: NodeId) -> NodeId {
        self.unary(Unary::Neg, x)
    }

    pub(super) fn select(&mut self, condition: NodeId, then: NodeId, otherwise: NodeId) -> NodeId {
        let ty = self.ty(then);
        self.add(Op::Select, &[condition, then, otherwise], ty)
    }

    /// x where the condition holds, 0 elsewhere.
    pub(super) fn only(&mut self, condition: NodeId, x: NodeId) -> NodeId {
        let zeros = self.zeros(&self.ty(x));
        self.select(condition, x, zeros)
    }

    /// 0 where the condition holds, x elsewhere.
    pub(super) fn except(&mut self, condition: NodeId, x: NodeId) -> NodeId {
        let zeros = self.zeros(&self.ty(x));
        self.select(condition, zeros, x)
    }

    pub(super) fn cast(&mut self, elem: Elem, x: NodeId) -> NodeId {
        let ty = self.graph.ty(x).with_elem(elem);
        self.add(Op::Cast(elem), &[x], ty)
    }

    // Between dimensions.

    pub(super) fn broadcast(&mut self, x: NodeId, dims: &[DimId], mask: Option<NodeId>) -> NodeId {
        let ty = Ty::new(self.graph.ty(x).elem, dims.to_vec());
        match mask {
            Some(mask) => self.add(Op::Broadcast, &[x, mask], ty),
            None if *self.graph.ty(x) == ty => x,
            None => self.add(Op::Broadcast, &[x], ty),
        }
    }

    /// Repeated over the dimensions that it lacks, without a mask.
    pub(super) fn spread(&mut self, x: NodeId, dims: &[DimId]) -> NodeId {
        self.broadcast(x, dims, None)
    }

    pub(super) fn reduce(
        &mut self,
        kind: Reduction,
        x: NodeId,
        over: &[DimId],
        mask: Option<NodeId>,
    ) -> NodeId {
        let elem = if kind == Reduction::Count {
            Elem::Int
        } else {
            self.graph.ty(x).elem
        };
        if over.is_empty() && mask.is_none() && kind != Reduction::Count {
            return x;
        }
        let ty = self.graph.ty(x).without(over).with_elem(elem);
        let operands: Vec<NodeId> = [x].into_iter().chain(mask).collect();
        self.add(
            Op::Reduce {
                kind,
                over: over.to_vec(),
            },
            &operands,
            ty,
        )
    }

    /// The sum over all dimensions but those of `kept`, where the mask holds; without one, of the real elements.
    pub(super) fn sum_to(&mut self, x: NodeId, kept: &[DimId], mask: Option<NodeId>) -> NodeId {
        let dims = self.ty(x).dims;
        let over: Vec<DimId> = dims
            .iter()
            .copied()
            .filter(|dim| !kept.contains(dim))
            .collect();
        let ragged = over.iter().any(|&dim| self.graph.dims.is_ragged(dim));
        let mask = if ragged {
            mask.or_else(|| self.real_positions(&dims))
        } else {
            mask
        };
        match mask {
            Some(mask) if over.is_empty() => self.only(mask, x),
            None if over.is_empty() => x,
            mask => {
                let x = self.clean_ambient(x);
                self.reduce(Reduction::Sum, x, &over, mask)
            }
        }
    }

    /// Σ a·b over the real positions, to the dimensions `kept` (those of them that a or b has).
    pub(super) fn contract(&mut self, a: NodeId, b: NodeId, kept: &[DimId]) -> NodeId {
        let joint: Vec<DimId> = [self.ty(a).dims, self.ty(b).dims].concat();
        let joint = Ty::new(Elem::Real, joint);
        let over: Vec<DimId> = joint
            .dims
            .iter()
            .copied()
            .filter(|dim| !kept.contains(dim))
            .collect();
        let (a, b) = (self.clean(a), self.clean(b));
        self.add(
            Op::Contract { over: over.clone() },
            &[a, b],
            joint.without(&over),
        )
    }

    pub(super) fn rename(&mut self, x: NodeId, pairs: &[(DimId, DimId)]) -> NodeId {
        let new = |dim: &DimId| {
            pairs
                .iter()
                .find(|(old, _)| old == dim)
                .map_or(*dim, |&(_, new)| new)
        };
        let ty = Ty::new(
            self.graph.ty(x).elem,
            self.graph.ty(x).dims.iter().map(new).collect(),
        );
        self.add(Op::Rename(pairs.to_vec()), &[x], ty)
    }

    pub(super) fn gather(&mut self, over: DimId, x: NodeId, index: NodeId) -> NodeId {
        let dims = self.graph.ty(x).without(&[over]).dims;
        let ty = Ty::new(self.graph.ty(x).elem, [dims, self.ty(index).dims].concat());
        self.add(Op::Gather { over }, &[x, index], ty)
    }

    pub(super) fn scatter_add(&mut self, over: DimId, g: NodeId, index: NodeId, ty: Ty) -> NodeId {
        let g = self.clean(g);
        self.add(Op::ScatterAdd { over }, &[g, index], ty)
    }

    pub(super) fn shift(&mut self, over: DimId, by: i64, x: NodeId, fill: NodeId) -> NodeId {
        let ty = self.ty(x);
        self.add(Op::Shift { over, by }, &[x, fill], ty)
    }

    /// A dimension as long as another, of another name.
    pub(super) fn twin(&mut self, dim: DimId) -> DimId {
        let Dim {
            name,
            origin,
            span,
            ragged: _,
            size,
        } = self.graph.dims.get(dim).clone();
        self.graph.dims.add(Dim {
            name: format!("{name}'"),
            origin,
            span,
            ragged: None,
            size,
        })
    }

    // What dimensions are: their positions, and which of them are real.

    /// 0, 1, … along a dimension, everywhere else the same.
    pub(super) fn position(&mut self, dim: DimId, dims: &[DimId]) -> NodeId {
        let draw = self.draw_of(dim);
        let position = self.add(
            Op::Position(dim),
            draw.as_slice(),
            Ty::new(Elem::Int, vec![dim]),
        );
        self.spread(position, dims)
    }

    pub(super) fn size(&mut self, dim: DimId) -> NodeId {
        let draw = self.draw_of(dim);
        self.add(Op::Size(dim), draw.as_slice(), Ty::scalar(Elem::Int))
    }

    /// x, and 0 at positions that are not real.
    pub(super) fn clean(&mut self, x: NodeId) -> NodeId {
        let x = self.clean_ambient(x);
        match self.real_positions(&self.ty(x).dims) {
            Some(mask) => self.only(mask, x),
            None => x,
        }
    }

    fn clean_ambient(&mut self, mut x: NodeId) -> NodeId {
        for mask in self.ambient.clone() {
            if self.graph.ty(x).includes(self.graph.ty(mask)) {
                let mask = self.spread(mask, &self.ty(x).dims);
                x = self.only(mask, x);
            }
        }
        x
    }

    /// Which positions of a tensor over these dimensions are real; `None` if all are.
    pub(super) fn real_positions(&mut self, dims: &[DimId]) -> Option<NodeId> {
        let mut all: Option<NodeId> = None;
        for &dim in dims {
            let Some(mask) = self.mask(dim) else { continue };
            // Without some of its parents, what is real in any sequence.
            let over = self.graph.ty(mask).without(dims).dims;
            let parents = self.graph.ty(mask).without(&[dim]).dims;
            let mask_dims = self.graph.ty(mask).dims.clone();
            let of_parents = if over.is_empty() {
                None
            } else {
                self.real_positions(&parents)
            };
            let of_parents = of_parents.map(|parents| self.spread(parents, &mask_dims));
            let mask = self.reduce(Reduction::Any, mask, &over, of_parents);
            let mask = self.spread(mask, dims);
            all = Some(match all {
                Some(all) => self.binary(Binary::And, all, mask),
                None => mask,
            });
        }
        all
    }

    /// Which positions of a ragged dimension are real, over its parents and itself; `None` if all are.
    pub(super) fn mask(&mut self, dim: DimId) -> Option<NodeId> {
        let known = self.graph.masks.get(&dim).copied();
        if known.is_some() || !self.in_body {
            return known;
        }
        // A body knows of no masks but by asking.
        let mut dims = self.graph.dims.get(dim).ragged.clone()?;
        dims.push(dim);
        let mask = self.add(Op::Mask(dim), &[], Ty::new(Elem::Bool, dims));
        self.graph.masks.insert(dim, mask);
        Some(mask)
    }

    /// A draw that the size of a dimension depends on: one of those read by the first node that has the dimension.
    fn draw_of(&self, dim: DimId) -> Option<NodeId> {
        if self.in_body {
            return None;
        }
        let first = self.graph.ids().find(|&id| self.graph.ty(id).has(dim))?;
        let read = phase::upstream(self.graph, &[first]);
        let mut draws = read.into_iter().rev();
        draws.find(|&id| matches!(self.graph.op(id), Op::Draw(_)))
    }
}
