//! Machine code for kernels: one function each, compiled in milliseconds by Cranelift.
//!
//! `cpu::compile` turns a [`Kernel`](crate::kernel::Kernel) into a [`Code`](cpu::Code) or says why it cannot;
//! [`Launch::new`](launch::Launch::new) binds it to sizes and arrays, which it checks; [`Launch::run`](launch::Launch::run)
//! runs it on so many threads, with results that do not depend on how many. A [`Cache`](cache::Cache) keeps one code for
//! all kernels of a structure.

pub mod cache;
pub mod cpu;
pub mod cuda;
mod frame;
pub mod launch;
pub mod text;

use std::fmt;

/// The floating-point format of reals. Ints are `i64` and bools bytes, 0 or 1, in both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Precision {
    F32,
    F64,
}

impl Precision {
    /// Bytes of a real in memory.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F64 => 8,
        }
    }
}

/// Why a kernel has no machine code: a phrase to follow "because".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Declined(pub String);

impl Declined {
    pub(crate) fn new(reason: impl Into<String>) -> Declined {
        Declined(reason.into())
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
