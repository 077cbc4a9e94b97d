//! Rows of files, divided between those to train on and those held out by a hash of what asks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::columns::{Columns, Row};
use crate::error::{DataError, Misfit};
use crate::files::Format;
use crate::line::{LONGEST_LINE, Line, Lines};

/// Which rows a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those to train on; the others are held out.
    Train,
    /// Those that are held out, and nothing else.
    HeldOut,
}

/// What is asked of some files.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// As [`crate::found`] gives them.
    pub files: Vec<PathBuf>,
    /// `Jsonl` or `Parquet`.
    pub format: Format,
    pub columns: Columns,
    pub part: Part,
    /// The share of the rows that are trained on, from 0 to 1.
    pub fraction: f64,
    /// No more rows than these are read, from the first on; 0 for all.
    pub limit: u64,
    /// How many rows that do not fit are left out at most.
    pub skip: u64,
}

/// The rows that do not fit and were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub count: u64,
    /// What is wrong with the first of them, and where.
    pub first: DataError,
}

/// The rows of some files. Of each it holds 8 bytes.
#[derive(Debug)]
pub struct Table {
    shards: Vec<Shard>,
    columns: Columns,
    /// Where the rows to train on begin, counted through all files.
    train: Vec<u64>,
    held_out: Vec<u64>,
    skipped: Option<Skipped>,
    digest: [u8; 32],
}

/// One file.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    format: Format,
    /// Where it begins, counted through all files.
    start: u64,
    /// The rows of a parquet file, as lines in a file without a name.
    spool: Option<Rc<File>>,
}

/// The most rows of a table: a file may hold more in few bytes.
const MOST_ROWS: u64 = 1 << 28;

impl Table {
    /// Reads all rows through; `fits` says what else is wrong with one.
    ///
    /// # Errors
    /// A file that cannot be read; the first row that does not fit, beyond those to skip; no rows.
    pub fn open(
        request: &Request,
        fits: &mut dyn FnMut(&Row) -> Result<(), Misfit>,
    ) -> Result<Table, DataError> {
        let mut table = Table {
            shards: Vec::new(),
            columns: request.columns.clone(),
            train: Vec::new(),
            held_out: Vec::new(),
            skipped: None,
            digest: [0; 32],
        };
        let mut sum = Sha256::new();
        let mut spool = None;
        let (mut start, mut read) = (0, 0);
        let mut text = Vec::new();
        for path in &request.files {
            let mut reading = Reading::open(path, request)?;
            let own_spool = match request.format {
                Format::Parquet => Some(spooled(&mut spool)?),
                Format::Jsonl | Format::Text => None,
            };
            let mut end = start;
            let shard = Shard {
                path: path.clone(),
                format: request.format,
                start,
                spool: own_spool,
            };
            while request.limit == 0 || read < request.limit {
                let Some(line) = reading.next(&mut text)? else {
                    break;
                };
                end = start + line.start + text.len() as u64 + 1;
                if let Some(mut spool) = shard.spool.as_deref() {
                    let written = spool.write_all(&text).and_then(|()| spool.write_all(b"\n"));
                    written.map_err(|error| of_spool(&error))?;
                }
                let row = parsed(&request.columns, &text, line).and_then(|row| {
                    fits(&row)?;
                    Ok(row)
                });
                let row = match row {
                    Ok(row) => row,
                    Err(misfit) => {
                        table.skip(
                            misfit.at(&place(path, request.format, line.number)),
                            request,
                        )?;
                        continue;
                    }
                };
                read += 1;
                if read > MOST_ROWS {
                    let message = format!("it holds more than {MOST_ROWS} rows");
                    return Err(DataError::file(path, message).help("`limit` reads the first ones"));
                }
                row.add_to(&mut sum);
                match row.is_trained_on(request.fraction) {
                    true => table.train.push(start + line.start),
                    false => table.held_out.push(start + line.start),
                }
            }
            table.shards.push(shard);
            start = end.max(start + reading.length());
        }
        table.digest = sum.finalize().into();
        if request.part == Part::HeldOut {
            table.train = std::mem::take(&mut table.held_out);
        }
        if table.train.is_empty() {
            return Err(table.without_rows(request));
        }
        Ok(table)
    }

    /// Leaves out a row, or says that it does not fit.
    fn skip(&mut self, error: DataError, request: &Request) -> Result<(), DataError> {
        let count = self.skipped.as_ref().map_or(0, |skipped| skipped.count);
        if count >= request.skip {
            return Err(match request.skip {
                0 => error,
                most => DataError {
                    message: format!("{}, and {most} rows were skipped before it", error.message),
                    ..error
                },
            });
        }
        let skipped = self.skipped.get_or_insert(Skipped {
            count: 0,
            first: error,
        });
        skipped.count += 1;
        Ok(())
    }

    fn without_rows(&self, request: &Request) -> DataError {
        let first = request.files.first().map(PathBuf::as_path);
        let path = first.unwrap_or(Path::new(""));
        if let Some(skipped) = &self.skipped {
            let message = format!("no row fits: {}", skipped.first.message);
            return DataError {
                message,
                ..skipped.first.clone()
            };
        }
        if self.held_out.is_empty() {
            return DataError::file(path, "it has no rows");
        }
        let message = format!(
            "all {} rows of `{}` are held out, and none is trained on",
            self.held_out.len(),
            path.display()
        );
        DataError::argument(message).help("a larger `fraction` trains on more of them")
    }

    /// How many rows there are to train on, at least one.
    pub fn trained(&self) -> u64 {
        self.train.len() as u64
    }

    pub fn held_out(&self) -> u64 {
        self.held_out.len() as u64
    }

    /// The row at a place among those to train on, below their number, and what it is known by: where it begins.
    ///
    /// # Errors
    /// The file is not what it was.
    pub fn train_row(&self, index: u64) -> Result<(u64, Row), DataError> {
        self.row(self.train[index as usize])
    }

    /// The same of those held out.
    ///
    /// # Errors
    /// The file is not what it was.
    pub fn held_out_row(&self, index: u64) -> Result<(u64, Row), DataError> {
        self.row(self.held_out[index as usize])
    }

    pub fn skipped(&self) -> Option<&Skipped> {
        self.skipped.as_ref()
    }

    /// What two tables agree in that have the same rows in the same order.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    fn row(&self, id: u64) -> Result<(u64, Row), DataError> {
        let after = self.shards.partition_point(|shard| shard.start <= id);
        let shard = &self.shards[after - 1];
        let start = id - shard.start;
        let text = shard
            .text(id, start)
            .map_err(|error| DataError::io(&shard.path, &error))?;
        let row = self.columns.row(&text).map_err(|misfit| {
            let number = shard.number(start).unwrap_or_default();
            misfit
                .at(&place(&shard.path, shard.format, number))
                .help("the file was changed after the run had read it")
        })?;
        Ok((id, row))
    }
}

impl Shard {
    /// The line at a place: of the spool, which all files share, or of the file itself.
    fn text(&self, place: u64, start: u64) -> io::Result<Vec<u8>> {
        match &self.spool {
            Some(spool) => line_at(spool.as_ref(), place),
            None => line_at(&File::open(&self.path)?, start),
        }
    }

    /// The number of the line that begins at `start`, from 1.
    fn number(&self, start: u64) -> io::Result<u64> {
        if self.spool.is_some() {
            return Ok(0);
        }
        let mut before = BufReader::new(File::open(&self.path)?.take(start));
        let mut number = 1;
        loop {
            let buffer = before.fill_buf()?;
            if buffer.is_empty() {
                return Ok(number);
            }
            number += buffer.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let used = buffer.len();
            before.consume(used);
        }
    }
}

fn line_at(mut file: &File, start: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    BufReader::new(file)
        .take(LONGEST_LINE as u64 + 1)
        .read_until(b'\n', &mut text)?;
    Ok(text)
}

impl Row {
    /// Whether it is among the share of rows that are trained on: a function of the values that make its prompt, and of nothing else.
    fn is_trained_on(&self, fraction: f64) -> bool {
        let mut sum = Sha256::new();
        for value in &self.key {
            add(&mut sum, value);
        }
        let sum = sum.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&sum[..8]);
        // 53 bits, which a number of 64 bits has exactly: from 0 up to, and without, 1.
        let place = (u64::from_be_bytes(first) >> 11) as f64 / (1u64 << 53) as f64;
        place < fraction
    }

    fn add_to(&self, sum: &mut Sha256) {
        let said = self.context.iter();
        said.for_each(|said| {
            add(sum, &said.role);
            add(sum, &said.content);
        });
        for text in [&self.prompt, &self.answer, &self.response] {
            add(sum, text);
        }
    }
}

/// With its length, so that no two lists of texts give the same bytes.
fn add(sum: &mut Sha256, text: &str) {
    sum.update((text.len() as u64).to_be_bytes());
    sum.update(text);
}

/// "`train.jsonl`, line 3"
fn place(path: &Path, format: Format, number: u64) -> String {
    let unit = match format {
        Format::Jsonl | Format::Text => "line",
        Format::Parquet => "row",
    };
    format!("`{}`, {unit} {number}", path.display())
}

fn parsed(columns: &Columns, text: &[u8], line: Line) -> Result<Row, Misfit> {
    if line.is_too_long {
        let message = format!("is longer than {} MiB", LONGEST_LINE >> 20);
        return Err(Misfit::new(message).help("in a jsonl file each row is a line of its own"));
    }
    columns.row(text)
}

/// The rows of one file as lines of JSON.
enum Reading {
    Jsonl(PathBuf, Lines<File>),
    #[cfg(feature = "parquet")]
    Parquet(crate::parquet::Rows),
}

impl Reading {
    fn open(path: &Path, request: &Request) -> Result<Reading, DataError> {
        match request.format {
            Format::Jsonl | Format::Text => {
                Ok(Reading::Jsonl(path.to_path_buf(), Lines::open(path)?))
            }
            #[cfg(feature = "parquet")]
            Format::Parquet => {
                crate::parquet::Rows::open(path, &request.columns).map(Reading::Parquet)
            }
            #[cfg(not(feature = "parquet"))]
            Format::Parquet => Err(DataError::file(
                path,
                "this program was built without the feature `parquet`",
            )),
        }
    }

    fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<Line>, DataError> {
        match self {
            Reading::Jsonl(path, lines) => {
                let next = lines.next(text);
                let next = next.map_err(|error| DataError::io(path, &error))?;
                if text.ends_with(b"\n") {
                    text.pop();
                }
                Ok(next)
            }
            #[cfg(feature = "parquet")]
            Reading::Parquet(rows) => rows.next(text),
        }
    }

    /// How many bytes were read so far, empty lines at the end included.
    fn length(&self) -> u64 {
        match self {
            Reading::Jsonl(_, lines) => lines.read(),
            #[cfg(feature = "parquet")]
            Reading::Parquet(_) => 0,
        }
    }
}

/// A file without a name, which is gone when the program ends.
fn spooled(spool: &mut Option<Rc<File>>) -> Result<Rc<File>, DataError> {
    if let Some(spool) = spool {
        return Ok(spool.clone());
    }
    let folder = std::env::temp_dir();
    let path = folder.join(format!("rlpc-rows-{}-{:p}", std::process::id(), spool));
    let made = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    let made = made.map_err(|error| of_spool(&error))?;
    // On a system that keeps the name, the file is left behind in the folder for temporary files.
    let _ = std::fs::remove_file(&path);
    Ok(spool.insert(Rc::new(made)).clone())
}

fn of_spool(error: &io::Error) -> DataError {
    DataError::io(&std::env::temp_dir(), error)
        .help("the rows of parquet files are kept in the folder for temporary files; `TMPDIR` names another")
}

/// How many files are looked into, and rows of each.
const GLANCED_FILES: usize = 16;
const GLANCED_ROWS: u64 = 8;

/// Looks at the first rows of the first files.
///
/// # Errors
/// A file that cannot be read; the first row that does not fit, if none may be skipped.
pub fn glance(request: &Request) -> Result<(), DataError> {
    let mut text = Vec::new();
    for path in request.files.iter().take(GLANCED_FILES) {
        let mut reading = Reading::open(path, request)?;
        for _ in 0..GLANCED_ROWS {
            let Some(line) = reading.next(&mut text)? else {
                break;
            };
            match parsed(&request.columns, &text, line) {
                Err(misfit) if request.skip == 0 => {
                    return Err(misfit.at(&place(path, request.format, line.number)));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(())
}
