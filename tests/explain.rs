//! `rlpc explain`: every diagnostic has a page, and the examples on it do what they say.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use regex::Regex;
use rlp_account::{Options, account, misfits};
use rlp_compiler::explain::{EXPLANATIONS, Example};
use rlp_compiler::{Checked, Settings, block, check};
use rlp_frontend::{Files, Format, Look, render};

use crate::disk;

/// Codes that a plan or a run raises; those of runs have their examples run by the tests of the engine.
pub(crate) const OF_RUNS: [&str; 11] = [
    "assertion-failed",
    "constant-groups",
    "constant-reward",
    "empty-batch",
    "entropy-collapsed",
    "memory-exceeded",
    "not-finite",
    "ratio-not-one",
    "ratio-outside",
    "rollouts-cut",
    "sizes-disagree",
];

/// Codes that no file of a few lines raises; [`limits_and_commands_raise_the_rest`], or a test of the engine, does.
const WITHOUT_EXAMPLE: [&str; 8] = [
    "bad-row",
    "file-too-large",
    "no-derivative",
    "not-evaluable",
    "ratio-not-one",
    "too-deep",
    "too-large",
    "too-many-files",
];

fn checked(example: &Example) -> Checked {
    let mut files = Files::new();
    files.add("example.rlp", Ok(example.text.to_string()));
    let settings = example
        .settings
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    check(&files, "example.rlp", &Settings(settings.collect()))
}

fn shown(checked: &Checked) -> String {
    render(
        &checked.diagnostics,
        &checked.sources,
        Format::Short,
        Look {
            color: false,
            width: Some(100),
        },
    )
}

#[test]
fn examples_fail_and_work_as_they_say() {
    let mut wrong = String::new();
    for page in EXPLANATIONS {
        let code = page.code;
        for example in page.examples("fails") {
            let checked = checked(&example);
            if !checked
                .diagnostics
                .iter()
                .any(|diagnostic| diagnostic.code == code)
            {
                let _ = writeln!(
                    wrong,
                    "{code}: the failing example says\n{}{}",
                    shown(&checked),
                    example.text
                );
            }
        }
        for example in ["stops", "warns", "plans"]
            .map(|kind| page.examples(kind))
            .concat()
        {
            let checked = checked(&example);
            if !checked.diagnostics.is_empty() {
                let said = shown(&checked);
                let _ = writeln!(wrong, "{code}: what stops while running says\n{said}");
            }
        }
        for example in page.examples("works") {
            let checked = checked(&example);
            if !checked.diagnostics.is_empty() {
                let _ = writeln!(
                    wrong,
                    "{code}: the working example says\n{}{}",
                    shown(&checked),
                    example.text
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn examples_of_plans_take_too_much_and_others_do_not() {
    let options = Options {
        is_on_gpu: false,
        threads: 1,
    };
    let mut count = 0;
    for page in EXPLANATIONS {
        let plans = page.examples("plans");
        if plans.is_empty() {
            continue;
        }
        for (is_too_much, example) in [(true, &plans[0]), (false, &page.examples("works")[0])] {
            let checked = checked(example);
            let plan = &checked.plans[0];
            let account = account(plan, options, None).expect("an account");
            let found = misfits(plan, &account, options, 16 << 30);
            assert_eq!(!found.is_empty(), is_too_much, "{found:?}");
            assert!(found.iter().all(|own| own.code == page.code));
            count += 1;
        }
    }
    assert_eq!(count, 2);
}

#[test]
fn pages_have_a_title_a_meaning_and_both_kinds_of_example() {
    for page in EXPLANATIONS {
        assert!(
            page.text.starts_with(&format!("# {}: ", page.code)),
            "{}",
            page.code
        );
        assert!(
            page.title()
                .starts_with(|first: char| first.is_lowercase() || first == '`'),
            "{}",
            page.code
        );
        let failing = match OF_RUNS.contains(&page.code) {
            true => ["stops", "warns", "plans"]
                .map(|kind| page.examples(kind))
                .concat(),
            false => page.examples("fails"),
        };
        let has_example = !failing.is_empty() && !page.examples("works").is_empty();
        assert_ne!(
            has_example,
            WITHOUT_EXAMPLE.contains(&page.code),
            "{}",
            page.code
        );
        assert!(
            page.text.lines().all(|line| line.chars().count() <= 130),
            "{}",
            page.code
        );
    }
    assert!(EXPLANATIONS.is_sorted_by_key(|page| page.code));
}

#[test]
fn every_code_in_the_sources_has_a_page_and_every_page_a_code() {
    // The first argument of a constructor, or one branch of what is chosen from.
    let code = Regex::new(r#"(?:\(|\{|=>)\s*"([a-z0-9]+(?:-[a-z0-9]+)*)""#);
    let code = code.expect("a regular expression");
    let mut raised = BTreeSet::new();
    for folder in ["compiler/src/elaborate", "grammar/src", "data/src"] {
        for (_, text) in disk::files_below(folder, "rs") {
            raised.extend(code.captures_iter(&text).map(|found| found[1].to_string()));
        }
    }
    let pages: BTreeSet<String> = EXPLANATIONS
        .iter()
        .map(|page| page.code.to_string())
        .collect();
    let on_disk: BTreeSet<String> = disk::files_below("compiler/src/explain", "md")
        .into_iter()
        .filter_map(|(path, _)| Some(Path::new(&path).file_stem()?.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(pages, on_disk);
    let missing: Vec<_> = raised
        .iter()
        .filter(|code| code.contains('-') && !pages.contains(*code))
        .collect();
    assert!(missing.is_empty(), "without a page: {missing:?}");
    let stale: Vec<_> = pages
        .difference(&raised)
        .filter(|code| !OF_RUNS.contains(&code.as_str()))
        .collect();
    assert!(stale.is_empty(), "raised by nothing: {stale:?}");
}

/// The codes that a text raises.
fn codes(path: &str, text: String) -> BTreeSet<&'static str> {
    let mut files = Files::new();
    files.add(path, Ok(text));
    check(&files, path, &Settings::default())
        .diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

#[test]
fn limits_and_commands_raise_the_rest() {
    let nested = format!(
        "fn deep() -> real {{ {}1{} }}",
        "(".repeat(20_000),
        ")".repeat(20_000)
    );
    assert!(codes("deep.rlp", nested).contains("too-deep"));

    let spaces = " ".repeat(rlp_grammar::MAX_SIZE + 1);
    assert!(codes("large.rlp", spaces).contains("file-too-large"));

    // Each block calls the one before it four times: 4^12 operations.
    let mut multiplied = String::from("fn f0(x: real) -> real { x + 1 }\n");
    for level in 1..=12 {
        let call = format!("f{}(x)", level - 1);
        let _ = writeln!(
            multiplied,
            "fn f{level}(x: real) -> real {{ {} }}",
            [call.as_str(); 4].join(" + ")
        );
    }
    assert!(codes("large.rlp", multiplied).contains("too-large"));

    let mut files = Files::new();
    for index in 0..1_100 {
        files.add(
            &format!("f{index}.rlp"),
            Ok(format!("use \"f{}.rlp\" as next\n", index + 1)),
        );
    }
    let checked = check(&files, "f0.rlp", &Settings::default());
    assert!(
        checked
            .diagnostics
            .iter()
            .any(|diagnostic| diagnostic.code == "too-many-files"),
        "{}",
        shown(&checked)
    );

    let (plan, _) = block(&Files::new(), "sampler.rollout", &Settings::default());
    let diagnostics = plan.expect_err("a native block");
    assert_eq!(
        diagnostics
            .iter()
            .map(|diagnostic| diagnostic.code)
            .collect::<Vec<_>>(),
        ["not-evaluable"]
    );
}
