//! The invariants of a graph, listed and checked. They hold from elaboration to execution:
//!
//! 1. Every type's dimensions are of the graph, in ascending order, without repetition.
//! 2. Every primitive has the operands and the type of its rule (`verify/rule.rs`, one arm a primitive).
//! 3. A mask is `bool`, over exactly the dimensions between which values move (of a scan: over some
//!    dimensions of every carry, and the scanned one).
//! 4. A draw's arguments are its operands; a field is one of its draw's, with the type the draw says.
//! 5. A state's initial and next value have its type.
//! 6. The body of a scan is itself a graph of this kind over the same dimensions. It reads its slices,
//!    captured values and carries, each of the operand's type without the scanned dimension, and no
//!    draw, state, model or trainable tensor; the next value of each carry has the carry's type.
//! 7. A call lies inside a call with a smaller number.
//! 8. What says which positions of a dimension are real is a `bool` over its parents and itself.
//! 9. A node of an earlier phase reads none of a later phase.
//! 10. The condition of an assertion is a `bool`; what it reads has some of its dimensions.
//! 11. What a stage reports, trains on and updates are nodes of its graph, a loss a `real` scalar.

mod element;
mod operand;
mod rule;
mod scan;
mod source;

use crate::graph::{Graph, NodeId};
use crate::phase::Phase;
use crate::plan::StagePlan;
use crate::ty::{Elem, Ty};

/// What is wrong with a graph, each with its node; empty if nothing is.
pub fn verify(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for id in graph.ids() {
        let checked = dims_in_order(graph, graph.ty(id))
            .and_then(|()| rule::rule(graph, id))
            .and_then(|()| {
                claim(
                    graph
                        .node(id)
                        .call
                        .is_none_or(|call| (call.0 as usize) < graph.calls.len()),
                    "its call is not of the graph",
                )
            });
        if let Err(violation) = checked {
            violations.push(format!("%{}: {violation}", id.index()));
        }
    }
    for (number, call) in graph.calls.iter().enumerate() {
        if call
            .parent
            .is_some_and(|parent| parent.0 as usize >= number)
        {
            violations.push(format!(
                "call {number} ({}): it lies inside a later call",
                call.block
            ));
        }
    }
    for state in &graph.states {
        // Every item of a memory starts alike.
        let initial = match state.is_memory {
            true => Ty::scalar(state.ty.elem),
            false => state.ty.clone(),
        };
        let values = [
            ("initial", state.initial, &initial),
            ("next", state.next, &state.ty),
        ];
        for (which, id, ty) in values {
            if !has(graph, id) || graph.ty(id) != ty {
                violations.push(format!(
                    "state {}: its {which} value is not a {}",
                    state.name,
                    graph.dims.show(ty)
                ));
            }
        }
    }
    for (number, assertion) in graph.asserts.iter().enumerate() {
        let dims = |id: NodeId| &graph.ty(id).dims;
        let condition = assertion.condition;
        let fits = has(graph, condition)
            && graph.ty(condition).elem == Elem::Bool
            && assertion.reads.iter().all(|&(_, id)| {
                has(graph, id) && dims(id).iter().all(|dim| dims(condition).contains(dim))
            });
        if !fits {
            violations.push(format!(
                "assertion {number}: {} is no claim",
                assertion.claim
            ));
        }
    }
    for (&dim, &mask) in &graph.masks {
        let fits =
            has(graph, mask) && source::mask(graph, dim, &[]).is_ok_and(|ty| ty == *graph.ty(mask));
        if !fits {
            let name = graph.dims.name(dim);
            violations.push(format!("%{}: it is no mask of `{name}`", mask.index()));
        }
    }
    violations
}

/// What is wrong with a stage: its graph, its phases, and the nodes that it names.
pub fn verify_stage(stage: &StagePlan) -> Vec<String> {
    let mut violations = verify(&stage.graph);
    violations.extend(verify_phases(&stage.graph, &stage.phases));
    for (name, id) in crate::pass::sinks_of(stage) {
        if !has(&stage.graph, id) {
            violations.push(format!("{name}: %{} is not in the graph", id.index()));
        }
    }
    for train in &stage.trains {
        if has(&stage.graph, train.loss) && *stage.graph.ty(train.loss) != Ty::scalar(Elem::Real) {
            violations.push(format!(
                "%{}: a loss that is not a real scalar",
                train.loss.index()
            ));
        }
    }
    violations
}

/// Where a node reads one of a later phase.
pub fn verify_phases(graph: &Graph, phases: &[Phase]) -> Vec<String> {
    if phases.len() != graph.len() {
        return vec![format!("{} phases for {} nodes", phases.len(), graph.len())];
    }
    let later = |id: NodeId| {
        let operands = graph.operands(id).into_iter();
        operands
            .filter(move |operand| phases[operand.index()] > phases[id.index()])
            .map(move |operand| (id, operand))
    };
    graph
        .ids()
        .flat_map(later)
        .map(|(id, operand)| {
            let [own, read] = [id, operand].map(|id| phases[id.index()]);
            format!(
                "%{}: of phase {own:?}, it reads %{} of phase {read:?}",
                id.index(),
                operand.index()
            )
        })
        .collect()
}

fn has(graph: &Graph, id: NodeId) -> bool {
    id.index() < graph.len()
}

fn dims_in_order(graph: &Graph, ty: &Ty) -> Result<(), String> {
    let n_dims = graph.dims.ids().count();
    claim(
        ty.dims.iter().all(|dim| (dim.0 as usize) < n_dims),
        "a dimension is not of the graph",
    )?;
    claim(
        ty.dims.windows(2).all(|pair| pair[0] < pair[1]),
        "dimensions are not in ascending order",
    )
}

/// `holds`, or the violation.
fn claim(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_string())
    }
}
