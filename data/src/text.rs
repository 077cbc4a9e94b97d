//! Plain text in pieces, none of which is read before it is drawn.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::error::DataError;

/// The texts of some files, one after another.
#[derive(Debug)]
pub struct Texts {
    files: Vec<TextFile>,
    digest: [u8; 32],
    /// Bytes of a piece.
    window: u64,
}

#[derive(Debug)]
struct TextFile {
    path: PathBuf,
    length: u64,
    /// The number of its first piece.
    first: u64,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    /// Whether its file ends with it.
    pub is_last: bool,
}

impl Texts {
    /// Reads all files through. They are one piece each until [`Texts::cut`].
    ///
    /// # Errors
    /// A file that cannot be read or is not UTF-8; no text at all.
    pub fn open(paths: &[PathBuf]) -> Result<Texts, DataError> {
        let mut sum = Sha256::new();
        let mut files = Vec::new();
        for path in paths {
            let length = checked(path, &mut sum)?;
            if length > 0 {
                files.push(TextFile {
                    path: path.clone(),
                    length,
                    first: files.len() as u64,
                });
            }
        }
        let Some(first) = paths.first() else {
            return Err(DataError::argument("no path is given"));
        };
        if files.is_empty() {
            return Err(DataError::file(first, "it has no text"));
        }
        Ok(Texts {
            files,
            digest: sum.finalize().into(),
            window: u64::MAX,
        })
    }

    /// Cuts all texts into pieces of about `window` bytes, at least 4.
    pub fn cut(&mut self, window: u64) {
        self.window = window.max(4);
        let mut first = 0;
        for file in &mut self.files {
            file.first = first;
            first += file.pieces(self.window);
        }
    }

    pub fn pieces(&self) -> u64 {
        self.files
            .last()
            .map_or(0, |last| last.first + last.pieces(self.window))
    }

    /// A piece, by its number below [`Texts::pieces`].
    ///
    /// # Errors
    /// The file is not what it was.
    pub fn piece(&self, number: u64) -> Result<Piece, DataError> {
        let after = self.files.partition_point(|file| file.first <= number);
        let file = &self.files[after - 1];
        let place = number - file.first;
        let is_last = place + 1 == file.pieces(self.window);
        let start = place * self.window;
        let end = match is_last {
            true => file.length,
            false => start + self.window,
        };
        let text = file.text(start, end)?;
        Ok(Piece { text, is_last })
    }

    /// Up to `count` parts of at most `bytes` bytes, evenly spread.
    ///
    /// # Errors
    /// The file is not what it was.
    pub fn samples(&self, count: u64, bytes: u64) -> Result<Vec<String>, DataError> {
        let total: u64 = self.files.iter().map(|file| file.length).sum();
        let mut samples = Vec::new();
        for sample in 0..count.min(total.div_ceil(bytes)) {
            let mut start = (u128::from(total) * u128::from(sample) / u128::from(count)) as u64;
            let own = self.files.iter().find(|file| {
                let is_inside = start < file.length;
                if !is_inside {
                    start -= file.length;
                }
                is_inside
            });
            if let Some(own) = own {
                samples.push(own.text(start, own.length.min(start + bytes))?);
            }
        }
        Ok(samples)
    }

    /// What two of them agree in that have the same text.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl TextFile {
    /// A rest of less than 4 bytes, a character at most, goes with the piece before it.
    fn pieces(&self, window: u64) -> u64 {
        (self.length.saturating_sub(3)).div_ceil(window).max(1)
    }

    /// The characters that begin in these bytes.
    fn text(&self, start: u64, end: u64) -> Result<String, DataError> {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            // The last character may go on for three more.
            file.take(end - start + 3).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| DataError::io(&self.path, &error))?;
        let begins = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
        let first = (0..bytes.len()).find(begins).unwrap_or(bytes.len());
        let length = (end - start) as usize;
        let last = (length.min(bytes.len())..bytes.len())
            .find(begins)
            .unwrap_or(bytes.len());
        let own = &bytes[first.min(last)..last];
        String::from_utf8(own.to_vec())
            .map_err(|_| DataError::file(&self.path, "it was changed after the run had read it"))
    }
}

/// The length of a file that is UTF-8 throughout.
fn checked(path: &PathBuf, sum: &mut Sha256) -> Result<u64, DataError> {
    let failed = |error: &std::io::Error| DataError::io(path, error);
    let mut reader = BufReader::new(File::open(path).map_err(|error| failed(&error))?);
    let (mut buffer, mut kept) = (vec![0; 1 << 20], 0);
    let (mut length, mut line) = (0u64, 1u64);
    loop {
        let read = reader
            .read(&mut buffer[kept..])
            .map_err(|error| failed(&error))?;
        sum.update(&buffer[kept..kept + read]);
        length += read as u64;
        let filled = &buffer[..kept + read];
        let (valid, bad) = match std::str::from_utf8(filled) {
            Ok(_) => (filled.len(), None),
            Err(error) => {
                let valid = error.valid_up_to();
                // What the next read may complete is no mistake yet.
                let is_open = error.error_len().is_none() && read > 0;
                (valid, (!is_open).then(|| filled[valid]))
            }
        };
        let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        line += lines(&filled[..valid]);
        if let Some(byte) = bad {
            let message = format!("it is not UTF-8: line {line} has the byte 0x{byte:02x}");
            return Err(DataError::file(path, message).help("`iconv -t UTF-8` converts a file"));
        }
        if read == 0 {
            return Ok(length);
        }
        let end = filled.len();
        buffer.copy_within(valid..end, 0);
        kept = end - valid;
    }
}
