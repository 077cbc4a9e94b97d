//! The one style: it keeps what a text means and says, and texts that have it.

mod fixtures;

use proptest::prelude::*;
use rlp_grammar::ast::SourceId;
use rlp_grammar::{SyntaxError, fmt, parse};

/// The tree of a text without its places, and its comments.
fn meaning(text: &str) -> (String, Vec<String>) {
    let parsed = parse(SourceId(0), text);
    assert_eq!(parsed.errors, [], "{text}");
    let comments = parsed
        .comments
        .into_iter()
        .map(|comment| comment.text)
        .collect();
    (without_places(&format!("{:?}", parsed.file)), comments)
}

/// Leaves out the spans of a printed tree: `0:12..34`.
fn without_places(tree: &str) -> String {
    let is_number = |digits: &str| digits.parse::<u32>().is_ok();
    let is_place = |word: &str| {
        let place = word.trim_matches(|c: char| !c.is_ascii_digit());
        place.split_once(':').is_some_and(|(source, bytes)| {
            let ends = bytes.split_once("..");
            is_number(source) && ends.is_some_and(|(start, end)| is_number(start) && is_number(end))
        })
    };
    tree.split(' ').filter(|word| !is_place(word)).collect()
}

/// Formats a text, and checks that nothing is lost and that doing it again changes nothing.
fn format(text: &str) -> String {
    let formatted = fmt(text).expect("a text without mistakes");
    assert!(
        meaning(&formatted) == meaning(text),
        "the meaning changes\n{text}\n=====\n{formatted}"
    );
    let again = fmt(&formatted).expect("a text without mistakes");
    assert!(
        again == formatted,
        "not stable\n{text}\n=====\n{formatted}\n=====\n{again}"
    );
    formatted
}

#[test]
fn every_program_keeps_its_meaning_and_comments() {
    for (_, text) in fixtures::programs("ok") {
        format(&text);
    }
}

/// The examples of the language's documentation, but for one that is wider than the page.
#[test]
fn texts_in_the_style_stay_as_they_are() {
    for (path, text) in fixtures::programs("ok") {
        let name = path.file_stem().expect("a name").to_string_lossy();
        if ["pipeline", "loss", "optimizer", "test"].contains(&&*name) {
            assert_eq!(format(&text), text, "{}", path.display());
        }
    }
}

/// Beside each text stands what becomes of it.
#[test]
fn texts_get_the_style() {
    for (path, text) in fixtures::programs("fmt") {
        let formatted = format(&text);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&golden, &formatted).expect("the fixture is writable");
        }
        assert_eq!(
            formatted,
            std::fs::read_to_string(&golden).unwrap_or_default(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_text_with_mistakes_is_left_alone() {
    let text = "fn f(a: real) -> real { a + }";
    let codes =
        |errors: Vec<SyntaxError>| errors.iter().map(|error| error.code).collect::<Vec<_>>();
    assert_eq!(fmt(text).map_err(codes), Err(vec!["syntax"]));
}

/// White space and comments that may stand between two tokens.
fn space() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "\n",
        "\n\n\n",
        "  ",
        "\r\n\t",
        "\n        ",
        " // note\n",
        "\n// line\n",
        "\n\n    // α\n\n",
        "// tight\n                                ",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn respaced_programs_keep_their_meaning(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), space()), 1..8),
    ) {
        let programs = fixtures::programs("ok");
        let mut text = programs[which.index(programs.len())].1.clone();
        for (place, space) in changes {
            let spaces: Vec<_> = text.match_indices(' ').map(|(at, _)| at).collect();
            let at = spaces[place.index(spaces.len())];
            text.replace_range(at..=at, &space);
        }
        if parse(SourceId(0), &text).errors.is_empty() {
            format(&text);
        }
    }
}

#[test]
fn deep_and_long_texts_are_formatted() {
    let nested = [
        ("(", "a", ")"),
        ("f(", "a", ")"),
        ("[", "", "]"),
        ("{ a: ", "1", " }"),
        ("if a { ", "b", " } else { c }"),
        ("|x| ", "a", ""),
    ];
    for (before, within, after) in nested {
        let inner = [&before.repeat(60), within, &after.repeat(60)].concat();
        format(&format!("fn f(a: real) -> real {{ {inner} }}"));
    }
    for link in [" + a", " * a", "^a", " |> f(a)", ".a", "(a)", " and a"] {
        format(&format!(
            "fn f(a: real) -> real {{ a{} }}",
            link.repeat(200)
        ));
    }
}
