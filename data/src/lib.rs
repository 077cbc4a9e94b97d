//! Data in files: rows of jsonl and parquet, and plain text; found, read, checked and divided.
//!
//! A file is read through once, row by row, so that a row that does not fit is found before a run. After that only the place of
//! each row is kept, and a row is read again when it is drawn: files may be larger than memory.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod columns;
mod error;
mod field;
mod files;
mod line;
#[cfg(feature = "parquet")]
mod parquet;
mod table;
mod template;
mod text;

pub use columns::{Columns, Message, Prompt, Row, role};
pub use error::{DataError, Misfit};
pub use field::Field;
pub use files::{Format, found};
pub use table::{Part, Request, Skipped, Table, glance};
pub use template::Template;
pub use text::{Piece, Texts};
