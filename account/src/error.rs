//! What is wrong with the numbers of a model, or with the file that holds them.

use std::fmt;
use std::path::{Path, PathBuf};

/// An argument of a resource (`model.causal_lm`, `data.arithmetic`, `sampler.rollout`) that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentError {
    /// The argument at fault, as the language names it.
    pub argument: &'static str,
    /// One lower-case sentence that stands alone.
    pub message: String,
}

impl ArgumentError {
    pub fn new(argument: &'static str, message: impl Into<String>) -> ArgumentError {
        ArgumentError {
            argument,
            message: message.into(),
        }
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ArgumentError {}

/// A configuration that cannot be read, or describes no model that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file at fault; absent where the folder holds none.
    pub path: Option<PathBuf>,
    /// One lower-case sentence; it stands alone where there is no file.
    pub reason: String,
}

impl Unreadable {
    pub(crate) fn file(path: &Path, reason: impl fmt::Display) -> Unreadable {
        Unreadable {
            path: Some(path.to_path_buf()),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {}", path.display(), self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Unreadable {}
