//! Rows of files as problems.

use rlp_data::{DataError, Request, Row, Table};
use rlp_frontend::description::hexadecimal;

use super::{Fit, Problem, Split, Task};
use crate::error::Fault;
use crate::random::Stream;

/// The rows of `data.jsonl`, `data.parquet`, `data.comparisons` and `data.responses`.
pub struct Rows {
    table: Table,
    name: String,
}

impl Rows {
    /// Reads the files through.
    ///
    /// # Errors
    /// A file that cannot be read, and the first row that does not fit, or not what is asked of it.
    pub(crate) fn open(request: &Request, fit: &Fit, name: &str) -> Result<Rows, Fault> {
        let table = Table::open(request, &mut |row| fit.check(row))?;
        let name = name.to_string();
        Ok(Rows { table, name })
    }
}

impl Task for Rows {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.table.trained(),
            Split::HeldOut => self.table.held_out(),
        }
    }

    fn problem(&self, split: Split, index: u64, _stream: Stream) -> Result<Problem, Fault> {
        let (id, row) = match split {
            Split::Train => self.table.train_row(index)?,
            Split::HeldOut => self.table.held_out_row(index)?,
        };
        let Row {
            context,
            prompt,
            answer,
            response,
            ..
        } = row;
        Ok(Problem {
            id,
            context,
            prompt,
            answer,
            demonstration: response,
            length: None,
        })
    }

    fn digest(&self) -> Option<String> {
        Some(hexadecimal(self.table.digest()))
    }

    fn warning(&self) -> Option<DataError> {
        let skipped = self.table.skipped()?;
        let rows = match skipped.count {
            1 => "1 row is".to_string(),
            more => format!("{more} rows are"),
        };
        Some(DataError {
            message: format!("{rows} skipped, the first {}", skipped.first.message),
            ..skipped.first.clone()
        })
    }
}
