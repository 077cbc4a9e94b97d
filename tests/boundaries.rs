//! Which crate may depend on which, so that checking a file never waits for libtorch to load.

use std::collections::BTreeSet;
use std::process::Command;

/// The names of all packages that a package is built from, itself included.
fn packages(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
        ])
        .args(["--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let listed = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<_> = listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(
        names.contains(package),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    names
}

fn links_libtorch(package: &str) -> bool {
    packages(package).contains("torch-sys")
}

#[test]
fn only_the_runtime_links_libtorch() {
    for light in [
        "rlp-grammar",
        "rlp-stdlib",
        "rlp-text",
        "rlp-compiler",
        "rlp-frontend",
        "rlp-record",
        "rlp-locate",
        "rlp-transformer",
        "rlp-data",
        "rlp-account",
        "rlpc",
    ] {
        assert!(
            !links_libtorch(light),
            "{light} must not depend on torch-sys"
        );
    }
    assert!(links_libtorch("rlp-runtime"));
}

#[test]
fn a_stage_knows_only_the_stages_before_it() {
    let allowed: [(&str, &[&str]); 6] = [
        ("rlp-grammar", &[]),
        ("rlp-stdlib", &[]),
        ("rlp-text", &[]),
        ("rlp-record", &[]),
        ("rlp-data", &[]),
        ("rlp-compiler", &["rlp-grammar", "rlp-text"]),
    ];
    for (package, before) in allowed {
        let mut ours = packages(package);
        ours.retain(|name| name.starts_with("rlp-") && name != package);
        assert_eq!(
            ours,
            before.iter().map(|&name| name.to_owned()).collect(),
            "of {package}"
        );
    }
}
