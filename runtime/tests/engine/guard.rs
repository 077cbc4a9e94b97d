//! A number that is not finite: what is told and kept of it, and runs that go on without its minibatch.

use std::fs;

use serde_json::Value as Json;

use crate::{Folder, Said};

/// In some minibatches, all responses have as many tokens as are drawn, and the logarithm of 0 is taken.
const PIPELINE: &str = r#"
pipeline p {
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    stage rl {
        let rollouts = sampler.rollout(policy, task, prompts: 4, samples: 2, max_tokens: 2)
        let short    = sum(2 - rollouts.length)
        train policy {
            minimize  mean(logp(policy, rollouts)) * log(short)
            with      optimizer.adamw(lr: 1e-3)
            steps     6
            minibatch 2
            CLAUSE
        }
    }
}
"#;

fn run(folder: &Folder, more: &[&str]) -> Said {
    folder.said(&[&["run", "p.rlp", "--threads", "1"], more].concat())
}

fn told(said: &Said, event: &str) -> Vec<Json> {
    let told = said.json().into_iter();
    told.filter(|line| line["event"] == event).collect()
}

#[test]
fn what_is_not_finite_is_told_and_its_minibatch_is_kept() {
    let folder = Folder::new("guard");
    folder.write("p.rlp", &PIPELINE.replace("CLAUSE", ""));
    for executor in ["eager", "fused"] {
        let said = run(&folder, &["--executor", executor, "--run-dir", executor]);
        assert_eq!(said.code, Some(3), "{}", said.err);
        for words in [
            "error[not-finite]: a value here is not finite",
            "log(short)",
            "infinite",
            "it was given 0",
        ] {
            assert!(said.err.contains(words), "{words}: {}", said.err);
        }
        let path = said
            .out
            .lines()
            .find_map(|line| line.strip_prefix("minibatch: "));
        let path = folder.0.join(path.unwrap());
        let bytes = fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
        assert_eq!(shape("sampler.rollout.tokens")[..2], [2, 1]);
        assert_eq!(shape("sampler.rollout#token")[..2], [2, 1]);
        // As `rlpc graph` numbers it: the logarithm, which the rollout phase computes.
        assert!(shape("%13").is_empty());
        let text = fs::read_to_string(path.with_extension("json")).unwrap();
        let texts: Json = serde_json::from_str(&text).unwrap();
        let prompts = texts["sampler.rollout.prompt_text"].as_array().unwrap();
        assert_eq!(prompts.len(), 2);
        assert!(prompts[0][0].as_str().unwrap().contains('+'), "{text}");
    }
}

#[test]
fn a_minibatch_may_be_left_out() {
    let folder = Folder::new("skip");
    folder.write(
        "p.rlp",
        &PIPELINE.replace("CLAUSE", "on_nonfinite skip(99)"),
    );
    let said = run(&folder, &["--json", "--run-dir", "whole"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let left_out = told(&said, "not_finite");
    assert!(left_out.len() > 1, "{}", said.out);
    for (number, event) in left_out.iter().enumerate() {
        assert_eq!(event["skipped"], number + 1);
        let minibatch = event["minibatch"].as_str().unwrap();
        assert!(folder.0.join("whole").join(minibatch).exists());
    }
    let updates = |line: &Json| line["updates"].as_u64().unwrap_or(0);
    let updates: u64 = told(&said, "step").iter().map(updates).sum();
    assert_eq!(updates + left_out.len() as u64, 6 * 4);

    // Not more often than it may; and a run that goes on knows how often it was.
    let most = left_out.len() - 1;
    let text = PIPELINE.replace("CLAUSE", &format!("on_nonfinite skip({most})"));
    folder.write("p.rlp", &text);
    let said = run(
        &folder,
        &["--json", "--run-dir", "out", "--checkpoint-every", "1"],
    );
    assert_eq!(said.code, Some(3), "{}", said.err);
    let events = told(&said, "not_finite");
    assert_eq!(events.len(), most + 1);
    assert_eq!(events[most]["skipped"], Json::Null);
    let again = folder.said(&["resume", "out", "--json"]);
    assert_eq!(again.code, Some(3), "{}", again.err);
    assert_eq!(told(&again, "not_finite").last(), events.last());
}

/// Both its loss and its gradient are finite, but the second tensor is too large after the update; the first is updated by
/// another run of the rule, and its momentum must not be that of the update that was left out.
#[test]
fn an_update_that_is_left_out_changes_neither_weights_nor_states() {
    let folder = Folder::new("left-out-update");
    folder.write(
        "p.rlp",
        "optimizer heavy(lr: real) {
            state momentum = zeros_like(param)
            let next = 0.5 * momentum + grad
            momentum <- next
            param <- param - lr * next
        }
        pipeline p {
            param x: real[row: 70000] = zeros(row)
            param y: real[col: 70000] = zeros(col)
            stage a {
                let pull = if step == 2 { 1e38 } else { 1.0 }
                train x, y {
                    minimize     sum(x) * 1e-37 + pull * sum(y - stop_grad(y))
                    with         heavy(lr: 10)
                    steps        3
                    on_nonfinite skip(1)
                }
            }
        }",
    );
    let said = run(&folder, &["--run-dir", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains(
            "a minibatch is left out, 1 of at most 1: `y` after an update by `optimizer.heavy` is not finite"
        ),
        "{}",
        said.out
    );
    let bytes = fs::read(folder.0.join("out/final/y.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let first = f32::from_le_bytes(file.tensor("y").unwrap().data()[..4].try_into().unwrap());
    // Of the first step −10 · 1, of the third −10 · (0.5 + 1).
    assert_eq!(first, -25.0, "{}", said.out);
}
