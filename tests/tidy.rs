//! What must stay true of the repository's own text, as far as a machine can see it.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use rlp_compiler::doc;

use crate::disk;

/// The crates, and the tests of the command.
const CODE: [&str; 14] = [
    "grammar",
    "stdlib",
    "text",
    "compiler",
    "frontend",
    "record",
    "locate",
    "transformer",
    "data",
    "account",
    "runtime",
    "cli",
    "xtask",
    "tests",
];

/// A file is one idea; what is longer than this is most often two.
const MOST_LINES: usize = 500;

/// A page of cases may be longer.
const MOST_LINES_OF_TESTS: usize = 650;

fn code() -> Vec<(String, String)> {
    CODE.iter()
        .flat_map(|folder| disk::files_below(folder, "rs"))
        .collect()
}

/// Fails with every offending place, not with the first.
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    let silent = code()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path);
    none("without `//!`", silent.collect());
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    let long = code().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        let most = if path.contains("tests/") {
            MOST_LINES_OF_TESTS
        } else {
            MOST_LINES
        };
        (lines > most).then(|| format!("{path}: {lines} lines, at most {most}"))
    });
    none("too long", long.collect());
}

/// Places where a pattern occurs in the code below some folders, outside comments.
fn occurrences(folders: &[&str], pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).expect("a regular expression");
    let mut found = Vec::new();
    for (path, text) in folders
        .iter()
        .flat_map(|folder| disk::files_below(folder, "rs"))
    {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if pattern.is_match(code) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_runtime_names_libtorch() {
    let others = [
        "grammar", "stdlib", "text", "compiler", "frontend", "record", "locate", "data", "account",
        "cli",
    ];
    none("names `tch`", occurrences(&others, r"\btch::|\btch\b *="));
}

#[test]
fn the_compiler_reads_and_writes_nothing_and_asks_no_clock() {
    let world = r"\bstd::(fs|io|env|net|process|thread|time)\b|\bInstant\b|\bSystemTime\b|\bprintln!|\beprintln!";
    none(
        "touches the world",
        occurrences(&["grammar/src", "text/src", "compiler/src"], world),
    );
}

#[test]
fn nothing_is_left_to_do() {
    let words = Regex::new(&format!(
        r"\b({}|{})\b|\b{}!",
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["to", "do"].concat()
    ));
    let words = words.expect("a regular expression");
    let library = disk::files_below("stdlib", "rlp")
        .into_iter()
        .chain(disk::files_below("examples", "rlp"));
    let open = code()
        .into_iter()
        .chain(library)
        .filter(|(_, text)| words.is_match(text));
    none("left to do", open.map(|(path, _)| path).collect());
}

#[test]
fn every_block_has_its_equation_its_source_and_a_test() {
    let mut wrong = Vec::new();
    for (path, text) in disk::files_below("stdlib", "rlp") {
        let blocks = doc::blocks(&path, &text);
        let tests = text
            .split("\ntest \"")
            .skip(1)
            .collect::<Vec<_>>()
            .join("\n");
        for block in &blocks {
            let name = format!("{path}: {}.{}", block.kind, block.name);
            if block.source.is_none() {
                wrong.push(format!("{name} has no `Source:`"));
            }
            // Resources and samplers say what they draw, not what they compute.
            let native = text.contains(&format!("native {} {}(", block.kind, block.name));
            if !native && !block.doc.lines().any(|line| line.contains(" = ")) {
                wrong.push(format!("{name} has no equation"));
            }
            if !native && !tests.contains(&format!("{}(", block.name)) {
                wrong.push(format!("{name} has no test"));
            }
        }
    }
    none("the standard library", wrong);
}

#[test]
fn the_map_in_architecture_is_the_disk() {
    let text =
        std::fs::read_to_string(disk::root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let map = text
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a map");
    // Two spaces of indentation a level: what a line names is inside what is above it.
    let mut inside: Vec<&str> = Vec::new();
    let mut named = BTreeSet::new();
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let level = (line.len() - line.trim_start().len()) / 2;
        inside.truncate(level);
        inside.push(line.split_whitespace().next().unwrap_or_default());
        named.insert(inside.concat().trim_end_matches('/').to_string());
    }
    none(
        "on the map only",
        named
            .iter()
            .filter(|path| !disk::root().join(path).exists())
            .cloned()
            .collect(),
    );
    let folder = |path: String| {
        Path::new(&path)
            .parent()
            .map(|folder| folder.display().to_string())
    };
    let folders: BTreeSet<String> = code()
        .into_iter()
        .chain(disk::files_below("stdlib", "rlp"))
        .chain(disk::files_below("examples", "rlp"))
        .filter_map(|(path, _)| folder(path))
        // What is below a folder of tests belongs to its tests, and a part of a part is not for a map.
        .filter(|path| !path.contains("/tests") && path.split('/').count() <= 3)
        .collect();
    none(
        "on the disk only",
        folders.difference(&named).cloned().collect(),
    );
}
