//! Memory of the process: what the allocator does with what is freed, and how much was in use at most.
#![allow(unsafe_code, reason = "a setting of the C library")]

use std::fs;

/// Keeps what is freed for what is asked for next. A step frees and asks again for the same hundreds of mebibytes, and
/// glibc would give them back to the system each time, which then clears every page anew. All threads take from one heap:
/// what one of them frees then serves the others too, where heaps of their own would each hold its largest need.
pub fn keep_freed() {
    /// The largest block that glibc lets be taken from the heap.
    const LARGEST_IN_HEAP: libc::c_int = 32 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: all are settings that any number can be given for.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_IN_HEAP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// The most resident memory since the process began, or since [`forget_peak`], in bytes; `None` where the system does not
/// tell.
pub(crate) fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(kib << 10)
}

/// From now on [`peak`] is that of what follows. Where the system does not let it be, it stays that of all.
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}
