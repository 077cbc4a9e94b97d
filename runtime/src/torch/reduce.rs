//! The primitives that remove dimensions: each joins them into one last axis and works along it.

use rlp_compiler::graph::Reduction;
use rlp_compiler::ty::{DimId, Elem};

use super::{Site, axis};
use crate::error::Fault;
use crate::tensor::{Kind, Tensor, elem, keep, scalar};

/// The last axis.
const LAST: i64 = -1;

pub(super) fn reduce(kind: Reduction, over: &[DimId], site: &Site) -> Result<Tensor, Fault> {
    let (x, real) = joined(over, site)?;
    let count = *x.size().last().unwrap_or(&1);
    match kind {
        Reduction::Sum => {
            Ok(with_neutral(&x, &real, 0)?.f_sum_dim_intlist(LAST, false, x.f_kind()?)?)
        }
        Reduction::Mean => {
            let sum = with_neutral(&x, &real, 0)?.f_sum_dim_intlist(LAST, false, x.f_kind()?)?;
            match real {
                None => Ok(sum.f_div_scalar(count.max(1))?),
                Some(real) => {
                    Ok(sum.f_div(&count_real(&real)?.f_clamp_min(1)?.f_to_kind(x.f_kind()?)?)?)
                }
            }
        }
        Reduction::Max => extreme(&x, &real, true),
        Reduction::Min => extreme(&x, &real, false),
        Reduction::Product => {
            Ok(with_neutral(&x, &real, 1)?.f_prod_dim_int(LAST, false, x.f_kind()?)?)
        }
        Reduction::LogSumExp => log_sum_exp(&x, &real),
        Reduction::Any => Ok(with_neutral(&x, &real, 0)?.f_any_dim(LAST, false)?),
        Reduction::All => Ok(with_neutral(&x, &real, 1)?.f_all_dim(LAST, false)?),
        Reduction::Count => match real {
            Some(real) => count_real(&real),
            None => {
                let kept = &x.size()[..x.dim() - 1];
                Ok(Tensor::f_full(kept, count, (Kind::Int64, x.device()))?)
            }
        },
    }
}

/// The operand with `over` as its last axis, and its mask in the same shape.
fn joined(over: &[DimId], site: &Site) -> Result<(Tensor, Option<Tensor>), Fault> {
    let x = site.operand(0)?;
    let joined = axis::flatten_last(x.tensor, x.dims, over)?;
    let Some(mask) = site.operands.get(1) else {
        return Ok((joined, None));
    };
    let mask = axis::spread(mask.tensor, mask.dims, x.dims)?.f_expand_as(x.tensor)?;
    Ok((joined, Some(axis::flatten_last(&mask, x.dims, over)?)))
}

fn with_neutral(x: &Tensor, real: &Option<Tensor>, neutral: i64) -> Result<Tensor, Fault> {
    match real {
        None => Ok(x.shallow_clone()),
        Some(real) => keep(x, real, neutral),
    }
}

/// How many elements of the last axis are real, as an int.
fn count_real(real: &Tensor) -> Result<Tensor, Fault> {
    Ok(real.f_sum_dim_intlist(LAST, false, Kind::Int64)?)
}

/// The largest or smallest; libtorch's `max` along an axis gives the gradient to the first that attains it.
fn extreme(x: &Tensor, real: &Option<Tensor>, largest: bool) -> Result<Tensor, Fault> {
    let kept = x.size()[..x.dim() - 1].to_vec();
    if x.size().last() == Some(&0) {
        return Ok(Tensor::f_zeros(&kept, (x.f_kind()?, x.device()))?);
    }
    let x = match real {
        None => x.shallow_clone(),
        Some(real) => x.f_where_self(real, &bound(x, !largest)?)?,
    };
    let (values, _) = if largest {
        x.f_max_dim(LAST, false)?
    } else {
        x.f_min_dim(LAST, false)?
    };
    match real {
        None => Ok(values),
        Some(real) => keep(&values, &real.f_any_dim(LAST, false)?, 0),
    }
}

/// The largest (smallest) value of the kind of `x`.
fn bound(x: &Tensor, largest: bool) -> Result<Tensor, Fault> {
    match (elem(x)?, largest) {
        (Elem::Int, true) => scalar(i64::MAX, x),
        (Elem::Int, false) => scalar(i64::MIN, x),
        (Elem::Real | Elem::Bool | Elem::Text, true) => scalar(f64::INFINITY, x),
        (Elem::Real | Elem::Bool | Elem::Text, false) => scalar(f64::NEG_INFINITY, x),
    }
}

/// log Σ exp. Neither the shift by the largest element nor the logarithm is differentiated where there is nothing to sum,
/// so that an empty set gives −∞ with gradient 0 and not NaN.
fn log_sum_exp(x: &Tensor, real: &Option<Tensor>) -> Result<Tensor, Fault> {
    let x = match real {
        None => x.shallow_clone(),
        Some(real) => keep(x, real, f64::NEG_INFINITY)?,
    };
    if x.size().last() == Some(&0) {
        let kept = &x.size()[..x.dim() - 1];
        return Ok(Tensor::f_full(
            kept,
            f64::NEG_INFINITY,
            (x.f_kind()?, x.device()),
        )?);
    }
    let largest = x.f_detach()?.f_amax(LAST, true)?;
    let shift = keep(&largest, &largest.f_isfinite()?, 0)?;
    let sum = x
        .f_sub(&shift)?
        .f_exp()?
        .f_sum_dim_intlist(LAST, false, x.f_kind()?)?;
    let some = sum.f_gt(0)?;
    let log = keep(&sum, &some, 1)?
        .f_log()?
        .f_add(&shift.f_squeeze_dim(LAST)?)?;
    keep(&log, &some, f64::NEG_INFINITY)
}

pub(super) fn arg_reduce(largest: bool, over: DimId, site: &Site) -> Result<Tensor, Fault> {
    let (x, real) = joined(&[over], site)?;
    if x.size().last() == Some(&0) {
        let kept = &x.size()[..x.dim() - 1];
        return Ok(Tensor::f_zeros(kept, (Kind::Int64, x.device()))?);
    }
    let x = match real {
        None => x,
        Some(real) => x.f_where_self(&real, &bound(&x, !largest)?)?,
    };
    // Of equal elements libtorch's `max` along an axis names the first.
    let (_, index) = if largest {
        x.f_max_dim(LAST, false)?
    } else {
        x.f_min_dim(LAST, false)?
    };
    Ok(index)
}
