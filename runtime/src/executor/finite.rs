//! Where a value that is not finite comes from.

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::ty::Elem;

use super::{Executor, Host};
use crate::error::{Fault, Numbers, Origin, Result};
use crate::extent::Extents;
use crate::statistics::Statistics;
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

impl Executor<'_> {
    /// The numbers at a node, and those of its operands, without what has no numbers.
    pub(crate) fn numbers(&self, node: NodeId, host: &mut dyn Host) -> Result<Numbers> {
        let graph = self.graph;
        let mut afresh = self.clone();
        afresh.keep_given();
        let mut numbers = Numbers {
            found: afresh.statistics(node, host)?,
            from: Vec::new(),
        };
        for operand in graph.operands(node) {
            // A value that is only repeated is shown as it was.
            let mut from = operand;
            while let (Op::Broadcast | Op::Cast(_), Some(&inner)) =
                (graph.op(from), graph.operands(from).first())
            {
                from = inner;
            }
            let found = afresh.statistics(from, host)?;
            let span = graph.node(from).span;
            numbers
                .from
                .extend(found.map(|own| (Origin::Span(span), own)));
        }
        Ok(numbers)
    }

    fn statistics(&mut self, node: NodeId, host: &mut dyn Host) -> Result<Option<Statistics>> {
        let graph = self.graph;
        let ty = graph.ty(node);
        if matches!(graph.op(node), Op::Draw(_)) || !matches!(ty.elem, Elem::Real | Elem::Int) {
            return Ok(None);
        }
        let values = self.evaluate(&[node], host)?;
        let [Value::Tensor(tensor)] = values.as_slice() else {
            return Ok(None);
        };
        let names = ty.dims.iter().map(|&dim| graph.dims.name(dim).to_string());
        let real = self.extents.real(&ty.dims)?;
        Ok(Some(Statistics::of(tensor, names, real.as_ref())?))
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
