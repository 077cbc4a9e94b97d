//! The live line on a terminal: it fits, it goes away, and nothing of it reaches a pipe.

use std::process::{Command, Stdio};

use crate::Folder;

const PIPELINE: &str = r#"
pipeline p {
    let task   = data.arithmetic(digits: 2, ops: "+")
    let policy = model.causal_lm("tiny")
    let held   = sampler.rollout(policy, held_out(task), prompts: 64, samples: 1, max_tokens: 6)
    stage a_stage_with_a_long_name {
        let demos = sampler.demonstrations(task, prompts: 64)
        train policy {
            minimize loss.nll(logp(policy, demos))
            with     optimizer.adamw(lr: 1e-3)
            steps    40
            evaluate accuracy = mean(reward.exact_answer(held.text, held.answer)) every 20
        }
    }
}
"#;

/// What a terminal of so many columns is sent.
fn on_a_terminal(folder: &Folder, columns: u32, term: &str, more: &str) -> String {
    let engine = env!("CARGO_BIN_EXE_rlpc-engine");
    let line = format!("stty cols {columns} rows 24; {engine} run p.rlp --threads 1 {more}");
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(&folder.0)
        .env("TERM", term)
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// What is seen at last: lines that were overwritten or taken away are not.
fn seen(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        // What stands after the last return, or after the line was cleared.
        let last = line
            .trim_end_matches('\r')
            .rsplit(['\r'])
            .next()
            .unwrap_or_default();
        let last = last.rsplit("\u{1b}[2K").next().unwrap_or_default();
        lines.push(last.to_string());
    }
    lines
}

#[test]
fn a_live_line_fits_the_terminal_and_goes_away() {
    let folder = Folder::new("live");
    folder.write("p.rlp", PIPELINE);
    for columns in [40, 120] {
        let text = on_a_terminal(&folder, columns, "xterm", "");
        assert!(text.contains('█'), "{text:?}");
        let drawn = text
            .split(['\r', '\n'])
            .filter(|part| part.contains('█') || part.contains('░'));
        for part in drawn {
            let cells: usize = part
                .split('\u{1b}')
                .next()
                .unwrap_or_default()
                .chars()
                .count();
            assert!(
                cells <= columns as usize,
                "{cells} cells in {columns}: {part:?}"
            );
        }
        let seen = seen(&text);
        assert!(
            seen.iter()
                .all(|line| !line.contains('█') && !line.contains('░')),
            "{seen:?}"
        );
        assert!(
            seen.iter()
                .any(|line| line.contains("20  evaluated: accuracy")),
            "{seen:?}"
        );
        assert!(
            seen.iter().any(|line| line.starts_with("weights: ")),
            "{seen:?}"
        );
    }
}

#[test]
fn nothing_is_drawn_for_pipes_and_plain_terminals() {
    let folder = Folder::new("live-not");
    folder.write("p.rlp", PIPELINE);
    for (term, more) in [
        ("dumb", ""),
        ("xterm", "--quiet"),
        ("xterm", "--json"),
        ("xterm", "| cat"),
    ] {
        let text = on_a_terminal(&folder, 80, term, more);
        assert!(
            !text.contains('\u{1b}') && !text.contains('█'),
            "{term} {more}: {text:?}"
        );
    }
    let said = folder.said(&["run", "p.rlp", "--threads", "1"]);
    assert!(
        said.err.is_empty() && !said.out.contains('\u{1b}'),
        "{}",
        said.err
    );
}
