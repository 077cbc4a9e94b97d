//! Why data cannot be used: a sentence that names the place, and how to mend it.

use std::fmt;
use std::io;
use std::path::Path;

/// What is wrong with files or with what is asked of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataError {
    /// A short, stable name, as diagnostics have: `unreadable-file`, `bad-row`, `value-out-of-range`.
    pub code: &'static str,
    /// One sentence that stands alone.
    pub message: String,
    pub help: Option<String>,
}

/// Why a row does not fit, without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What follows the place: "has no field `question`".
    pub message: String,
    pub help: Option<String>,
}

impl Misfit {
    pub fn new(message: impl Into<String>) -> Misfit {
        Misfit {
            message: message.into(),
            help: None,
        }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Misfit {
        self.help = Some(help.into());
        self
    }

    /// The same of the row at a place: "`train.jsonl`, line 3".
    pub(crate) fn at(self, place: &str) -> DataError {
        let error = DataError::new("bad-row", format!("{place}: {}", self.message));
        DataError {
            help: self.help,
            ..error
        }
    }
}

impl DataError {
    fn new(code: &'static str, message: impl Into<String>) -> DataError {
        DataError {
            code,
            message: message.into(),
            help: None,
        }
    }

    /// An argument of a data source that cannot be right.
    pub fn argument(message: impl Into<String>) -> DataError {
        DataError::new("value-out-of-range", message)
    }

    pub(crate) fn file(path: &Path, why: impl fmt::Display) -> DataError {
        let message = format!("`{}` cannot be read: {why}", path.display());
        DataError::new("unreadable-file", message)
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> DataError {
        DataError::file(path, reason(error))
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> DataError {
        self.help = Some(help.into());
        self
    }
}

impl From<Misfit> for DataError {
    /// Of what is no row: an argument.
    fn from(misfit: Misfit) -> DataError {
        DataError {
            help: misfit.help,
            ..DataError::argument(misfit.message)
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DataError {}

/// `no such file or directory`: the number of the error helps nobody.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_string(),
        io::ErrorKind::StorageFull => "the disk is full".to_string(),
        io::ErrorKind::PermissionDenied => "access is denied".to_string(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            text.to_lowercase()
        }
    }
}
