//! `rlpc report`: runs as one page for a browser.

use std::path::PathBuf;

use rlp_frontend::files::write_file;
use rlp_record::{Run, page};

use crate::answer::{Answer, Exit};
use crate::arguments::Report;

pub(crate) fn run(arguments: &Report) -> Answer {
    let runs = match read(&arguments.runs) {
        Ok(runs) => runs,
        Err(answer) => return answer,
    };
    let path = match (&arguments.out, arguments.runs.as_slice()) {
        (Some(out), _) => out.clone(),
        // A single run has its page in its folder.
        (None, [only]) => only.join("report.html"),
        (None, _) => PathBuf::from("report.html"),
    };
    match write_file(&path, &page(&runs)) {
        Ok(()) => Answer::done(format!("{}\n", path.display())),
        Err(reason) => {
            let message = format!("`{}` cannot be written: {reason}", path.display());
            Answer::refusal(Exit::Problems, &message, None)
        }
    }
}

/// The runs in some folders.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Run>, Answer> {
    let read = |path: &PathBuf| {
        Run::read(path).map_err(|message| {
            let help = "`rlpc runs` lists the runs below `runs`";
            Answer::refusal(Exit::Problems, &message, Some(help))
        })
    };
    paths.iter().map(read).collect()
}
