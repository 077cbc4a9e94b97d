//! Rows of parquet files as lines of JSON, one at a time.

mod guard;

use std::fmt::Write;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field as Value, Row};
use parquet::schema::types::Type;

use crate::columns::Columns;
use crate::error::{DataError, Misfit};
use crate::line::{LONGEST_LINE, Line};

/// The rows of a file.
pub(crate) struct Rows {
    path: PathBuf,
    rows: RowIter<'static>,
    /// Rows read so far, and bytes of their lines.
    number: u64,
    start: u64,
    /// No more bytes than these are in an honest file of its size.
    most: u64,
}

impl Rows {
    /// Opens a file for the columns that are read.
    ///
    /// # Errors
    /// It is no parquet file, asks for more memory than rows need, or lacks a column.
    pub(crate) fn open(path: &Path, columns: &Columns) -> Result<Rows, DataError> {
        let file = File::open(path).map_err(|error| DataError::io(path, &error))?;
        let length = guard::footer(&file).map_err(|why| DataError::file(path, why))?;
        let broken = |why: String| DataError::file(path, why);
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(broken)?;
        let root = reader.metadata().file_metadata().schema();
        let is_wanted = |name: &str| {
            let mut fields = columns.fields();
            fields.any(|field| name == field.path() || name == field.column())
        };
        let names: Vec<&str> = root.get_fields().iter().map(|own| own.name()).collect();
        for field in columns.fields() {
            let is_there = names.contains(&field.path()) || names.contains(&field.column());
            let is_optional = columns.is_answer_optional && columns.answer.as_ref() == Some(field);
            if !is_there && !is_optional {
                let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                let misfit = Misfit::new(format!("has no column `{}`", field.column()))
                    .help(format!("it has {}", known.join(", ")));
                return Err(misfit.at(&format!("`{}`", path.display())));
            }
        }
        let wanted = root.get_fields().iter().filter(|own| is_wanted(own.name()));
        let wanted: Vec<_> = wanted.cloned().collect();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let own = column.column_path().parts().first();
                if own.is_some_and(|own| is_wanted(own)) {
                    let is_nested = column.column_descr().max_rep_level() > 0;
                    let first = column.dictionary_page_offset();
                    let start = first.unwrap_or(column.data_page_offset());
                    guard::pages(path, (start, column.compressed_size()), is_nested)
                        .map_err(broken)?;
                }
            }
        }
        let projected = Type::group_type_builder(root.name())
            .with_fields(wanted)
            .build();
        let rows = guarded(|| RowIter::from_file_into(Box::new(reader)).project(Some(projected?)));
        Ok(Rows {
            path: path.to_path_buf(),
            rows: rows.map_err(broken)?,
            number: 0,
            start: 0,
            most: length.saturating_mul(1000).saturating_add(1 << 26),
        })
    }

    /// The next row, as a line without its end.
    pub(crate) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<Line>, DataError> {
        let next = guarded(|| self.rows.next().transpose());
        let number = self.number + 1;
        let row =
            next.map_err(|why| DataError::file(&self.path, format!("row {number}: {why}")))?;
        let Some(row) = row else {
            return Ok(None);
        };
        self.number = number;
        let mut line = String::new();
        write_row(&row, &mut line);
        let is_too_long = line.len() > LONGEST_LINE;
        if is_too_long {
            line.clear();
        }
        text.clear();
        text.extend_from_slice(line.as_bytes());
        let start = self.start;
        self.start += line.len() as u64 + 1;
        if self.start > self.most {
            let why = "its rows are more than 1000 times as long as the file";
            return Err(DataError::file(&self.path, why));
        }
        Ok(Some(Line {
            number,
            start,
            is_too_long,
        }))
    }
}

/// What the crate is asked for, or why it fails: it panics at some files that are not as they should be.
fn guarded<T>(asked: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(asked)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(ParquetError::General(why) | ParquetError::EOF(why))) => {
            Err(format!("it is damaged: {}", plain(&why)))
        }
        Ok(Err(ParquetError::NYI(what))) => {
            Err(format!("it uses what is not read: {}", plain(&what)))
        }
        Ok(Err(other)) => Err(format!("it is damaged: {}", plain(&other.to_string()))),
        Err(_) => Err("it is damaged: its parts do not fit together".to_string()),
    }
}

/// The first line of what a crate says, no longer than a line.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

fn write_row(row: &Row, line: &mut String) {
    line.push('{');
    for (place, (name, value)) in row.get_column_iter().enumerate() {
        if place > 0 {
            line.push(',');
        }
        write_text(name, line);
        line.push(':');
        write_value(value, line);
    }
    line.push('}');
}

fn write_text(text: &str, line: &mut String) {
    line.push_str(&serde_json::Value::from(text).to_string());
}

/// A value as JSON. What JSON has no form for becomes a text, and bytes that are no text a list of numbers.
fn write_value(value: &Value, line: &mut String) {
    if line.len() > LONGEST_LINE {
        return;
    }
    match value {
        Value::Null => line.push_str("null"),
        Value::Bool(value) => line.push_str(if *value { "true" } else { "false" }),
        Value::Float(value) if !value.is_finite() => line.push_str("null"),
        Value::Double(value) if !value.is_finite() => line.push_str("null"),
        Value::Byte(_)
        | Value::Short(_)
        | Value::Int(_)
        | Value::Long(_)
        | Value::UByte(_)
        | Value::UShort(_)
        | Value::UInt(_)
        | Value::ULong(_) => {
            let _ = write!(line, "{value}");
        }
        Value::Float(value) => {
            let _ = write!(line, "{value}");
        }
        Value::Double(value) => {
            let _ = write!(line, "{value}");
        }
        Value::Str(text) => write_text(text, line),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => write_text(text, line),
            Err(_) => {
                let _ = write!(line, "{:?}", bytes.data());
            }
        },
        Value::Group(row) => write_row(row, line),
        Value::ListInternal(list) => {
            line.push('[');
            for (place, value) in list.elements().iter().enumerate() {
                if place > 0 {
                    line.push(',');
                }
                write_value(value, line);
            }
            line.push(']');
        }
        Value::MapInternal(map) => {
            line.push('{');
            for (place, (name, value)) in map.entries().iter().enumerate() {
                if place > 0 {
                    line.push(',');
                }
                match name {
                    Value::Str(name) => write_text(name, line),
                    other => write_text(&other.to_string(), line),
                }
                line.push(':');
                write_value(value, line);
            }
            line.push('}');
        }
        other => write_text(&other.to_string(), line),
    }
}
