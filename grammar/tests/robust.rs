//! Whatever the text, parsing ends soon, with few errors, all of which point into it.

mod fixtures;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rlp_grammar::ast::SourceId;
use rlp_grammar::{MAX_SIZE, Parsed, parse};

fn check(text: &str) -> Parsed {
    let parsed = parse(SourceId(0), text);
    assert!(parsed.errors.len() <= 50, "{} errors", parsed.errors.len());
    assert!(parsed.errors.is_sorted_by_key(|error| error.span.start));
    for error in &parsed.errors {
        for span in error
            .related
            .iter()
            .map(|(span, _)| *span)
            .chain([error.span])
        {
            assert!(
                text.get(span.start as usize..span.end as usize).is_some(),
                "{error:?} points nowhere"
            );
        }
        assert!(
            !error.message.ends_with('.') && !error.message.is_empty(),
            "{error:?}"
        );
    }
    parsed
}

/// An edit of a program: where, what, and something to insert.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, String)>> {
    let scrap = prop_oneof![
        "[ -~\n]{0,3}",
        "\\PC{1,2}",
        prop::sample::select(vec![
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "\"",
            "let ",
            "train ",
            "if ",
            "else",
            "|x| ",
            "-",
            "\n-",
            "\n(",
            "|>",
            "<-",
            "//",
            "///",
            "//!",
            "@allow(",
            " with {",
            "\nloss f(",
            "\nstage ",
            "\n}",
            ",",
            ":",
            "=",
            "\u{1}",
            "\u{2}",
            "\u{3}",
            "\r\n",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, scrap), 1..6)
}

/// The start of a character at or before a byte.
fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The range of what reads as one word or mark at a place.
fn word_at(text: &str, at: usize) -> std::ops::Range<usize> {
    let length = text[at..]
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len() - at);
    at..at + length.max(text[at..].chars().next().map_or(0, char::len_utf8))
}

fn edit(text: &mut String, (place, kind, scrap): (prop::sample::Index, u8, String)) {
    let at = boundary(text, place.index(text.len() + 1));
    match kind {
        0 => text.insert_str(at, &scrap),
        1 => text.replace_range(word_at(text, at), ""),
        2 => text.replace_range(word_at(text, at), &scrap),
        _ => {
            let word = text[word_at(text, at)].to_owned();
            let other = boundary(text, (at * 7 + 13) % (text.len() + 1));
            text.insert_str(other, &word);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_programs_are_answered(which in any::<prop::sample::Index>(), edits in edits()) {
        let programs = fixtures::programs("ok");
        let mut text = programs[which.index(programs.len())].1.clone();
        for change in edits {
            edit(&mut text, change);
        }
        check(&text);
    }

    #[test]
    fn noise_is_answered(text in "\\PC{0,200}") {
        check(&text);
    }
}

#[test]
fn deep_nesting_is_refused_at_once() {
    let deep = [
        ("(", "a", ")"),
        ("[", "", "]"),
        ("{", "", "}"),
        ("(", "", ""),
        ("{", "", ""),
        ("", "", ")"),
        ("f(", "a", ")"),
        ("{ a: ", "1", " }"),
        ("a with { b: ", "1", " }"),
        ("if ", "a", " { b } else { c }"),
        ("if a { ", "b", " } else { c }"),
        ("if a { b } else { ", "b", " }"),
        ("if a { b } else ", "{ c }", ""),
        ("|x| ", "a", ""),
        ("|x, y| (", "a", ")"),
        ("-", "a", ""),
        ("not ", "a", ""),
        ("a ^ ", "a", ""),
        ("a + ", "a", ""),
        ("a == ", "a", ""),
        ("", "a", " |> f()"),
        ("", "a", ".b"),
        ("", "a", "(b)"),
        ("", "a", " : real"),
        ("a : { a: ", "real", " }"),
        ("a : real[b: ", "1", "]"),
        ("let x = ", "a", ""),
        ("@allow(", "a", ")"),
        ("stage s { ", "", " }"),
        ("train p { ", "", " }"),
        ("\"", "", ""),
        ("/// a\n", "", ""),
        ("\n-", "", ""),
        ("\n    - a", "", ""),
        ("a, ", "", ""),
        ("\nloss f(", "", ""),
        ("let a = (\n", "", ""),
        ("x <- ", "", "\n"),
    ];
    for (before, within, after) in deep {
        for (head, tail) in [
            ("fn f(a: real) -> real { ", " }"),
            ("", ""),
            ("pipeline p { train q { minimize ", " } }"),
        ] {
            let times = if before.len() + after.len() < 3 {
                100_000
            } else {
                20_000
            };
            let text = [
                head,
                &before.repeat(times),
                within,
                &after.repeat(times),
                tail,
            ]
            .concat();
            let start = Instant::now();
            let parsed = check(&text);
            let took = start.elapsed();
            assert!(
                took < Duration::from_secs(5),
                "{head}{before}…{after}{tail} took {took:?}"
            );
            assert!(
                !parsed.errors.is_empty(),
                "{head}{before}…{after}{tail} was read"
            );
        }
    }
}

#[test]
fn nesting_up_to_the_limit_is_read() {
    let text = format!(
        "fn f(a: real) -> real {{ {}a{} }}",
        "(".repeat(127),
        ")".repeat(127)
    );
    assert_eq!(check(&text).errors, []);
    let text = format!(
        "fn f(a: real) -> real {{ {}a{} }}",
        "(".repeat(128),
        ")".repeat(128)
    );
    let errors = check(&text).errors;
    assert_eq!(
        errors.iter().map(|error| error.code).collect::<Vec<_>>(),
        ["too-deep"]
    );
    let sum = format!("fn f(a: real) -> real {{ a{} }}", " + a".repeat(200));
    assert_eq!(check(&sum).errors, []);
}

#[test]
fn too_large_a_text_is_refused() {
    let text = " ".repeat(MAX_SIZE + 1);
    assert_eq!(
        check(&text)
            .errors
            .iter()
            .map(|error| error.code)
            .collect::<Vec<_>>(),
        ["file-too-large"]
    );
    assert_eq!(check(&text[1..]).errors, []);
}

#[test]
fn a_large_text_is_read() {
    let block = "fn f(a: real) -> real {\n    let b = mean(a * 2, over: [prompt, sample])\n    b + 1\n}\n\n";
    let text = block.repeat(MAX_SIZE / block.len());
    let parsed = check(&text);
    assert_eq!(
        (parsed.errors.len(), parsed.file.items.len()),
        (0, MAX_SIZE / block.len())
    );
    let broken = text.replace("over:", "over");
    assert_eq!(check(&broken).errors.len(), 50);
}
