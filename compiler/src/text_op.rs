//! The functions of text among the primitives.

/// A function of text, elementwise.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TextOp {
    /// (text, text) -> bool
    Contains,
    StartsWith,
    EndsWith,
    /// (text, marker) -> text: what follows the last occurrence; "" if there is none.
    AfterLast,
    /// What follows the first occurrence; "" if there is none.
    AfterFirst,
    /// What precedes the first occurrence; the whole text if there is none.
    Before,
    /// (text, open, close) -> text: between the first `open` and the next `close`; "" if there is none.
    Between,
    Trim,
    Lower,
    Upper,
    /// (text) -> int: words separated by white space.
    Words,
    /// (text) -> int: characters.
    Length,
    /// (text, otherwise) -> real: the decimal number that the trimmed text is, or `otherwise`.
    Number,
    /// (text) -> bool, linear time.
    Matches(String),
    /// (text) -> text: the group of the first match; "" if there is none.
    Captures {
        pattern: String,
        group: u32,
    },
    /// (text, old, new) -> text
    Replace,
    /// (text, part) -> int: occurrences that do not overlap.
    Occurrences,
    /// (text, text) -> int: characters to insert, delete or replace to make one the other.
    EditDistance,
    /// (text) -> real: the share of the n-grams of words that stand earlier in the text already.
    Repetition(u32),
    /// (text, text) -> text
    Join,
    /// (text, text) -> bool
    Equal,
}
