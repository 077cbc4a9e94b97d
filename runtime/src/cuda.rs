//! Opening libtorch's CUDA half at run time, so that one engine serves machines with and without a GPU; and kernels there.

#![expect(
    unsafe_code,
    reason = "dlopen is the only way to libraries that not every machine can load"
)]

mod driver;
mod kernel;
mod library;
mod nvrtc;

use std::fmt;

pub use kernel::GpuKernel;
use library::Library;
pub use nvrtc::Nvrtc;

/// Why no GPU can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaError {
    /// `libtorch_cuda.so`, or a CUDA library that it needs, is not there; in the words of the loader.
    Library(String),
    /// The machine has no NVIDIA driver.
    Driver,
    /// The driver offers no device that this CUDA can use.
    Device,
}

impl CudaError {
    /// What the user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Library(_) => {
                "`pip install torch==2.11.0` brings all of CUDA's libraries; `RLPC_TORCH` can name the folder of that `torch`"
            }
            Self::Driver => "`nvidia-smi` fails too; without a GPU, run with `--device cpu`",
            Self::Device => {
                "see whether `CUDA_VISIBLE_DEVICES` hides the devices, and whether `nvidia-smi` shows a CUDA version of 13.0 or later"
            }
        }
    }
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(loader) => write!(f, "CUDA cannot be loaded: {loader}"),
            Self::Driver => write!(f, "CUDA has no driver on this machine"),
            Self::Device => write!(f, "CUDA has no device on this machine that it can use"),
        }
    }
}

impl std::error::Error for CudaError {}

/// Makes `Device::Cuda` usable, and returns how many devices there are, at least one.
///
/// It must come before every other use of `tch` in the process. The first call that concerns CUDA, such as `manual_seed`,
/// `Cuda::is_available` or even the `backward` of a CPU tensor, settles for good whether libtorch has a CUDA half.
pub fn open_cuda() -> Result<usize, CudaError> {
    // By name: the loader looks where it found libtorch_cpu.so, so that both halves are of one libtorch.
    Library::open(c"libtorch_cuda.so").map_err(CudaError::Library)?;
    Library::open(c"libcuda.so.1").map_err(|_| CudaError::Driver)?;
    match usize::try_from(tch::Cuda::device_count()) {
        Ok(0) | Err(_) => Err(CudaError::Device),
        Ok(count) => Ok(count),
    }
}
