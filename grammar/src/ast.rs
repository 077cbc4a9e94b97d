//! The syntax tree: what the text says, before any name or type is known.
//!
//! Every node carries a [`Span`]. Nothing here is checked beyond syntax: an unknown kind of block,
//! a wrong argument or a missing dimension is the compiler's business.

use std::fmt;

/// A range of bytes of one source. Sources are numbered by whoever reads them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// Which source text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// The number of a source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct SourceId(pub u32);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.source.0, self.start, self.end)
    }
}

impl Span {
    /// The span of bytes of a source, which holds fewer than 4 GiB.
    pub fn new(source: SourceId, start: usize, end: usize) -> Span {
        let place = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        Span {
            source,
            start: place(start),
            end: place(end),
        }
    }

    /// The smallest span that covers both; they must be of one source.
    pub fn to(self, other: Span) -> Span {
        Span {
            source: self.source,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// A name as written.
#[derive(Clone, PartialEq, Debug)]
pub struct Ident {
    pub name: String,
    pub span: Span,
}

/// A whole file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct File {
    /// The lines of `//!` at the head, without the marker.
    pub doc: Vec<String>,
    pub items: Vec<Item>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// `use "mine.rlp" as mine`
    Use(Use),
    /// `loss ppo_clip(…) -> real { … }`
    Block(Block),
    /// `pipeline grpo { … }`
    Pipeline(Pipeline),
    /// `test "…" { … }`
    Test(Test),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Use {
    pub path: String,
    pub path_span: Span,
    pub alias: Ident,
    pub span: Span,
}

/// A block: `[native] KIND NAME(PARAMS) [-> RESULT] [{ BODY }]`. A native block has no body.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// The lines of `///` before it, without the marker.
    pub doc: Vec<String>,
    pub native: bool,
    /// `sampler`, `reward`, `advantage`, `loss`, `optimizer`, `transform`, `schedule`, `metric`, `fn`, `model`, `data`.
    pub kind: Ident,
    pub name: Ident,
    pub params: Vec<Param>,
    pub result: Option<TypeExpr>,
    pub body: Option<Body>,
    /// From the kind to the closing `)` or the result type.
    pub head: Span,
    pub span: Span,
}

/// One parameter of a block, or of a record type.
#[derive(Clone, PartialEq, Debug)]
pub struct Param {
    /// `param x: …` in the signature of a transform: a trainable tensor.
    pub trainable: bool,
    pub name: Ident,
    /// `None` for an untyped parameter (`rollouts`): a record, checked where it is used.
    pub ty: Option<TypeExpr>,
    pub default: Option<Expr>,
    /// The trailing `// …` comment of its line, without the marker.
    pub note: Option<String>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct TypeExpr {
    pub kind: TypeKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub enum TypeKind {
    /// `real`, `real[prompt, ..]`, `model`, `task`, `optimizer`, `record`, …
    Named { name: Ident, dims: Vec<DimExpr> },
    /// `{ text: text[prompt, sample], logp: real[prompt, sample, token] }`
    Record(Vec<(Ident, TypeExpr)>),
    /// `drawn with new prompt`: the record bound to the parameter `drawn`, all its fields, its dimension `prompt` a new one.
    Like { param: Ident, fresh: Vec<Ident> },
}

#[derive(Clone, PartialEq, Debug)]
pub enum DimExpr {
    /// `token`, or with its size `inner: rank`.
    Dim { name: Ident, size: Option<Expr> },
    /// `..`
    Rest(Span),
}

/// Statements and, for blocks and branches, a last expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Body {
    pub stmts: Vec<Stmt>,
    pub result: Option<Box<Expr>>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Pipeline {
    pub doc: Vec<String>,
    pub name: Ident,
    pub stmts: Vec<Stmt>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Test {
    pub title: String,
    pub title_span: Span,
    pub stmts: Vec<Stmt>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Stmt {
    /// `@allow(mean_of_means, "the paper averages sequences")` before the statement.
    pub allows: Vec<Allow>,
    pub kind: StmtKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Allow {
    pub lint: Ident,
    pub reason: String,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub enum StmtKind {
    /// `let x: T = e`; `let { a, b } = e` is not part of the language.
    Let {
        name: Ident,
        ty: Option<TypeExpr>,
        value: Expr,
    },
    /// `state x: T = e`, or `state x init e` (from the first gradient): `lazy` is true.
    State {
        name: Ident,
        ty: Option<TypeExpr>,
        value: Expr,
        lazy: bool,
    },
    /// `param x: T = e`, in a block (trainable tensor) or a pipeline (setting, or trainable tensor).
    Param {
        name: Ident,
        ty: Option<TypeExpr>,
        value: Option<Expr>,
    },
    /// `fn value(x: …) -> … { … }` in the body of a model or of a data source.
    Function(Box<Block>),
    /// `x <- e`
    Assign { name: Ident, value: Expr },
    /// `stage NAME { … }`
    Stage { name: Ident, stmts: Vec<Stmt> },
    /// `train a, b { clauses }`
    Train {
        targets: Vec<Expr>,
        clauses: Vec<Clause>,
    },
    /// `report a = e, b = e`, also `report every 20 a = e`
    Report {
        entries: Vec<(Ident, Expr)>,
        every: Option<Expr>,
    },
    /// `steps N` directly in a stage
    Steps { count: Expr },
    /// `assert e`, `assert a ~= b within 1e-5`
    Assert {
        value: Expr,
        close_to: Option<(Expr, Option<Expr>)>,
    },
}

/// One clause of `train`.
#[derive(Clone, PartialEq, Debug)]
pub struct Clause {
    pub allows: Vec<Allow>,
    pub kind: ClauseKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ClauseKind {
    /// `minimize e` (`maximize e` as well: `negate`)
    Minimize { value: Expr, negate: bool },
    /// `with optimizer.muon(lr: 0.01) on matrices(policy), optimizer.adamw(lr: 1e-3) on others(policy) keep state`
    With { rules: Vec<Rule>, keep_state: bool },
    /// `steps 100`, `epochs 2`, `minibatch 64`, `micro_batch 8`, `clip_norm 1.0`, …: a word and its value
    Setting { name: Ident, value: Expr },
    /// `evaluate accuracy = e, … every 20`
    Evaluate {
        entries: Vec<(Ident, Expr)>,
        every: Option<Expr>,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    pub optimizer: Expr,
    pub on: Option<Expr>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// A number: its value, and whether it was written as an integer.
    Number {
        value: f64,
        integer: bool,
    },
    Text(String),
    Bool(bool),
    Name(String),
    /// `rollouts.text`, `loss.ppo_clip`: which of them is a module is not known here.
    Field {
        base: Box<Expr>,
        field: Ident,
    },
    /// `f(a, over: token)`
    Call {
        callee: Box<Expr>,
        args: Vec<Arg>,
    },
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        op_span: Span,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    If {
        cond: Box<Expr>,
        then: Box<Body>,
        otherwise: Box<Body>,
    },
    List(Vec<Expr>),
    /// `|x, carry| e`
    Lambda {
        params: Vec<Ident>,
        body: Box<Expr>,
    },
    /// `drawn with { score: s }`
    With {
        base: Box<Expr>,
        fields: Vec<(Ident, Expr)>,
    },
    /// `{ scale: s, offset: o }`
    Record(Vec<(Ident, Expr)>),
    /// `[0.4, 0.3] : real[objective]`
    Ascribe {
        value: Box<Expr>,
        ty: TypeExpr,
    },
    /// `x |> f(args)`: `call` is a `Call` without `x`.
    Pipe {
        value: Box<Expr>,
        call: Box<Expr>,
    },
    /// Text that could not be read; already reported.
    Error,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Arg {
    pub name: Option<Ident>,
    pub value: Expr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    /// `^`
    Pow,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

impl BinaryOp {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Pow => "^",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
        }
    }
}
