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
    dler
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
