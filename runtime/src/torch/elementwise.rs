//! The elementwise primitives.

use rlp_compiler::graph::{Binary, Unary};
use rlp_compiler::ty::Elem;

use super::{Context, Site};
use crate::error::Fault;
use crate::tensor::{Kind, Tensor, elem, keep};

pub(super) fn unary(op: Unary, x: &Tensor) -> Result<Tensor, Fault> {
    Ok(match op {
        Unary::Neg => x.f_neg()?,
        Unary::Not => x.f_logical_not()?,
        Unary::Abs => x.f_abs()?,
        Unary::Sign => x.f_sign()?,
        Unary::Exp => x.f_exp()?,
        Unary::Expm1 => x.f_expm1()?,
        Unary::Log => x.f_log()?,
        Unary::Log1p => x.f_log1p()?,
        Unary::Sqrt => x.f_sqrt()?,
        Unary::Sin => x.f_sin()?,
        Unary::Cos => x.f_cos()?,
        Unary::Tan => x.f_tan()?,
        Unary::Atan => x.f_atan()?,
        Unary::Tanh => x.f_tanh()?,
        Unary::Sigmoid => x.f_sigmoid()?,
        // min(z, 0) − log1p(exp(−|z|)), with its derivative σ(−z).
        Unary::LogSigmoid => x.f_log_sigmoid()?,
        Unary::Floor => x.f_floor()?,
        Unary::Ceil => x.f_ceil()?,
        // libtorch rounds half to even.
        Unary::Round => x.f_round()?,
        Unary::IsFinite => x.f_isfinite()?,
    })
}

pub(super) fn binary(op: Binary, site: &Site) -> Result<Tensor, Fault> {
    let (a, b) = (site.tensor(0)?, site.tensor(1)?);
    if elem(a)? == Elem::Int {
        return int_binary(op, a, b, site);
    }
    Ok(match op {
        Binary::Add => a.f_add(b)?,
        Binary::Sub => a.f_sub(b)?,
        Binary::Mul => a.f_mul(b)?,
        Binary::Div => a.f_div(b)?,
        // With the sign of the divisor.
        Binary::Mod => a.f_remainder_tensor(b)?,
        Binary::Pow => a.f_pow(b)?,
        // Not libtorch's minimum and maximum, which share the gradient of a tie: here the first operand takes it.
        Binary::Min => a.f_where_self(&a.f_le_tensor(b)?.f_logical_or(&a.f_isnan()?)?, b)?,
        Binary::Max => a.f_where_self(&a.f_ge_tensor(b)?.f_logical_or(&a.f_isnan()?)?, b)?,
        Binary::Eq => a.f_eq_tensor(b)?,
        Binary::Ne => a.f_ne_tensor(b)?,
        Binary::Lt => a.f_lt_tensor(b)?,
        Binary::Le => a.f_le_tensor(b)?,
        Binary::Gt => a.f_gt_tensor(b)?,
        Binary::Ge => a.f_ge_tensor(b)?,
        Binary::And => a.f_logical_and(b)?,
        Binary::Or => a.f_logical_or(b)?,
    })
}

fn int_binary(op: Binary, a: &Tensor, b: &Tensor, site: &Site) -> Result<Tensor, Fault> {
    Ok(match op {
        Binary::Div => a.f_div_tensor_mode(
            &checked(b, b.f_eq(0)?, site, Fault::DivisionByZero)?,
            "floor",
        )?,
        Binary::Mod => {
            a.f_remainder_tensor(&checked(b, b.f_eq(0)?, site, Fault::DivisionByZero)?)?
        }
        Binary::Pow => a.f_pow(&checked(b, b.f_lt(0)?, site, Fault::NegativeExponent)?)?,
        Binary::Add => a.f_add(b)?,
        Binary::Sub => a.f_sub(b)?,
        Binary::Mul => a.f_mul(b)?,
        Binary::Min => a.f_minimum(b)?,
        Binary::Max => a.f_maximum(b)?,
        Binary::Eq => a.f_eq_tensor(b)?,
        Binary::Ne => a.f_ne_tensor(b)?,
        Binary::Lt => a.f_lt_tensor(b)?,
        Binary::Le => a.f_le_tensor(b)?,
        Binary::Gt => a.f_gt_tensor(b)?,
        Binary::Ge => a.f_ge_tensor(b)?,
        Binary::And | Binary::Or => return Err(Fault::broken("`and` and `or` take bools")),
    })
}

/// `b`, with 1 where it is not real; `fault` if it is `refused` anywhere else.
fn checked(b: &Tensor, refused: Tensor, site: &Site, fault: Fault) -> Result<Tensor, Fault> {
    let (b, refused) = match site.extents.real(&site.ty.dims)? {
        Some(real) => (keep(b, &real, 1)?, refused.f_logical_and(&real)?),
        None => (b.shallow_clone(), refused),
    };
    if refused.f_any()?.f_int64_value(&[])? != 0 {
        Err(fault)
    } else {
        Ok(b)
    }
}

pub(super) fn cast(x: &Tensor, to: Elem, context: &Context) -> Result<Tensor, Fault> {
    match (elem(x)?, to) {
        (Elem::Real, Elem::Int) => Ok(x.f_floor()?.f_to_kind(Kind::Int64)?),
        (Elem::Int | Elem::Bool, Elem::Int) => Ok(x.f_to_kind(Kind::Int64)?),
        (Elem::Real | Elem::Int | Elem::Bool, Elem::Real) => Ok(x.f_to_kind(context.kind)?),
        (Elem::Bool, Elem::Bool) => Ok(x.shallow_clone()),
        (Elem::Real | Elem::Int, Elem::Bool) | (Elem::Text, _) | (_, Elem::Text) => {
            Err(Fault::broken("elements are cast to a wider one"))
        }
    }
}
