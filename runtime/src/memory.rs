//! What the allocator does with memory that is freed.
#![allow(unsafe_code, reason = "a setting of the C library")]

/// Keeps what is freed for what is asked for next. A step frees and asks again for the same hundreds of mebibytes, and
/// glibc would give them back to the system each time, which then clears every page anew.
pub fn keep_freed() {
    /// The largest block that glibc lets be taken from the heap.
    const LARGEST_IN_HEAP: libc::c_int = 32 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: both are settings that any number can be given for.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_IN_HEAP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
