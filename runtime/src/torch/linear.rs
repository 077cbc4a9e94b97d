//! Contractions and the linear algebra of matrices.

use rlp_compiler::graph::Factor;
use rlp_compiler::ty::DimId;

use super::{Site, axis};
use crate::error::Fault;
use crate::tensor::{Tensor, scalar};

pub(super) fn contract(over: &[DimId], site: &Site) -> Result<Tensor, Fault> {
    let (a, b) = (site.operand(0)?, site.operand(1)?);
    let mut all: Vec<DimId> = a.dims.iter().chain(b.dims).copied().collect();
    all.sort_unstable();
    all.dedup();
    let subscripts = |dims: &[DimId]| {
        dims.iter()
            .map(|&dim| letter(axis::axis(&all, dim)?))
            .collect::<Result<String, Fault>>()
    };
    let equation = format!(
        "{},{}->{}",
        subscripts(a.dims)?,
        subscripts(b.dims)?,
        subscripts(&axis::without(&all, over))?
    );
    site.keep_real(Tensor::f_einsum(
        &equation,
        &[a.tensor, b.tensor],
        None::<&[i64]>,
    )?)
}

fn letter(number: usize) -> Result<char, Fault> {
    let letters = ('a'..='z').chain('A'..='Z');
    letters
        .clone()
        .nth(number)
        .ok_or_else(|| Fault::input("a product of tensors has more than 52 dimensions"))
}

pub(super) fn factor(
    factor: Factor,
    row: DimId,
    col: DimId,
    rank: Option<DimId>,
    site: &Site,
) -> Result<Tensor, Fault> {
    let x = site.operand(0)?;
    let batch = axis::without(x.dims, &[row, col]);
    let order = |last: &[DimId]| [batch.as_slice(), last].concat();
    let matrices = axis::arrange(x.tensor, x.dims, &order(&[row, col]))?;
    let rank =
        || rank.ok_or_else(|| Fault::broken("a factorisation names the dimension of its rank"));
    let (result, last) = match factor {
        Factor::SvdLeft => (svd(&matrices)?.0, vec![row, rank()?]),
        Factor::SvdValues => (svd(&matrices)?.1, vec![rank()?]),
        Factor::SvdRight => (svd(&matrices)?.2, vec![rank()?, col]),
        Factor::QrQ => (qr(&matrices)?.0, vec![row, rank()?]),
        Factor::QrR => (qr(&matrices)?.1, vec![rank()?, col]),
        Factor::EighValues => (
            Tensor::f_linalg_eigh(&symmetric(&matrices)?, "L")?.0,
            vec![rank()?],
        ),
        Factor::EighVectors => {
            let (_, vectors) = Tensor::f_linalg_eigh(&symmetric(&matrices)?, "L")?;
            (
                vectors.f_mul(&signs_of_columns(&vectors)?)?,
                vec![row, rank()?],
            )
        }
        Factor::Cholesky => (
            symmetric(&matrices)?.f_linalg_cholesky(false)?,
            vec![row, col],
        ),
        Factor::Inverse => (Tensor::f_linalg_inv(&matrices)?, vec![row, col]),
    };
    axis::arrange(&result, &order(&last), &site.ty.dims)
}

/// Left vectors (columns), values and right vectors (rows); the largest entry of each left vector is positive.
fn svd(x: &Tensor) -> Result<(Tensor, Tensor, Tensor), Fault> {
    let (left, values, right) = x.f_svd(true, true)?;
    let signs = signs_of_columns(&left)?;
    Ok((
        left.f_mul(&signs)?,
        values,
        right.f_mul(&signs)?.f_transpose(-2, -1)?,
    ))
}

/// Q and R; the diagonal of R is positive.
fn qr(x: &Tensor) -> Result<(Tensor, Tensor), Fault> {
    let (q, r) = Tensor::f_linalg_qr(x, "reduced")?;
    let signs = signs(&r.f_detach()?.f_diagonal(0, -2, -1)?)?;
    Ok((
        q.f_mul(&signs.f_unsqueeze(-2)?)?,
        r.f_mul(&signs.f_unsqueeze(-1)?)?,
    ))
}

/// (x + xᵀ)/2: libtorch reads only one triangle, and would differentiate only that one.
fn symmetric(x: &Tensor) -> Result<Tensor, Fault> {
    Ok(x.f_add(&x.f_transpose(-2, -1)?)?.f_div_scalar(2)?)
}

/// What makes the entry of largest magnitude of each column positive, the first of equals; one row.
fn signs_of_columns(vectors: &Tensor) -> Result<Tensor, Fault> {
    let vectors = vectors.f_detach()?;
    if vectors.numel() == 0 {
        let mut shape = vectors.size();
        let rows = shape.len() - 2;
        shape[rows] = 1;
        return Ok(Tensor::f_ones(
            &shape,
            (vectors.f_kind()?, vectors.device()),
        )?);
    }
    let (_, largest) = vectors.f_abs()?.f_max_dim(-2, true)?;
    signs(&vectors.f_gather(-2, &largest, false)?)
}

/// 1 or −1.
fn signs(x: &Tensor) -> Result<Tensor, Fault> {
    Ok(scalar(1, x)?.f_where_self(&x.f_ge(0)?, &scalar(-1, x)?)?)
}

pub(super) fn solve(row: DimId, col: DimId, site: &Site) -> Result<Tensor, Fault> {
    let (a, b) = (site.operand(0)?, site.operand(1)?);
    let batch = axis::without(a.dims, &[row, col]);
    let columns = axis::without(b.dims, &[batch.as_slice(), &[row]].concat());
    let matrices = axis::arrange(a.tensor, a.dims, &[batch.as_slice(), &[row, col]].concat())?;
    // One right-hand side for each position of the dimensions that only `b` has; all matrices share `b` where it lacks theirs.
    let own = axis::common(&batch, b.dims);
    let order = [own.as_slice(), &[row], columns.as_slice()].concat();
    let right = axis::arrange(b.tensor, b.dims, &order)?;
    let sizes = right.size();
    let batch_shape: Vec<i64> = batch
        .iter()
        .map(|&dim| axis::axis(&own, dim).map_or(1, |axis| sizes[axis]))
        .collect();
    let count: i64 = sizes[own.len() + 1..].iter().product();
    let right = right.f_reshape([batch_shape.as_slice(), &[sizes[own.len()], count]].concat())?;
    let right = right.f_expand(
        [&matrices.size()[..batch.len()], &[sizes[own.len()], count]].concat(),
        false,
    )?;
    let solution = Tensor::f_linalg_solve(&matrices, &right, true)?;
    let order = [batch.as_slice(), &[col], columns.as_slice()].concat();
    let shape = [
        &matrices.size()[..batch.len()],
        &[sizes[own.len()]],
        &sizes[own.len() + 1..],
    ]
    .concat();
    axis::arrange(&solution.f_reshape(&shape)?, &order, &site.ty.dims)
}
