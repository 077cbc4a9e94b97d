//! Training, from the text of a program to the weights.
#![allow(clippy::unwrap_used)]

#[path = "train/asserted.rs"]
mod asserted;
#[path = "train/exact.rs"]
mod exact;
#[path = "train/executors.rs"]
mod executors;
#[path = "train/files.rs"]
mod files;
#[path = "train/pairs.rs"]
mod pairs;
#[path = "train/program.rs"]
mod program;
#[path = "train/samplers.rs"]
mod samplers;
#[path = "train/small.rs"]
mod small;
#[path = "train/stages.rs"]
mod stages;
#[path = "train/states.rs"]
mod states;
#[path = "train/trainable.rs"]
mod trainable;
#[path = "train/transforms.rs"]
mod transforms;
