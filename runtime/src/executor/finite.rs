//! Where a value that is not finite comes from.

use rlp_compiler::graph::{Graph, NodeId};
use rlp_compiler::ty::Elem;

use super::{Executor, Host};
use crate::error::{Fault, Result};
use crate::extent::Extents;
use crate::tensor::{Value, keep};

impl Executor<'_> {
    /// Where a value that is not finite first appears on the way to `wanted`: a node with such an element that is real,
    /// none of whose operands has one. `None` if all of `wanted` is finite.
    ///
    /// Everything that was not given is computed once more.
    pub fn first_not_finite(
        &self,
        wanted: &[NodeId],
        host: &mut dyn Host,
    ) -> Result<Option<NodeId>> {
        let graph = self.graph;
        let mut afresh = self.clone();
        afresh.keep_given();
        let mut finite = vec![true; graph.len()];
        for id in graph.ids() {
            if let Some(value) = &afresh.values[id.index()] {
                finite[id.index()] = is_finite(graph, id, value, &afresh.extents)?;
            }
        }
        afresh.run_nodes(wanted, host, &mut |id, value, extents| {
            finite[id.index()] = is_finite(graph, id, value, extents)?;
            Ok(())
        })?;
        let is_bad = |id: &NodeId| !finite[id.index()];
        let mut first = wanted.iter().copied().find(is_bad);
        while let Some(earlier) = first.and_then(|id| graph.operands(id).into_iter().find(is_bad)) {
            first = Some(earlier);
        }
        Ok(first)
    }
}

/// Whether every real element is finite.
fn is_finite(graph: &Graph, id: NodeId, value: &Value, extents: &Extents) -> Result<bool, Fault> {
    let ty = graph.ty(id);
    match (ty.elem, value) {
        (Elem::Real, Value::Tensor(tensor)) => {
            let finite = tensor.f_isfinite()?;
            let finite = match extents.real(&ty.dims)? {
                Some(real) => keep(&finite, &real, 1)?,
                None => finite,
            };
            Ok(finite.f_all()?.f_int64_value(&[])? != 0)
        }
        (Elem::Real, Value::Text(_)) | (Elem::Int | Elem::Bool | Elem::Text, _) => Ok(true),
    }
}
