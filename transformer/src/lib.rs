//! What a transformer computes between its matrix products, on slices: normalisation, rotary positions, attention,
//! the gate of the feed-forward layer, and the distribution over the vocabulary.
//!
//! Every function works in f32 and f64, on rows that lie one after the other, and picks the widest vectors of the
//! processor when it is called. Sums run in an order that depends on the sizes only.

mod attend_one;
mod attention;
mod gate;
mod kernels;
mod linear;
mod norm;
mod product;
mod rotary;
#[cfg(test)]
mod tests;
mod vector;
mod vocabulary;

pub use attend_one::Keys;
pub use attention::{Heads, Scratch, Span};
pub use kernels::{Kernels, Real};
pub use linear::Packed;
pub use vector::Scalar;
pub use vocabulary::{Distribution, Drawn, Weights};
