//! The way back through a block: the gradients by its inputs of whatever reads its result.

use crate::graph::{Binary, Op};
use crate::plan::{BlockPlan, ResultPlan};

/// The name of the input that holds the gradient by the result.
pub const UPSTREAM: &str = "upstream";

/// The block with one more input, the gradient by its first result, and with the gradients by the inputs `wrt` for its
/// results, in their order. The block has been through the passes.
pub fn pullback(block: &BlockPlan, wrt: &[String]) -> BlockPlan {
    let mut block = block.clone();
    let mut results = Vec::new();
    if let Some(result) = block.results.first() {
        let node = block.graph.node(result.node).clone();
        let upstream = Op::Input(UPSTREAM.to_string());
        let graph = &mut block.graph;
        let upstream = graph.add(upstream, &[], node.ty.clone(), node.span, node.call);
        let product = [result.node, upstream];
        let product = graph.add(
            Op::Binary(Binary::Mul),
            &product,
            node.ty,
            node.span,
            node.call,
        );
        let by: Vec<_> = block
            .inputs
            .iter()
            .filter(|input| wrt.contains(&input.name))
            .collect();
        let nodes: Vec<_> = by.iter().map(|input| input.node).collect();
        let gradients = super::gradients(graph, product, &nodes);
        results.extend(by.iter().zip(gradients).map(|(input, node)| ResultPlan {
            name: input.name.clone(),
            node,
            axes: input.axes.clone(),
        }));
    }
    results.sort_by_key(|result| wrt.iter().position(|name| *name == result.name));
    block.results = results;
    block.graph.asserts.clear();
    super::run(&mut block);
    block
}
