//! Generated code against the meaning of its operations.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod arrays;
mod builder;
mod double;
mod generate;
mod loss;
mod maths;
mod random;
mod reference;
mod special;
