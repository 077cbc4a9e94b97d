//! What a command answers. Commands do not print: they return this, and `main.rs` writes it.

use std::process::ExitCode;

/// The text for each of the two streams, and how the command ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) exit: Exit,
}

/// The exit codes of the light command. The engine has two more: 3 when a run failed, 130 when it was interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Exit {
    /// All that was asked for was done.
    #[default]
    Done = 0,
    /// Something is wrong in the user's files.
    Problems = 1,
    /// The command cannot be obeyed: wrong arguments, or something is missing around it.
    Unusable = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Answer {
    pub(crate) fn done(out: impl Into<String>) -> Answer {
        Answer {
            out: out.into(),
            ..Answer::default()
        }
    }

    /// Nothing but an error, in a sentence, and how to mend it if that is known.
    pub(crate) fn refusal(exit: Exit, message: &str, help: Option<&str>) -> Answer {
        let help = help.map_or(String::new(), |help| format!("help: {help}\n"));
        Answer {
            out: String::new(),
            err: format!("error: {message}\n{help}"),
            exit,
        }
    }

    /// [`Answer::refusal`] of arguments that make no sense.
    pub(crate) fn misused(message: &str, help: Option<&str>) -> Answer {
        Answer::refusal(Exit::Unusable, message, help)
    }
}
