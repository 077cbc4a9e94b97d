//! The scan: its body runs once for each position of a dimension, the carries handed on.

use std::sync::Arc;

use rlp_compiler::graph::{NodeId, Op, ScanBody};
use rlp_compiler::ty::DimId;

use super::{Executor, Host};
use crate::error::{Fault, Result};
use crate::tensor::{Tensor, Value, keep};
use crate::torch::axis;

impl Executor<'_> {
    /// Computes a `Scan` node, and with it the other parts of the same scan.
    pub(super) fn scan(
        &mut self,
        id: NodeId,
        operands: &[(NodeId, Value)],
        host: &mut dyn Host,
    ) -> Result<()> {
        let graph = self.graph;
        let carries = self.carries(id, operands, host)?;
        let ids: Vec<NodeId> = operands.iter().map(|(id, _)| *id).collect();
        let Some(first) = ids.first() else {
            return Err(Fault::broken("a scan has a carry").into());
        };
        for other in graph.users(*first) {
            if let Some(part) =
                same_scan(graph.op(id), graph.op(other)).filter(|_| graph.operands(other) == ids)
            {
                let carry = carries
                    .get(part)
                    .ok_or_else(|| Fault::broken("a scan has the part that it names"))?;
                self.values[other.index()] = Some(carry.shallow_clone().into());
            }
        }
        Ok(())
    }

    /// The values of every carry along `over`.
    fn carries(
        &self,
        id: NodeId,
        operands: &[(NodeId, Value)],
        host: &mut dyn Host,
    ) -> Result<Vec<Tensor>> {
        let Op::Scan {
            over,
            reverse,
            xs,
            captured,
            carries,
            masked,
            body,
            ..
        } = self.graph.op(id)
        else {
            return Err(Fault::broken("a scan is a scan").into());
        };
        if operands.len() != xs + captured + carries + usize::from(*masked) {
            return Err(Fault::broken("a scan has as many operands as it says").into());
        }
        let typed = |(id, value): &(NodeId, Value)| {
            Ok((
                self.graph.ty(*id).dims.clone(),
                value.tensor()?.shallow_clone(),
            ))
        };
        let typed = operands
            .iter()
            .map(typed)
            .collect::<Result<Vec<_>, Fault>>()?;
        let (slices, rest) = typed.split_at(*xs);
        let (captured, rest) = rest.split_at(*captured);
        let (initial, mask) = rest.split_at(*carries);
        let mask = mask.first();

        // A body that is fed what is not real can yield NaN, whose gradient would reach what it captures.
        let slices = slices
            .iter()
            .map(|slice| Ok((slice.0.clone(), real_slices(slice, mask)?)));
        let slices = slices.collect::<Result<Vec<(Vec<DimId>, Tensor)>, Fault>>()?;
        let mut inside = Executor::new(&body.graph, self.context);
        inside.extents = self.extents.within(&body.graph.dims);
        for (number, (_, value)) in captured.iter().enumerate() {
            inside.give_input(&format!("k{number}"), &value.shallow_clone().into())?;
        }
        let size = self.extents.size(*over)?;
        let mut held: Vec<Tensor> = initial
            .iter()
            .map(|(_, value)| value.shallow_clone())
            .collect();
        let mut history: Vec<Vec<Tensor>> = initial.iter().map(|_| Vec::new()).collect();
        for turn in 0..size {
            let position = if *reverse { size - 1 - turn } else { turn };
            for (number, (dims, slice)) in slices.iter().enumerate() {
                let slice = slice.f_select(axis::axis(dims, *over)? as i64, position)?;
                inside.give_input(&format!("x{number}"), &slice.into())?;
            }
            let real = mask
                .map(|(dims, mask)| here(dims, mask, *over, position))
                .transpose()?;
            for (number, carry) in held.iter().enumerate() {
                let carry = hold(carry, &carry.f_detach()?, &real, &initial[number].0)?;
                inside.give_input(&format!("c{number}"), &carry.into())?;
            }
            let next = step(&mut inside, body, host)?;
            for (number, next) in next.iter().enumerate() {
                held[number] = hold(next.tensor()?, &held[number], &real, &initial[number].0)?;
                history[number].push(held[number].shallow_clone());
            }
        }
        if *reverse {
            history.iter_mut().for_each(|values| values.reverse());
        }
        let along = |(values, (dims, carry)): (&Vec<Tensor>, &(Vec<DimId>, Tensor))| {
            let ty = with(dims, *over);
            let stacked = if values.is_empty() {
                Tensor::f_zeros(self.extents.sizes(&ty)?, (carry.f_kind()?, carry.device()))?
            } else {
                Tensor::f_stack(values, axis::axis(&ty, *over)? as i64)?
            };
            // The carries stay where nothing is real, but nothing flows back from there.
            match mask {
                Some((mask_dims, mask)) => Ok(stacked
                    .f_where_self(&axis::spread(mask, mask_dims, &ty)?, &stacked.f_detach()?)?),
                None => Ok(stacked),
            }
        };
        Ok(history
            .iter()
            .zip(initial)
            .map(along)
            .collect::<Result<Vec<_>, Fault>>()?)
    }
}

fn step(inside: &mut Executor, body: &ScanBody, host: &mut dyn Host) -> Result<Vec<Value>> {
    inside.keep_given();
    inside.evaluate(&body.next, host)
}

/// Which carry `other` is, if it is a part of the scan `one`.
fn same_scan(one: &Op, other: &Op) -> Option<usize> {
    let Op::Scan {
        body,
        over,
        reverse,
        ..
    } = one
    else {
        return None;
    };
    let Op::Scan {
        body: other_body,
        over: other_over,
        reverse: other_reverse,
        part,
        ..
    } = other
    else {
        return None;
    };
    (Arc::ptr_eq(body, other_body) && over == other_over && reverse == other_reverse)
        .then_some(*part)
}

/// With the dimension `over`, ascending.
fn with(dims: &[DimId], over: DimId) -> Vec<DimId> {
    let mut dims = [dims, &[over]].concat();
    dims.sort_unstable();
    dims
}

/// The slices with 0 where they are not real, as far as they have the dimensions of the mask.
fn real_slices(
    (dims, slices): &(Vec<DimId>, Tensor),
    mask: Option<&(Vec<DimId>, Tensor)>,
) -> Result<Tensor, Fault> {
    match mask {
        Some((mask_dims, mask)) if mask_dims.iter().all(|dim| dims.contains(dim)) => {
            keep(slices, &axis::spread(mask, mask_dims, dims)?, 0)
        }
        Some(_) | None => Ok(slices.shallow_clone()),
    }
}

/// The mask at one position, over its other dimensions.
fn here(
    dims: &[DimId],
    mask: &Tensor,
    over: DimId,
    position: i64,
) -> Result<(Vec<DimId>, Tensor), Fault> {
    let slice = mask.f_select(axis::axis(dims, over)? as i64, position)?;
    Ok((axis::without(dims, &[over]), slice))
}

/// `next` where the mask holds, `carry` elsewhere; both over `dims`, of which the mask has some.
fn hold(
    next: &Tensor,
    carry: &Tensor,
    real: &Option<(Vec<DimId>, Tensor)>,
    dims: &[DimId],
) -> Result<Tensor, Fault> {
    match real {
        None => Ok(next.shallow_clone()),
        Some((mask_dims, mask)) => {
            Ok(next.f_where_self(&axis::spread(mask, mask_dims, dims)?, carry)?)
        }
    }
}
