//! The engine as an executable; a test of it makes `cargo test --workspace` build it beside `rlpc`.
#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn it_finds_libtorch_with_nothing_in_the_environment() {
    let output = Command::new(env!("CARGO_BIN_EXE_rlpc-engine"))
        .env_clear()
        .output()
        .unwrap();
    // 127 is the loader's, with "error while loading shared libraries".
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_some_and(|code| code != 127),
        "{said}"
    );
}
