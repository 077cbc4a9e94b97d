//! What a folder in the Hugging Face layout says of its model, without its weights.

mod config;
mod family;
mod fields;

pub use config::{CONFIG, Described, GENERATION_CONFIG, read};
pub use fields::{Fields, read as read_bounded};
