//! Data sources that read files, in runs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tch::Kind;

use crate::program::{told, try_told};

fn file(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rlpc-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn program(source: &str, body: &str) -> String {
    format!(
        r#"
        pipeline files {{
            let task   = {source}
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32, positions: 64)
            stage only {{
                {body}
            }}
        }}
        "#
    )
}

const TRAIN: &str = "train policy { minimize loss.nll(logp(policy, demos)) with optimizer.adamw(lr: 1e-3) steps 3 }";

/// Sums of two digits: 100 rows, whose answers are numbers.
fn sums() -> PathBuf {
    let row = |n: u32| {
        let (a, b) = (n / 10, n % 10);
        format!(
            "{{\"id\": {n}, \"q\": {{\"a\": {a}, \"b\": \"{b}\"}}, \"sum\": {}}}\n",
            a + b
        )
    };
    file("sums.jsonl", &(0..100).map(row).collect::<String>())
}

#[test]
fn rows_become_prompts_answers_and_demonstrations() {
    let path = sums();
    let source = format!(
        "data.jsonl({path:?}, template: \"{{q.a}}+{{q.b}}=\", answer: \"sum\", system: \"Add.\")"
    );
    let body = format!(
        r#"
        let demos    = sampler.demonstrations(task, prompts: 100)
        let rollouts = sampler.rollout(policy, task, prompts: 50, samples: 2, max_tokens: 3)
        report right  = sum(real(number(before(demos.prompt_text, "+")) + number(before(after_first(demos.prompt_text, "+"), "=")) == number(demos.answer))),
               same   = sum(real(demos.text == demos.answer)),
               prompt = mean(count(demos.prompt_tokens, over: prompt_token)),
               items  = sum(real(demos.item)), asked = count(rollouts.text)
        {TRAIN}
        "#
    );
    let told = told(&program(&source, &body), 1, Kind::Float);
    assert_eq!(told.metric("right"), [100.0; 3]);
    assert_eq!(told.metric("same"), [100.0; 3]);
    // `Add.`, an empty line and `1+2=`.
    assert_eq!(told.metric("prompt"), [10.0; 3]);
    assert_eq!(told.metric("asked"), [100.0; 3]);
    // An epoch has every row once, whatever its order.
    assert_eq!(
        told.metric("items")
            .iter()
            .map(|sum| *sum as u64)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
}

#[test]
fn what_is_held_out_is_never_trained_on() {
    let path = sums();
    let source = format!("data.jsonl({path:?}, prompt: \"id\", answer: \"sum\")");
    let body = |more: &str| {
        format!(
            r#"
            let demos = sampler.demonstrations(task, prompts: 20)
            {more}
            report sum = sum(number(demos.prompt_text))
            train policy {{ minimize loss.nll(logp(policy, demos)) with optimizer.adamw(lr: 1e-3) steps 10 }}
            "#
        )
    };
    // Two epochs of all rows: twice 0 + 1 + … + 99.
    let told_all = told(&program(&source, &body("")), 1, Kind::Float);
    assert_eq!(told_all.metric("sum").iter().sum::<f64>(), 9900.0);
    // The part that is held out, by its name and as the rest of the others.
    let both = r#"
        let rest = sampler.demonstrations(held_out(task), prompts: 100)
        let own  = sampler.demonstrations(data.jsonl(PATH, prompt: "id", answer: "sum", split: "held_out"), prompts: 20)
        report held = sum(number(rest.prompt_text)), count = count(rest.text), meet = sum(real(number(own.prompt_text) < 0))
    "#;
    let both = both.replace("PATH", &format!("{path:?}"));
    let told_both = told(&program(&source, &body(&both)), 1, Kind::Float);
    let (held, count) = (told_both.metric("held")[0], told_both.metric("count")[0]);
    assert!((1.0..30.0).contains(&count) && held > 0.0, "{count} rows");
    assert_eq!(told_both.metric("count"), [count; 10]);
}

#[test]
fn rows_come_in_an_order_that_follows_from_the_seed() {
    let path = sums();
    let source = format!("data.jsonl({path:?}, prompt: \"id\", answer: \"sum\")");
    let body = format!(
        "let demos = sampler.demonstrations(task, prompts: 10)\n report order = sum(number(demos.prompt_text) * real(position(example)))\n {TRAIN}"
    );
    let order = |seed| told(&program(&source, &body), seed, Kind::Float).metric("order");
    assert_eq!(order(3), order(3));
    assert_ne!(order(3), order(4));
}

#[test]
fn rows_that_no_model_can_read_are_found_before_the_first_step() {
    let long = "x".repeat(60);
    let path = file(
        "long.jsonl",
        &format!(
            "{{\"prompt\": \"a\", \"answer\": \"b\"}}\n{{\"prompt\": \"{long}\", \"answer\": \"bcde\"}}\n"
        ),
    );
    let source = |more: &str| format!("data.jsonl({path:?}{more})");
    let demos = format!(
        "let demos = sampler.demonstrations(task, prompts: 1)\n report rows = count(demos.text)\n {TRAIN}"
    );
    let rollouts = "let drawn = sampler.rollout(policy, task, prompts: 1, samples: 2, max_tokens: 8)
        train policy { minimize loss.reinforce(logp(policy, drawn), drawn.length) with optimizer.adamw(lr: 1e-3) steps 2 }";
    let error = |source: &str, body: &str| {
        let error = try_told(&program(source, body), 1, Kind::Float)
            .err()
            .unwrap();
        assert_eq!(error.fault.code(), "bad-row");
        error.to_string()
    };
    let said = error(&source(""), &demos);
    assert!(
        said.contains(
            "line 2: prompt and response have 65 tokens, where 64 fit: `policy` has 64 positions"
        ),
        "{said}"
    );
    let said = error(&source(""), rollouts);
    assert!(said.contains("line 2: the prompt has 60 tokens, where 56 fit: `policy` has 64 positions, and a response up to 8"), "{said}");
    let said = error(&source(", max_prompt: 20"), &demos);
    assert!(
        said.contains("line 2: the prompt has 60 tokens, where 20 fit: `max_prompt`"),
        "{said}"
    );
    assert_eq!(
        told(&program(&source(", skip: 1"), &demos), 1, Kind::Float).metric("rows"),
        [1.0; 3]
    );
}

#[test]
fn a_conversation_needs_a_chat_template() {
    let path = file(
        "chat.jsonl",
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}"#,
    );
    let demos = format!("let demos = sampler.demonstrations(task, prompts: 1)\n {TRAIN}");
    let text = program(
        &format!("data.jsonl({path:?}, messages: \"messages\")"),
        &demos,
    );
    let error = try_told(&text, 1, Kind::Float).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("is a conversation, and the model has no chat template"),
        "{error}"
    );

    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pretrained/models/qwen2");
    let chat = text.replace(
        "model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32, positions: 64)",
        &format!(
            "model.causal_lm({:?}, chat: true)",
            model.display().to_string()
        ),
    );
    let report = "report answer = sum(real(demos.text == \"d\" and demos.answer == \"d\")), tokens = sum(demos.length), before = mean(count(demos.prompt_tokens, over: prompt_token))\n train policy";
    let told_chat = told(&chat.replacen("train policy", report, 1), 1, Kind::Float);
    assert_eq!(told_chat.metric("answer"), [1.0; 3]);
    // The response alone is predicted: `d` and the end; all that was said before is context.
    let before = told_chat.metric("before")[0];
    assert!(
        told_chat.metric("tokens")[0] <= 3.0 && before > 10.0,
        "{before}"
    );
}

#[test]
fn text_is_cut_into_pieces_that_are_drawn_once_an_epoch() {
    let words: String = (0..400).map(|n| format!("word{n} ")).collect();
    let path = file("words.txt", &words);
    let source = format!("data.text({path:?}, tokens: 32)");
    // 3490 bytes make 109 pieces of 32 and a rest of 2, which goes with the last.
    let pieces = (words.len() - 3).div_ceil(32);
    let body = format!(
        "let demos = sampler.demonstrations(task, prompts: {pieces})
        report bytes = sum(demos.length) + sum(count(demos.prompt_tokens, over: prompt_token)), items = sum(real(demos.item)), longest = max(demos.length, over: example)
        {TRAIN}"
    );
    let told = told(&program(&source, &body), 1, Kind::Float);
    // All bytes and one end.
    assert_eq!(told.metric("bytes"), [words.len() as f64 + 1.0; 3]);
    assert_eq!(
        told.metric("items"),
        [(pieces * (pieces - 1) / 2) as f64; 3]
    );
    assert!(told.metric("longest")[0] <= 33.0);
}
