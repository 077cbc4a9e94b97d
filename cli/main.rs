//! The light command: reads its arguments, prints what the commands answer, and hands runs over to the engine.

mod answer;
mod arguments;
mod check;
mod diff;
mod doc;
mod engine;
mod explain;
mod fmt;
mod found;
mod graph;
mod inputs;
mod new;
mod papers;
mod plan;
mod report;
mod runs;
mod why;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::thread;

use clap::{CommandFactory, Parser};
use rlp_frontend::arguments::shows_color;
use rlp_frontend::files::reason;

use answer::{Answer, Exit};
use arguments::{Arguments, Handed, Task};

/// The compiler walks syntax trees recursively, through blocks that call blocks. It bounds how deep, and this is
/// room for that.
const STACK: usize = 256 << 20;

fn main() -> ExitCode {
    let answered = thread::Builder::new()
        .stack_size(STACK)
        .spawn(answer)
        .map(thread::JoinHandle::join);
    match answered {
        Ok(Ok(answer)) => tell(&answer),
        // The thread has already said what it met.
        Ok(Err(_)) => ExitCode::from(101),
        Err(error) => tell(&Answer::misused(
            &format!("no thread can be started: {}", reason(&error)),
            None,
        )),
    }
}

fn answer() -> Answer {
    match Arguments::try_parse() {
        Ok(arguments) => obey(&arguments.task),
        Err(error) => usage(&error),
    }
}

fn obey(task: &Task) -> Answer {
    match task {
        Task::Check(arguments) => check::run(arguments),
        Task::Fmt(arguments) => fmt::run(arguments),
        Task::Doc(arguments) => doc::run(arguments),
        Task::Graph(arguments) => graph::run(arguments),
        Task::Why(arguments) => why::run(arguments),
        Task::Plan(arguments) => plan::run(arguments),
        Task::Explain(arguments) => explain::run(arguments),
        Task::New(arguments) => new::run(arguments),
        Task::Runs(arguments) => runs::run(arguments),
        Task::Report(arguments) => report::run(arguments),
        Task::Completions { shell } => completions(*shell),
        Task::Run(handed) => hand_over("run", handed),
        Task::Resume(handed) => hand_over("resume", handed),
        Task::Test(handed) => hand_over("test", handed),
        Task::Eval(handed) => hand_over("eval", handed),
        Task::Bench(handed) => hand_over("bench", handed),
    }
}

/// Becomes the engine; comes back only if that cannot be.
fn hand_over(task: &str, handed: &Handed) -> Answer {
    let arguments =
        std::iter::once(OsStr::new(task)).chain(handed.arguments.iter().map(OsString::as_os_str));
    let error = engine::exec_engine(arguments.map(OsStr::to_os_string));
    Answer::misused(&error.message, Some(&error.help))
}

fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "rlpc", &mut script);
    Answer::done(String::from_utf8_lossy(&script).into_owned())
}

/// What clap says of wrong arguments, or of `--help` and `--version`.
fn usage(error: &clap::Error) -> Answer {
    let text = error.render();
    let shown = |color| {
        if color {
            text.ansi().to_string()
        } else {
            text.to_string()
        }
    };
    if error.use_stderr() {
        Answer {
            err: shown(shows_color(&io::stderr())),
            exit: Exit::Unusable,
            ..Answer::default()
        }
    } else {
        Answer::done(shown(shows_color(&io::stdout())))
    }
}

/// Prints an answer. A reader who has seen enough is no failure; a full disk is.
fn tell(answer: &Answer) -> ExitCode {
    let told = write(io::stdout(), &answer.out);
    // Nothing can be said where standard error cannot be written.
    let _ = write(io::stderr(), &answer.err);
    match told {
        Ok(()) => answer.exit.into(),
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "error: the output cannot be written: {}",
                reason(&error)
            );
            Exit::Problems.into()
        }
    }
}

fn write(mut stream: impl Write, text: &str) -> io::Result<()> {
    match stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
