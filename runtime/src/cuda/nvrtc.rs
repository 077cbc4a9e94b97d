//! NVRTC: CUDA C to the code of a GPU, in this process; no GPU is needed for it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::library::{Library, file_of};

type Program = *mut c_void;

/// The functions of `libnvrtc.so.13` that are called; each returns 0 if all is well.
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    code_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    code: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
}

/// The compiler, opened.
pub struct Nvrtc {
    functions: Functions,
    /// Of the library: other versions make other code.
    version: (i32, i32),
}

impl Nvrtc {
    /// The compiler that comes with libtorch's CUDA runtime, opened once; or why there is none.
    pub fn get() -> Result<&'static Nvrtc, String> {
        static OPENED: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
        let opened = OPENED.get_or_init(|| {
            let folders = folders();
            let mut first = None;
            for folder in &folders {
                match Nvrtc::open(folder) {
                    Ok(nvrtc) => return Ok(nvrtc),
                    Err(why) => first = first.or(Some(why)),
                }
            }
            Err(first.unwrap_or_else(|| "no folder may hold libnvrtc.so.13".to_string()))
        });
        opened.as_ref().map_err(String::clone)
    }

    fn open(folder: &Path) -> Result<Nvrtc, String> {
        let path = |name: &str| {
            CString::new(folder.join(name).to_string_lossy().into_owned())
                .map_err(|_| "a path has a byte 0".to_string())
        };
        // By itself NVRTC looks for it in the loader's folders only.
        Library::open(&path("libnvrtc-builtins.so.13.0")?)?;
        let library = Library::open(&path("libnvrtc.so.13")?)?;
        let symbol = |name: &CStr| library.symbol(name);
        // SAFETY: the types are those of nvrtc.h of CUDA 13.
        let functions = unsafe {
            use std::mem::transmute;
            Functions {
                version: transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
                >(symbol(c"nvrtcVersion")?),
                create: transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(
                        *mut Program,
                        *const c_char,
                        *const c_char,
                        c_int,
                        *const *const c_char,
                        *const *const c_char,
                    ) -> c_int,
                >(symbol(c"nvrtcCreateProgram")?),
                compile: transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
                >(symbol(c"nvrtcCompileProgram")?),
                log_size: transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Program, *mut usize) -> c_int,
                >(symbol(c"nvrtcGetProgramLogSize")?),
                log: transmute::<*mut c_void, unsafe extern "C" fn(Program, *mut c_char) -> c_int>(
                    symbol(c"nvrtcGetProgramLog")?,
                ),
                code_size: transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(Program, *mut usize) -> c_int,
                >(symbol(c"nvrtcGetCUBINSize")?),
                code: transmute::<*mut c_void, unsafe extern "C" fn(Program, *mut c_char) -> c_int>(
                    symbol(c"nvrtcGetCUBIN")?,
                ),
                destroy: transmute::<*mut c_void, unsafe extern "C" fn(*mut Program) -> c_int>(
                    symbol(c"nvrtcDestroyProgram")?,
                ),
            }
        };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both are written.
        let status = unsafe { (functions.version)(&mut major, &mut minor) };
        if status != 0 {
            return Err(format!("NVRTC does not tell its version ({status})"));
        }
        Ok(Nvrtc {
            functions,
            version: (major, minor),
        })
    }

    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The machine code for GPUs of an architecture such as 90, or what the compiler says of the text.
    pub fn compile(&self, text: &str, architecture: u32) -> Result<Vec<u8>, String> {
        let text = CString::new(text).map_err(|_| "the text has a byte 0".to_string())?;
        let options = [
            format!("--gpu-architecture=sm_{architecture}"),
            "--std=c++17".to_string(),
            // Products and sums stay apart, as they are on the CPU and in libtorch.
            "--fmad=false".to_string(),
        ];
        let options = options
            .into_iter()
            .map(|option| CString::new(option).map_err(|_| "an option has a byte 0".to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let functions = &self.functions;
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: the text and the name are C strings, and there are no headers.
        let created = unsafe {
            (functions.create)(
                &mut program,
                text.as_ptr(),
                c"kernel.cu".as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        if created != 0 {
            return Err(format!("NVRTC makes no program ({created})"));
        }
        // SAFETY: the program was made, and the options are C strings that outlive the call.
        let status =
            unsafe { (functions.compile)(program, pointers.len() as c_int, pointers.as_ptr()) };
        let result = if status == 0 {
            self.read(program, functions.code_size, functions.code)
        } else {
            let log = self.read(program, functions.log_size, functions.log)?;
            let log = String::from_utf8_lossy(&log)
                .trim_end_matches('\0')
                .to_string();
            Err(format!("NVRTC refuses a kernel ({status}): {log}"))
        };
        // SAFETY: the program was made and is not used again.
        unsafe { (functions.destroy)(&mut program) };
        result
    }

    fn read(
        &self,
        program: Program,
        size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
        bytes: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    ) -> Result<Vec<u8>, String> {
        let mut length = 0;
        // SAFETY: the program exists, and the length is written.
        let status = unsafe { size(program, &mut length) };
        let mut result = vec![0u8; length];
        // SAFETY: the buffer has the length that the library asked for.
        let status = status | unsafe { bytes(program, result.as_mut_ptr().cast()) };
        if status == 0 {
            Ok(result)
        } else {
            Err(format!("NVRTC does not hand over its result ({status})"))
        }
    }
}

/// Where the compiler may be: beside the CUDA runtime that libtorch has loaded, or where the loader looks.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let runtime =
        Library::open(c"libcudart.so.13").and_then(|it| it.symbol(c"cudaRuntimeGetVersion"));
    if let Ok(address) = runtime
        && let Some(folder) = file_of(address).as_deref().and_then(Path::parent)
    {
        folders.push(folder.to_path_buf());
    }
    folders.push(PathBuf::new());
    folders
}
