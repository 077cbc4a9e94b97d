//! `rlpc resume`: goes on with a run from its latest checkpoint, and ends in the same bits as if it had never stopped.

use std::path::Path;

use rlp_compiler::plan::Plan;
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, check, pass};
use rlp_frontend::Files;

use super::arguments::{Machine, Resume};
use super::description::{Description, standard};
use super::follow::{Course, follow};
use super::problem::{Exit, choose, open, refuse, show, show_error, warn, warn_of};
use crate::checkpoint::{Checkpoint, Checkpoints};
use crate::console::Console;
use crate::error::{Fault, Result};
use crate::executor::ExecutorChoice;
use crate::folder::{DESCRIPTION, RunFolder};
use crate::resource::World;
use crate::summary::Summary;
use crate::tensor::Kind;

pub(crate) fn resume(arguments: &Resume) -> Exit {
    let mut console = Console::new();
    let output = arguments.watching.output;
    let (folder, description) = match opened(&arguments.run) {
        Ok(opened) => opened,
        Err(fault) => {
            let (message, help) = (fault.to_string(), fault.help());
            refuse("resume", &message, help.as_deref(), output, &mut console);
            return Exit::Problems;
        }
    };
    if let Some(weights) = folder.weights() {
        let told = console.line(&format!(
            "this run is over\n\nweights: {}",
            weights.display()
        ));
        return told.map_or(Exit::Problems, |()| Exit::Done);
    }
    let machine = (description.device(), description.executor());
    let (Ok(device), Ok(executor), Ok(wishes)) = (machine.0, machine.1, description.wishes())
    else {
        let message = format!("`{DESCRIPTION}` names what this program does not have");
        refuse("resume", &message, None, output, &mut console);
        return Exit::Problems;
    };
    let machine = Machine {
        device,
        threads: Some(description.threads),
    };
    let device = match open(machine, description.threads, output, &mut console) {
        Ok(device) => device,
        Err(exit) => return exit,
    };

    let mut files = Files::new();
    for (path, text) in &description.sources {
        files.add(path, Ok(text.clone()));
    }
    let settings = Settings(description.set.clone());
    let checked = check(&files, &description.file, &settings);
    if show(&checked.diagnostics, &checked.sources, output, &mut console) {
        return Exit::Problems;
    }
    if standard(&checked.sources) != description.standard {
        let message = "the standard library of this program is not the one that the run began with";
        refuse("resume", message, None, output, &mut console);
        return Exit::Problems;
    }
    let mut plan = match choose(&checked.plans, Some(&description.pipeline)) {
        Ok(plan) => plan.clone(),
        Err((exit, message)) => {
            refuse("which-pipeline", &message, None, output, &mut console);
            return exit;
        }
    };
    pass::run_pipeline(&mut plan);
    let world = World::open(&plan, description.seed, Kind::Float, device);
    let done = world.and_then(|mut world| {
        world.kernels = ExecutorChoice::from(executor).kernels();
        warn_of(&world, output, &mut console);
        go_on(
            arguments,
            folder,
            &description,
            wishes,
            (&plan, &mut world, &checked.sources),
            &mut console,
        )
    });
    done.unwrap_or_else(|error| show_error(&error, &checked.sources, output, &mut console))
}

/// The folder of a run that this program can go on with.
fn opened(path: &Path) -> Result<(RunFolder, Description), Fault> {
    let (folder, text) = RunFolder::open(path)?;
    let version = serde_json::from_str::<serde_json::Value>(&text)
        .map_err(|error| Fault::input(format!("`{DESCRIPTION}` cannot be read: {error}")))?;
    let (then, now) = (version["rlpc"].as_str(), env!("CARGO_PKG_VERSION"));
    if then != Some(now) {
        let message = format!(
            "this run was begun by rlpc {}, and this is rlpc {now}",
            then.unwrap_or("of an unknown version")
        );
        let help = "go on with the same version: another one may compute other bits";
        return Err(Fault::input_help(message, help));
    }
    let description = serde_json::from_str(&text)
        .map_err(|error| Fault::input(format!("`{DESCRIPTION}` cannot be read: {error}")))?;
    Ok((folder, description))
}

fn go_on(
    arguments: &Resume,
    mut folder: RunFolder,
    description: &Description,
    wishes: crate::checkpoint::cadence::Wishes,
    (plan, world, sources): (&Plan, &mut World, &SourceMap),
    console: &mut Console,
) -> Result<Exit> {
    let output = arguments.watching.output;
    let from = latest(&folder, |message| {
        warn("checkpoint", message, None, output, console);
    })?;
    let (told, is_short) = folder.cut(from.as_ref().map(|from| &from.aside))?;
    if is_short {
        let message = "a part of `metrics.jsonl` is lost, and so are the numbers of some steps";
        warn("metrics", message, None, output, console);
    }
    let mut summary = Summary::default();
    let lines = told
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.for_each(|line| summary.recall(&line));
    if !arguments.watching.json && !arguments.watching.quiet {
        console.line(&match &from {
            Some(Checkpoint { state, aside }) => {
                format!(
                    "going on after step {} of {}",
                    state.position.step, aside.stage
                )
            }
            None => "no step was saved: the run begins anew".to_string(),
        })?;
    }
    let course = Course {
        plan,
        world,
        sources,
        seed: description.seed,
        steps: description.steps,
        folder,
        wishes,
        from,
        summary,
    };
    follow(course, &arguments.watching, console)
}

/// The latest checkpoint of the run that is as it was written; those that are not are put aside, with a warning.
fn latest(folder: &RunFolder, mut warn: impl FnMut(&str)) -> Result<Option<Checkpoint>, Fault> {
    let checkpoints = Checkpoints::of(folder.path());
    checkpoints.tidy()?;
    for done in checkpoints.list()?.into_iter().rev() {
        let read = checkpoints.read(done).and_then(|found| {
            if found.aside.run == folder.sum() {
                Ok(found)
            } else {
                Err(format!("it belongs to another run than `{DESCRIPTION}`"))
            }
        });
        match read {
            Ok(found) => return Ok(Some(found)),
            Err(reason) => {
                let aside = checkpoints.put_aside(done)?;
                warn(&format!(
                    "the checkpoint after {done} steps is damaged ({reason}), and is now `{}`: the one before is used",
                    aside.display()
                ));
            }
        }
    }
    Ok(None)
}
