//! The passes.

mod sinks;

pub use sinks::{Roots, sinks_of};
