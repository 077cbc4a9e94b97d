//! Functions of libraries that are opened at run time.

use std::ffi::{CStr, c_char, c_void};

/// A library that stays open for the rest of the process.
#[derive(Clone, Copy)]
pub(super) struct Library(*mut c_void);

// SAFETY: a handle of the loader is a number to its functions, which all threads may call.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// By name, or by path if it has a slash; its symbols are visible to libraries that are opened later.
    pub(super) fn open(name: &CStr) -> Result<Library, String> {
        // SAFETY: the name is a C string, and initialisers of these libraries only register what they hold.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if handle.is_null() {
            Err(loader_error())
        } else {
            Ok(Library(handle))
        }
    }

    /// The address of a symbol.
    pub(super) fn symbol(self, name: &CStr) -> Result<*mut c_void, String> {
        // SAFETY: the handle was opened and is never closed.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            Err(loader_error())
        } else {
            Ok(address)
        }
    }
}

/// What the loader says of its last failure on this thread.
fn loader_error() -> String {
    // SAFETY: dlerror returns a C string that stays until this thread's next call of the loader, or null.
    let message: *const c_char = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the loader does not say why".to_string();
    }
    // SAFETY: as above, and it is not null.
    unsafe { CStr::from_ptr(message) }
        .to_string_lossy()
        .into_owned()
}

/// The path of the file from which a symbol of this process came.
pub(super) fn file_of(address: *const c_void) -> Option<std::path::PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr fills in the structure, or returns 0.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: all zeros is a valid value, and dladdr has filled it in.
    let info = unsafe { info.assume_init() };
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's names are C strings that live as long as the library.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(std::path::PathBuf::from(
        name.to_string_lossy().into_owned(),
    ))
}
