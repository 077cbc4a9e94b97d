//! The derivatives of factorisations and of linear systems.
//!
//! A matrix is written with its two dimensions here: `u[row, i]` has rows `row` and columns `i`. A product of
//! three matrices takes more names than there are, so dimensions get twins of the same size.
//! Sources: Giles 2008, "Collected matrix derivative results for forward and reverse mode" (inverse,
//! eigenvalues); Murray 2016, arXiv:1602.07527 (Cholesky); Townsend 2016, "Differentiating the singular value
//! decomposition"; Walter and Lehmann 2010, arXiv:1001.1654 (QR), applied to the first columns of a wide matrix.

use super::builder::Builder;
use super::rule::Gain;
use crate::graph::{Binary, Factor, NodeId, Op};
use crate::ty::{DimId, Elem, Ty};

/// a x = b, so b̄ = a⁻ᵀ x̄ and ā = −b̄ xᵀ.
pub(super) fn solve(
    b: &mut Builder,
    [row, col]: [DimId; 2],
    [a, right]: [NodeId; 2],
    x: NodeId,
    g: NodeId,
) -> Vec<Gain> {
    let (a_ty, g_ty) = (b.ty(a), b.ty(g));
    let ty = Ty::new(
        Elem::Real,
        [a_ty.without(&[col]).dims, g_ty.without(&[col]).dims].concat(),
    );
    let back = b.add(Op::Solve { row: col, col: row }, &[a, g], ty);
    let product = b.contract(back, x, &a_ty.dims);
    let kept = b.ty(right).dims;
    vec![(0, b.neg(product)), (1, b.sum_to(back, &kept, None))]
}

/// The adjoint of x, given the adjoint g of one part y of its factorisation.
pub(super) fn factor(
    b: &mut Builder,
    factor: Factor,
    [row, col]: [DimId; 2],
    rank: Option<DimId>,
    [x, y, g]: [NodeId; 3],
) -> NodeId {
    let batch = b.ty(x).without(&[row, col]).dims;
    let mut m = Matrices {
        batch,
        row,
        col,
        rank: rank.unwrap_or(row),
        x,
        twins: Vec::new(),
        b,
    };
    match factor {
        Factor::SvdLeft => m.svd_left(y, g),
        Factor::SvdValues => m.svd_values(g),
        Factor::SvdRight => m.svd_right(y, g),
        Factor::QrQ => m.qr(Some(g), None),
        Factor::QrR => m.qr(None, Some(g)),
        Factor::EighValues => m.eigh_values(g),
        Factor::EighVectors => m.eigh_vectors(y, g),
        Factor::Cholesky => m.cholesky(y, g),
        Factor::Inverse => m.inverse(y, g),
    }
}

/// Matrices x under factorisation, and the names of their dimensions.
struct Matrices<'b, 'g> {
    b: &'b mut Builder<'g>,
    x: NodeId,
    batch: Vec<DimId>,
    row: DimId,
    col: DimId,
    rank: DimId,
    /// (twin, of)
    twins: Vec<(DimId, DimId)>,
}

impl Matrices<'_, '_> {
    /// x̄ = −yᵀ ȳ yᵀ; the rows of y are named as those of x, though they stand for its columns.
    fn inverse(&mut self, y: NodeId, g: NodeId) -> NodeId {
        let (row, col) = (self.row, self.col);
        let (k, l) = (self.twin(row), self.twin(col));
        let left = self.b.rename(y, &[(row, k), (col, row)]);
        let middle = self.b.rename(g, &[(row, k), (col, l)]);
        let right = self.b.rename(y, &[(row, col), (col, l)]);
        let product = self.times(left, middle, [row, l]);
        let product = self.times(product, right, [row, col]);
        self.b.neg(product)
    }

    /// x̄ = y⁻ᵀ Φ(yᵀ ȳ) y⁻¹ made symmetric; Φ keeps the lower triangle, and half of the diagonal.
    fn cholesky(&mut self, y: NodeId, g: NodeId) -> NodeId {
        let (row, col) = (self.row, self.col);
        let (k, l) = (self.twin(row), self.twin(col));
        let ty = self.b.ty(y);
        let inverse = self.b.add(
            Op::Factor {
                factor: Factor::Inverse,
                row,
                col,
                rank: None,
            },
            &[y],
            ty,
        );
        let turned = self.b.rename(y, &[(col, k)]);
        let below = self.b.rename(g, &[(col, l)]);
        let product = self.times(turned, below, [k, l]);
        let half = self.b.constant(0.5, &self.b.ty(product));
        let half = self.b.mul(half, product);
        let diagonal = self.positions(Binary::Eq, k, l, product);
        let under = self.positions(Binary::Gt, k, l, product);
        let phi = self.b.only(diagonal, half);
        let phi = self.b.select(under, product, phi);
        let left = self.b.rename(inverse, &[(row, k), (col, row)]);
        let right = self.b.rename(inverse, &[(row, l)]);
        let product = self.times(left, phi, [row, l]);
        let product = self.times(product, right, [row, col]);
        self.symmetric(product)
    }

    /// x̄ = v w̄ vᵀ
    fn eigh_values(&mut self, g: NodeId) -> NodeId {
        let v = self.part(Factor::EighVectors, &[self.row, self.rank]);
        let other = self.b.rename(v, &[(self.row, self.col)]);
        let scaled = self.scale(v, g);
        self.times(scaled, other, [self.row, self.col])
    }

    /// x̄ = v (f ∘ vᵀ v̄) vᵀ made symmetric, f[i, j] = 1/(w[j] − w[i]).
    fn eigh_vectors(&mut self, v: NodeId, g: NodeId) -> NodeId {
        let (row, col, i) = (self.row, self.col, self.rank);
        let j = self.twin(i);
        let w = self.part(Factor::EighValues, &[i]);
        let turned = self.b.rename(g, &[(i, j)]);
        let inner = self.times(v, turned, [i, j]);
        let gaps = self.inverse_gaps(w, [i, j], inner);
        let inner = self.b.mul(gaps, inner);
        let other = self.b.rename(v, &[(row, col), (i, j)]);
        let product = self.times(v, inner, [row, j]);
        let product = self.times(product, other, [row, col]);
        self.symmetric(product)
    }

    /// x̄ = u s̄ vᵀ
    fn svd_values(&mut self, g: NodeId) -> NodeId {
        let u = self.part(Factor::SvdLeft, &[self.row, self.rank]);
        let vt = self.part(Factor::SvdRight, &[self.rank, self.col]);
        let scaled = self.scale(u, g);
        self.times(scaled, vt, [self.row, self.col])
    }

    /// x̄ = (u (f ∘ (uᵀū − ūᵀu)) s + (1 − u uᵀ) ū s⁻¹) vᵀ, f[i, j] = 1/(s[j]² − s[i]²).
    fn svd_left(&mut self, u: NodeId, g: NodeId) -> NodeId {
        let (row, col, i) = (self.row, self.col, self.rank);
        let j = self.twin(i);
        let s = self.part(Factor::SvdValues, &[i]);
        let vt = self.part(Factor::SvdRight, &[i, col]);
        let (s, vt) = (s, self.b.rename(vt, &[(i, j)]));
        let g = self.b.rename(g, &[(i, j)]);
        let inner = self.times(u, g, [i, j]);
        let mixed = self.skew_over_gaps(inner, s, [i, j]);
        let s_j = self.b.rename(s, &[(i, j)]);
        let mixed = self.scale(mixed, s_j);
        let within = self.times(u, mixed, [row, j]);
        let along = self.times(u, inner, [row, j]);
        let beside = self.b.binary(Binary::Sub, g, along);
        let beside = self.divide(beside, s_j);
        let left = self.b.binary(Binary::Add, within, beside);
        self.times(left, vt, [row, col])
    }

    /// x̄ = u (s (f ∘ (vᵀv̄ − v̄ᵀv)) vᵀ + s⁻¹ v̄ᵀ (1 − v vᵀ)), f as for the left vectors; y is vᵀ.
    fn svd_right(&mut self, vt: NodeId, g: NodeId) -> NodeId {
        let (row, col, i) = (self.row, self.col, self.rank);
        let j = self.twin(i);
        let u = self.part(Factor::SvdLeft, &[row, i]);
        let s = self.part(Factor::SvdValues, &[i]);
        let (vt_j, g_j) = (self.b.rename(vt, &[(i, j)]), self.b.rename(g, &[(i, j)]));
        let inner = self.times(vt, g_j, [i, j]);
        let mixed = self.skew_over_gaps(inner, s, [i, j]);
        let mixed = self.scale(mixed, s);
        let within = self.times(mixed, vt_j, [i, col]);
        let turned = self.b.rename(inner, &[(i, j), (j, i)]);
        let along = self.times(turned, vt_j, [i, col]);
        let beside = self.b.binary(Binary::Sub, g, along);
        let beside = self.divide(beside, s);
        let right = self.b.binary(Binary::Add, within, beside);
        self.times(u, right, [row, col])
    }

    /// x̄ = (q̄ + q copyltu(r r̄ᵀ − q̄ᵀ q)) r⁻ᵀ, where copyltu copies the lower triangle to the upper.
    ///
    /// Of a wide matrix this holds for the first columns, as many as there are rows. The others are x₂ = q r₂, so that
    /// x̄₂ = q r̄₂, and q̄ gains x₂ r̄₂ᵀ; of a tall matrix there are none.
    fn qr(&mut self, q_adjoint: Option<NodeId>, r_adjoint: Option<NodeId>) -> NodeId {
        let (row, col, i) = (self.row, self.col, self.rank);
        let (j, k) = (self.twin(i), self.twin(i));
        let q = self.part(Factor::QrQ, &[row, i]);
        let r = self.part(Factor::QrR, &[i, col]);
        let q_adjoint = q_adjoint.unwrap_or_else(|| self.b.zeros(&self.b.ty(q)));
        let r_adjoint = r_adjoint.unwrap_or_else(|| self.b.zeros(&self.b.ty(r)));
        let dims = self.b.ty(r).dims;
        let (position, size) = (self.b.position(col, &dims), self.b.size(i));
        let size = self.b.spread(size, &dims);
        let beyond = self.b.binary(Binary::Ge, position, size);
        let rest = self.b.only(beyond, r_adjoint);
        let of_rest = self.times(self.x, rest, [row, i]);
        let q_adjoint = self.b.binary(Binary::Add, q_adjoint, of_rest);

        let first = self.b.position(i, &[i]);
        let first = self.b.rename(first, &[(i, j)]);
        let (r, r_adjoint) = (
            self.b.gather(col, r, first),
            self.b.gather(col, r_adjoint, first),
        );
        let r_adjoint = self.b.rename(r_adjoint, &[(i, k)]);
        let q_k = self.b.rename(q, &[(i, k)]);
        let (of_r, of_q) = (
            self.times(r, r_adjoint, [i, k]),
            self.times(q_adjoint, q_k, [i, k]),
        );
        let m = self.b.binary(Binary::Sub, of_r, of_q);
        let turned = self.b.rename(m, &[(i, k), (k, i)]);
        let lower = self.positions(Binary::Ge, i, k, m);
        let copied = self.b.select(lower, m, turned);
        let product = self.times(q_k, copied, [row, i]);
        let left = self.b.binary(Binary::Add, q_adjoint, product);
        let ty = Ty::new(Elem::Real, [self.batch.as_slice(), &[row, j]].concat());
        let columns = self.b.add(Op::Solve { row: i, col: j }, &[r, left], ty);
        let ty = self.b.ty(self.x);
        let columns = self.b.scatter_add(col, columns, first, ty);
        let others = self.times(q, rest, [row, col]);
        self.b.binary(Binary::Add, columns, others)
    }

    // The algebra of matrices with named dimensions.

    /// Another part of the factorisation of x.
    fn part(&mut self, factor: Factor, dims: &[DimId]) -> NodeId {
        let ty = Ty::new(Elem::Real, [self.batch.as_slice(), dims].concat());
        let op = Op::Factor {
            factor,
            row: self.row,
            col: self.col,
            rank: Some(self.rank),
        };
        self.b.add(op, &[self.x], ty)
    }

    fn twin(&mut self, of: DimId) -> DimId {
        let twin = self.b.twin(of);
        self.twins.push((twin, of));
        twin
    }

    /// The product of two matrices, to these rows and columns.
    fn times(&mut self, a: NodeId, b: NodeId, to: [DimId; 2]) -> NodeId {
        let kept = [self.batch.as_slice(), &to].concat();
        self.b.contract(a, b, &kept)
    }

    /// A matrix times a diagonal one, given as a vector over one of its dimensions.
    fn scale(&mut self, matrix: NodeId, diagonal: NodeId) -> NodeId {
        let diagonal = self.spread_like(diagonal, matrix);
        self.b.mul(matrix, diagonal)
    }

    /// A matrix times the inverse of a diagonal one.
    fn divide(&mut self, matrix: NodeId, diagonal: NodeId) -> NodeId {
        let diagonal = self.spread_like(diagonal, matrix);
        self.b.binary(Binary::Div, matrix, diagonal)
    }

    /// (x + xᵀ)/2, for x over `row` and `col`.
    fn symmetric(&mut self, x: NodeId) -> NodeId {
        let turned = self
            .b
            .rename(x, &[(self.row, self.col), (self.col, self.row)]);
        let sum = self.b.binary(Binary::Add, x, turned);
        let half = self.b.constant(0.5, &self.b.ty(x));
        self.b.mul(sum, half)
    }

    /// f ∘ (p − pᵀ), f[i, j] = 1/(s[j]² − s[i]²).
    fn skew_over_gaps(&mut self, p: NodeId, s: NodeId, [i, j]: [DimId; 2]) -> NodeId {
        let turned = self.b.rename(p, &[(i, j), (j, i)]);
        let skew = self.b.binary(Binary::Sub, p, turned);
        let squares = self.b.mul(s, s);
        let gaps = self.inverse_gaps(squares, [i, j], p);
        self.b.mul(gaps, skew)
    }

    /// 1/(w[j] − w[i]), 0 on the diagonal; over the dimensions of `like`, `w` over i.
    fn inverse_gaps(&mut self, w: NodeId, [i, j]: [DimId; 2], like: NodeId) -> NodeId {
        let other = self.b.rename(w, &[(i, j)]);
        let (own, other) = (self.spread_like(w, like), self.spread_like(other, like));
        let gaps = self.b.binary(Binary::Sub, other, own);
        let diagonal = self.positions(Binary::Eq, i, j, like);
        let one = self.b.constant(1.0, &self.b.ty(like));
        let gaps = self.b.select(diagonal, one, gaps);
        let inverse = self.b.binary(Binary::Div, one, gaps);
        self.b.except(diagonal, inverse)
    }

    /// Where the position along one dimension compares to that along another, over the dimensions of `like`.
    fn positions(&mut self, op: Binary, first: DimId, second: DimId, like: NodeId) -> NodeId {
        let dims = self.b.ty(like).dims;
        let [first, second] = [first, second].map(|dim| {
            let of = self
                .twins
                .iter()
                .find(|(twin, _)| *twin == dim)
                .map_or(dim, |&(_, of)| of);
            let position = self.b.position(of, &[of]);
            let position = if of == dim {
                position
            } else {
                self.b.rename(position, &[(of, dim)])
            };
            self.b.spread(position, &dims)
        });
        self.b.binary(op, first, second)
    }

    fn spread_like(&mut self, x: NodeId, like: NodeId) -> NodeId {
        let dims = self.b.ty(like).dims;
        self.b.spread(x, &dims)
    }
}
