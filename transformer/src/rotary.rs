//! Rotary positions (Su et al. 2021, arXiv:2104.09864), halves paired as in the Hugging Face layout.

use crate::vector::{Scalar, Vector, blocks};

#[inline(always)]
pub(crate) fn rotate<V: Vector>(
    rows: &mut [V::Scalar],
    width: usize,
    heads: usize,
    cosines: &[V::Scalar],
    sines: &[V::Scalar],
) {
    let n_rows = rows.len() / width;
    assert!(rows.len() == n_rows * width && cosines.len() == sines.len());
    if n_rows == 0 {
        return;
    }
    let half = cosines.len() / n_rows;
    assert!(cosines.len() == half * n_rows && 2 * half * heads <= width);
    let angles = cosines.chunks_exact(half).zip(sines.chunks_exact(half));
    for (row, (cosines, sines)) in rows.chunks_exact_mut(width).zip(angles) {
        for head in row.chunks_exact_mut(2 * half).take(heads) {
            let (first, second) = head.split_at_mut(half);
            blocks!(V, half, |at| {
                let (a, b) = (V::load(first, at), V::load(second, at));
                let (cosine, sine) = (V::load(cosines, at), V::load(sines, at));
                let minus = V::splat(-V::Scalar::ONE);
                b.mul(minus).mul_add(sine, a.mul(cosine)).store(first, at);
                a.mul_add(sine, b.mul(cosine)).store(second, at);
            });
        }
    }
}
