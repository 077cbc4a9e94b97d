//! Examples of the factorisations and of linear systems.

use rlp_compiler::graph::{Binary, Factor, NodeId, Op};
use rlp_compiler::ty::{DimId, Elem};

use super::{Build, build};
use crate::setup::Setup;

const FACTORS: [Factor; 9] = [
    Factor::SvdLeft,
    Factor::SvdValues,
    Factor::SvdRight,
    Factor::QrQ,
    Factor::QrR,
    Factor::EighValues,
    Factor::EighVectors,
    Factor::Cholesky,
    Factor::Inverse,
];

/// Whether the matrix must be square, and which dimensions the part has.
fn form(factor: Factor, row: DimId, col: DimId, rank: DimId) -> (bool, Vec<DimId>) {
    match factor {
        Factor::SvdLeft | Factor::QrQ => (false, vec![row, rank]),
        Factor::SvdValues => (false, vec![rank]),
        Factor::SvdRight | Factor::QrR => (false, vec![rank, col]),
        Factor::EighValues => (true, vec![rank]),
        Factor::EighVectors => (true, vec![row, rank]),
        Factor::Cholesky | Factor::Inverse => (true, vec![row, col]),
    }
}

/// Matrices with a large diagonal, of distinct entries, so that all values are well apart.
fn matrices(s: &mut Setup, batch: DimId, row: DimId, col: DimId) -> NodeId {
    let dims = [batch, row, col];
    let x = s.variable(&dims, -0.5, 0.5);
    let position = |s: &mut Setup, dim: DimId| {
        let position = s.add(Op::Position(dim), &[], Elem::Int, &[dim]);
        s.add(Op::Broadcast, &[position], Elem::Int, &dims)
    };
    let (down, across) = (position(s, row), position(s, col));
    let diagonal = s.add(Op::Binary(Binary::Eq), &[down, across], Elem::Bool, &dims);
    let diagonal = s.add(Op::Cast(Elem::Real), &[diagonal], Elem::Real, &dims);
    let size = s.add(Op::Cast(Elem::Real), &[down], Elem::Real, &dims);
    let two = s.literal(2.0);
    let two = s.add(Op::Broadcast, &[two], Elem::Real, &dims);
    let size = s.binary(Binary::Add, size, two);
    let shift = s.mul(diagonal, size);
    s.binary(Binary::Add, x, shift)
}

pub(crate) fn factor() -> Vec<Build> {
    // Square, wide and tall; and with the columns named before the rows.
    let forms = [(0, 0, false), (0, 1, false), (1, 0, false), (1, 0, true)];
    let with = |(factor, (more_rows, more_cols, turned)): (Factor, (usize, usize, bool))| {
        build(
            format!("{factor:?} +{more_rows} rows +{more_cols} columns, turned: {turned}"),
            move |s| {
                let n = s.shape.features;
                let (rows, cols) = (n + more_rows, n + more_cols);
                let (first, second) = if turned { (cols, rows) } else { (rows, cols) };
                let (first, second) = (s.dim("row", first, None), s.dim("col", second, None));
                let (row, col) = if turned {
                    (second, first)
                } else {
                    (first, second)
                };
                let rank = s.dim_without_size("rank", None);
                let (_, dims) = form(factor, row, col, rank);
                let has_rank = dims.contains(&rank);
                let rank = has_rank.then_some(rank);
                if let Some(rank) = rank {
                    s.given.sizes.insert(rank, rows.min(cols));
                }
                let x = matrices(s, s.prompt, row, col);
                let dims: Vec<DimId> = [s.prompt].into_iter().chain(dims).collect();
                s.add(
                    Op::Factor {
                        factor,
                        row,
                        col,
                        rank,
                    },
                    &[x],
                    Elem::Real,
                    &dims,
                )
            },
        )
    };
    let fits = |factor: Factor, (rows, cols, _): (usize, usize, bool)| {
        let (square, _) = form(factor, DimId(0), DimId(1), DimId(2));
        !square || rows == cols
    };
    let all = FACTORS
        .into_iter()
        .flat_map(|factor| forms.map(|form| (factor, form)));
    all.filter(|&(factor, form)| fits(factor, form))
        .map(with)
        .collect()
}

pub(crate) fn solve() -> Vec<Build> {
    vec![build("solve", |s| {
        let n = s.shape.features;
        let (row, col) = (s.dim("row", n, None), s.dim("col", n, None));
        let a = matrices(s, s.prompt, row, col);
        let b = s.variable(&[s.sample, row], -1.0, 1.0);
        s.add(
            Op::Solve { row, col },
            &[a, b],
            Elem::Real,
            &[s.prompt, s.sample, col],
        )
    })]
}
