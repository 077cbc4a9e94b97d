//! Kernels on tensors.
#![expect(
    unsafe_code,
    reason = "generated code reads and writes the memory of tensors"
)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;

use rlp_compiler::codegen::cache::Cache;
use rlp_compiler::codegen::cpu::Code;
use rlp_compiler::codegen::launch::{Launch, Slice, SliceMut, Source};
use rlp_compiler::codegen::text::{Arena, TextRef};
use rlp_compiler::codegen::{Declined, Precision};
use rlp_compiler::graph::NodeId;
use rlp_compiler::kernel::{Form, Kernel, Output};
use rlp_compiler::ty::{DimId, Elem};

use crate::cuda::GpuKernel;
use crate::error::Fault;
use crate::extent::Extents;
use crate::tensor::{Device, Kind, Tensor, TextArray, Value, elem};
use crate::torch::Context;

/// The code of a run: compiled where a kernel of its structure is first met, and shared by all.
#[derive(Default)]
pub struct Kernels {
    cache: RefCell<Cache>,
    /// By the kernel and its precision in words, and the GPU.
    on_gpus: RefCell<HashMap<(String, usize), OnGpu>>,
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
        matches!(context.device, Device::Cpu | Device::Cuda(_)) && precision(context.kind).is_some()
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

    /// The code of a kernel for the numbers and the device of a context, or why there is none.
    pub(super) fn code(&self, kernel: &Kernel, context: &Context) -> Result<Compiled, Declined> {
        let Some(precision) = precision(context.kind) else {
            let reason = format!("there is none for numbers of kind {:?}", context.kind);
            return Err(Declined(reason));
        };
        match context.device {
            Device::Cpu => {
                let code = self.cache.borrow_mut().get(kernel, precision)?;
                Ok(Compiled::Cpu(code))
            }
            Device::Cuda(gpu) => {
                let key = (format!("{precision:?} {kernel:?}"), gpu);
                let mut known = self.on_gpus.borrow_mut();
                let code = known.entry(key).or_insert_with(|| {
                    let shared = rlp_locate::cache(std::env::var_os);
                    let folder = shared.map(|folder| folder.join("kernels"));
                    GpuKernel::new(kernel, precision, gpu, folder.as_deref())
                        .map(Rc::new)
                        .map_err(Declined)
                });
                code.clone().map(Compiled::Gpu)
            }
            other => Err(Declined(format!("there is none for {other:?}"))),
        }
    }
}

type OnGpu = Result<Rc<GpuKernel>, Declined>;

/// Code that can be launched.
pub(super) enum Compiled {
    Cpu(Arc<Code>),
    Gpu(Rc<GpuKernel>),
}

/// The outputs of a kernel; `input` gives what it reads.
///
/// An output stands in its target, if there is one that fits: the memory of no input, or of inputs over the same dimensions
/// as the output, which it is written over. Otherwise it is fresh.
pub(super) fn launch(
    kernel: &Kernel,
    code: &Compiled,
    extents: &Extents,
    context: &Context,
    targets: &[Option<Tensor>],
    input: impl Fn(NodeId) -> Result<Value, Fault>,
) -> Result<Vec<Value>, Fault> {
    match code {
        Compiled::Cpu(code) => on_cpu(kernel, code, extents, context, targets, input),
        Compiled::Gpu(code) => {
            let inputs = kernel.inputs.iter().map(|read| {
                let tensor = input(read.node)?.tensor()?.f_contiguous()?;
                Ok(tensor.f_to_device(context.device)?)
            });
            let inputs = inputs.collect::<Result<Vec<Tensor>, Fault>>()?;
            let sizes = kernel.rows.iter().chain(&kernel.cells);
            let sizes = sizes.map(|&dim| Ok((dim, extents.size(dim)?)));
            let sizes = sizes.collect::<Result<HashMap<DimId, i64>, Fault>>()?;
            let outputs = code
                .run(&inputs, |dim| sizes.get(&dim).copied().unwrap_or(0))
                .map_err(Fault::broken)?;
            Ok(outputs.into_iter().map(Value::from).collect())
        }
    }
}

fn precision(kind: Kind) -> Option<Precision> {
    match kind {
        Kind::Float => Some(Precision::F32),
        Kind::Double => Some(Precision::F64),
        _ => None,
    }
}

/// On the processor.
fn on_cpu(
    kernel: &Kernel,
    code: &Code,
    extents: &Extents,
    context: &Context,
    targets: &[Option<Tensor>],
    input: impl Fn(NodeId) -> Result<Value, Fault>,
) -> Result<Vec<Value>, Fault> {
    let sizes = |dims: &[DimId]| {
        let sizes = dims.iter().map(|&dim| Ok(extents.size(dim)? as usize));
        sizes.collect::<Result<Vec<usize>, Fault>>()
    };
    let (rows, cells) = (sizes(&kernel.rows)?, sizes(&kernel.cells)?);
    // Kept until the launch is over.
    let inputs = kernel.inputs.iter().map(|read| match input(read.node)? {
        Value::Tensor(tensor) => Ok(Value::Tensor(tensor.f_contiguous()?)),
        Value::Text(texts) => Ok(Value::Text(texts)),
    });
    let inputs = inputs.collect::<Result<Vec<Value>, Fault>>()?;
    let output = |(output, target): (&Output, &Option<Tensor>)| {
        let elem = kernel.elem(output);
        let shape = match output.form {
            Form::Cells => [rows.as_slice(), &cells].concat(),
            Form::Rows => rows.clone(),
            Form::Total { .. } => Vec::new(),
        };
        let n = shape.iter().product();
        let shape: Vec<i64> = shape.into_iter().map(|size| size as i64).collect();
        let options = |elem| Ok::<_, Fault>((context.kind_of(elem)?, context.device));
        let fits = |target: &&Tensor| {
            target.size() == shape
                && target.f_kind().ok() == context.kind_of(elem).ok()
                && target.is_contiguous()
                && (code.in_place() || !inputs.iter().any(|input| is_over(input, target)))
        };
        Ok(match elem {
            // Not every byte is a bool.
            Elem::Bool => Written::Tensor(Tensor::f_zeros(&shape, options(elem)?)?),
            Elem::Real | Elem::Int => Written::Tensor(match target.as_ref().filter(fits) {
                Some(target) => target.shallow_clone(),
                None => Tensor::f_empty(&shape, options(elem)?)?,
            }),
            Elem::Text => Written::Text(shape, vec![TextRef::default(); n]),
        })
    };
    let arena = Arena::new();
    let mut outputs = kernel
        .outputs
        .iter()
        .zip(targets)
        .map(output)
        .collect::<Result<Vec<Written>, Fault>>()?;
    let read: Vec<Vec<TextRef>> = inputs.iter().map(references).collect();
    let sources = inputs.iter().zip(&read).map(|(value, texts)| {
        let takes_place =
            |output: &Written| matches!(output, Written::Tensor(own) if is_over(value, own));
        if let Some(output) = outputs.iter().position(takes_place) {
            return Ok(Source::Output(output));
        }
        Ok(Source::Slice(match value {
            Value::Tensor(tensor) => slice_of(tensor)?,
            Value::Text(_) => Slice::Text(texts),
        }))
    });
    let sources = sources.collect::<Result<Vec<Source>, Fault>>()?;
    let targets = outputs.iter_mut().map(|output| match output {
        Written::Tensor(tensor) => slice_of_mut(tensor),
        Written::Text(_, texts) => Ok(SliceMut::Text(texts)),
    });
    let targets = targets.collect::<Result<Vec<_>, Fault>>()?;
    let n_cells = cells.iter().product();
    let launch = Launch::with_texts(code, &rows, n_cells, &sources, targets, &arena);
    let mut launch = launch
        .map_err(|mismatch| Fault::broken(format!("a kernel is given its arrays: {mismatch}")))?;
    launch.run(tch::get_num_threads().max(1) as usize);
    drop(launch);
    let value = |written| match written {
        Written::Tensor(tensor) => Value::Tensor(tensor),
        Written::Text(shape, texts) => Value::from(TextArray {
            shape,
            elements: texts.iter().map(|text| text.get().into()).collect(),
        }),
    };
    Ok(outputs.into_iter().map(value).collect())
}

/// Whether a value stands in the memory of this tensor.
pub(super) fn is_over(value: &Value, tensor: &Tensor) -> bool {
    match value {
        Value::Tensor(value) => value.numel() > 0 && value.data_ptr() == tensor.data_ptr(),
        Value::Text(_) => false,
    }
}

/// An output while it is written.
enum Written<'t> {
    Tensor(Tensor),
    /// Its shape and its elements, which point to texts that were read or made.
    Text(Vec<i64>, Vec<TextRef<'t>>),
}

/// The elements, if they are texts.
fn references(value: &Value) -> Vec<TextRef<'_>> {
    match value {
        Value::Tensor(_) => Vec::new(),
        Value::Text(texts) => texts
            .elements
            .iter()
            .map(|text| TextRef::new(text))
            .collect(),
    }
}

/// The elements of a contiguous tensor in the memory of the host.
fn slice_of(tensor: &Tensor) -> Result<Slice<'_>, Fault> {
    let (pointer, n) = (tensor.data_ptr(), tensor.numel());
    if n == 0 {
        return empty(tensor);
    }
    // SAFETY: a contiguous tensor of this kind holds so many elements from its pointer on. It is borrowed for as long as
    // they are read, and nothing else writes to it meanwhile: one thread drives libtorch. Its bools are made by comparisons
    // and copies of bools, bytes 0 or 1.
    unsafe {
        match tensor.f_kind()? {
            Kind::Float => Ok(Slice::F32(slice::from_raw_parts(pointer.cast(), n))),
            Kind::Double => Ok(Slice::F64(slice::from_raw_parts(pointer.cast(), n))),
            Kind::Int64 => Ok(Slice::Int(slice::from_raw_parts(pointer.cast(), n))),
            Kind::Bool => Ok(Slice::Bool(slice::from_raw_parts(pointer.cast(), n))),
            other => Err(unknown(other)),
        }
    }
}

fn empty(tensor: &Tensor) -> Result<Slice<'static>, Fault> {
    match tensor.f_kind()? {
        Kind::Float => Ok(Slice::F32(&[])),
        Kind::Double => Ok(Slice::F64(&[])),
        _ => match elem(tensor)? {
            Elem::Bool => Ok(Slice::Bool(&[])),
            Elem::Int | Elem::Real | Elem::Text => Ok(Slice::Int(&[])),
        },
    }
}

/// The elements of a tensor that is written.
fn slice_of_mut<'t>(tensor: &mut Tensor) -> Result<SliceMut<'_, 't>, Fault> {
    let (pointer, kind) = (tensor.data_ptr(), tensor.f_kind()?);
    let n = tensor.numel();
    if n == 0 {
        return match kind {
            Kind::Float => Ok(SliceMut::F32(&mut [])),
            Kind::Double => Ok(SliceMut::F64(&mut [])),
            Kind::Int64 => Ok(SliceMut::Int(&mut [])),
            Kind::Bool => Ok(SliceMut::Bool(&mut [])),
            other => Err(unknown(other)),
        };
    }
    // SAFETY: as above; the tensor was made for this launch or given away to it, and no slice of what is read is of the same
    // memory.
    unsafe {
        match kind {
            Kind::Float => Ok(SliceMut::F32(slice::from_raw_parts_mut(pointer.cast(), n))),
            Kind::Double => Ok(SliceMut::F64(slice::from_raw_parts_mut(pointer.cast(), n))),
            Kind::Int64 => Ok(SliceMut::Int(slice::from_raw_parts_mut(pointer.cast(), n))),
            Kind::Bool => Ok(SliceMut::Bool(slice::from_raw_parts_mut(pointer.cast(), n))),
            other => Err(unknown(other)),
        }
    }
}

fn unknown(kind: Kind) -> Fault {
    Fault::broken(format!(
        "no value of a program has elements of kind {kind:?}"
    ))
}
