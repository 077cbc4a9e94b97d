//! What a run begins with: a file of the user's and what the arguments say, or a plan that says all of it.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap::parser::ValueSource;
use rlp_frontend::files::{read_file, read_text};
use rlp_frontend::{Files, planned};

use super::arguments::{Arguments, Machine, Run};
use super::description::{device, executor};

/// A run that is about to be checked.
pub(super) struct Begun {
    pub(super) arguments: Run,
    pub(super) files: Files,
    /// The file with the pipeline, as `files` knows it.
    pub(super) path: String,
    /// The sum of the standard library that a plan was made with.
    pub(super) standard: Option<String>,
}

/// The path that the text of standard input goes by.
const STANDARD_INPUT: &str = "<stdin>";

/// What a plan has settled.
const SETTLED: [&str; 7] = [
    "settings", "pipeline", "seed", "executor", "steps", "device", "threads",
];

/// # Errors
/// A sentence about the file, and how to mend it.
pub(super) fn begun(arguments: &Run) -> Result<Begun, (String, String)> {
    let mut arguments = arguments.clone();
    let is_plan = arguments.file.extension().is_some_and(|own| own == "json");
    if !is_plan {
        let mut files = Files::new();
        let path = if arguments.file == Path::new("-") {
            files.add(STANDARD_INPUT, read_text(io::stdin().lock()));
            STANDARD_INPUT.to_string()
        } else {
            Files::path_of(&arguments.file)
        };
        return Ok(Begun {
            arguments,
            files,
            path,
            standard: None,
        });
    }
    let plain = |(message, help): (String, &str)| (message, help.to_string());
    let unreadable = |reason| {
        (
            reason,
            "`rlpc plan FILE.rlp --out plan.json` makes one".to_string(),
        )
    };
    let text = read_file(&arguments.file).map_err(unreadable)?;
    let description = planned::read(&text).map_err(plain)?;
    if let Some(given) = given(&SETTLED) {
        let message = format!("this plan has settled `{given}`");
        return Err((message, "make another plan with it".to_string()));
    }
    let (Ok(device), Ok(executor)) = (device(&description), executor(&description)) else {
        return Err(unreadable(
            "it names what this program does not have".to_string(),
        ));
    };
    let files = planned::files(&description);
    arguments.settings = description.set;
    arguments.pipeline = Some(description.pipeline);
    arguments.seed = description.seed;
    // A dry run takes a step, whatever was planned.
    arguments.steps = arguments.steps.or(description.steps);
    arguments.executor = executor;
    arguments.machine = Machine {
        device,
        threads: Some(description.threads),
    };
    Ok(Begun {
        arguments,
        files,
        path: description.file,
        standard: Some(description.standard),
    })
}

/// The first of some arguments that the command line of `rlpc run` gives.
fn given(names: &[&str]) -> Option<String> {
    let matches = Arguments::command().try_get_matches().ok()?;
    let (_, own) = matches.subcommand()?;
    let is_given = |name: &&&str| own.value_source(name) == Some(ValueSource::CommandLine);
    let found = names.iter().find(is_given)?;
    Some(match *found {
        "settings" => "--set".to_string(),
        name => format!("--{name}"),
    })
}
