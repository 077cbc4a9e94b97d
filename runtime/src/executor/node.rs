//! Node by node: each primitive is a libtorch call.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{NodeId, Op};
use rlp_compiler::ty::Elem;

use super::{Executor, Host};
use crate::error::{Fault, Result, RunError};
use crate::extent::Extents;
use crate::profile::{self, Label};
use crate::tensor::Value;
use crate::text::{self, Codes};
use crate::torch::{self, Site};

pub(super) type Observer<'a> = dyn FnMut(NodeId, &Value, &Extents) -> Result<(), Fault> + 'a;

impl Executor<'_> {
    /// Computes what is missing for `wanted`, in the order of the nodes; `observe` sees each value once.
    pub(super) fn run_nodes(
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

    pub(super) fn compute(
        &mut self,
        id: NodeId,
        operands: &[NodeId],
        host: &mut dyn Host,
    ) -> Result<()> {
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
        } else if op.is_of_a_model() || (matches!(op, Op::State(_)) && !operands.is_empty()) {
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
