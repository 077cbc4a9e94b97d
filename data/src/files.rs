//! Which files a path means: one, those of a folder, or those whose names match a pattern.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::DataError;

/// What is in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    Parquet,
    /// Plain text.
    Text,
}

impl Format {
    /// Whether a file of this name in a folder is one of its files.
    fn takes(self, name: &str) -> bool {
        let ends = |end: &str| name.to_lowercase().ends_with(end);
        match self {
            Format::Jsonl => ends(".jsonl") || ends(".ndjson"),
            Format::Parquet => ends(".parquet"),
            Format::Text => true,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Jsonl => "`.jsonl` or `.ndjson`",
            Format::Parquet => "`.parquet`",
            Format::Text => "any",
        }
    }
}

/// The most files of one source, and how deep folders may lie in each other.
const MOST_FILES: usize = 100_000;
const MOST_DEPTH: usize = 16;

/// The files that `paths` mean, each once; those of a folder and of a pattern in the order of their paths.
///
/// A path is read from `folder`, or, where nothing is there by that name, from where the program runs. `*` stands for any part of a
/// name, `?` for one character. Hidden files of a folder are left out.
///
/// # Errors
/// Nothing is there, it is neither a file nor a folder, or a folder holds no such file.
pub fn found(paths: &[String], folder: &Path, format: Format) -> Result<Vec<PathBuf>, DataError> {
    let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
    for path in paths {
        if path.is_empty() {
            return Err(DataError::argument("a path is empty"));
        }
        let near = plain(&folder.join(path));
        let here = Path::new(path);
        let own = match of_path(&near, format)? {
            Some(own) => own,
            None => match of_path(here, format)? {
                Some(own) if near != here => own,
                _ => return Err(nothing(&near)),
            },
        };
        for file in own {
            if seen.insert(file.clone()) {
                files.push(file);
            }
            if files.len() > MOST_FILES {
                let message = format!("there are more than {MOST_FILES} files");
                return Err(DataError::file(&near, message));
            }
        }
    }
    if files.is_empty() {
        return Err(DataError::argument("no path is given"));
    }
    Ok(files)
}

fn nothing(path: &Path) -> DataError {
    let error = match has_pattern(path) {
        true => DataError::file(path, "no file has such a name"),
        false => DataError::file(path, "there is no such file"),
    };
    match path.is_absolute() {
        true => error,
        false => error.help(
            "a path is read from the folder of the file that names it, or from where `rlpc` runs",
        ),
    }
}

/// The files that one path means; `None` if nothing is there.
fn of_path(path: &Path, format: Format) -> Result<Option<Vec<PathBuf>>, DataError> {
    match fs::metadata(path) {
        // A device or a pipe may be endless, and cannot be read twice.
        Ok(known) if known.is_file() => Ok(Some(vec![path.to_path_buf()])),
        Ok(known) if known.is_dir() => {
            let mut files = Vec::new();
            below(path, format, 0, &mut files)?;
            if files.is_empty() {
                let message = format!(
                    "no file in this folder has the extension {}",
                    format.extension()
                );
                return Err(DataError::file(path, message));
            }
            files.sort();
            Ok(Some(files))
        }
        Ok(_) => Err(DataError::file(path, "it is neither a file nor a folder")),
        Err(_) if has_pattern(path) => {
            let mut files = matching(path)?;
            files.sort();
            Ok((!files.is_empty()).then_some(files))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataError::io(path, &error)),
    }
}

fn below(
    folder: &Path,
    format: Format,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    if depth > MOST_DEPTH {
        return Err(DataError::file(
            folder,
            "folders lie too deep in each other",
        ));
    }
    let entries = fs::read_dir(folder).map_err(|error| DataError::io(folder, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| DataError::io(folder, &error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        // A link to a folder may lead back to where it is.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            below(&path, format, depth + 1, files)?;
        } else if format.takes(&name) && path.is_file() {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            let message = format!("there are more than {MOST_FILES} files");
            return Err(DataError::file(folder, message));
        }
    }
    Ok(())
}

fn has_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?'])
}

/// The files whose paths match, part by part.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut reached = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        let is_pattern = matches!(part, Component::Normal(_)) && name.contains(['*', '?']);
        let mut next = Vec::new();
        for folder in &reached {
            if !is_pattern {
                next.push(folder.join(part));
                continue;
            }
            let read = match folder.as_os_str().is_empty() {
                true => Path::new("."),
                false => folder,
            };
            let Ok(entries) = fs::read_dir(read) else {
                continue;
            };
            for entry in entries.flatten() {
                let own = entry.file_name().to_string_lossy().into_owned();
                if (!own.starts_with('.') || name.starts_with('.')) && matches_name(&name, &own) {
                    next.push(folder.join(entry.file_name()));
                }
                if next.len() > MOST_FILES {
                    let message = format!("there are more than {MOST_FILES} files");
                    return Err(DataError::file(pattern, message));
                }
            }
        }
        reached = next;
    }
    reached.retain(|path| path.is_file());
    Ok(reached)
}

/// Whether a name is one of a pattern, in time proportional to the product of their lengths.
fn matches_name(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Which beginnings of the name the pattern so far matches.
    let mut matched = vec![false; name.len() + 1];
    matched[0] = true;
    for &own in &pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match own {
                '*' => matched[at] || at > 0 && next[at - 1],
                '?' => at > 0 && matched[at - 1],
                other => at > 0 && matched[at - 1] && name[at - 1] == other,
            };
        }
        matched = next;
    }
    matched[name.len()]
}

/// The path without `.` parts, as messages show it.
fn plain(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}
