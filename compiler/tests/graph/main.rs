//! The graph's laws, from outside: types, values, derivatives and passes of every primitive.

#![allow(clippy::unwrap_used)]

mod derivative;
mod dump;
mod example;
mod fuse;
mod matrix;
mod passes;
mod random;
mod setup;
mod text;
mod typing;
mod value;
