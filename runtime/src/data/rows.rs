//! `data.comparisons` and `data.responses`: the rows of a `jsonl` file, one object a line.
//!
//! The file is read through once, so that a row that does not fit is found before the run; after that only the place
//! of each row is kept, and a row is read again when it is drawn.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Problem, Split, Task};
use crate::error::Fault;
use crate::random::Stream;

/// What a row holds beside its `prompt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// `chosen` and `rejected`: the first is the demonstration, the second the answer.
    Comparison,
    /// `response`, and an `answer` if there is one.
    Response,
}

/// A file of rows; all are trained on.
pub struct Rows {
    path: PathBuf,
    columns: Columns,
    file: RefCell<File>,
    /// Line, from 1, and where it begins, of each row.
    places: Vec<(u64, u64)>,
}

/// The longest line, in bytes: more is no row but another kind of file.
const LONGEST_LINE: u64 = 1 << 24;

impl Rows {
    /// Reads the file through. A line that is empty is no row.
    pub fn open(path: &str, columns: Columns) -> Result<Rows, Fault> {
        let unreadable = |error: std::io::Error| Fault::input(format!("{path}: {error}"));
        let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
        let (mut line, mut start, mut text) = (0, 0, Vec::new());
        let mut places = Vec::new();
        loop {
            text.clear();
            line += 1;
            let read = (&mut reader)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut text)
                .map_err(unreadable)? as u64;
            if read == 0 {
                break;
            }
            if !text.trim_ascii().is_empty() {
                problem(Path::new(path), columns, line, &text)?;
                places.push((line, start));
            }
            start += read;
        }
        if places.is_empty() {
            return Err(Fault::input(format!("{path} has no rows")));
        }
        Ok(Rows {
            path: path.into(),
            columns,
            file: RefCell::new(reader.into_inner()),
            places,
        })
    }

    fn text(&self, start: u64) -> std::io::Result<Vec<u8>> {
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        BufReader::new(&mut *file)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut text)?;
        Ok(text)
    }
}

impl Task for Rows {
    fn name(&self) -> &'static str {
        match self.columns {
            Columns::Comparison => "data.comparisons",
            Columns::Response => "data.responses",
        }
    }

    fn size(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.places.len() as u64,
            Split::HeldOut => 0,
        }
    }

    fn problem(&self, _split: Split, index: u64, _stream: Stream) -> Result<Problem, Fault> {
        let (line, start) = self.places[index as usize];
        let text = self
            .text(start)
            .map_err(|error| Fault::input(format!("{}: {error}", self.path.display())))?;
        problem(&self.path, self.columns, line, &text)
    }
}

/// The problem that a line describes.
fn problem(path: &Path, columns: Columns, line: u64, text: &[u8]) -> Result<Problem, Fault> {
    let wrong = |what: String| Fault::input(format!("{}, line {line}: {what}", path.display()));
    if text.len() as u64 == LONGEST_LINE {
        return Err(wrong(format!("is longer than {LONGEST_LINE} bytes")));
    }
    let row: Value = serde_json::from_slice(text).map_err(|error| {
        let column = error.column();
        wrong(format!("is no JSON from column {column} on"))
    })?;
    let Value::Object(row) = row else {
        return Err(wrong(
            "is no object: a row is `{\"prompt\": …}`".to_string(),
        ));
    };
    let field = |name: &str| match row.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(wrong(format!("`{name}` is no text"))),
        None => Err(wrong(format!("has no `{name}`"))),
    };
    let prompt = field("prompt")?;
    if prompt.is_empty() {
        return Err(wrong(
            "`prompt` is empty, and a model needs something to go on from".to_string(),
        ));
    }
    let (demonstration, answer) = match columns {
        Columns::Comparison => (field("chosen")?, field("rejected")?),
        Columns::Response if row.contains_key("answer") => (field("response")?, field("answer")?),
        Columns::Response => (field("response")?, String::new()),
    };
    Ok(Problem {
        id: line,
        prompt,
        answer,
        demonstration,
        length: None,
    })
}
