//! Factorisations.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Factor, NodeId, Op, Unary};
use rlp_compiler::ty::{DimId, Elem};

use crate::setup::Setup;
use crate::value::{SHAPE, reals};

/// a·b over named dimensions
fn product(s: &mut Setup, a: NodeId, b: NodeId, over: DimId) -> NodeId {
    let dims: Vec<DimId> = [a, b]
        .iter()
        .flat_map(|&id| s.graph.ty(id).dims.clone())
        .filter(|dim| *dim != over)
        .collect();
    s.add(
        Op::Contract { over: vec![over] },
        &[a, b],
        Elem::Real,
        &dims,
    )
}

#[test]
fn factors_multiply_to_the_matrix_with_definite_signs() {
    for (rows, cols) in [(3, 3), (2, 4), (4, 2), (1, 3)] {
        let mut s = Setup::new(SHAPE);
        let (row, col, rank) = (
            s.dim("row", rows, None),
            s.dim("col", cols, None),
            s.dim_without_size("rank", None),
        );
        let x = s.constant(&[row, col], -2.0, 2.0);
        let part = |s: &mut Setup, factor, dims: &[DimId]| {
            s.add(
                Op::Factor {
                    factor,
                    row,
                    col,
                    rank: Some(rank),
                },
                &[x],
                Elem::Real,
                dims,
            )
        };
        let (q, r) = (
            part(&mut s, Factor::QrQ, &[row, rank]),
            part(&mut s, Factor::QrR, &[rank, col]),
        );
        let (u, values, v) = (
            part(&mut s, Factor::SvdLeft, &[row, rank]),
            part(&mut s, Factor::SvdValues, &[rank]),
            part(&mut s, Factor::SvdRight, &[rank, col]),
        );
        let scale = s.add(Op::Broadcast, &[values], Elem::Real, &[rank, col]);
        let scaled = s.mul(scale, v);
        for product in [
            product(&mut s, q, r, rank),
            product(&mut s, u, scaled, rank),
        ] {
            let (expected, got) = (reals(&s, x), reals(&s, product));
            assert!(
                expected
                    .iter()
                    .zip(&got)
                    .all(|(a, b)| (a - b).abs() < 1e-12),
                "{expected:?} {got:?}"
            );
        }
        let n = rows.min(cols);
        let (r, u, values) = (reals(&s, r), reals(&s, u), reals(&s, values));
        assert!((0..n).all(|k| r[k * cols + k] > 0.0));
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
        for k in 0..n {
            let column = (0..rows).map(|i| u[i * n + k]);
            let largest = column.fold(
                0.0f64,
                |best, x| if x.abs() > best.abs() { x } else { best },
            );
            assert!(largest > 0.0);
        }
    }
}

#[test]
fn a_matrix_of_rank_one_still_has_orthonormal_vectors() {
    let mut s = Setup::new(SHAPE);
    let (row, col, rank) = (
        s.dim("row", 3, None),
        s.dim("col", 3, None),
        s.dim_without_size("rank", None),
    );
    let ones = Array {
        shape: vec![3, 3],
        elements: Elements::Real(vec![1.0; 9]),
    };
    let x = s.input(ones, Elem::Real, &[row, col]);
    let u = s.add(
        Op::Factor {
            factor: Factor::SvdLeft,
            row,
            col,
            rank: Some(rank),
        },
        &[x],
        Elem::Real,
        &[row, rank],
    );
    let other = s.dim_without_size("other", None);
    let turned = s.add(
        Op::Rename(vec![(rank, other)]),
        &[u],
        Elem::Real,
        &[row, other],
    );
    let gram = product(&mut s, u, turned, row);
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let gram = reals(&s, gram);
    assert!(
        gram.iter()
            .zip(identity)
            .all(|(a, b)| (a - b).abs() < 1e-12),
        "{gram:?}"
    );
}

#[test]
fn factors_that_do_not_exist_are_not_numbers() {
    let mut s = Setup::new(SHAPE);
    let (row, col) = (s.dim("row", 2, None), s.dim("col", 2, None));
    let x = Array {
        shape: vec![2, 2],
        elements: Elements::Real(vec![1.0, 2.0, 2.0, 4.0]),
    };
    let x = s.input(x, Elem::Real, &[row, col]);
    let inverse = s.add(
        Op::Factor {
            factor: Factor::Inverse,
            row,
            col,
            rank: None,
        },
        &[x],
        Elem::Real,
        &[row, col],
    );
    assert!(reals(&s, inverse).iter().any(|x| !x.is_finite()));
    let negative = s.unary(Unary::Neg, x);
    let cholesky = s.add(
        Op::Factor {
            factor: Factor::Cholesky,
            row,
            col,
            rank: None,
        },
        &[negative],
        Elem::Real,
        &[row, col],
    );
    assert!(reals(&s, cholesky).iter().any(|x| x.is_nan()));
}
