//! Text in machine code: how it lies in memory, and the functions that code calls. They mean what `rlp_text` says.
#![expect(unsafe_code, reason = "machine code hands over addresses and lengths")]

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Mutex;

use rlp_text::{self as text, Part, Pattern};

/// A text as machine code reads and writes it: an address and a length in bytes, of UTF-8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TextRef<'a> {
    address: *const u8,
    length: usize,
    text: PhantomData<&'a str>,
}

// SAFETY: it is a shared reference to a text.
unsafe impl Send for TextRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for TextRef<'_> {}

impl<'a> TextRef<'a> {
    pub fn new(text: &'a str) -> TextRef<'a> {
        TextRef {
            address: text.as_ptr(),
            length: text.len(),
            text: PhantomData,
        }
    }

    pub fn get(self) -> &'a str {
        // SAFETY: `new` had a text of this lifetime; machine code makes others only of parts of texts, at the borders of
        // characters, and of texts of an `Arena` that lives as long.
        unsafe { str_of(self.address, self.length) }
    }
}

impl Default for TextRef<'_> {
    fn default() -> Self {
        TextRef::new("")
    }
}

/// Texts that kernels made; results may point into it.
#[derive(Default)]
pub struct Arena(Mutex<Vec<Box<str>>>);

impl Arena {
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Keeps the texts of one thread.
    pub(super) fn keep(&self, texts: Vec<Box<str>>) {
        if !texts.is_empty() {
            let mut all = self
                .0
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            all.extend(texts);
        }
    }
}

/// What code refers to by address; it lives as long as the code.
pub(super) enum Referent {
    Text(Box<str>),
    Part(Box<Part>),
    Pattern(Box<Pattern>),
}

impl Referent {
    pub(super) fn address(&self) -> i64 {
        match self {
            Referent::Text(text) => text.as_ptr() as i64,
            Referent::Part(part) => std::ptr::from_ref(&**part) as i64,
            Referent::Pattern(pattern) => std::ptr::from_ref(&**pattern) as i64,
        }
    }
}

/// # Safety
/// The bytes are UTF-8, and stay while the result is used.
unsafe fn str_of<'a>(address: *const u8, length: usize) -> &'a str {
    // SAFETY: the caller's promise.
    unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(address, length)) }
}

/// A place, or −1.
fn place(found: Option<usize>) -> i64 {
    found.map_or(-1, |place| place as i64)
}

// The functions below are called by machine code only.
//
// SAFETY, for all: addresses and lengths are those of texts that stay during the launch, other addresses those of constants
// of the code, of the launch's list of new texts, or of room for a result.

pub(super) extern "C" fn find(text: *const u8, length: usize, part: *const u8, size: usize) -> i64 {
    let (text, part) = unsafe { (str_of(text, length), str_of(part, size)) };
    place(text::find(text, part))
}

pub(super) extern "C" fn find_last(
    text: *const u8,
    length: usize,
    part: *const u8,
    size: usize,
) -> i64 {
    let (text, part) = unsafe { (str_of(text, length), str_of(part, size)) };
    place(text::find_last(text, part))
}

pub(super) extern "C" fn find_known(part: *const Part, text: *const u8, length: usize) -> i64 {
    let (part, text) = unsafe { (&*part, str_of(text, length)) };
    place(part.find(text))
}

pub(super) extern "C" fn find_last_known(part: *const Part, text: *const u8, length: usize) -> i64 {
    let (part, text) = unsafe { (&*part, str_of(text, length)) };
    place(part.find_last(text))
}

pub(super) extern "C" fn equal(a: *const u8, n: usize, b: *const u8, m: usize) -> bool {
    unsafe { str_of(a, n) == str_of(b, m) }
}

pub(super) extern "C" fn starts_with(a: *const u8, n: usize, b: *const u8, m: usize) -> bool {
    unsafe { str_of(a, n).starts_with(str_of(b, m)) }
}

pub(super) extern "C" fn ends_with(a: *const u8, n: usize, b: *const u8, m: usize) -> bool {
    unsafe { str_of(a, n).ends_with(str_of(b, m)) }
}

pub(super) extern "C" fn occurrences(a: *const u8, n: usize, b: *const u8, m: usize) -> i64 {
    unsafe { text::occurrences(str_of(a, n), str_of(b, m)) }
}

pub(super) extern "C" fn edit_distance(a: *const u8, n: usize, b: *const u8, m: usize) -> i64 {
    unsafe { text::edit_distance(str_of(a, n), str_of(b, m)) }
}

pub(super) extern "C" fn words(a: *const u8, n: usize) -> i64 {
    unsafe { text::words(str_of(a, n)) }
}

pub(super) extern "C" fn characters(a: *const u8, n: usize) -> i64 {
    unsafe { text::length(str_of(a, n)) }
}

pub(super) extern "C" fn number(a: *const u8, n: usize, otherwise: f64) -> f64 {
    unsafe { text::number(str_of(a, n)) }.unwrap_or(otherwise)
}

pub(super) extern "C" fn repetition(a: *const u8, n: usize, words: usize) -> f64 {
    unsafe { text::repetition(str_of(a, n), words) }
}

pub(super) extern "C" fn matches(pattern: *const Pattern, a: *const u8, n: usize) -> bool {
    unsafe { (*pattern).is_match(str_of(a, n)) }
}

pub(super) extern "C" fn captures(
    result: *mut TextRef<'_>,
    pattern: *const Pattern,
    group: u32,
    a: *const u8,
    n: usize,
) {
    unsafe { result.write(TextRef::new((*pattern).captures(group, str_of(a, n)))) }
}

pub(super) extern "C" fn trim(result: *mut TextRef<'_>, a: *const u8, n: usize) {
    unsafe { result.write(TextRef::new(text::trim(str_of(a, n)))) }
}

/// # Safety
/// As for all of them.
unsafe fn make(result: *mut TextRef<'_>, texts: *mut Vec<Box<str>>, text: String) {
    let text = text.into_boxed_str();
    // A box's contents stay where they are when the list grows.
    unsafe {
        result.write(TextRef {
            address: text.as_ptr(),
            length: text.len(),
            text: PhantomData,
        });
        (*texts).push(text);
    }
}

/// # Safety
/// As for all of them.
unsafe fn give<'t>(result: *mut TextRef<'t>, texts: *mut Vec<Box<str>>, text: Cow<'t, str>) {
    match text {
        Cow::Borrowed(text) => unsafe { result.write(TextRef::new(text)) },
        Cow::Owned(text) => unsafe { make(result, texts, text) },
    }
}

pub(super) extern "C" fn lower(
    result: *mut TextRef<'_>,
    texts: *mut Vec<Box<str>>,
    a: *const u8,
    n: usize,
) {
    unsafe { give(result, texts, text::lower(str_of(a, n))) }
}

pub(super) extern "C" fn upper(
    result: *mut TextRef<'_>,
    texts: *mut Vec<Box<str>>,
    a: *const u8,
    n: usize,
) {
    unsafe { make(result, texts, str_of(a, n).to_uppercase()) }
}

pub(super) extern "C" fn join(
    result: *mut TextRef<'_>,
    texts: *mut Vec<Box<str>>,
    a: *const u8,
    n: usize,
    b: *const u8,
    m: usize,
) {
    unsafe { make(result, texts, [str_of(a, n), str_of(b, m)].concat()) }
}

pub(super) extern "C" fn replace(
    result: *mut TextRef<'_>,
    texts: *mut Vec<Box<str>>,
    a: *const u8,
    n: usize,
    old: *const u8,
    old_size: usize,
    new: *const u8,
    new_size: usize,
) {
    unsafe {
        let (a, old, new) = (str_of(a, n), str_of(old, old_size), str_of(new, new_size));
        give(result, texts, text::replace(a, old, new));
    }
}
