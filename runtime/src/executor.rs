//! Graphs at work: the values of nodes, and what computes them.
//!
//! Eager, every node is a libtorch call, in order, and libtorch's autograd can differentiate (`node.rs`). Fused, most nodes
//! are part of a kernel of machine code (`fused.rs`).

mod finite;
mod fused;
mod kernels;
mod node;
mod scan;

pub use fused::Steps;
pub use kernels::Kernels;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::ty::DimId;

use crate::error::{Fault, Result, RunError};
use crate::extent::Extents;
use crate::tensor::{Tensor, Value};
use crate::torch::Context;

/// How graphs run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExecutorChoice {
    /// Node by node; libtorch's autograd differentiates.
    Eager,
    /// As kernels; the compiler differentiates.
    Fused,
}

impl ExecutorChoice {
    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            ExecutorChoice::Eager => "eager",
            ExecutorChoice::Fused => "fused",
        }
    }

    /// What kernels a run shares: none if it is eager.
    pub fn kernels(self) -> Option<Rc<Kernels>> {
        match self {
            ExecutorChoice::Eager => None,
            ExecutorChoice::Fused => Some(Rc::new(Kernels::new())),
        }
    }
}

/// What a graph asks for while it runs.
pub trait Host {
    /// Draws anew for the `Draw` node `node`, whose operands have these values.
    fn draw(
        &mut self,
        executor: &mut Executor<'_>,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Drawn>;

    /// The value of a node that reads a model, a tensor of the plan or a memory, whose operands have these values.
    fn model(&mut self, graph: &Graph, node: NodeId, operands: &[Value]) -> Result<Value>;
}

/// The host of graphs that neither draw nor read a model: a block alone, a test, an optimizer's update.
pub struct NoHost;

impl Host for NoHost {
    fn draw(&mut self, executor: &mut Executor<'_>, node: NodeId, _: &[Value]) -> Result<Drawn> {
        Err(missing("a sampler").at(executor.graph, node))
    }

    fn model(&mut self, graph: &Graph, node: NodeId, _: &[Value]) -> Result<Value> {
        Err(missing("a model").at(graph, node))
    }
}

fn missing(what: &str) -> RunError {
    Fault::input_help(
        format!("this needs {what}, and there is none outside a pipeline"),
        "run it with `rlpc run`",
    )
    .into()
}

/// What a draw yields.
#[derive(Debug)]
pub struct Drawn {
    /// In the order of the draw's fields.
    pub fields: Vec<Value>,
    /// Which positions of its fresh ragged dimensions are real; all of them, where there is no mask.
    pub masks: Vec<(DimId, Tensor)>,
}

/// A graph with the values of some of its nodes.
///
/// Values that are given stay until others replace them, as do those that were asked for; the rest are dropped after
/// their last use.
#[derive(Clone)]
pub struct Executor<'g> {
    graph: &'g Graph,
    context: Context,
    extents: Extents,
    values: Vec<Option<Value>>,
    given: Vec<bool>,
    /// The fields of the draws that were made.
    drawn: BTreeMap<NodeId, Vec<Value>>,
    /// What of the graph runs as kernels; node by node without.
    steps: Option<Rc<Steps>>,
    /// Memory that the values of some nodes may take.
    targets: BTreeMap<NodeId, Rc<Tensor>>,
}

impl<'g> Executor<'g> {
    pub fn new(graph: &'g Graph, context: Context) -> Executor<'g> {
        Executor {
            graph,
            context,
            extents: Extents::new(&graph.dims),
            values: vec![None; graph.len()],
            given: vec![false; graph.len()],
            drawn: BTreeMap::new(),
            steps: None,
            targets: BTreeMap::new(),
        }
    }

    /// As [`Executor::new`], computing with kernels, which are kept in `steps` for the next executor of the same graph.
    ///
    /// Nothing that it computes can be differentiated by libtorch.
    pub fn fused(graph: &'g Graph, context: Context, steps: Option<&Rc<Steps>>) -> Executor<'g> {
        let steps = steps.filter(|_| Kernels::has_code_for(&context)).cloned();
        Executor {
            steps,
            ..Executor::new(graph, context)
        }
    }

    /// An executor of a graph that shares this one's dimensions, and may have more.
    pub(crate) fn within<'h>(&self, graph: &'h Graph, steps: &Rc<Steps>) -> Executor<'h> {
        let extents = self.extents.within(&graph.dims);
        Executor {
            extents,
            ..Executor::fused(graph, self.context, Some(steps))
        }
    }

    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    pub fn extents(&self) -> &Extents {
        &self.extents
    }

    /// Sets the value of a node, told by `by` ("`logp`" or the like) if its sizes are at odds with others.
    pub fn give(&mut self, node: NodeId, value: Value, by: fmt::Arguments) -> Result<()> {
        self.extents
            .learn_shape(&self.graph.ty(node).dims, &value.shape(), by)?;
        self.values[node.index()] = Some(value);
        self.given[node.index()] = true;
        Ok(())
    }

    /// Sets the value of every `Input` node of this name.
    pub fn give_input(&mut self, name: &str, value: &Value) -> Result<()> {
        for id in self.graph.ids() {
            if matches!(self.graph.op(id), Op::Input(own) if own == name) {
                self.give(id, value.clone(), format_args!("`{name}`"))?;
            }
        }
        Ok(())
    }

    /// Sets the old value of the state with this index.
    pub fn give_state(&mut self, index: usize, value: &Value) -> Result<()> {
        for id in self.graph.ids() {
            let is_kept = !self.graph.states[index].is_memory;
            if is_kept && matches!(self.graph.op(id), Op::State(own) if *own == index) {
                self.give(
                    id,
                    value.clone(),
                    format_args!("state `{}`", self.graph.states[index].name),
                )?;
            }
        }
        Ok(())
    }

    /// Sets what the `Draw` node `node` yields.
    pub fn give_draw(&mut self, node: NodeId, drawn: Drawn) -> Result<()> {
        let graph = self.graph;
        let Op::Draw(index) = graph.op(node) else {
            return Err(Fault::broken("fields are given to a draw").into());
        };
        let draw = &graph.draws[*index];
        for ((name, ty), value) in draw.fields.iter().zip(&drawn.fields) {
            self.extents.learn_shape(
                &ty.dims,
                &value.shape(),
                format_args!("`{name}` of `{}`", draw.block),
            )?;
        }
        for (dim, mask) in &drawn.masks {
            self.extents
                .learn_mask(*dim, mask, format_args!("`{}`", draw.block))?;
        }
        self.extents.derive(graph)?;
        self.drawn.insert(node, drawn.fields);
        Ok(())
    }

    /// Says which positions of a ragged dimension are real: `bool` over its parents and itself.
    pub fn give_mask(&mut self, dim: DimId, mask: &Tensor, by: fmt::Arguments) -> Result<()> {
        Ok(self.extents.learn_mask(dim, mask, by)?)
    }

    /// The size of a dimension that no given value has.
    pub fn give_size(&mut self, dim: DimId, size: i64, by: fmt::Arguments) -> Result<()> {
        Ok(self.extents.learn_size(dim, size, by)?)
    }

    /// Gives away a tensor, contiguous, whose memory the value of `node` may take instead of fresh memory.
    ///
    /// It may be a value that was given: written over once nothing else reads it, it is not known any more. No other value
    /// of this executor shares a part of its memory.
    pub(crate) fn give_away(&mut self, tensor: Tensor, node: NodeId) {
        let is_taken = |own: &Rc<Tensor>| own.data_ptr() == tensor.data_ptr();
        if !self.targets.values().any(is_taken) {
            self.targets.insert(node, Rc::new(tensor));
        }
    }

    /// The values of the nodes `wanted`, in their order. Each node is computed once.
    pub fn evaluate(&mut self, wanted: &[NodeId], host: &mut dyn Host) -> Result<Vec<Value>> {
        match self.steps.clone() {
            Some(steps) => self.run_steps(&steps, wanted, host)?,
            None => self.run_nodes(wanted, host, &mut |_, _, _| Ok(()))?,
        }
        wanted
            .iter()
            .map(|&id| self.value(id).map_err(RunError::from))
            .collect()
    }

    /// The same graph with another outcome of the draw `node`: what depends on it is not known any more, all else is kept.
    pub fn redraw(&self, node: NodeId, drawn: Drawn) -> Result<Executor<'g>> {
        let graph = self.graph;
        let mut again = self.clone();
        let mut depends = vec![false; graph.len()];
        depends[node.index()] = true;
        let mut changed = vec![false; graph.dims.ids().count()];
        // A number repeated over the dimensions of a draw depends on it too, for their sizes may be others.
        let mut sized = vec![false; changed.len()];
        for id in graph.ids().filter(|&id| id >= node) {
            depends[id.index()] |= graph
                .operands(id)
                .iter()
                .any(|operand| depends[operand.index()])
                || graph.ty(id).dims.iter().any(|dim| sized[dim.0 as usize]);
            if let (Op::Draw(index), true) = (graph.op(id), depends[id.index()]) {
                for dim in &graph.draws[*index].fresh {
                    sized[dim.0 as usize] = true;
                }
            }
            if depends[id.index()] {
                again.values[id.index()] = None;
                again.given[id.index()] = false;
                again.drawn.remove(&id);
                graph
                    .ty(id)
                    .dims
                    .iter()
                    .for_each(|dim| changed[dim.0 as usize] = true);
            }
        }
        for id in graph.ids().filter(|id| !depends[id.index()]) {
            graph
                .ty(id)
                .dims
                .iter()
                .for_each(|dim| changed[dim.0 as usize] = false);
        }
        again.extents.forget(
            &graph.dims,
            graph.dims.ids().filter(|dim| changed[dim.0 as usize]),
        );
        again.give_draw(node, drawn)?;
        Ok(again)
    }

    /// Drops all values that were computed.
    fn keep_given(&mut self) {
        for (value, given) in self.values.iter_mut().zip(&self.given) {
            if !given {
                *value = None;
            }
        }
    }

    fn value(&self, id: NodeId) -> Result<Value, Fault> {
        self.values[id.index()].clone().ok_or_else(|| {
            Fault::broken(format!("node {} has a value when it is read", id.index()))
        })
    }

    fn is_known(&self, id: NodeId) -> bool {
        self.values[id.index()].is_some() || self.drawn.contains_key(&id)
    }
}
