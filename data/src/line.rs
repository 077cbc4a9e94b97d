//! Lines of a file, each with its place; one that is too long is passed over without being kept.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::error::DataError;

/// The longest line, in bytes: more is no row but another kind of file.
pub(crate) const LONGEST_LINE: usize = 1 << 24;

/// A line that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// Its first byte.
    pub(crate) start: u64,
    /// Whether it goes on after [`LONGEST_LINE`] bytes.
    pub(crate) is_too_long: bool,
}

/// The lines of a file that are not empty.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    start: u64,
}

impl Lines<File> {
    pub(crate) fn open(path: &Path) -> Result<Lines<File>, DataError> {
        let file = File::open(path).map_err(|error| DataError::io(path, &error))?;
        Ok(Lines::new(file))
    }
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(from: R) -> Lines<R> {
        Lines {
            reader: BufReader::with_capacity(1 << 16, from),
            number: 0,
            start: 0,
        }
    }

    /// How many bytes were read so far.
    pub(crate) fn read(&self) -> u64 {
        self.start
    }

    /// The next line, whose text is left in `text`.
    pub(crate) fn next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<Line>> {
        loop {
            text.clear();
            let most = LONGEST_LINE as u64 + 1;
            let read = (&mut self.reader).take(most).read_until(b'\n', text)?;
            if read == 0 {
                return Ok(None);
            }
            let start = self.start;
            self.start += read as u64;
            self.number += 1;
            let is_too_long = text.len() > LONGEST_LINE && !text.ends_with(b"\n");
            if is_too_long {
                self.pass_over()?;
            }
            if is_too_long || !text.trim_ascii().is_empty() {
                return Ok(Some(Line {
                    number: self.number,
                    start,
                    is_too_long,
                }));
            }
        }
    }

    /// Goes to the end of the line.
    fn pass_over(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(used);
            self.start += used as u64;
            if end.is_some() {
                return Ok(());
            }
        }
    }
}
