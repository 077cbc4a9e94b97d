//! Matrix factorisations and linear systems over named dimensions.

mod dense;

use super::{Fault, Operand, Sizes, axis};
use crate::array::{Array, Elements};
use crate::graph::Factor;
use crate::ty::{DimId, Ty};
use dense::{Matrix, cholesky, eigh, identity, qr, solve_matrix, svd, symmetric, transpose};

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
