//! The engine as an executable; a test of it makes `cargo test --workspace` build it beside `rlpc`.
#![allow(clippy::unwrap_used)]

#[path = "engine/adapter.rs"]
mod adapter;
#[path = "engine/bench.rs"]
mod bench;
#[path = "engine/explain.rs"]
mod explain;
#[path = "engine/guard.rs"]
mod guard;
#[path = "engine/kept.rs"]
mod kept;
#[path = "engine/pretrained.rs"]
mod pretrained;
#[path = "engine/resume.rs"]
mod resume;
#[path = "engine/run.rs"]
mod run;
#[path = "engine/shown.rs"]
mod shown;
#[path = "engine/state.rs"]
mod state;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

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

/// A folder of one test, empty at first and removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// The engine in this folder, on one thread.
    fn engine(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rlpc-engine"));
        command
            .current_dir(&self.0)
            .args(arguments)
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null());
        command
    }

    fn said(&self, arguments: &[&str]) -> Said {
        self.engine(arguments).output().unwrap().into()
    }

    /// What the engine says under a limit of the shell: after `-f 24` no file has more than so many blocks of 512 bytes. With the
    /// signal ignored, a write fails then as on a full disk.
    fn limited(&self, limit: &str, arguments: &str) -> Said {
        let engine = env!("CARGO_BIN_EXE_rlpc-engine");
        let text = format!("trap '' XFSZ; ulimit {limit}; exec '{engine}' {arguments}");
        let mut command = Command::new("sh");
        command.current_dir(&self.0).args(["-c", &text]);
        command.env("OMP_NUM_THREADS", "1").output().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Said {
    out: String,
    err: String,
    code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            out: text(output.stdout),
            err: text(output.stderr),
            code: output.status.code(),
        }
    }
}

impl Said {
    fn json(&self) -> Vec<Json> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

const LOSSES: &str = r#"
/// A loss of a file of one's own.
///
/// Source: none.
/// result = mean x² · scale
loss square(x: real[prompt, sample], scale: real = 1.0) -> real {
    mean(x * x) * scale
}

test "square is what it says" {
    let x: real[prompt, sample] = [[1, 2], [3, 4]]
    assert square(x) ~= 7.5 within 1e-9
}

test "square has a wrong test" {
    let x: real[prompt, sample] = [[1, 2], [3, 4]]
    assert x ~= [[1, 2], [3, 5]] within 1e-9
}
"#;

#[test]
fn an_assertion_stops_an_evaluation_with_either_executor() {
    let folder = Folder::new("asserted");
    let block = "loss log_mean(x: real[prompt, token], least: real = 0.0) -> real {\n    assert x > least\n    mean(log(x))\n}\n";
    folder.write("mine.rlp", block);
    folder.write(
        "x.json",
        r##"{ "x": [[1.0, 2.0], [3.0, -9.0]], "#token": [[true, true], [true, false]] }"##,
    );
    folder.write("y.json", r#"{ "x": [[1.0, 2.0], [3.0, -9.0]] }"#);
    for executor in ["eager", "fused"] {
        let eval = |file: &str, more: &[&str]| {
            let arguments = ["eval", "mine.rlp:loss.log_mean", "--in", file, "--grad"];
            let executor = ["--executor", executor, "--message-format", "short"];
            folder.said(&[arguments.as_slice(), &executor, more].concat())
        };
        // What is not real does not have to hold.
        let said = eval("x.json", &[]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let said = eval("y.json", &[]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        let words =
            "`loss.log_mean` needs `x > least`, and `least` is 0, `x` is -9 at prompt 1, token 1";
        assert!(said.err.contains(words), "{}", said.err);
        assert!(said.err.contains("mine.rlp:2:12"), "{}", said.err);
        // A setting from outside is an argument like any other.
        let said = eval("x.json", &["--set", "least=2.5"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.err.contains("and it does not hold at 1 other place"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_name_that_nothing_reads_is_told() {
    let folder = Folder::new("unread");
    folder.write("mine.rlp", LOSSES);
    folder.write(
        "x.json",
        r##"{ "x": [[1.0, 2.0]], "scal": 2.0, "#token": [[true, true]] }"##,
    );
    let said = folder.said(&["eval", "mine.rlp:loss.square", "--in", "x.json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("reads no `scal`"), "{}", said.err);
    assert!(said.err.contains("did you mean `scale`?"), "{}", said.err);
    assert!(said.err.contains("reads no `#token`"), "{}", said.err);
    assert!(!said.err.contains("no `x`"), "{}", said.err);
}

#[test]
fn a_block_is_evaluated() {
    let folder = Folder::new("eval");
    folder.write("mine.rlp", LOSSES);
    folder.write("x.json", r#"{ "x": [[1.0, 2.0], [3.0, 4.0]] }"#);
    let eval = |more: &[&str]| {
        folder.said(&[&["eval", "mine.rlp:loss.square", "--in", "x.json"], more].concat())
    };

    let said = eval(&["--set", "scale=2", "--grad", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.json()[0]["result"], 15.0);
    assert_eq!(
        said.json()[0]["grad.x"],
        serde_json::json!([[1.0, 2.0], [3.0, 4.0]])
    );
    assert_eq!(eval(&[]).out, "result = 7.5\n");

    let said = eval(&["--out", "y.json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert_eq!(
        fs::read_to_string(folder.0.join("y.json")).unwrap(),
        "{\"result\":7.5}\n"
    );
}

#[test]
fn what_cannot_be_evaluated_is_a_problem_of_the_user() {
    let folder = Folder::new("eval-problems");
    folder.write("x.json", r#"{ "logp": [[1.0]] }"#);
    for (arguments, words) in [
        (
            &["eval", "loss.square", "--in", "x.json"][..],
            "loss.square",
        ),
        (
            &["eval", "loss.mse", "--in", "missing.json"],
            "missing.json",
        ),
        (&["eval", "loss.mse", "--in", "x.json"], "prediction"),
        (&["eval", "loss.mse", "--set", "step=0"], "step"),
    ] {
        let said = folder.said(arguments);
        assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.err);
        assert!(
            said.err.contains("error") && said.err.contains(words),
            "{arguments:?}: {}",
            said.err
        );
    }
}

#[test]
fn tests_say_which_elements_differ() {
    let folder = Folder::new("test");
    folder.write("mine.rlp", LOSSES);
    let said = folder.said(&["test", "mine.rlp"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(1), "1 passed, 1 failed\n")
    );
    for words in [
        "the test \"square has a wrong test\" fails in the eager executor",
        "fails in the fused executor",
        "[prompt 1, sample 1]: 4 is not 5",
        "mine.rlp:17",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let said = folder.said(&["test", "mine.rlp", "--filter", "what it says"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "1 passed, 0 failed\n")
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = Folder::new("usage");
    for arguments in [
        &["run"][..],
        &["run", "a.rlp", "--seed", "x"],
        &["run", "a.rlp", "--set", "lr"],
        &["run", "a.rlp", "--threads", "0"],
        &["run", "a.rlp", "--json", "--quiet"],
        &["fly"],
    ] {
        let said = folder.said(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
        assert!(said.err.starts_with("error"), "{arguments:?}: {}", said.err);
    }
    let said = folder.said(&["run", "--help"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("--run-dir <FOLDER>"));
}
