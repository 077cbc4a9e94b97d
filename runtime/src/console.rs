//! Standard output and standard error. A reader who has seen enough is no failure; a full disk is.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rlp_frontend::files::reason;

use crate::error::Fault;

/// Where lines are written.
pub(crate) struct Console {
    out: Box<dyn Write>,
}

impl Console {
    /// The process's own streams.
    pub(crate) fn new() -> Console {
        Console {
            out: Box::new(io::stdout()),
        }
    }

    /// A line on standard output.
    ///
    /// # Errors
    /// It cannot be written, and not because nobody reads it any more.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Fault> {
        match writeln!(self.out, "{text}").and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Fault::file(Path::new("standard output"), reason(&error)))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A line on standard error. Nothing can be said where that cannot be written.
    pub(crate) fn complain(&mut self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }
}
