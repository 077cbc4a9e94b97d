//! The graph's laws, from outside: types, values, derivatives and passes of every primitive.

#![allow(clippy::unwrap_used)]

mod derivative;
mod dump;
mod example;
mod passes;
mod setup;
mod typing;
mod value;
