//! The scan: its body runs once for each position of a dimension, the carries handed on.

use std::sync::Arc;

use rlp_compiler::graph::{NodeId, Op, ScanBody};
use rlp_compiler::ty::DimId;

use super::{Executor, Host};
use crate::error::{Fault, Result};
use crate::tensor::{Tensor, Value, keep};
use crate::torch::axis;

/// A tensor and the dimensions that are its axes.
struct Operand {
    tensor: Tensor,
    dims: Vec<DimId>,
}

/// A scan and the values that it starts from.
struct Scan<'g> {
    over: DimId,
    reverse: bool,
    body: &'g ScanBody,
    slices: Vec<Operand>,
    captured: Vec<Operand>,
    initial: Vec<Operand>,
    /// Which positions are real, over some of the dimensions of the carries and `over`.
    mask: Option<Operand>,
}

impl Executor<'_> {
    /// Computes a `Scan` node, and with it the other parts of the same scan.
    pub(super) fn scan(
        &mut self,
        id: NodeId,
        operands: &[(NodeId, Value)],
        host: &mut dyn Host,
    ) -> Result<()> {
        let graph = self.graph;
        let carries = self.carries(&self.scan_of(id, operands)?, host)?;
        let ids: Vec<NodeId> = operands.iter().map(|(id, _)| *id).collect();
        let readers = ids.first().map_or(Vec::new(), |&first| graph.users(first));
        for other in readers {
            let part = part_of(graph.op(id), graph.op(other));
            if let Some(part) = part.filter(|_| graph.operands(other) == ids) {
                let carry = carries.get(part).map(|carry| carry.shallow_clone().into());
                self.values[other.index()] = carry;
            }
        }
        Ok(())
    }

    fn scan_of(&self, id: NodeId, operands: &[(NodeId, Value)]) -> Result<Scan<'_>, Fault> {
        let op = self.graph.op(id);
        let Op::Scan {
            over,
            reverse,
            xs,
            captured,
            carries,
            masked,
            body,
            ..
        } = op
        else {
            return Err(Fault::broken("a scan is a scan"));
        };
        if operands.len() != xs + captured + carries + usize::from(*masked) {
            return Err(Fault::broken("a scan has as many operands as it says"));
        }
        let operand = |(id, value): &(NodeId, Value)| {
            let dims = self.graph.ty(*id).dims.clone();
            Ok(Operand {
                tensor: value.tensor()?.shallow_clone(),
                dims,
            })
        };
        let mut operands = operands.iter().map(operand);
        let mut next = |count| {
            operands
                .by_ref()
                .take(count)
                .collect::<Result<Vec<_>, Fault>>()
        };
        let (slices, captured, initial) = (next(*xs)?, next(*captured)?, next(*carries)?);
        let mask = operands.next().transpose()?;
        let mut scan = Scan {
            over: *over,
            reverse: *reverse,
            body,
            slices,
            captured,
            initial,
            mask,
        };
        scan.clear_slices()?;
        Ok(scan)
    }

    /// The values of every carry along the scanned dimension.
    fn carries(&self, scan: &Scan, host: &mut dyn Host) -> Result<Vec<Tensor>> {
        let graph = &scan.body.graph;
        let mut inside = Executor::new(graph, self.context);
        inside.extents = self.extents.within(&graph.dims);
        for (number, captured) in scan.captured.iter().enumerate() {
            inside.give_input(
                &format!("k{number}"),
                &captured.tensor.shallow_clone().into(),
            )?;
        }
        let size = self.extents.size(scan.over)?;
        let share = |operand: &Operand| operand.tensor.shallow_clone();
        let mut carries: Vec<Tensor> = scan.initial.iter().map(share).collect();
        let mut history: Vec<Vec<Tensor>> = scan.initial.iter().map(|_| Vec::new()).collect();
        for turn in 0..size {
            let position = if scan.reverse { size - 1 - turn } else { turn };
            inside.keep_given();
            for (number, slice) in scan.slices.iter().enumerate() {
                let slice = slice.at(scan.over, position)?.tensor;
                inside.give_input(&format!("x{number}"), &slice.into())?;
            }
            let mask = scan
                .mask
                .as_ref()
                .map(|mask| mask.at(scan.over, position))
                .transpose()?;
            for (number, carry) in carries.iter().enumerate() {
                // Where nothing is real the body's gradient may be NaN; the carry must not get it.
                let carry = scan.hold(number, carry, &carry.f_detach()?, &mask)?;
                inside.give_input(&format!("c{number}"), &carry.into())?;
            }
            let next = inside.evaluate(&scan.body.next, host)?;
            for (number, (carry, next)) in carries.iter_mut().zip(next).enumerate() {
                *carry = scan.hold(number, next.tensor()?, carry, &mask)?;
                history[number].push(carry.shallow_clone());
            }
        }
        if scan.reverse {
            history.iter_mut().for_each(|values| values.reverse());
        }
        let stacked = history.iter().enumerate().map(|(number, values)| {
            let dims = with(&scan.initial[number].dims, scan.over);
            if values.is_empty() {
                let carry = &scan.initial[number].tensor;
                let shape = self.extents.sizes(&dims)?;
                return Ok(Tensor::f_zeros(shape, (carry.f_kind()?, carry.device()))?);
            }
            scan.only_real(
                Tensor::f_stack(values, axis::axis(&dims, scan.over)? as i64)?,
                &dims,
            )
        });
        Ok(stacked.collect::<Result<_, Fault>>()?)
    }
}

impl Scan<'_> {
    /// Puts 0 where slices are not real, as far as they have the dimensions of the mask: a body that is fed garbage can
    /// yield NaN, whose gradient would reach what it captures.
    fn clear_slices(&mut self) -> Result<(), Fault> {
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        for slice in &mut self.slices {
            if mask.dims.iter().all(|dim| slice.dims.contains(dim)) {
                slice.tensor = keep(&slice.tensor, &mask.spread(&slice.dims)?, 0)?;
            }
        }
        Ok(())
    }

    /// The carry with this number: `next` where the mask holds, `carry` elsewhere.
    fn hold(
        &self,
        number: usize,
        next: &Tensor,
        carry: &Tensor,
        mask: &Option<Operand>,
    ) -> Result<Tensor, Fault> {
        match mask {
            None => Ok(next.shallow_clone()),
            Some(mask) => Ok(next.f_where_self(&mask.spread(&self.initial[number].dims)?, carry)?),
        }
    }

    /// The same values; where they are not real, the carries that were held there, nothing flows back.
    fn only_real(&self, values: Tensor, dims: &[DimId]) -> Result<Tensor, Fault> {
        match &self.mask {
            None => Ok(values),
            Some(mask) => Ok(values.f_where_self(&mask.spread(dims)?, &values.f_detach()?)?),
        }
    }
}

impl Operand {
    /// The slice at one position of a dimension.
    fn at(&self, over: DimId, position: i64) -> Result<Operand, Fault> {
        let tensor = self
            .tensor
            .f_select(axis::axis(&self.dims, over)? as i64, position)?;
        Ok(Operand {
            tensor,
            dims: axis::without(&self.dims, &[over]),
        })
    }

    fn spread(&self, dims: &[DimId]) -> Result<Tensor, Fault> {
        axis::spread(&self.tensor, &self.dims, dims)
    }
}

/// Which carry `other` gives, if it is a part of the scan `one`, given that it has the same operands.
fn part_of(one: &Op, other: &Op) -> Option<usize> {
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
    let is_same = Arc::ptr_eq(body, other_body) && over == other_over && reverse == other_reverse;
    is_same.then_some(*part)
}

/// With the dimension `over`, ascending.
fn with(dims: &[DimId], over: DimId) -> Vec<DimId> {
    let mut dims = [dims, &[over]].concat();
    dims.sort_unstable();
    dims
}
