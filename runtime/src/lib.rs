//! The runtime: what executes a plan.

pub mod assertion;
pub mod block;
pub mod cuda;
pub mod eager;
pub mod error;
pub mod extent;
pub mod random;
pub mod tensor;
mod text;
pub mod torch;
