//! The runs below a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::Run;

/// A folder below the one that is listed.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    pub runs: Vec<Run>,
    /// Folders that hold no run.
    pub others: Vec<PathBuf>,
}

/// The runs in the folders right below `parent`, the oldest first as far as their names tell.
///
/// # Errors
/// The folder cannot be read.
pub fn list(parent: &Path) -> Result<Listed, String> {
    let entries = fs::read_dir(parent)
        .map_err(|error| format!("`{}` cannot be read: {error}", parent.display()))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let mut listed = Listed {
        runs: Vec::new(),
        others: Vec::new(),
    };
    for folder in folders {
        match Run::read(&folder) {
            Ok(run) => listed.runs.push(run),
            Err(_) => listed.others.push(folder),
        }
    }
    listed
        .runs
        .sort_by_key(|run| (run.started(), run.name.clone()));
    Ok(listed)
}
