//! `cargo xtask setup` from the outside: what it refuses, and its downloads from a package index of the test's own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn downloads_survive_every_mishap() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fetch_libtorch.py");
    let output = Command::new("python3")
        .arg("-B")
        .arg(tests)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn another_release_named_by_the_user_is_refused() {
    let torch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("old/torch");
    fs::create_dir_all(torch.join("lib")).unwrap();
    fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
    fs::write(torch.join("version.py"), "__version__ = '2.9.1+cpu'\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("setup")
        .env("LIBTORCH", &torch)
        .output()
        .unwrap();
    let expected = format!(
        "error: `LIBTORCH` names libtorch 2.9.1+cpu in {}, and rlpc needs 2.11.0\n\
         help: unset `LIBTORCH`, or let it name the `torch` folder of libtorch 2.11.0\n",
        torch.display()
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_unknown_command_shows_the_usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("sutep")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("usage: cargo xtask")
    );
    assert_eq!(output.status.code(), Some(2));
}
