//! `cargo xtask`: what a fresh machine needs to build, run and test rlpc.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for the terminal"
)]

mod bench;
mod papers;
mod quickstart;
mod setup;
mod transformers;

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup        fetch libtorch, once for all checkouts of this user
  run [ARGS]   setup, build, and train examples/quickstart.rlp; ARGS go to `rlpc run`
  test         setup, build, and run every test, those of the standard library included
  transformers make tiny models with transformers, and compare logits, responses and saved weights (installs it once, 2 GB)
  ci           check formatting and lints, test, and compare with transformers
  quickstart   train the quickstart with three seeds, and check what it promises (about four minutes)
  papers [P]   run the comparisons of the papers, or of those named, with three seeds, and write docs/papers.md (about half an hour)
  kills [N]    kill a run N times (50 if absent), while it saves and while it does not, and check that it ends in the same bits
  browser      open the page of a run in headless Chromium, in light and dark, with pictures in target/browser (needs chromium and node)
  bench        measure rlpc beside others, and write the table of benches/RESULTS.md (`bench --help` says more)";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ is a folder of the checkout");
    let done = match arguments[..] {
        ["setup"] => setup::setup(checkout),
        ["run", ref further @ ..] => run(checkout, further),
        ["test"] => test(checkout),
        ["transformers"] => compare_pretrained(checkout),
        ["ci"] => ci(checkout),
        ["quickstart"] => quickstart_seeds(checkout),
        ["kills"] => kills(checkout, "50"),
        ["kills", number] => kills(checkout, number),
        ["browser"] => browser(checkout),
        ["papers", ref named @ ..] => compare_papers(checkout, named),
        ["bench", "--help"] => {
            println!("{}", bench::USAGE);
            Ok(())
        }
        ["bench", ref further @ ..] => compare(checkout, further),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(checkout: &Path, further: &[&str]) -> Result<(), String> {
    setup::setup(checkout)?;
    build(checkout)?;
    // This process becomes the run, so that its exit code and an interrupt are the user's own.
    let error = rlpc(checkout)
        .args(["run", "examples/quickstart.rlp"])
        .args(further)
        .exec();
    Err(format!("rlpc cannot be started: {error}"))
}

fn test(checkout: &Path) -> Result<(), String> {
    setup::setup(checkout)?;
    cargo(checkout, &["test", "--workspace"])?;
    build(checkout)?;
    match rlpc(checkout).args(["test", "--std"]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("`rlpc test --std` failed".to_string()),
        Err(error) => Err(format!("rlpc cannot be started: {error}")),
    }
}

/// The command that was built: through `cargo run` all that the two executables share would be built anew, since one
/// package alone asks for fewer features of its dependencies than all do.
fn rlpc(checkout: &Path) -> Command {
    let mut command = Command::new(checkout.join("target/debug/rlpc"));
    command.current_dir(checkout);
    command
}

fn ci(checkout: &Path) -> Result<(), String> {
    setup::setup(checkout)?;
    cargo(checkout, &["fmt", "--all", "--check"])?;
    cargo(
        checkout,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    test(checkout)?;
    compare_pretrained(checkout)
}

fn compare_pretrained(checkout: &Path) -> Result<(), String> {
    setup::setup(checkout)?;
    transformers::compare(checkout)
}

fn quickstart_seeds(checkout: &Path) -> Result<(), String> {
    setup::setup(checkout)?;
    build(checkout)?;
    quickstart::seeds(checkout)
}

/// The same test as always, with more kills.
fn kills(checkout: &Path, number: &str) -> Result<(), String> {
    setup::setup(checkout)?;
    let name = "resume::a_run_that_is_killed_again_and_again_ends_in_the_same_bits";
    let engine = ["test", "-p", "rlp-runtime", "--test", "engine"];
    let only = ["--", "--exact", name, "--nocapture"];
    let status = command(checkout, &[&engine[..], &only].concat())
        .env("RLPC_KILLS", number)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("a run that was killed did not end in the same bits".to_string()),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}

/// Two short runs, each page alone and both side by side.
fn browser(checkout: &Path) -> Result<(), String> {
    setup::setup(checkout)?;
    build(checkout)?;
    let done = |command: &mut Command| match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{command:?} failed")),
        Err(error) => Err(format!("{command:?} cannot be started: {error}")),
    };
    if Command::new("chromium").arg("--version").output().is_err() {
        done(Command::new("apt-get").args([
            "install",
            "-y",
            "--no-install-recommends",
            "chromium",
        ]))?;
    }
    let folder = checkout.join("target/browser");
    let _ = std::fs::remove_dir_all(&folder);
    let runs = ["a", "b"].map(|name| folder.join(name));
    for (run, lr) in runs.iter().zip(["lr=15e-4", "lr=3e-3"]) {
        let mut short = rlpc(checkout);
        short.args([
            "run",
            "examples/quickstart.rlp",
            "--quiet",
            "--steps",
            "6",
            "--set",
            lr,
        ]);
        done(short.arg("--run-dir").arg(run))?;
    }
    let both = folder.join("both.html");
    done(
        rlpc(checkout)
            .arg("report")
            .args(&runs)
            .arg("--out")
            .arg(&both),
    )?;
    let pages = runs.iter().map(|run| run.join("report.html"));
    done(
        Command::new("node")
            .arg(checkout.join("tests/browser/check.mjs"))
            .arg(&folder)
            .args(pages)
            .arg(&both),
    )
}

fn compare_papers(checkout: &Path, named: &[&str]) -> Result<(), String> {
    setup::setup(checkout)?;
    build(checkout)?;
    papers::papers(checkout, named)
}

fn compare(checkout: &Path, further: &[&str]) -> Result<(), String> {
    if !further.contains(&"--report") && !further.contains(&"--release") {
        setup::setup(checkout)?;
        build(checkout)?;
    }
    bench::bench(checkout, further)
}

/// Both executables, because `rlpc` starts the engine that stands beside it.
fn build(checkout: &Path) -> Result<(), String> {
    cargo(checkout, &["build", "--workspace", "--bins"])
}

fn cargo(checkout: &Path, arguments: &[&str]) -> Result<(), String> {
    match command(checkout, arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("`cargo {}` failed", arguments.join(" "))),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}

fn command(checkout: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(checkout).args(arguments);
    command
}
