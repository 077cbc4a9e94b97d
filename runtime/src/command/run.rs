//! `rlpc run`: checks a program, runs its pipeline, and keeps what came of it.

use std::io;
use std::path::Path;

use rlp_compiler::plan::Plan;
use rlp_compiler::resolved::resolved;
use rlp_compiler::{Settings, check, pass};
use rlp_frontend::Files;
use rlp_frontend::files::read_text;

use super::arguments::Run;
use super::description::Description;
use super::dry;
use super::follow::{Course, follow};
use super::problem::{Exit, choose, cores, open, refuse, show, show_error, warn_of};
use crate::checkpoint::cadence::Wishes;
use crate::console::Console;
use crate::environment::environment;
use crate::executor::ExecutorChoice;
use crate::folder::RunFolder;
use crate::resource::World;
use crate::summary::Summary;
use crate::tensor::Kind;

/// The path that the text of standard input goes by.
const STANDARD_INPUT: &str = "<stdin>";

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
    let device = match open(arguments.machine, cores(), output, &mut console) {
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
    if show(&checked.diagnostics, &checked.sources, output, &mut console) {
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
    let world = World::open(&plan, arguments.seed, Kind::Float, device);
    let done = world.and_then(|mut world| {
        world.kernels = ExecutorChoice::from(arguments.executor).kernels();
        warn_of(&world, output, &mut console);
        let text = checked
            .sources
            .find(&path)
            .map_or("", |id| &checked.sources.get(id).text);
        let description = Description::new(arguments, &plan, &path, &checked.sources);
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
