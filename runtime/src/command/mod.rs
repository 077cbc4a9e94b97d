//! The commands of the engine: what `rlpc run`, `rlpc resume`, `rlpc eval`, `rlpc test` and `rlpc bench` hand over to.

mod arguments;
mod begun;
mod bench;
mod description;
mod dry;
mod eval;
mod follow;
mod problem;
mod resume;
mod run;
mod test;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;

use clap::Parser;

use crate::console::Console;
use arguments::{Arguments, Task};
use problem::Exit;

/// The compiler walks syntax trees recursively, through blocks that call blocks. It bounds how deep, and this is
/// room for that.
const STACK: usize = 256 << 20;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error).into(),
    };
    let obeyed = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || obey(&arguments))
        .map(thread::JoinHandle::join);
    match obeyed {
        Ok(Ok(exit)) => exit.into(),
        // The thread has already said what it met.
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => {
            Console::new().complain(&format!("error: no thread can be started: {error}"));
            Exit::Unusable.into()
        }
    }
}

fn obey(arguments: &Arguments) -> Exit {
    match &arguments.task {
        Task::Run(arguments) => run::run(arguments),
        Task::Resume(arguments) => resume::resume(arguments),
        Task::Eval(arguments) => eval::eval(arguments),
        Task::Test(arguments) => test::test(arguments),
        Task::Bench(arguments) => bench::bench(arguments),
    }
}

/// What clap says of wrong arguments, or of `--help` and `--version`.
fn usage(error: &clap::Error) -> Exit {
    let mut console = Console::new();
    let text = error.render();
    let shown = |is_terminal: bool| {
        if is_terminal {
            text.ansi().to_string()
        } else {
            text.to_string()
        }
    };
    if error.use_stderr() {
        console.complain(shown(io::stderr().is_terminal()).trim_end());
        Exit::Unusable
    } else {
        match console.line(shown(io::stdout().is_terminal()).trim_end()) {
            Ok(()) => Exit::Done,
            Err(_) => Exit::Unusable,
        }
    }
}
