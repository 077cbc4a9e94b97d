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

/// The fenced programs of a text.
fn programs(text: &str) -> Vec<String> {
    let fenced = text
        .split("\n```rlp")
        .skip(1)
        .filter_map(|fenced| fenced.split_once('\n'));
    fenced
        .map(|(_, program)| {
            program
                .split("\n```")
                .next()
                .unwrap_or_default()
                .to_string()
                + "\n"
        })
        .collect()
}

#[test]
fn programs_are_without_problems() {
    let mut wrong = Vec::new();
    for name in DOCUMENTS {
        for (index, program) in programs(&document(name)).into_iter().enumerate() {
            let path = format!("{name}, program {}", index + 1);
            let mut files = Files::new();
            files.add(&path, Ok(program));
            let checked = check(&files, &path, &Settings::default());
            let look = Look {
                color: false,
                width: Some(100),
            };
            wrong.push(render(
                &checked.diagnostics,
                &checked.sources,
                Format::Short,
                look,
            ));
        }
    }
    assert!(wrong.concat().is_empty(), "{}", wrong.concat());
}

#[test]
fn programs_are_in_the_one_style() {
    let pages = disk::files_below("compiler/src/explain", "md");
    let documents = DOCUMENTS.map(|name| (name.to_string(), document(name)));
    let fenced = pages.into_iter().chain(documents).flat_map(|(path, text)| {
        programs(&text)
            .into_iter()
            .map(move |program| (path.clone(), program))
    });
    let files =
        ["stdlib", "examples", "cli/template"].map(|folder| disk::files_below(folder, "rlp"));
    let mut other = Vec::new();
    for (path, program) in fenced.chain(files.into_iter().flatten()) {
        match rlp_grammar::fmt(&program) {
            Ok(formatted) if formatted == program => {}
            Ok(formatted) => other.push(format!("{path}: not\n{program}but\n{formatted}")),
            // An example of a mistake of syntax has no style.
            Err(_) => {}
        }
    }
    assert!(
        other.is_empty(),
        "`rlpc fmt` would change {}\n{}",
        other.len(),
        other.join("\n")
    );
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
        "plan",
        "explain",
        "new",
        "completions",
        "run",
        "resume",
        "runs",
        "report",
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
