//! The functions of text on plain strings: what each means, wherever it runs. All are total.

mod distance;
mod ngram;
mod pattern;
mod search;
mod widest;

use std::borrow::Cow;

use memchr::memmem::{self, Finder, FinderRev};
use regex::Regex;

pub use distance::edit_distance;
pub use ngram::repetition;
pub use pattern::Pattern;

use search::Short;
use widest::widest;

/// A text that is looked for in many others.
pub struct Part {
    short: Option<Short>,
    first: Finder<'static>,
    last: FinderRev<'static>,
}

impl Part {
    pub fn new(part: &str) -> Part {
        Part {
            short: Short::new(part),
            first: Finder::new(part).into_owned(),
            last: FinderRev::new(part).into_owned(),
        }
    }

    /// Where it occurs first.
    pub fn find(&self, text: &str) -> Option<usize> {
        match &self.short {
            Some(short) => short.find(text.as_bytes()),
            None => self.first.find(text.as_bytes()),
        }
    }

    /// Where it occurs last.
    pub fn find_last(&self, text: &str) -> Option<usize> {
        self.last.rfind(text.as_bytes())
    }
}

/// Whether `part` occurs in `text`.
pub fn contains(text: &str, part: &str) -> bool {
    find(text, part).is_some()
}

/// What follows the last occurrence of `marker`; "" if there is none.
pub fn after_last<'t>(text: &'t str, marker: &str) -> &'t str {
    match find_last(text, marker) {
        Some(place) => &text[place + marker.len()..],
        None => "",
    }
}

/// What follows the first occurrence of `marker`; "" if there is none.
pub fn after_first<'t>(text: &'t str, marker: &str) -> &'t str {
    match find(text, marker) {
        Some(place) => &text[place + marker.len()..],
        None => "",
    }
}

/// What precedes the first occurrence of `marker`; the whole text if there is none.
pub fn before<'t>(text: &'t str, marker: &str) -> &'t str {
    match find(text, marker) {
        Some(place) => &text[..place],
        None => text,
    }
}

/// What stands between the first `open` and the next `close`; "" unless both are there.
pub fn between<'t>(text: &'t str, open: &str, close: &str) -> &'t str {
    let rest = after_first(text, open);
    match find(rest, close) {
        Some(place) => &rest[..place],
        None => "",
    }
}

/// Every occurrence of `old` replaced; the text itself if `old` is empty.
pub fn replace<'t>(text: &'t str, old: &str, new: &str) -> Cow<'t, str> {
    if old.is_empty() || !contains(text, old) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.replace(old, new))
    }
}

/// How often `part` occurs without overlap; 0 if it is empty.
pub fn occurrences(text: &str, part: &str) -> i64 {
    if part.is_empty() {
        return 0;
    }
    memmem::find_iter(text.as_bytes(), part.as_bytes()).count() as i64
}

/// Without white space at its ends.
pub fn trim(text: &str) -> &str {
    text.trim()
}

/// In lower case; the text itself if it is that, in ASCII.
pub fn lower(text: &str) -> Cow<'_, str> {
    if is_lower(text.as_bytes()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

widest! {
    /// Whether it is in lower case and ASCII.
    fn is_lower(text: &[u8]) -> bool = is_lower_by_chunks;
}

#[inline(always)]
fn is_lower_by_chunks(text: &[u8]) -> bool {
    let stays = |byte: &u8| byte.is_ascii() & !byte.is_ascii_uppercase();
    // Whole chunks without a way out, for the sake of vectors.
    let all_stay = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & stays(byte));
    text.chunks(64).all(all_stay)
}

/// How many words, separated by white space.
pub fn words(text: &str) -> i64 {
    text.split_whitespace().count() as i64
}

/// How many characters.
pub fn length(text: &str) -> i64 {
    text.chars().count() as i64
}

/// The plain decimal number that the trimmed text is: a sign, digits with a point, an exponent; finite.
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text
        .bytes()
        .all(|c| c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.' | b'e' | b'E'))
    {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The group of the first match; "" if there is no match, or the group took no part in it.
pub fn captures<'t>(pattern: &Regex, group: u32, text: &'t str) -> &'t str {
    if group == 0 {
        return pattern.find(text).map_or("", |found| found.as_str());
    }
    let found = pattern.captures(text);
    found
        .and_then(|found| found.get(group as usize))
        .map_or("", |part| part.as_str())
}

/// Where `part` occurs first.
pub fn find(text: &str, part: &str) -> Option<usize> {
    memmem::find(text.as_bytes(), part.as_bytes())
}

/// Where `part` occurs last.
pub fn find_last(text: &str, part: &str) -> Option<usize> {
    memmem::rfind(text.as_bytes(), part.as_bytes())
}
