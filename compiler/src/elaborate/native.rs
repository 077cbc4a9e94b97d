//! Native blocks: draws of samplers, models and data sources. Their signatures stand in the standard library.

use std::rc::Rc;

use rlp_grammar::ast::Span;

use crate::elaborate::argument::Given;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::{DataRef, ModelRef};
use crate::plan::{Resource, ResourceArg};

impl Elaborator<'_> {
    /// `model.causal_lm("tiny")`
    pub(crate) fn model_resource(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Value> {
        let resource = self.resource(definition, given, span)?;
        self.models.push(resource);
        Ok(Value::Model(ModelRef {
            model: self.models.len() - 1,
            frozen: None,
        }))
    }

    /// `data.arithmetic(digits: 2)`
    pub(crate) fn data_resource(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Value> {
        let resource = self.resource(definition, given, span)?;
        self.data.push(resource);
        Ok(Value::Data(DataRef {
            data: self.data.len() - 1,
            held_out: false,
        }))
    }

    pub(crate) fn resource(
        &mut self,
        definition: &Rc<Definition>,
        given: Vec<Given>,
        span: Span,
    ) -> Result<Resource> {
        if self.mode != Mode::Pipeline {
            let message = format!("`{}` may be made in a pipeline only", definition.name);
            return self.error("misplaced-resource", span, message);
        }
        let mut scope = Scope::new(definition.file);
        let places = self.bind_parameters(definition, given, &mut scope, span)?;
        let mut args = Vec::new();
        for param in &definition.block.params {
            let name = param.name.name.clone();
            let Some((slot, _)) = scope.get(&name) else {
                continue;
            };
            let Binding::Done(value) = slot.borrow().clone() else {
                continue;
            };
            let place = places.get(&name).copied().unwrap_or(span);
            let arg = match value {
                Value::Tensor(tensor) => match self.static_array(tensor) {
                    Some(array) => ResourceArg::Value(array),
                    None => {
                        let message = format!(
                            "`{name}` of `{}` must be known before the run",
                            definition.name
                        );
                        return self.error("not-known-before-run", place, message);
                    }
                },
                Value::Model(model) => ResourceArg::Model(model.model),
                Value::Data(data) => ResourceArg::Data(data.data),
                other => {
                    return self.error(
                        "type-mismatch",
                        place,
                        format!(
                            "`{name}` of `{}` cannot be {}",
                            definition.name,
                            other.describe()
                        ),
                    );
                }
            };
            args.push((name, arg));
        }
        self.native_conditions(definition, &scope, &places, span)?;
        Ok(Resource {
            name: String::new(),
            block: definition.name.clone(),
            args,
            span,
        })
    }
}
