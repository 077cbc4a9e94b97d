//! Kernels on a GPU: compiled once a source and architecture, kept on the disk, launched over tensors.

use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rlp_compiler::codegen::Precision;
use rlp_compiler::codegen::cuda::{self, ENTRY, Source, TOTALS};
use rlp_compiler::kernel::{Form, Kernel};
use rlp_compiler::ty::{DimId, Elem};
use tch::{Device, Kind, Tensor};

use super::driver::{self, Argument, Function};
use super::nvrtc::Nvrtc;

/// Blocks of a grid at most: some for each multiprocessor of any GPU, and few partial totals to join.
const BLOCKS: i64 = 1024;
const WARP: i64 = 32;

/// A kernel that a GPU can run.
pub struct GpuKernel {
    source: Source,
    device: usize,
    entry: Function,
    totals: Option<Function>,
    kernel: Kernel,
    real: Kind,
}

impl GpuKernel {
    /// Compiles a kernel for a device, or takes its code from the folder `cache`; or says why not.
    pub fn new(
        kernel: &Kernel,
        precision: Precision,
        device: usize,
        cache: Option<&Path>,
    ) -> Result<GpuKernel, String> {
        let source = cuda::source(kernel, precision)?;
        let architecture = driver::architecture(device)?;
        let code = code(&source.text, architecture, cache)?;
        let name = |name: &str| CString::new(name).map_err(|_| "a name has a byte 0".to_string());
        let (entry, totals) = (name(ENTRY)?, name(TOTALS)?);
        let mut names = vec![entry.as_c_str()];
        if !source.partials.is_empty() {
            names.push(&totals);
        }
        let functions = driver::load(&code, &names)?;
        Ok(GpuKernel {
            device,
            entry: functions[0],
            totals: functions.get(1).copied(),
            kernel: kernel.clone(),
            real: match precision {
                Precision::F32 => Kind::Float,
                Precision::F64 => Kind::Double,
            },
            source,
        })
    }

    /// The outputs for inputs on the device, contiguous, with the axes of their dimensions; `size` of each dimension.
    pub fn run(
        &self,
        inputs: &[Tensor],
        size: impl Fn(DimId) -> i64,
    ) -> Result<Vec<Tensor>, String> {
        let shape = |dims: &[DimId]| dims.iter().map(|&dim| size(dim)).collect::<Vec<i64>>();
        let (rows, cells) = (shape(&self.kernel.rows), shape(&self.kernel.cells));
        let (n_rows, n_cells) = (rows.iter().product::<i64>(), cells.iter().product::<i64>());
        if inputs.len() != self.kernel.inputs.len() {
            return Err("a kernel is launched with other inputs than it has".to_string());
        }
        for (tensor, input) in inputs.iter().zip(&self.kernel.inputs) {
            let is_right = tensor.size() == shape(&input.dims)
                && tensor.kind() == self.kind_of(input.elem)?
                && tensor.is_contiguous()
                && tensor.device() == Device::Cuda(self.device);
            if !is_right {
                return Err("an input of a kernel has another form than it reads".to_string());
            }
        }
        let device = Device::Cuda(self.device);
        let outputs = self.kernel.outputs.iter().map(|output| {
            let shape = match output.form {
                Form::Cells => [rows.as_slice(), &cells].concat(),
                Form::Rows => rows.clone(),
                Form::Total { .. } => Vec::new(),
            };
            let elem = self.kernel.elem(output);
            Ok(Tensor::empty(shape, (self.kind_of(elem)?, device)))
        });
        let outputs = outputs.collect::<Result<Vec<_>, String>>()?;
        let per_block = if self.source.is_flat {
            i64::from(self.source.threads)
        } else {
            i64::from(self.source.threads) / WARP
        };
        let work = if self.source.is_flat {
            n_rows * n_cells
        } else {
            n_rows
        };
        // One block at least, since totals over nothing have values too.
        let blocks = (work + per_block - 1)
            .div_euclid(per_block)
            .clamp(1, BLOCKS);
        let bytes = |n: i64| Tensor::empty([n], (Kind::Uint8, device));
        let partials: Vec<Tensor> = self
            .source
            .partials
            .iter()
            .map(|&width| bytes(blocks * width as i64))
            .collect();
        let scratch = self.source.scratch.iter().map(|&elem| {
            let kind = self.kind_of(elem)?;
            Ok(Tensor::empty([n_rows * n_cells], (kind, device)))
        });
        let scratch = scratch.collect::<Result<Vec<_>, String>>()?;

        let (totals, arrays): (Vec<_>, Vec<_>) = outputs
            .iter()
            .zip(&self.kernel.outputs)
            .partition(|(_, output)| matches!(output.form, Form::Total { .. }));
        let (totals, arrays) = (totals.iter().map(|it| it.0), arrays.iter().map(|it| it.0));
        let mut arguments: Vec<Argument> = inputs.iter().map(address).collect();
        arguments.extend(arrays.map(address));
        arguments.extend(partials.iter().map(address));
        arguments.extend(scratch.iter().map(address));
        arguments.extend(rows.iter().map(|&n| Argument::Integer(n)));
        arguments.push(Argument::Integer(n_cells));
        // SAFETY: these are the arguments that `cuda::source` documents; the shapes were checked above, and the new tensors
        // have the sizes that the source asks for. Tensors are freed on the stream of the launch.
        unsafe {
            driver::launch(
                self.entry,
                self.device,
                blocks as u32,
                self.source.threads,
                &arguments,
            )?;
        }
        if let Some(function) = self.totals {
            let mut arguments: Vec<Argument> = partials.iter().map(address).collect();
            arguments.extend(totals.map(address));
            arguments.push(Argument::Integer(blocks));
            // SAFETY: as above; each partial has an element a block, each total one.
            unsafe { driver::launch(function, self.device, 1, 1, &arguments)? };
        }
        Ok(outputs)
    }

    fn kind_of(&self, elem: Elem) -> Result<Kind, String> {
        match elem {
            Elem::Real => Ok(self.real),
            Elem::Int => Ok(Kind::Int64),
            Elem::Bool => Ok(Kind::Bool),
            Elem::Text => Err("no tensor holds text".to_string()),
        }
    }
}

fn address(tensor: &Tensor) -> Argument {
    Argument::Address(tensor.data_ptr() as u64)
}

/// Machine code for a text, from the folder if it is there. A folder that cannot be written does no harm.
fn code(text: &str, architecture: u32, cache: Option<&Path>) -> Result<Vec<u8>, String> {
    let nvrtc = Nvrtc::get()?;
    let Some(cache) = cache else {
        return nvrtc.compile(text, architecture);
    };
    let mut hasher = DefaultHasher::new();
    (text, architecture, nvrtc.version()).hash(&mut hasher);
    let path = cache.join(format!("{:016x}-sm{architecture}.cubin", hasher.finish()));
    // An image begins as every ELF file does; what does not was cut short.
    if let Ok(code) = std::fs::read(&path)
        && code.starts_with(b"\x7fELF")
    {
        return Ok(code);
    }
    let code = nvrtc.compile(text, architecture)?;
    keep(&path, &code);
    Ok(code)
}

/// Writes beside and renames, so that no other process reads half of it.
fn keep(path: &Path, code: &[u8]) {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&beside, code))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // The code is in memory; next time it is made again.
        let _ = std::fs::remove_file(&beside);
    }
}
