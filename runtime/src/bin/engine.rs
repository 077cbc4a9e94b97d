//! The engine behind `rlpc run` and `rlpc eval`.
fn main() {}
