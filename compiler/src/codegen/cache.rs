//! One code for all kernels of a structure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cpu::{self, Code};
use super::{Declined, Precision};
use crate::graph::NodeId;
use crate::kernel::{Kernel, KernelOp};
use crate::ty::DimId;

/// Codes by the structure of their kernels: nodes do not count, and dimensions only by their place.
#[derive(Default)]
pub struct Cache {
    codes: BTreeMap<(String, Precision), Result<Arc<Code>, Declined>>,
}

impl Cache {
    pub fn new() -> Cache {
        Cache::default()
    }

    /// The code of the kernel's structure, compiled when it is first asked for.
    pub fn get(&mut self, kernel: &Kernel, precision: Precision) -> Result<Arc<Code>, Declined> {
        self.codes
            .entry((structure(kernel), precision))
            .or_insert_with(|| cpu::compile(kernel, precision).map(Arc::new))
            .clone()
    }

    /// How many structures it has met.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }
}

/// The kernel in words, without what its code does not depend on.
fn structure(kernel: &Kernel) -> String {
    let mut kernel = kernel.clone();
    let dims: Vec<DimId> = kernel.rows.iter().chain(&kernel.cells).copied().collect();
    let place = |dim: &mut DimId| {
        if let Some(place) = dims.iter().position(|own| own == dim) {
            *dim = DimId(place as u32);
        }
    };
    kernel.rows.iter_mut().for_each(place);
    kernel.cells.iter_mut().for_each(place);
    for input in &mut kernel.inputs {
        input.node = NodeId::default();
        input.dims.iter_mut().for_each(place);
    }
    for output in &mut kernel.outputs {
        output.node = NodeId::default();
    }
    let inside = kernel.scans.iter_mut().flat_map(|scan| &mut scan.body);
    for instruction in kernel.body.iter_mut().chain(inside) {
        instruction.node = NodeId::default();
        if let KernelOp::Position(dim) = &mut instruction.op {
            place(dim);
        }
    }
    format!("{kernel:?}")
}
