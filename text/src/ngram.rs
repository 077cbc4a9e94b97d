//! How much of a text repeats itself, by its n-grams of words.

use std::cell::RefCell;

/// The words of a text and the n-grams seen so far, in memory that is used again for the next text.
#[derive(Default)]
struct Words {
    /// The text between spaces: `BEFORE`, and at least `AFTER`, up to a multiple of 64 bytes.
    padded: Vec<u8>,
    /// Where each begins and ends there, in turn.
    edges: Vec<usize>,
    hashes: Vec<u64>,
    /// Open addressing; a slot holds the place of an n-gram plus 1.
    slots: Vec<u32>,
}

thread_local! {
    static WORDS: RefCell<Words> = RefCell::default();
}

/// The share of the n-grams of words that stand earlier in the text already: 1 − distinct / all. 0 if there is no n-gram.
pub fn repetition(text: &str, n: usize) -> f64 {
    WORDS.with_borrow_mut(|words| {
        words.read(text);
        let total = (words.hashes.len() + 1).saturating_sub(n);
        if n == 0 || total == 0 {
            return 0.0;
        }
        1.0 - f64::from(words.distinct(n, total)) / total as f64
    })
}

impl Words {
    fn read(&mut self, text: &str) {
        let padded = (BEFORE + text.len() + AFTER).next_multiple_of(64);
        self.padded.clear();
        self.padded.resize(BEFORE, b' ');
        self.padded.extend_from_slice(text.as_bytes());
        self.padded.resize(padded, b' ');
        self.edges.clear();
        if text.is_ascii() {
            ascii_edges(&self.padded, &mut self.edges);
        } else {
            let start = |word: &str| BEFORE + word.as_ptr() as usize - text.as_ptr() as usize;
            let edges = text
                .split_whitespace()
                .flat_map(|word| [start(word), start(word) + word.len()]);
            self.edges.extend(edges);
        }
        let (bounds, _) = self.edges.as_chunks::<2>();
        let hashes = bounds
            .iter()
            .map(|&[start, end]| hash(&self.padded, start, end));
        self.hashes.clear();
        self.hashes.extend(hashes);
    }

    /// How many of the `total` n-grams differ from all before them. Equal hashes are settled by the words themselves.
    fn distinct(&mut self, n: usize, total: usize) -> u32 {
        let n_slots = (2 * total).next_power_of_two();
        self.slots.clear();
        self.slots.resize(n_slots, 0);
        let mut distinct = 0;
        for place in 0..total {
            // Words are hashed well enough for their order to be all that is to be told.
            let hash = self.hashes[place..place + n]
                .iter()
                .fold(0, |hash: u64, &word| hash.rotate_left(21) ^ word);
            let mut slot = hash as usize & (n_slots - 1);
            loop {
                match self.slots[slot] {
                    0 => {
                        self.slots[slot] = place as u32 + 1;
                        distinct += 1;
                        break;
                    }
                    known if self.equal(known as usize - 1, place, n) => break,
                    _ => slot = (slot + 1) & (n_slots - 1),
                }
            }
        }
        distinct
    }

    /// Whether the n-grams at two places are the same words.
    fn equal(&self, a: usize, b: usize, n: usize) -> bool {
        let word = |place: usize| &self.padded[self.edges[2 * place]..self.edges[2 * place + 1]];
        self.hashes[a..a + n] == self.hashes[b..b + n]
            && (0..n).all(|offset| word(a + offset) == word(b + offset))
    }
}

/// So many spaces stand before and after the text, for reads of eight bytes from where a word begins or to where it ends.
const BEFORE: usize = 8;
const AFTER: usize = 8;

/// Where the words of ASCII text begin and end, 64 bytes at a time; the last byte is a space.
fn ascii_edges(text: &[u8], edges: &mut Vec<usize>) {
    let mut before = 1;
    let (chunks, _) = text.as_chunks::<64>();
    for (index, chunk) in chunks.iter().enumerate() {
        let spaces = spaces(chunk);
        // Only where a word begins or ends is there anything to do.
        let mut changes = spaces ^ (spaces << 1 | before);
        before = spaces >> 63;
        while changes != 0 {
            edges.push(64 * index + changes.trailing_zeros() as usize);
            changes &= changes - 1;
        }
    }
}

/// A bit for each of 64 ASCII bytes, the lowest for the first: whether it is white space.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "instructions that every x86-64 processor has")]
fn spaces(bytes: &[u8; 64]) -> u64 {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8,
    };
    let (vectors, _) = bytes.as_chunks::<16>();
    vectors.iter().enumerate().fold(0, |all, (index, vector)| {
        // SAFETY: SSE2 is part of x86-64, and the load is of the sixteen bytes of `vector`.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(vector.as_ptr().cast());
            let is_control = _mm_and_si128(
                _mm_cmpgt_epi8(bytes, _mm_set1_epi8(8)),
                _mm_cmpgt_epi8(_mm_set1_epi8(14), bytes),
            );
            let is_blank = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b' ' as i8));
            _mm_movemask_epi8(_mm_or_si128(is_control, is_blank))
        };
        all | (mask as u64) << (16 * index)
    })
}

/// A bit for each of 64 ASCII bytes, the lowest for the first: whether it is white space.
#[cfg(not(target_arch = "x86_64"))]
fn spaces(bytes: &[u8; 64]) -> u64 {
    let is_space = |byte: u8| byte == b' ' || (9..14).contains(&byte);
    let bits = bytes.iter().rev();
    bits.fold(0, |all, &byte| all << 1 | u64::from(is_space(byte)))
}

/// Of a word in a padded text: its length and all of its bytes, some of them twice.
fn hash(text: &[u8], start: usize, end: usize) -> u64 {
    let eight = |place: usize| {
        let bytes = text[place..].first_chunk();
        bytes.map_or(0, |&bytes| u64::from_le_bytes(bytes))
    };
    let length = end - start;
    // Bits of the first and of the last eight bytes that are none of the word's.
    let beyond = 64 - 8 * length.min(8);
    let (first, last) = (eight(start) << beyond, eight(end - 8) >> beyond);
    let mut hash = product(first ^ length as u64 ^ FIRST, last ^ SECOND);
    for place in (start + 8..end.saturating_sub(8)).step_by(16) {
        let place = place.min(end - 16);
        hash = product(eight(place) ^ hash, eight(place + 8) ^ SECOND);
    }
    hash
}

const FIRST: u64 = 0x9E37_79B9_7F4A_7C15;
const SECOND: u64 = 0xD6E8_FEB8_6659_FD93;

/// Every bit of the result depends on every bit of both.
fn product(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::repetition;

    proptest! {
        #[test]
        fn is_what_a_set_of_n_grams_says(text in "[ab \t\n\u{b}\u{85}é]{0,80}", n in 1usize..4) {
            let words: Vec<&str> = text.split_whitespace().collect();
            let total = words.windows(n).count();
            let distinct = words.windows(n).collect::<HashSet<_>>().len();
            let expected = if total == 0 { 0.0 } else { 1.0 - distinct as f64 / total as f64 };
            prop_assert_eq!(repetition(&text, n), expected);
        }

        #[test]
        fn in_ascii_too(text in "[ab \t\n\u{b}\u{c}\u{1c}]{0,80}", n in 1usize..4) {
            let words: Vec<&str> = text.split_whitespace().collect();
            let total = words.windows(n).count();
            let distinct = words.windows(n).collect::<HashSet<_>>().len();
            let expected = if total == 0 { 0.0 } else { 1.0 - distinct as f64 / total as f64 };
            prop_assert_eq!(repetition(&text, n), expected);
        }
    }
}
