//! What a run takes, known before it: the shapes of its models, the memory of each phase, the operations of a step.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod error;
pub mod model;
pub mod pretrained;

pub use error::{ArgumentError, Unreadable};
