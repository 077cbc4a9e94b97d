//! What models compute for a batch, frozen copies, and held-out data.

pub(crate) mod batch;
pub(crate) mod gradient;
pub(crate) mod made;
pub(crate) mod mapped;
pub(crate) mod method;
pub(crate) mod seen;
pub(crate) mod selection;
pub(crate) mod trainable;
pub(crate) mod transform;

use rlp_grammar::ast::{Arg, Span};

use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::model::made::MadeRef;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::{DataRef, ModelOutput, ModelRef, Op};
use crate::ty::{Dim, Elem, Ty};

impl Elaborator<'_> {
    fn model_argument(&mut self, bound: &Bound) -> Result<ModelRef> {
        let expr = bound.need("model")?;
        match self.expr(expr)? {
            Value::Model(model) => Ok(model),
            Value::Poison => Err(crate::elaborate::Reported),
            other => {
                let message = format!(
                    "`{}` takes a model first, and this is {}",
                    bound.builtin.name,
                    other.describe()
                );
                Err(self.report(
                    Diagnostic::error("type-mismatch", expr.span, message).here(other.describe()),
                ))
            }
        }
    }

    /// `logp(policy, rollouts)`: aligned with the batch's own tokens; the prompt is context.
    pub(crate) fn model_call(&mut self, name: &str, bound: &Bound) -> Result<Value> {
        if let Ok(Value::Network(of)) = self.expr(bound.need("model")?) {
            let batch = bound.need("batch")?;
            let method = self.method(of, name, bound.span)?;
            let argument = Arg {
                name: None,
                value: batch.clone(),
            };
            return self.call_method(&method, &[argument], bound.span);
        }
        let model = self.model_argument(bound)?;
        let root = self.root_of(model.model);
        if name != "value" && self.models[root].block == "model.value_lm" {
            let message =
                format!("`model.value_lm` has values and nothing else: it has no `{name}`");
            let diagnostic = Diagnostic::error("type-mismatch", bound.span, message)
                .help(format!("value({}, …)", self.models[model.model].name));
            return Err(self.report(diagnostic));
        }
        let batch_expr = bound.need("batch")?;
        let batch = self.expr(batch_expr)?;
        let Value::Record(record) = batch else {
            let message = format!(
                "`{name}` takes a batch of sequences, as a sampler draws it, and this is {}",
                batch.describe()
            );
            return self.error("type-mismatch", batch_expr.span, message);
        };
        let mut operands = Vec::new();
        for field in ["tokens", "prompt_tokens", "temperature"] {
            match record.get(field) {
                Some(Value::Tensor(tensor)) => operands.push(*tensor),
                _ => {
                    let message = format!(
                        "`{name}` takes a batch of sequences, and this record has no field `{field}`"
                    );
                    let names: Vec<&str> = record
                        .fields
                        .iter()
                        .map(|(name, _)| name.as_str())
                        .collect();
                    let mut diagnostic =
                        Diagnostic::error("type-mismatch", batch_expr.span, message)
                            .here(format!("it has {}", names.join(", ")));
                    if let Some((inner, _)) = record
                        .fields
                        .iter()
                        .find(|(_, value)| matches!(value, Value::Record(_)))
                    {
                        diagnostic = diagnostic.help(format!(
                            "{}.{inner}",
                            self.library.map.text(batch_expr.span)
                        ));
                    }
                    return Err(self.report(diagnostic));
                }
            }
        }
        let dims = self.ty(operands[0]).dims.clone();
        let context = self.ty(operands[1]).dims.clone();
        for dims in [&dims, &context] {
            if let Some(mask) = self.mask(dims, bound.span)? {
                operands.push(mask);
            }
        }
        let output = match name {
            "logp" => ModelOutput::Logp,
            "entropy" => ModelOutput::Entropy,
            "value" => ModelOutput::Value,
            "hidden" => ModelOutput::Hidden,
            _ => ModelOutput::Logits,
        };
        let mut ty = Ty {
            elem: Elem::Real,
            dims,
        };
        // Name, argument that sizes it, and what it is of the model.
        let fresh: &[(&str, &str, &str)] = match output {
            ModelOutput::Logp | ModelOutput::Entropy | ModelOutput::Value => &[],
            ModelOutput::Logits => &[("vocab", "vocab", "the vocabulary")],
            ModelOutput::Hidden => &[
                ("layer", "layers", "the layers"),
                ("feature", "hidden", "the hidden states"),
            ],
        };
        for &(name, argument, what) in fresh {
            let size = self.resource_number(root, argument);
            let origin = format!("{what} of `{}`", self.models[root].name);
            let dim = self.model_dim(
                root,
                Dim {
                    name: name.to_string(),
                    origin,
                    span: bound.span,
                    ragged: None,
                    // 0 stands for what the model's size says.
                    size: size.map(|size| size as u64).filter(|&size| size > 0),
                },
            );
            ty = Ty::new(Elem::Real, ty.dims.iter().copied().chain([dim]).collect());
        }
        let op = Op::Model { model, output };
        let value = self.push(op, &operands, ty.clone(), bound.span)?;
        if output == ModelOutput::Hidden {
            return self
                .push(Op::StopGrad, &[value], ty, bound.span)
                .map(Value::Tensor);
        }
        Ok(Value::Tensor(value))
    }

    /// One `vocab` for each model, so that the logits of a policy, of its frozen copy and of it under a transform agree; one `layer` and `feature`.
    fn model_dim(&mut self, model: usize, dim: Dim) -> crate::ty::DimId {
        let key = (crate::ty::DimId(u32::MAX - model as u32), dim.name.clone());
        if let Some(&known) = self.levels[0].renamed.get(&key) {
            return known;
        }
        let id = self.new_dim(dim);
        self.levels[0].renamed.insert(key, id);
        id
    }

    pub(crate) fn frozen(&mut self, bound: &Bound) -> Result<Value> {
        if let Ok(Value::Tensor(x)) = self.expr(bound.need("model")?) {
            let every = self.refreshed(bound)?;
            return self.frozen_tensor(x, every, bound.span);
        }
        let value = self.expr(bound.need("model")?);
        if let Ok(
            Value::Model(ModelRef {
                frozen: Some(_), ..
            })
            | Value::Network(MadeRef {
                frozen: Some(_), ..
            }),
        ) = &value
        {
            return self.error("type-mismatch", bound.span, "this model is frozen already");
        }
        let every = self.refreshed(bound)?;
        if let Ok(Value::Network(of)) = value {
            let frozen = Some(every);
            return Ok(Value::Network(MadeRef { frozen, ..of }));
        }
        let model = self.model_argument(bound)?;
        Ok(Value::Model(ModelRef {
            model: model.model,
            frozen: Some(every),
        }))
    }

    /// Every how many steps a copy is taken anew; 0 for never.
    fn refreshed(&mut self, bound: &Bound) -> Result<u64> {
        match bound.get("every") {
            Some(expr) => {
                let every = self.expr_tensor(expr)?;
                let every = self.static_size(every, expr.span)?;
                if every == 0 {
                    return self.error(
                        "value-out-of-range",
                        expr.span,
                        "a copy is refreshed every 1 or more steps, not every 0",
                    );
                }
                Ok(every)
            }
            None => Ok(0),
        }
    }

    pub(crate) fn held_out(&mut self, bound: &Bound) -> Result<Value> {
        let expr = bound.need("data")?;
        match self.expr(expr)? {
            Value::Data(data) => Ok(Value::Data(DataRef {
                data: data.data,
                held_out: true,
            })),
            other => {
                let message = format!(
                    "`held_out` takes a data source, and this is {}",
                    other.describe()
                );
                self.error("type-mismatch", expr.span, message)
            }
        }
    }

    /// `update(rule, param: p, grads: [g1, g2])`: in tests, the parameter after the updates.
    pub(crate) fn test_update(&mut self, bound: &Bound) -> Result<Value> {
        let (rule_expr, param_expr, grads_expr) = (
            bound.need("rule")?,
            bound.need("param")?,
            bound.need("grads")?,
        );
        let Value::Rule(rule) = self.expr(rule_expr)? else {
            return self.error(
                "type-mismatch",
                rule_expr.span,
                "an optimizer is expected here, as `optimizer.sgd(lr: 0.1)`",
            );
        };
        let param = self.expr_tensor(param_expr)?;
        let mut param = self.real(param, param_expr.span)?;
        let Value::List(list) = self.expr(grads_expr)? else {
            return self.error(
                "type-mismatch",
                grads_expr.span,
                "a list of gradients is expected here",
            );
        };
        let args: Vec<(String, Tensor)> = rule
            .args
            .iter()
            .map(|(name, tensor, _)| (name.clone(), *tensor))
            .collect();
        let mut states: Vec<(String, Tensor)> = Vec::new();
        let outer = self.scope.clone();
        let total = list.items.len() as i64;
        for (index, (value, span)) in list.items.iter().enumerate() {
            let grad = match value {
                Value::List(items) => self.list_like(items, param)?,
                other => self.tensor(other.clone(), *span)?,
            };
            if self.ty(grad) != self.ty(param) {
                let (shown, found) = (self.show_type(param), self.show_type(grad));
                return self.error(
                    "dimension-mismatch",
                    *span,
                    format!("the parameter is `{shown}` and its gradient `{found}`"),
                );
            }
            for (name, number) in [("step", index as i64 + 1), ("steps", total)] {
                let tensor = self.literal(crate::array::Array::int(number), bound.span)?;
                self.scope.bind(name, Value::Tensor(tensor), bound.span);
            }
            let (next, after) =
                self.run_update(&rule.definition, param, grad, &args, states, rule.span)?;
            param = next;
            states = after
                .into_iter()
                .map(|state| (state.name, state.next))
                .collect();
        }
        self.scope = outer;
        Ok(Value::Tensor(param))
    }

    /// A number among the arguments of a model.
    pub(crate) fn resource_number(&self, model: usize, name: &str) -> Option<f64> {
        self.models.get(model)?;
        let (_, arg) = self
            .shape_of(model)
            .args
            .iter()
            .find(|(arg, _)| arg == name)?;
        match arg {
            crate::plan::ResourceArg::Value(array) => match &array.elements {
                crate::array::Elements::Int(values) => values.first().map(|&value| value as f64),
                crate::array::Elements::Real(values) => values.first().copied(),
                crate::array::Elements::Bool(_) | crate::array::Elements::Text(_) => None,
            },
            crate::plan::ResourceArg::Data(_) | crate::plan::ResourceArg::Model(_) => None,
        }
    }

    /// Says that a graph node carries a user's name.
    pub(crate) fn name_node(&mut self, tensor: Tensor, name: &rlp_grammar::ast::Ident) {
        if self.frames.is_empty() && tensor.level == 0 && self.level == 0 {
            self.levels[0]
                .names
                .push((name.name.clone(), tensor.node, name.span));
        }
    }

    /// Names every tensor of a record, as `rollouts.logp`.
    pub(crate) fn name_record(&mut self, value: &Value, prefix: &str, span: Span) {
        let Value::Record(record) = value else { return };
        for (field, value) in &record.fields {
            let name = format!("{prefix}.{field}");
            match value {
                Value::Tensor(tensor) if tensor.level == 0 => {
                    self.levels[0].names.push((name, tensor.node, span))
                }
                Value::Record(_) => self.name_record(value, &name, span),
                _ => {}
            }
        }
    }
}
