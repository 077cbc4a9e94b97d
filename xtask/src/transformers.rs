//! Models that `transformers` makes, against what rlpc says of them and saves.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What makes and checks them, in the environment of the peers, which it installs if it is not there.
const SCRIPT: &str = "tests/pretrained/models.py";

pub(crate) fn compare(checkout: &Path) -> Result<(), String> {
    let folder = checkout.join("target/transformers");
    let (models, saved) = (folder.join("models"), folder.join("saved"));
    for folder in [&models, &saved] {
        // What an earlier run left must not pass for this one's.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    script(checkout, &["make", "--all", "--seed", "1"], &models)?;
    let tests = [
        "test",
        "--workspace",
        "--test",
        "pretrained",
        "--test",
        "engine",
    ];
    let mut test = super::command(checkout, &tests);
    test.args(["models_made_anew", "--", "--ignored"])
        .env("RLPC_MODELS", &models)
        .env("RLPC_SAVED", &saved);
    run(&mut test, "the comparison with transformers")?;
    script(checkout, &["check"], &saved)
}

fn script(checkout: &Path, arguments: &[&str], folder: &Path) -> Result<(), String> {
    let mut python = Command::new("python3");
    python
        .current_dir(checkout)
        .arg(SCRIPT)
        .args(arguments)
        .arg(folder);
    run(&mut python, SCRIPT)
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{what} failed")),
        Err(error) => Err(format!("{what} cannot be started: {error}")),
    }
}
