//! One example, or several, of every primitive. A primitive without one does not compile.

mod elementwise;
mod linalg;
mod movement;
pub(crate) mod scan;
mod source;

use rlp_compiler::array::Array;
use rlp_compiler::graph::{
    Binary, Factor, ModelOutput, ModelRef, NodeId, Op, RandomKind, Reduction, ScanBody, TextOp,
    Unary,
};
use rlp_compiler::ty::{DimId, Elem};

use crate::setup::{Setup, Shape};

/// A primitive in a graph with values for what it reads.
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) setup: Setup,
    /// The node with the primitive.
    pub(crate) node: NodeId,
}

/// A name, and what adds the primitive and its operands to a graph.
pub(crate) type Build = (String, Box<dyn Fn(&mut Setup) -> NodeId>);

pub(crate) fn build(name: impl ToString, build: impl Fn(&mut Setup) -> NodeId + 'static) -> Build {
    (name.to_string(), Box::new(build))
}

/// Examples of all primitives.
pub(crate) fn all(shape: Shape) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut op = Some(Op::Literal(Array::real(0.0)));
    while let Some(own) = op {
        let (builds, next) = of(&own);
        for (name, build) in builds {
            let mut setup = Setup::new(shape);
            let node = build(&mut setup);
            let same = std::mem::discriminant(setup.graph.op(node)) == std::mem::discriminant(&own);
            assert!(same, "{name} is not an example of its primitive");
            examples.push(Example { name, setup, node });
        }
        op = next;
    }
    examples
}

/// The examples of a primitive, and the primitive after it, whatever its attributes.
fn of(op: &Op) -> (Vec<Build>, Option<Op>) {
    let (d, list) = (DimId(0), Vec::new);
    let model = ModelRef {
        model: 0,
        frozen: None,
    };
    let body = || ScanBody {
        graph: Default::default(),
        next: Vec::new(),
    };
    match op {
        Op::Literal(_) => (source::literal(), Some(Op::Input(String::new()))),
        Op::Input(_) => (source::input(), Some(Op::Mask(d))),
        Op::Mask(_) => (source::mask(), Some(Op::Size(d))),
        Op::Size(_) => (source::size(), Some(Op::Position(d))),
        Op::Position(_) => (source::position(), Some(Op::Step)),
        Op::Step => (source::step(), Some(Op::Steps)),
        Op::Steps => (source::steps(), Some(Op::State(0))),
        Op::State(_) => (source::state(), Some(Op::Draw(0))),
        Op::Draw(_) => (source::draw(), Some(Op::Field(String::new()))),
        Op::Field(_) => (
            source::field(),
            Some(Op::Model {
                model,
                output: ModelOutput::Logp,
            }),
        ),
        Op::Model { .. } => (
            source::model(),
            Some(Op::Backward {
                model,
                outputs: Vec::new(),
            }),
        ),
        Op::Backward { .. } => (source::backward(), Some(Op::Trainable(model))),
        Op::Trainable(_) => (
            source::trainable(),
            Some(Op::Random {
                kind: RandomKind::Normal,
                key: 0,
            }),
        ),
        Op::Random { .. } => (source::random(), Some(Op::Unary(Unary::Neg))),
        Op::Unary(_) => (elementwise::unary(), Some(Op::Binary(Binary::Add))),
        Op::Binary(_) => (elementwise::binary(), Some(Op::Select)),
        Op::Select => (elementwise::select(), Some(Op::Cast(Elem::Real))),
        Op::Cast(_) => (elementwise::cast(), Some(Op::Text(TextOp::Trim))),
        Op::Text(_) => (elementwise::text(), Some(Op::Broadcast)),
        Op::Broadcast => (movement::broadcast(), Some(Op::Rename(list()))),
        Op::Rename(_) => (
            movement::rename(),
            Some(Op::Reduce {
                kind: Reduction::Sum,
                over: Vec::new(),
            }),
        ),
        Op::Reduce { .. } => (
            movement::reduce(),
            Some(Op::ArgReduce {
                largest: true,
                over: d,
            }),
        ),
        Op::ArgReduce { .. } => (
            movement::arg_reduce(),
            Some(Op::Contract { over: Vec::new() }),
        ),
        Op::Contract { .. } => (
            movement::contract(),
            Some(Op::Scan {
                over: d,
                reverse: false,
                xs: 0,
                captured: 0,
                carries: 0,
                masked: false,
                part: 0,
                body: body().into(),
            }),
        ),
        Op::Scan { .. } => (
            scan::scan(),
            Some(Op::Cumsum {
                over: d,
                reverse: false,
            }),
        ),
        Op::Cumsum { .. } => (movement::cumsum(), Some(Op::Shift { over: d, by: 1 })),
        Op::Shift { .. } => (
            movement::shift(),
            Some(Op::ArgSort {
                over: d,
                descending: false,
            }),
        ),
        Op::ArgSort { .. } => (movement::arg_sort(), Some(Op::Gather { over: d })),
        Op::Gather { .. } => (movement::gather(), Some(Op::ScatterAdd { over: d })),
        Op::ScatterAdd { .. } => (movement::scatter_add(), Some(Op::Stack(d))),
        Op::Stack(_) => (
            movement::stack(),
            Some(Op::Split {
                dim: d,
                into: Vec::new(),
            }),
        ),
        Op::Split { .. } => (
            movement::split(),
            Some(Op::Merge {
                dims: Vec::new(),
                into: d,
            }),
        ),
        Op::Merge { .. } => {
            let factor = Op::Factor {
                factor: Factor::Inverse,
                row: d,
                col: d,
                rank: None,
            };
            (movement::merge(), Some(factor))
        }
        Op::Factor { .. } => (linalg::factor(), Some(Op::Solve { row: d, col: d })),
        Op::Solve { .. } => (linalg::solve(), Some(Op::StopGrad)),
        Op::StopGrad => (source::stop_grad(), Some(Op::Grad)),
        Op::Grad => (source::grad(), None),
    }
}
