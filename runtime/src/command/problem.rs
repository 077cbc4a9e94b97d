//! What goes wrong in a command: how it is said, and the code that the process ends with.

use std::process::ExitCode;

use rlp_compiler::diagnostic::{Diagnostic, Severity};
use rlp_compiler::plan::Plan;
use rlp_compiler::source::SourceMap;
use rlp_frontend::arguments::{Device, Output};
use rlp_frontend::{Format, render};
use serde_json::json;

use super::arguments::Machine;
use crate::console::Console;
use crate::cuda::open_cuda;
use crate::error::{Fault, Numbers, Origin, RunError};
use crate::resource::World;
use crate::tensor;

/// The exit codes of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Done = 0,
    /// Something is wrong in the user's files, or with where files are to be written.
    Problems = 1,
    /// The command cannot be obeyed: wrong arguments, or something is missing around it.
    Unusable = 2,
    /// The run failed.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    pub(crate) fn of(fault: &Fault) -> Exit {
        match fault {
            Fault::Input { .. }
            | Fault::Argument(_)
            | Fault::Data(_)
            | Fault::Pattern { .. }
            | Fault::File { .. } => Exit::Problems,
            Fault::Device { .. } => Exit::Unusable,
            Fault::NotFinite { .. }
            | Fault::Assertion { .. }
            | Fault::Index { .. }
            | Fault::Size { .. }
            | Fault::Mask { .. }
            | Fault::UnknownSize { .. }
            | Fault::DivisionByZero
            | Fault::NegativeExponent
            | Fault::Memory { .. }
            | Fault::Torch { .. }
            | Fault::Broken { .. } => Exit::Failed,
        }
    }
}

/// The pipeline that is meant.
pub(crate) fn choose<'p>(
    plans: &'p [Plan],
    name: Option<&str>,
) -> Result<&'p Plan, (Exit, String)> {
    let names: Vec<String> = plans
        .iter()
        .map(|plan| format!("`{}`", plan.name))
        .collect();
    match (plans, name) {
        ([], _) => Err((Exit::Problems, "this file has no pipeline".to_string())),
        (_, Some(name)) => plans.iter().find(|plan| plan.name == name).ok_or_else(|| {
            (
                Exit::Unusable,
                format!(
                    "this file has no pipeline `{name}`, but {}",
                    names.join(", ")
                ),
            )
        }),
        ([plan], None) => Ok(plan),
        (_, None) => Err((
            Exit::Unusable,
            format!("choose one with `--pipeline`: {}", names.join(", ")),
        )),
    }
}

/// Shows diagnostics, those for programs on standard output; whether there is an error among them.
pub(crate) fn show(
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
    output: Output,
    console: &mut Console,
) -> bool {
    let text = render(diagnostics, sources, output.format(), output.look());
    say(text.trim_end(), output, console);
    diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Shows an error of a run, at its place in the program if it has one.
pub(crate) fn show_error(
    error: &RunError,
    sources: &SourceMap,
    output: Output,
    console: &mut Console,
) -> Exit {
    match &error.place {
        Some(place) => {
            let mut diagnostic =
                Diagnostic::error(error.fault.code(), place.span, error.fault.to_string());
            diagnostic.help = error.fault.help();
            diagnostic.calls = place.calls.clone();
            if let Fault::NotFinite { numbers, .. } = &error.fault {
                diagnostic = with_numbers(diagnostic, numbers);
            }
            show(&[diagnostic], sources, output, console);
        }
        None => refuse(
            error.fault.code(),
            &error.fault.to_string(),
            error.fault.help().as_deref(),
            output,
            console,
        ),
    }
    Exit::of(&error.fault)
}

/// The numbers under their places.
fn with_numbers(mut diagnostic: Diagnostic, numbers: &Numbers) -> Diagnostic {
    if let Some(found) = &numbers.found {
        diagnostic = diagnostic.here(found.to_string());
    }
    let (mut labelled, mut told) = (vec![diagnostic.span()], false);
    for (origin, own) in &numbers.from {
        match origin {
            Origin::Span(span) if !labelled.contains(span) => {
                diagnostic = diagnostic.label(*span, format!("it was given {own}"));
                labelled.push(*span);
                told = true;
            }
            Origin::Span(_) | Origin::Name(_) => {}
        }
    }
    if told {
        // The labels show what enters, unless something has only a name.
        let is_named = |(origin, _): &(Origin, _)| matches!(origin, Origin::Name(_));
        diagnostic.help = diagnostic
            .help
            .filter(|_| numbers.from.iter().any(is_named));
    }
    diagnostic
}

/// Says what has no place in a program.
pub(crate) fn refuse(
    code: &str,
    message: &str,
    help: Option<&str>,
    output: Output,
    console: &mut Console,
) {
    tell("error", (code, message, help), output, console);
}

/// Says what has no place in a program and stops nothing.
pub(crate) fn warn(
    code: &str,
    message: &str,
    help: Option<&str>,
    output: Output,
    console: &mut Console,
) {
    tell("warning", (code, message, help), output, console);
}

/// Says what was left out of the files of a world.
pub(crate) fn warn_of(world: &World, output: Output, console: &mut Console) {
    for own in world.warnings() {
        warn(own.code, &own.message, own.help.as_deref(), output, console);
    }
}

fn tell(
    severity: &str,
    (code, message, help): (&str, &str, Option<&str>),
    output: Output,
    console: &mut Console,
) {
    let text = match output.format() {
        Format::Human => format!(
            "{severity}: {message}{}",
            help.map_or(String::new(), |help| format!("\nhelp: {help}"))
        ),
        Format::Short => format!("{severity}[{code}]: {message}"),
        Format::Json => {
            let nothing: [(); 0] = [];
            json!({
                "code": code, "severity": severity, "message": message, "spans": nothing, "help": help, "fix": null,
                "calls": nothing,
            })
            .to_string()
        }
    };
    say(&text, output, console);
}

fn say(text: &str, output: Output, console: &mut Console) {
    if text.is_empty() {
        return;
    }
    match output.format() {
        // Where standard output cannot be written, the exit code still says it.
        Format::Json => drop(console.line(text)),
        Format::Human | Format::Short => console.complain(text),
    }
}

/// Makes the device ready; it must be called before any tensor is made.
pub(crate) fn open(
    machine: Machine,
    threads: i32,
    output: Output,
    console: &mut Console,
) -> Result<tensor::Device, Exit> {
    let device = match machine.device {
        Device::Cpu => tensor::Device::Cpu,
        Device::Cuda => match open_cuda() {
            Ok(_) => tensor::Device::Cuda(0),
            Err(error) => {
                refuse(
                    "device",
                    &error.to_string(),
                    Some(error.help()),
                    output,
                    console,
                );
                return Err(Exit::Unusable);
            }
        },
    };
    tch::set_num_threads(machine.threads.unwrap_or(threads));
    Ok(device)
}

/// One thread a core.
pub(crate) fn cores() -> i32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4096) as i32)
}
