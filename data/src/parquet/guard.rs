//! What a parquet file says of its own sizes, before anyone believes it.
//!
//! The reader makes room for lists and pages as they are announced, and goes down into a schema as deep as it is. A file of a few
//! bytes could so ask for all memory, or for more stack than there is. Here the announcements are read and held against the bytes
//! that are there. They are written in Thrift's compact protocol, <https://parquet.apache.org/docs/file-format/metadata/>.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes of a footer and elements of a list in it.
const MOST_FOOTER: u64 = 64 << 20;
const MOST_ELEMENTS: u64 = 1 << 20;
/// How deep values may lie in each other.
const MOST_DEPTH: usize = 32;
/// Bytes of a page; writers make pages of a mebibyte, or of one large value.
const MOST_PAGE: i64 = 256 << 20;
/// Values of a column of lists in a row group, since one row may hold them all.
const MOST_NESTED: i64 = 1 << 25;
/// Bytes of a page's header, which holds its least and its largest value.
const MOST_HEADER: u64 = 16 << 20;

/// Checks the footer of a file; the length of the file.
///
/// # Errors
/// A sentence: why it is no parquet file that can be read.
pub(super) fn footer(file: &File) -> Result<u64, String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let length = file.metadata().map_err(unreadable)?.len();
    let no_parquet = || "it is no parquet file".to_string();
    if length < 12 {
        return Err(no_parquet());
    }
    let mut end = [0; 8];
    read_at(file, length - 8, &mut end).map_err(unreadable)?;
    if &end[4..] != MAGIC {
        return Err(no_parquet());
    }
    let own = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    if own > length - 12 || own > MOST_FOOTER {
        return Err(format!(
            "it is damaged: a footer of {own} bytes is announced"
        ));
    }
    let mut bytes = vec![0; own as usize];
    read_at(file, length - 8 - own, &mut bytes).map_err(unreadable)?;
    let mut thrift = Thrift {
        bytes: &bytes,
        at: 0,
    };
    match thrift.file() {
        Some(true) => Ok(length),
        Some(false) => Err(format!(
            "it is damaged: its columns lie more than {MOST_DEPTH} deep in each other"
        )),
        None => Err("it is damaged: the footer is not as it should be".to_string()),
    }
}

/// Checks the pages of a column in a row group, which begin and end at these bytes.
///
/// # Errors
/// A sentence: what is larger than rows need.
pub(super) fn pages(
    path: &Path,
    (start, bytes): (i64, i64),
    is_nested: bool,
) -> Result<(), String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let (start, bytes) = (u64::try_from(start), u64::try_from(bytes));
    let (Ok(start), Ok(bytes)) = (start, bytes) else {
        return Err("it is damaged: a column begins or ends before the file".to_string());
    };
    let end = start.checked_add(bytes).filter(|end| *end <= length);
    let Some(end) = end else {
        return Err("it is damaged: a column goes on behind the end of the file".to_string());
    };
    let (mut at, mut values) = (start, 0i64);
    let mut header = Vec::new();
    while at < end {
        let mut found = None;
        for room in [1 << 12, MOST_HEADER] {
            header.clear();
            file.seek(SeekFrom::Start(at)).map_err(unreadable)?;
            let most = room.min(end - at);
            (&mut file)
                .take(most)
                .read_to_end(&mut header)
                .map_err(unreadable)?;
            let mut thrift = Thrift {
                bytes: &header,
                at: 0,
            };
            found = thrift.page().map(|page| (page, thrift.at as u64));
            if found.is_some() || most < room {
                break;
            }
        }
        let Some((page, own)) = found else {
            return Err("it is damaged: a page is not as it should be".to_string());
        };
        let is_whole = |size: i64| (0..=MOST_PAGE).contains(&size);
        if !is_whole(page.stored) || !is_whole(page.unpacked) || page.values < 0 {
            return Err(format!(
                "a page of {} bytes is announced, and {MOST_PAGE} are read at most",
                page.unpacked.max(page.stored)
            ));
        }
        if page.is_dictionary && page.values > page.unpacked {
            return Err("it is damaged: a dictionary has more values than bytes".to_string());
        }
        values = values.saturating_add(page.values);
        if is_nested && values > MOST_NESTED {
            return Err(format!(
                "a column of lists has more than {MOST_NESTED} values in a row group"
            ));
        }
        at = at + own + page.stored as u64;
    }
    Ok(())
}

fn read_at(mut file: &File, start: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytes)
}

/// What the header of a page announces.
#[derive(Clone, Copy, Default)]
struct Page {
    unpacked: i64,
    stored: i64,
    values: i64,
    is_dictionary: bool,
}

/// A reader of Thrift's compact protocol. `None` wherever the bytes are not as they should be.
struct Thrift<'b> {
    bytes: &'b [u8],
    at: usize,
}

const BOOLEANS: [u8; 2] = [1, 2];
const BYTE: u8 = 3;
const INTEGERS: [u8; 3] = [4, 5, 6];
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LISTS: [u8; 2] = [9, 10];
const MAP: u8 = 11;
const STRUCT: u8 = 12;

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The number and type of the next field, 0 and 0 at the end of a struct.
    fn field(&mut self, last: i64) -> Option<(i64, u8)> {
        let head = self.byte()?;
        if head == 0 {
            return Some((0, 0));
        }
        let number = match head >> 4 {
            0 => self.integer()?,
            more => last + i64::from(more),
        };
        Some((number, head & 0x0F))
    }

    /// The number and type of the elements of a list.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        let is_there = count <= MOST_ELEMENTS && count <= (self.bytes.len() - self.at) as u64;
        is_there.then_some((count, head & 0x0F))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        match kind {
            kind if BOOLEANS.contains(&kind) => {}
            BYTE => drop(self.byte()?),
            kind if INTEGERS.contains(&kind) => drop(self.varint()?),
            DOUBLE => self.pass(8)?,
            BINARY => {
                let length = self.varint()?;
                self.pass(length)?;
            }
            kind if LISTS.contains(&kind) => {
                let (count, kind) = self.list()?;
                for _ in 0..count {
                    match BOOLEANS.contains(&kind) {
                        true => drop(self.byte()?),
                        false => self.skip(kind, depth + 1)?,
                    }
                }
            }
            MAP => {
                // Nothing that is read here has one.
                return None;
            }
            STRUCT => {
                let mut last = 0;
                loop {
                    let (number, kind) = self.field(last)?;
                    if kind == 0 {
                        break;
                    }
                    last = number;
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn pass(&mut self, count: u64) -> Option<()> {
        let count = usize::try_from(count).ok()?;
        self.at = self
            .at
            .checked_add(count)
            .filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    /// The whole footer; whether its schema is not too deep.
    fn file(&mut self) -> Option<bool> {
        const SCHEMA: i64 = 2;
        let (mut last, mut is_flat) = (0, true);
        loop {
            let (number, kind) = self.field(last)?;
            last = number;
            match (number, kind) {
                (_, 0) => return Some(is_flat),
                (SCHEMA, 9) => is_flat = self.schema()?,
                _ => self.skip(kind, 1)?,
            }
        }
    }

    /// The columns, each before those inside it.
    fn schema(&mut self) -> Option<bool> {
        const CHILDREN: i64 = 5;
        let (count, kind) = self.list()?;
        // How many children are to come of each column that is open.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..count {
            if kind != STRUCT {
                return None;
            }
            let (mut last, mut children) = (0, 0);
            loop {
                let (number, kind) = self.field(last)?;
                last = number;
                match (number, kind) {
                    (_, 0) => break,
                    (CHILDREN, 5) => children = self.integer()?,
                    _ => self.skip(kind, 1)?,
                }
            }
            if children < 0 || children > count as i64 {
                return None;
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > MOST_DEPTH {
                return Some(false);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
        }
        Some(true)
    }

    fn page(&mut self) -> Option<Page> {
        let mut page = Page::default();
        let mut last = 0;
        loop {
            let (number, kind) = self.field(last)?;
            last = number;
            match (number, kind) {
                (_, 0) => return Some(page),
                (2, 5) => page.unpacked = self.integer()?,
                (3, 5) => page.stored = self.integer()?,
                // Those of data, of a dictionary, and of data in the second version, each with its number of values first.
                (5 | 7 | 8, STRUCT) => {
                    page.is_dictionary = number == 7;
                    let mut last = 0;
                    loop {
                        let (number, kind) = self.field(last)?;
                        last = number;
                        match (number, kind) {
                            (_, 0) => break,
                            (1, 5) => page.values = self.integer()?,
                            _ => self.skip(kind, 1)?,
                        }
                    }
                }
                _ => self.skip(kind, 1)?,
            }
        }
    }
}
