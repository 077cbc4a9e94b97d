//! The compiler: text in, diagnostics and a plan out. It reads no file, prints nothing and holds no state.

pub mod array;
pub mod diagnostic;
pub mod graph;
pub mod phase;
pub mod plan;
pub mod source;
pub mod ty;
pub mod program;

pub use program::{Checked, Settings, block, check, check_library};
