//! `memory(example, initial: 0.0)`: state that belongs to the items of a data source, whatever batch they come in.

use rlp_grammar::ast::{Arg, Expr, ExprKind, Ident, Span};

use crate::diagnostic::Diagnostic;
use crate::elaborate::block::BlockState;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::{Op, State};
use crate::ty::{DimId, Elem, Ty};

/// The arguments of a memory.
pub(crate) struct Memory<'e> {
    /// A dimension, or the record of a draw.
    items: &'e Expr,
    initial: Option<&'e Expr>,
}

impl Elaborator<'_> {
    /// The memory that a state is declared as, if it is one.
    pub(crate) fn memory_of<'e>(&self, value: &'e Expr) -> Option<Memory<'e>> {
        let ExprKind::Call { callee, args } = &value.kind else {
            return None;
        };
        let is_memory = matches!(&callee.kind, ExprKind::Name(name) if name == "memory")
            && self.library.local(self.file(), "memory").is_none();
        let [items, rest @ ..] = args.as_slice() else {
            return None;
        };
        let named = |arg: &&Arg| arg.name.as_ref().is_some_and(|name| name.name == "initial");
        (is_memory && items.name.is_none()).then(|| Memory {
            items: &items.value,
            initial: rest.iter().find(named).map(|arg| &arg.value),
        })
    }

    /// A state with one number for each item, written for those that the batch holds.
    pub(crate) fn declare_memory(
        &mut self,
        name: &Ident,
        memory: &Memory,
        span: Span,
    ) -> Result<BlockState> {
        let Some(initial_expr) = memory.initial else {
            let message = "a memory needs a value for items that were never seen";
            let diagnostic = Diagnostic::error("missing-argument", span, message)
                .help("memory(example, initial: 0.0)");
            return Err(self.report(diagnostic));
        };
        let initial = self.expr_tensor(initial_expr)?;
        let initial = match self.ty(initial).elem {
            Elem::Int => self.real(initial, initial_expr.span)?,
            Elem::Real | Elem::Bool => initial,
            Elem::Text => {
                let message = "a memory keeps numbers or truth values, not text";
                return self.error("type-mismatch", initial_expr.span, message);
            }
        };
        if !self.ty(initial).dims.is_empty() {
            let shown = self.show_type(initial);
            let message = format!("every item starts alike, and this is `{shown}`");
            return self.error("dimension-mismatch", initial_expr.span, message);
        }
        let elem = self.ty(initial).elem;
        if self.mode != Mode::Pipeline {
            let dim = self.named_dim(memory.items)?;
            let ty = Ty::new(elem, vec![dim]);
            let initial = self.broadcast(initial, &ty.dims, span)?;
            let input = Op::Input(format!("state.{}", name.name));
            let old = self.push(input, &[], ty, name.span)?;
            return Ok(BlockState {
                name: name.name.clone(),
                old,
                initial,
                next: None,
            });
        }
        let items = self.items(memory.items)?;
        let ty = self.ty(items).with_elem(elem);
        let index = self.levels[0].graph.states.len();
        let state = State {
            name: self.state_name(name),
            ty: ty.clone(),
            initial: initial.node,
            next: initial.node,
            is_memory: true,
            span: name.span,
        };
        self.levels[0].graph.states.push(state);
        let old = self.push(Op::State(index), &[items, initial], ty, name.span)?;
        self.levels[0].graph.states[index].next = old.node;
        Ok(BlockState {
            name: name.name.clone(),
            old,
            initial,
            next: None,
        })
    }

    /// The identities of the items of a dimension, or of the draw whose record is given.
    fn items(&mut self, expr: &Expr) -> Result<Tensor> {
        if let ExprKind::Name(name) = &expr.kind
            && let Some(Value::Record(record)) = self.bound(name, expr.span)?
        {
            if let Some(Value::Tensor(items)) = record.get("item") {
                return Ok(*items);
            }
            let message = format!("`{name}` has no field `item`: its items have no identity");
            return self.error("type-mismatch", expr.span, message);
        }
        let dim = self.named_dim(expr)?;
        let is_item =
            |op: &Op| matches!(op, Op::Field(name) if name.rsplit('.').next() == Some("item"));
        let wanted: &[DimId] = &[dim];
        let graph = &self.levels[0].graph;
        let found = graph
            .ids()
            .find(|&id| is_item(graph.op(id)) && graph.ty(id).dims == wanted);
        match found {
            Some(node) => Ok(Tensor { level: 0, node }),
            None => {
                let name = self.dim_name(dim).to_string();
                let message = format!(
                    "`{name}` does not number the items of a draw, so that nothing is kept of them"
                );
                self.error("type-mismatch", expr.span, message)
            }
        }
    }
}
