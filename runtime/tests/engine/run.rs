//! `run`: what is printed and kept, and what stops it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::{Folder, Said};

/// A pipeline of a few milliseconds a step.
const SMALL: &str = r#"
pipeline small {
    param lr: real = 1e-2

    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    let held   = sampler.rollout(policy, held_out(task), prompts: 4, samples: 1, max_tokens: 3, temperature: 0)

    stage warmup {
        train policy {
            minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 8)))
            with     optimizer.adamw(lr: lr)
            steps    STEPS
            evaluate length = mean(held.length) every 2
        }
    }
    stage rl {
        let rollouts = sampler.rollout(policy, task, prompts: 2, samples: 4, max_tokens: 3)
        train policy {
            minimize  loss.ppo_clip(logp(policy, rollouts), rollouts.logp, advantage.group_norm(rollouts.length))
            with      optimizer.adamw(lr: lr)
            steps     3
            epochs    2
            minibatch 4
        }
        report length = mean(rollouts.length)
    }
}
"#;

fn folder(name: &str, steps: u64) -> Folder {
    let folder = Folder::new(name);
    folder.write("small.rlp", &SMALL.replace("STEPS", &steps.to_string()));
    folder
}

fn run(folder: &Folder, more: &[&str]) -> Said {
    folder.said(&[&["run", "small.rlp", "--threads", "1"], more].concat())
}

#[test]
fn a_run_tells_its_steps_and_keeps_what_came_of_it() {
    let folder = folder("run", 4);
    let said = run(
        &folder,
        &[
            "--json",
            "--run-dir",
            "out",
            "--set",
            "lr=0.02",
            "--seed",
            "3",
        ],
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    let told = said.json();
    let events: Vec<&str> = told
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    let warmup = ["step", "step", "evaluation", "step", "step", "evaluation"];
    assert_eq!(
        events,
        [&["start"], &warmup[..], &["step"; 3], &["result"]].concat()
    );
    assert_eq!(told[1]["stage"], "warmup");
    assert!(told[1]["loss"].as_f64().unwrap() > told[5]["loss"].as_f64().unwrap());
    assert_eq!(told[7]["updates"], 4);
    assert!(told[7]["logp_gap"].as_f64().unwrap() < 1e-4);
    assert!(told[7]["metrics"]["length"].as_f64().unwrap() >= 1.0);
    let result = told.last().unwrap();
    assert_eq!(
        (&result["ending"], &result["weights"]),
        (&"done".into(), &"out/final".into())
    );
    assert_eq!(result["stages"][1]["steps"], 3);

    let out = folder.0.join("out");
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names.retain(|name| !name.starts_with("events.out.tfevents."));
    assert_eq!(
        names,
        [
            "environment.json",
            "final",
            "manifest.json",
            "metrics.jsonl",
            "pipeline.rlp",
            "profile.json",
            "report.html",
            "resolved.json",
            "run.json",
            "samples.jsonl"
        ]
    );
    assert!(
        fs::metadata(out.join("final/policy.safetensors"))
            .unwrap()
            .len()
            > 1000
    );
    let kept: Vec<Json> = fs::read_to_string(out.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(kept, told[1..told.len() - 1]);
    let description: Json =
        serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(
        (&description["settings"]["lr"], &description["seed"]),
        (&0.02.into(), &3.into())
    );
    assert!(
        fs::read_to_string(out.join("pipeline.rlp"))
            .unwrap()
            .contains("pipeline small")
    );
}

#[test]
fn the_same_seed_leaves_the_same_bits() {
    let folder = folder("repeat", 4);
    for (out, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
        assert_eq!(
            run(&folder, &["--quiet", "--run-dir", out, "--seed", seed]).code,
            Some(0)
        );
    }
    let weights =
        |out: &str| fs::read(folder.0.join(out).join("final/policy.safetensors")).unwrap();
    assert!(weights("a") == weights("b"));
    assert!(weights("a") != weights("c"));
    let metrics = |out: &str| -> Vec<Json> {
        let text = fs::read_to_string(folder.0.join(out).join("metrics.jsonl")).unwrap();
        let without_time = |line: &str| {
            let mut line: Json = serde_json::from_str(line).unwrap();
            line["seconds"] = Json::Null;
            line
        };
        text.lines().map(without_time).collect()
    };
    assert_eq!(metrics("a"), metrics("b"));
    assert_ne!(metrics("a"), metrics("c"));
}

#[test]
fn plain_lines_end_with_a_table() {
    let folder = folder("lines", 2);
    let said = run(&folder, &["--verbose"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(
        lines[0].starts_with("warmup 1/2  loss ") && lines[0].contains("grad_norm"),
        "{}",
        lines[0]
    );
    assert!(
        said.out.contains("warmup 2  evaluated: length "),
        "{}",
        said.out
    );
    assert!(said.out.contains("\nstage   steps   time"), "{}", said.out);
    // Without `--run-dir`, a new folder named after the pipeline and the time.
    let weights = lines[lines.len() - 2]
        .strip_prefix("weights: runs/small-")
        .unwrap();
    assert!(weights.ends_with("/final"));
    let quiet = run(&folder, &["--quiet"]);
    assert!(quiet.out.starts_with("\nstage"), "{}", quiet.out);
    assert_eq!(fs::read_dir(folder.0.join("runs")).unwrap().count(), 2);
}

#[test]
fn at_most_so_many_steps_of_each_stage() {
    let folder = folder("steps", 50);
    let told = run(&folder, &["--json", "--steps", "2"]).json();
    let steps = told.iter().filter(|line| line["event"] == "step").count();
    assert_eq!(steps, 4);
    assert_eq!(told[1]["steps"], 2);
}

#[test]
fn mistakes_in_a_program_are_shown_before_anything_is_run() {
    let folder = folder("mistakes", 2);
    folder.write(
        "wrong.rlp",
        "pipeline p { stage s { train q { minimize 1 } } }",
    );
    folder.write("none.rlp", "fn f(x: real) -> real { x }");
    folder.write(
        "two.rlp",
        &[SMALL, &SMALL.replace("small", "other")]
            .concat()
            .replace("STEPS", "2"),
    );
    for (arguments, code, words) in [
        (&["run", "wrong.rlp"][..], 1, "q"),
        (&["run", "missing.rlp"], 1, "missing.rlp"),
        (&["run", "none.rlp"], 1, "this file has no pipeline"),
        (
            &["run", "two.rlp"],
            2,
            "choose one with `--pipeline`: `small`, `other`",
        ),
        (
            &["run", "two.rlp", "--pipeline", "third"],
            2,
            "no pipeline `third`",
        ),
        (&["run", "small.rlp", "--set", "rate=1"], 1, "rate"),
        (&["run", "small.rlp", "--set", "lr=fast"], 1, "fast"),
    ] {
        let said = folder.said(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    assert!(!folder.0.join("runs").exists());
    let said = folder.said(&["run", "wrong.rlp", "--message-format", "json"]);
    assert_eq!(said.json()[0]["severity"], "error");
    assert_eq!(
        folder
            .said(&["run", "two.rlp", "--pipeline", "other", "--quiet"])
            .code,
        Some(0)
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_known_before_the_run() {
    let folder = folder("unwritable", 2);
    folder.write("file", "");
    let said = run(&folder, &["--run-dir", "file/out", "--json"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(
        said.err
            .contains("a part of its path is a file, not a folder"),
        "{}",
        said.err
    );
}

#[test]
fn an_earlier_run_is_left_as_it_is() {
    let folder = folder("earlier", 2);
    assert_eq!(run(&folder, &["--quiet", "--run-dir", "out"]).code, Some(0));
    let weights = || fs::read(folder.0.join("out/final/policy.safetensors")).unwrap();
    let before = weights();
    let said = run(&folder, &["--quiet", "--run-dir", "out", "--seed", "9"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("`out` holds something already"),
        "{}",
        said.err
    );
    assert!(before == weights());
}

#[test]
fn a_run_that_fails_says_where_and_keeps_the_weights_before() {
    let folder = folder("fails", 2);
    let text = SMALL.replace("STEPS", "2").replace(
        "loss.ppo_clip(",
        "log(0 * mean(rollouts.length)) + loss.ppo_clip(",
    );
    folder.write("small.rlp", &text);
    let said = run(&folder, &["--json", "--run-dir", "out"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(
        said.err
            .contains("error[not-finite]: a value here is not finite"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("log(0 * mean(rollouts.length))"),
        "{}",
        said.err
    );
    assert_eq!(said.json().last().unwrap()["ending"], "failed");
    assert!(folder.0.join("out/stopped/policy.safetensors").exists());
    assert!(!folder.0.join("out/final").exists());
}

/// Starts a run and waits until it has told its first step.
pub(crate) fn started(folder: &Folder) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = folder.engine(&[
        "run",
        "small.rlp",
        "--threads",
        "1",
        "--json",
        "--run-dir",
        "out",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"step\"") {
        line.clear();
        assert!(
            out.read_line(&mut line).unwrap() > 0,
            "the run ended too early"
        );
    }
    (child, out)
}

pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_signal_ends_the_run_after_its_step_and_saves_it() {
    let folder = folder("interrupt", 1_000_000);
    for name in ["INT", "TERM"] {
        let (mut child, out) = started(&folder);
        signal(&child, name);
        let told: Vec<Json> = out
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let result = told.last().unwrap();
        assert_eq!(result["ending"], "interrupted");
        let kept = fs::read_to_string(folder.0.join("out/metrics.jsonl")).unwrap();
        let steps = result["stages"][0]["steps"].as_u64().unwrap();
        assert_eq!(
            kept.lines()
                .filter(|line| line.contains("\"event\":\"step\""))
                .count() as u64,
            steps
        );
        let weights = format!("out/checkpoints/{steps}/weights");
        assert_eq!(result["weights"], weights.as_str());
        assert!(folder.0.join(weights).join("policy.safetensors").exists());
        assert!(!folder.0.join("out/stopped").exists());
        fs::remove_dir_all(folder.0.join("out")).unwrap();
    }
}

#[test]
fn whoever_interrupts_a_run_is_told_what_it_does() {
    let folder = folder("interrupt-told", 1_000_000);
    let arguments = ["run", "small.rlp", "--threads", "1", "--run-dir", "out"];
    let mut command = folder.engine(&arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let metrics = folder.0.join("out/metrics.jsonl");
    while fs::metadata(&metrics).map_or(0, |found| found.len()) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, "INT");
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(0));
    let words = "this step is finished and saved; once more ends it at once";
    assert!(said.err.contains(words), "{}", said.err);
}

/// The second step would take minutes.
#[test]
fn a_second_interrupt_ends_it_at_once() {
    let folder = folder("interrupt-twice", 1);
    let text = SMALL.replace("STEPS", "1").replace(
        "prompts: 2, samples: 4, max_tokens: 3",
        "prompts: 40, samples: 1000, max_tokens: 200",
    );
    folder.write("small.rlp", &text.replace("minibatch 4", ""));
    let (mut child, _out) = started(&folder);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the step is not over");
    let start = Instant::now();
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!folder.0.join("out/checkpoints").exists());
}

/// `rlpc run … | head -1`
#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let folder = folder("reader", 20);
    let (mut child, out) = started(&folder);
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(folder.0.join("out/final/policy.safetensors").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_ends_the_run_with_a_sentence() {
    let folder = folder("full", 20);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let said: Said = folder
        .engine(&["run", "small.rlp", "--threads", "1", "--run-dir", "out"])
        .stdout(full)
        .output()
        .unwrap()
        .into();
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("`standard output`: the disk is full"),
        "{}",
        said.err
    );
}

#[test]
fn a_disk_that_becomes_full_ends_the_run_and_harms_no_other() {
    let folder = Folder::new("full");
    folder.write(
        "p.rlp",
        r#"
        pipeline long {
            let task   = data.arithmetic(digits: 1)
            let policy = model.causal_lm(layers: 1, hidden: 4, heads: 1, ffn: 4, positions: 32)
            stage s {
                let demos = sampler.demonstrations(task, prompts: 2)
                train policy {
                    minimize loss.nll(logp(policy, demos))
                    with     optimizer.sgd(lr: 0.1)
                    steps    2000
                }
            }
        }
        "#,
    );
    let earlier = folder.said(&["run", "p.rlp", "--steps", "2", "--run-dir", "earlier"]);
    assert_eq!(earlier.code, Some(0), "{}", earlier.err);
    let weights = || fs::read(folder.0.join("earlier/final/policy.safetensors")).unwrap();
    let before = weights();

    let said = folder.limited("-f 24", "run p.rlp --quiet --run-dir full");
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("metrics.jsonl"), "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert!(!folder.0.join("full/final").exists());
    assert!(folder.0.join("full/stopped/policy.safetensors").exists());
    assert_eq!(before, weights());
}

#[test]
fn a_trainable_tensor_is_left_beside_the_models() {
    let folder = Folder::new("tensor");
    folder.write(
        "p.rlp",
        "pipeline p {
            param x: real[row: 2] = [1, 2]
            stage a {
                train x { minimize sum(x^2) with optimizer.sgd(lr: 0.1) steps 1 }
            }
        }",
    );
    let said = folder.said(&["run", "p.rlp", "--run-dir", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let bytes = fs::read(folder.0.join("out/final/x.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let x = file.tensor("x").unwrap();
    let numbers = x.data().chunks(4);
    let numbers: Vec<f32> = numbers
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(numbers, [0.8, 1.6]);
}

#[test]
fn a_profile_says_where_the_time_went() {
    let folder = folder("profile", 2);
    let said = run(&folder, &["--quiet", "--profile", "--run-dir", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let heading = said
        .out
        .lines()
        .find(|line| line.starts_with("stage") && line.contains("where"));
    assert!(heading.is_some(), "{}", said.out);

    let kept = |name: &str| -> Json {
        serde_json::from_str(&fs::read_to_string(folder.0.join("out").join(name)).unwrap()).unwrap()
    };
    let profile = kept("profile.json");
    let rows = profile["rows"].as_array().unwrap();
    let row = |phase: &str, block: &str, work: Option<&str>| {
        let is_it = |row: &&Json| {
            row["stage"] == "rl"
                && row["phase"] == phase
                && row["block"] == block
                && row["work"].as_str() == work
        };
        rows.iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{phase} {block} {work:?} in {profile:#}"))
    };
    // Three steps, each with two epochs of two minibatches.
    for (phase, block, work, line, calls) in [
        ("rollout", "sampler.rollout", Some("decoding"), 18, 3),
        ("rollout", "advantage.group_norm", None, 20, 3),
        ("update", "loss.ppo_clip", None, 20, 12),
        ("update", "logp", Some("backward"), 20, 12),
    ] {
        let row = row(phase, block, work);
        assert_eq!(
            (&row["line"], &row["calls"]),
            (&line.into(), &calls.into()),
            "{row}"
        );
        assert!(row["seconds"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(
        row("optimizer", "optimizer.adamw", None)["calls"]
            .as_u64()
            .unwrap()
            >= 12
    );
    let all: f64 = rows
        .iter()
        .map(|row| row["seconds"].as_f64().unwrap())
        .sum();
    let whole = profile["seconds"].as_f64().unwrap();
    assert!(
        (all - whole).abs() < 1e-6 * whole.max(1.0),
        "{all} of {whole}"
    );
    assert!(
        !kept("trace.json")["traceEvents"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

/// Large parameters are updated by themselves, into memory that held them before: a later one that fails must not let an
/// earlier one change.
#[test]
fn no_parameter_changes_in_an_update_that_fails() {
    let folder = Folder::new("fails");
    folder.write(
        "p.rlp",
        "schedule jump() -> real { if step < 3 { 0.1 } else { 1e38 } }
        pipeline p {
            param x: real[row: 70000] = zeros(row)
            param y: real[col: 70000] = zeros(col)
            stage a {
                train x, y {
                    minimize 1e-37 * sum(x) + 1e3 * sum(y)
                    with     optimizer.sgd(lr: jump())
                    steps    5
                }
            }
        }",
    );
    let said = folder.said(&["run", "p.rlp", "--run-dir", "out"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("`y` after an update"), "{}", said.err);
    let first = |name: &str| {
        let bytes = fs::read(folder.0.join(format!("out/stopped/{name}.safetensors"))).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        f32::from_le_bytes(tensor.data()[..4].try_into().unwrap())
    };
    // The third update would have moved x by 10.
    assert!(first("x").abs() < 1e-30, "{}", first("x"));
    assert_eq!(first("y"), -200.0);
}
