//! `rlpc run --dry-run`: one step of everything, in a folder that is removed, so that nothing fails an hour in.

use std::env;
use std::fs;
use std::process;

use rlp_account::machine::{Memory, Speed};
use rlp_account::{Options, account, misfits};
use rlp_compiler::plan::Plan;
use rlp_compiler::source::SourceMap;
use rlp_frontend::arguments::Device;
use rlp_frontend::files::reason;
use serde_json::json;

use super::arguments::{Run, Watching};
use super::problem::{Exit, refuse, show, show_error};
use super::run::run_whole;
use crate::checkpoint::Checkpoints;
use crate::checkpoint::cadence::Every;
use crate::console::Console;
use crate::error::{Fault, RunError};

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

/// Says what the whole run will take, before anything of it is run; how to end, if that is more than there is.
pub(super) fn expect(
    plan: &Plan,
    arguments: &Run,
    sources: &SourceMap,
    console: &mut Console,
) -> Option<Exit> {
    let Watching { json, output, .. } = arguments.watching;
    let options = Options {
        is_on_gpu: arguments.machine.device == Device::Cuda,
        threads: tch::get_num_threads().max(1).unsigned_abs().into(),
    };
    let folder = rlp_locate::cache(env::var_os);
    let speed = Speed::of_this_machine(folder.as_deref());
    let account = match account(plan, options, Some(&speed)) {
        Ok(account) => account,
        Err((fault, span)) => {
            let error = RunError::from(Fault::from(fault)).at_span(span);
            return Some(show_error(&error, sources, output, console));
        }
    };
    let memory = Memory::of_this_machine().filter(|_| !options.is_on_gpu);
    let lines = match json {
        true => vec![json!({ "event": "plan", "account": account.to_json() }).to_string()],
        false => [account.table(memory), vec![String::new()]].concat(),
    };
    for line in lines {
        if console.line(&line).is_err() {
            return Some(Exit::Problems);
        }
    }
    let misfits = memory.map(|memory| misfits(plan, &account, options, memory.total));
    let is_too_much = misfits.is_some_and(|own| show(&own, sources, output, console));
    is_too_much.then_some(Exit::Problems)
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
