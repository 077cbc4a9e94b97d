//! How long the light command may take as a whole process, at best: other processes may share the machine.

use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk;

const TRIES: usize = 30;

/// What is timed is timed alone: tests run side by side.
static TIMED: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    TIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shortest of several runs, of which the first that is short enough ends the test.
fn shortest(limit: Duration, mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let begun = Instant::now();
        run();
        best = best.min(begun.elapsed());
        if best < limit {
            break;
        }
    }
    best
}

fn check(text: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rlpc"))
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("the command reads");
    let output = child.wait_with_output().expect("the command ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_example_is_checked_in_thirty_milliseconds() {
    let _alone = alone();
    let limit = Duration::from_millis(30);
    for (path, text) in disk::files_below("examples", "rlp")
        .into_iter()
        // What stands beside a file is not found from standard input.
        .filter(|(_, text)| !text.contains("\nuse ") && !text.contains(".jsonl"))
    {
        let took = shortest(limit, || check(&text));
        assert!(took < limit, "{path}: {took:?}");
    }
}

#[test]
fn a_thousand_nodes_are_checked_in_two_hundred_milliseconds() {
    let _alone = alone();
    let mut text = String::from(
        "pipeline long {\n    param x: real = 0.5\n    stage count {\n        state a0 = 0.0\n",
    );
    for index in 1..=1_000 {
        let _ = writeln!(text, "        let a{index} = a{} * x + exp(a0)", index - 1);
    }
    text += "        a0 <- a1000\n        report last = a1000\n        steps 3\n    }\n}\n";
    let limit = Duration::from_millis(200);
    let took = shortest(limit, || check(&text));
    assert!(took < limit, "{took:?}");
}

/// Texts of the largest size whose parts are as many as fit: what is checked of each must not grow with all.
#[test]
fn a_text_of_a_megabyte_is_checked_in_seconds() {
    let _alone = alone();
    let many = |count: usize, part: &dyn Fn(usize) -> String| -> String {
        (0..count).map(part).collect::<Vec<_>>().join("")
    };
    let texts = [
        format!(
            "fn f(x: real[{}]) -> real {{ sum(x) }}",
            many(125_000, &|i| format!("d{i}, "))
        ),
        format!(
            "fn f(x: real[{}]) -> real {{ sum(x) }}",
            many(70_000, &|i| format!("d{i}_token, "))
        ),
        format!(
            "fn f({}) -> real {{ 1.0 }}",
            many(45_000, &|i| format!("a{i}: real[d{i}], "))
        ),
        many(40_000, &|i| format!("fn f{i}() -> int {{{i}}}\n")),
        many(30_000, &|i| format!("fn f{i}() -> int {{g{i}()}}\n")),
        format!(
            "fn f(x: real) -> real {{\n{}x\n}}",
            many(50_000, &|i| format!("let a{i} = y{i}\n"))
        ),
    ];
    let limit = Duration::from_secs(4);
    for text in texts {
        let head: String = text.chars().take(40).collect();
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_rlpc"))
            .args(["check", "-", "--message-format", "short"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(text.as_bytes()).expect("the command reads");
        drop(input);
        let status = child.wait().expect("the command ends");
        let took = begun.elapsed();
        assert!(matches!(status.code(), Some(0 | 1)), "{head}: {status}");
        assert!(took < limit, "{head}: {took:?}");
    }
}
