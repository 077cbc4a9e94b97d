//! Diagnostics as people, logs and programs see them.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::source::SourceMap;
use rlp_frontend::{Format, Look, render};
use rlp_grammar::ast::{SourceId, Span};

const PLAIN: Look = Look {
    color: false,
    width: Some(80),
};

const MINE: &str = "\
loss mine(score: real[prompt], weight: real[sample]) -> real {
    let w = score * weight
    mean(w)
}
";

fn sources(texts: &[(&str, &str)]) -> SourceMap {
    let mut sources = SourceMap::default();
    for (path, text) in texts {
        sources.add(path, Arc::from(*text));
    }
    sources
}

/// The span of a piece of text in the source with this number.
fn span(sources: &SourceMap, source: u32, piece: &str) -> Span {
    let start = sources.get(SourceId(source)).text.find(piece).unwrap();
    Span {
        source: SourceId(source),
        start: start as u32,
        end: (start + piece.len()) as u32,
    }
}

fn outer_product(sources: &SourceMap) -> Diagnostic {
    Diagnostic::error(
        "outer-product",
        span(sources, 0, "score * weight"),
        "`*` would repeat both sides, `real[prompt]` and `real[sample]`",
    )
    .label(span(sources, 0, "score: real[prompt]"), "real[prompt]")
    .help("outer(score, weight)")
}

#[test]
fn a_report_shows_the_line_its_labels_and_help() {
    let sources = sources(&[("mine.rlp", MINE)]);
    let mut found = outer_product(&sources);
    found.labels.clear();
    let line = span(&sources, 0, "score * weight");
    let found = found
        .label(
            Span {
                end: line.start + 5,
                ..line
            },
            "real[prompt]",
        )
        .label(
            Span {
                start: line.end - 6,
                ..line
            },
            "real[sample]",
        );
    assert_eq!(
        render(&[found], &sources, Format::Human, PLAIN),
        "\
error[outer-product]: `*` would repeat both sides, `real[prompt]` and
  │ `real[sample]`
   ╭─[mine.rlp:2:13]
 2 │     let w = score * weight
   ·             ──┬──   ───┬──
   ·               │        ╰── real[sample]
   ·               ╰── real[prompt]
   ╰────
  help: outer(score, weight)

"
    );
}

#[test]
fn another_file_and_the_calls_get_snippets_of_their_own() {
    let sources = sources(&[
        (
            "std/loss/dpo.rlp",
            "/// DPO.\nloss dpo(beta: real) -> real {\n    log(beta)\n}\n",
        ),
        (
            "mine.rlp",
            "pipeline p {\n    param b: real = -1\n    let l = loss.dpo(b)\n}\n",
        ),
    ]);
    let mut found = Diagnostic::error(
        "value-out-of-range",
        span(&sources, 0, "log(beta)"),
        "`log` of -1",
    )
    .here("beta is -1")
    .label(span(&sources, 1, "-1"), "the value comes from here");
    found
        .calls
        .push(("loss.dpo".to_string(), span(&sources, 1, "loss.dpo(b)")));
    assert_eq!(
        render(&[found], &sources, Format::Human, PLAIN),
        "\
error[value-out-of-range]: `log` of -1
   ╭─[std/loss/dpo.rlp:3:5]
 3 │     log(beta)
   ·     ────┬────
   ·         ╰── beta is -1
   ╰────
note: the value comes from here
   ╭─[mine.rlp:2:21]
 2 │     param b: real = -1
   ·                     ──
   ╰────
note: `loss.dpo` is called here
   ╭─[mine.rlp:3:13]
 3 │     let l = loss.dpo(b)
   ·             ───────────
   ╰────

"
    );
}

#[test]
fn columns_count_characters_and_the_end_of_the_text_is_after_its_last_word() {
    let text = "let ρ = π +\n\n\n";
    let sources = sources(&[("greek.rlp", text)]);
    let pi = Diagnostic::error("unknown-name", span(&sources, 0, "π"), "`π` is not known");
    let end = text.len() as u32;
    let unfinished = Diagnostic::error(
        "syntax",
        Span {
            source: SourceId(0),
            start: end,
            end,
        },
        "expected an expression",
    );
    assert_eq!(
        render(
            &[pi.clone(), unfinished.clone()],
            &sources,
            Format::Short,
            PLAIN
        ),
        "greek.rlp:1:9: error[unknown-name]: `π` is not known\n\
         greek.rlp:1:12: error[syntax]: expected an expression\n"
    );
    let report = render(&[pi, unfinished], &sources, Format::Human, PLAIN);
    assert!(
        report.contains("[greek.rlp:1:9]") && report.contains("[greek.rlp:1:12]"),
        "{report}"
    );
}

#[test]
fn a_place_without_words_gives_way_to_labels_on_its_line() {
    let sources = sources(&[("mine.rlp", MINE)]);
    let line = span(&sources, 0, "score * weight");
    let found = Diagnostic::error(
        "outer-product",
        Span {
            start: line.start + 6,
            end: line.start + 7,
            ..line
        },
        "both",
    )
    .label(
        Span {
            end: line.start + 5,
            ..line
        },
        "real[prompt]",
    )
    .label(
        Span {
            start: line.end - 6,
            ..line
        },
        "real[sample]",
    );
    assert_eq!(
        render(&[found], &sources, Format::Human, PLAIN),
        "\
error[outer-product]: both
   ╭─[mine.rlp:2:19]
 2 │     let w = score * weight
   ·             ──┬──   ───┬──
   ·               │        ╰── real[sample]
   ·               ╰── real[prompt]
   ╰────

"
    );
}

#[test]
fn labels_that_cover_one_another_are_drawn_apart() {
    let sources = sources(&[("mine.rlp", MINE)]);
    let found = Diagnostic::warning("mean-of-means", span(&sources, 0, "score * weight"), "both")
        .here("the whole")
        .label(span(&sources, 0, "* weight"), "a part");
    assert_eq!(
        render(&[found], &sources, Format::Human, PLAIN),
        "\
warning[mean-of-means]: both
   ╭─[mine.rlp:2:13]
 2 │     let w = score * weight
   ·             ───────┬──────
   ·                    ╰── the whole
   ╰────
note: a part
   ╭─[mine.rlp:2:19]
 2 │     let w = score * weight
   ·                   ────────
   ╰────

"
    );
}

#[test]
fn nothing_in_a_text_reaches_the_terminal_as_a_command() {
    let sources = sources(&[("odd.rlp", "let \u{1b}[31m = \u{202e}a\n")]);
    let found = Diagnostic::error(
        "foreign",
        span(&sources, 0, "\u{1b}"),
        "`\u{1b}` is not part of the language",
    );
    for format in [Format::Human, Format::Short, Format::Json] {
        let shown = render(std::slice::from_ref(&found), &sources, format, PLAIN);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
    }
    let short = render(&[found], &sources, Format::Short, PLAIN);
    assert_eq!(
        short,
        "odd.rlp:1:5: error[foreign]: `\\u{1b}` is not part of the language\n"
    );
}

#[test]
fn a_long_range_is_drawn_by_its_first_line() {
    let text = format!("stage rl {{\n{}}}\n", "    // nothing\n".repeat(9));
    let sources = sources(&[("long.rlp", &text)]);
    let found = Diagnostic::error(
        "nothing-to-run",
        span(&sources, 0, text.trim_end()),
        "this stage does nothing",
    );
    assert_eq!(
        render(&[found], &sources, Format::Human, PLAIN),
        "\
error[nothing-to-run]: this stage does nothing
   ╭─[long.rlp:1:1]
 1 │ stage rl {
   · ──────────
   ╰────

"
    );
}

#[test]
fn no_span_is_too_wrong_to_be_shown() {
    let texts = [
        ("empty.rlp", ""),
        ("greek.rlp", "π\r\nρ\r\n\r\n"),
        ("line.rlp", "\n"),
    ];
    let sources = sources(&texts);
    for source in 0..texts.len() as u32 {
        for start in 0..8 {
            for end in [start, start + 1, start + 3, u32::MAX, 0] {
                let span = Span {
                    source: SourceId(source),
                    start,
                    end,
                };
                let found = Diagnostic::error("syntax", span, "wrong")
                    .here("here")
                    .label(span, "and here");
                for format in [Format::Human, Format::Short, Format::Json] {
                    let shown = render(std::slice::from_ref(&found), &sources, format, PLAIN);
                    assert!(
                        shown.contains("syntax") && !shown.contains("Failed"),
                        "{span:?}: {shown}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_line_that_would_fill_the_screen_is_not_shown() {
    let text = format!("let a = {}b", "1 + ".repeat(100_000));
    let sources = sources(&[("long.rlp", &text)]);
    let found =
        Diagnostic::error("unknown-name", span(&sources, 0, "b"), "`b` is not known").help("a");
    assert_eq!(
        render(&[found], &sources, Format::Human, PLAIN),
        "long.rlp:1:400009: error[unknown-name]: `b` is not known\n  help: a\n\n"
    );
}

#[test]
fn a_report_ends_after_fifty_and_the_other_formats_do_not() {
    let sources = sources(&[("mine.rlp", MINE)]);
    let many = vec![outer_product(&sources); 70];
    let report = render(&many, &sources, Format::Human, PLAIN);
    assert_eq!(report.matches("error[outer-product]").count(), 50);
    assert!(report.ends_with("and 20 more, which `--message-format short` lists\n"));
    assert_eq!(
        render(&many, &sources, Format::Short, PLAIN)
            .lines()
            .count(),
        70
    );
    assert_eq!(
        render(&many, &sources, Format::Json, PLAIN).lines().count(),
        70
    );
}

#[test]
fn json_is_one_object_a_line_with_all_that_is_known() {
    let sources = sources(&[("mine.rlp", MINE)]);
    let found =
        outer_product(&sources).fix(span(&sources, 0, "score * weight"), "outer(score, weight)");
    let line = render(&[found], &sources, Format::Json, PLAIN);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        object,
        serde_json::json!({
            "code": "outer-product",
            "severity": "error",
            "message": "`*` would repeat both sides, `real[prompt]` and `real[sample]`",
            "spans": [
                { "file": "mine.rlp", "start": 75, "end": 89, "line": 2, "column": 13, "end_line": 2, "end_column": 27, "label": "" },
                { "file": "mine.rlp", "start": 10, "end": 29, "line": 1, "column": 11, "end_line": 1, "end_column": 30, "label": "real[prompt]" },
            ],
            "help": "outer(score, weight)",
            "fix": { "file": "mine.rlp", "start": 75, "end": 89, "line": 2, "column": 13, "end_line": 2, "end_column": 27, "replacement": "outer(score, weight)" },
            "calls": [],
        })
    );
    assert!(
        object
            .as_object()
            .unwrap()
            .keys()
            .next()
            .is_some_and(|first| first == "code")
    );
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let sources = sources(&[("mine.rlp", MINE)]);
    let found = [outer_product(&sources)];
    let colored = render(
        &found,
        &sources,
        Format::Human,
        Look {
            color: true,
            width: Some(80),
        },
    );
    assert!(colored.starts_with("\u{1b}["), "{colored:?}");
    assert!(!render(&found, &sources, Format::Human, PLAIN).contains('\u{1b}'));
}
