//! A regular expression that is asked of many texts.

use regex::Regex;
use regex_automata::dfa::dense::{Builder, Config, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Dot, Hir, HirKind, Look, Repetition};

/// Bytes of a table of states; what needs more is left to the general engines.
const MOST_BYTES: usize = 1 << 16;

/// A regular expression, and for one that begins with `^` all its states as a table, if that is small.
pub struct Pattern {
    regex: Regex,
    table: Option<DFA<Vec<u32>>>,
}

impl Pattern {
    /// An error says what is wrong with the expression.
    pub fn new(pattern: &str) -> Result<Pattern, regex::Error> {
        Ok(Pattern {
            regex: Regex::new(pattern)?,
            table: table(pattern),
        })
    }

    /// Whether it matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
        match self
            .table
            .as_ref()
            .map(|table| table.try_search_fwd(&input))
        {
            Some(Ok(found)) => found.is_some(),
            Some(Err(_)) | None => self.regex.is_match(text),
        }
    }

    /// The group of the first match; "" if there is no match, or the group took no part in it.
    pub fn captures<'t>(&self, group: u32, text: &'t str) -> &'t str {
        super::captures(&self.regex, group, text)
    }
}

fn table(pattern: &str) -> Option<DFA<Vec<u32>>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let is_anchored = hir.properties().look_set_prefix().contains(Look::Start);
    let mut looks = hir.properties().look_set().iter();
    if !is_anchored || !looks.all(|look| matches!(look, Look::Start | Look::End)) {
        return None;
    }
    let nfa = thompson::Compiler::new()
        .build_from_hir(&by_bytes(hir))
        .ok()?;
    let config = Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(MOST_BYTES))
        .determinize_size_limit(Some(4 * MOST_BYTES));
    Builder::new().configure(config).build_from_nfa(&nfa).ok()
}

/// The same for texts of UTF-8, any number of any characters being any bytes: a state that all bytes but few lead back to
/// is left by a search for those.
///
/// What stops within a character may go on only as such a run again, or end, and either could have come a few bytes sooner:
/// all else begins where a character does.
fn by_bytes(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Repetition(run)
            if run.min == 0 && run.max.is_none() && *run.sub == Hir::dot(Dot::AnyChar) =>
        {
            Hir::repetition(Repetition {
                sub: Box::new(Hir::dot(Dot::AnyByte)),
                ..run
            })
        }
        HirKind::Repetition(run) => Hir::repetition(Repetition {
            sub: Box::new(by_bytes(*run.sub)),
            ..run
        }),
        HirKind::Capture(group) => by_bytes(*group.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(by_bytes).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(by_bytes).collect()),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::Pattern;

    const ANCHORED: [&str; 7] = [
        r"(?s)^<a>.*?</a>\s*<b>.*?</b>$",
        r"(?s)^a.*(é|漢)?b?$",
        r"(?s)^(a.*|é.*é)*漢",
        r"(?s)^.*.$",
        r"(?s)^(.*é)+?.{2}",
        r"^a.*é$",
        r"^[^é]*$|^漢",
    ];

    #[test]
    fn tables_are_made_where_they_mean_the_same() {
        assert!(
            ANCHORED
                .iter()
                .all(|it| Pattern::new(it).unwrap().table.is_some())
        );
        for general in ["a", r"^a\b", "(?m)^a$", "^a|b"] {
            assert!(Pattern::new(general).unwrap().table.is_none(), "{general}");
        }
    }

    proptest! {
        #[test]
        fn the_table_says_what_the_expression_says(text in "[aé漢b\n]{0,12}|<a>[<é/a>]{0,9}</a> *<b>[b<é]{0,4}(</b>|<b>)") {
            for pattern in ANCHORED {
                let pattern = Pattern::new(pattern).unwrap();
                prop_assert_eq!(pattern.is_match(&text), pattern.regex.is_match(&text));
            }
        }
    }
}
