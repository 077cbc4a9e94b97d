//! The sizes of dimensions while a graph is evaluated.

use std::collections::BTreeMap;

use super::{EvalError, Fault, Given, count_of, elem_of};
use crate::array::Array;
use crate::graph::{Graph, NodeId, Op};
use crate::ty::{DimId, Dims, Ty};

/// The sizes of dimensions, each the same wherever it occurs.
#[derive(Clone, Default)]
pub(super) struct Sizes(BTreeMap<DimId, usize>);

impl From<BTreeMap<DimId, usize>> for Sizes {
    fn from(sizes: BTreeMap<DimId, usize>) -> Sizes {
        Sizes(sizes)
    }
}

impl Sizes {
    /// From everything that is given, and then what follows for dimensions made by the graph.
    pub(super) fn bind(
        graph: &Graph,
        given: &Given,
        needed: &[NodeId],
    ) -> Result<Sizes, EvalError> {
        let mut sizes = Sizes(given.sizes.clone());
        sizes.bind_static(&graph.dims);
        for &id in needed {
            if let Some(array) = known(graph, given, id) {
                sizes
                    .bind_array(graph.ty(id), array)
                    .map_err(|fault| EvalError { node: id, fault })?;
            }
        }
        loop {
            let known = sizes.0.len();
            for &id in needed {
                sizes
                    .derive(graph.op(id), graph.operands(id).len())
                    .map_err(|fault| EvalError { node: id, fault })?;
            }
            if sizes.0.len() == known {
                return Ok(sizes);
            }
        }
    }

    fn bind_one(&mut self, dim: DimId, size: usize) -> Result<(), Fault> {
        let known = *self.0.entry(dim).or_insert(size);
        if known == size {
            Ok(())
        } else {
            Err(Fault::SizesDisagree {
                dim,
                sizes: [known, size],
            })
        }
    }

    pub(super) fn bind_array(&mut self, ty: &Ty, array: &Array) -> Result<(), Fault> {
        let is_whole = ty.dims.len() == array.shape.len() && count_of(array) == array.len();
        if ty.elem != elem_of(array) || !is_whole {
            return Err(Fault::Type);
        }
        ty.dims
            .iter()
            .zip(&array.shape)
            .try_for_each(|(&dim, &size)| self.bind_one(dim, size))
    }

    /// What the dimensions themselves tell.
    pub(super) fn bind_static(&mut self, dims: &Dims) {
        for dim in dims.ids() {
            if let Some(size) = dims.get(dim).size {
                self.0.entry(dim).or_insert(size as usize);
            }
        }
    }

    /// The sizes of dimensions that a node makes, from those that it reads.
    pub(super) fn derive(&mut self, op: &Op, n_operands: usize) -> Result<(), Fault> {
        match op {
            Op::Rename(pairs) => pairs
                .iter()
                .try_for_each(|&(old, new)| match self.0.get(&old) {
                    Some(&size) => self.bind_one(new, size),
                    None => Ok(()),
                }),
            Op::Stack(dim) => self.bind_one(*dim, n_operands),
            Op::Split { dim, into } => self.derive_product(*dim, into),
            Op::Merge { dims, into } => self.derive_product(*into, dims),
            Op::Factor { row, col, rank, .. } => match (rank, self.0.get(row), self.0.get(col)) {
                (Some(rank), Some(&rows), Some(&cols)) => self.bind_one(*rank, rows.min(cols)),
                (Some(_) | None, _, _) => Ok(()),
            },
            Op::Literal(_)
            | Op::Input(_)
            | Op::Mask(_)
            | Op::Size(_)
            | Op::Position(_)
            | Op::Step
            | Op::Steps
            | Op::State(_)
            | Op::Draw(_)
            | Op::Field(_)
            | Op::Model { .. }
            | Op::Backward { .. }
            | Op::Trainable(_)
            | Op::Random { .. }
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Text(_)
            | Op::Broadcast
            | Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::Contract { .. }
            | Op::Scan { .. }
            | Op::Cumsum { .. }
            | Op::Shift { .. }
            | Op::ArgSort { .. }
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Solve { .. }
            | Op::StopGrad
            | Op::Grad => Ok(()),
        }
    }

    /// `whole` = the product of `parts`: the one that is not known from the others.
    fn derive_product(&mut self, whole: DimId, parts: &[DimId]) -> Result<(), Fault> {
        let known: usize = parts.iter().filter_map(|part| self.0.get(part)).product();
        let unknown: Vec<DimId> = parts
            .iter()
            .copied()
            .filter(|part| !self.0.contains_key(part))
            .collect();
        match (unknown.as_slice(), self.0.get(&whole).copied()) {
            ([], _) => self.bind_one(whole, known),
            ([part], Some(size)) if known > 0 && size % known == 0 => {
                self.bind_one(*part, size / known)
            }
            ([part], Some(size)) => Err(Fault::SizesDisagree {
                dim: *part,
                sizes: [size, known],
            }),
            ([_], None) | ([_, _, ..], _) => Ok(()),
        }
    }

    pub(super) fn get(&self, dim: DimId) -> Result<usize, Fault> {
        self.0.get(&dim).copied().ok_or(Fault::UnknownSize(dim))
    }

    pub(super) fn shape(&self, dims: &[DimId]) -> Result<Vec<usize>, Fault> {
        dims.iter().map(|&dim| self.get(dim)).collect()
    }

    /// Everything that is known.
    pub(super) fn known(&self) -> &BTreeMap<DimId, usize> {
        &self.0
    }
}

/// The value that a node is given, if it is not computed.
fn known<'a>(graph: &'a Graph, given: &'a Given, id: NodeId) -> Option<&'a Array> {
    let by_node = given.nodes.get(&id);
    if let Op::Input(name) = graph.op(id) {
        by_node.or_else(|| given.inputs.get(name))
    } else if let Op::Mask(dim) = graph.op(id) {
        by_node.or_else(|| given.masks.get(dim))
    } else if let Op::Literal(array) = graph.op(id) {
        by_node.or(Some(array))
    } else {
        by_node
    }
}
