//! What the papers claim, in small: every comparison of `papers/comparisons.json` with three seeds. Minutes each.

use std::path::Path;
use std::process::Command;

/// Whether every claim of a paper's comparison holds, but for those that are reported as not shown.
fn holds(paper: &str) {
    let built = Path::new(env!("CARGO_BIN_EXE_rlpc")).with_file_name("xtask");
    let done = Command::new(&built)
        .args(["papers", paper])
        .output()
        .expect("xtask was built");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

macro_rules! papers {
    ($($paper:ident)*) => {
        $(
            #[test]
            #[ignore = "minutes"]
            fn $paper() {
                holds(stringify!($paper));
            }
        )*

        const PAPERS: &[&str] = &[$(stringify!($paper)),*];
    };
}

papers! {
    constrained_rlhf
    constrained_search
    dler
    dler_merge
    dot
    drpo
    gentle_outliers
    glow
    grpo_lambda
    inpo
    loss_reweighting
    madpo
    npo
    p3o
    pressed_weights
    quark_medical
    quark_ties
    raco
    rpo
    sparsepo
    tppo
}

#[test]
fn every_comparison_is_a_test() {
    let text = include_str!("papers/comparisons.json");
    let comparisons: Vec<serde_json::Value> =
        serde_json::from_str(text).expect("the comparisons are JSON");
    let mut compared: Vec<&str> = comparisons
        .iter()
        .map(|comparison| comparison["paper"].as_str().expect("a name"))
        .collect();
    compared.sort_unstable();
    assert_eq!(compared, PAPERS);
}

/// The page and the command tell of the same comparisons in the same words.
#[test]
fn the_command_prints_the_table_of_the_page() {
    let done = Command::new(env!("CARGO_BIN_EXE_rlpc"))
        .args(["doc", "--papers"])
        .output()
        .expect("rlpc runs");
    let printed = String::from_utf8(done.stdout).expect("text");
    let rows = |text: &str| -> Vec<String> {
        let is_row = |line: &&str| line.starts_with("| ");
        let table = text
            .lines()
            .skip_while(|line| !line.starts_with("| paper |"));
        table.take_while(is_row).map(str::to_string).collect()
    };
    let page = rows(include_str!("../docs/papers.md"));
    assert!(page.len() > PAPERS.len(), "{} rows", page.len());
    assert_eq!(rows(&printed), page);
}

/// Every comparison has been run, and what is said of a claim that does not show is what the page says.
#[test]
fn every_claim_was_measured() {
    let read = |text: &str| -> Vec<serde_json::Value> {
        serde_json::from_str(text).expect("comparisons are JSON")
    };
    let claims = |all: &[serde_json::Value]| -> Vec<(String, String, String)> {
        let of = |own: &serde_json::Value| {
            let paper = own["paper"].to_string();
            let claims = own["claims"].as_array().expect("claims").clone();
            claims
                .into_iter()
                .map(move |claim| {
                    let (says, tried) = (&claim["says"], &claim["not_shown"]);
                    (paper.clone(), says.to_string(), tried.to_string())
                })
                .collect::<Vec<_>>()
        };
        all.iter().flat_map(of).collect()
    };
    let stated = read(include_str!("papers/comparisons.json"));
    let found = read(include_str!("../docs/papers.json"));
    assert_eq!(claims(&found), claims(&stated));
}
