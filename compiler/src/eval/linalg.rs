//! Matrix factorisations and linear systems, by the plainest stable methods.
//!
//! Signs are fixed: the largest entry (by magnitude, the first of equals) of each left singular vector and
//! of each eigenvector is positive, and so is the diagonal of R. What does not exist (the inverse of a
//! singular matrix, the Cholesky factor of one that is not positive definite) is not a number.

use super::{Fault, Operand, Sizes, axis};
use crate::array::{Array, Elements};
use crate::graph::Factor;
use crate::ty::{DimId, Ty};

/// Rows of equal length.
type Matrix = Vec<Vec<f64>>;

pub(super) fn factor(
    factor: Factor,
    row: DimId,
    col: DimId,
    rank: Option<DimId>,
    x: Operand,
    ty: &Ty,
) -> Result<Array, Fault> {
    let matrices = matrices(x, row, col)?;
    let rank = rank.unwrap_or(row);
    let (first, second) = match factor {
        Factor::SvdLeft | Factor::QrQ | Factor::EighVectors => (row, Some(rank)),
        Factor::SvdRight | Factor::QrR => (rank, Some(col)),
        Factor::SvdValues | Factor::EighValues => (rank, None),
        Factor::Cholesky | Factor::Inverse => (row, Some(col)),
    };
    let parts: Vec<Matrix> = matrices
        .into_iter()
        .map(|matrix| match factor {
            Factor::SvdLeft => svd(&matrix).0,
            Factor::SvdValues => svd(&matrix)
                .1
                .into_iter()
                .map(|value| vec![value])
                .collect(),
            Factor::SvdRight => transpose(&svd(&matrix).2),
            Factor::QrQ => qr(&matrix).0,
            Factor::QrR => qr(&matrix).1,
            Factor::EighValues => eigh(&symmetric(&matrix))
                .0
                .into_iter()
                .map(|value| vec![value])
                .collect(),
            Factor::EighVectors => eigh(&symmetric(&matrix)).1,
            Factor::Cholesky => cholesky(&symmetric(&matrix)),
            Factor::Inverse => solve_matrix(&matrix, &identity(matrix.len())),
        })
        .collect();
    let sizes = [
        parts.first().map_or(0, Vec::len),
        parts
            .first()
            .and_then(|part| part.first())
            .map_or(0, Vec::len),
    ];
    let size_of = |dim: &DimId| match x.ty.dims.iter().position(|own| own == dim) {
        _ if *dim == first => sizes[0],
        _ if Some(*dim) == second => sizes[1],
        Some(axis) => x.array.shape[axis],
        None => 0,
    };
    let shape: Vec<usize> = ty.dims.iter().map(size_of).collect();
    let along = |dim: DimId| axis::strides(&ty.dims, &shape, &[dim])[0];
    let (down, across) = (along(first), second.map_or(0, along));
    let batch = ty.without(&[first, second.unwrap_or(first)]);
    let batch_shape: Vec<usize> = batch.dims.iter().map(size_of).collect();
    let mut elements = vec![0.0; shape.iter().product()];
    for (base, part) in axis::offsets(&batch_shape, &axis::strides(&ty.dims, &shape, &batch.dims))
        .into_iter()
        .zip(parts)
    {
        for (i, line) in part.into_iter().enumerate() {
            for (j, value) in line.into_iter().enumerate() {
                elements[base + i * down + j * across] = value;
            }
        }
    }
    Ok(Array {
        shape,
        elements: Elements::Real(elements),
    })
}

/// The matrices of `row` and `col`, one for each position of the other dimensions.
fn matrices(x: Operand, row: DimId, col: DimId) -> Result<Vec<Matrix>, Fault> {
    let values = x.real()?;
    let along = axis::strides(&x.ty.dims, &x.array.shape, &[row, col]);
    let size = |dim: DimId| Some(x.array.shape[x.ty.dims.iter().position(|own| *own == dim)?]);
    let (rows, cols) = (size(row).ok_or(Fault::Type)?, size(col).ok_or(Fault::Type)?);
    let batch = x.ty.without(&[row, col]);
    let batch_shape: Vec<usize> = batch.dims.iter().filter_map(|&dim| size(dim)).collect();
    let bases = axis::offsets(
        &batch_shape,
        &axis::strides(&x.ty.dims, &x.array.shape, &batch.dims),
    );
    let line = |base: usize, i: usize| {
        (0..cols)
            .map(|j| values[base + i * along[0] + j * along[1]])
            .collect()
    };
    Ok(bases
        .into_iter()
        .map(|base| (0..rows).map(|i| line(base, i)).collect())
        .collect())
}

pub(super) fn solve(
    row: DimId,
    col: DimId,
    a: Operand,
    b: Operand,
    ty: &Ty,
    sizes: &Sizes,
) -> Result<Array, Fault> {
    let right = b.real()?;
    let matrices = matrices(a, row, col)?;
    let n = sizes.get(row)?;
    if sizes.get(col)? != n {
        return Err(Fault::SizesDisagree {
            dim: col,
            sizes: [n, sizes.get(col)?],
        });
    }
    let shape = sizes.shape(&ty.dims)?;
    // One system for each position of the result's dimensions other than `col`.
    let systems = ty.without(&[col]);
    let system_shape = sizes.shape(&systems.dims)?;
    let batch = a.ty.without(&[row, col]);
    let batch_shape = sizes.shape(&batch.dims)?;
    let which = axis::offsets(
        &system_shape,
        &axis::strides(&batch.dims, &batch_shape, &systems.dims),
    );
    let from = axis::offsets(
        &system_shape,
        &axis::strides(&b.ty.dims, &b.array.shape, &systems.dims),
    );
    let to = axis::offsets(
        &system_shape,
        &axis::strides(&ty.dims, &shape, &systems.dims),
    );
    let read = axis::strides(&b.ty.dims, &b.array.shape, &[row])[0];
    let write = axis::strides(&ty.dims, &shape, &[col])[0];
    let mut elements = vec![0.0; shape.iter().product()];
    for ((which, from), to) in which.into_iter().zip(from).zip(to) {
        let column: Matrix = (0..n).map(|i| vec![right[from + i * read]]).collect();
        for (i, line) in solve_matrix(&matrices[which], &column)
            .into_iter()
            .enumerate()
        {
            elements[to + i * write] = line[0];
        }
    }
    Ok(Array {
        shape,
        elements: Elements::Real(elements),
    })
}

fn identity(n: usize) -> Matrix {
    (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect()
}

fn transpose(x: &Matrix) -> Matrix {
    (0..x.first().map_or(0, Vec::len))
        .map(|j| x.iter().map(|line| line[j]).collect())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// (x + xᵀ)/2
fn symmetric(x: &Matrix) -> Matrix {
    (0..x.len())
        .map(|i| (0..x.len()).map(|j| (x[i][j] + x[j][i]) / 2.0).collect())
        .collect()
}

/// Gaussian elimination with partial pivoting.
fn solve_matrix(a: &Matrix, b: &Matrix) -> Matrix {
    let n = a.len();
    let mut rows: Matrix = a
        .iter()
        .zip(b)
        .map(|(a, b)| a.iter().chain(b).copied().collect())
        .collect();
    for k in 0..n {
        let pivot = (k..n).fold(k, |best, i| {
            if rows[i][k].abs() > rows[best][k].abs() {
                i
            } else {
                best
            }
        });
        rows.swap(k, pivot);
        let pivot_row = rows[k].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = if i == k { 0.0 } else { row[k] / pivot_row[k] };
            for (x, p) in row.iter_mut().zip(&pivot_row).skip(k) {
                *x = if i == k {
                    *x / pivot_row[k]
                } else {
                    *x - factor * p
                };
            }
        }
    }
    rows.into_iter().map(|row| row[n..].to_vec()).collect()
}

/// The lower factor.
fn cholesky(x: &Matrix) -> Matrix {
    let n = x.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let rest = x[i][j] - dot(&lower[i][..j], &lower[j][..j]);
            lower[i][j] = if i == j {
                rest.sqrt()
            } else {
                rest / lower[j][j]
            };
        }
    }
    lower
}

/// Householder reflections; Q has min(rows, columns) columns.
fn qr(x: &Matrix) -> (Matrix, Matrix) {
    let (m, n) = (x.len(), x.first().map_or(0, Vec::len));
    let rank = m.min(n);
    let mut r = transpose(x);
    let mut q = identity(m);
    for k in 0..rank {
        let mut v: Vec<f64> = r[k]
            .iter()
            .enumerate()
            .map(|(i, &value)| if i < k { 0.0 } else { value })
            .collect();
        v[k] += dot(&v, &v).sqrt().copysign(v[k]);
        let norm = dot(&v, &v);
        if norm == 0.0 {
            continue;
        }
        for line in r.iter_mut().chain(q.iter_mut()) {
            let along = 2.0 * dot(line, &v) / norm;
            line.iter_mut().zip(&v).for_each(|(x, v)| *x -= along * v);
        }
    }
    let sign = |k: usize| if r[k][k] < 0.0 { -1.0 } else { 1.0 };
    let orthogonal = q
        .iter()
        .map(|line| (0..rank).map(|k| line[k] * sign(k)).collect())
        .collect();
    let upper = (0..rank)
        .map(|k| {
            (0..n)
                .map(|j| if j < k { 0.0 } else { r[j][k] * sign(k) })
                .collect()
        })
        .collect();
    (orthogonal, upper)
}

/// Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations.
fn eigh(x: &Matrix) -> (Vec<f64>, Matrix) {
    let n = x.len();
    let mut a = x.clone();
    let mut vectors = identity(n);
    for _ in 0..SWEEPS {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i][j] * a[i][j])
            .sum();
        if off == 0.0 || !off.is_finite() {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let (c, s) = rotation(a[p][p], a[q][q], a[p][q]);
                for line in a.iter_mut().chain(vectors.iter_mut()) {
                    (line[p], line[q]) = (c * line[p] - s * line[q], s * line[p] + c * line[q]);
                }
                for j in 0..n {
                    (a[p][j], a[q][j]) = (c * a[p][j] - s * a[q][j], s * a[p][j] + c * a[q][j]);
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[i][i].total_cmp(&a[j][j]));
    let columns: Matrix = order
        .iter()
        .map(|&k| positive(vectors.iter().map(|line| line[k]).collect()).0)
        .collect();
    (
        order.iter().map(|&k| a[k][k]).collect(),
        transpose(&columns),
    )
}

/// Jacobi's method converges quadratically; well-separated or not, 60 sweeps are many more than it takes.
const SWEEPS: usize = 60;

/// Cosine and sine of the rotation that makes the off-diagonal `pq` of a symmetric 2×2 matrix vanish.
fn rotation(pp: f64, qq: f64, pq: f64) -> (f64, f64) {
    if pq == 0.0 {
        return (1.0, 0.0);
    }
    let theta = (qq - pp) / (2.0 * pq);
    let tangent = 1.0f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    (cosine, cosine * tangent)
}

/// The vector with its largest entry positive, and whether it was turned.
fn positive(vector: Vec<f64>) -> (Vec<f64>, bool) {
    let largest = vector.iter().copied().fold(
        0.0f64,
        |best, x| if x.abs() > best.abs() { x } else { best },
    );
    if largest < 0.0 {
        (vector.iter().map(|x| -x).collect(), true)
    } else {
        (vector, false)
    }
}

/// Left vectors (columns), values (descending), right vectors (columns), by one-sided Jacobi rotations.
fn svd(x: &Matrix) -> (Matrix, Vec<f64>, Matrix) {
    let (m, n) = (x.len(), x.first().map_or(0, Vec::len));
    // Work on the columns of the tall one of x and xᵀ.
    let mut columns = if m >= n { transpose(x) } else { x.clone() };
    let rank = columns.len();
    let mut turned = identity(rank);
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for p in 0..rank {
            for q in p + 1..rank {
                let (pp, qq, pq) = (
                    dot(&columns[p], &columns[p]),
                    dot(&columns[q], &columns[q]),
                    dot(&columns[p], &columns[q]),
                );
                // Two columns at right angles, to rounding.
                if pq == 0.0 || pq.abs() <= f64::EPSILON * (pp * qq).sqrt() || !pq.is_finite() {
                    continue;
                }
                rotated = true;
                let (c, s) = rotation(pp, qq, pq);
                for lines in [&mut columns, &mut turned] {
                    for i in 0..lines[p].len() {
                        let (a, b) = (lines[p][i], lines[q][i]);
                        (lines[p][i], lines[q][i]) = (c * a - s * b, s * a + c * b);
                    }
                }
            }
        }
        if !rotated {
            break;
        }
    }
    let norms: Vec<f64> = columns
        .iter()
        .map(|column| dot(column, column).sqrt())
        .collect();
    let mut order: Vec<usize> = (0..rank).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let values: Vec<f64> = order.iter().map(|&k| norms[k]).collect();
    let scaled: Matrix = order
        .iter()
        .map(|&k| columns[k].iter().map(|x| x / norms[k]).collect())
        .collect();
    let long = complete(scaled, &values);
    let short: Matrix = order.iter().map(|&k| turned[k].clone()).collect();
    let (left, right) = if m >= n { (long, short) } else { (short, long) };
    let signed: Vec<(Vec<f64>, bool)> = left.into_iter().map(positive).collect();
    let right = right.into_iter().zip(&signed).map(|(v, (_, turn))| {
        if *turn {
            v.iter().map(|x| -x).collect()
        } else {
            v
        }
    });
    let (left, right): (Matrix, Matrix) = (
        signed.iter().map(|(u, _)| u.clone()).collect(),
        right.collect(),
    );
    (transpose(&left), values, transpose(&right))
}

/// Replaces the vectors of (relatively) vanishing values by others at right angles to those before.
fn complete(mut vectors: Matrix, values: &[f64]) -> Matrix {
    let smallest = values.first().copied().unwrap_or(0.0) * f64::EPSILON * values.len() as f64;
    for k in 0..vectors.len() {
        if values[k] > smallest || !values[k].is_finite() {
            continue;
        }
        let n = vectors[k].len();
        let rest = |axis: usize| {
            let mut v: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == axis))).collect();
            for u in &vectors[..k] {
                let along = dot(&v, u);
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= along * u);
            }
            v
        };
        let best = (0..n)
            .map(rest)
            .max_by(|a, b| dot(a, a).total_cmp(&dot(b, b)));
        if let Some(v) = best {
            let norm = dot(&v, &v).sqrt();
            vectors[k] = v.iter().map(|x| x / norm).collect();
        }
    }
    vectors
}
