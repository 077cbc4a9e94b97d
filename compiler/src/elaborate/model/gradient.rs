//! `grad(losses, wrt: policy)`: gradients with respect to all parameters of a model, end to end.

use rlp_grammar::ast::Span;

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::model::made::MadeRef;
use crate::elaborate::model::seen::behind;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, ModelOutput, ModelRef, NodeId, Op};
use crate::phase;
use crate::ty::{Dim, DimId, Elem, Ty};

/// A batch that a language model has read, and what was asked of it.
struct Read {
    operands: Vec<NodeId>,
    outputs: Vec<(NodeId, ModelOutput)>,
}

impl Elaborator<'_> {
    /// `real[parameter]` of a scalar; of several objectives, each has its own: `real[objective, parameter]`.
    pub(crate) fn gradient_of_model(
        &mut self,
        y: Tensor,
        model: &Value,
        y_span: Span,
        span: Span,
    ) -> Result<Tensor> {
        if self.level > 0 {
            let message =
                "the gradient with respect to a model may not stand in the step of a scan";
            return self.error("misplaced-statement", span, message);
        }
        let dims = self.ty(y).dims.clone();
        let &[objective] = dims.as_slice() else {
            if dims.is_empty() {
                return self.gradient_of_scalar(y, model, span);
            }
            let shown = self.show_type(y);
            let message = format!(
                "the gradient with respect to a model is of a scalar or of several objectives, not of `{shown}`"
            );
            return self.error("dimension-mismatch", y_span, message);
        };
        let Some(count) = self.graph().dims.get(objective).size else {
            let name = self.dim_name(objective).to_string();
            let message = format!(
                "how many `{name}` there are must be known before the run: each has its gradient"
            );
            return self.error("not-known-before-run", y_span, message);
        };
        let mut rows = Vec::new();
        for number in 0..count {
            let index = self.literal(Array::int(number as i64), span)?;
            let gather = Op::Gather { over: objective };
            let own = self.push(gather, &[y, index], Ty::scalar(Elem::Real), y_span)?;
            rows.push(self.gradient_of_scalar(own, model, span)?);
        }
        let Some(&first) = rows.first() else {
            return self.error("dimension-mismatch", y_span, "there is no objective");
        };
        let mut dims = self.ty(first).dims.clone();
        dims.push(objective);
        self.push(Op::Stack(objective), &rows, Ty::new(Elem::Real, dims), span)
    }

    fn gradient_of_scalar(&mut self, y: Tensor, model: &Value, span: Span) -> Result<Tensor> {
        match model {
            Value::Network(of) => self.gradient_of_network(y, *of, span),
            Value::Model(of) => self.gradient_of_causal_lm(y, of, span),
            _ => Err(crate::elaborate::Reported),
        }
    }

    /// The parameters of a model that is a block of `.rlp`, one after another in the order of the block.
    fn gradient_of_network(&mut self, y: Tensor, of: MadeRef, span: Span) -> Result<Tensor> {
        let made = self.made[of.made].clone();
        let live = phase::live(&self.levels[0].graph, y.node);
        let mut params = Vec::new();
        let mut total = 0;
        for (name, kept) in &made.bound {
            if !made.trained.contains(&name.name) {
                continue;
            }
            // A parameter under other dimensions stands behind a `Rename`.
            let Value::Tensor(read) = self.read_kept(behind(kept), of.frozen, name.span)? else {
                continue;
            };
            let graph = &self.levels[0].graph;
            let behind = match graph.op(read.node) {
                Op::Rename(_) => graph.operands(read.node).first().copied(),
                _ => None,
            };
            let is_leaf = |node: &NodeId| matches!(graph.op(*node), Op::Trainable(_));
            let node = behind.filter(is_leaf).unwrap_or(read.node);
            let leaf = Tensor { level: 0, node };
            let sizes = self.ty(leaf).dims.iter();
            let sizes = sizes.map(|&dim| self.graph().dims.get(dim).size.unwrap_or(1));
            let size: u64 = sizes.product();
            params.push((leaf, total, size));
            total += size;
        }
        if !params.iter().any(|(leaf, ..)| live.contains(&leaf.node)) {
            return self.nothing_reaches(span);
        }
        let key = (
            DimId(u32::MAX - (1 << 20) - of.made as u32),
            "parameter".to_string(),
        );
        let parameter = self.parameter_dim(key, Some(total), &made.definition.name, span);
        let ty = Ty::new(Elem::Real, vec![parameter]);
        let mut whole: Option<Tensor> = None;
        for (leaf, start, size) in params {
            if !live.contains(&leaf.node) {
                continue;
            }
            let gradient = self.ty(leaf).clone();
            let gradient = self.push(Op::Grad, &[y, leaf], gradient, span)?;
            let (flat, dim) = self.end_to_end(gradient, size, span)?;
            let start = self.literal(Array::int(start as i64), span)?;
            let places = Ty::new(Elem::Int, vec![dim]);
            let position = self.push(Op::Position(dim), &[], places, span)?;
            let place = self.binary(Binary::Add, position, start, span)?;
            let scatter = Op::ScatterAdd { over: parameter };
            let own = self.push(scatter, &[flat, place], ty.clone(), span)?;
            whole = Some(match whole {
                Some(others) => self.binary(Binary::Add, others, own, span)?,
                None => own,
            });
        }
        whole.ok_or(crate::elaborate::Reported)
    }

    /// All elements of a tensor along one new dimension.
    fn end_to_end(&mut self, x: Tensor, size: u64, span: Span) -> Result<(Tensor, DimId)> {
        let own = self.ty(x).dims.clone();
        let dim = self.new_dim(Dim {
            name: "parameter".to_string(),
            origin: "a parameter".to_string(),
            span,
            ragged: None,
            size: Some(size),
        });
        let ty = Ty::new(Elem::Real, vec![dim]);
        let flat = match own.as_slice() {
            [] => self.broadcast(x, &ty.dims, span)?,
            [only] => self.push(Op::Rename(vec![(*only, dim)]), &[x], ty, span)?,
            _ => {
                let merge = Op::Merge {
                    dims: own,
                    into: dim,
                };
                self.push(merge, &[x], ty, span)?
            }
        };
        Ok((flat, dim))
    }

    /// Through the outputs of a language model: one backward pass for each batch it has read.
    fn gradient_of_causal_lm(&mut self, y: Tensor, of: &ModelRef, span: Span) -> Result<Tensor> {
        let graph = &self.levels[0].graph;
        let live = phase::live(graph, y.node);
        let mut calls: Vec<Read> = Vec::new();
        for &node in &live {
            let Op::Model { model, output } = graph.op(node) else {
                continue;
            };
            if model != of {
                continue;
            }
            let operands = graph.operands(node);
            match calls.iter_mut().find(|call| call.operands == operands) {
                Some(call) => call.outputs.push((node, *output)),
                None => calls.push(Read {
                    operands,
                    outputs: vec![(node, *output)],
                }),
            }
        }
        if calls.is_empty() {
            return self.nothing_reaches(span);
        }
        let key = (DimId(u32::MAX - of.model as u32), "parameter".to_string());
        let name = self.models[of.model].name.clone();
        let parameter = self.parameter_dim(key, None, &name, span);
        let ty = Ty::new(Elem::Real, vec![parameter]);
        let mut whole: Option<Tensor> = None;
        for call in calls {
            let at = |node: NodeId| Tensor { level: 0, node };
            let mut operands: Vec<Tensor> = call.operands.into_iter().map(at).collect();
            let mut outputs: Vec<ModelOutput> = Vec::new();
            let mut adjoints: Vec<Tensor> = Vec::new();
            for (node, output) in call.outputs {
                let adjoint = self.ty(at(node)).clone();
                let adjoint = self.push(Op::Grad, &[y, at(node)], adjoint, span)?;
                let adjoint = self.cleared(adjoint, span)?;
                // The same output may have been read by several nodes.
                match outputs.iter().position(|own| *own == output) {
                    Some(place) => {
                        adjoints[place] =
                            self.binary(Binary::Add, adjoints[place], adjoint, span)?;
                    }
                    None => {
                        outputs.push(output);
                        adjoints.push(adjoint);
                    }
                }
            }
            operands.extend(adjoints);
            let backward = Op::Backward {
                model: of.clone(),
                outputs,
            };
            let own = self.push(backward, &operands, ty.clone(), span)?;
            whole = Some(match whole {
                Some(others) => self.binary(Binary::Add, others, own, span)?,
                None => own,
            });
        }
        whole.ok_or(crate::elaborate::Reported)
    }

    fn nothing_reaches<T>(&mut self, span: Span) -> Result<T> {
        let message = "what is differentiated does not depend on the parameters of the model";
        let diagnostic = Diagnostic::error("no-trained-parameter", span, message)
            .here("every derivative would be 0");
        Err(self.report(diagnostic))
    }

    /// One `parameter` for each model.
    fn parameter_dim(
        &mut self,
        key: (DimId, String),
        size: Option<u64>,
        model: &str,
        span: Span,
    ) -> DimId {
        if let Some(&known) = self.levels[0].renamed.get(&key) {
            return known;
        }
        let id = self.new_dim(Dim {
            name: "parameter".to_string(),
            origin: format!("the parameters of `{model}`"),
            span,
            ragged: None,
            size,
        });
        self.levels[0].renamed.insert(key, id);
        id
    }
}
