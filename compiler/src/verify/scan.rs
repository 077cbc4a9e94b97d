//! The type rule of the scan.

use super::operand::along;
use super::{claim, verify};
use crate::graph::{Graph, Op, ScanBody};
use crate::ty::{DimId, Elem, Ty};

/// The type of the result, of a scan with these operands.
pub(super) fn scan(graph: &Graph, op: &Op, operands: &[&Ty]) -> Result<Ty, String> {
    let Op::Scan {
        over,
        xs,
        captured,
        carries,
        masked,
        part,
        body,
        ..
    } = op
    else {
        return Err("it is no scan".to_string());
    };
    claim(
        operands.len() == xs + captured + carries + usize::from(*masked),
        "another number of operands",
    )?;
    claim(part < carries, "a carry that it lacks")?;
    let (slices, rest) = operands.split_at(*xs);
    let (constants, rest) = rest.split_at(*captured);
    let (initial, mask) = rest.split_at(*carries);
    slices
        .iter()
        .chain(mask)
        .try_for_each(|x| along(x, *over))?;
    claim(
        !constants.iter().chain(initial).any(|x| x.has(*over)),
        "a captured value or carry over the scanned dimension",
    )?;
    if let Some(mask) = mask.first() {
        let fits = initial
            .iter()
            .all(|carry| carry.includes(&mask.without(&[*over])));
        claim(
            mask.elem == Elem::Bool && fits,
            "a mask over dimensions that a carry lacks",
        )?;
    }
    body_rule(
        graph,
        *over,
        &[("x", slices), ("k", constants), ("c", initial)],
        body,
    )?;
    let Ty { elem, dims } = initial[*part];
    Ok(Ty::new(
        *elem,
        dims.iter().copied().chain([*over]).collect(),
    ))
}

/// The body's inputs have the operands' types without `over`, its next carries the carries'.
fn body_rule(
    graph: &Graph,
    over: DimId,
    given: &[(&str, &[&Ty])],
    body: &ScanBody,
) -> Result<(), String> {
    let inside = &body.graph;
    let shared = inside.dims.ids().zip(graph.dims.ids());
    let same = shared
        .into_iter()
        .all(|(own, outer)| inside.dims.name(own) == graph.dims.name(outer));
    claim(
        same && inside.dims.ids().count() <= graph.dims.ids().count(),
        "a body over other dimensions",
    )?;
    if let Some(violation) = verify(inside).into_iter().next() {
        return Err(format!("in its body, {violation}"));
    }
    for id in inside.ids() {
        let ty = inside.ty(id);
        claim(!ty.has(over), "the body uses the scanned dimension")?;
        if let Op::Input(name) = inside.op(id) {
            let operand = given.iter().find_map(|(prefix, operands)| {
                operands.get(name.strip_prefix(prefix)?.parse::<usize>().ok()?)
            });
            let expected =
                operand.ok_or_else(|| format!("the body reads `{name}`, which it is not given"))?;
            claim(*ty == expected.without(&[over]), "")
                .map_err(|_| format!("the body's `{name}` has another type"))?;
        }
        let outside = matches!(inside.op(id), Op::Draw(_) | Op::Field(_) | Op::State(_))
            || inside.op(id).is_of_a_model();
        claim(!outside, "the body reads what has to be captured")?;
    }
    let carries = given[2].1;
    let next_fits = body.next.len() == carries.len()
        && body
            .next
            .iter()
            .zip(carries)
            .all(|(next, carry)| next.index() < inside.len() && inside.ty(*next) == *carry);
    claim(
        next_fits,
        "the next carries have other types than the carries",
    )
}
