//! Embeds every `KIND/FILE.rlp` of this folder, and which block each of them defines.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut paths = Vec::new();
    for kind in names(&root)? {
        if kind == "src" || !root.join(&kind).is_dir() {
            continue;
        }
        // Cargo looks through the whole folder, so that a new file is noticed too.
        println!("cargo::rerun-if-changed={kind}");
        let files = names(&root.join(&kind))?;
        paths.extend(
            files
                .iter()
                .filter(|file| file.ends_with(".rlp"))
                .map(|file| format!("{kind}/{file}")),
        );
    }

    let mut files = String::new();
    let mut blocks: BTreeMap<(String, String), String> = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(root.join(&path))?;
        for (kind, name) in text.lines().filter_map(head) {
            if let Some(other) = blocks.insert((kind.to_string(), name.to_string()), path.clone()) {
                return Err(format!("`{kind}.{name}` is defined in {other} and in {path}").into());
            }
        }
        writeln!(
            files,
            "    ({path:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{path}\"))),"
        )?;
    }
    let mut table = String::new();
    for ((kind, name), path) in &blocks {
        writeln!(table, "    ({kind:?}, {name:?}, {path:?}),")?;
    }

    let generated = format!(
        "static FILES: &[(&str, &str)] = &[\n{files}];\n\nstatic BLOCKS: &[(&str, &str, &str)] = &[\n{table}];\n"
    );
    fs::write(
        Path::new(&env::var("OUT_DIR")?).join("library.rs"),
        generated,
    )?;
    Ok(())
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(
            entry?
                .file_name()
                .into_string()
                .map_err(|name| format!("{name:?} is not UTF-8"))?,
        );
    }
    names.sort();
    Ok(names)
}

/// Kind and name of the block whose head a line begins: `loss ppo_clip(`, `native sampler rollout(`.
fn head(line: &str) -> Option<(&str, &str)> {
    let (head, _) = line
        .strip_prefix("native ")
        .unwrap_or(line)
        .split_once('(')?;
    let (kind, name) = head.split_once(' ')?;
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    (is_word(kind) && is_word(name)).then_some((kind, name))
}
