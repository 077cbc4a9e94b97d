//! `bench`: what is timed, on what arguments, and what is refused.

use serde_json::Value as Json;

use crate::{Folder, Said};

const OWN: &str = r#"
/// A loss of a file of one's own.
///
/// result = mean over tokens of x · weight
loss weighted(
    x:      real[prompt, sample, token],
    weight: real[prompt],
    scale:  real = 1.0,
) -> real {
    mean(x * weight) * scale
}

/// Whether the answer stands between its tags.
///
/// result = 1 if it does, else 0
reward tagged(text: text[prompt, sample], answer: text[prompt, sample]) -> real[prompt, sample] {
    if trim(between(text, "<answer>", "</answer>")) == answer { 1.0 } else { 0.0 }
}

/// Steps against the gradient.
///
/// param ← param − lr · grad
optimizer plain(lr: real) {
    param <- param - lr * grad
}

pipeline small {
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)

    stage rl {
        let rollouts = sampler.rollout(policy, task, prompts: 2, samples: 4, max_tokens: 3)
        train policy {
            minimize  loss.ppo_clip(logp(policy, rollouts), rollouts.logp, advantage.group_norm(rollouts.length))
            with      optimizer.adamw(lr: 1e-3)
            steps     9
            minibatch 4
        }
        report length = mean(rollouts.length)
    }
}
"#;

fn bench(name: &str, arguments: &[&str]) -> Said {
    let folder = Folder::new(name);
    folder.write("own.rlp", OWN);
    folder.said(&[&["bench"], arguments, &["--threads", "1", "--repeat", "2"]].concat())
}

fn lines(name: &str, arguments: &[&str]) -> Vec<Json> {
    let said = bench(name, &[arguments, &["--json"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.json()
}

fn number(line: &Json, name: &str) -> f64 {
    line[name]
        .as_f64()
        .unwrap_or_else(|| panic!("`{name}` in {line}"))
}

#[test]
fn a_block_is_timed_in_each_executor() {
    let size = "--size=prompt=3,sample=2,token=5";
    let told = lines(
        "bench-block",
        &["own.rlp:loss.weighted", size, "--wrt", "x"],
    );
    let executors: Vec<&str> = told
        .iter()
        .map(|line| line["executor"].as_str().unwrap())
        .collect();
    assert_eq!(executors, ["eager", "fused"]);
    for line in &told {
        // x and weight are read, the result and the gradient by x are written; 4 bytes each.
        assert_eq!(number(line, "bytes"), 4.0 * f64::from(30 + 3 + 1 + 30));
        assert!(number(line, "seconds") <= number(line, "median_seconds"));
        assert!(number(line, "seconds") > 0.0 && number(line, "first_seconds") > 0.0);
        assert_eq!(
            (&line["name"], &line["threads"]),
            (&"loss.weighted".into(), &1.into())
        );
    }
    assert_eq!(told[0]["ratio"], 1.0);
}

#[test]
fn precision_and_raggedness_are_chosen() {
    let told = lines(
        "bench-precision",
        &[
            "own.rlp:loss.weighted",
            "--size=prompt=4,sample=1,token=8",
            "--filled=0.8",
            "--precision=f64",
            "--executor=eager",
        ],
    );
    assert_eq!((told.len(), &told[0]["precision"]), (1, &"f64".into()));
    assert_eq!(number(&told[0], "bytes"), 8.0 * f64::from(32 + 4 + 1));
}

#[test]
fn texts_are_made_for_a_reward() {
    let reward = "own.rlp:reward.tagged";
    let told = lines(
        "bench-reward",
        &[
            reward,
            "--size=prompt=40,sample=2",
            "--executor=eager",
            "--characters=60",
        ],
    );
    // 80 texts of 60 characters, 80 answers of one to four, 80 results of 8 bytes, since no tensor
    // among the arguments asks for less.
    let answers = number(&told[0], "bytes") - 80.0 * (60.0 + 8.0);
    assert!((80.0..=320.0).contains(&answers), "{answers}");
}

#[test]
fn an_optimizer_is_timed_over_the_matrices_of_a_model() {
    for rule in ["optimizer.adamw", "own.rlp:optimizer.plain"] {
        let told = lines("bench-optimizer", &[rule, "--parameters", "20k"]);
        // Two layers of width 32: 4 · 32² + 3 · 32 · 86 each.
        assert_eq!(number(&told[0], "parameters"), 2.0 * 12_352.0);
        assert!(number(&told[0], "seconds") > 0.0);
    }
}

#[test]
fn a_pipeline_is_timed_part_by_part() {
    let told = lines("bench-pipeline", &["own.rlp", "--steps", "3"]);
    let [stage] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (&stage["stage"], &stage["repeat"]),
        (&"rl".into(), &2.into())
    );
    assert!((8.0..=24.0).contains(&number(stage, "tokens")));
    let parts = stage["parts"].as_object().unwrap();
    let of = |name: &str| number(&parts[name], "median_seconds");
    for part in [
        "rollout: decoding",
        "update: forward",
        "update: backward",
        "optimizer",
        "report",
    ] {
        assert!(of(part) > 0.0, "{part}");
    }
    let all: f64 = parts.keys().map(|name| of(name)).sum();
    assert!(
        all < 2.0 * number(stage, "median_seconds"),
        "{all} in {stage}"
    );
}

#[test]
fn people_get_a_table() {
    let said = bench(
        "bench-table",
        &["own.rlp:loss.weighted", "--size=prompt=3,sample=2,token=5"],
    );
    let mut lines = said.out.lines();
    assert_eq!(
        lines.next(),
        Some("loss.weighted prompt=3 sample=2 token=5, f32, 1 thread")
    );
    assert!(lines.next().unwrap().trim_start().starts_with("executor"));
    assert!(lines.next().unwrap().trim_start().starts_with("eager"));
}

#[test]
fn what_cannot_be_timed_is_refused() {
    for (arguments, code, words) in [
        (&["loss.weigthed"][..], 1, "loss.weigthed"),
        (&["loss.mse"], 1, "size of dimension `..`"),
        (
            &["loss.ppo_clip", "--size=prompt=4,tokn=8"],
            1,
            "--size token=…",
        ),
        (&["loss.nll", "--size=..=8", "--wrt=x"], 1, "`x`"),
        (&["loss.nll", "--parameters=1M"], 1, "is no optimizer"),
        (&["own.rlp", "--executor=eager,fused"], 1, "a pipeline"),
        (&["missing.rlp"], 1, "missing.rlp"),
        (&["loss.nll", "--size=example=0"], 2, "`0`"),
        (&["loss.nll", "--repeat=0"], 2, "at least 1"),
        (&["loss.nll", "--filled=0.3"], 2, "above 0.5"),
    ] {
        let folder = Folder::new("bench-refused");
        folder.write("own.rlp", OWN);
        let said = folder.said(&[&["bench"], arguments, &["--threads", "1"]].concat());
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}
