//! The type rule of every primitive.

use super::operand::{
    along, distinct, exactly, from_draw, has_size, mask_of, matrix, ordered, parts_rule, same_size,
    union, with_mask,
};
use super::scan::scan;
use super::{claim, element, source};
use crate::graph::{Factor, Graph, NodeId, Op};
use crate::ty::{DimId, Elem, Ty};

/// Whether a node has the operands and the type that its primitive demands.
pub(super) fn rule(graph: &Graph, id: NodeId) -> Result<(), String> {
    let ty = graph.ty(id);
    let ids = graph.operands(id);
    let operands: Vec<&Ty> = ids.iter().map(|&operand| graph.ty(operand)).collect();
    let is = |expected: Ty| {
        claim(*ty == expected, "").map_err(|_| {
            format!(
                "it is {}, its rule gives {}",
                graph.dims.show(ty),
                graph.dims.show(&expected)
            )
        })
    };
    if !matches!(
        graph.op(id),
        Op::Field(_) | Op::Mask(_) | Op::Size(_) | Op::Position(_) | Op::Random { .. }
    ) {
        claim(
            !ids.iter()
                .any(|&operand| matches!(graph.op(operand), Op::Draw(_))),
            "it reads a draw, which has no value",
        )?;
    }
    match graph.op(id) {
        Op::Literal(array) => {
            exactly::<_, 0>(&operands)?;
            source::literal(graph, array, ty)
        }
        Op::Input(_) => exactly::<_, 0>(&operands).map(|_| ()),
        Op::Mask(dim) => is(source::mask(graph, *dim, &ids)?),
        Op::Size(_) => from_draw(graph, &ids).and_then(|()| is(Ty::scalar(Elem::Int))),
        Op::Position(dim) => {
            from_draw(graph, &ids).and_then(|()| is(Ty::new(Elem::Int, vec![*dim])))
        }
        Op::Step | Op::Steps => exactly::<_, 0>(&operands).and_then(|_| is(Ty::scalar(Elem::Int))),
        Op::State(state) => is(source::state(graph, *state, &operands)?),
        Op::Draw(draw) => source::draw(graph, *draw, operands.len()),
        Op::Field(name) => is(source::field(graph, name, &ids)?),
        Op::Model { output, .. } => source::model(*output, &operands, ty),
        Op::Backward { outputs, .. } => source::backward(outputs, &operands, ty),
        Op::Trainable(_) => exactly::<_, 0>(&operands)
            .and_then(|_| claim(ty.elem != Elem::Text, "a tensor of the plan that is text")),
        Op::Random { .. } => from_draw(graph, &ids)
            .and_then(|()| claim(ty.elem == Elem::Real, "random numbers that are not real")),

        Op::Unary(op) => {
            let [x] = exactly::<_, 1>(&operands)?;
            let elem = element::unary_elem(*op, x.elem)
                .ok_or_else(|| format!("no `{op:?}` of {}", x.elem.name()))?;
            is(x.with_elem(elem))
        }
        Op::Binary(op) => {
            let [a, b] = exactly::<_, 2>(&operands)?;
            claim(a == b, "operands of two types")?;
            let elem = element::binary_elem(*op, a.elem)
                .ok_or_else(|| format!("no `{op:?}` of {}", a.elem.name()))?;
            is(a.with_elem(elem))
        }
        Op::Select => {
            let [condition, then, otherwise] = exactly::<_, 3>(&operands)?;
            claim(then == otherwise, "branches of two types")?;
            claim(
                *condition == then.with_elem(Elem::Bool),
                "a condition that does not fit the branches",
            )?;
            is(then.clone())
        }
        Op::Cast(elem) => {
            let [x] = exactly::<_, 1>(&operands)?;
            claim(
                element::castable(x.elem, *elem),
                "elements that are not cast into each other",
            )?;
            is(x.with_elem(*elem))
        }
        Op::Text(op) => element::text_rule(op, &operands, ty),

        Op::Broadcast => {
            let (x, mask) = with_mask(&operands)?;
            claim(x.elem == ty.elem, "another element than its operand")?;
            claim(ty.includes(x), "a dimension of the operand is missing")?;
            claim(
                mask.is_none_or(|mask| *mask == ty.with_elem(Elem::Bool)),
                "a mask that is not over the result's dimensions",
            )
        }
        Op::Rename(pairs) => {
            let [x] = exactly::<_, 1>(&operands)?;
            claim(
                distinct(&pairs.iter().map(|&(old, _)| old).collect::<Vec<_>>()),
                "a dimension renamed twice",
            )?;
            claim(
                pairs.iter().all(|&(old, _)| x.has(old)),
                "a dimension renamed that the operand lacks",
            )?;
            let new = |dim: &DimId| {
                pairs
                    .iter()
                    .find(|(old, _)| old == dim)
                    .map_or(*dim, |&(_, new)| new)
            };
            let dims: Vec<DimId> = x.dims.iter().map(new).collect();
            claim(distinct(&dims), "two dimensions of one name")?;
            claim(
                pairs.iter().all(|&(old, new)| same_size(graph, old, new)),
                "dimensions of two sizes",
            )?;
            is(Ty::new(x.elem, dims))
        }
        Op::Reduce { kind, over } => {
            let (x, mask) = with_mask(&operands)?;
            claim(
                distinct(over) && over.iter().all(|&dim| x.has(dim)),
                "a dimension reduced that the operand lacks",
            )?;
            mask_of(mask, x)?;
            let elem = element::reduced_elem(*kind, x.elem)
                .ok_or_else(|| format!("no `{kind:?}` of {}", x.elem.name()))?;
            is(x.without(over).with_elem(elem))
        }
        Op::ArgReduce { over, .. } => {
            let (x, mask) = with_mask(&operands)?;
            ordered(x)?;
            along(x, *over)?;
            mask_of(mask, x)?;
            is(x.without(&[*over]).with_elem(Elem::Int))
        }
        Op::Contract { over } => {
            let [a, b] = exactly::<_, 2>(&operands)?;
            claim(
                a.elem == b.elem && matches!(a.elem, Elem::Real | Elem::Int),
                "operands that cannot be multiplied",
            )?;
            let joint = union(a, b);
            claim(
                distinct(over) && over.iter().all(|&dim| joint.has(dim)),
                "a dimension summed that neither operand has",
            )?;
            is(joint.without(over))
        }
        op @ Op::Scan { .. } => is(scan(graph, op, &operands)?),
        Op::Cumsum { over, .. } => {
            let [x] = exactly::<_, 1>(&operands)?;
            ordered(x)?;
            along(x, *over)?;
            is(x.clone())
        }
        Op::Shift { over, .. } => {
            let [x, fill] = exactly::<_, 2>(&operands)?;
            along(x, *over)?;
            claim(
                *fill == x.without(&[*over]),
                "a fill that is not over the other dimensions",
            )?;
            is(x.clone())
        }
        Op::ArgSort { over, .. } => {
            let (x, mask) = with_mask(&operands)?;
            ordered(x)?;
            along(x, *over)?;
            mask_of(mask, x)?;
            is(x.with_elem(Elem::Int))
        }
        Op::Gather { over } => {
            let [x, index] = exactly::<_, 2>(&operands)?;
            along(x, *over)?;
            claim(index.elem == Elem::Int, "an index that is not an integer")?;
            is(union(&x.without(&[*over]), index))
        }
        Op::ScatterAdd { over } => {
            let [g, index] = exactly::<_, 2>(&operands)?;
            along(ty, *over)?;
            claim(
                index.elem == Elem::Int && g.elem == Elem::Real && ty.elem == Elem::Real,
                "elements that cannot be scattered",
            )?;
            claim(
                *g == union(&ty.without(&[*over]), index),
                "what is scattered does not fit the index and the result",
            )
        }
        Op::Stack(dim) => {
            let first = operands.first().ok_or("nothing to stack")?;
            claim(
                operands.iter().all(|operand| operand == first),
                "operands of several types",
            )?;
            claim(!first.has(*dim), "operands that already have the dimension")?;
            claim(
                has_size(graph, *dim, operands.len()),
                "another number of operands than the dimension's size",
            )?;
            is(Ty::new(
                first.elem,
                first.dims.iter().copied().chain([*dim]).collect(),
            ))
        }
        Op::Split { dim, into } => {
            let [x] = exactly::<_, 1>(&operands)?;
            along(x, *dim)?;
            parts_rule(graph, *dim, into)?;
            let rest = x.without(&[*dim]);
            claim(
                !into.iter().any(|&part| rest.has(part)),
                "a part that the operand already has",
            )?;
            is(Ty::new(
                x.elem,
                rest.dims.iter().chain(into).copied().collect(),
            ))
        }
        Op::Merge { dims, into } => {
            let [x] = exactly::<_, 1>(&operands)?;
            dims.iter().try_for_each(|&dim| along(x, dim))?;
            parts_rule(graph, *into, dims)?;
            let rest = x.without(dims);
            claim(!rest.has(*into), "a dimension that the operand already has")?;
            is(Ty::new(
                x.elem,
                rest.dims.iter().copied().chain([*into]).collect(),
            ))
        }

        Op::Factor {
            factor,
            row,
            col,
            rank,
        } => {
            let [x] = exactly::<_, 1>(&operands)?;
            matrix(x, *row, *col)?;
            is(Ty::new(
                Elem::Real,
                x.without(&[*row, *col])
                    .dims
                    .into_iter()
                    .chain(factor_dims(*factor, *row, *col, *rank, x)?)
                    .collect(),
            ))
        }
        Op::Solve { row, col } => {
            let [a, b] = exactly::<_, 2>(&operands)?;
            matrix(a, *row, *col)?;
            along(b, *row)?;
            claim(
                b.elem == Elem::Real && !b.has(*col),
                "a right side that is not real over the rows",
            )?;
            is(union(&a.without(&[*row]), &b.without(&[*row])))
        }

        Op::StopGrad => {
            let [x] = exactly::<_, 1>(&operands)?;
            is(x.clone())
        }
        Op::Grad => {
            let [y, x] = exactly::<_, 2>(&operands)?;
            claim(
                y.elem == Elem::Real && x.elem == Elem::Real,
                "a gradient of or with respect to what is not real",
            )?;
            is(x.clone())
        }
    }
}

/// The dimensions of a part of a factorisation that are not of the batch.
fn factor_dims(
    factor: Factor,
    row: DimId,
    col: DimId,
    rank: Option<DimId>,
    x: &Ty,
) -> Result<Vec<DimId>, String> {
    match (factor, rank) {
        (_, Some(rank)) if x.has(rank) => {
            Err("a rank that is a dimension of the operand".to_string())
        }
        (Factor::SvdLeft | Factor::QrQ | Factor::EighVectors, Some(rank)) => Ok(vec![row, rank]),
        (Factor::SvdValues | Factor::EighValues, Some(rank)) => Ok(vec![rank]),
        (Factor::SvdRight | Factor::QrR, Some(rank)) => Ok(vec![rank, col]),
        (Factor::Cholesky | Factor::Inverse, None) => Ok(vec![row, col]),
        (Factor::Cholesky | Factor::Inverse, Some(_)) => {
            Err("a rank where there is none".to_string())
        }
        (
            Factor::SvdLeft
            | Factor::SvdValues
            | Factor::SvdRight
            | Factor::QrQ
            | Factor::QrR
            | Factor::EighValues
            | Factor::EighVectors,
            None,
        ) => Err("no dimension for the rank".to_string()),
    }
}
