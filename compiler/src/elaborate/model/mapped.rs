//! `model.map(fn.selective_merge, base: a, tuned: b)`: a model whose weights are a function of those of others.

use std::rc::Rc;

use rlp_grammar::ast::{Arg, Expr, ExprKind, Ident, Span, TypeKind};

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::library::Definition;
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::ModelRef;
use crate::plan::{BlockPlan, MapPlan, Resource, ResourceArg};

/// What a map is given, by the name of the function's parameter.
#[derive(Default)]
struct Given {
    weights: Vec<(Ident, ModelRef, Span)>,
    numbers: Vec<(String, Array)>,
}

impl Elaborator<'_> {
    /// The model is read as of the start of each step, so that its name stands for a copy that is taken anew.
    pub(crate) fn model_map(&mut self, args: &[Arg], span: Span) -> Result<Value> {
        if self.mode != Mode::Pipeline {
            let message = "`model.map` may be made in a pipeline only";
            return self.error("misplaced-resource", span, message);
        }
        let Some((Arg { name: None, value }, rest)) = args.split_first() else {
            let message = "`model.map` needs a function of weights first";
            let diagnostic = Diagnostic::error("missing-argument", span, message);
            return Err(
                self.report(diagnostic.help("model.map(fn.selective_merge, base: a, tuned: b)"))
            );
        };
        let function = self.function_of_weights(value)?;
        let given = self.given_to_map(&function, rest)?;
        self.check_map(&function, &given, span)?;
        self.check_forms(&given)?;
        let plan = self.alone(&function, &given.numbers)?;
        self.check_weight(&function, &plan, value.span)?;

        let text =
            |name: &str, text: &str| (name.to_string(), ResourceArg::Value(Array::text(text)));
        let models = given.weights.iter();
        let models = models.map(|(name, of, _)| (name.name.clone(), ResourceArg::Model(of.model)));
        let numbers = given.numbers.iter().cloned();
        let numbers = numbers.map(|(name, array)| (name, ResourceArg::Value(array)));
        let model = self.models.len();
        self.models.push(Resource {
            name: String::new(),
            block: "model.map".to_string(),
            args: [text("function", &function.name)]
                .into_iter()
                .chain(models)
                .chain(numbers)
                .collect(),
            // It names no file that is read from beside this one.
            file: String::new(),
            span,
        });
        let weights = given.weights.into_iter();
        self.maps.push(MapPlan {
            model,
            weights: weights.map(|(name, of, _)| (name.name, of)).collect(),
            function: plan,
        });
        Ok(Value::Model(ModelRef {
            model,
            frozen: Some(1),
        }))
    }

    /// `fn.selective_merge`, or a function of the file.
    fn function_of_weights(&mut self, expr: &Expr) -> Result<Rc<Definition>> {
        let found = match &expr.kind {
            ExprKind::Field { base, field } => self.path(base, field, expr.span, true)?,
            ExprKind::Name(name) => {
                let file = self.file();
                self.library.local(file, name)
            }
            _ => None,
        };
        match found.filter(|found| found.kind() == "fn" && !found.block.native) {
            Some(function) => Ok(function),
            None => {
                let message = "a function of weights is expected here, as `fn.selective_merge`";
                self.error("type-mismatch", expr.span, message)
            }
        }
    }

    fn given_to_map(&mut self, function: &Definition, args: &[Arg]) -> Result<Given> {
        let mut given = Given::default();
        for arg in args {
            let Some(name) = &arg.name else {
                let message = "what a map is given is named: `base: a, tuned: b`";
                return self.error("unknown-argument", arg.value.span, message);
            };
            let params = &function.block.params;
            if !params.iter().any(|param| param.name.name == name.name) {
                let message = format!("`{}` has no parameter `{}`", function.name, name.name);
                return self.error("unknown-argument", name.span, message);
            }
            match self.expr(&arg.value)? {
                Value::Model(model) => {
                    given.weights.push((name.clone(), model, arg.value.span));
                }
                other => {
                    let tensor = self.tensor(other, arg.value.span)?;
                    let Some(array) = self.static_array(tensor) else {
                        let message = format!("`{}` must be known before the run", name.name);
                        return self.error("not-known-before-run", arg.value.span, message);
                    };
                    given.numbers.push((name.name.clone(), array));
                }
            }
        }
        Ok(given)
    }

    /// Every weight of the function is a model's, and everything else is no model.
    fn check_map(&mut self, function: &Definition, given: &Given, span: Span) -> Result<()> {
        for param in &function.block.params {
            let name = &param.name.name;
            let model = given.weights.iter().find(|(own, ..)| own.name == *name);
            let is_weight = param.ty.as_ref().is_some_and(|ty| {
                matches!(&ty.kind, TypeKind::Named { name, dims } if name.name == "real" && !dims.is_empty())
            });
            let is_given = given.numbers.iter().any(|(own, _)| own == name);
            match (is_weight, model) {
                (true, None) => {
                    let message = format!(
                        "`{name}` of `{}` is a weight, and needs a model",
                        function.name
                    );
                    return self.error("missing-argument", span, message);
                }
                (false, Some((_, _, place))) => {
                    let message = format!(
                        "`{name}` of `{}` is no weight, and takes no model",
                        function.name
                    );
                    return self.error("type-mismatch", *place, message);
                }
                (false, None) if param.default.is_none() && !is_given => {
                    let message = format!("`{}` needs `{name}`", function.name);
                    return self.error("missing-argument", span, message);
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        Ok(())
    }

    /// Models whose sizes are written differently have no weights in common.
    fn check_forms(&mut self, given: &Given) -> Result<()> {
        let Some(((_, first, _), others)) = given.weights.split_first() else {
            return Ok(());
        };
        let form = |this: &Self, of: &ModelRef| {
            let model = this.shape_of(of.model);
            let sizes = [
                "size", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "tied",
            ];
            let arg = |name: &str| {
                let found = model.args.iter().find(|(own, _)| own == name);
                found.map(|(_, value)| format!("{value:?}"))
            };
            (model.block.clone(), sizes.map(arg))
        };
        for (_, other, place) in others {
            if form(self, first) != form(self, other) {
                let names = [first, other].map(|of| self.models[of.model].name.clone());
                let message = format!(
                    "`{}` and `{}` are not of one form: their weights cannot be taken together",
                    names[0], names[1]
                );
                return self.error("sizes-disagree", *place, message);
            }
        }
        Ok(())
    }

    /// The model that a map has its form from, or the model itself.
    pub(crate) fn shape_of(&self, model: usize) -> &Resource {
        let map = self.maps.iter().find(|map| map.model == model);
        match map.and_then(|map| map.weights.first()) {
            Some((_, of)) => self.shape_of(of.model),
            None => &self.models[model],
        }
    }

    /// What comes out is a weight like those that go in.
    fn check_weight(&mut self, function: &Definition, plan: &BlockPlan, span: Span) -> Result<()> {
        let sorted = |axes: &[crate::ty::DimId]| {
            let mut axes = axes.to_vec();
            axes.sort_unstable();
            axes
        };
        let mut weights = plan.inputs.iter().filter(|input| !input.axes.is_empty());
        let first = weights.next().map(|input| sorted(&input.axes));
        let is_same = weights.all(|input| Some(sorted(&input.axes)) == first);
        let [result] = plan.results.as_slice() else {
            let message = format!(
                "`{}` has several results, and a weight is one",
                function.name
            );
            return self.error("kind-result", span, message);
        };
        if !is_same || Some(sorted(&result.axes)) != first || sorted(&result.axes).len() > 2 {
            let message = format!(
                "`{}` is no function of weights: all that it takes and what it gives are over the same one or two dimensions",
                function.name
            );
            return self.error("kind-result", span, message);
        }
        Ok(())
    }
}

/// `model.map`
pub(crate) fn is_map(callee: &Expr) -> bool {
    matches!(&callee.kind, ExprKind::Field { base, field }
        if field.name == "map" && matches!(&base.kind, ExprKind::Name(module) if module == "model"))
}
