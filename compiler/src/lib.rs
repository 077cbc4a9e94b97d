//! The compiler: text in, diagnostics and a plan out. It reads no file, prints nothing and holds no state.

pub mod array;
pub mod dump;
pub mod eval;
pub mod graph;
pub mod pass;
pub mod phase;
pub mod plan;
pub mod ty;
pub mod verify;
