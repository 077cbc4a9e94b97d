//! How much of a text repeats itself, by its n-grams of words.

use std::cell::RefCell;

/// The words of a text and the n-grams seen so far, in memory that is used again for the next text.
#[derive(Default)]
struct Words {
    /// Where each begins and ends.
    bounds: Vec<(usize, usize)>,
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
        let total = (words.bounds.len() + 1).saturating_sub(n);
        if n == 0 || total == 0 {
            return 0.0;
        }
        1.0 - f64::from(words.distinct(text, n, total)) / total as f64
    })
}

impl Words {
    fn read(&mut self, text: &str) {
        self.bounds.clear();
        if text.is_ascii() {
            ascii_bounds(text.as_bytes(), &mut self.bounds);
        } else {
            let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
            let bounds = text
                .split_whitespace()
                .map(|word| (start(word), start(word) + word.len()));
            self.bounds.extend(bounds);
        }
        let hashes = self
            .bounds
            .iter()
            .map(|&(start, end)| hash(&text.as_bytes()[start..end]));
        self.hashes.clear();
        self.hashes.extend(hashes);
    }

    /// How many of the `total` n-grams differ from all before them. Equal hashes are settled by the words themselves.
    fn distinct(&mut self, text: &str, n: usize, total: usize) -> u32 {
        let n_slots = (2 * total).next_power_of_two();
        self.slots.clear();
        self.slots.resize(n_slots, 0);
        let mut distinct = 0;
        for place in 0..total {
            let hash = self.hashes[place..place + n]
                .iter()
                .fold(0, |hash, &word| mix(hash ^ word));
            let mut slot = hash as usize & (n_slots - 1);
            loop {
                match self.slots[slot] {
                    0 => {
                        self.slots[slot] = place as u32 + 1;
                        distinct += 1;
                        break;
                    }
                    known if self.equal(text, known as usize - 1, place, n) => break,
                    _ => slot = (slot + 1) & (n_slots - 1),
                }
            }
        }
        distinct
    }

    /// Whether the n-grams at two places are the same words.
    fn equal(&self, text: &str, a: usize, b: usize, n: usize) -> bool {
        let word = |place: usize| {
            let (start, end) = self.bounds[place];
            &text.as_bytes()[start..end]
        };
        self.hashes[a..a + n] == self.hashes[b..b + n]
            && (0..n).all(|offset| word(a + offset) == word(b + offset))
    }
}

/// The words of ASCII text, 64 bytes at a time.
fn ascii_bounds(text: &[u8], bounds: &mut Vec<(usize, usize)>) {
    let mut start = 0;
    let mut is_word = false;
    let mut see = |first: usize, spaces: u64| {
        // Only where a word begins or ends is there anything to do.
        let mut edges = spaces ^ (spaces << 1 | u64::from(!is_word));
        while edges != 0 {
            let place = first + edges.trailing_zeros() as usize;
            if is_word {
                bounds.push((start, place));
            } else {
                start = place;
            }
            is_word = !is_word;
            edges &= edges - 1;
        }
    };
    let (chunks, rest) = text.as_chunks::<64>();
    for (index, chunk) in chunks.iter().enumerate() {
        see(64 * index, spaces(chunk));
    }
    // What follows the text is white space, at least one byte of it.
    let mut last = [b' '; 64];
    last[..rest.len()].copy_from_slice(rest);
    see(64 * chunks.len(), spaces(&last));
}

/// A bit for each of 64 ASCII bytes, the lowest for the first: whether it is white space.
fn spaces(bytes: &[u8; 64]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().enumerate().fold(0, |all, (index, &word)| {
        // The product gathers the top bits of eight bytes in its highest byte.
        let gathered = (spaces_of_eight(u64::from_le_bytes(word)) >> 7).wrapping_mul(GATHER) >> 56;
        all | gathered << (8 * index)
    })
}

/// 2^(56 − 7i) for i < 8, as 8i + (56 − 7i) = 56 + i.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// The top bit of each byte that is white space, of eight ASCII bytes.
fn spaces_of_eight(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    // Bytes are below 128, so no sum carries into the next. At least c: the top bit of byte + (128 − c).
    let at_least = |c: u64| (bytes + (128 - c) * ONES) & TOPS;
    let is = |c: u64| at_least(c) & !at_least(c + 1);
    is(u64::from(b' ')) | at_least(9) & !at_least(14)
}

/// Of a word: its length, and all of its bytes, some of them twice.
fn hash(word: &[u8]) -> u64 {
    let (chunks, rest) = word.as_chunks::<8>();
    let length = word.len() as u64;
    let first = match word.last_chunk::<8>() {
        Some(&last) => u64::from_le_bytes(last),
        None => rest.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)),
    };
    chunks.iter().fold(mix(length ^ first), |hash, &chunk| {
        mix(hash ^ u64::from_le_bytes(chunk))
    })
}

/// Every bit of the result depends on every bit of the argument.
fn mix(x: u64) -> u64 {
    let product = u128::from(x ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
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
