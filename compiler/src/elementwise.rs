//! Which update rules treat every element alike, so that parameters can be updated end to end.

use crate::graph::{NodeId, Op};
use crate::plan::UpdatePlan;

/// Whether an update treats each element of a parameter by itself, whatever its form.
pub fn is_elementwise(update: &UpdatePlan) -> bool {
    let graph = &update.graph;
    let of_param = &graph.ty(update.param).dims;
    let is_alike = |id: NodeId| graph.ty(id).dims.is_empty() || graph.ty(id).dims == *of_param;
    graph.ids().all(is_alike)
        && graph.ids().all(|id| match graph.op(id) {
            Op::Literal(array) => array.shape.is_empty(),
            Op::Input(name) => !matches!(name.as_str(), "index" | "count"),
            Op::Step
            | Op::Steps
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::StopGrad => true,
            Op::Broadcast => graph
                .operands(id)
                .iter()
                .all(|&operand| graph.ty(operand).dims.is_empty()),
            Op::Mask(_)
            | Op::Size(_)
            | Op::Position(_)
            | Op::State(_)
            | Op::Draw(_)
            | Op::Field(_)
            | Op::Model { .. }
            | Op::Backward { .. }
            | Op::Trainable(_)
            | Op::Random { .. }
            | Op::Text(_)
            | Op::Rename(_)
            | Op::Reduce { .. }
            | Op::ArgReduce { .. }
            | Op::Contract { .. }
            | Op::Scan { .. }
            | Op::Cumsum { .. }
            | Op::Shift { .. }
            | Op::ArgSort { .. }
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Stack(_)
            | Op::Split { .. }
            | Op::Merge { .. }
            | Op::Factor { .. }
            | Op::Solve { .. }
            | Op::Grad => false,
        })
}
