//! `rlpc run`: checks a program, runs its pipeline, and keeps what came of it.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::plan::Plan;
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, check, pass};
use rlp_frontend::Files;
use rlp_frontend::files::{read_text, reason};
use serde_json::{Map, Value as Json, json};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::arguments::Run;
use super::problem::{Exit, choose, cores, open, refuse, show, show_error};
use crate::console::Console;
use crate::error::{Fault, RunError};
use crate::executor::ExecutorChoice;
use crate::folder::RunFolder;
use crate::profile;
use crate::progress::{Progress, Style};
use crate::report::Event;
use crate::resource::World;
use crate::run::{Ending, run as run_plan};
use crate::tensor::Kind;

/// The path that the text of standard input goes by.
const STANDARD_INPUT: &str = "<stdin>";

pub(crate) fn run(arguments: &Run) -> Exit {
    let mut console = Console::new();
    let device = match open(arguments.machine, cores(), arguments.output, &mut console) {
        Ok(device) => device,
        Err(exit) => return exit,
    };
    let mut files = Files::new();
    let path = if arguments.file == Path::new("-") {
        files.add(STANDARD_INPUT, read_text(io::stdin().lock()));
        STANDARD_INPUT.to_string()
    } else {
        Files::path_of(&arguments.file)
    };
    let checked = check(&files, &path, &Settings(arguments.settings.clone()));
    if show(
        &checked.diagnostics,
        &checked.sources,
        arguments.output,
        &mut console,
    ) {
        return Exit::Problems;
    }
    let mut plan = match choose(&checked.plans, arguments.pipeline.as_deref()) {
        Ok(plan) => plan.clone(),
        Err((exit, message)) => {
            refuse(
                "which-pipeline",
                &message,
                None,
                arguments.output,
                &mut console,
            );
            return exit;
        }
    };
    pass::run_pipeline(&mut plan);
    let world = World::open(&plan, arguments.seed, Kind::Float, device);
    let done = world.and_then(|mut world| {
        world.kernels = ExecutorChoice::from(arguments.executor).kernels();
        let text = checked
            .sources
            .find(&path)
            .map_or("", |id| &checked.sources.get(id).text);
        let description = describe(arguments, &plan, &checked.sources);
        let folder = RunFolder::create(
            arguments.run_dir.as_deref(),
            &plan.name,
            text,
            &description,
            &world,
        )?;
        follow(
            arguments,
            &plan,
            &mut world,
            folder,
            &checked.sources,
            &mut console,
        )
    });
    done.unwrap_or_else(|error| {
        show_error(&error, &checked.sources, arguments.output, &mut console)
    })
}

/// Runs a plan, shows how it goes, and leaves its weights: under `final`, or `stopped` if it did not come to its end.
fn follow(
    arguments: &Run,
    plan: &Plan,
    world: &mut World,
    mut folder: RunFolder,
    sources: &SourceMap,
    console: &mut Console,
) -> Result<Exit, RunError> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    // The first Ctrl-C lets the step end; the second ends the process.
    flag::register_conditional_shutdown(SIGINT, Exit::Interrupted as i32, Arc::clone(&is_stopped))
        .and_then(|_| flag::register(SIGINT, Arc::clone(&is_stopped)))
        .map_err(|error| Fault::Device {
            reason: format!("interrupts cannot be noticed: {}", reason(&error)),
        })?;
    let path = folder.path().display().to_string();
    if arguments.json {
        let threads = tch::get_num_threads();
        let start = json!({ "event": "start", "pipeline": plan.name, "seed": arguments.seed, "threads": threads, "run_dir": path });
        console.line(&start.to_string())?;
    }
    let start = Instant::now();
    if arguments.profile {
        profile::start(world.device);
    }
    let mut progress = Progress::new(style(arguments));
    let mut lost: Option<Fault> = None;
    let kernels = world.kernels.clone().filter(|_| arguments.verbose);
    let ending = run_plan(plan, world, arguments.steps, &mut |event: Event<'_>| {
        let told = folder
            .record(event)
            .and_then(|()| progress.tell(event, console));
        let news = kernels.iter().flat_map(|kernels| kernels.news());
        news.for_each(|note| console.complain(&note));
        lost = lost.take().or(told.err());
        if lost.is_some() || is_stopped.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let profile = profile::finish();
    progress.end();
    let (exit, name) = match (&ending, &lost) {
        (Ok(Ending::Done), None) => (Exit::Done, "final"),
        (Ok(Ending::Interrupted), None) => (Exit::Interrupted, "stopped"),
        (Err(error), _) => (
            show_error(error, sources, arguments.output, console),
            "stopped",
        ),
        (Ok(_), Some(fault)) => {
            show_error(&fault.clone().into(), sources, arguments.output, console);
            (Exit::Failed, "stopped")
        }
    };
    let profiled = profile.iter().try_for_each(|profile| {
        folder.write("profile.json", &format!("{:#}\n", profile.to_json(sources)))?;
        folder.write("trace.json", &profile.to_trace(sources).to_string())
    });
    let finished = folder.finish(name, world);
    // A disk that became full while running is no mistake in the user's files.
    let weights = match profiled.map_err(RunError::from).and(finished) {
        Ok(path) => path.display().to_string(),
        Err(error) => {
            show_error(&error, sources, arguments.output, console);
            return Ok(Exit::Failed);
        }
    };
    if arguments.json {
        let ending = match exit {
            Exit::Done => "done",
            Exit::Interrupted => "interrupted",
            Exit::Problems | Exit::Unusable | Exit::Failed => "failed",
        };
        let seconds = start.elapsed().as_secs_f64();
        let stages = progress.summary().to_json();
        let result = json!({ "event": "result", "ending": ending, "seconds": seconds, "weights": weights, "stages": stages });
        console.line(&result.to_string())?;
    } else {
        console.line("")?;
        let profile = profile.as_ref().map(|profile| profile.table(sources));
        let blank = profile.iter().map(|_| String::new());
        let summary = progress.summary().table();
        for line in summary
            .into_iter()
            .chain(blank)
            .chain(profile.iter().flatten().cloned())
        {
            console.line(&line)?;
        }
        console.line(&format!("\nweights: {weights}"))?;
    }
    Ok(exit)
}

fn style(arguments: &Run) -> Style {
    if arguments.json {
        Style::Json
    } else if arguments.quiet {
        Style::Nothing
    } else if io::stdout().is_terminal() && !arguments.verbose {
        Style::Bar
    } else {
        Style::Lines {
            all: arguments.verbose,
        }
    }
}

/// What is needed to run the same once more.
fn describe(arguments: &Run, plan: &Plan, sources: &SourceMap) -> Json {
    let settings: Map<String, Json> = plan
        .settings
        .iter()
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect();
    let used = sources
        .iter()
        .filter(|source| !source.path.starts_with("std/"));
    let used: Map<String, Json> = used
        .map(|source| (source.path.clone(), json!(source.text.as_ref())))
        .collect();
    json!({
        "rlpc": env!("CARGO_PKG_VERSION"),
        "pipeline": plan.name,
        "settings": settings,
        "seed": arguments.seed,
        "steps": arguments.steps,
        "executor": ExecutorChoice::from(arguments.executor).name(),
        "device": format!("{:?}", arguments.machine.device).to_lowercase(),
        "threads": tch::get_num_threads(),
        "sources": used,
    })
}

fn plain(value: &Array) -> Json {
    let list: Vec<Json> = match &value.elements {
        Elements::Real(values) => values.iter().map(|value| json!(value)).collect(),
        Elements::Int(values) => values.iter().map(|value| json!(value)).collect(),
        Elements::Bool(values) => values.iter().map(|value| json!(value)).collect(),
        Elements::Text(values) => values.iter().map(|value| json!(value)).collect(),
    };
    match <[Json; 1]>::try_from(list) {
        Ok([only]) if value.shape.is_empty() => only,
        Ok(list) => json!(list),
        Err(list) => json!(list),
    }
}
