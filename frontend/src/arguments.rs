//! Arguments that commands of both executables take.

use std::env;
use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};

use crate::render::{Format, Look, PLAIN_WIDTH};

/// How diagnostics are shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Reports for people, one line each, or one JSON object each (on standard output)
    #[arg(long, value_enum, default_value_t = MessageFormat::Human, value_name = "FORMAT")]
    pub message_format: MessageFormat,
    /// Colours in reports; `auto` looks at the terminal and at NO_COLOR
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageFormat {
    Human,
    Short,
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Output {
    pub fn format(self) -> Format {
        match self.message_format {
            MessageFormat::Human => Format::Human,
            MessageFormat::Short => Format::Short,
            MessageFormat::Json => Format::Json,
        }
    }

    /// Decided by the option, then by NO_COLOR and what the terminal is known to do. Reports go to standard error.
    pub fn look(self) -> Look {
        let terminal = io::stderr().is_terminal();
        let color = match self.color {
            Color::Auto => shows_color(&io::stderr()),
            Color::Always => true,
            Color::Never => false,
        };
        Look {
            color,
            width: (!terminal).then_some(PLAIN_WIDTH),
        }
    }
}

/// Whether a stream is a terminal that shows colours, and nobody has asked it not to.
pub fn shows_color(stream: &impl IsTerminal) -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Device {
    Cpu,
    Cuda,
}

impl Device {
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Cuda => "cuda",
        }
    }
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Executor {
    /// Node by node, differentiated by libtorch
    Eager,
    /// As kernels of machine code, differentiated by the compiler
    Fused,
}

impl Executor {
    pub fn name(self) -> &'static str {
        match self {
            Executor::Eager => "eager",
            Executor::Fused => "fused",
        }
    }
}
