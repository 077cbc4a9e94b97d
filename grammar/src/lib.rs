//! The syntax of `.rlp`: the grammar, the syntax tree, parsing with recovery, and the formatter.

pub mod ast;
mod build;
mod error;
mod parse;
mod scan;
mod syntax;

pub use error::SyntaxError;
pub use parse::{Parsed, parse};
pub use scan::Comment;
