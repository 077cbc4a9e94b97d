//! Plans: what they say a run takes is what it takes, and they run as they were made.

use std::fs;
use std::path::Path;

use rlp_account::{Account, Options, account};
use rlp_compiler::{Checked, Settings, check};
use rlp_frontend::description::{Asked, CheckpointWishes};
use rlp_frontend::{Description, Files, planned};
use serde_json::Value as Json;

use crate::Folder;

const ON_ONE_THREAD: Options = Options {
    is_on_gpu: false,
    threads: 1,
};

fn checked(folder: &Path, file: &str, set: &[(String, String)]) -> Checked {
    let path = folder.join(file);
    let checked = check(
        &Files::new(),
        &path.to_string_lossy(),
        &Settings(set.to_vec()),
    );
    assert!(checked.plans.len() == 1, "{:?}", checked.diagnostics);
    checked
}

fn planned_of(folder: &Path, file: &str, set: &[(String, String)]) -> Account {
    account(&checked(folder, file, set).plans[0], ON_ONE_THREAD, None).unwrap()
}

/// The most that was resident while loading and in each phase of each stage.
fn measured(folder: &Folder, file: &str, steps: &str, more: &[&str]) -> Vec<(String, u64)> {
    let run = ["run", file, "--steps", steps, "--threads", "1", "--quiet"];
    let kept = [
        "--profile",
        "--run-dir",
        "run",
        "--checkpoint-every",
        "never",
    ];
    let said = folder.said(&[run.as_slice(), &kept, more].concat());
    assert_eq!(said.code, Some(0), "{file}: {}", said.err);
    let text = fs::read_to_string(folder.0.join("run/profile.json")).unwrap();
    let json: Json = serde_json::from_str(&text).unwrap();
    let memory = &json["memory"];
    let mut found = vec![("loading".to_string(), memory["loading"].as_u64().unwrap())];
    for own in memory["phases"].as_array().unwrap() {
        let name = format!(
            "{} {}",
            own["stage"].as_str().unwrap(),
            own["phase"].as_str().unwrap()
        );
        found.push((name, own["bytes"].as_u64().unwrap()));
    }
    found
}

/// Both peaks differ by at most 15 % of what was measured.
fn assert_close(name: &str, own: &Account, measured: &[(String, u64)]) {
    let (_, most) = measured.iter().max_by_key(|(_, bytes)| *bytes).unwrap();
    let off = own.peak() as f64 / *most as f64 - 1.0;
    assert!(
        off.abs() <= 0.15,
        "{name}: planned {} MiB, measured {} MiB, {:+.1} %\n{measured:?}\n{}",
        own.peak() >> 20,
        most >> 20,
        100.0 * off,
        own.table(None).join("\n")
    );
}

fn is_as_planned(name: &str, file: &str, steps: &str, set: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = Folder::new(&format!("plan-{name}"));
    let path = root.join(file);
    let set: Vec<(String, String)> = set
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let given: Vec<String> = set
        .iter()
        .flat_map(|(name, value)| ["--set".to_string(), format!("{name}={value}")])
        .collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let measured = measured(&folder, &path.to_string_lossy(), steps, &given);
    let own = planned_of(root, file, &set);
    assert_close(name, &own, &measured);
}

// After fewer steps of warm-up no group varies, and the largest part, the update of the second stage, never runs.
#[test]
fn the_quickstart_takes_what_was_planned() {
    is_as_planned("quickstart", "examples/quickstart.rlp", "60", &[]);
}

#[test]
fn a_large_vocabulary_takes_what_was_planned() {
    is_as_planned("grpo_v", "benches/pipelines/grpo_v.rlp", "2", &[]);
}

#[test]
fn many_responses_take_what_was_planned() {
    is_as_planned("grpo_c", "benches/pipelines/grpo_c.rlp", "1", &[]);
}

#[test]
fn preferences_take_what_was_planned() {
    is_as_planned("rpo", "examples/papers/rpo.rlp", "2", &[]);
}

#[test]
fn a_pretrained_model_takes_what_was_planned() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretrained/models/qwen2");
    let model = models.to_string_lossy();
    is_as_planned(
        "pretrained",
        "examples/pretrained.rlp",
        "1",
        &[("model", &model)],
    );
}

const RECOMPUTED: &str = r#"
pipeline recomputed {
    let task   = data.arithmetic(digits: 2, ops: "+")
    let policy = model.causal_lm(layers: 4, hidden: 256, heads: 8, ffn: 768, vocab: 4096, positions: 256, tied: false, recompute: true)
    stage rl {
        let rollouts = sampler.rollout(policy, task, prompts: 8, samples: 8, max_tokens: 64)
        let score    = reward.exact_answer(rollouts.text, rollouts.answer)
        let adv      = advantage.group_norm(score)
        train policy {
            minimize loss.grpo(logp(policy, rollouts), rollouts.logp, adv) + mean(logp(frozen(policy), rollouts)) * 0
            with     optimizer.adamw(lr: 1e-3)
            micro_batch 16
            steps    2
        }
    }
}
"#;

#[test]
fn layers_that_are_computed_again_take_what_was_planned() {
    for (name, text) in [
        ("recomputed", RECOMPUTED.to_string()),
        (
            "autograd",
            RECOMPUTED.replace("recompute: true", "dtype: \"bf16\""),
        ),
    ] {
        let folder = Folder::new(&format!("plan-{name}"));
        folder.write("p.rlp", &text);
        let measured = measured(&folder, "p.rlp", "2", &[]);
        assert_close(name, &planned_of(&folder.0, "p.rlp", &[]), &measured);
    }
}

const ADAPTED: &str = r#"
pipeline adapted {
    let task  = data.arithmetic(digits: 2, ops: "+")
    let base  = model.causal_lm(layers: 4, hidden: 384, heads: 6, ffn: 1536, vocab: 8192, positions: 128)
    let tuned = apply(base, transform.lora(rank: 8, alpha: 16), on: matrices)
    stage warmup {
        let demos = sampler.demonstrations(task, prompts: 64)
        train tuned {
            minimize loss.nll(logp(tuned, demos)) + mean(logp(base, demos)) * 0
            with     optimizer.adamw(lr: 1e-3)
            micro_batch 16
            steps    2
        }
    }
}
"#;

#[test]
fn an_adapter_takes_what_was_planned() {
    for (name, text) in [
        ("adapted", ADAPTED.to_string()),
        (
            "adapted-again",
            ADAPTED.replace("positions: 128", "positions: 128, recompute: true"),
        ),
    ] {
        let folder = Folder::new(&format!("plan-{name}"));
        folder.write("p.rlp", &text);
        let measured = measured(&folder, "p.rlp", "2", &[]);
        let own = planned_of(&folder.0, "p.rlp", &[]);
        assert_close(name, &own, &measured);
        let [base, tuned] = own.models.as_slice() else {
            panic!("two models: {:?}", own.models);
        };
        // Of each layer four matrices 384 × 384 and three 384 × 1536, each with `rank` rows and `rank` columns.
        let adapter = 4 * 8 * (4 * (384 + 384) + 3 * (384 + 1536));
        assert_eq!((base.trained, tuned.trained), (0, adapter));
        assert_eq!(base.parameters, tuned.parameters);
        assert_eq!(own.stages[0].trained, [("tuned".to_string(), adapter)]);
    }
}

const PIPELINE: &str = r#"use "mine.rlp" as mine

pipeline p {
    param lr: real = 1e-3
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 1, ffn: 16)
    stage rl {
        let rollouts = sampler.rollout(policy, task, prompts: 4, samples: 4, max_tokens: 4)
        let score    = mine.short(rollouts.length)
        train policy {
            minimize loss.grpo(logp(policy, rollouts), rollouts.logp, advantage.group_norm(score))
            with     optimizer.adamw(lr: lr)
            steps    3
        }
        report score = mean(score)
    }
}
"#;

const MINE: &str =
    "reward short(length: real[prompt, sample]) -> real[prompt, sample] {\n    -length\n}\n";

fn plan_file(folder: &Folder) -> String {
    folder.write("p.rlp", PIPELINE);
    folder.write("mine.rlp", MINE);
    let set = vec![("lr".to_string(), "2e-3".to_string())];
    let mut files = Files::new();
    // As a command that runs in this folder names them.
    files.add("p.rlp", Ok(PIPELINE.to_string()));
    files.add("mine.rlp", Ok(MINE.to_string()));
    let checked = check(&files, "p.rlp", &Settings(set.clone()));
    let asked = Asked {
        set,
        seed: 3,
        steps: None,
        executor: "fused".to_string(),
        device: "cpu".to_string(),
        threads: 1,
        checkpoints: CheckpointWishes {
            every: None,
            keep: 2,
            best: None,
        },
    };
    let plan = &checked.plans[0];
    let description = Description::new(asked, plan, "p.rlp", &checked.sources);
    let own = account(plan, ON_ONE_THREAD, None).unwrap();
    let text = planned::write(&description, &checked.sources, own.to_json());
    folder.write("plan.json", &text);
    text
}

#[test]
fn a_plan_runs_to_the_same_bits_though_its_files_are_gone() {
    let folder = Folder::new("plan-runs");
    plan_file(&folder);
    let run = [
        "run",
        "p.rlp",
        "--set",
        "lr=2e-3",
        "--seed",
        "3",
        "--threads",
        "1",
        "--quiet",
    ];
    let said = folder.said(&[run.as_slice(), &["--run-dir", "a"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    // One is changed, the other deleted.
    folder.write("mine.rlp", &MINE.replace("-length", "length"));
    fs::remove_file(folder.0.join("p.rlp")).unwrap();
    let said = folder.said(&["run", "plan.json", "--quiet", "--run-dir", "b"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for file in ["final/policy.safetensors", "run.json", "resolved.json"] {
        let read = |run: &str| fs::read(folder.0.join(run).join(file)).unwrap();
        assert!(read("a") == read("b"), "{file} differs");
    }
    let said = folder.said(&["run", "plan.json", "--dry-run"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("peak: ") && said.out.contains("all of it works"),
        "{}",
        said.out
    );
}

#[test]
fn a_plan_that_cannot_run_says_why() {
    let folder = Folder::new("plan-refused");
    let text = plan_file(&folder);
    let refused = |text: &str, more: &[&str]| {
        folder.write("other.json", text);
        let said = folder.said(&[["run", "other.json"].as_slice(), more].concat());
        assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
        said.err
    };
    let version = env!("CARGO_PKG_VERSION");
    let older = refused(&text.replacen(version, "0.0.1", 1), &[]);
    assert!(older.contains("made by rlpc 0.0.1, and this is"), "{older}");
    assert!(refused(&text[..text.len() / 2], &[]).contains("damaged"));
    assert!(refused("{}", &[]).contains("it is no plan"));
    let settled = refused(&text, &["--seed", "0"]);
    assert!(
        settled.contains("this plan has settled `--seed`"),
        "{settled}"
    );
    assert!(refused(&text, &["--set", "lr=1"]).contains("settled `--set`"));
    assert!(!folder.0.join("runs").exists());
}
