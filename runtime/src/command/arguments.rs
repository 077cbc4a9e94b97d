//! The arguments of the engine's commands, and the text of their `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rlp_frontend::arguments::{Device, Executor, Output};
use rlp_frontend::parse_setting;

use crate::checkpoint::cadence::{Every, Metric};
use crate::executor::ExecutorChoice;

/// The part of rlpc that runs: pipelines, tests, single blocks.
#[derive(Parser, Debug)]
#[command(name = "rlpc", bin_name = "rlpc", version, max_term_width = 100, after_help = EXITS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

const EXITS: &str = "Exit codes: 0 done, 1 problems in the files, 2 wrong usage or environment, 3 the run failed, \
                     130 stopped at once by a second Ctrl-C";

const BENCHES: &str = "\
Examples:
  rlpc bench loss.ppo_clip --size prompt=512,sample=1,token=4096 --wrt logp
  rlpc bench mine.rlp:reward.tagged --size prompt=100000,sample=1 --executor eager
  rlpc bench optimizer.adamw --parameters 21.2M
  rlpc bench pipeline.rlp --steps 5

Arguments that no file has are random: reals normal, log-probabilities near -1, integers 0 or 1, texts `<think>…</think>\
<answer> 123 </answer>` with an `answer` that is right for every second one. `first` is the time to the first result, \
compilation included; the others are of repetitions after it. GB/s counts each argument and each result once.";

#[derive(Subcommand, Debug)]
pub(crate) enum Task {
    /// Runs a pipeline, or a plan
    Run(Run),
    /// Goes on with a run that was stopped or killed, from its latest checkpoint
    Resume(Resume),
    /// Evaluates one block on tensors from files
    Eval(Eval),
    /// Runs the tests that stand beside blocks
    Test(Test),
    /// Times a block, an optimizer or the steps of a pipeline
    #[command(after_help = BENCHES)]
    Bench(Bench),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// A file with a pipeline, `-` for standard input, or a plan that `rlpc plan --out` made
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
    /// What the run will take, then one step of every stage, with its evaluations, reports, checkpoint and page, in a folder that is removed: what can fail
    /// fails now
    #[arg(long, conflicts_with_all = ["run_dir", "steps"])]
    pub(crate) dry_run: bool,
    /// Where the weights, the metrics and the pipeline go; a new folder below `runs` if absent
    #[arg(long, value_name = "FOLDER")]
    pub(crate) run_dir: Option<PathBuf>,
    /// When the run is saved: after so many steps of a stage (`100`), after a time (`90s`, `10min`, `2h`), or `never`; if
    /// absent every minute, or as much more seldom as lets it take a fiftieth of the time
    #[arg(long, value_name = "WHEN", value_parser = Every::parse)]
    pub(crate) checkpoint_every: Option<Every>,
    /// How many of the latest checkpoints stay
    #[arg(long, value_name = "K", default_value_t = 2, value_parser = parse_repeat)]
    pub(crate) keep: usize,
    /// Also saves the run whenever this number of a report or an evaluation is the highest so far, or with `:min` the lowest
    #[arg(long, value_name = "METRIC", value_parser = Metric::parse)]
    pub(crate) best: Option<Metric>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(flatten)]
    pub(crate) watching: Watching,
}

#[derive(Args, Debug)]
pub(crate) struct Resume {
    /// The folder of the run
    pub(crate) run: PathBuf,
    #[command(flatten)]
    pub(crate) watching: Watching,
}

/// How a run is shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct Watching {
    /// Whether all that is kept is removed at the end.
    #[arg(skip)]
    pub(crate) is_dry: bool,
    /// One JSON object a line: steps, evaluations, results
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress, only the table at the end
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Every step, with the norm of the gradient and the gap of the log-probabilities; and what does not run as kernels, and why
    #[arg(long, short, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Where the time went, at the end: a table, and `profile.json` and `trace.json` in the folder of the run
    #[arg(long)]
    pub(crate) profile: bool,
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

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// `loss.ppo_clip`, `mine.rlp:loss.my_loss`, or a file with a pipeline
    pub(crate) target: String,
    /// Sizes of the dimensions of the block's arguments
    #[arg(long = "size", value_name = "DIM=N,…", value_delimiter = ',', value_parser = parse_size)]
    pub(crate) sizes: Vec<(String, i64)>,
    /// How much of a ragged dimension is real, on average
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = parse_share)]
    pub(crate) filled: f64,
    /// Characters of each text
    #[arg(long, value_name = "N", default_value_t = 437)]
    pub(crate) characters: usize,
    /// Arguments: a safetensors file, or a `.json` file of nested lists
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Values for parameters of the block or pipeline
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// Also the gradient of the sum of the result by every tensor argument
    #[arg(long)]
    pub(crate) grad: bool,
    /// Also the gradient, by these arguments only
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) wrt: Vec<String>,
    /// Which executors are compared, the first one being the measure; all if absent
    #[arg(
        long = "executor",
        value_enum,
        value_name = "EXECUTOR,…",
        value_delimiter = ','
    )]
    pub(crate) executors: Vec<Executor>,
    /// Of random reals, and of a model
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub(crate) precision: Precision,
    /// Repetitions that are timed, after one that is not
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = parse_repeat)]
    pub(crate) repeat: usize,
    /// An optimizer over the matrices of a transformer with about so many values: `21.2M`
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) parameters: Option<i64>,
    /// At most so many steps of each stage of a pipeline; the first is told apart
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
    /// Which pipeline, if the file has several
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// What every random number follows from
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// One JSON object a result
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Precision {
    F32,
    F64,
}

impl Precision {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }
}

/// `prompt=512`
fn parse_size(text: &str) -> Result<(String, i64), String> {
    let (name, size) = text
        .split_once('=')
        .ok_or("a size is `DIM=N`: `prompt=512`")?;
    Ok((name.trim().to_string(), parse_count(size)?))
}

/// `512`, `64k`, `21.2M`: at least 1.
fn parse_count(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1e6),
            None => (text, 1.0),
        },
    };
    let number = digits.parse::<f64>().map(|number| (number * unit).round());
    match number {
        Ok(number) if (1.0..1e15).contains(&number) => Ok(number as i64),
        Ok(_) | Err(_) => Err(format!(
            "`{text}` is no number such as `512`, `64k` or `21.2M`"
        )),
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.5 && share <= 1.0 => Ok(share),
        Ok(_) | Err(_) => Err("a share is above 0.5 and at most 1".to_string()),
    }
}

fn parse_repeat(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if number >= 1 => Ok(number),
        Ok(_) | Err(_) => Err("a whole number of at least 1 is expected".to_string()),
    }
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

impl From<Executor> for ExecutorChoice {
    fn from(executor: Executor) -> ExecutorChoice {
        match executor {
            Executor::Eager => ExecutorChoice::Eager,
            Executor::Fused => ExecutorChoice::Fused,
        }
    }
}
