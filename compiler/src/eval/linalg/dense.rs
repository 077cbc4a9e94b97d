//! Factorisations and linear systems of one matrix, by the plainest stable methods.
//!
//! Signs are fixed: the largest entry (by magnitude, the first of equals) of each left singular vector and
//! of each eigenvector is positive, and so is the diagonal of R. What does not exist (the inverse of a
//! singular matrix, the Cholesky factor of one that is not positive definite) is not a number.

/// Rows of equal length.
pub(super) type Matrix = Vec<Vec<f64>>;

pub(super) fn identity(n: usize) -> Matrix {
    (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect()
}

pub(super) fn transpose(x: &Matrix) -> Matrix {
    (0..x.first().map_or(0, Vec::len))
        .map(|j| x.iter().map(|line| line[j]).collect())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// (x + xᵀ)/2
pub(super) fn symmetric(x: &Matrix) -> Matrix {
    (0..x.len())
        .map(|i| (0..x.len()).map(|j| (x[i][j] + x[j][i]) / 2.0).collect())
        .collect()
}

/// Gaussian elimination with partial pivoting.
pub(super) fn solve_matrix(a: &Matrix, b: &Matrix) -> Matrix {
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
pub(super) fn cholesky(x: &Matrix) -> Matrix {
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
pub(super) fn qr(x: &Matrix) -> (Matrix, Matrix) {
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
pub(super) fn eigh(x: &Matrix) -> (Vec<f64>, Matrix) {
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
                rotate(&mut a, p, q, (c, s));
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

/// Rotates lines p and q (p < q) in the plane that they span.
fn rotate(lines: &mut Matrix, p: usize, q: usize, (c, s): (f64, f64)) {
    let (before, after) = lines.split_at_mut(q);
    for (a, b) in before[p].iter_mut().zip(&mut after[0]) {
        (*a, *b) = (c * *a - s * *b, s * *a + c * *b);
    }
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
pub(super) fn svd(x: &Matrix) -> (Matrix, Vec<f64>, Matrix) {
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
                    rotate(lines, p, q, (c, s));
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
