//! What an expression stands for while it is elaborated.

use std::rc::Rc;

use rlp_grammar::ast::{Expr, Ident, Span};

use crate::elaborate::library::Definition;
use crate::elaborate::model::made::{MadeRef, Method};
use crate::elaborate::model::transform::Transform;
use crate::elaborate::scope::Scope;
use crate::graph::{DataRef, ModelRef, NodeId, RandomKind};

/// A node of one of the graphs being built: `level` 0 is the stage's or block's own, each scan body is one deeper.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tensor {
    pub(crate) level: usize,
    pub(crate) node: NodeId,
}

/// The value of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Tensor),
    Record(Rc<Record>),
    Model(ModelRef),
    /// A model that is a block of `.rlp`.
    Network(MadeRef),
    Data(DataRef),
    /// A data source that is a block of `.rlp`.
    Source(MadeRef),
    /// A function of one of these.
    Method(Rc<Method>),
    Rule(Rc<Rule>),
    Transform(Rc<Transform>),
    /// A list whose dimensions are not known yet: they come from where it is used.
    List(Rc<List>),
    /// Random numbers whose dimensions are not known yet: they come from where they are used.
    Noise(Noise),
    Lambda(Rc<Lambda>),
    /// The result of something that was wrong and has been reported.
    Poison,
}

/// Named fields in order.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) fields: Vec<(String, Value)>,
}

impl Record {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value)
    }
}

/// An optimizer with its arguments, not yet applied to a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) definition: Rc<Definition>,
    /// In the order of the signature, defaults filled in.
    pub(crate) args: Vec<(String, Tensor, Span)>,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<(Value, Span)>,
    pub(crate) span: Span,
}

/// `random.normal()`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    pub(crate) kind: RandomKind,
    pub(crate) span: Span,
}

/// `|x, carry| …` with the names it sees.
#[derive(Clone, Debug)]
pub(crate) struct Lambda {
    pub(crate) params: Vec<Ident>,
    pub(crate) body: Expr,
    pub(crate) scope: Scope,
    pub(crate) span: Span,
}

impl Value {
    /// What to call it in a message.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Value::Tensor(_) => "a tensor",
            Value::Record(_) => "a record",
            Value::Model(_) | Value::Network(_) => "a model",
            Value::Data(_) | Value::Source(_) => "a data source",
            Value::Method(_) => "a function",
            Value::Rule(_) => "an optimizer",
            Value::Transform(_) => "a transform",
            Value::List(_) => "a list",
            Value::Noise(_) => "random numbers without dimensions",
            Value::Lambda(_) => "a function",
            Value::Poison => "something that could not be understood",
        }
    }
}
