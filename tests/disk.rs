//! The files of this repository, for tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path from the workspace (with `/`) and text of all files below a folder with this extension, by path.
pub(crate) fn files_below(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    let matching = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension));
    let mut files: Vec<(String, String)> = matching
        .map(|path| {
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (
                path.strip_prefix(root())
                    .unwrap_or(&path)
                    .display()
                    .to_string(),
                text,
            )
        })
        .collect();
    files.sort();
    files
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.') || name == "target");
        match path.is_dir() {
            true if !hidden => collect(&path, found),
            true => {}
            false => found.push(path),
        }
    }
}
