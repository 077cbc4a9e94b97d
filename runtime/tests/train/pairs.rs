//! Preferences of two responses, and what files hold.

use std::fs;
use std::path::PathBuf;

use tch::Kind;

use crate::program::{told, try_told};

fn file(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rlpc-pairs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Two responses of eight letters a pair, and a stage that compares them.
fn compared(preferences: &str, report: &str) -> String {
    format!(
        r#"
        pipeline compared {{
            let task   = data.letters_peak(length: 8, symbols: 7, peak: 2)
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            stage warmup {{
                train policy {{
                    minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 16)))
                    with optimizer.adamw(lr: 2e-2)
                    steps 20
                }}
            }}
            stage align {{
                let duo   = sampler.once(sampler.rollout_pairs(policy, task, pairs: 200, max_tokens: 8))
                let pairs = {preferences}
                train policy {{
                    minimize 0 * mean(sum(logp(policy, pairs.chosen), over: token) - sum(logp(policy, pairs.rejected), over: token))
                    with optimizer.sgd(lr: 0.0)
                    minibatch 64
                    steps 2
                }}
                {report}
            }}
        }}
        "#
    )
}

#[test]
fn a_sure_judge_chooses_the_better_response_of_the_pairs_kept() {
    let text = compared(
        r#"sampler.preferences(
            duo,
            task.gold(duo.a.text),
            task.gold(duo.b.text),
            temperature: 1e-9,
            keep: task.covered(duo.a.text) and task.covered(duo.b.text),
        )"#,
        r#"report worse   = sum(real(task.gold(pairs.chosen.text) < task.gold(pairs.rejected.text))),
                  beyond  = sum(real(not task.covered(pairs.chosen.text) or not task.covered(pairs.rejected.text))),
                  kept    = sum(real(task.covered(duo.a.text) and task.covered(duo.b.text))),
                  pairs   = sum(ones_like(pairs.chosen.length)),
                  gap     = max(abs(logp(frozen(policy), pairs.chosen) - pairs.chosen.logp)),
                  flipped = mean(real(pairs.flipped))"#,
    );
    let told = told(&text, 5, Kind::Double);
    for name in ["worse", "beyond"] {
        assert_eq!(told.metric(name), [0.0, 0.0], "{name}");
    }
    assert_eq!(told.metric("kept"), told.metric("pairs"));
    assert!((10.0..200.0).contains(&told.metric("pairs")[0]));
    assert!(told.metric("gap").iter().all(|gap| *gap < 1e-6));
    let flipped = told.metric("flipped");
    assert!((0.3..0.7).contains(&flipped[0]), "{flipped:?}");
    assert_eq!(
        flipped[0], flipped[1],
        "comparisons of one draw are drawn once"
    );
}

#[test]
fn an_unsure_judge_errs_as_often_as_the_scores_say() {
    let text = compared(
        "sampler.preferences(duo, 0 * duo.a.length + 1, 0 * duo.b.length, temperature: 1.0)",
        "report flipped = mean(real(pairs.flipped)), pairs = sum(ones_like(pairs.chosen.length))",
    );
    let told = told(&text, 5, Kind::Double);
    assert_eq!(told.metric("pairs"), [200.0, 200.0]);
    // 1 − σ(1) = 0.269, with a standard deviation of 0.031
    let flipped = told.metric("flipped")[0];
    assert!((0.15..0.39).contains(&flipped), "{flipped}");
}

/// A stage over the rows of a file.
fn over_file(source: &str, body: &str) -> String {
    format!(
        r#"
        pipeline files {{
            let task   = {source}
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            stage align {{
                {body}
            }}
        }}
        "#
    )
}

const COMPARISONS: &str = r#"{"prompt": "2+2=", "chosen": "4", "rejected": "five"}

{"prompt": "1+2=", "chosen": "3", "rejected": "", "by": "a person"}
{"prompt": "1+1=", "chosen": "two", "rejected": "é"}
"#;

#[test]
fn comparisons_of_a_file_feed_a_preference_loss() {
    let path = file("comparisons.jsonl", COMPARISONS);
    let source = format!("data.comparisons(file: {path:?})");
    let body = r#"
        let pairs    = sampler.comparisons(task, pairs: 3)
        let ref      = frozen(policy)
        let chosen   = sum(logp(policy, pairs.chosen), over: token)
        let rejected = sum(logp(policy, pairs.rejected), over: token)
        train policy {
            minimize loss.dpo(chosen, rejected, sum(logp(ref, pairs.chosen), over: token), sum(logp(ref, pairs.rejected), over: token))
            with optimizer.adamw(lr: 1e-2)
            steps 20
        }
        report tokens = sum(pairs.chosen.length) + sum(pairs.rejected.length),
               prompts = sum(real(pairs.chosen.prompt_text == pairs.rejected.prompt_text)),
               words = sum(real(pairs.chosen.text == "two" and pairs.rejected.text == "é"))
    "#;
    let told = told(&over_file(&source, body), 1, Kind::Float);
    // 2 + 2 + 4 and 5 + 1 + 3 bytes with their ends.
    assert_eq!(told.metric("tokens"), [17.0; 20]);
    assert_eq!(told.metric("prompts"), [3.0; 20]);
    assert_eq!(told.metric("words"), [1.0; 20]);
    let losses = told.losses();
    assert!((losses[0] - 2f64.ln()).abs() < 1e-5, "{losses:?}");
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn a_forget_set_and_a_retain_set_are_two_files() {
    let forget = file(
        "forget.jsonl",
        "{\"prompt\": \"who?\", \"response\": \"Ann\"}\n",
    );
    let retain = file(
        "retain.jsonl",
        "{\"prompt\": \"where?\", \"response\": \"here\", \"answer\": \"there\"}",
    );
    let source = format!("data.responses(file: {forget:?})");
    let body = format!(
        r#"
        let forget = sampler.demonstrations(task, prompts: 1)
        let retain = sampler.demonstrations(data.responses(file: {retain:?}), prompts: 1)
        let now    = sum(logp(policy, forget), over: token)
        train policy {{
            minimize loss.npo(now, sum(logp(frozen(policy), forget), over: token), beta: 1) + loss.nll(logp(policy, retain))
            with optimizer.adamw(lr: 1e-2)
            steps 30
        }}
        report forget = mean(now), retain = -loss.nll(logp(policy, retain)), answer = sum(real(retain.answer == "there"))
        "#
    );
    let told = told(&over_file(&source, &body), 1, Kind::Float);
    let (forget, retain) = (told.metric("forget"), told.metric("retain"));
    assert!(forget[29] < forget[0] - 2.0, "{forget:?}");
    assert!(retain[29] > retain[0] + 2.0, "{retain:?}");
    assert_eq!(told.metric("answer"), [1.0; 30]);
}

#[test]
fn a_row_that_does_not_fit_is_named_by_its_line() {
    let cases = [
        (
            "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n\n{\"prompt\": \"a\", \"chosen\": \"b\"}\n",
            "line 3: has no field `rejected`",
        ),
        (
            "{\"prompt\": \"a\", \"chosen\": {}, \"rejected\": \"c\"}",
            "line 1: `chosen` is an object, where a text is expected",
        ),
        (
            "{\"prompt\": \"\", \"chosen\": \"b\", \"rejected\": \"c\"}",
            "line 1: the prompt is empty",
        ),
        ("[1]\n", "line 1: is no object"),
        ("{\"prompt\"\n", "line 1: is no JSON"),
        ("\n\n", "has no rows"),
    ];
    for (number, (rows, says)) in cases.into_iter().enumerate() {
        let path = file(&format!("bad-{number}.jsonl"), rows);
        let source = format!("data.comparisons(file: {path:?})");
        let body = "report pairs = sum(sampler.comparisons(task, pairs: 1).chosen.length) + 0 * sum(logp(policy, sampler.demonstrations(task, prompts: 1)))\n steps 1";
        let error = try_told(&over_file(&source, body), 1, Kind::Float)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(says), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn hidden_states_are_those_of_every_layer() {
    let body = r#"
        let demos  = sampler.demonstrations(task, prompts: 4)
        let states = hidden(policy, demos)
        let both   = sum(states * states, over: [layer, feature])
        report layers = layer, features = feature, empty = sum(real(both == 0)), tokens = sum(demos.length), seen = count(both)
        train policy {
            minimize loss.nll(logp(policy, demos))
            with optimizer.sgd(lr: 0.0)
            steps 1
        }
    "#;
    let text = over_file("data.arithmetic()", body).replace("layers: 1", "layers: 3");
    let told = told(&text, 1, Kind::Double);
    assert_eq!(told.metric("layers"), [3.0]);
    assert_eq!(told.metric("features"), [16.0]);
    assert_eq!(told.metric("empty"), [0.0]);
    assert_eq!(told.metric("tokens"), told.metric("seen"));
}
