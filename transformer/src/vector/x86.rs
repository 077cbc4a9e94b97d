//! Vectors by the intrinsics of x86-64.
#![allow(
    unsafe_code,
    reason = "vector instructions are unsafe to call where the compiler does not know that they exist"
)]

use std::arch::x86_64::*;

use super::Vector;

/// SAFETY of every block: the type is only used after its instructions were found to exist, and pointers are as
/// the trait asks.
macro_rules! vector {
    (
        $vector:ident, $scalar:ident, $lanes:literal, splat $splat:ident, read $read:ident, write $write:ident,
        add $add:ident, sub $sub:ident, mul $mul:ident, div $div:ident, mul_add $mul_add:ident,
        max $max:ident, min $min:ident, round $round:expr, scale $scale:expr, sum $sum:expr, largest $largest:expr
    ) => {
        impl Vector for $vector {
            type Scalar = $scalar;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(x: $scalar) -> Self {
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn read(from: *const $scalar) -> Self {
                unsafe { $read(from) }
            }

            #[inline(always)]
            unsafe fn write(self, to: *mut $scalar) {
                unsafe { $write(to, self) }
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                unsafe { $add(self, other) }
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                unsafe { $sub(self, other) }
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                unsafe { $mul(self, other) }
            }

            #[inline(always)]
            fn div(self, other: Self) -> Self {
                unsafe { $div(self, other) }
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                unsafe { $mul_add(self, factor, addend) }
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                unsafe { $max(self, other) }
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                unsafe { $min(self, other) }
            }

            #[inline(always)]
            fn round(self) -> Self {
                unsafe { $round(self) }
            }

            #[inline(always)]
            fn scale(self, n: Self) -> Self {
                unsafe { $scale(self, n) }
            }

            #[inline(always)]
            fn sum(self) -> $scalar {
                unsafe { $sum(self) }
            }

            #[inline(always)]
            fn largest(self) -> $scalar {
                unsafe { $largest(self) }
            }
        }
    };
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

vector! {
    __m512, f32, 16, splat _mm512_set1_ps, read _mm512_loadu_ps, write _mm512_storeu_ps,
    add _mm512_add_ps, sub _mm512_sub_ps, mul _mm512_mul_ps, div _mm512_div_ps, mul_add _mm512_fmadd_ps,
    max _mm512_max_ps, min _mm512_min_ps, round _mm512_roundscale_ps::<NEAREST>, scale _mm512_scalef_ps,
    sum _mm512_reduce_add_ps, largest _mm512_reduce_max_ps
}

vector! {
    __m512d, f64, 8, splat _mm512_set1_pd, read _mm512_loadu_pd, write _mm512_storeu_pd,
    add _mm512_add_pd, sub _mm512_sub_pd, mul _mm512_mul_pd, div _mm512_div_pd, mul_add _mm512_fmadd_pd,
    max _mm512_max_pd, min _mm512_min_pd, round _mm512_roundscale_pd::<NEAREST>, scale _mm512_scalef_pd,
    sum _mm512_reduce_add_pd, largest _mm512_reduce_max_pd
}

vector! {
    __m256, f32, 8, splat _mm256_set1_ps, read _mm256_loadu_ps, write _mm256_storeu_ps,
    add _mm256_add_ps, sub _mm256_sub_ps, mul _mm256_mul_ps, div _mm256_div_ps, mul_add _mm256_fmadd_ps,
    max _mm256_max_ps, min _mm256_min_ps, round _mm256_round_ps::<NEAREST>, scale scale_singles,
    sum sum_singles, largest largest_single
}

vector! {
    __m256d, f64, 4, splat _mm256_set1_pd, read _mm256_loadu_pd, write _mm256_storeu_pd,
    add _mm256_add_pd, sub _mm256_sub_pd, mul _mm256_mul_pd, div _mm256_div_pd, mul_add _mm256_fmadd_pd,
    max _mm256_max_pd, min _mm256_min_pd, round _mm256_round_pd::<NEAREST>, scale scale_doubles,
    sum sum_doubles, largest largest_double
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn scale_singles(x: __m256, n: __m256) -> __m256 {
    let power = |n: __m256| {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    };
    let half = _mm256_round_ps::<NEAREST>(_mm256_mul_ps(n, _mm256_set1_ps(0.5)));
    _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_ps(n, half)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn scale_doubles(x: __m256d, n: __m256d) -> __m256d {
    let power = |n: __m256d| {
        let exponent = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
        let exponent = _mm256_add_epi64(exponent, _mm256_set1_epi64x(1023));
        _mm256_castsi256_pd(_mm256_slli_epi64::<52>(exponent))
    };
    let half = _mm256_round_pd::<NEAREST>(_mm256_mul_pd(n, _mm256_set1_pd(0.5)));
    _mm256_mul_pd(_mm256_mul_pd(x, power(half)), power(_mm256_sub_pd(n, half)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_singles(x: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn largest_single(x: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_doubles(x: __m256d) -> f64 {
    let two = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn largest_double(x: __m256d) -> f64 {
    let two = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd::<1>(x));
    _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)))
}
