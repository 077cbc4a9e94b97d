//! Causal attention of whole sequences, there and back, a block of queries at a time (Dao 2023, arXiv:2307.08691).

use std::ops::Range;

use crate::product::{Left, Size, product};
use crate::vector::{Scalar, Vector, blocks};

/// How rows of queries, keys and values, one after the other, are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub queries: usize,
    /// Heads of keys and of values; divides `queries`.
    pub keys: usize,
    /// Scalars of a head.
    pub width: usize,
}

impl Heads {
    /// Scalars of a row.
    pub fn row(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }

    /// Where the key of a head stands in a row.
    pub fn key(self, head: usize) -> Range<usize> {
        let start = (self.queries + head) * self.width;
        start..start + self.width
    }

    /// Where the value of a head stands in a row.
    pub fn value(self, head: usize) -> Range<usize> {
        let start = (self.queries + self.keys + head) * self.width;
        start..start + self.width
    }

    /// The query heads that read a head of keys.
    fn readers(self, key_head: usize) -> Range<usize> {
        let group = self.queries / self.keys;
        key_head * group..(key_head + 1) * group
    }
}

/// Rows of one sequence: those of `own` see those of `prefix`, and of their own what is not after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub prefix: Range<usize>,
    pub own: Range<usize>,
}

impl Span {
    /// All rows, in the order of their positions.
    fn rows(&self) -> impl Iterator<Item = usize> {
        self.prefix.clone().chain(self.own.clone())
    }

    fn length(&self) -> usize {
        self.prefix.len() + self.own.len()
    }
}

/// Queries that are handled together.
const QUERIES: usize = 48;

/// Memory for what is in work.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    keys: Vec<T>,
    values: Vec<T>,
    keys_across: Vec<T>,
    values_across: Vec<T>,
    queries: Vec<T>,
    upstream: Vec<T>,
    weights: Vec<T>,
    by_weights: Vec<T>,
    result: Vec<T>,
    by_keys: Vec<T>,
    by_values: Vec<T>,
}

/// `rows` rows of `width`, padded to whole vectors.
#[inline(always)]
fn fresh<V: Vector>(buffer: &mut Vec<V::Scalar>, rows: usize, width: usize) -> usize {
    let padded = width.next_multiple_of(V::LANES);
    buffer.clear();
    buffer.resize(rows * padded, V::Scalar::ZERO);
    padded
}

/// The columns from `start` of some rows, times `factor`.
#[inline(always)]
fn gather<V: Vector>(
    from: &[V::Scalar],
    row: usize,
    start: usize,
    width: usize,
    rows: impl ExactSizeIterator<Item = usize>,
    factor: V::Scalar,
    to: &mut Vec<V::Scalar>,
) {
    let padded = fresh::<V>(to, rows.len(), width);
    for (index, to) in rows.zip(to.chunks_exact_mut(padded)) {
        let from = &from[index * row + start..][..width];
        blocks!(V, width, |at| {
            V::load(from, at).mul(V::splat(factor)).store(to, at);
        });
    }
}

/// The transpose of a gathered matrix.
#[inline(always)]
fn across<V: Vector>(from: &[V::Scalar], rows: usize, width: usize, to: &mut Vec<V::Scalar>) {
    let padded = fresh::<V>(to, width, rows);
    let from_padded = width.next_multiple_of(V::LANES);
    for (index, from) in from.chunks_exact(from_padded).take(rows).enumerate() {
        for (column, &element) in from[..width].iter().enumerate() {
            to[column * padded + index] = element;
        }
    }
}

/// Keys and values of one head, one row after the other, and the keys across.
#[inline(always)]
fn gather_head<V: Vector>(
    heads: Heads,
    head: usize,
    rows: &[V::Scalar],
    of_span: &[usize],
    scratch: &mut Scratch<V::Scalar>,
) {
    for (start, to) in [
        (heads.key(head).start, &mut scratch.keys),
        (heads.value(head).start, &mut scratch.values),
    ] {
        let of_span = of_span.iter().copied();
        let one = V::Scalar::ONE;
        gather::<V>(rows, heads.row(), start, heads.width, of_span, one, to);
    }
    let keys = &scratch.keys;
    across::<V>(keys, of_span.len(), heads.width, &mut scratch.keys_across);
}

/// What each of a block of queries of one head scores with the first `seen` of `length` keys, in `weights`; its size.
#[inline(always)]
fn score<V: Vector>(
    heads: Heads,
    query_head: usize,
    rows: &[V::Scalar],
    block: Range<usize>,
    (seen, length): (usize, usize),
    scratch: &mut Scratch<V::Scalar>,
) -> Size {
    let width = heads.width;
    let scale = V::Scalar::from_f64(1.0 / (width as f64).sqrt());
    let (start, n) = (query_head * width, block.len());
    let queries = &mut scratch.queries;
    gather::<V>(rows, heads.row(), start, width, block, scale, queries);
    let weights_row = fresh::<V>(&mut scratch.weights, n, seen);
    let size = Size {
        rows: n,
        columns: weights_row,
        depth: width,
        right: length.next_multiple_of(V::LANES),
        result: weights_row,
    };
    let left = Left {
        elements: &scratch.queries,
        row: width.next_multiple_of(V::LANES),
        column: 1,
    };
    product::<V, false>(size, left, &scratch.keys_across, &mut scratch.weights);
    size
}

#[inline(always)]
pub(crate) fn attend<V: Vector>(
    heads: Heads,
    rows: &[V::Scalar],
    span: &Span,
    scratch: &mut Scratch<V::Scalar>,
    output: &mut [V::Scalar],
    normalisers: &mut [V::Scalar],
) {
    let Heads {
        queries,
        keys,
        width,
    } = heads;
    let length = span.length();
    let padded = width.next_multiple_of(V::LANES);
    let of_span: Vec<usize> = span.rows().collect();
    for head in 0..keys {
        gather_head::<V>(heads, head, rows, &of_span, scratch);
        for query_head in heads.readers(head) {
            for start in span.own.clone().step_by(QUERIES) {
                let block = start..span.own.end.min(start + QUERIES);
                let seen = span.prefix.len() + block.end - span.own.start;
                let of_keys = (seen, length);
                let size = score::<V>(heads, query_head, rows, block.clone(), of_keys, scratch);
                let weights_row = size.columns;
                let first = span.prefix.len() + block.start - span.own.start;
                let each = scratch.weights.chunks_exact_mut(weights_row);
                for (index, weights) in each.enumerate() {
                    let (seen, unseen) = weights.split_at_mut(first + index + 1);
                    let normaliser = soften::<V>(seen);
                    normalisers[(block.start + index) * queries + query_head] = normaliser;
                    unseen.fill(V::Scalar::ZERO);
                }
                fresh::<V>(&mut scratch.result, block.len(), width);
                let size = Size {
                    rows: block.len(),
                    columns: padded,
                    depth: seen,
                    right: padded,
                    result: padded,
                };
                let left = Left {
                    elements: &scratch.weights,
                    row: weights_row,
                    column: 1,
                };
                product::<V, false>(size, left, &scratch.values, &mut scratch.result);
                for (index, result) in block.zip(scratch.result.chunks_exact(padded)) {
                    let to = index * queries * width + query_head * width;
                    output[to..to + width].copy_from_slice(&result[..width]);
                }
            }
        }
    }
}

/// Scores become probabilities; ln Σ e^score.
#[inline(always)]
fn soften<V: Vector>(scores: &mut [V::Scalar]) -> V::Scalar {
    let lowest = V::Scalar::from_f64(f64::NEG_INFINITY);
    let mut largest = V::splat(lowest);
    blocks!(V, scores.len(), |at| {
        largest = largest.max(V::load_or(scores, at, lowest));
    });
    let largest = largest.largest();
    let mut sum = V::zero();
    blocks!(V, scores.len(), |at| {
        let weight = V::load_or(scores, at, lowest).sub(V::splat(largest)).exp();
        weight.store(scores, at);
        sum = sum.add(weight);
    });
    let sum = sum.sum();
    let factor = V::splat(V::Scalar::ONE / sum);
    blocks!(V, scores.len(), |at| {
        V::load(scores, at).mul(factor).store(scores, at);
    });
    largest + V::Scalar::from_f64(sum.to_f64().ln())
}

/// With S = QKᵀ, P = softmax(S), O = PV and g by O: ∂/∂V = Pᵀg, ∂/∂S = P (gVᵀ − rowsum(g O)), ∂/∂Q = ∂S K, ∂/∂K = ∂Sᵀ Q.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "what was read, what came of it, and what is to come"
)]
pub(crate) fn attend_backward<V: Vector>(
    heads: Heads,
    rows: &[V::Scalar],
    span: &Span,
    output: &[V::Scalar],
    normalisers: &[V::Scalar],
    upstream: &[V::Scalar],
    scratch: &mut Scratch<V::Scalar>,
    gradient: &mut [V::Scalar],
) {
    let Heads {
        queries,
        keys,
        width,
    } = heads;
    let (row, length) = (heads.row(), span.length());
    let one = V::Scalar::ONE;
    let scale = V::Scalar::from_f64(1.0 / (width as f64).sqrt());
    let padded = width.next_multiple_of(V::LANES);
    let of_span: Vec<usize> = span.rows().collect();
    for head in 0..keys {
        gather_head::<V>(heads, head, rows, &of_span, scratch);
        across::<V>(&scratch.values, length, width, &mut scratch.values_across);
        fresh::<V>(&mut scratch.by_keys, length, width);
        fresh::<V>(&mut scratch.by_values, length, width);
        for query_head in heads.readers(head) {
            for start in span.own.clone().step_by(QUERIES) {
                let block = start..span.own.end.min(start + QUERIES);
                let seen = span.prefix.len() + block.end - span.own.start;
                let first = span.prefix.len() + block.start - span.own.start;
                let start = query_head * width;
                let of_keys = (seen, length);
                let size = score::<V>(heads, query_head, rows, block.clone(), of_keys, scratch);
                let weights_row = size.columns;
                gather::<V>(
                    upstream,
                    queries * width,
                    start,
                    width,
                    block.clone(),
                    one,
                    &mut scratch.upstream,
                );
                fresh::<V>(&mut scratch.by_weights, block.len(), seen);
                let left = Left {
                    elements: &scratch.upstream,
                    row: padded,
                    column: 1,
                };
                product::<V, false>(size, left, &scratch.values_across, &mut scratch.by_weights);

                let each = scratch.weights.chunks_exact_mut(weights_row);
                let each = each.zip(scratch.by_weights.chunks_exact_mut(weights_row));
                for (index, (weights, by_weights)) in each.enumerate() {
                    let position = block.start + index;
                    let normaliser = V::splat(normalisers[position * queries + query_head]);
                    let at_output = &output[position * queries * width + start..][..width];
                    let at_upstream = &scratch.upstream[index * padded..][..width];
                    let mut along = V::zero();
                    blocks!(V, width, |at| {
                        along = V::load(at_output, at).mul_add(V::load(at_upstream, at), along);
                    });
                    let along = V::splat(along.sum());
                    let (seen, unseen) = weights.split_at_mut(first + index + 1);
                    let (by_seen, by_unseen) = by_weights.split_at_mut(first + index + 1);
                    blocks!(V, seen.len(), |at| {
                        let weight = V::load(seen, at).sub(normaliser).exp();
                        weight.store(seen, at);
                        let by_score = V::load(by_seen, at).sub(along).mul(weight);
                        by_score.store(by_seen, at);
                    });
                    unseen.fill(V::Scalar::ZERO);
                    by_unseen.fill(V::Scalar::ZERO);
                }

                fresh::<V>(&mut scratch.result, block.len(), width);
                let by_queries = Size {
                    rows: block.len(),
                    columns: padded,
                    depth: seen,
                    right: padded,
                    result: padded,
                };
                let left = Left {
                    elements: &scratch.by_weights,
                    row: weights_row,
                    column: 1,
                };
                product::<V, false>(by_queries, left, &scratch.keys, &mut scratch.result);
                for (position, result) in block.clone().zip(scratch.result.chunks_exact(padded)) {
                    let to = &mut gradient[position * row + start..][..width];
                    blocks!(V, width, |at| {
                        V::load(result, at).mul(V::splat(scale)).store(to, at);
                    });
                }
                let by_keys = Size {
                    rows: seen,
                    depth: block.len(),
                    ..by_queries
                };
                let left = Left {
                    elements: &scratch.by_weights,
                    row: 1,
                    column: weights_row,
                };
                product::<V, true>(by_keys, left, &scratch.queries, &mut scratch.by_keys);
                let left = Left {
                    elements: &scratch.weights,
                    row: 1,
                    column: weights_row,
                };
                product::<V, true>(by_keys, left, &scratch.upstream, &mut scratch.by_values);
            }
        }
        for (place, from) in [
            (heads.key(head).start, &scratch.by_keys),
            (heads.value(head).start, &scratch.by_values),
        ] {
            for (&position, from) in of_span.iter().zip(from.chunks_exact(padded)) {
                let to = &mut gradient[position * row + place..][..width];
                blocks!(V, width, |at| {
                    V::load(to, at).add(V::load(from, at)).store(to, at);
                });
            }
        }
    }
}
