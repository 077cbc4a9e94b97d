//! Programs with mistakes, and what must be said of each.

mod fixtures;

use rlp_grammar::SyntaxError;
use rlp_grammar::ast::{SourceId, Span};

/// Beside each program stands what is reported: `line:column code: message` with the marked text, then help and other places.
#[test]
fn every_mistake_is_explained() {
    for (path, text) in fixtures::programs("err") {
        let told: String = rlp_grammar::parse(SourceId(0), &text)
            .errors
            .iter()
            .map(|error| tell(&text, error))
            .collect();
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&golden, &told).expect("the fixture is writable");
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(told, wanted, "{}", path.display());
    }
}

fn tell(text: &str, error: &SyntaxError) -> String {
    let place = |span: Span| {
        let before = &text[..span.start as usize];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        let marked = text[span.start as usize..span.end as usize]
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        format!("{line}:{column} `{marked}`")
    };
    let mut told = format!(
        "{} {}: {} | {}\n",
        place(error.span),
        error.code,
        error.message,
        error.label
    );
    for (span, label) in &error.related {
        told += &format!("    {} {label}\n", place(*span));
    }
    if let Some(help) = &error.help {
        told += &format!("    help: {help}\n");
    }
    told
}
