//! The CUDA driver: code into a GPU, and launches on libtorch's stream.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::OnceLock;

use super::library::Library;

type Status = c_int;
type Launch = unsafe extern "C" fn(
    *mut c_void,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut c_void,
    *mut *mut c_void,
    *mut *mut c_void,
) -> Status;

/// The functions of `libcuda.so.1` that are called, and libtorch's current stream.
struct Functions {
    load: unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> Status,
    function: unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const i8) -> Status,
    launch: Launch,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status,
    /// `c10::cuda::getCurrentCUDAStream(device)`: a device and a number, in two registers.
    current: unsafe extern "C" fn(i8) -> Stream,
    /// `c10::cuda::CUDAStream::stream() const`
    handle: unsafe extern "C" fn(*const Stream) -> *mut c_void,
}

/// `c10::Stream` of libtorch 2.11: the device, and the number of the stream there.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stream {
    device: u64,
    id: i64,
}

/// A kernel in a GPU's memory; it stays there.
#[derive(Clone, Copy)]
pub(crate) struct Function(*mut c_void);

// SAFETY: the driver's handles may be used on any thread that has the context, which libtorch makes current.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

fn functions() -> Result<&'static Functions, String> {
    static OPENED: OnceLock<Result<Functions, String>> = OnceLock::new();
    let opened =
        OPENED.get_or_init(|| {
            let driver = Library::open(c"libcuda.so.1")?;
            let torch = Library::open(c"libc10_cuda.so")?;
            let symbol = |name: &CStr| driver.symbol(name);
            // SAFETY: the types are those of cuda.h, and of libtorch 2.11's c10/cuda/CUDAStream.h in the Itanium ABI.
            unsafe {
                use std::mem::transmute;
                Ok(Functions {
                    load: transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> Status,
                    >(symbol(c"cuModuleLoadData")?),
                    function: transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const i8) -> Status,
                    >(symbol(c"cuModuleGetFunction")?),
                    launch: transmute::<*mut c_void, Launch>(symbol(c"cuLaunchKernel")?),
                    attribute: transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status,
                    >(symbol(c"cuDeviceGetAttribute")?),
                    current: transmute::<*mut c_void, unsafe extern "C" fn(i8) -> Stream>(
                        torch.symbol(c"_ZN3c104cuda20getCurrentCUDAStreamEa")?,
                    ),
                    handle: transmute::<
                        *mut c_void,
                        unsafe extern "C" fn(*const Stream) -> *mut c_void,
                    >(
                        torch.symbol(c"_ZNK3c104cuda10CUDAStream6streamEv")?
                    ),
                })
            }
        });
    opened.as_ref().map_err(String::clone)
}

fn check(status: Status, what: &str) -> Result<(), String> {
    if status == 0 {
        Ok(())
    } else {
        Err(format!("{what} failed with CUDA error {status}"))
    }
}

/// The architecture of a device: 90 for 9.0.
pub(crate) fn architecture(device: usize) -> Result<u32, String> {
    const MAJOR: c_int = 75;
    const MINOR: c_int = 76;
    let functions = functions()?;
    let read = |attribute| {
        let mut value = 0;
        // SAFETY: the value is written; libtorch has initialised the driver.
        let status = unsafe { (functions.attribute)(&mut value, attribute, device as c_int) };
        check(status, "asking for the architecture").map(|()| value as u32)
    };
    Ok(10 * read(MAJOR)? + read(MINOR)?)
}

/// Loads code that NVRTC made into the current context, and finds kernels in it.
pub(crate) fn load(code: &[u8], names: &[&CStr]) -> Result<Vec<Function>, String> {
    let functions = functions()?;
    let mut module = std::ptr::null_mut();
    // SAFETY: the code is an image that NVRTC wrote, with its own length inside.
    let status = unsafe { (functions.load)(&mut module, code.as_ptr().cast()) };
    check(status, "loading a kernel")?;
    let find = |name: &&CStr| {
        let mut function = std::ptr::null_mut();
        // SAFETY: the module was loaded and is never unloaded; the name is a C string.
        let status = unsafe { (functions.function)(&mut function, module, name.as_ptr().cast()) };
        check(status, "finding a kernel").map(|()| Function(function))
    };
    names.iter().map(find).collect()
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// An address in the GPU's memory.
    Address(u64),
    Integer(i64),
}

/// Launches a kernel on libtorch's current stream of a device.
///
/// # Safety
/// The arguments are those that the kernel takes, and each address is that of an array as long as the kernel reads or
/// writes, which stays until the stream has passed: memory of tensors does, since libtorch reuses it on that stream only.
pub(crate) unsafe fn launch(
    function: Function,
    device: usize,
    blocks: u32,
    threads: u32,
    arguments: &[Argument],
) -> Result<(), String> {
    let functions = functions()?;
    let mut values: Vec<u64> = arguments
        .iter()
        .map(|argument| match *argument {
            Argument::Address(address) => address,
            Argument::Integer(value) => value as u64,
        })
        .collect();
    let mut pointers: Vec<*mut c_void> = values
        .iter_mut()
        .map(|value| std::ptr::from_mut(value).cast())
        .collect();
    // SAFETY: the device is one of libtorch's; the stream lives until the second call returns.
    let stream = unsafe {
        let stream = (functions.current)(device as i8);
        (functions.handle)(&stream)
    };
    // SAFETY: every argument is 8 bytes; the rest is the caller's promise.
    let status = unsafe {
        (functions.launch)(
            function.0,
            blocks,
            1,
            1,
            threads,
            1,
            1,
            0,
            stream,
            pointers.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    check(status, "launching a kernel")
}
