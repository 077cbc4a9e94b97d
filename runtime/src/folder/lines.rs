//! A file of a run that grows line by line, and is cut back to where a checkpoint knew it.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rlp_frontend::files::reason;

use crate::error::Fault;

pub(super) struct Lines {
    pub(super) name: &'static str,
    path: PathBuf,
    /// Gone once a line could not be written.
    file: Option<BufWriter<File>>,
}

impl Lines {
    /// Opens the file of a folder that no other process may have.
    pub(super) fn open(folder: &Path, name: &'static str) -> Result<Lines, Fault> {
        let path = folder.join(name);
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|error| Fault::file(&path, reason(&error)))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Fault::input(format!(
                "another process has the run in `{}`",
                folder.display()
            ))),
            // Some file systems know no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Lines {
                name,
                path,
                file: Some(BufWriter::new(file)),
            }),
        }
    }

    pub(super) fn add(&mut self, line: &str) -> Result<(), Fault> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let written = writeln!(file, "{line}").and_then(|()| file.flush());
        written.map_err(|error| {
            // What is left in the buffer cannot be written either.
            drop(self.file.take().map(BufWriter::into_parts));
            Fault::file(&self.path, reason(&error))
        })
    }

    /// How long the file is, now that it is safe on the disk; `None` if it could not be written.
    pub(super) fn length(&mut self) -> Result<Option<u64>, Fault> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let length = file.flush().and_then(|()| {
            file.get_ref().sync_all()?;
            Ok(file.get_ref().metadata()?.len())
        });
        length
            .map(Some)
            .map_err(|error| Fault::file(&self.path, reason(&error)))
    }

    /// Cuts the file back to a length. What is left of it, and whether it was shorter already.
    pub(super) fn cut(&mut self, known: u64) -> Result<(String, bool), Fault> {
        let Some(file) = &mut self.file else {
            return Ok((String::new(), true));
        };
        let file = file.get_mut();
        let mut cut = || {
            let length = file.metadata()?.len();
            file.set_len(known.min(length))?;
            let mut text = String::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_string(&mut text)?;
            Ok((text, length < known))
        };
        cut().map_err(|error: io::Error| Fault::file(&self.path, reason(&error)))
    }
}
