//! Native blocks: draws of samplers, models and data sources. Their signatures stand in the standard library, and so do
//! the functions of a data source and its variants, which may read its arguments.

use std::rc::Rc;

use rlp_grammar::ast::{Arg, Ident, Span, StmtKind};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::block::argument::Given;
use crate::elaborate::expr::quoted;
use crate::elaborate::library::{Definition, Found};
use crate::elaborate::model::made::functions;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Mode, Reported, Result};
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
            file: self.library.map.get(span.source).path.clone(),
            span,
        })
    }

    /// `task.gold(text)`: a function in the body of the block that made the data source.
    pub(crate) fn native_method(
        &mut self,
        data: &DataRef,
        name: &Ident,
        args: &[Arg],
        span: Span,
    ) -> Result<Value> {
        let (source, mut scope) = self.native_source(data, span)?;
        let own: Vec<Rc<Definition>> = functions(&source).collect();
        let Some(method) = own.iter().find(|own| own.block.name.name == name.name) else {
            let names = own.iter().map(|own| own.block.name.name.as_str());
            return Err(self.no_such(&source, "function", name, &names.collect::<Vec<_>>()));
        };
        let given = self.arguments(method, args, span)?;
        self.refuse_recursion(method, span)?;
        let mut signature = Scope::new(method.file);
        let places = self.bind_parameters(method, given, &mut signature, span)?;
        scope.dims.clone_from(&signature.dims);
        scope.rest.clone_from(&signature.rest);
        for param in &method.block.params {
            if let Some((slot, _)) = signature.get(&param.name.name) {
                let binding = slot.borrow().clone();
                scope.set(&param.name.name, binding, param.name.span);
            }
        }
        self.framed(method, span, |this| {
            this.in_scope(scope, |this| this.block_body(method, &places))
        })
    }

    /// `task.chain_only`: a data source that the body of the block binds, made where it is named.
    pub(crate) fn native_variant(
        &mut self,
        data: &DataRef,
        field: &Ident,
        span: Span,
    ) -> Result<Value> {
        let (source, scope) = self.native_source(data, span)?;
        let stmts = source.block.body.iter().flat_map(|body| &body.stmts);
        let mut names = Vec::new();
        for stmt in stmts {
            let StmtKind::Let { name, value, .. } = &stmt.kind else {
                continue;
            };
            if name.name == field.name {
                // Not within the block itself: the variant is made by it once more, where it is named.
                let made = self.in_scope(scope, |this| this.expr(value))?;
                if let Value::Data(own) = &made {
                    let of = self.data[data.data].name.clone();
                    self.data[own.data].name = format!("{of}.{}", field.name);
                }
                return Ok(made);
            }
            names.push(name.name.as_str());
        }
        Err(self.no_such(&source, "field", field, &names))
    }

    /// The block that made a data source, and a scope that holds its arguments.
    fn native_source(&mut self, data: &DataRef, span: Span) -> Result<(Rc<Definition>, Scope)> {
        let resource = self.data[data.data].clone();
        let file = self.file();
        let name = resource.block.strip_prefix("data.").unwrap_or_default();
        let Found::Block(source) = self.library.standard(file, "data", name) else {
            return Err(Reported);
        };
        let mut scope = Scope::new(source.file);
        for (name, arg) in resource.args {
            if let ResourceArg::Value(array) = arg
                && array.shape.is_empty()
            {
                let tensor = self.literal(array, span)?;
                scope.bind(&name, Value::Tensor(tensor), span);
            }
        }
        Ok((source, scope))
    }

    fn no_such(
        &mut self,
        source: &Definition,
        what: &str,
        name: &Ident,
        known: &[&str],
    ) -> Reported {
        let message = format!("`{}` has no {what} `{}`", source.name, name.name);
        let code = if what == "field" {
            "unknown-field"
        } else {
            "unknown-name"
        };
        let diagnostic =
            Diagnostic::error(code, name.span, message).label(source.block.head, "declared here");
        let near = nearest(&name.name, known.iter().copied());
        self.report(match near.first() {
            Some(best) => diagnostic
                .help(format!("did you mean `{best}`?"))
                .fix(name.span, best.to_string()),
            None if known.is_empty() => diagnostic,
            None => {
                let known: Vec<String> = known.iter().map(|name| name.to_string()).collect();
                diagnostic.help(format!("it has {}", quoted(&known)))
            }
        })
    }
}
