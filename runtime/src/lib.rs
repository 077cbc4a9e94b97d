//! The runtime: what executes a plan.

pub mod cuda;
