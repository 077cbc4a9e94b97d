//! `resume`: whatever ended a run, it goes on and ends in the same bits; a checkpoint that is not as it was written is not used.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::kept::events;
use crate::{Folder, Said};

/// Every kind of state: of rules, kept and not, of blocks, of a stage; frozen copies of models and of a tensor; pools, pass
/// rates, once-draws and what follows from them; a clause without an update.
const STATES: &str = r#"
/// Rewards less their running mean.
advantage running(score: real[prompt, sample], decay: real = 0.9) -> real[prompt, sample] {
    state mean_so_far = 0.0
    mean_so_far <- decay * mean_so_far + (1 - decay) * mean(score)
    score - mean_so_far
}

pipeline states {
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    let critic = model.causal_lm(layers: 1, hidden: 8, heads: 1, ffn: 8)
    param shift: real[objective: 2] = [0.5, -0.5]
    let held   = sampler.rollout(policy, held_out(task), prompts: 4, samples: 1, max_tokens: 3, temperature: 0)

    stage warmup {
        let demos = sampler.demonstrations(task, prompts: 8)
        train policy {
            minimize loss.nll(logp(policy, demos))
            with     optimizer.lion(lr: 0.01) on matrices(policy), optimizer.adamw(lr: 0.01) on others(policy)
            steps    6
            evaluate length = mean(held.length) every 2
        }
    }
    stage filtered {
        let drawn = sampler.rollout(policy, task, prompts: 4, samples: 4, max_tokens: 3)
        let rollouts = sampler.predictive_dynamic(drawn with { score: drawn.length })
        train policy {
            minimize loss.ppo_clip(logp(policy, rollouts), rollouts.logp, running(rollouts.score))
                     + 0.01 * loss.kl_k3(logp(policy, rollouts), logp(frozen(policy), rollouts))
                     + 0.01 * loss.kl_k3(logp(policy, rollouts), logp(frozen(policy, every: 2), rollouts))
            with     optimizer.adamw(lr: 0.01) keep state
            steps    6
            epochs   2
            minibatch 8
        }
        train critic {
            minimize mean((value(critic, rollouts) - mean(rollouts.score))^2)
            with     optimizer.adamw(lr: 0.01)
            steps    4
        }
        report length = mean(rollouts.length)
    }
    stage windowed {
        let base  = sampler.once(sampler.rollout(frozen(policy), task, prompts: 4, samples: 2, max_tokens: 3))
        let slots = sampler.windowed(policy, task, prompts: 3, samples: 2, window: 1, max_tokens: 3)
        state total = 0.0
        total <- total + mean(slots.length)
        train policy, shift {
            minimize loss.nll(logp(policy, base)) + mean(logp(policy, slots)) / 100
                     + sum((shift - frozen(shift) - 1)^2) + mean(base.length) * mean(shift)
            with     optimizer.adamw(lr: 0.01)
            steps    6
        }
        report total = total, noise = sum(shift * random.normal(objective))
    }
}
"#;

pub(crate) fn run(folder: &Folder, more: &[&str]) -> Said {
    folder.said(&[&["run", "p.rlp", "--threads", "1", "--quiet"], more].concat())
}

pub(crate) fn resume(folder: &Folder, run: &str) -> Said {
    folder.said(&["resume", run, "--quiet"])
}

/// The bytes of all files below a folder, by path.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn final_weights(folder: &Folder, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = folder.0.join(run).join("final");
    let files = contents(&root).into_iter();
    files
        .map(|(path, bytes)| (path.strip_prefix(&root).unwrap().to_path_buf(), bytes))
        .collect()
}

/// The lines of `metrics.jsonl` without their times.
fn metrics(folder: &Folder, run: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder.0.join(run).join("metrics.jsonl")).unwrap();
    let without_time = |line: &str| {
        let mut line: Json = serde_json::from_str(line).unwrap();
        line["seconds"] = Json::Null;
        line
    };
    text.lines().map(without_time).collect()
}

pub(crate) fn same(folder: &Folder, run: &str, other: &str) {
    assert!(
        final_weights(folder, run) == final_weights(folder, other),
        "{run} and {other} differ"
    );
    assert_eq!(metrics(folder, run), metrics(folder, other));
    let of = |run: &str| {
        let path = folder.0.join(run);
        let samples = fs::read_to_string(path.join("samples.jsonl")).unwrap();
        (samples, events(&path))
    };
    assert_eq!(of(run), of(other), "{run} and {other}");
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// What a run was after so many steps: a copy of one that kept all its checkpoints.
pub(crate) fn as_of(folder: &Folder, run: &str, done: u64, to: &str) {
    let to = folder.0.join(to);
    let _ = fs::remove_dir_all(&to);
    copy(&folder.0.join(run), &to);
    fs::remove_dir_all(to.join("final")).unwrap();
    for entry in fs::read_dir(to.join("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.parse::<u64>().unwrap() > done {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// What a run of `p.rlp` says that is kept in `whole`, and one resumed after each of `steps`: they end in the same bits.
pub(crate) fn resumed(folder: &Folder, threads: &str, steps: &[u64]) -> (Said, Vec<Said>) {
    let started = |out: &str, more: &[&str]| {
        let usual = ["run", "p.rlp", "--threads", threads, "--quiet"];
        let said = folder.said(&[usual.as_slice(), &["--run-dir", out], more].concat());
        assert_eq!(said.code, Some(0), "{}: {}", folder.0.display(), said.err);
        said
    };
    let whole = started("whole", &[]);
    started("kept", &["--checkpoint-every", "1", "--keep", "99"]);
    same(folder, "whole", "kept");
    let again = |&done: &u64| {
        as_of(folder, "kept", done, "again");
        let said = resume(folder, "again");
        assert_eq!(
            said.code,
            Some(0),
            "{}, after {done}: {}",
            folder.0.display(),
            said.err
        );
        same(folder, "whole", "again");
        said
    };
    (whole, steps.iter().map(again).collect())
}

#[test]
fn all_that_a_run_remembers_is_saved() {
    let folder = Folder::new("states");
    folder.write("p.rlp", STATES);
    let (_, resumed) = resumed(&folder, "1", &[1, 6, 7, 10, 12, 13, 16]);
    for said in resumed {
        // The table at the end counts the steps of both processes.
        assert_eq!(
            said.out.lines().filter(|line| line.contains(" 6 ")).count(),
            3,
            "{}",
            said.out
        );
    }
}

/// Rows of a file, in two stages, over several epochs.
const ROWS: &str = r#"
pipeline rows {
    let task   = data.jsonl("rows.jsonl", fraction: 0.8, skip: 1)
    let words  = data.text("rows.jsonl", tokens: 16)
    let policy = model.causal_lm(layers: 1, hidden: 8, heads: 1, ffn: 8)
    stage one {
        let demos = sampler.demonstrations(task, prompts: 7)
        train policy {
            minimize loss.nll(logp(policy, demos)) + loss.nll(logp(policy, sampler.demonstrations(words, prompts: 3)))
            with     optimizer.adamw(lr: 0.01)
            steps    5
        }
        report sum = sum(number(demos.answer))
    }
    stage two {
        let rollouts = sampler.rollout(policy, task, prompts: 5, samples: 2, max_tokens: 3)
        train policy {
            minimize loss.reinforce(logp(policy, rollouts), rollouts.length)
            with     optimizer.adamw(lr: 0.01)
            steps    4
        }
    }
}
"#;

#[test]
fn the_place_in_the_rows_of_a_file_is_saved_and_the_rows_must_be_the_same() {
    let folder = Folder::new("rows");
    folder.write("p.rlp", ROWS);
    let row = |n: u32| format!("{{\"prompt\": \"{n}:\", \"answer\": {n}}}\n");
    let rows: String = (0..20).map(row).collect();
    folder.write("rows.jsonl", &format!("{rows}no row\n"));
    let (said, _) = resumed(&folder, "1", &[1, 4, 5, 7]);
    let skipped = "1 row is skipped, the first `rows.jsonl`, line 21: is no JSON from column 2 on";
    assert!(said.err.contains(skipped), "{}", said.err);
    as_of(&folder, "kept", 2, "again");
    folder.write("rows.jsonl", &format!("{rows}{}no row\n", row(20)));
    let said = resume(&folder, "again");
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("are not those that the run began with"),
        "{}",
        said.err
    );
}

/// How often a run is killed here; `cargo xtask kills` says more.
fn kills() -> u64 {
    let asked = std::env::var("RLPC_KILLS").ok();
    asked.map_or(6, |number| number.parse().unwrap())
}

/// A run under way, once it has told a step; `None` if it ended before.
fn under_way(folder: &Folder, arguments: &[&str]) -> Option<Child> {
    let mut child = folder
        .engine(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.find(|line| line.as_ref().unwrap().contains("\"event\":\"step\""));
    // Nobody reads on, which is no failure of the run.
    told.map(|_| child)
}

/// Whether a checkpoint stands half written.
fn is_writing(folder: &Folder, run: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder.0.join(run).join("checkpoints")) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().ends_with(".part"))
}

/// Kills in rollouts, updates and evaluations, and every second one while a checkpoint is written.
#[expect(clippy::print_stdout, reason = "`cargo xtask kills` shows it")]
#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_bits() {
    let folder = Folder::new("killed");
    // Steps that take about as long as saving them.
    let text = STATES
        .replace(
            "hidden: 16, heads: 2, ffn: 32",
            "hidden: 64, heads: 2, ffn: 128",
        )
        .replace("prompts: 4, samples: 4", "prompts: 16, samples: 16");
    folder.write("p.rlp", &text);
    assert_eq!(run(&folder, &["--run-dir", "whole"]).code, Some(0));
    let begin: &[&str] = &[
        "run",
        "p.rlp",
        "--threads",
        "1",
        "--json",
        "--run-dir",
        "hit",
        "--checkpoint-every",
        "2",
    ];
    let (mut killed, mut while_writing, mut finished) = (0, 0, 0);
    // Any sequence does; this one spreads well (Weyl).
    let moment = |number: u64| Duration::from_millis(number * 377 % 610);
    let start = Instant::now();
    while killed < kills() || finished == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(600),
            "it gets nowhere"
        );
        let arguments = match folder.0.join("hit").exists() {
            true => &["resume", "hit", "--json"],
            false => begin,
        };
        if let Some(mut child) = under_way(&folder, arguments) {
            let spawned = Instant::now();
            let is_due = || match killed % 2 {
                _ if killed >= kills() => false,
                0 => spawned.elapsed() >= moment(killed),
                _ => is_writing(&folder, "hit"),
            };
            while child.try_wait().unwrap().is_none() && !is_due() {
                sleep(Duration::from_micros(200));
            }
            child.kill().unwrap();
            let status = child.wait().unwrap();
            // Unless it was faster.
            if !status.success() {
                assert_eq!(status.code(), None, "no signal ended it");
                killed += 1;
                while_writing += u64::from(is_writing(&folder, "hit"));
            }
        }
        if folder.0.join("hit/final").exists() {
            same(&folder, "whole", "hit");
            fs::remove_dir_all(folder.0.join("hit")).unwrap();
            finished += 1;
        }
    }
    assert!(
        while_writing > 0,
        "none of {killed} while a checkpoint was written"
    );
    println!(
        "{killed} kills, {while_writing} while a checkpoint was written, {finished} runs finished"
    );
}

#[test]
fn a_run_that_a_signal_ended_goes_on() {
    let folder = Folder::new("signalled");
    folder.write("p.rlp", STATES);
    assert_eq!(run(&folder, &["--run-dir", "whole"]).code, Some(0));
    let arguments = [
        "run",
        "p.rlp",
        "--threads",
        "1",
        "--json",
        "--run-dir",
        "out",
    ];
    let mut child = under_way(&folder, &arguments).unwrap();
    crate::run::signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(
        fs::read_dir(folder.0.join("out/checkpoints"))
            .unwrap()
            .count(),
        1
    );
    let said = folder.said(&["resume", "out", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.json()[0]["resumed"]["stage"], "warmup");
    assert_eq!(said.json().last().unwrap()["weights"], "out/final");
    same(&folder, "whole", "out");
    let said = folder.said(&["resume", "out"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "this run is over\n\nweights: out/final\n")
    );
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_used() {
    let folder = Folder::new("damaged");
    folder.write("p.rlp", STATES);
    let keep = ["--checkpoint-every", "1", "--keep", "99"];
    let said = run(&folder, &[&["--run-dir", "kept"], &keep[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    as_of(&folder, "kept", 9, "again");
    let file = folder
        .0
        .join("again/checkpoints/9/weights/policy.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::remove_file(folder.0.join("again/checkpoints/8/state.json")).unwrap();
    let said = resume(&folder, "again");
    assert_eq!(said.code, Some(0), "{}", said.err);
    for words in [
        "warning: the checkpoint after 9 steps is damaged (`weights/policy.safetensors` is not as it was written), and is now `again/checkpoints/9.damaged`",
        "warning: the checkpoint after 8 steps is damaged (`state.json`: there is no such file)",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    same(&folder, "kept", "again");
    assert!(folder.0.join("again/checkpoints/9/manifest.json").exists());

    // None is left: the run begins anew.
    as_of(&folder, "kept", 1, "again");
    fs::write(folder.0.join("again/checkpoints/1/manifest.json"), "{}").unwrap();
    let said = resume(&folder, "again");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("`files`"), "{}", said.err);
    same(&folder, "kept", "again");
}

#[test]
fn what_cannot_go_on_is_refused() {
    let folder = Folder::new("refused");
    folder.write("p.rlp", STATES);
    let never = ["--run-dir", "out", "--checkpoint-every", "never"];
    assert_eq!(run(&folder, &never).code, Some(0));
    let refused = |words: &str| {
        let said = resume(&folder, "out");
        assert_eq!(said.code, Some(1), "{}", said.out);
        assert!(said.err.contains(words), "{}", said.err);
    };
    let said = resume(&folder, "elsewhere");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("`elsewhere` is not the folder of a run that can go on: `manifest.json`: there is no such file"),
        "{}",
        said.err
    );
    assert!(!folder.0.join("elsewhere").exists());

    // Another seed would go on with other numbers.
    let description = fs::read_to_string(folder.0.join("out/run.json")).unwrap();
    fs::rename(folder.0.join("out/final"), folder.0.join("out/other")).unwrap();
    folder.write(
        "out/run.json",
        &description.replace("\"seed\": 0", "\"seed\": 1"),
    );
    refused("`run.json` is not as it was written");
    folder.write("out/run.json", &description);
    assert_eq!(resume(&folder, "out").code, Some(0));

    // A run that goes on is left alone.
    fs::remove_dir_all(folder.0.join("out")).unwrap();
    let long = STATES.replace("steps    6", "steps    1000000");
    folder.write("p.rlp", &long);
    let arguments = [
        "run",
        "p.rlp",
        "--threads",
        "1",
        "--json",
        "--run-dir",
        "out",
    ];
    let mut child = under_way(&folder, &arguments).unwrap();
    refused("another process has the run in `out`");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_latest_and_the_best_are_kept() {
    let folder = Folder::new("best");
    folder.write("p.rlp", STATES);
    let wishes = [
        "--checkpoint-every",
        "3",
        "--keep",
        "1",
        "--best",
        "total:min",
    ];
    let said = run(&folder, &[&["--run-dir", "out"], &wishes[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut names: Vec<u64> = fs::read_dir(folder.0.join("out/checkpoints"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    names.sort_unstable();
    // `total` is 0 after the first step of the last stage, which is the thirteenth, and grows.
    assert_eq!(names, [13, 18]);

    let said = run(&folder, &["--best", "accuracy"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err
            .contains("`accuracy` is no number that this pipeline tells"),
        "{}",
        said.err
    );
    for wrong in ["0", "soon", "5 days", "-3s"] {
        let every = format!("--checkpoint-every={wrong}");
        assert_eq!(run(&folder, &[&every]).code, Some(2), "{wrong}");
    }
}

/// The weights fit, the states of the optimizer do not.
#[test]
fn a_disk_that_is_full_while_a_checkpoint_is_written_harms_none() {
    let folder = Folder::new("full-checkpoint");
    let text = STATES.replace(
        "hidden: 16, heads: 2, ffn: 32",
        "hidden: 64, heads: 2, ffn: 96",
    );
    folder.write("p.rlp", &text);
    let every = ["--checkpoint-every", "1", "--keep", "99"];
    let said = run(&folder, &[&["--run-dir", "whole"], &every[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    as_of(&folder, "whole", 4, "full");
    let before = contents(&folder.0.join("full/checkpoints"));
    let size = |name: &str| {
        let path = folder.0.join("full/checkpoints/4").join(name);
        fs::metadata(path).unwrap().len()
    };
    let (weights, states) = (
        size("weights/policy.safetensors"),
        size("state.safetensors"),
    );
    assert!(weights + 2048 < states, "{weights} {states}");
    let limit = format!("-f {}", (weights + 1024) / 512);
    let said = folder.limited(&limit, "resume full --quiet");
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("state.safetensors"), "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert!(
        said.out.contains("saved after 4 steps: `rlpc resume full`"),
        "{}",
        said.out
    );
    assert!(before == contents(&folder.0.join("full/checkpoints")));
    let said = resume(&folder, "full");
    assert_eq!(said.code, Some(0), "{}", said.err);
    same(&folder, "whole", "full");
}
