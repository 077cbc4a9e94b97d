//! How much of a text repeats itself, by its n-grams of words.

use std::cell::RefCell;

use crate::widest::widest;

/// The words of a text and the n-grams seen so far, in memory that is used again for the next text.
#[derive(Default)]
struct Words {
    /// Where each word begins and ends, in turn; what follows is of earlier texts.
    edges: Vec<usize>,
    hashes: Vec<u64>,
    /// Open addressing; a slot holds a round and the place of an n-gram.
    slots: Vec<(u32, u32)>,
    /// Slots of earlier rounds are free: nothing has to be cleared for a text.
    round: u32,
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
        let distinct = words.distinct(text.as_bytes(), n, total);
        1.0 - f64::from(distinct) / total as f64
    })
}

impl Words {
    fn read(&mut self, text: &str) {
        let bytes = text.as_bytes();
        // A whole block of edges may be written beyond the last.
        let most = bytes.len() + 2 * EDGES;
        self.edges.resize(self.edges.len().max(most), 0);
        let count = match edges_in_ascii(bytes, &mut self.edges) {
            Some(count) => count,
            None => edges(text, &mut self.edges),
        };
        let mut padded = [b' '; EIGHT];
        let bytes = if bytes.len() < EIGHT {
            padded[..bytes.len()].copy_from_slice(bytes);
            &padded
        } else {
            bytes
        };
        let (bounds, _) = self.edges[..count].as_chunks::<2>();
        let hashes = bounds.iter().map(|&[start, end]| hash(bytes, start, end));
        self.hashes.clear();
        self.hashes.extend(hashes);
    }

    /// How many of the `total` n-grams differ from all before them. Equal hashes are settled by the words themselves.
    fn distinct(&mut self, text: &[u8], n: usize, total: usize) -> u32 {
        // So many that two rarely meet in one.
        let n_slots = (8 * total).next_power_of_two();
        if self.slots.len() < n_slots || self.round == u32::MAX {
            self.slots.clear();
            self.slots.resize(n_slots, (0, 0));
            self.round = 0;
        }
        self.round += 1;
        let mut distinct = 0;
        for (place, words) in self.hashes.windows(n).enumerate() {
            // Words are hashed well enough for their order to be all that is to be told.
            let hash = words
                .iter()
                .fold(0, |hash: u64, &word| hash.rotate_left(21) ^ word);
            let mut slot = hash as usize & (n_slots - 1);
            loop {
                let (round, known) = self.slots[slot];
                if round != self.round {
                    self.slots[slot] = (self.round, place as u32);
                    distinct += 1;
                    break;
                }
                if self.equal(text, known as usize, place, n) {
                    break;
                }
                slot = (slot + 1) & (n_slots - 1);
            }
        }
        distinct
    }

    /// Whether the n-grams at two places are the same words.
    fn equal(&self, text: &[u8], a: usize, b: usize, n: usize) -> bool {
        let word = |place: usize| &text[self.edges[2 * place]..self.edges[2 * place + 1]];
        self.hashes[a..a + n] == self.hashes[b..b + n]
            && (0..n).all(|offset| word(a + offset) == word(b + offset))
    }
}

/// Edges that are written together.
const EDGES: usize = 8;

/// Writes where the words begin and end; how many edges that are.
fn edges(text: &str, edges: &mut [usize]) -> usize {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    let found = text
        .split_whitespace()
        .flat_map(|word| [start(word), start(word) + word.len()]);
    let places = edges.iter_mut().zip(found);
    places.map(|(place, edge)| *place = edge).count()
}

widest! {
    /// The same for a text of ASCII; nothing for another one.
    fn edges_in_ascii(text: &[u8], edges: &mut [usize]) -> Option<usize> = edges_of_chunks;
}

/// 64 bytes at a time.
#[inline(always)]
fn edges_of_chunks(text: &[u8], edges: &mut [usize]) -> Option<usize> {
    let (chunks, rest) = text.as_chunks::<64>();
    let mut last = [b' '; 64];
    // At least one space, at which the last word ends.
    last[..rest.len()].copy_from_slice(rest);
    let mut before = 1;
    let mut count = 0;
    let mut all = 0;
    for (chunk, start) in chunks.iter().chain([&last]).zip((0..).step_by(64)) {
        all |= chunk.iter().fold(0, |all, byte| all | byte);
        let spaces = spaces(chunk);
        // Only where a word begins or ends is there anything to do.
        let mut changes = spaces ^ (spaces << 1 | before);
        before = spaces >> 63;
        let end = count + changes.count_ones() as usize;
        // Several at a time, needed or not: when to stop would be guessed wrongly once a chunk.
        while count < end {
            for edge in &mut edges[count..count + EDGES] {
                *edge = start + changes.trailing_zeros() as usize;
                changes &= changes.wrapping_sub(1);
            }
            count += EDGES;
        }
        count = end;
    }
    (all < 128).then_some(count)
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

const EIGHT: usize = 8;

/// Of a word in a text of at least eight bytes: its length, its first, last and middle eight bytes. All words take the same
/// time, and those that differ elsewhere alone are few.
#[inline]
fn hash(text: &[u8], start: usize, end: usize) -> u64 {
    let eight = |place: usize| {
        let bytes = text[place..].first_chunk();
        bytes.map_or(0, |&bytes| u64::from_le_bytes(bytes))
    };
    let furthest = text.len() - EIGHT;
    let length = end - start;
    // Bits of eight bytes that are none of a shorter word's.
    let beyond = 64 - 8 * length.min(EIGHT);
    let place = start.min(furthest);
    let first = eight(place) >> (8 * (start - place)) << beyond;
    let place = end.saturating_sub(EIGHT);
    let last = eight(place) << (8 * (place + EIGHT - end)) >> beyond;
    let is_long = u64::from(length >= 2 * EIGHT).wrapping_neg();
    let middle = eight((start + length / 2).min(furthest)) & is_long;
    product(first ^ middle ^ length as u64 ^ FIRST, last ^ SECOND)
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
