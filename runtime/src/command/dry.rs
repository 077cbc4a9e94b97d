//! `rlpc run --dry-run`: one step of everything, in a folder that is removed, so that nothing fails an hour in.

use std::env;
use std::fs;
use std::process;

use rlp_frontend::files::reason;

use super::arguments::{Run, Watching};
use super::problem::{Exit, refuse};
use super::run::run_whole;
use crate::checkpoint::Checkpoints;
use crate::checkpoint::cadence::Every;
use crate::console::Console;

pub(crate) fn run(arguments: &Run) -> Exit {
    let mut console = Console::new();
    let output = arguments.watching.output;
    // Beside the runs that are meant, on the disk that they will fill, if there is such a folder already.
    let parent = if fs::metadata("runs").is_ok_and(|runs| runs.is_dir()) {
        "runs".into()
    } else {
        env::temp_dir()
    };
    let folder = parent.join(format!(".dry-run-{}", process::id()));
    let dry = Run {
        dry_run: false,
        // The last step of a stage is always reported and evaluated.
        steps: Some(1),
        run_dir: Some(folder.clone()),
        checkpoint_every: Some(Every::Steps(1)),
        ..arguments.clone()
    };
    let dry = Run {
        watching: Watching {
            is_dry: true,
            ..dry.watching
        },
        ..dry
    };
    let exit = run_whole(&dry);
    let saved = read_back(&folder);
    if let Err(error) = fs::remove_dir_all(&folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let message = format!(
            "`{}` cannot be removed: {}",
            folder.display(),
            reason(&error)
        );
        refuse("dry-run", &message, None, output, &mut console);
        return Exit::Problems;
    }
    match (exit, saved) {
        (Exit::Done, Ok(())) => {
            if !arguments.watching.json {
                let line = "\nall of it works: every stage, evaluation, report and checkpoint";
                return console.line(line).map_or(Exit::Problems, |()| Exit::Done);
            }
            Exit::Done
        }
        (Exit::Done, Err(message)) => {
            refuse("dry-run", &message, None, output, &mut console);
            Exit::Failed
        }
        (exit @ (Exit::Problems | Exit::Unusable | Exit::Failed), _) => exit,
    }
}

/// Whether what was saved can be gone on with, and the page was written.
fn read_back(folder: &std::path::Path) -> Result<(), String> {
    let checkpoints = Checkpoints::of(folder);
    let listed = checkpoints.list().map_err(|fault| fault.to_string())?;
    let latest = listed.last().ok_or("no checkpoint was saved")?;
    checkpoints.read(*latest).map(drop)?;
    if folder.join("report.html").is_file() {
        Ok(())
    } else {
        Err("no page was written".to_string())
    }
}
