//! Where a short text first stands in a longer one, by its first and its last byte, 64 places at a time.

use crate::widest::widest;

/// A text of at most `MOST` bytes, so that no place is looked at for long.
pub(crate) struct Short {
    bytes: Box<[u8]>,
}

const MOST: usize = 32;

/// Places that are looked at together.
const WINDOW: usize = 64;

impl Short {
    /// Nothing for a text that is empty or too long.
    pub(crate) fn new(text: &str) -> Option<Short> {
        let fits = (1..=MOST).contains(&text.len());
        fits.then(|| Short {
            bytes: text.as_bytes().into(),
        })
    }

    /// The first place.
    #[inline]
    pub(crate) fn find(&self, text: &[u8]) -> Option<usize> {
        let places = (text.len() + 1).saturating_sub(self.bytes.len());
        if places >= WINDOW {
            return find_by_windows(self, text, places);
        }
        (0..places).find(|&place| text[place] == self.bytes[0] && self.is_at(text, place))
    }

    /// Among at least as many places as a window has.
    #[inline(always)]
    fn find_among(&self, text: &[u8], places: usize) -> Option<usize> {
        let mut start = 0;
        while start + WINDOW < places {
            if let Some(place) = self.find_from(text, start) {
                return Some(place);
            }
            start += WINDOW;
        }
        self.find_from(text, places - WINDOW)
    }

    /// Byte by byte: a call takes longer than so few.
    #[inline(always)]
    fn is_at(&self, text: &[u8], place: usize) -> bool {
        let mut bytes = text[place..].iter().zip(&self.bytes);
        bytes.all(|(text, own)| text == own)
    }

    /// Among the places of the window that begins at `start`.
    #[inline(always)]
    fn find_from(&self, text: &[u8], start: usize) -> Option<usize> {
        let beyond = self.bytes.len() - 1;
        let (first, last) = (self.bytes[0], self.bytes[beyond]);
        let firsts: &[u8; WINDOW] = text[start..].first_chunk()?;
        let lasts: &[u8; WINDOW] = text[start + beyond..].first_chunk()?;
        let both = firsts.iter().zip(lasts);
        let both = both.map(|(&a, &b)| u8::from(a == first) & u8::from(b == last));
        // Most windows have nothing, which vectors tell sooner than where it is.
        if both.fold(0, |any, both| any | both) == 0 {
            return None;
        }
        let mut places = equal(firsts, first) & equal(lasts, last);
        while places != 0 {
            let place = start + places.trailing_zeros() as usize;
            if self.is_at(text, place) {
                return Some(place);
            }
            places &= places - 1;
        }
        None
    }
}

widest! {
    fn find_by_windows(short: &Short, text: &[u8], places: usize) -> Option<usize> = Short::find_among;
}

/// A bit for each of 64 bytes, the lowest for the first: whether it is `byte`.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "instructions that every x86-64 processor has")]
#[inline]
fn equal(bytes: &[u8; WINDOW], byte: u8) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    let (vectors, _) = bytes.as_chunks::<16>();
    vectors.iter().enumerate().fold(0, |all, (index, vector)| {
        // SAFETY: SSE2 is part of x86-64, and the load is of the sixteen bytes of `vector`.
        let mask = unsafe {
            let bytes = _mm_loadu_si128(vector.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8)))
        };
        all | (mask as u64) << (16 * index)
    })
}

/// A bit for each of 64 bytes, the lowest for the first: whether it is `byte`.
#[cfg(not(target_arch = "x86_64"))]
fn equal(bytes: &[u8; WINDOW], byte: u8) -> u64 {
    let bits = bytes.iter().rev();
    bits.fold(0, |all, &own| all << 1 | u64::from(own == byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Short;

    proptest! {
        #[test]
        fn finds_what_stands_first(text in "[ab\0]{0,300}", part in "[ab\0]{1,40}|[ab]{1,3}") {
            if let Some(short) = Short::new(&part) {
                prop_assert_eq!(short.find(text.as_bytes()), text.find(&part));
            }
        }

        #[test]
        fn finds_it_behind_much_else(before in "[<answer>]{0,200}", after in "[ />]{0,200}") {
            let text = format!("{before}<answer>{after}");
            let short = Short::new("<answer>").map(|short| short.find(text.as_bytes()));
            prop_assert_eq!(short, Some(text.find("<answer>")));
        }
    }
}
