//! The arguments of the engine's commands, and the text of their `--help`.

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rlp_frontend::render::PLAIN_WIDTH;
use rlp_frontend::{Format, Look, parse_setting};

use crate::executor::ExecutorChoice;

/// The part of rlpc that runs: pipelines, tests, single blocks.
#[derive(Parser, Debug)]
#[command(name = "rlpc", bin_name = "rlpc", version, max_term_width = 100, after_help = EXITS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

const EXITS: &str = "Exit codes: 0 done, 1 problems in the files, 2 wrong usage or environment, 3 the run failed, \
                     130 interrupted";

#[derive(Subcommand, Debug)]
pub(crate) enum Task {
    /// Runs a pipeline
    Run(Run),
    /// Evaluates one block on tensors from files
    Eval(Eval),
    /// Runs the tests that stand beside blocks
    Test(Test),
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// A file with a pipeline, or `-` for standard input
    pub(crate) file: PathBuf,
    /// Values for parameters of the pipeline
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// Which pipeline, if the file has several
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// What every random number follows from
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// How graphs run
    #[arg(long, value_enum, default_value_t = Executor::Fused)]
    pub(crate) executor: Executor,
    /// At most so many steps of each stage
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Where the weights, the metrics and the pipeline go; a new folder below `runs` if absent
    #[arg(long, value_name = "FOLDER")]
    pub(crate) run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// One JSON object a line: steps, evaluations, results
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress, only the table at the end
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Every step, with the norm of the gradient and the gap of the log-probabilities; and what does not run as kernels, and why
    #[arg(long, short, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct Eval {
    /// `loss.ppo_clip`, or `mine.rlp:loss.my_loss`
    pub(crate) block: String,
    /// Arguments: a safetensors file, or a `.json` file of nested lists
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Values for parameters of the block, for `step` and for `steps`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// Also the gradient of the sum of the result by every tensor argument, as `grad.NAME`
    #[arg(long)]
    pub(crate) grad: bool,
    /// Where the results go: a safetensors file, or a `.json` file; standard output if absent
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// How graphs run
    #[arg(long, value_enum, default_value_t = Executor::Fused)]
    pub(crate) executor: Executor,
    /// The results as one JSON object on standard output
    #[arg(long, conflicts_with = "out")]
    pub(crate) json: bool,
    /// What every random number follows from
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Files with tests
    #[arg(required_unless_present = "std")]
    pub(crate) files: Vec<PathBuf>,
    /// The tests of the standard library
    #[arg(long)]
    pub(crate) std: bool,
    /// Only tests whose title contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// On what a command computes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Machine {
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Threads of the CPU; one a core if absent. Runs repeat to the bit for the same number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=4096))]
    pub(crate) threads: Option<i32>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Device {
    Cpu,
    Cuda,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Executor {
    /// Node by node, differentiated by libtorch
    Eager,
    /// As kernels of machine code, differentiated by the compiler
    Fused,
}

impl From<Executor> for ExecutorChoice {
    fn from(executor: Executor) -> ExecutorChoice {
        match executor {
            Executor::Eager => ExecutorChoice::Eager,
            Executor::Fused => ExecutorChoice::Fused,
        }
    }
}

/// How diagnostics are shown.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Reports for people, one line each, or one JSON object each (on standard output)
    #[arg(long, value_enum, default_value_t = MessageFormat::Human, value_name = "FORMAT")]
    pub(crate) message_format: MessageFormat,
    /// Colours in reports; `auto` looks at the terminal and at NO_COLOR
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MessageFormat {
    Human,
    Short,
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Output {
    pub(crate) fn format(self) -> Format {
        match self.message_format {
            MessageFormat::Human => Format::Human,
            MessageFormat::Short => Format::Short,
            MessageFormat::Json => Format::Json,
        }
    }

    /// Decided by the option, then by NO_COLOR and what the terminal is known to do. Reports go to standard error.
    pub(crate) fn look(self) -> Look {
        let terminal = io::stderr().is_terminal();
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = match self.color {
            Color::Auto => {
                terminal
                    && !set("NO_COLOR")
                    && env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
            Color::Always => true,
            Color::Never => false,
        };
        Look {
            color,
            width: (!terminal).then_some(PLAIN_WIDTH),
        }
    }
}
