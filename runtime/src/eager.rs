//! The eager executor: every node is a libtorch call, in order, and libtorch's autograd differentiates.

mod finite;
mod scan;

use std::collections::BTreeMap;
use std::fmt;

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::ty::{DimId, Elem};

use crate::error::{Fault, Result, RunError};
use crate::extent::Extents;
use crate::profile::{self, Label};
use crate::tensor::{Tensor, Value};
use crate::text::{self, Codes};
use crate::torch::{self, Context, Site};

/// What a graph asks for while it runs.
pub trait Host {
    /// Draws anew for the `Draw` node `node`, whose operands have these values.
    fn draw(
        &mut self,
        executor: &mut Executor<'_>,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Drawn>;

    /// The value of the `Model` or `Trainable` node `node`, whose operands have these values.
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
            if matches!(self.graph.op(id), Op::State(own) if *own == index) {
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

    /// The values of the nodes `wanted`, in their order. Each node is computed once.
    pub fn evaluate(&mut self, wanted: &[NodeId], host: &mut dyn Host) -> Result<Vec<Value>> {
        self.run(wanted, host, &mut |_, _, _| Ok(()))?;
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
        for id in graph.ids().filter(|&id| id >= node) {
            depends[id.index()] |= graph
                .operands(id)
                .iter()
                .any(|operand| depends[operand.index()]);
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

    /// Computes what is missing for `wanted`, in the order of the nodes; `observe` sees each value once.
    fn run(
        &mut self,
        wanted: &[NodeId],
        host: &mut dyn Host,
        observe: &mut Observer,
    ) -> Result<()> {
        let graph = self.graph;
        let missing = self.missing(wanted);
        let mut uses = vec![0usize; graph.len()];
        wanted.iter().for_each(|id| uses[id.index()] += 1);
        for &id in &missing {
            graph
                .operands(id)
                .iter()
                .for_each(|operand| uses[operand.index()] += 1);
        }
        self.extents.derive(graph)?;
        for &id in &missing {
            let operands = graph.operands(id);
            // A scan may have filled in its other parts.
            if !self.is_known(id) {
                profile::within(Label::Node(graph, id), || self.compute(id, &operands, host))
                    .map_err(|error| error.at(graph, id))?;
            }
            if let Some(value) = &self.values[id.index()] {
                observe(id, value, &self.extents)
                    .map_err(|fault| RunError::from(fault).at(graph, id))?;
            }
            for operand in operands {
                uses[operand.index()] -= 1;
                if uses[operand.index()] == 0 && !self.given[operand.index()] {
                    self.values[operand.index()] = None;
                }
            }
        }
        Ok(())
    }

    /// The nodes to be computed for `wanted`, operands first.
    fn missing(&self, wanted: &[NodeId]) -> Vec<NodeId> {
        let mut is_needed = vec![false; self.graph.len()];
        wanted.iter().for_each(|id| is_needed[id.index()] = true);
        for id in self.graph.ids().rev() {
            is_needed[id.index()] &= !self.is_known(id);
            if is_needed[id.index()] {
                self.graph
                    .operands(id)
                    .iter()
                    .for_each(|operand| is_needed[operand.index()] = true);
            }
        }
        self.graph
            .ids()
            .filter(|id| is_needed[id.index()])
            .collect()
    }

    fn compute(&mut self, id: NodeId, operands: &[NodeId], host: &mut dyn Host) -> Result<()> {
        let graph = self.graph;
        let op = graph.op(id);
        let with_values = operands
            .iter()
            .filter(|operand| !matches!(graph.op(**operand), Op::Draw(_)));
        let values = with_values
            .map(|&operand| Ok((operand, self.value(operand)?)))
            .collect::<Result<Vec<_>>>()?;
        let only_values = || {
            values
                .iter()
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        let value = if let Op::Draw(_) = op {
            let drawn = host.draw(self, id, &only_values())?;
            return self.give_draw(id, drawn);
        } else if let Op::Field(name) = op {
            self.field(operands, name)?
        } else if let Op::Model { .. } | Op::Trainable(_) = op {
            host.model(graph, id, &only_values())?
        } else if let Op::Scan { .. } = op {
            return self.scan(id, &values, host);
        } else if let Op::Input(name) = op {
            return Err(Fault::input(format!("no value is given for `{name}`")).into());
        } else if let Op::Text(function) = op {
            text::apply(function, &values, self.context.kind, self.context.device)?
        } else {
            self.primitive(id, &values)?
        };
        self.extents.learn_shape(
            &graph.ty(id).dims,
            &value.shape(),
            format_args!("a value here"),
        )?;
        self.values[id.index()] = Some(value);
        Ok(())
    }

    fn field(&self, operands: &[NodeId], name: &str) -> Result<Value, Fault> {
        let broken = || Fault::broken(format!("`{name}` is a field of a draw that was made"));
        let draw = *operands.first().ok_or_else(broken)?;
        let Op::Draw(index) = self.graph.op(draw) else {
            return Err(broken());
        };
        let number = self.graph.draws[*index]
            .fields
            .iter()
            .position(|(own, _)| own == name)
            .ok_or_else(broken)?;
        self.drawn
            .get(&draw)
            .and_then(|fields| fields.get(number))
            .cloned()
            .ok_or_else(broken)
    }

    /// Tensor code; texts take part as numbers, since primitives only move them.
    fn primitive(&self, id: NodeId, operands: &[(NodeId, Value)]) -> Result<Value, Fault> {
        let (graph, op) = (self.graph, self.graph.op(id));
        if let Op::Literal(
            literal @ Array {
                elements: Elements::Text(_),
                ..
            },
        ) = op
        {
            return Value::from_array(literal, self.context.kind, self.context.device);
        }
        let mut codes = Codes::new(self.context.device);
        let encoded = operands
            .iter()
            .map(|(id, value)| match value {
                Value::Tensor(_) => Ok((*id, value.clone())),
                Value::Text(texts) => Ok((*id, codes.encode(texts)?.into())),
            })
            .collect::<Result<Vec<_>, Fault>>()?;
        let result = torch::evaluate(
            op,
            &Site::new(graph, id, &encoded, &self.extents, &self.context)?,
        )?;
        match graph.ty(id).elem {
            Elem::Text => Ok(codes.decode(&result)?.into()),
            Elem::Real | Elem::Int | Elem::Bool => Ok(result.into()),
        }
    }
}

type Observer<'a> = dyn FnMut(NodeId, &Value, &Extents) -> Result<(), Fault> + 'a;
