//! Why a run stops: what went wrong, where in the program, and how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

pub use rlp_account::ArgumentError;
use rlp_account::Unreadable;
use rlp_compiler::graph::{CallId, Graph, NodeId};
use rlp_data::DataError;
use rlp_grammar::ast::Span;

use crate::exhausted;
use crate::statistics::Statistics;

pub type Result<T, E = RunError> = std::result::Result<T, E>;

/// A fault, and the place in the program where it showed.
#[derive(Clone, PartialEq, Debug)]
pub struct RunError {
    pub fault: Fault,
    /// Absent for what has no place in the text: a file, a device.
    pub place: Option<Box<Place>>,
}

/// A place in the program, with the block calls that lead to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    pub span: Span,
    /// Block and place of each call, the innermost first.
    pub calls: Vec<(String, Span)>,
}

/// What went wrong.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// What should be a number is none, or is infinite: "a value here", "the gradient through this".
    NotFinite { what: String, numbers: Box<Numbers> },
    /// An assertion of a block does not hold: "`loss.x` needs `c >= 0`", where, and what it read there.
    Assertion {
        claim: String,
        /// The name of each dimension and the position along it, of the first element for which it does not hold.
        at: Vec<(String, usize)>,
        values: Vec<(String, String)>,
        /// For how many elements it does not hold.
        count: usize,
    },
    /// An index lies outside `0..size`.
    Index { dim: String, index: i64, size: i64 },
    /// Two values disagree about the size of a dimension: (where it was found, size).
    Size {
        dim: String,
        here: (String, i64),
        there: (String, i64),
    },
    /// Two values disagree about which positions of a ragged dimension are real.
    Mask {
        dim: String,
        here: String,
        there: String,
    },
    /// The size of a dimension is needed, and nothing tells it.
    UnknownSize { dim: String },
    /// An integer is divided by 0.
    DivisionByZero,
    /// An integer is raised to a negative power.
    NegativeExponent,
    /// A regular expression that cannot be read.
    Pattern { reason: String },
    /// What a user gave does not fit what is asked for.
    Input {
        message: String,
        help: Option<String>,
    },
    /// An argument of a resource that cannot be right.
    Argument(ArgumentError),
    /// Files of a data source do not hold what is asked of them.
    Data(DataError),
    /// A file cannot be read or written.
    File { path: PathBuf, reason: String },
    /// A device is not there, or refuses.
    Device { reason: String },
    /// There is no memory left, of the processor or of the GPU.
    Memory { reason: String },
    /// libtorch refuses an operation: a matrix that is not positive definite.
    Torch { reason: String },
    /// An assumption of the runtime does not hold: a defect of rlpc.
    Broken { assumption: String },
}

/// What is known of a number that is not finite.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Numbers {
    /// What stands there.
    pub found: Option<Statistics>,
    /// What it came from: its name, or its place in the program.
    pub from: Vec<(Origin, Statistics)>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Origin {
    Name(String),
    Span(Span),
}

impl Fault {
    pub fn not_finite(what: impl Into<String>, numbers: Numbers) -> Fault {
        Fault::NotFinite {
            what: what.into(),
            numbers: Box::new(numbers),
        }
    }

    pub fn input(message: impl Into<String>) -> Fault {
        Fault::Input {
            message: message.into(),
            help: None,
        }
    }

    pub fn input_help(message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault::Input {
            message: message.into(),
            help: Some(help.into()),
        }
    }

    pub fn file(path: &Path, reason: impl fmt::Display) -> Fault {
        Fault::File {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    pub fn broken(assumption: impl Into<String>) -> Fault {
        Fault::Broken {
            assumption: assumption.into(),
        }
    }

    /// A short, stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::NotFinite { .. } => "not-finite",
            Fault::Assertion { .. } => "assertion-failed",
            Fault::Index { .. } => "index-outside",
            Fault::Size { .. } => "sizes-disagree",
            Fault::Mask { .. } => "masks-disagree",
            Fault::UnknownSize { .. } => "size-unknown",
            Fault::DivisionByZero => "division-by-zero",
            Fault::NegativeExponent => "negative-exponent",
            Fault::Pattern { .. } => "bad-pattern",
            Fault::Input { .. } => "bad-input",
            Fault::Argument(_) => "bad-argument",
            Fault::Data(error) => error.code,
            Fault::File { .. } => "file",
            Fault::Device { .. } => "device",
            Fault::Memory { .. } => "out-of-memory",
            Fault::Torch { .. } => "libtorch",
            Fault::Broken { .. } => "defect",
        }
    }

    /// How to mend it, where there is a way.
    pub fn help(&self) -> Option<String> {
        match self {
            Fault::NotFinite { numbers, .. } => {
                let named = numbers
                    .from
                    .iter()
                    .filter_map(|(origin, own)| match origin {
                        Origin::Name(name) => Some(format!("{name}: {own}")),
                        Origin::Span(_) => None,
                    });
                let named: Vec<String> = named.collect();
                Some(match named.is_empty() {
                    false => named.join("\n"),
                    true => "look at the values that enter here: `rlpc why FILE NODE` lists them"
                        .to_string(),
                })
            }
            Fault::Memory { .. } => Some(
                "a smaller `micro_batch` or `minibatch`, or fewer rollouts at once, take less"
                    .to_string(),
            ),
            Fault::Index { size: 0, .. } => Some("the dimension is empty".to_string()),
            Fault::Index { size, .. } => {
                Some(format!("indices are counted from 0 to {}", size - 1))
            }
            Fault::Input { help, .. } => help.clone(),
            Fault::Data(error) => error.help.clone(),
            Fault::Broken { .. } => Some(
                "this is a defect of rlpc; please report it with the program that shows it"
                    .to_string(),
            ),
            Fault::Assertion { .. }
            | Fault::Size { .. }
            | Fault::Mask { .. }
            | Fault::UnknownSize { .. }
            | Fault::DivisionByZero
            | Fault::NegativeExponent
            | Fault::Pattern { .. }
            | Fault::Argument(_)
            | Fault::File { .. }
            | Fault::Device { .. }
            | Fault::Torch { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotFinite { what, .. } => write!(f, "{what} is not finite"),
            Fault::Assertion {
                claim,
                at,
                values,
                count,
            } => write_assertion(f, claim, at, values, *count),
            Fault::Index { dim, index, size } => write!(
                f,
                "index {index} is outside dimension `{dim}` of size {size}"
            ),
            Fault::Size {
                dim,
                here: (here, n),
                there: (there, m),
            } => {
                write!(f, "dimension `{dim}` is {n} in {here} but {m} in {there}")
            }
            Fault::Mask { dim, here, there } => {
                write!(
                    f,
                    "{here} and {there} disagree about which positions of `{dim}` are real"
                )
            }
            Fault::UnknownSize { dim } => write!(f, "nothing tells the size of dimension `{dim}`"),
            Fault::DivisionByZero => write!(f, "an integer is divided by 0"),
            Fault::NegativeExponent => write!(f, "an integer is raised to a negative power"),
            Fault::Pattern { reason } => write!(f, "a regular expression cannot be read: {reason}"),
            Fault::Input { message, .. } => write!(f, "{message}"),
            Fault::Argument(argument) => argument.fmt(f),
            Fault::Data(error) => error.fmt(f),
            Fault::File { path, reason } => write!(f, "`{}`: {reason}", path.display()),
            Fault::Device { reason } => write!(f, "{reason}"),
            Fault::Memory { reason } => write!(f, "there is no memory left: {reason}"),
            Fault::Torch { reason } => write!(f, "libtorch refuses this: {reason}"),
            Fault::Broken { assumption } => write!(f, "the runtime assumed that {assumption}"),
        }
    }
}

/// "`reward.x` needs `score >= 0`, and `score` is -1 at prompt 0, sample 2, and so at 3 more places"
fn write_assertion(
    f: &mut fmt::Formatter<'_>,
    claim: &str,
    at: &[(String, usize)],
    values: &[(String, String)],
    count: usize,
) -> fmt::Result {
    write!(f, "{claim}, and ")?;
    let values: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("`{name}` is {value}"))
        .collect();
    match values.is_empty() {
        true => write!(f, "that does not hold")?,
        false => write!(f, "{}", values.join(", "))?,
    }
    let at: Vec<String> = at
        .iter()
        .map(|(dim, position)| format!("{dim} {position}"))
        .collect();
    if !at.is_empty() {
        write!(f, " at {}", at.join(", "))?;
    }
    match count {
        0 | 1 => Ok(()),
        2 => write!(f, ", and it does not hold at 1 other place"),
        more => write!(f, ", and it does not hold at {} other places", more - 1),
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for RunError {}

impl RunError {
    /// The same error at a node of a graph; a place that is known already is kept, as it is nearer to the cause.
    #[must_use]
    pub fn at(mut self, graph: &Graph, node: NodeId) -> RunError {
        self.place
            .get_or_insert_with(|| Box::new(Place::of(graph, node)));
        self
    }

    /// The same error at a place of the text that no node stands for: a `train` clause, a model.
    #[must_use]
    pub fn at_span(mut self, span: Span) -> RunError {
        self.place.get_or_insert_with(|| {
            Box::new(Place {
                span,
                calls: Vec::new(),
            })
        });
        self
    }
}

impl Place {
    pub fn of(graph: &Graph, node: NodeId) -> Place {
        let node = graph.node(node);
        Place::at(graph, node.span, node.call)
    }

    /// A place of the text inside a call.
    pub(crate) fn at(graph: &Graph, span: Span, call: Option<CallId>) -> Place {
        let mut calls = Vec::new();
        let mut next = call;
        while let Some(call) = next.and_then(|id| graph.calls.get(id.0 as usize)) {
            calls.push((call.block.clone(), call.span));
            next = call.parent;
        }
        Place { span, calls }
    }
}

impl From<Unreadable> for Fault {
    fn from(error: Unreadable) -> Fault {
        match error.path {
            Some(path) => Fault::file(&path, error.reason),
            None => Fault::input(error.reason),
        }
    }
}

impl From<ArgumentError> for Fault {
    fn from(error: ArgumentError) -> Fault {
        Fault::Argument(error)
    }
}

impl From<ArgumentError> for RunError {
    fn from(error: ArgumentError) -> RunError {
        Fault::Argument(error).into()
    }
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Fault {
        Fault::Data(error)
    }
}

impl From<Fault> for RunError {
    fn from(fault: Fault) -> RunError {
        RunError { fault, place: None }
    }
}

impl From<tch::TchError> for Fault {
    /// Keeps libtorch's own sentence; what follows it is a trace of C++ frames.
    fn from(error: tch::TchError) -> Fault {
        let text = match &error {
            tch::TchError::Torch(text) => text.clone(),
            other => other.to_string(),
        };
        let reason = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .trim_end_matches('.')
            .to_string();
        if exhausted::says_so(&reason) {
            let reason = exhausted::sentence(&reason).to_string();
            return Fault::Memory { reason };
        }
        Fault::Torch { reason }
    }
}

impl From<tch::TchError> for RunError {
    fn from(error: tch::TchError) -> RunError {
        Fault::from(error).into()
    }
}
