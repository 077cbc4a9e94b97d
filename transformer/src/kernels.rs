//! The public functions, each compiled for three kinds of processor.
#![allow(
    unsafe_code,
    reason = "a function for certain processors is unsafe to call on any other"
)]

use crate::attend_one::{self, Keys};
use crate::attention::{self, Heads, Scratch, Span};
use crate::linear::{self, Packed};
use crate::vector::{Plain, Scalar};
use crate::vocabulary::{self, Distribution, Drawn, Weights};
use crate::{gate, norm, rotary};

/// f32 or f64 with the functions of this crate.
pub trait Real: Scalar + Kernels<Self> {}

impl Real for f32 {}

impl Real for f64 {}

macro_rules! kernels {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $(-> $result:ty)? = $module:ident;
    )*) => {
        /// The functions on scalars `T`, which panic where lengths do not fit.
        pub trait Kernels<T> {
            $(
                $(#[$doc])*
                #[allow(clippy::too_many_arguments, reason = "rows, sizes and results")]
                fn $name($($argument: $ty),*) $(-> $result)?;
            )*
        }

        macro_rules! implement {
            ($scalar:ident, $wide:ident, $medium:ident) => {
                mod $scalar {
                    use super::*;

                    type T = $scalar;

                    impl Kernels<T> for T {
                        $(
                            #[allow(clippy::too_many_arguments, reason = "rows, sizes and results")]
                            fn $name($($argument: $ty),*) $(-> $result)? {
                                #[cfg(target_arch = "x86_64")]
                                {
                                    #[allow(clippy::too_many_arguments, reason = "rows, sizes and results")]
                                    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
                                    fn wide($($argument: $ty),*) $(-> $result)? {
                                        $module::$name::<std::arch::x86_64::$wide>($($argument),*)
                                    }

                                    #[allow(clippy::too_many_arguments, reason = "rows, sizes and results")]
                                    #[target_feature(enable = "avx2,fma")]
                                    fn medium($($argument: $ty),*) $(-> $result)? {
                                        $module::$name::<std::arch::x86_64::$medium>($($argument),*)
                                    }

                                    match Width::of_this_processor() {
                                        // SAFETY: the processor has these instructions.
                                        Width::Wide => return unsafe { wide($($argument),*) },
                                        // SAFETY: the processor has these instructions.
                                        Width::Medium => return unsafe { medium($($argument),*) },
                                        Width::Plain => {}
                                    }
                                }
                                $module::$name::<Plain<T>>($($argument),*)
                            }
                        )*
                    }
                }
            };
        }

        implement!(f32, __m512, __m256);
        implement!(f64, __m512d, __m256d);
    };
}

#[cfg(target_arch = "x86_64")]
enum Width {
    /// AVX-512.
    Wide,
    /// AVX2 with fused multiply-add.
    Medium,
    Plain,
}

#[cfg(target_arch = "x86_64")]
impl Width {
    /// The standard library remembers what the processor said.
    fn of_this_processor() -> Width {
        let has_fma = is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2");
        if has_fma
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            Width::Wide
        } else if has_fma {
            Width::Medium
        } else {
            Width::Plain
        }
    }
}

kernels! {
    /// RMSNorm of each row of `weight.len()` scalars: `output = input · s · weight` with
    /// `s = 1 / √(mean(input²) + epsilon)`, which goes to `scales`, one a row.
    fn rms_norm(input: &[T], weight: &[T], epsilon: f64, output: &mut [T], scales: &mut [T]) = norm;

    /// The way back: adds to `gradient` that by the input, and to `weight_gradient` that by the weight, for the
    /// gradient `upstream` by the output.
    fn rms_norm_backward(
        input: &[T], weight: &[T], scales: &[T], upstream: &[T], gradient: &mut [T], weight_gradient: &mut [T],
    ) = norm;

    /// Turns the first `heads` heads of each row of `width` scalars by the angles of its position. `cosines` and
    /// `sines` hold half a head's width for each row; element i of a head turns with element i + half.
    fn rotate(rows: &mut [T], width: usize, heads: usize, cosines: &[T], sines: &[T]) = rotary;

    /// `output = silu(gate) · up`; a row of `gate_up` is `width` gates, then as many ups.
    fn gate(gate_up: &[T], width: usize, output: &mut [T]) = gate;

    /// The way back: `gradient`, of the shape of `gate_up`, for the gradient `upstream` by the output, which comes
    /// back as well.
    fn gate_backward(gate_up: &[T], width: usize, upstream: &[T], gradient: &mut [T], output: &mut [T]) = gate;

    /// Attention of one position: its queries, of heads of `width` that share one head of keys, over keys in two parts,
    /// the prompt's and the response's. `scores` is for the function's own use.
    fn attend_one(
        queries: &[T], width: usize, prompt: Keys<T>, response: Keys<T>, scores: &mut Vec<T>, output: &mut [T],
    ) = attend_one;

    /// Causal attention of the rows of a span, which hold queries, keys and values: for each row of its own, what all
    /// query heads read, and ln Σ e^score of each.
    fn attend(
        heads: Heads, rows: &[T], span: &Span, scratch: &mut Scratch<T>, output: &mut [T], normalisers: &mut [T],
    ) = attention;

    /// The way back, from the gradient `upstream` by the output: sets that by the queries of the span's own rows and adds
    /// that by the keys and values of all its rows.
    fn attend_backward(
        heads: Heads, rows: &[T], span: &Span, output: &[T], normalisers: &[T], upstream: &[T],
        scratch: &mut Scratch<T>, gradient: &mut [T],
    ) = attention;

    /// Draws from softmax(logits / temperature) by inversion: the token where `uniform`, in (0, 1), falls in the
    /// cumulative distribution. `weights` is for the function's own use.
    fn draw(logits: &[T], temperature: f64, uniform: f64, weights: &mut Vec<T>) -> Drawn = vocabulary;

    /// `output = input · factor`, row by row.
    fn set_product(input: &[T], factor: &Packed<T>, output: &mut [T]) = linear;

    /// `output += input · factor`, row by row.
    fn add_product(input: &[T], factor: &Packed<T>, output: &mut [T]) = linear;

    /// `sum += leftᵀ · right`, for as many rows of `left_width` as of `right_width`.
    fn add_product_across(left: &[T], left_width: usize, right: &[T], right_width: usize, sum: &mut [T]) = linear;

    /// The distribution softmax(logits / temperature).
    fn distribution(logits: &[T], temperature: f64) -> Distribution = vocabulary;

    /// Adds what further tokens weigh in softmax(logits / temperature).
    fn add_weights(logits: &[T], temperature: f64, weights: &mut Weights) = vocabulary;

    /// The way back: logits become the gradient by them, from `by_logp`, that by the log-probability of a token, and
    /// `by_entropy`, but for what the token's own logit gets on top, `by_logp / temperature`.
    fn distribution_backward(
        logits: &mut [T], temperature: f64, distribution: Distribution, by_logp: f64, by_entropy: f64,
    ) = vocabulary;
}
