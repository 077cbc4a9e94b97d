//! Edit distance in words of bits: a column of the table of distances at once.
//!
//! Myers 1999 (A fast bit-vector algorithm for approximate string matching), in the form of Hyyrö 2003 for patterns longer
//! than a machine word. Neighbours in a column differ by −1, 0 or 1, so a column is two sets of bits.

use std::collections::HashMap;

const WORD: usize = 64;

/// Characters to insert, delete or replace to make one text the other.
pub fn edit_distance(a: &str, b: &str) -> i64 {
    if a.is_ascii() && b.is_ascii() {
        let places: Vec<usize> = a.bytes().map(usize::from).collect();
        return distance(&places, b.bytes().map(usize::from), 128);
    }
    let mut ids: HashMap<char, usize> = HashMap::new();
    let mut id = |c: char| {
        let next = ids.len();
        *ids.entry(c).or_insert(next)
    };
    let left: Vec<usize> = a.chars().map(&mut id).collect();
    let right: Vec<usize> = b.chars().map(&mut id).collect();
    distance(&left, right.into_iter(), ids.len())
}

/// Between two sequences of symbols below `symbols`.
fn distance(pattern: &[usize], text: impl ExactSizeIterator<Item = usize>, symbols: usize) -> i64 {
    if pattern.is_empty() {
        return text.len() as i64;
    }
    let n_words = pattern.len().div_ceil(WORD);
    // Where each symbol stands in the pattern.
    let mut places = vec![0u64; symbols * n_words];
    for (row, &symbol) in pattern.iter().enumerate() {
        places[symbol * n_words + row / WORD] |= 1 << (row % WORD);
    }
    // In which rows the column grows by 1, and in which it falls.
    let mut grows = vec![u64::MAX; n_words];
    let mut falls = vec![0u64; n_words];
    let last = 1u64 << ((pattern.len() - 1) % WORD);
    let mut distance = pattern.len() as i64;
    for symbol in text {
        let equal = &places[symbol * n_words..][..n_words];
        // The top row of the table counts the text's symbols.
        let (mut grows_in, mut falls_in) = (1u64, 0u64);
        for (word, &equal) in equal.iter().enumerate() {
            let (up, down) = (grows[word], falls[word]);
            let vertical = equal | down;
            let equal = equal | falls_in;
            let diagonal = ((equal & up).wrapping_add(up) ^ up) | equal;
            let mut right_grows = down | !(diagonal | up);
            let mut right_falls = up & diagonal;
            if word + 1 == n_words {
                distance += i64::from(right_grows & last != 0);
                distance -= i64::from(right_falls & last != 0);
            }
            let (grows_out, falls_out) = (right_grows >> (WORD - 1), right_falls >> (WORD - 1));
            right_grows = (right_grows << 1) | grows_in;
            right_falls = (right_falls << 1) | falls_in;
            grows[word] = right_falls | !(vertical | right_grows);
            falls[word] = right_grows & vertical;
            (grows_in, falls_in) = (grows_out, falls_out);
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::edit_distance;

    /// The table itself, row by row.
    fn by_table(a: &str, b: &str) -> i64 {
        let b: Vec<char> = b.chars().collect();
        let mut above: Vec<i64> = (0..=b.len() as i64).collect();
        for (i, x) in a.chars().enumerate() {
            let mut row = vec![i as i64 + 1];
            for (j, y) in b.iter().enumerate() {
                row.push(
                    (above[j + 1] + 1)
                        .min(row[j] + 1)
                        .min(above[j] + i64::from(x != *y)),
                );
            }
            above = row;
        }
        above[b.len()]
    }

    proptest! {
        #[test]
        fn is_what_the_table_says(a in "[a-c]{0,200}", b in "[a-c]{0,200}") {
            prop_assert_eq!(edit_distance(&a, &b), by_table(&a, &b));
        }

        #[test]
        fn counts_characters(a in "[aé漢]{0,70}", b in "[aé漢]{0,70}") {
            prop_assert_eq!(edit_distance(&a, &b), by_table(&a, &b));
        }
    }
}
