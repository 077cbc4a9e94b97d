//! Linear maps whose weights are laid out once in the order that their products read them.

use crate::product::{Left, Size, product};
use crate::vector::{Scalar, Vector};

/// The factor of a product: `inputs` × `outputs`, in panels of neighbouring outputs.
#[derive(Debug)]
pub struct Packed<T> {
    /// Panel by panel, and in a panel input by input; the last one is padded with 0.
    panels: Vec<T>,
    inputs: usize,
    outputs: usize,
}

/// Outputs of a panel: two of the widest vectors.
const PANEL: usize = 32;

/// Inputs of a panel that are handled together, so that they stay in the first-level cache.
const DEPTH: usize = 256;

/// Rows that are handled together, so that they stay in the second-level cache.
const ROWS: usize = 192;

impl<T: Scalar> Packed<T> {
    /// From `inputs` rows of `outputs` scalars each.
    pub fn new(factor: &[T], inputs: usize, outputs: usize) -> Packed<T> {
        assert_eq!(factor.len(), inputs * outputs);
        Packed::from_elements(inputs, outputs, |input, output| {
            factor[input * outputs + output]
        })
    }

    /// The transpose, from `outputs` rows of `inputs` scalars each, as the weights of linear layers lie.
    pub fn transposed(factor: &[T], inputs: usize, outputs: usize) -> Packed<T> {
        assert_eq!(factor.len(), inputs * outputs);
        Packed::from_elements(inputs, outputs, |input, output| {
            factor[output * inputs + input]
        })
    }

    fn from_elements(
        inputs: usize,
        outputs: usize,
        element: impl Fn(usize, usize) -> T,
    ) -> Packed<T> {
        let n_panels = outputs.div_ceil(PANEL);
        let mut panels = vec![T::ZERO; n_panels * inputs * PANEL];
        for (index, row) in panels.chunks_exact_mut(PANEL).enumerate() {
            let (panel, input) = (index / inputs, index % inputs);
            let first = panel * PANEL;
            for (output, place) in (first..outputs).zip(row) {
                *place = element(input, output);
            }
        }
        Packed {
            panels,
            inputs,
            outputs,
        }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

#[inline(always)]
pub(crate) fn set_product<V: Vector>(
    input: &[V::Scalar],
    factor: &Packed<V::Scalar>,
    output: &mut [V::Scalar],
) {
    multiply::<V, false>(input, factor, output);
}

#[inline(always)]
pub(crate) fn add_product<V: Vector>(
    input: &[V::Scalar],
    factor: &Packed<V::Scalar>,
    output: &mut [V::Scalar],
) {
    multiply::<V, true>(input, factor, output);
}

#[inline(always)]
fn multiply<V: Vector, const ADD: bool>(
    input: &[V::Scalar],
    factor: &Packed<V::Scalar>,
    output: &mut [V::Scalar],
) {
    let Packed {
        panels,
        inputs,
        outputs,
    } = factor;
    let (inputs, outputs) = (*inputs, *outputs);
    let rows = input.len() / inputs;
    assert!(input.len() == rows * inputs && output.len() == rows * outputs);
    let mut padded = [V::Scalar::ZERO; ROWS * PANEL];
    let blocks = input
        .chunks(ROWS * inputs)
        .zip(output.chunks_mut(ROWS * outputs));
    for (input, output) in blocks {
        let rows = input.len() / inputs;
        for start in (0..inputs).step_by(DEPTH) {
            for (index, panel) in panels.chunks_exact(inputs * PANEL).enumerate() {
                let column = index * PANEL;
                let whole = column + PANEL <= outputs;
                let size = Size {
                    rows,
                    columns: PANEL,
                    depth: DEPTH.min(inputs - start),
                    right: PANEL,
                    result: if whole { outputs } else { PANEL },
                };
                let left = Left {
                    elements: &input[start..],
                    row: inputs,
                    column: 1,
                };
                let panel = &panel[start * PANEL..];
                let adds = ADD || start > 0;
                if whole && adds {
                    product::<V, true>(size, left, panel, &mut output[column..]);
                } else if whole {
                    product::<V, false>(size, left, panel, &mut output[column..]);
                } else {
                    product::<V, false>(size, left, panel, &mut padded);
                    let width = outputs - column;
                    for (output, sum) in output
                        .chunks_exact_mut(outputs)
                        .zip(padded.chunks_exact(PANEL))
                    {
                        for (output, &sum) in output[column..].iter_mut().zip(&sum[..width]) {
                            *output = if adds { *output + sum } else { sum };
                        }
                    }
                }
            }
        }
    }
}

/// Rows of both factors that are handled together.
const ACROSS: usize = 192;

#[inline(always)]
pub(crate) fn add_product_across<V: Vector>(
    left: &[V::Scalar],
    left_width: usize,
    right: &[V::Scalar],
    right_width: usize,
    sum: &mut [V::Scalar],
) {
    let rows = left.len() / left_width;
    assert!(left.len() == rows * left_width && right.len() == rows * right_width);
    assert!(sum.len() == left_width * right_width);
    let mut panel = [V::Scalar::ZERO; ACROSS * PANEL];
    let mut padded = vec![V::Scalar::ZERO; left_width * PANEL];
    let blocks = left
        .chunks(ACROSS * left_width)
        .zip(right.chunks(ACROSS * right_width));
    for (left, right) in blocks {
        let depth = left.len() / left_width;
        for column in (0..right_width).step_by(PANEL) {
            let width = PANEL.min(right_width - column);
            for (to, from) in panel
                .chunks_exact_mut(PANEL)
                .zip(right.chunks_exact(right_width))
            {
                to[..width].copy_from_slice(&from[column..column + width]);
                to[width..].fill(V::Scalar::ZERO);
            }
            let size = Size {
                rows: left_width,
                columns: PANEL,
                depth,
                right: PANEL,
                result: if width == PANEL { right_width } else { PANEL },
            };
            let left = Left {
                elements: left,
                row: 1,
                column: left_width,
            };
            if width == PANEL {
                product::<V, true>(size, left, &panel, &mut sum[column..]);
            } else {
                product::<V, false>(size, left, &panel, &mut padded);
                for (sum, part) in sum
                    .chunks_exact_mut(right_width)
                    .zip(padded.chunks_exact(PANEL))
                {
                    for (sum, &part) in sum[column..].iter_mut().zip(&part[..width]) {
                        *sum += part;
                    }
                }
            }
        }
    }
}
