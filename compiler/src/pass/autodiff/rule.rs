//! The derivative of every primitive: what each operand's adjoint gains from that of the result.

mod reduce;

use super::builder::Builder;
use super::linalg;
use crate::graph::{Binary, NodeId, Op, Reduction, TextOp, Unary};
use crate::ty::DimId;

/// A gain for the operand with this position.
pub(super) type Gain = (usize, NodeId);

/// What the `active` operands of a node gain, given its adjoint `g`.
pub(super) fn rule(b: &mut Builder, id: NodeId, g: NodeId, active: &[bool]) -> Vec<Gain> {
    let operands = b.graph.operands(id);
    let gains = match b.graph.op(id).clone() {
        Op::Unary(op) => unary(b, op, operands[0], id, g)
            .map(|gain| (0, gain))
            .into_iter()
            .collect(),
        Op::Binary(op) => binary(b, op, [operands[0], operands[1]], id, g),
        Op::Select => vec![(1, b.only(operands[0], g)), (2, b.except(operands[0], g))],
        Op::Cast(_) => vec![(0, g)],
        Op::Text(TextOp::Number) => vec![(1, not_a_number(b, operands[0], g))],
        Op::Broadcast => {
            let kept = b.ty(operands[0]).dims;
            vec![(0, b.sum_to(g, &kept, operands.get(1).copied()))]
        }
        Op::Rename(pairs) => {
            let back: Vec<(DimId, DimId)> = pairs.iter().map(|&(old, new)| (new, old)).collect();
            vec![(0, b.rename(g, &back))]
        }
        Op::Reduce { kind, over } => {
            reduce::reduce(b, kind, &over, operands[0], operands.get(1).copied(), id, g)
                .map(|gain| (0, gain))
                .into_iter()
                .collect()
        }
        Op::Contract { .. } => contract(b, [operands[0], operands[1]], g, active),
        Op::Cumsum { over, reverse } => {
            let ty = b.ty(g);
            let g = b.clean(g);
            vec![(
                0,
                b.add(
                    Op::Cumsum {
                        over,
                        reverse: !reverse,
                    },
                    &[g],
                    ty,
                ),
            )]
        }
        Op::Shift { over, by } => shift(b, over, by, operands[1], g, active),
        Op::Gather { over } => {
            let ty = b.ty(operands[0]);
            vec![(0, b.scatter_add(over, g, operands[1], ty))]
        }
        Op::ScatterAdd { over } => vec![(0, b.gather(over, g, operands[1]))],
        Op::Stack(dim) => (0..operands.len())
            .map(|position| {
                let index = b.int(position as i64);
                (position, b.gather(dim, g, index))
            })
            .collect(),
        Op::Split { dim, into } => {
            let ty = b.ty(operands[0]);
            vec![(
                0,
                b.add(
                    Op::Merge {
                        dims: into,
                        into: dim,
                    },
                    &[g],
                    ty,
                ),
            )]
        }
        Op::Merge { dims, into } => {
            let ty = b.ty(operands[0]);
            vec![(
                0,
                b.add(
                    Op::Split {
                        dim: into,
                        into: dims,
                    },
                    &[g],
                    ty,
                ),
            )]
        }
        Op::Factor {
            factor,
            row,
            col,
            rank,
        } => vec![(
            0,
            linalg::factor(b, factor, [row, col], rank, [operands[0], id, g]),
        )],
        Op::Solve { row, col } => linalg::solve(b, [row, col], [operands[0], operands[1]], id, g),
        // The scans have a rule of their own (`scan.rs`); through the others no gradient flows.
        Op::Scan { .. }
        | Op::Text(_)
        | Op::Literal(_)
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
        | Op::ArgReduce { .. }
        | Op::ArgSort { .. }
        | Op::StopGrad
        | Op::Grad => Vec::new(),
    };
    gains
        .into_iter()
        .filter(|&(position, _)| active[position])
        .collect()
}

/// y = op(x)
fn unary(b: &mut Builder, op: Unary, x: NodeId, y: NodeId, g: NodeId) -> Option<NodeId> {
    let ty = b.ty(x);
    Some(match op {
        Unary::Neg => b.neg(g),
        Unary::Abs => {
            let sign = b.unary(Unary::Sign, x);
            b.mul(g, sign)
        }
        Unary::Exp => b.mul(g, y),
        Unary::Expm1 => {
            let one = b.constant(1.0, &ty);
            let exp = b.binary(Binary::Add, y, one);
            b.mul(g, exp)
        }
        Unary::Log => b.binary(Binary::Div, g, x),
        Unary::Log1p => {
            let one = b.constant(1.0, &ty);
            let below = b.binary(Binary::Add, x, one);
            b.binary(Binary::Div, g, below)
        }
        Unary::Sqrt => {
            let two = b.constant(2.0, &ty);
            let below = b.mul(two, y);
            b.binary(Binary::Div, g, below)
        }
        Unary::Sin => {
            let cos = b.unary(Unary::Cos, x);
            b.mul(g, cos)
        }
        Unary::Cos => {
            let sin = b.unary(Unary::Sin, x);
            let gain = b.mul(g, sin);
            b.neg(gain)
        }
        Unary::Tan => {
            let slope = one_and_square(b, Binary::Add, y);
            b.mul(g, slope)
        }
        Unary::Atan => {
            let below = one_and_square(b, Binary::Add, x);
            b.binary(Binary::Div, g, below)
        }
        Unary::Tanh => {
            let slope = one_and_square(b, Binary::Sub, y);
            b.mul(g, slope)
        }
        Unary::Sigmoid => {
            // σ(−x), which 1 − y cannot tell from 0 when x is large.
            let minus = b.neg(x);
            let rest = b.unary(Unary::Sigmoid, minus);
            let slope = b.mul(y, rest);
            b.mul(g, slope)
        }
        Unary::LogSigmoid => {
            let minus = b.neg(x);
            let slope = b.unary(Unary::Sigmoid, minus);
            b.mul(g, slope)
        }
        Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Not | Unary::IsFinite => {
            return None;
        }
    })
}

/// 1 ± x²
fn one_and_square(b: &mut Builder, op: Binary, x: NodeId) -> NodeId {
    let one = b.constant(1.0, &b.ty(x));
    let square = b.mul(x, x);
    b.binary(op, one, square)
}

/// y = op(x₀, x₁). Of equal operands of `min` and `max` the first is the one taken.
fn binary(b: &mut Builder, op: Binary, [x0, x1]: [NodeId; 2], y: NodeId, g: NodeId) -> Vec<Gain> {
    match op {
        Binary::Add => vec![(0, g), (1, g)],
        Binary::Sub => vec![(0, g), (1, b.neg(g))],
        Binary::Mul => vec![(0, b.mul(g, x1)), (1, b.mul(g, x0))],
        Binary::Div => {
            let by_numerator = b.binary(Binary::Div, g, x1);
            let by_denominator = b.mul(by_numerator, y);
            vec![(0, by_numerator), (1, b.neg(by_denominator))]
        }
        Binary::Pow => power(b, [x0, x1], y, g),
        Binary::Mod => {
            let quotient = b.binary(Binary::Div, x0, x1);
            let whole = b.unary(Unary::Floor, quotient);
            let gain = b.mul(g, whole);
            vec![(0, g), (1, b.neg(gain))]
        }
        Binary::Min | Binary::Max => {
            let first = b.binary(
                if op == Binary::Min {
                    Binary::Le
                } else {
                    Binary::Ge
                },
                x0,
                x1,
            );
            vec![(0, b.only(first, g)), (1, b.except(first, g))]
        }
        Binary::Eq
        | Binary::Ne
        | Binary::Lt
        | Binary::Le
        | Binary::Gt
        | Binary::Ge
        | Binary::And
        | Binary::Or => Vec::new(),
    }
}

/// y = base ^ exponent: exponent · base^(exponent − 1), 0 for the exponent 0; and y · log base, 0 for the base 0.
fn power(b: &mut Builder, [base, exponent]: [NodeId; 2], y: NodeId, g: NodeId) -> Vec<Gain> {
    let ty = b.ty(base);
    let (zero, one) = (b.zeros(&ty), b.constant(1.0, &ty));
    let less = b.binary(Binary::Sub, exponent, one);
    let lower = b.binary(Binary::Pow, base, less);
    let slope = b.mul(exponent, lower);
    let flat = b.binary(Binary::Eq, exponent, zero);
    let slope = b.except(flat, slope);
    let at_zero = b.binary(Binary::Eq, base, zero);
    let safe = b.select(at_zero, one, base);
    let log = b.unary(Unary::Log, safe);
    let growth = b.mul(y, log);
    let growth = b.except(at_zero, growth);
    vec![(0, b.mul(g, slope)), (1, b.mul(g, growth))]
}

/// g where a text is no number: where two different values for that case are both taken.
fn not_a_number(b: &mut Builder, text: NodeId, g: NodeId) -> NodeId {
    let ty = b.ty(g);
    let number = |b: &mut Builder, otherwise: f64| {
        let otherwise = b.constant(otherwise, &ty);
        b.add(Op::Text(TextOp::Number), &[text, otherwise], ty.clone())
    };
    let (with_zero, with_one) = (number(b, 0.0), number(b, 1.0));
    let differs = b.binary(Binary::Ne, with_zero, with_one);
    b.only(differs, g)
}

/// y = Σ a·b
fn contract(b: &mut Builder, factors: [NodeId; 2], g: NodeId, active: &[bool]) -> Vec<Gain> {
    let gain = |b: &mut Builder, own: NodeId, other: NodeId| {
        let dims = b.ty(own).dims;
        let gain = b.contract(g, other, &dims);
        // A dimension that only this operand has was summed over: every position gains the same.
        let lacks = b.ty(gain).dims != dims;
        let mask = if lacks { b.real_positions(&dims) } else { None };
        b.broadcast(gain, &dims, mask)
    };
    let mut gains = Vec::new();
    for position in [0, 1] {
        if active[position] {
            gains.push((position, gain(b, factors[position], factors[1 - position])));
        }
    }
    gains
}

/// y[t] = x[t − by], or the fill
fn shift(
    b: &mut Builder,
    over: DimId,
    by: i64,
    fill: NodeId,
    g: NodeId,
    active: &[bool],
) -> Vec<Gain> {
    let g = b.clean(g);
    let mut gains = Vec::new();
    if active[0] {
        let zeros = b.zeros(&b.ty(fill));
        gains.push((0, b.shift(over, by.saturating_neg(), g, zeros)));
    }
    if active[1] {
        let dims = b.ty(g).dims;
        let position = b.position(over, &dims);
        let filled = if by >= 0 {
            let bound = b.int(by);
            let bound = b.spread(bound, &dims);
            b.binary(Binary::Lt, position, bound)
        } else {
            let (size, by) = (b.size(over), b.int(by));
            let bound = b.binary(Binary::Add, size, by);
            let bound = b.spread(bound, &dims);
            b.binary(Binary::Ge, position, bound)
        };
        let filled = b.only(filled, g);
        gains.push((1, b.reduce(Reduction::Sum, filled, &[over], None)));
    }
    gains
}
