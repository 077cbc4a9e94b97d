//! `resume`: whatever ended a run, it goes on and ends in the same bits; a checkpoint that is not as it was written is not used.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value as Json;

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
    param shift: real[example: 8] = random.normal(example)
    let held   = sampler.rollout(policy, held_out(task), prompts: 4, samples: 1, max_tokens: 3, temperature: 0)

    stage warmup {
        let demos = sampler.demonstrations(task, prompts: 8)
        train policy {
            minimize loss.nll(logp(policy, demos))
            with     optimizer.muon(lr: 0.01) on matrices(policy), optimizer.adamw(lr: 0.01) on others(policy)
            steps    6
            evaluate length = mean(held.length) every 2
        }
    }
    stage rl {
        let drawn = sampler.rollout(policy, task, prompts: 4, samples: 4, max_tokens: 3)
        let score = drawn.length + random.normal(prompt, sample)
        let rollouts = sampler.dynamic(drawn with { score: score }, rounds: 2)
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
}
"#;

fn run(folder: &Folder, more: &[&str]) -> Said {
    folder.said(&[&["run", "p.rlp", "--threads", "1", "--quiet"], more].concat())
}

fn resume(folder: &Folder, run: &str) -> Said {
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

fn same(folder: &Folder, run: &str, other: &str) {
    assert!(
        final_weights(folder, run) == final_weights(folder, other),
        "{run} and {other} differ"
    );
    assert_eq!(metrics(folder, run), metrics(folder, other));
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// What a run was after so many steps: a copy of one that kept all its checkpoints.
fn as_of(folder: &Folder, run: &str, done: u64, to: &str) {
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

#[test]
fn all_that_a_run_remembers_is_saved() {
    let folder = Folder::new("states");
    folder.write("p.rlp", STATES);
    let said = run(&folder, &["--run-dir", "whole"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let keep = ["--checkpoint-every", "1", "--keep", "99"];
    let said = run(&folder, &[&["--run-dir", "kept"], &keep[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    same(&folder, "whole", "kept");
    for done in [1, 6, 7, 9, 11] {
        as_of(&folder, "kept", done, "again");
        let said = resume(&folder, "again");
        assert_eq!(said.code, Some(0), "{}", said.err);
        same(&folder, "whole", "again");
        // The table at the end counts the steps of both processes.
        assert_eq!(
            said.out.lines().filter(|line| line.contains(" 6 ")).count(),
            2,
            "{}",
            said.out
        );
    }
}
