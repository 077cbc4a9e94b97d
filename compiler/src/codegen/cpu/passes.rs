//! The passes over a row as a schedule gives them: what each computes, and which arrays it touches.

use std::collections::BTreeSet;

use super::operand::{operands, roots};
use crate::codegen::Declined;
use crate::kernel::{Kernel, KernelOp};

/// Where a value of cells is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Home {
    /// The output with this index.
    Output(usize),
    /// A row of scratch memory.
    Scratch(usize),
}

/// An array of cells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// The input with this index.
    Input(usize),
    Kept(Home),
}

#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Loops along the row that come before, and the values of cells that each computes again.
    pub(super) scans: Vec<(usize, Vec<usize>)>,
    /// Values of cells to be there, operands first.
    pub(super) values: Vec<usize>,
    /// Of these values, in instructions.
    pub(super) cost: u32,
    /// Values that are written.
    pub(super) stores: Vec<(usize, Home)>,
    /// `Reduce` instructions.
    pub(super) reduces: Vec<usize>,
    /// Outputs that are totals of cells.
    pub(super) totals: Vec<usize>,
}

impl Pass {
    /// What it writes and reduces.
    pub(super) fn roots(&self, kernel: &Kernel) -> Vec<usize> {
        let mut all: Vec<usize> = self.stores.iter().map(|&(value, _)| value).collect();
        for &index in &self.reduces {
            let read = kernel.body[index].op.operands();
            all.extend(read.iter().map(|value| value.0 as usize));
        }
        for &number in &self.totals {
            let output = &kernel.outputs[number];
            all.extend(roots(&output.form, output.value));
        }
        all
    }
}

#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) passes: Vec<Pass>,
    /// Whether each value differs from cell to cell.
    pub(super) varies: Vec<bool>,
    /// The pass in which each value is there; of a row's value, before it.
    pub(super) stage: Vec<usize>,
    /// Values that any output depends on.
    pub(super) live: Vec<bool>,
    pub(super) homes: Vec<Option<Home>>,
    pub(super) scratch_rows: usize,
}

impl Schedule {
    /// Where a value of cells is read in a pass, if it is not computed there.
    pub(super) fn source(&self, kernel: &Kernel, pass: usize, index: usize) -> Option<Place> {
        match &kernel.body[index].op {
            KernelOp::Load(input) => Some(Place::Input(*input)),
            op => {
                let is_kept = self.stage[index] < pass || matches!(op, KernelOp::Scan { .. });
                self.homes[index].filter(|_| is_kept).map(Place::Kept)
            }
        }
    }

    /// What is read in a pass beside what it computes: values of the row.
    pub(super) fn read_in(
        &self,
        kernel: &Kernel,
        pass: &Pass,
    ) -> Result<BTreeSet<usize>, Declined> {
        let mut read: BTreeSet<usize> = pass.roots(kernel).into_iter().collect();
        for &index in &pass.values {
            read.extend(operands(kernel, &kernel.body[index], index)?);
        }
        read.retain(|&index| !self.varies[index]);
        Ok(read)
    }

    /// The arrays that a pass touches.
    pub(super) fn places(&self, kernel: &Kernel, number: usize, pass: &Pass) -> BTreeSet<Place> {
        let mut places: BTreeSet<Place> = BTreeSet::new();
        let of_scans = pass.scans.iter().flat_map(|(_, values)| values);
        for &index in of_scans.chain(&pass.values) {
            places.extend(self.source(kernel, number, index));
            if let KernelOp::Shift { value, .. } = kernel.body[index].op
                && self.varies[value.0 as usize]
            {
                // In memory, whenever it was written.
                places.extend(self.source(kernel, usize::MAX, value.0 as usize));
            }
        }
        for (index, instruction) in kernel.body.iter().enumerate() {
            if let KernelOp::Scan { scan, .. } = instruction.op
                && pass.scans.iter().any(|(own, _)| *own == scan)
            {
                places.extend(self.homes[index].map(Place::Kept));
            }
        }
        places.extend(pass.stores.iter().map(|&(_, home)| Place::Kept(home)));
        places
    }
}
