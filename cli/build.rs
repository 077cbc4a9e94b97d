//! Lists the examples, so that `rlpc doc --papers` knows them wherever it runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=examples");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut paths = Vec::new();
    below(&root.join("examples"), &mut paths)?;
    paths.sort();
    let mut list =
        String::from("/// Path and text of every example.\nconst EXAMPLES: &[(&str, &str)] = &[\n");
    for path in paths {
        let name = path
            .strip_prefix(&root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let _ = writeln!(
            list,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        );
    }
    list += "];\n";
    fs::write(
        PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("examples.rs"),
        list,
    )
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rlp") {
            found.push(path);
        }
    }
    Ok(())
}
