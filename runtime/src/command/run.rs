//! `rlpc run`: checks a program, runs its pipeline, and keeps what came of it.

use rlp_compiler::plan::Plan;
use rlp_compiler::resolved::resolved;
use rlp_compiler::{Settings, check, pass};
use rlp_frontend::Description;
use rlp_frontend::description::standard;

use super::arguments::Run;
use super::begun::{Begun, begun};
use super::description::asked;
use super::dry::{self, expect};
use super::follow::{Course, follow, live};
use super::problem::{Exit, choose, cores, open, refuse, show, show_error, warn_of};
use crate::checkpoint::cadence::Wishes;
use crate::console::Console;
use crate::environment::environment;
use crate::executor::ExecutorChoice;
use crate::folder::RunFolder;
use crate::resource::World;
use crate::summary::Summary;
use crate::tensor::Kind;

pub(crate) fn run(arguments: &Run) -> Exit {
    if arguments.dry_run {
        dry::run(arguments)
    } else {
        run_whole(arguments)
    }
}

/// Runs as the arguments say.
pub(super) fn run_whole(arguments: &Run) -> Exit {
    let mut console = Console::new();
    let output = arguments.watching.output;
    let Begun {
        arguments,
        files,
        path,
        standard: planned,
    } = match begun(arguments) {
        Ok(begun) => begun,
        Err((message, help)) => {
            let message = format!("`{}`: {message}", arguments.file.display());
            refuse("plan", &message, Some(&help), output, &mut console);
            return Exit::Problems;
        }
    };
    let arguments = &arguments;
    let device = match open(arguments.machine, cores(), output, &mut console) {
        Ok(device) => device,
        Err(exit) => return exit,
    };
    let checked = check(&files, &path, &Settings(arguments.settings.clone()));
    if show(&checked.diagnostics, &checked.sources, output, &mut console) {
        return Exit::Problems;
    }
    if planned.is_some_and(|planned| planned != standard(&checked.sources)) {
        let message =
            "the standard library of this program is not the one that the plan was made with";
        let help = "make the plan anew";
        refuse("plan", message, Some(help), output, &mut console);
        return Exit::Problems;
    }
    let whole = match choose(&checked.plans, arguments.pipeline.as_deref()) {
        Ok(plan) => plan,
        Err((exit, message)) => {
            refuse("which-pipeline", &message, None, output, &mut console);
            return exit;
        }
    };
    let mut plan = whole.clone();
    pass::run_pipeline(&mut plan);
    if let Some(best) = arguments
        .best
        .as_ref()
        .filter(|best| !tells(&plan, &best.name))
    {
        let message = format!("`{}` is no number that this pipeline tells", best.name);
        refuse("no-such-metric", &message, None, output, &mut console);
        return Exit::Unusable;
    }
    if arguments.watching.is_dry {
        let told = expect(whole, arguments, &checked.sources, &mut console);
        if let Some(exit) = told {
            return exit;
        }
    }
    let loading = live(&arguments.watching);
    let world = World::open(&plan, arguments.seed, Kind::Float, device);
    drop(loading);
    let done = world.and_then(|mut world| {
        world.kernels = ExecutorChoice::from(arguments.executor).kernels();
        warn_of(&world, output, &mut console);
        let text = checked
            .sources
            .find(&path)
            .map_or("", |id| &checked.sources.get(id).text);
        let description = Description::new(asked(arguments), &plan, &path, &checked.sources);
        let folder = RunFolder::create(
            arguments.run_dir.as_deref(),
            &plan.name,
            text,
            &description,
            &world,
        )?;
        let resolved = format!("{:#}\n", resolved(whole));
        folder.write("resolved.json", &resolved)?;
        let environment = format!("{:#}\n", environment(device));
        folder.write("environment.json", &environment)?;
        let course = Course {
            plan: &plan,
            world: &mut world,
            sources: &checked.sources,
            seed: arguments.seed,
            steps: arguments.steps,
            folder,
            wishes: Wishes {
                every: arguments.checkpoint_every,
                keep: arguments.keep,
                best: arguments.best.clone(),
            },
            from: None,
            summary: Summary::default(),
        };
        follow(course, &arguments.watching, &mut console)
    });
    done.unwrap_or_else(|error| show_error(&error, &checked.sources, output, &mut console))
}

/// Whether a stage of the plan reports or evaluates a number of this name, or trains with such a loss.
fn tells(plan: &Plan, name: &str) -> bool {
    let trains = plan.stages.iter().flat_map(|stage| &stage.trains);
    let evaluations = trains.clone().flat_map(|train| &train.evaluations);
    let reports = plan.stages.iter().flat_map(|stage| &stage.reports);
    let mut entries = reports.chain(evaluations).flat_map(|told| &told.entries);
    entries.any(|(own, _)| own == name)
        || trains.count() > 0 && (name == "loss" || name.starts_with("loss."))
}
