//! Products of small matrices, for blocks of attention that stay in the first-level cache.
#![allow(
    unsafe_code,
    reason = "the inner loop reads by pointers, whose bounds are asserted before it"
)]

use crate::vector::{Scalar, Vector};

/// The left factor: element (i, k) stands at `i * row + k * column`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub(crate) elements: &'a [T],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// Sizes of a product: the result is `rows` × `columns`, which is a whole number of vectors, and so are the distances
/// between its rows and those of the right factor.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    /// Distance of the rows of the right factor.
    pub(crate) right: usize,
    /// Distance of the rows of the result.
    pub(crate) result: usize,
}

/// `result = left · right`, or `result += left · right` if it is to add.
#[inline(always)]
pub(crate) fn product<V: Vector, const ADD: bool>(
    size: Size,
    left: Left<V::Scalar>,
    right: &[V::Scalar],
    result: &mut [V::Scalar],
) {
    if size.rows == 0 || size.columns == 0 {
        return;
    }
    if size.depth == 0 {
        if !ADD {
            for row in result.chunks_mut(size.result).take(size.rows) {
                row[..size.columns].fill(V::Scalar::ZERO);
            }
        }
        return;
    }
    assert!(size.columns.is_multiple_of(V::LANES));
    assert!((size.rows - 1) * left.row + (size.depth - 1) * left.column < left.elements.len());
    assert!((size.depth - 1) * size.right + size.columns <= right.len());
    assert!((size.rows - 1) * size.result + size.columns <= result.len());
    let mut column = 0;
    while column < size.columns {
        // SAFETY: every tile lies within the sizes asserted above.
        unsafe {
            if column + 2 * V::LANES <= size.columns {
                strip::<V, ADD, 2>(size, left, right, result, column);
                column += 2 * V::LANES;
            } else {
                strip::<V, ADD, 1>(size, left, right, result, column);
                column += V::LANES;
            }
        }
    }
}

/// All rows of `N` vectors of columns.
///
/// # Safety
/// As asserted in [`product`], with `column + N * LANES` at most the number of columns.
#[inline(always)]
unsafe fn strip<V: Vector, const ADD: bool, const N: usize>(
    size: Size,
    left: Left<V::Scalar>,
    right: &[V::Scalar],
    result: &mut [V::Scalar],
    column: usize,
) {
    let mut row = 0;
    // SAFETY: the caller's.
    unsafe {
        while row + 6 <= size.rows {
            tile::<V, ADD, 6, N>(size, left, right, result, row, column);
            row += 6;
        }
        while row + 2 <= size.rows {
            tile::<V, ADD, 2, N>(size, left, right, result, row, column);
            row += 2;
        }
        if row < size.rows {
            tile::<V, ADD, 1, N>(size, left, right, result, row, column);
        }
    }
}

/// `M` rows of `N` vectors, held in registers.
///
/// # Safety
/// As for [`strip`], with `row + M` at most the number of rows.
#[inline(always)]
unsafe fn tile<V: Vector, const ADD: bool, const M: usize, const N: usize>(
    size: Size,
    left: Left<V::Scalar>,
    right: &[V::Scalar],
    result: &mut [V::Scalar],
    row: usize,
    column: usize,
) {
    let mut sums = [[V::zero(); N]; M];
    // SAFETY: the caller's.
    unsafe {
        let mut left_column = left.elements.as_ptr().add(row * left.row);
        let mut right_row = right.as_ptr().add(column);
        for depth in 0..size.depth {
            let mut vectors = [V::zero(); N];
            for (n, vector) in vectors.iter_mut().enumerate() {
                *vector = V::read(right_row.add(n * V::LANES));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let factor = V::splat(*left_column.add(m * left.row));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = factor.mul_add(vector, *sum);
                }
            }
            if depth + 1 < size.depth {
                left_column = left_column.add(left.column);
                right_row = right_row.add(size.right);
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let to = result.as_mut_ptr().add((row + m) * size.result + column);
            for (n, sum) in sums.iter().enumerate() {
                let to = to.add(n * V::LANES);
                let sum = if ADD { V::read(to).add(*sum) } else { *sum };
                sum.write(to);
            }
        }
    }
}
