//! The arguments of the command, and the text of its `--help`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rlp_frontend::arguments::{Device, Executor, Output};
use rlp_frontend::parse_setting;

/// A language, compiler and runtime for reinforcement-learning post-training.
#[derive(Parser, Debug)]
#[command(name = "rlpc", version, max_term_width = 100, after_help = EXITS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

const EXITS: &str = "Exit codes: 0 done, 1 problems in the files, 2 wrong usage or environment, 3 the run failed, \
                     130 stopped at once by a second Ctrl-C";

const PLANS: &str = "\
Memory is counted, term by term, from sizes that are known once a pipeline is checked, at the longest responses that there \
can be, and is within 15 % of what a run uses at most. Times follow from the number of operations and from the speed of \
products on this machine, which is measured once and kept in the cache folder: a small model takes several times as long.
What takes more memory than there is, is an error at the line that asks for it, with what would fit.

Examples:
  rlpc plan examples/quickstart.rlp
  rlpc plan big.rlp --memory 16GiB --threads 8
  rlpc plan mine.rlp --set lr=1e-4 --seed 3 --out plan.json && rlpc run plan.json";

#[derive(Subcommand, Debug)]
pub(crate) enum Task {
    /// Finds what is wrong with pipelines and blocks, without running them
    Check(Check),
    /// Writes files in the one style
    Fmt(Fmt),
    /// Describes blocks: signature, equation, source
    Doc(Doc),
    /// Shows the graph of a pipeline
    Graph(Graph),
    /// Tells of one value: type, dimensions and their origin, when it runs, what depends on it
    Why(Why),
    /// Tells what a run will take, before it: parameters, memory by phase, operations and time; or writes it as a file
    #[command(after_help = PLANS)]
    Plan(Plan),
    /// Tells more of a diagnostic, with an example that fails and one that works
    Explain(Explain),
    /// Makes the folder of a new project that runs
    New(New),
    /// Lists the runs that were kept, and shows, compares and plots them
    Runs(RunsTask),
    /// Writes a page about runs, for a browser
    Report(Report),
    /// Writes completions for a shell
    Completions { shell: clap_complete::Shell },

    /// Runs a pipeline, or a plan
    #[command(disable_help_flag = true)]
    Run(Handed),
    /// Goes on with a run that was stopped or killed, from its latest checkpoint
    #[command(disable_help_flag = true)]
    Resume(Handed),
    /// Runs the tests that stand beside blocks
    #[command(disable_help_flag = true)]
    Test(Handed),
    /// Evaluates one block on tensors from files
    #[command(disable_help_flag = true)]
    Eval(Handed),
    /// Times a block, an optimizer or the steps of a pipeline
    #[command(disable_help_flag = true)]
    Bench(Handed),
}

/// Arguments that the engine reads.
#[derive(Args, Debug)]
pub(crate) struct Handed {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Files, folders (all `.rlp` files below), or `-` for standard input
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// What else makes the check fail
    #[arg(long, value_name = "WHAT")]
    pub(crate) deny: Option<Deny>,
    /// Values for parameters of the pipelines
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deny {
    Warnings,
}

#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// Files, folders (all `.rlp` files below), or `-` for standard input to standard output
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Write nothing; fail if a file would change
    #[arg(long)]
    pub(crate) check: bool,
    /// Write nothing; show what would change
    #[arg(long)]
    pub(crate) diff: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct Doc {
    /// `loss.ppo_clip`, `mine.rlp:my_loss`, a kind, or a file; all standard blocks if absent
    pub(crate) name: Option<String>,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
    /// The table from papers to blocks and examples
    #[arg(long, conflicts_with = "name")]
    pub(crate) papers: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Graph {
    /// A file with a pipeline, or `-` for standard input
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) stage: Stage,
    /// After this pass of the compiler; before all of them if absent
    #[arg(long, value_name = "PASS")]
    pub(crate) after: Option<String>,
    #[arg(long, value_enum, default_value_t = Picture::Text)]
    pub(crate) format: Picture,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which stage, and under which settings.
#[derive(Args, Debug)]
pub(crate) struct Stage {
    /// Of this pipeline only
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// Of this stage only
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Values for parameters of the pipeline
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<(String, String)>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Picture {
    Text,
    Dot,
    Mermaid,
    Svg,
}

#[derive(Args, Debug)]
pub(crate) struct Why {
    /// A file with a pipeline, or `-` for standard input
    pub(crate) file: PathBuf,
    /// The name of a `let` of a stage, or the number of a node as `rlpc graph` shows it: `%12`
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) stage: Stage,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// A file with a pipeline, or `-` for standard input
    pub(crate) file: PathBuf,
    /// Values for parameters of the pipeline
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) settings: Vec<(String, String)>,
    /// Which pipeline, if the file has several
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// What every random number of the run follows from
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// At most so many steps of each stage
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// How graphs will run; memory is that of `fused`
    #[arg(long, value_enum, default_value_t = Executor::Fused)]
    pub(crate) executor: Executor,
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Threads of the CPU; one a core if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=4096))]
    pub(crate) threads: Option<i32>,
    /// What the run may use, as `16GiB`; all that this machine has if absent
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// The run as a file, with all its sources: `rlpc run FILE` runs exactly that, whatever becomes of them
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `16GiB`, `512MiB`, `24GB`, or bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1.0),
        "kib" => Some(1024.0),
        "mib" => Some(1024.0 * 1024.0),
        "gib" => Some(1024.0 * 1024.0 * 1024.0),
        "mb" => Some(1e6),
        "gb" => Some(1e9),
        _ => None,
    };
    match (digits.trim().parse::<f64>(), unit) {
        (Ok(number), Some(unit)) if number > 0.0 && number * unit < 1e18 => {
            Ok((number * unit) as u64)
        }
        (Ok(_) | Err(_), _) => Err(format!("`{text}` is no size such as `16GiB` or `512MiB`")),
    }
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A code as diagnostics show it: `outer-product`; a list of all codes if absent
    pub(crate) code: Option<String>,
    /// Everything about all codes
    #[arg(long, conflicts_with = "code")]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Folders of runs: one, or several side by side
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Where the page goes; `report.html` in the folder of a single run, or here for several, if absent
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RunsTask {
    #[command(subcommand)]
    pub(crate) what: Option<RunsWhat>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum RunsWhat {
    /// The runs below a folder, the oldest first; what `rlpc runs` alone does
    List {
        #[arg(default_value = "runs")]
        folder: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// What a run was started with, how far it came, and its numbers at first and at last
    Show {
        run: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// What differs in meaning between runs: in what they compute, in their settings, in what came of them
    Diff {
        #[arg(required = true, num_args = 2.., value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Curves in the terminal
    Plot {
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Which numbers: `loss`, `accuracy`; what is evaluated, or else the loss, if absent
        #[arg(long = "number", short, value_name = "NAME,…", value_delimiter = ',')]
        number: Vec<String>,
        /// Columns of the terminal
        #[arg(long, value_name = "N")]
        width: Option<usize>,
        /// Rows of a picture
        #[arg(long, value_name = "N", default_value_t = 10)]
        height: usize,
    },
}

#[derive(Args, Debug)]
pub(crate) struct New {
    /// The folder to make
    pub(crate) folder: PathBuf,
    /// What the project starts from
    #[arg(long, value_enum, default_value_t = Template::Grpo)]
    pub(crate) template: Template,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Template {
    /// Supervised warm-up, then group-relative policy optimisation with a loss of the user's own
    Grpo,
    /// Supervised training alone
    Supervised,
}
