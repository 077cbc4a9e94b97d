//! What both executables share: sources on disk, settings, diagnostics for people and for programs.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod data;
pub mod files;
pub mod render;
pub mod settings;

pub use files::Files;
pub use render::{Format, Look, render};
pub use settings::parse_setting;
