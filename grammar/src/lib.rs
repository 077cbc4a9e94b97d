//! The syntax of `.rlp`: the grammar, the syntax tree, parsing with recovery, and the formatter.

pub mod ast;
mod build;
mod error;
mod explain;
mod fmt;
mod lexis;
mod outline;
mod parse;
mod recover;
mod scan;
mod syntax;

pub use error::SyntaxError;
pub use fmt::fmt;
pub use parse::{MAX_SIZE, Parsed, parse};
pub use scan::Comment;
