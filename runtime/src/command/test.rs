//! `rlpc test`: the tests that stand beside blocks.

use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::plan::TestPlan;
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, check, pass};
use rlp_frontend::Files;

use super::arguments::Test;
use super::problem::{Exit, show, show_error};
use crate::assertion::{Differing, Failure, run};
use crate::console::Console;
use crate::executor::ExecutorChoice;
use crate::tensor::Device;

pub(crate) fn test(arguments: &Test) -> Exit {
    tch::set_num_threads(1);
    let mut console = Console::new();
    let mut paths: Vec<String> = arguments
        .files
        .iter()
        .map(|path| Files::path_of(path))
        .collect();
    if arguments.std {
        paths.extend(rlp_stdlib::files().map(|(path, _)| format!("std/{path}")));
    }
    let files = Files::new();
    let (mut passed, mut failed, mut is_sound) = (0, 0, true);
    for path in &paths {
        let mut checked = check(&files, path, &Settings::default());
        if show(
            &checked.diagnostics,
            &checked.sources,
            arguments.output,
            &mut console,
        ) {
            is_sound = false;
            continue;
        }
        let is_wanted = |test: &TestPlan| {
            arguments
                .filter
                .as_ref()
                .is_none_or(|text| test.title.contains(text))
        };
        checked.tests.retain(is_wanted);
        for test in &mut checked.tests {
            pass::run(test);
            let both = [ExecutorChoice::Eager, ExecutorChoice::Fused];
            let holds = |executor| holds(arguments, test, executor, &checked.sources, &mut console);
            if both.map(holds) == [true; 2] {
                passed += 1;
            } else {
                failed += 1;
            }
        }
    }
    let told = console.line(&format!("{passed} passed, {failed} failed"));
    match told {
        Ok(()) if is_sound && failed == 0 => Exit::Done,
        Ok(()) | Err(_) => Exit::Problems,
    }
}

/// Runs a test, and shows what of it does not hold.
fn holds(
    arguments: &Test,
    test: &TestPlan,
    executor: ExecutorChoice,
    sources: &SourceMap,
    console: &mut Console,
) -> bool {
    match run(test, Device::Cpu, executor) {
        Ok(failures) => {
            let diagnostics: Vec<Diagnostic> = failures
                .iter()
                .map(|failure| describe(test, failure, executor))
                .collect();
            show(&diagnostics, sources, arguments.output, console);
            failures.is_empty()
        }
        Err(error) => {
            show_error(&error, sources, arguments.output, console);
            false
        }
    }
}

/// The elements that are not as claimed, a line each.
fn describe(test: &TestPlan, failure: &Failure, executor: ExecutorChoice) -> Diagnostic {
    let message = format!(
        "the test \"{}\" fails in the {} executor",
        test.title,
        executor.name()
    );
    let mut lines: Vec<String> = failure.elements.iter().map(element).collect();
    let more = failure.count - failure.elements.len();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Diagnostic::error("test-failed", failure.span, message).here(lines.join(", "))
}

/// `[prompt 0, sample 1]: 0.5 is not 1`
fn element(differing: &Differing) -> String {
    let at: Vec<String> = differing
        .at
        .iter()
        .map(|(dim, position)| format!("{dim} {position}"))
        .collect();
    let at = if at.is_empty() {
        String::new()
    } else {
        format!("[{}]: ", at.join(", "))
    };
    match differing.sides {
        Some((left, right)) => format!("{at}{left} is not {right}"),
        None => format!("{at}false"),
    }
}
