//! The files that the paths of a command line mean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::source::SourceMap;
use rlp_frontend::Files;
use rlp_frontend::files::{read_text, reason};
use rlp_grammar::ast::Span;

/// The path that the text of standard input goes by.
pub(crate) const STANDARD_INPUT: &str = "<stdin>";

/// The path of one file, or of standard input, which is read into `files`.
pub(crate) fn one(path: &Path, files: &mut Files) -> String {
    if path.as_os_str() == "-" {
        files.add(STANDARD_INPUT, read_text(io::stdin().lock()));
        return STANDARD_INPUT.to_string();
    }
    Files::path_of(path)
}

/// The paths of all files, in the order given; those of a folder in alphabetical order. What is wrong with one
/// of them is said by whoever reads it.
pub(crate) fn all(paths: &[PathBuf], files: &mut Files) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            below(path, files, &mut found);
            if found.len() == before {
                found.push(unreadable(
                    path,
                    "it is a folder without `.rlp` files",
                    files,
                ));
            }
        } else {
            found.push(one(path, files));
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// Adds the `.rlp` files of a folder and of the folders in it. Hidden ones and links to folders are left out, so
/// that it ends.
fn below(folder: &Path, files: &mut Files, found: &mut Vec<String>) {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut paths: Vec<PathBuf> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(error) => return found.push(unreadable(folder, &reason(&error), files)),
    };
    paths.sort();
    for path in paths {
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        {
            continue;
        }
        if path.is_dir() {
            if !path.is_symlink() {
                below(&path, files, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rlp") {
            found.push(Files::path_of(&path));
        }
    }
}

/// The diagnostic of a file that cannot be read, as the compiler gives it.
pub(crate) fn refused(path: &str, why: &str, sources: &mut SourceMap) -> Diagnostic {
    let source = sources.add(path, "".into());
    let span = Span {
        source,
        start: 0,
        end: 0,
    };
    Diagnostic::error(
        "unreadable-file",
        span,
        format!("`{path}` cannot be read: {why}"),
    )
}

fn unreadable(path: &Path, why: &str, files: &mut Files) -> String {
    let path = Files::path_of(path);
    files.add(&path, Err(why.to_string()));
    path
}
