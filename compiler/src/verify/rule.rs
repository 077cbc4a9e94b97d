//! The type rule of every primitive.

use std::collections::BTreeSet;

use super::{claim, verify};
use crate::eval::{elem_of, text};
use crate::graph::{
    Binary, DrawArg, Factor, Graph, ModelOutput, NodeId, Op, Reduction, ScanBody, TextOp, Unary,
};
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
            exactly::<0>(&operands)?;
            claim(elem_of(array) == ty.elem, "a literal of another element")?;
            claim(
                array.shape.len() == ty.dims.len(),
                "a literal with another number of axes",
            )?;
            claim(
                count_of(array) == array.len(),
                "a literal with too few or too many elements",
            )?;
            let sizes = ty.dims.iter().zip(&array.shape);
            claim(
                sizes.clone().all(|(&dim, &n)| has_size(graph, dim, n)),
                "a literal of another size than its dimension",
            )
        }
        Op::Input(_) => exactly::<0>(&operands).map(|_| ()),
        Op::Mask(dim) => {
            from_draw(graph, &ids)?;
            let parents = graph
                .dims
                .get(*dim)
                .ragged
                .as_ref()
                .ok_or("the mask of a dimension that is not ragged")?;
            is(Ty::new(
                Elem::Bool,
                parents.iter().copied().chain([*dim]).collect(),
            ))
        }
        Op::Size(_) => from_draw(graph, &ids).and_then(|()| is(Ty::scalar(Elem::Int))),
        Op::Position(dim) => {
            from_draw(graph, &ids).and_then(|()| is(Ty::new(Elem::Int, vec![*dim])))
        }
        Op::Step | Op::Steps => exactly::<0>(&operands).and_then(|_| is(Ty::scalar(Elem::Int))),
        Op::State(state) => {
            exactly::<0>(&operands)?;
            is(graph
                .states
                .get(*state)
                .ok_or("a state that the graph lacks")?
                .ty
                .clone())
        }
        Op::Draw(draw) => {
            let draw = graph
                .draws
                .get(*draw)
                .ok_or("a draw that the graph lacks")?;
            let named = draw.args.iter().flat_map(|(_, arg)| match arg {
                DrawArg::Operand(operand) => vec![*operand],
                DrawArg::Record(fields) => fields.iter().map(|&(_, operand)| operand).collect(),
                DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Data(_) => Vec::new(),
            });
            let named: BTreeSet<usize> = named.collect();
            claim(
                named == (0..operands.len()).collect(),
                "operands that are not its arguments",
            )
        }
        Op::Field(name) => {
            exactly::<1>(&operands)?;
            let Op::Draw(draw) = graph.op(ids[0]) else {
                return Err("a field of what is no draw".to_string());
            };
            let fields = graph.draws.get(*draw).map_or(&[][..], |draw| &draw.fields);
            is(fields
                .iter()
                .find(|(field, _)| field == name)
                .ok_or("a field that its draw lacks")?
                .1
                .clone())
        }
        Op::Model { output, .. } => {
            let [tokens, context, temperature, mask, context_mask] = exactly::<5>(&operands)?;
            claim(
                tokens.elem == Elem::Int && context.elem == Elem::Int,
                "tokens that are not integers",
            )?;
            claim(
                temperature.elem == Elem::Real && tokens.includes(temperature),
                "a temperature that does not fit the tokens",
            )?;
            claim(
                *mask == tokens.with_elem(Elem::Bool),
                "a mask that does not fit the tokens",
            )?;
            claim(
                *context_mask == context.with_elem(Elem::Bool),
                "a mask that does not fit the context",
            )?;
            let fresh = ty.dims.iter().filter(|&&dim| !tokens.has(dim)).count();
            claim(
                ty.elem == Elem::Real && ty.includes(tokens),
                "an output that does not fit the tokens",
            )?;
            match output {
                ModelOutput::Logp | ModelOutput::Entropy | ModelOutput::Value => {
                    claim(fresh == 0, "a dimension too many")
                }
                ModelOutput::Logits => {
                    claim(fresh == 1, "logits have one dimension more than the tokens")
                }
            }
        }
        Op::Trainable(_) => exactly::<0>(&operands)
            .and_then(|_| claim(ty.elem == Elem::Real, "a trainable tensor that is not real")),
        Op::Random { .. } => from_draw(graph, &ids)
            .and_then(|()| claim(ty.elem == Elem::Real, "random numbers that are not real")),

        Op::Unary(op) => {
            let [x] = exactly::<1>(&operands)?;
            let elem = unary_elem(*op, x.elem)
                .ok_or_else(|| format!("no `{op:?}` of {}", x.elem.name()))?;
            is(x.with_elem(elem))
        }
        Op::Binary(op) => {
            let [a, b] = exactly::<2>(&operands)?;
            claim(a == b, "operands of two types")?;
            let elem = binary_elem(*op, a.elem)
                .ok_or_else(|| format!("no `{op:?}` of {}", a.elem.name()))?;
            is(a.with_elem(elem))
        }
        Op::Select => {
            let [condition, then, otherwise] = exactly::<3>(&operands)?;
            claim(then == otherwise, "branches of two types")?;
            claim(
                *condition == then.with_elem(Elem::Bool),
                "a condition that does not fit the branches",
            )?;
            is(then.clone())
        }
        Op::Cast(elem) => {
            let [x] = exactly::<1>(&operands)?;
            claim(
                castable(x.elem, *elem),
                "elements that are not cast into each other",
            )?;
            is(x.with_elem(*elem))
        }
        Op::Text(op) => text_rule(op, &operands, ty),

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
            let [x] = exactly::<1>(&operands)?;
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
            let elem = reduced_elem(*kind, x.elem)
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
            let [a, b] = exactly::<2>(&operands)?;
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
        Op::Scan {
            over,
            xs,
            captured,
            carries,
            masked,
            part,
            body,
            ..
        } => {
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
            is(Ty::new(
                initial[*part].elem,
                initial[*part].dims.iter().copied().chain([*over]).collect(),
            ))
        }
        Op::Cumsum { over, .. } => {
            let [x] = exactly::<1>(&operands)?;
            ordered(x)?;
            along(x, *over)?;
            is(x.clone())
        }
        Op::Shift { over, .. } => {
            let [x, fill] = exactly::<2>(&operands)?;
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
            let [x, index] = exactly::<2>(&operands)?;
            along(x, *over)?;
            claim(index.elem == Elem::Int, "an index that is not an integer")?;
            is(union(&x.without(&[*over]), index))
        }
        Op::ScatterAdd { over } => {
            let [g, index] = exactly::<2>(&operands)?;
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
            let [x] = exactly::<1>(&operands)?;
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
            let [x] = exactly::<1>(&operands)?;
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
            let [x] = exactly::<1>(&operands)?;
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
            let [a, b] = exactly::<2>(&operands)?;
            matrix(a, *row, *col)?;
            along(b, *row)?;
            claim(
                b.elem == Elem::Real && !b.has(*col),
                "a right side that is not real over the rows",
            )?;
            is(union(&a.without(&[*row]), &b.without(&[*row])))
        }

        Op::StopGrad => {
            let [x] = exactly::<1>(&operands)?;
            is(x.clone())
        }
        Op::Grad => {
            let [y, x] = exactly::<2>(&operands)?;
            claim(
                y.elem == Elem::Real && x.elem == Elem::Real,
                "a gradient of or with respect to what is not real",
            )?;
            is(x.clone())
        }
    }
}

fn exactly<'a, const N: usize>(operands: &[&'a Ty]) -> Result<[&'a Ty; N], String> {
    operands
        .try_into()
        .map_err(|_| format!("{} operands instead of {N}", operands.len()))
}

/// One operand and perhaps a mask.
fn with_mask<'a>(operands: &[&'a Ty]) -> Result<(&'a Ty, Option<&'a Ty>), String> {
    match operands {
        [x] => Ok((x, None)),
        [x, mask] => Ok((x, Some(mask))),
        _ => Err(format!(
            "{} operands instead of one and a mask",
            operands.len()
        )),
    }
}

fn mask_of(mask: Option<&Ty>, x: &Ty) -> Result<(), String> {
    claim(
        mask.is_none_or(|mask| *mask == x.with_elem(Elem::Bool)),
        "a mask that is not over the operand's dimensions",
    )
}

/// A source whose only operand, if any, is the draw that its dimensions come from.
fn from_draw(graph: &Graph, ids: &[NodeId]) -> Result<(), String> {
    claim(
        ids.len() <= 1 && ids.iter().all(|&id| matches!(graph.op(id), Op::Draw(_))),
        "an operand that is not a draw",
    )
}

fn along(x: &Ty, over: DimId) -> Result<(), String> {
    claim(
        x.has(over),
        "an operand without the dimension it works along",
    )
}

fn ordered(x: &Ty) -> Result<(), String> {
    claim(
        matches!(x.elem, Elem::Real | Elem::Int),
        "elements without order",
    )
}

fn matrix(x: &Ty, row: DimId, col: DimId) -> Result<(), String> {
    claim(
        x.elem == Elem::Real && row != col && x.has(row) && x.has(col),
        "an operand that is not a real matrix",
    )
}

fn union(a: &Ty, b: &Ty) -> Ty {
    Ty::new(a.elem, a.dims.iter().chain(&b.dims).copied().collect())
}

fn distinct(dims: &[DimId]) -> bool {
    dims.iter()
        .enumerate()
        .all(|(place, dim)| !dims[..place].contains(dim))
}

fn has_size(graph: &Graph, dim: DimId, size: usize) -> bool {
    graph
        .dims
        .get(dim)
        .size
        .is_none_or(|known| known == size as u64)
}

fn same_size(graph: &Graph, a: DimId, b: DimId) -> bool {
    graph
        .dims
        .get(a)
        .size
        .is_none_or(|size| has_size(graph, b, size as usize))
}

fn count_of(array: &crate::array::Array) -> usize {
    use crate::array::Elements;
    match &array.elements {
        Elements::Real(elements) => elements.len(),
        Elements::Int(elements) => elements.len(),
        Elements::Bool(elements) => elements.len(),
        Elements::Text(elements) => elements.len(),
    }
}

/// The sizes of `parts`, where all are known, make that of `whole`.
fn parts_rule(graph: &Graph, whole: DimId, parts: &[DimId]) -> Result<(), String> {
    claim(
        !parts.is_empty() && distinct(parts),
        "parts that are not several dimensions",
    )?;
    let product: Option<u64> = parts
        .iter()
        .map(|&part| graph.dims.get(part).size)
        .product();
    claim(
        product.is_none_or(|product| has_size(graph, whole, product as usize)),
        "parts whose sizes do not make the whole",
    )
}

fn unary_elem(op: Unary, x: Elem) -> Option<Elem> {
    match (op, x) {
        (Unary::Neg | Unary::Abs | Unary::Sign, Elem::Real | Elem::Int) => Some(x),
        (Unary::Not, Elem::Bool) => Some(Elem::Bool),
        (Unary::IsFinite, Elem::Real) => Some(Elem::Bool),
        (
            Unary::Exp
            | Unary::Expm1
            | Unary::Log
            | Unary::Log1p
            | Unary::Sqrt
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Atan
            | Unary::Tanh
            | Unary::Sigmoid
            | Unary::LogSigmoid
            | Unary::Floor
            | Unary::Ceil
            | Unary::Round,
            Elem::Real,
        ) => Some(Elem::Real),
        (_, Elem::Real | Elem::Int | Elem::Bool | Elem::Text) => None,
    }
}

fn binary_elem(op: Binary, x: Elem) -> Option<Elem> {
    let number = matches!(x, Elem::Real | Elem::Int);
    match op {
        Binary::Add
        | Binary::Sub
        | Binary::Mul
        | Binary::Div
        | Binary::Pow
        | Binary::Mod
        | Binary::Min
        | Binary::Max => number.then_some(x),
        Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => number.then_some(Elem::Bool),
        Binary::Eq | Binary::Ne => (x != Elem::Text).then_some(Elem::Bool),
        Binary::And | Binary::Or => (x == Elem::Bool).then_some(Elem::Bool),
    }
}

fn reduced_elem(kind: Reduction, x: Elem) -> Option<Elem> {
    match kind {
        Reduction::Sum | Reduction::Max | Reduction::Min | Reduction::Product => {
            matches!(x, Elem::Real | Elem::Int).then_some(x)
        }
        Reduction::Mean | Reduction::LogSumExp => (x == Elem::Real).then_some(x),
        Reduction::Any | Reduction::All => (x == Elem::Bool).then_some(x),
        Reduction::Count => Some(Elem::Int),
    }
}

fn castable(from: Elem, to: Elem) -> bool {
    match (from, to) {
        (Elem::Real, Elem::Int)
        | (Elem::Int | Elem::Bool, Elem::Real)
        | (Elem::Bool, Elem::Int) => true,
        (
            Elem::Real | Elem::Int | Elem::Bool | Elem::Text,
            Elem::Real | Elem::Int | Elem::Bool | Elem::Text,
        ) => from == to,
    }
}

fn text_rule(op: &TextOp, operands: &[&Ty], ty: &Ty) -> Result<(), String> {
    let (reads, gives): (&[Elem], Elem) = match op {
        TextOp::Contains | TextOp::StartsWith | TextOp::EndsWith | TextOp::Equal => {
            (&[Elem::Text; 2], Elem::Bool)
        }
        TextOp::AfterLast | TextOp::AfterFirst | TextOp::Before | TextOp::Join => {
            (&[Elem::Text; 2], Elem::Text)
        }
        TextOp::Between | TextOp::Replace => (&[Elem::Text; 3], Elem::Text),
        TextOp::Trim | TextOp::Lower | TextOp::Upper => (&[Elem::Text], Elem::Text),
        TextOp::Words | TextOp::Length => (&[Elem::Text], Elem::Int),
        TextOp::Number => (&[Elem::Text, Elem::Real], Elem::Real),
        TextOp::Occurrences => (&[Elem::Text; 2], Elem::Int),
        TextOp::Matches(pattern) => {
            text::compile(pattern).map_err(|fault| fault.to_string())?;
            (&[Elem::Text], Elem::Bool)
        }
        TextOp::Captures { pattern, group } => {
            let pattern = text::compile(pattern).map_err(|fault| fault.to_string())?;
            claim(
                (*group as usize) < pattern.captures_len(),
                "a group that the pattern lacks",
            )?;
            (&[Elem::Text], Elem::Text)
        }
    };
    let elems: Vec<Elem> = operands.iter().map(|operand| operand.elem).collect();
    claim(elems == reads, "operands of other elements")?;
    claim(
        ty.elem == gives && operands.iter().all(|operand| operand.dims == ty.dims),
        "another element or other dimensions",
    )
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
        match inside.op(id) {
            Op::Input(name) => {
                let operand = given.iter().find_map(|(prefix, operands)| {
                    operands.get(name.strip_prefix(prefix)?.parse::<usize>().ok()?)
                });
                let expected = operand
                    .ok_or_else(|| format!("the body reads `{name}`, which it is not given"))?;
                claim(*ty == expected.without(&[over]), "")
                    .map_err(|_| format!("the body's `{name}` has another type"))?;
            }
            Op::Draw(_) | Op::Field(_) | Op::State(_) | Op::Model { .. } | Op::Trainable(_) => {
                return Err("the body reads what has to be captured".to_string());
            }
            _ => {}
        }
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
