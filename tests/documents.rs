//! The programs and commands that the documents show.

use std::fs;

use regex::Regex;
use rlp_compiler::{Settings, check};
use rlp_frontend::{Files, Format, Look, render};

use crate::disk;

const DOCUMENTS: [&str; 3] = ["README.md", "LANGUAGE.md", "CONTRIBUTING.md"];

fn document(name: &str) -> String {
    fs::read_to_string(disk::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn programs_are_without_problems() {
    let mut wrong = Vec::new();
    for name in DOCUMENTS {
        let text = document(name);
        for (index, fenced) in text.split("\n```rlp\n").skip(1).enumerate() {
            let program = fenced.split("\n```").next().unwrap_or_default();
            let path = format!("{name}, program {}", index + 1);
            let mut files = Files::new();
            files.add(&path, Ok(format!("{program}\n")));
            let checked = check(&files, &path, &Settings::default());
            if !checked.diagnostics.is_empty() {
                wrong.push(render(
                    &checked.diagnostics,
                    &checked.sources,
                    Format::Short,
                    Look {
                        color: false,
                        width: Some(100),
                    },
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn commands_and_files_are_there() {
    let command = Regex::new(r"`?\brlpc ([a-z]+)\b").expect("a regular expression");
    let link = Regex::new(r"\]\(([A-Za-z][^)#:]*)\)").expect("a regular expression");
    let tasks = [
        "check",
        "fmt",
        "doc",
        "graph",
        "why",
        "explain",
        "new",
        "completions",
        "run",
        "resume",
        "test",
        "eval",
        "bench",
        "help",
    ];
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = document(name);
        let fenced: String = text.split("```").skip(1).step_by(2).collect();
        for found in command
            .captures_iter(&fenced)
            .filter(|found| !found[0].starts_with('`'))
        {
            assert!(
                tasks.contains(&&found[1]),
                "{name} shows `rlpc {}`",
                &found[1]
            );
        }
        for found in link.captures_iter(&text) {
            assert!(
                disk::root().join(&found[1]).exists(),
                "{name} links to {}",
                &found[1]
            );
        }
    }
}
