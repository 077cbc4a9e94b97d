//! The light command.

mod engine;

use std::process::ExitCode;

fn main() -> ExitCode {
    let error = engine::exec_engine(std::env::args_os().skip(1));
    #[expect(clippy::print_stderr, reason = "this is where the command prints")]
    {
        eprintln!("error: {}\nhelp: {}", error.message, error.help);
    }
    ExitCode::from(2)
}
