//! Models in the Hugging Face layout against what `transformers` says of them, and folders that are wrong.
//!
//! `tests/pretrained/models.py` makes the models: those of every family lie here, further ones are made anew, and what
//! is saved of them is checked by `transformers`, when `cargo xtask transformers` runs the tests that are ignored.
#![allow(clippy::unwrap_used)]

#[path = "pretrained/folder.rs"]
mod folder;
#[path = "pretrained/hostile.rs"]
mod hostile;
#[path = "pretrained/loading.rs"]
mod loading;
#[path = "pretrained/reference.rs"]
mod reference;
