//! How much of a text repeats itself, by its n-grams of words.

/// Whitespace-separated words of a text, one after another.
struct Words<'t> {
    text: &'t str,
    /// Where each begins and ends.
    bounds: Vec<(usize, usize)>,
    hashes: Vec<u64>,
}

/// The share of the n-grams of words that stand earlier in the text already: 1 − distinct / all. 0 if there is no n-gram.
pub fn repetition(text: &str, n: usize) -> f64 {
    let words = Words::new(text);
    let total = (words.bounds.len() + 1).saturating_sub(n);
    if n == 0 || total == 0 {
        return 0.0;
    }
    // Open addressing; a slot holds the place of an n-gram plus 1. Equal hashes are settled by the words themselves.
    let n_slots = (2 * total).next_power_of_two();
    let mut slots = vec![0u32; n_slots];
    let mut distinct = 0;
    for place in 0..total {
        let hash = words.hashes[place..place + n]
            .iter()
            .fold(0, |hash, &word| mix(hash ^ word));
        let mut slot = hash as usize & (n_slots - 1);
        loop {
            match slots[slot] {
                0 => {
                    slots[slot] = place as u32 + 1;
                    distinct += 1;
                    break;
                }
                known if words.equal(known as usize - 1, place, n) => break,
                _ => slot = (slot + 1) & (n_slots - 1),
            }
        }
    }
    1.0 - f64::from(distinct) / total as f64
}

impl<'t> Words<'t> {
    fn new(text: &'t str) -> Words<'t> {
        let bounds = if text.is_ascii() {
            ascii_bounds(text.as_bytes())
        } else {
            let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
            let bounds = text
                .split_whitespace()
                .map(|word| (start(word), start(word) + word.len()));
            bounds.collect()
        };
        let hashes = bounds
            .iter()
            .map(|&(start, end)| hash(&text.as_bytes()[start..end]))
            .collect();
        Words {
            text,
            bounds,
            hashes,
        }
    }

    /// Whether the n-grams at two places are the same words.
    fn equal(&self, a: usize, b: usize, n: usize) -> bool {
        let word = |place: usize| {
            let (start, end) = self.bounds[place];
            &self.text[start..end]
        };
        self.hashes[a..a + n] == self.hashes[b..b + n]
            && (0..n).all(|offset| word(a + offset) == word(b + offset))
    }
}

/// The words of ASCII text, eight bytes at a time.
fn ascii_bounds(text: &[u8]) -> Vec<(usize, usize)> {
    let mut bounds = Vec::with_capacity(text.len() / 6 + 1);
    let mut start = None;
    let mut see = |place: usize, is_space: bool| match (start, is_space) {
        (None, false) => start = Some(place),
        (Some(from), true) => {
            bounds.push((from, place));
            start = None;
        }
        (None, true) | (Some(_), false) => {}
    };
    let mut spaces_before = true;
    for (index, chunk) in text.chunks(8).enumerate() {
        let mut bytes = [b' '; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let spaces = spaces(u64::from_le_bytes(bytes));
        // Only where a word begins or ends is there anything to do.
        let mut edges = spaces ^ (spaces << 8 | u64::from(spaces_before) << 7);
        while edges != 0 {
            let byte = edges.trailing_zeros() as usize / 8;
            see(8 * index + byte, spaces >> (8 * byte + 7) & 1 == 1);
            edges &= edges - 1;
        }
        spaces_before = spaces >> 63 == 1;
    }
    see(text.len(), true);
    bounds
}

/// The top bit of each byte that is white space, of eight ASCII bytes.
fn spaces(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    // Bytes are below 128, so no sum carries into the next. At least c: the top bit of byte + (128 − c).
    let at_least = |c: u64| (bytes + (128 - c) * ONES) & TOPS;
    let is = |c: u64| at_least(c) & !at_least(c + 1);
    is(u64::from(b' ')) | at_least(9) & !at_least(14)
}

fn hash(word: &[u8]) -> u64 {
    let mut chunks = word.chunks_exact(8);
    let mut hash = word.len() as u64;
    for chunk in &mut chunks {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(bytes));
    }
    let mut bytes = [0; 8];
    bytes[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(hash ^ u64::from_le_bytes(bytes))
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
