//! The parser that pest makes of `rlp.pest`.

#[derive(pest_derive::Parser)]
#[grammar = "../rlp.pest"]
pub(crate) struct Syntax;
