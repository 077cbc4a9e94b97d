//! The compiler: text in, diagnostics and a plan out. It reads no file, prints nothing and holds no state.

pub mod array;
pub mod codegen;
pub mod diagnostic;
pub mod doc;
pub mod dump;
pub mod elaborate;
pub mod elementwise;
pub mod eval;
pub mod explain;
pub mod graph;
pub mod kernel;
pub mod pass;
pub mod phase;
pub mod plan;
pub mod program;
pub mod resolved;
pub mod source;
mod text_op;
pub mod ty;
pub mod verify;

pub use program::{Checked, Settings, block, check};
