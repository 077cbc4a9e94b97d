//! Kernels on tensors.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use rlp_compiler::kernel::{Kernel, interpret};

use crate::error::Fault;
use crate::extent::Extents;
use crate::tensor::{Device, Kind, Tensor, Value};
use crate::torch::Context;

/// The machine code of a run: compiled where a kernel of its structure first runs, and shared by all.
#[derive(Debug, Default)]
pub struct Kernels {
    /// Why kernels have no code, each reason once.
    notes: RefCell<Vec<String>>,
    /// How many of them were told.
    told: Cell<usize>,
}

impl Kernels {
    pub fn new() -> Kernels {
        Kernels::default()
    }

    /// Whether there is code for such numbers on such a device at all.
    pub fn has_code_for(context: &Context) -> bool {
        context.device == Device::Cpu && matches!(context.kind, Kind::Float | Kind::Double)
    }

    /// What users may want to know since this was last asked for: what does not run as it could, and why.
    pub fn news(&self) -> Vec<String> {
        let notes = self.notes.borrow();
        notes[self.told.replace(notes.len())..].to_vec()
    }

    /// Takes note of something, once.
    pub(crate) fn note(&self, note: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// The outputs of a kernel; `None` if there is no code for it.
    pub(super) fn run(
        &self,
        kernel: &Kernel,
        inputs: &[Tensor],
        extents: &Extents,
        context: &Context,
    ) -> Result<Option<Vec<Tensor>>, Fault> {
        let dims = [kernel.rows.as_slice(), &kernel.cells].concat();
        let sizes: BTreeMap<_, _> = dims
            .iter()
            .map(|&dim| Ok((dim, extents.size(dim)? as usize)))
            .collect::<Result<_, Fault>>()?;
        let arrays = inputs
            .iter()
            .map(|tensor| Value::from(tensor.shallow_clone()).to_array())
            .collect::<Result<Vec<_>, Fault>>()?;
        let arrays = interpret(kernel, &sizes, &arrays)
            .map_err(|fault| Fault::broken(format!("a kernel runs: {fault}")))?;
        let tensors = arrays.iter().map(|array| {
            Ok(Value::from_array(array, context.kind, context.device)?
                .tensor()?
                .shallow_clone())
        });
        Ok(Some(tensors.collect::<Result<Vec<_>, Fault>>()?))
    }
}
