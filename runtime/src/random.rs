//! Random numbers as a pure function of their key: Philox4x32-10 over a tree of streams.
//!
//! A draw depends on the path that names it (`Stream::new(seed, Purpose::Sample).at(step).at(prompt)`) and on
//! its position, never on batch layout, thread count or what else was drawn.
//!
//! Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (SC '11), for the generator;
//! the tree of keys is `fold_in` of JAX.

use std::f64::consts::TAU;

/// What a stream is for; streams of different purposes are independent under one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial parameters of a model or a block.
    Initialise,
    /// The order in which the problems of a task are visited.
    Order,
    /// What is random in a problem itself.
    Problem,
    /// The tokens of a rollout.
    Sample,
    /// The order of a batch within an epoch of minibatches.
    Shuffle,
    /// `random.*` in a program.
    Program,
}

impl Purpose {
    /// Part of the key, so these numbers fix the bits of every run: never change one.
    fn number(self) -> u64 {
        match self {
            Purpose::Initialise => 1,
            Purpose::Order => 2,
            Purpose::Problem => 3,
            Purpose::Sample => 4,
            Purpose::Shuffle => 5,
            Purpose::Program => 6,
        }
    }
}

/// A node in the tree of keys: it has numbered draws, and numbered streams below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
}

// The third word of the counter keeps the draws of a key apart from the streams below it.
const DRAW: u32 = 0;
const STREAM: u32 = 1;

impl Stream {
    pub fn new(seed: u64, purpose: Purpose) -> Stream {
        Stream {
            key: [low(seed), high(seed)],
        }
        .at(purpose.number())
    }

    /// The stream `index` below this one.
    #[must_use]
    pub fn at(self, index: u64) -> Stream {
        let [a, b, _, _] = self.block(index, STREAM);
        Stream { key: [a, b] }
    }

    /// 64 uniform bits.
    pub fn bits(self, position: u64) -> u64 {
        let [a, b, _, _] = self.block(position, DRAW);
        u64::from(b) << 32 | u64::from(a)
    }

    /// Uniform on the open interval (0, 1): 52 random bits, at the centres of their cells.
    pub fn uniform(self, position: u64) -> f64 {
        cell_centre(self.bits(position))
    }

    /// Standard normal, by Box and Muller's transform of one block.
    pub fn normal(self, position: u64) -> f64 {
        let [a, b, c, d] = self.block(position, DRAW);
        let radius = (-2.0 * cell_centre(u64::from(b) << 32 | u64::from(a)).ln()).sqrt();
        radius * (TAU * cell_centre(u64::from(d) << 32 | u64::from(c))).cos()
    }

    /// Uniform on `0..bound`; `bound` is at least 1. The bias is below `bound / 2⁶⁴`.
    pub fn below(self, position: u64, bound: u64) -> u64 {
        ((u128::from(self.bits(position)) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform permutation of `0..size` (Fisher and Yates), by draws `0..size` of this stream.
    pub fn permutation(self, size: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..size).collect();
        for last in (1..size).rev() {
            order.swap(last as usize, self.below(last, last + 1) as usize);
        }
        order
    }

    fn block(self, position: u64, domain: u32) -> [u32; 4] {
        philox([low(position), high(position), domain, 0], self.key)
    }
}

/// A keyed permutation of `0..size` that is evaluated one element at a time, for sets too large to shuffle.
///
/// A balanced Feistel network over the next even number of bits, walked along its cycle until it lands inside
/// (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"): fewer than 4 steps are expected.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    stream: Stream,
    size: u64,
    half_bits: u32,
}

/// Few bits a half need more rounds than the 4 that suffice for wide ones.
const FEISTEL_ROUNDS: u64 = 8;

impl Permutation {
    pub fn new(stream: Stream, size: u64) -> Permutation {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        Permutation {
            stream,
            size,
            half_bits: bits.div_ceil(2).max(1),
        }
    }

    /// The image of `index`, which must be below the size.
    pub fn at(&self, index: u64) -> u64 {
        assert!(
            index < self.size,
            "index {index} lies outside a permutation of {}",
            self.size
        );
        let mut image = index;
        loop {
            image = self.round_trip(image);
            if image < self.size {
                return image;
            }
        }
    }

    fn round_trip(&self, index: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (index >> self.half_bits, index & mask);
        for round in 0..FEISTEL_ROUNDS {
            (left, right) = (right, left ^ (self.stream.at(round).bits(right) & mask));
        }
        left << self.half_bits | right
    }
}

/// Philox4x32-10: ten rounds of multiplication and exchange (Salmon et al. 2011, section 4.3).
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k, mut l] = key;
    for _ in 0..10 {
        let left = u64::from(a) * 0xD251_1F53;
        let right = u64::from(c) * 0xCD9E_8D57;
        (a, b, c, d) = (
            high(right) ^ b ^ k,
            low(right),
            high(left) ^ d ^ l,
            low(left),
        );
        k = k.wrapping_add(0x9E37_79B9);
        l = l.wrapping_add(0xBB67_AE85);
    }
    [a, b, c, d]
}

fn cell_centre(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}
