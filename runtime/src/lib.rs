//! The runtime: what executes a plan.

mod asserted;
pub mod assertion;
mod bench;
pub mod block;
mod checkpoint;
mod clock;
pub mod command;
mod console;
pub mod cuda;
pub mod data;

mod environment;
pub mod error;
pub mod executor;
pub mod extent;
mod folder;
pub mod generate;
pub mod memory;
pub mod model;
mod profile;
mod progress;
pub mod random;
pub mod report;
pub mod resource;
pub mod run;
mod stage;
pub mod state;
pub mod statistics;
mod summary;
pub mod tensor;
mod tensorboard;
mod text;
pub mod tokenizer;
pub mod torch;
pub mod trainable;
mod watchdog;
