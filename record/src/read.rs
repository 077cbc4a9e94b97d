//! Files of a run, read within bounds, whatever is in them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value as Json;

/// The largest file that is read as a whole.
const MOST_BYTES: u64 = 64 << 20;
/// The longest line; longer ones are passed over.
const LONGEST_LINE: u64 = 1 << 20;
/// So many lines of a file are read.
const MOST_LINES: usize = 4_000_000;

/// The text of a file; `None` if there is none.
///
/// # Errors
/// A sentence that names the file: it cannot be read, is too large, or is no text.
pub(crate) fn text(folder: &Path, name: &str) -> Result<Option<String>, String> {
    let Some(file) = open(folder, name)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("`{name}` cannot be read: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("`{name}` is too large"));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| format!("`{name}` is no text"))
}

/// The JSON of a file; `Null` if there is none.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn json(folder: &Path, name: &str) -> Result<Json, String> {
    match text(folder, name)? {
        None => Ok(Json::Null),
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| format!("`{name}` is no JSON: {error}"))
        }
    }
}

/// Hands over each line of a file that is a JSON object; how many are not, but for one at the end that was cut off.
///
/// # Errors
/// A sentence that names the file. That there is none is no error.
pub(crate) fn lines(
    folder: &Path,
    name: &str,
    mut each: impl FnMut(&Json),
) -> Result<usize, String> {
    let Some(file) = open(folder, name)? else {
        return Ok(0);
    };
    let mut reader = BufReader::new(file);
    let mut wrong = 0;
    let mut line = Vec::new();
    for _ in 0..MOST_LINES {
        line.clear();
        let read = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("`{name}` cannot be read: {error}"))?;
        if read == 0 {
            break;
        }
        let is_whole = line.ends_with(b"\n");
        if !is_whole {
            let skipped = reader.skip_until(b'\n').unwrap_or(0);
            if skipped == 0 && line.len() < LONGEST_LINE as usize {
                // A process that was killed leaves half a line.
                break;
            }
            wrong += 1;
            continue;
        }
        match serde_json::from_slice::<Json>(&line) {
            Ok(json) if json.is_object() => each(&json),
            Ok(_) | Err(_) => wrong += 1,
        }
    }
    Ok(wrong)
}

fn open(folder: &Path, name: &str) -> Result<Option<File>, String> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    // A pipe or a device might never end.
    if !path.is_file() {
        return Err(format!("`{name}` is no file"));
    }
    File::open(&path)
        .map(Some)
        .map_err(|error| format!("`{name}` cannot be read: {error}"))
}
