//! The syntax of `.rlp`: the grammar, the syntax tree, parsing with recovery, and the formatter.

pub mod ast;
