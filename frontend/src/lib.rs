//! What both executables share: sources on disk, settings, diagnostics for people and for programs.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arguments;
pub mod data;
pub mod description;
pub mod files;
pub mod planned;
pub mod render;
pub mod settings;

pub use description::Description;
pub use files::Files;
pub use render::{Format, Look, render};
pub use settings::parse_setting;
