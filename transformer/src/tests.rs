//! Every function on every kind of vector against f64 arithmetic written out plainly, lengths that are no whole number
//! of vectors included.
#![allow(clippy::unwrap_used)]

use crate::attend_one::{Keys, attend_one};
use crate::attention::{Heads, Scratch, Span, attend, attend_backward};
use crate::gate::{gate, gate_backward};
use crate::linear::{Packed, add_product, add_product_across, set_product};
use crate::norm::{rms_norm, rms_norm_backward};
use crate::rotary::rotate;
use crate::vector::{Plain, Scalar, Vector};
use crate::vocabulary::{add_weights, distribution, distribution_backward, draw};

/// Runs a test for each kind of vector that this processor has, with the error that its scalar allows.
macro_rules! on_all_vectors {
    ($test:ident) => {{
        $test::<Plain<f32>>(2e-5);
        $test::<Plain<f64>>(1e-12);
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                $test::<__m256>(2e-5);
                $test::<__m256d>(1e-12);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                $test::<__m512>(2e-5);
                $test::<__m512d>(1e-12);
            }
        }
    }};
}

/// Numbers in (−1, 1) that do not repeat.
fn numbers<T: Scalar>(count: usize, seed: f64) -> Vec<T> {
    let number = |index: usize| (index as f64 * 12.9898 + seed * 78.233).sin();
    (0..count).map(|index| T::from_f64(number(index))).collect()
}

fn wide<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

fn assert_close<T: Scalar>(found: &[T], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (found.to_f64() - expected).abs() / expected.abs().max(1.0);
        assert!(error <= tolerance, "{found:?} where {expected} is right");
    }
}

/// The derivative of `of` by each element of `x`, by central differences.
fn slopes(x: &[f64], of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-6;
    let slope = |index: usize| {
        let at = |step: f64| {
            let mut x = x.to_vec();
            x[index] += step;
            of(&x)
        };
        (at(STEP) - at(-STEP)) / (2.0 * STEP)
    };
    (0..x.len()).map(slope).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn exp_is_right_to_two_units_in_the_last_place() {
    fn test<V: Vector>(_: f64) {
        let epsilon = if size_of::<V::Scalar>() == 4 {
            f64::from(f32::EPSILON)
        } else {
            f64::EPSILON
        };
        let [lowest, highest] = V::Scalar::EXP_RANGE;
        for step in 0..20_000 {
            // Where results are normal numbers.
            let x = lowest * 0.83 + (highest * 0.99 - lowest * 0.83) * f64::from(step) / 20_000.0;
            let x = V::Scalar::from_f64(x);
            let found = V::splat(x).exp().largest().to_f64();
            let expected = x.to_f64().exp();
            let error = (found - expected).abs() / expected;
            assert!(error <= 2.0 * epsilon, "e^{x:?} is not {found}");
        }
        let exp = |x: f64| V::splat(V::Scalar::from_f64(x)).exp().largest().to_f64();
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(f64::INFINITY), f64::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert!(
            V::splat(V::Scalar::from_f64(f64::NAN))
                .exp()
                .sum()
                .to_f64()
                .is_nan()
        );
    }
    on_all_vectors!(test);
}

#[test]
fn products_are_sums_of_products() {
    fn test<V: Vector>(tolerance: f64) {
        for (rows, inputs, outputs) in [(1, 1, 1), (7, 5, 33), (13, 300, 70), (200, 16, 64)] {
            let input: Vec<V::Scalar> = numbers(rows * inputs, 1.0);
            let factor: Vec<V::Scalar> = numbers(inputs * outputs, 2.0);
            let before: Vec<V::Scalar> = numbers(rows * outputs, 3.0);
            let (x, w, b) = (wide(&input), wide(&factor), wide(&before));
            let column = |output: usize| -> Vec<f64> {
                (0..inputs).map(|i| w[i * outputs + output]).collect()
            };
            let product: Vec<f64> = (0..rows * outputs)
                .map(|index| {
                    dot(
                        &x[index / outputs * inputs..][..inputs],
                        &column(index % outputs),
                    )
                })
                .collect();
            let sum: Vec<f64> = product.iter().zip(&b).map(|(a, b)| a + b).collect();
            let packed = Packed::new(&factor, inputs, outputs);
            let mut found = before.clone();
            set_product::<V>(&input, &packed, &mut found);
            assert_close(&found, &product, tolerance * inputs as f64);
            let mut found = before.clone();
            add_product::<V>(&input, &packed, &mut found);
            assert_close(&found, &sum, tolerance * inputs as f64);

            let across: Vec<V::Scalar> = (0..inputs * rows)
                .map(|i| input[i % rows * inputs + i / rows])
                .collect();
            let mut found = before.clone();
            add_product_across::<V>(&across, rows, &factor, outputs, &mut found);
            assert_close(&found, &sum, tolerance * inputs as f64);
            let turned: Vec<V::Scalar> = (0..inputs * outputs)
                .map(|i| factor[i % inputs * outputs + i / inputs])
                .collect();
            let mut found = before.clone();
            set_product::<V>(
                &input,
                &Packed::transposed(&turned, inputs, outputs),
                &mut found,
            );
            assert_close(&found, &product, tolerance * inputs as f64);
        }
    }
    on_all_vectors!(test);
}

#[test]
fn a_norm_and_its_gradient() {
    fn value(x: &[f64], weight: &[f64]) -> Vec<f64> {
        let rows = x.chunks(weight.len());
        let scale = |row: &[f64]| (dot(row, row) / row.len() as f64 + 1e-3).sqrt().recip();
        rows.flat_map(|row| row.iter().zip(weight).map(move |(x, w)| x * w * scale(row)))
            .collect()
    }
    fn test<V: Vector>(tolerance: f64) {
        for width in [1, 8, 19, 32] {
            let (input, weight) = (numbers(3 * width, 1.0), numbers::<V::Scalar>(width, 2.0));
            let upstream: Vec<V::Scalar> = numbers(3 * width, 3.0);
            let mut output = input.clone();
            let mut scales: Vec<V::Scalar> = numbers(3, 0.0);
            rms_norm::<V>(&input, &weight, 1e-3, &mut output, &mut scales);
            let (x, w, g) = (wide(&input), wide(&weight), wide(&upstream));
            assert_close(&output, &value(&x, &w), tolerance);
            let mut gradient = vec![V::Scalar::ONE; 3 * width];
            let mut by_weight = vec![V::Scalar::ZERO; width];
            rms_norm_backward::<V>(
                &input,
                &weight,
                &scales,
                &upstream,
                &mut gradient,
                &mut by_weight,
            );
            let by_input = slopes(&x, |x| dot(&value(x, &w), &g));
            let expected: Vec<f64> = by_input.iter().map(|slope| slope + 1.0).collect();
            assert_close(&gradient, &expected, tolerance + 1e-6);
            assert_close(
                &by_weight,
                &slopes(&w, |w| dot(&value(&x, w), &g)),
                tolerance + 1e-6,
            );
        }
    }
    on_all_vectors!(test);
}

#[test]
fn a_gate_and_its_gradient() {
    fn value(gate_up: &[f64], width: usize) -> Vec<f64> {
        let rows = gate_up.chunks(2 * width).map(|row| row.split_at(width));
        rows.flat_map(|(gate, up)| {
            gate.iter()
                .zip(up)
                .map(|(x, up)| x / (1.0 + (-x).exp()) * up)
        })
        .collect()
    }
    fn test<V: Vector>(tolerance: f64) {
        for width in [1, 16, 21] {
            let gate_up: Vec<V::Scalar> = numbers(4 * width, 1.0);
            let upstream: Vec<V::Scalar> = numbers(2 * width, 2.0);
            let (x, g) = (wide(&gate_up), wide(&upstream));
            let mut output = upstream.clone();
            gate::<V>(&gate_up, width, &mut output);
            assert_close(&output, &value(&x, width), tolerance);
            let (mut gradient, mut again) = (gate_up.clone(), upstream.clone());
            gate_backward::<V>(&gate_up, width, &upstream, &mut gradient, &mut again);
            assert_eq!(wide(&again), wide(&output));
            assert_close(
                &gradient,
                &slopes(&x, |x| dot(&value(x, width), &g)),
                tolerance + 1e-6,
            );
        }
    }
    on_all_vectors!(test);
}

#[test]
fn a_rotation_turns_pairs_by_their_angle_and_leaves_what_is_no_head() {
    fn test<V: Vector>(tolerance: f64) {
        let (half, heads, width) = (5, 2, 23);
        let rows: Vec<V::Scalar> = numbers(2 * width, 1.0);
        let angles: Vec<f64> = numbers::<f64>(2 * half, 2.0);
        let of = |f: fn(f64) -> f64| -> Vec<V::Scalar> {
            angles
                .iter()
                .map(|&angle| V::Scalar::from_f64(f(angle)))
                .collect()
        };
        let mut found = rows.clone();
        rotate::<V>(&mut found, width, heads, &of(f64::cos), &of(f64::sin));
        let x = wide(&rows);
        let mut expected = x.clone();
        for (row, head, pair) in
            (0..2).flat_map(|r| (0..heads).flat_map(move |h| (0..half).map(move |p| (r, h, p))))
        {
            let first = row * width + head * 2 * half + pair;
            let (sine, cosine) = angles[row * half + pair].sin_cos();
            expected[first] = x[first] * cosine - x[first + half] * sine;
            expected[first + half] = x[first + half] * cosine + x[first] * sine;
        }
        assert_close(&found, &expected, tolerance);
    }
    on_all_vectors!(test);
}

/// What the own rows of a span read, written out.
fn attended(heads: Heads, rows: &[f64], span: &Span) -> Vec<f64> {
    let row = |index: usize| &rows[index * heads.row()..][..heads.row()];
    let mut output = vec![0.0; rows.len() / heads.row() * heads.queries * heads.width];
    for (place, position) in span.own.clone().enumerate() {
        let seen: Vec<usize> = span
            .prefix
            .clone()
            .chain(span.own.clone().take(place + 1))
            .collect();
        for query_head in 0..heads.queries {
            let head = query_head * heads.keys / heads.queries;
            let query = &row(position)[query_head * heads.width..][..heads.width];
            let score = |&index: &usize| {
                dot(query, &row(index)[heads.key(head)]) / (heads.width as f64).sqrt()
            };
            let weights: Vec<f64> = seen.iter().map(|index| score(index).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (weight, &index) in weights.iter().zip(&seen) {
                let output = &mut output[(position * heads.queries + query_head) * heads.width..];
                for (output, value) in output.iter_mut().zip(&row(index)[heads.value(head)]) {
                    *output += weight / total * value;
                }
            }
        }
    }
    output
}

#[test]
fn attention_and_its_gradient() {
    fn test<V: Vector>(tolerance: f64) {
        let spans = [
            Span {
                prefix: 0..0,
                own: 0..5,
            },
            Span {
                prefix: 1..4,
                own: 5..7,
            },
            Span {
                prefix: 0..2,
                own: 3..53,
            },
        ];
        for (span, (queries, keys, width)) in
            spans.into_iter().zip([(2, 1, 3), (2, 2, 16), (1, 1, 6)])
        {
            let heads = Heads {
                queries,
                keys,
                width,
            };
            let n_rows = span.own.end;
            let rows: Vec<V::Scalar> = numbers(n_rows * heads.row(), 1.0);
            let upstream: Vec<V::Scalar> = numbers(n_rows * queries * width, 2.0);
            let (x, mut g) = (wide(&rows), wide(&upstream));
            let mut output = vec![V::Scalar::ZERO; upstream.len()];
            let mut normalisers = vec![V::Scalar::ZERO; n_rows * queries];
            let mut scratch = Scratch::default();
            attend::<V>(
                heads,
                &rows,
                &span,
                &mut scratch,
                &mut output,
                &mut normalisers,
            );
            assert_close(&output, &attended(heads, &x, &span), tolerance);

            let mut gradient = vec![V::Scalar::ZERO; rows.len()];
            attend_backward::<V>(
                heads,
                &rows,
                &span,
                &output,
                &normalisers,
                &upstream,
                &mut scratch,
                &mut gradient,
            );
            g[..span.own.start * queries * width].fill(0.0);
            let expected = slopes(&x, |x| dot(&attended(heads, x, &span), &g));
            assert_close(&gradient, &expected, 10.0 * tolerance + 1e-6);

            // The last position alone, as decoding reads it.
            let group = queries / keys * width;
            let last = span.own.end - 1;
            for head in 0..keys {
                let gather = |rows_of: std::ops::Range<usize>,
                              place: std::ops::Range<usize>|
                 -> Vec<V::Scalar> {
                    rows_of
                        .flat_map(|index| rows[index * heads.row()..][place.clone()].to_vec())
                        .collect()
                };
                let [prompt, own] = [&span.prefix, &span.own].map(|part| {
                    [heads.key(head), heads.value(head)].map(|place| gather(part.clone(), place))
                });
                let queries = &rows[last * heads.row() + head * group..][..group];
                let mut found = queries.to_vec();
                let [prompt, own] = [&prompt, &own].map(|[keys, values]| Keys { keys, values });
                attend_one::<V>(queries, width, prompt, own, &mut Vec::new(), &mut found);
                let expected = &output[last * heads.queries * width + head * group..][..group];
                assert_close(&found, &wide(expected), tolerance);
            }
        }
    }
    on_all_vectors!(test);
}

#[test]
fn a_distribution_its_parts_and_its_gradient() {
    fn value(logits: &[f64], temperature: f64) -> (f64, f64) {
        let total = logits.iter().map(|x| (x / temperature).exp()).sum::<f64>();
        let mean = logits
            .iter()
            .map(|x| (x / temperature).exp() / total * x / temperature)
            .sum();
        (total.ln(), mean)
    }
    fn test<V: Vector>(tolerance: f64) {
        for count in [1, 16, 301] {
            let logits: Vec<V::Scalar> = numbers(count, 1.0);
            let x = wide(&logits);
            let found = distribution::<V>(&logits, 0.7);
            let (log_sum, mean) = value(&x, 0.7);
            let close =
                |a: f64, b: f64| assert!((a - b).abs() < tolerance, "{a} where {b} is right");
            close(found.log_sum, log_sum);
            close(found.mean, mean);
            let (first, second) = logits.split_at(count / 3);
            let mut weights = crate::Weights::NOTHING;
            for part in first.chunks(2).chain([second]) {
                add_weights::<V>(part, 0.7, &mut weights);
            }
            let joined = weights.distribution(0.7);
            close(joined.log_sum, log_sum);
            close(joined.mean, mean);

            let mut gradient = logits.clone();
            distribution_backward::<V>(&mut gradient, 0.7, found, 1.3, -0.4);
            let expected = slopes(&x, |x| {
                let (log_sum, mean) = value(x, 0.7);
                -1.3 * log_sum - 0.4 * (log_sum - mean)
            });
            assert_close(&gradient, &expected, tolerance + 1e-6);
        }
    }
    on_all_vectors!(test);
}

#[test]
fn a_draw_falls_where_the_cumulative_distribution_says() {
    fn test<V: Vector>(tolerance: f64) {
        for count in [1, 5, 700, 5000] {
            let logits: Vec<V::Scalar> = numbers(count, 1.0);
            let distribution = distribution::<V>(&logits, 0.5);
            let logp = |token: usize| logits[token].to_f64() / 0.5 - distribution.log_sum;
            let mut weights = Vec::new();
            for step in 0..50 {
                let uniform = (f64::from(step) + 0.5) / 50.0;
                let drawn = draw::<V>(&logits, 0.5, uniform, &mut weights);
                let below: f64 = (0..drawn.token).map(|token| logp(token).exp()).sum();
                assert!(below <= uniform + tolerance * 10.0);
                assert!(below + logp(drawn.token).exp() >= uniform - tolerance * 10.0);
                assert!((drawn.logp - logp(drawn.token)).abs() < tolerance);
            }
        }
        // What cannot be is never drawn, and what is no number is not hidden.
        let impossible = V::Scalar::from_f64(f64::NEG_INFINITY);
        let logits = [impossible, V::Scalar::ZERO, impossible];
        for uniform in [1e-12, 0.5, 1.0 - 1e-12] {
            assert_eq!(draw::<V>(&logits, 1.0, uniform, &mut Vec::new()).token, 1);
        }
        let broken = [V::Scalar::ZERO, V::Scalar::from_f64(f64::NAN)];
        assert!(draw::<V>(&broken, 1.0, 0.5, &mut Vec::new()).logp.is_nan());
    }
    on_all_vectors!(test);
}
