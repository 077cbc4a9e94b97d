//! The names that an expression sees: bindings, dimensions, and the file whose blocks are in reach.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rlp_grammar::ast::{Expr, Ident, SourceId, Span, TypeExpr};

use crate::elaborate::value::Value;
use crate::ty::DimId;

/// A `let` of a pipeline or stage: elaborated when first needed, so that order means nothing.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) name: Ident,
    pub(crate) ty: Option<TypeExpr>,
    pub(crate) value: Expr,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Binding {
    Done(Value),
    Pending(Rc<Pending>),
    /// Being elaborated: meeting it again is a cycle.
    Busy,
}

/// What a name is bound to, shared by all clones of a scope: a pending `let` is elaborated once.
pub(crate) type Slot = Rc<RefCell<Binding>>;

/// All names in reach. Cloned where an inner scope begins, and kept by lambdas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    names: Rc<BTreeMap<String, (Slot, Span)>>,
    /// The dimensions that a signature binds, or that a test or an annotation introduces.
    pub(crate) dims: HashMap<String, DimId>,
    /// What `..` stands for.
    pub(crate) rest: Option<Vec<DimId>>,
    pub(crate) file: SourceId,
}

impl Scope {
    pub(crate) fn new(file: SourceId) -> Scope {
        Scope {
            file,
            ..Scope::default()
        }
    }

    pub(crate) fn bind(&mut self, name: &str, value: Value, span: Span) {
        self.set(name, Binding::Done(value), span);
    }

    pub(crate) fn set(&mut self, name: &str, binding: Binding, span: Span) {
        Rc::make_mut(&mut self.names)
            .insert(name.to_string(), (Rc::new(RefCell::new(binding)), span));
    }

    pub(crate) fn get(&self, name: &str) -> Option<(Slot, Span)> {
        self.names.get(name).cloned()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }
}
