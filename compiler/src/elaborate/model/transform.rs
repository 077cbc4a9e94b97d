//! Transforms of weights: their trainable tensors, a transform with its arguments, and a model seen through one.

use std::rc::Rc;

use rlp_grammar::ast::{Arg, Block, DimExpr, Expr, ExprKind, Param, Span, StmtKind};

use crate::array::{Array, Elements};
use crate::diagnostic::Diagnostic;
use crate::elaborate::block::argument::Given;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::library::Definition;
use crate::elaborate::model::made::MadeRef;
use crate::elaborate::model::selection::Selection;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::{Noise, Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Reported, Result, walk};
use crate::graph::{Binary, ModelRef, Op, RandomKind, Unary};
use crate::plan::{Except, InputPlan, ParameterGroup, Resource, ResourceArg, TransformPlan};
use crate::ty::{DimId, Elem, Ty};

/// `transform.lora(rank: 8)`: a transform with its arguments, not yet applied to a weight.
#[derive(Clone, Debug)]
pub(crate) struct Transform {
    pub(crate) definition: Rc<Definition>,
    /// In the order of the signature, defaults filled in.
    pub(crate) args: Vec<(String, Array)>,
}

/// Whether a call of a transform gives the weight too, and so is one of a function.
pub(crate) fn gives_weight(args: &[Arg]) -> bool {
    args.iter()
        .any(|arg| arg.name.as_ref().is_none_or(|name| name.name == "weight"))
}

impl Elaborator<'_> {
    /// `param a: real[inner: rank, col] = kaiming` of a transform by itself: an input that starts at a value of its own.
    pub(crate) fn alone_trained(
        &mut self,
        definition: &Rc<Definition>,
        param: &Param,
        elem: Elem,
        dims: &[DimExpr],
    ) -> Result<InputPlan> {
        let name = &param.name;
        if elem != Elem::Real {
            let message = format!("a `param` is trained: it is `real`, not `{}`", elem.name());
            return self.error("type-mismatch", param.span, message);
        }
        let axes = self.signature_dims(definition, dims)?;
        let Some(start) = &param.default else {
            let message = format!("`param {}` needs a value to start at", name.name);
            let diagnostic = Diagnostic::error("missing-type", name.span, message)
                .help(format!("param {}: real[…] = 0", name.name));
            return Err(self.report(diagnostic));
        };
        let initial = self.trained_start(start, &axes)?;
        let ty = Ty::new(Elem::Real, axes.clone());
        let input = self.push(Op::Input(name.name.clone()), &[], ty, name.span)?;
        self.scope.bind(&name.name, Value::Tensor(input), name.span);
        Ok(InputPlan {
            name: name.name.clone(),
            node: input.node,
            elem,
            axes,
            default: None,
            initial: Some(initial.node),
        })
    }

    /// The value that a trainable tensor starts at, over its dimensions.
    fn trained_start(&mut self, start: &Expr, axes: &[DimId]) -> Result<Tensor> {
        let is_named = matches!(&start.kind, ExprKind::Name(name) if name == "kaiming" && self.scope.get(name).is_none());
        let value = match is_named {
            true => Value::Tensor(self.kaiming(axes, start.span)?),
            false => self.expr(start)?,
        };
        let x = match value {
            Value::List(list) => self.typed_list(&list, Elem::Real, axes)?,
            Value::Noise(noise) => self.noise(noise, axes.to_vec())?,
            other => self.tensor(other, start.span)?,
        };
        let x = self.real(x, start.span)?;
        let wanted = Ty::new(Elem::Real, axes.to_vec());
        if !self.ty(x).dims.is_empty() && *self.ty(x) != wanted {
            let (found, wanted) = (self.show_type(x), self.show(&wanted));
            let message = format!("this starts a `{wanted}`, and is `{found}`");
            return self.error("dimension-mismatch", start.span, message);
        }
        self.broadcast(x, &wanted.dims, start.span)
    }

    /// Uniform between ∓1/√n, where n is how many elements all dimensions but the first have (He et al. 2015,
    /// arXiv:1502.01852, with the gain 1/√3 that linear layers start with).
    fn kaiming(&mut self, axes: &[DimId], span: Span) -> Result<Tensor> {
        let mut inputs = self.number(1.0, span)?;
        for &axis in axes.iter().skip(1) {
            let size = self.size_of(axis, span)?;
            let size = self.real(size, span)?;
            inputs = self.binary(Binary::Mul, inputs, size, span)?;
        }
        let kind = RandomKind::Uniform;
        let noise = self.noise(Noise { kind, span }, axes.to_vec())?;
        let (two, one) = (self.number(2.0, span)?, self.number(1.0, span)?);
        let twice = self.binary(Binary::Mul, two, noise, span)?;
        let centred = self.binary(Binary::Sub, twice, one, span)?;
        let width = self.unary(Unary::Sqrt, inputs, span)?;
        self.binary(Binary::Div, centred, width, span)
    }

    /// Called as a function, a transform is given what it would train.
    pub(crate) fn refuse_without_params(
        &mut self,
        definition: &Definition,
        given: &[Given],
        span: Span,
    ) -> Result<()> {
        let mut params = definition.block.params.iter().zip(given);
        let Some((param, _)) = params.find(|(param, own)| param.trainable && own.is_none()) else {
            return Ok(());
        };
        let (block, name) = (&definition.name, &param.name.name);
        let message = format!("`{block}` of a weight needs `{name}`, which it trains");
        let diagnostic = Diagnostic::error("missing-argument", span, message)
            .label(param.span, "declared here")
            .help("without `weight` it is a transform, for `apply(model, …)`");
        Err(self.report(diagnostic))
    }

    /// Whether what is elaborated is the body of a transform that is called as a function.
    pub(crate) fn is_called_transform(&self) -> bool {
        let called = self.frames.last().filter(|frame| frame.call.is_some());
        called.is_some_and(|frame| frame.kind == "transform")
    }

    /// `transform.lora(rank: 8)`
    pub(crate) fn transform(
        &mut self,
        definition: &Rc<Definition>,
        args: &[Arg],
        span: Span,
    ) -> Result<Value> {
        let own = arguments_of(definition);
        let given = self.arguments(&own, args, span)?;
        if !self.is_sound(definition) {
            return Err(Reported);
        }
        let mut scope = Scope::new(definition.file);
        let places = self.bind_parameters(&own, given, &mut scope, span)?;
        // Its conditions on arguments are looked at where those stand; the others where it is applied.
        let known: Vec<&str> = own
            .block
            .params
            .iter()
            .map(|own| own.name.name.as_str())
            .collect();
        let conditions = conditions_on(definition, &known);
        self.framed(definition, span, |this| {
            this.in_scope(scope.clone(), |this| {
                conditions
                    .iter()
                    .try_for_each(|condition| this.precondition(definition, condition, &places))
            })
        })?;
        let mut values = Vec::new();
        for param in &own.block.params {
            let name = &param.name.name;
            let place = places.get(name).copied().unwrap_or(span);
            let bound = scope.get(name).map(|(slot, _)| slot.borrow().clone());
            let Some(Binding::Done(Value::Tensor(tensor))) = bound else {
                let message = format!("`{name}` of `{}` is a number or a text", definition.name);
                return self.error("type-mismatch", place, message);
            };
            let Some(array) = self
                .static_value(tensor)
                .filter(|array| array.shape.is_empty())
            else {
                let message = format!(
                    "`{name}` of `{}` is a number that is known before the run",
                    definition.name
                );
                return self.error("not-known-before-run", place, message);
            };
            values.push((name.clone(), array));
        }
        Ok(Value::Transform(Rc::new(Transform {
            definition: definition.clone(),
            args: values,
        })))
    }

    /// `apply(policy, transform.lora(rank: 8), on: matrices)`: a model of its own.
    pub(crate) fn apply_transform(&mut self, bound: &Bound) -> Result<Value> {
        let (model, transform) = (bound.need("model")?, bound.need("transform")?);
        let base = match self.expr(model)? {
            Value::Model(base) => base,
            Value::Poison => return Err(Reported),
            Value::Network(of) if of.frozen.is_none() => return self.apply_to_network(of, bound),
            Value::Network(_) => {
                let message = "a transform of a copy of a model that is a block of `.rlp` is not supported yet";
                return self.error("not-supported-yet", model.span, message);
            }
            other => {
                let message = format!(
                    "`apply` takes a model first, and this is {}",
                    other.describe()
                );
                let diagnostic = Diagnostic::error("type-mismatch", model.span, message);
                return Err(self.report(diagnostic.here(other.describe())));
            }
        };
        if base.frozen.is_some_and(|every| every > 0) {
            let message = "under a transform a copy is taken once: `frozen(m)`";
            return self.error("type-mismatch", model.span, message);
        }
        let transform = self.transform_argument(transform)?;
        if self.mode != Mode::Pipeline {
            let message = "a model is seen through a transform in a pipeline only";
            return self.error("misplaced-resource", bound.span, message);
        }
        let Selection { on, except } = self.selection(bound.get("on"))?;
        let from = match bound.get("from") {
            Some(from) => Some(self.known_text(from)?),
            None => None,
        };
        let Transform { definition, args } = transform.as_ref();
        let block = self.alone(definition, args)?;
        let trained = definition
            .block
            .params
            .iter()
            .filter(|param| param.trainable);
        let plan = TransformPlan {
            model: self.models.len(),
            base,
            block,
            params: trained.map(|param| param.name.name.clone()).collect(),
            on,
            except,
            from,
            span: bound.span,
        };
        let model = ModelRef {
            model: plan.model,
            frozen: None,
        };
        self.models.push(resource(&plan, args));
        self.transforms.push(plan);
        Ok(Value::Model(model))
    }

    fn transform_argument(&mut self, transform: &Expr) -> Result<Rc<Transform>> {
        match self.expr(transform)? {
            Value::Transform(transform) => Ok(transform),
            Value::Poison => Err(Reported),
            other => {
                let message = format!(
                    "`apply` takes a transform, and this is {}",
                    other.describe()
                );
                let diagnostic = Diagnostic::error("type-mismatch", transform.span, message)
                    .here(other.describe())
                    .help("transform.lora(rank: 8)");
                Err(self.report(diagnostic))
            }
        }
    }

    fn apply_to_network(&mut self, of: MadeRef, bound: &Bound) -> Result<Value> {
        let transform = self.transform_argument(bound.need("transform")?)?;
        let selection = self.selection(bound.get("on"))?;
        if let Some(from) = bound.get("from") {
            let message = "an adapter is read for a language model, and this is a block of `.rlp`";
            return self.error("type-mismatch", from.span, message);
        }
        self.see_network(of, &transform, &selection, bound.span)
    }

    /// `matrices`, `matrices(policy, except: last)`, or a pattern of names.
    fn known_text(&mut self, expr: &Expr) -> Result<String> {
        let text = self.expr_tensor(expr)?;
        match self.static_value(text).map(|array| array.elements) {
            Some(Elements::Text(texts)) if texts.len() == 1 => Ok(texts[0].to_string()),
            _ => {
                let message =
                    "the path of a folder is expected here, a text that is known before the run";
                self.error("type-mismatch", expr.span, message)
            }
        }
    }

    /// The model that one is seen through transforms of, over all copies.
    pub(crate) fn root_of(&self, model: usize) -> usize {
        match self.transform_of(model) {
            Some(transform) => self.root_of(transform.base.model),
            None => model,
        }
    }

    fn transform_of(&self, model: usize) -> Option<&TransformPlan> {
        self.transforms.iter().find(|own| own.model == model)
    }

    /// Whose parameters are trained where a model is named: those of its transform, or of its base where that has none.
    pub(crate) fn trained_of(&mut self, model: usize, span: Span) -> Result<usize> {
        let Some(transform) = self.transform_of(model) else {
            return Ok(model);
        };
        if !transform.params.is_empty() {
            return Ok(model);
        }
        let (block, base) = (transform.block.name.clone(), transform.base.clone());
        if base.frozen.is_none() {
            return self.trained_of(base.model, span);
        }
        let message = format!(
            "`{}` has nothing to train: `{block}` has no `param`, and the weights under it are a frozen copy",
            self.models[model].name
        );
        self.error("no-trained-parameter", span, message)
    }

    /// The models whose outputs change with the parameters of `targets`, ascending.
    pub(crate) fn moved_by(&self, targets: &[usize]) -> Vec<usize> {
        let mut moved = targets.to_vec();
        for TransformPlan { model, base, .. } in &self.transforms {
            if base.frozen.is_none() && moved.contains(&base.model) {
                moved.push(*model);
            }
        }
        moved.sort_unstable();
        moved.dedup();
        moved
    }

    /// A model that a stage sees through a transform has the name that the stage gives it.
    pub(crate) fn name_transformed(&mut self, value: &Value, name: &str, stage: &str) {
        let Value::Model(ModelRef {
            model,
            frozen: None,
        }) = value
        else {
            return;
        };
        if self.transform_of(*model).is_none() || !self.models[*model].name.is_empty() {
            return;
        }
        let is_taken = self.models.iter().any(|own| own.name == name);
        self.models[*model].name = match is_taken {
            true => format!("{stage}.{name}"),
            false => name.to_string(),
        };
    }

    /// Its parameters are kept under its name, so a model that is seen through a transform has one.
    pub(crate) fn refuse_nameless(&mut self) {
        let nameless = self.transforms.iter();
        let nameless = nameless.filter(|own| self.models[own.model].name.is_empty());
        for span in nameless.map(|own| own.span).collect::<Vec<_>>() {
            let message = "a model that is seen through a transform is given a name";
            let diagnostic = Diagnostic::error("misplaced-resource", span, message)
                .help("let tuned = apply(policy, transform.lora(rank: 8))");
            self.report(diagnostic);
        }
    }
}

/// What a transform is given where it is applied: all but the weight and what it trains.
fn arguments_of(definition: &Definition) -> Definition {
    let params = definition.block.params.iter();
    let is_argument = |param: &&Param| !param.trainable && param.name.name != "weight";
    Definition {
        block: Block {
            params: params.filter(is_argument).cloned().collect(),
            ..definition.block.clone()
        },
        file: definition.file,
        name: definition.name.clone(),
    }
}

/// What a transform asserts of these names alone.
pub(crate) fn conditions_on<'d>(definition: &'d Definition, known: &[&str]) -> Vec<&'d Expr> {
    let stmts = definition.block.body.iter().flat_map(|body| &body.stmts);
    let conditions = stmts.filter_map(|stmt| match &stmt.kind {
        StmtKind::Assert {
            value,
            close_to: None,
        } if reads_only(value, known) => Some(value),
        _ => None,
    });
    conditions.collect()
}

/// Whether every name in an expression is one of these, or that of a function.
fn reads_only(expr: &Expr, known: &[&str]) -> bool {
    let mut callees = Vec::new();
    let mut names = Vec::new();
    walk::exprs(expr, &mut |inner| match &inner.kind {
        ExprKind::Call { callee, .. } => callees.push(callee.span),
        ExprKind::Name(name) => names.push((name.as_str(), inner.span)),
        _ => {}
    });
    names
        .iter()
        .all(|(name, span)| callees.contains(span) || known.contains(name))
}

/// The model as the plan lists it, with all that it was made of.
fn resource(plan: &TransformPlan, args: &[(String, Array)]) -> Resource {
    let text = |text: &str| ResourceArg::Value(Array::text(text));
    let on = match &plan.on {
        ParameterGroup::All => "all",
        ParameterGroup::Matrices => "matrices",
        ParameterGroup::Others => "others",
        ParameterGroup::Named(pattern) => pattern,
    };
    let mut all = vec![("model".to_string(), ResourceArg::Model(plan.base.model))];
    if plan.base.frozen.is_some() {
        let frozen = ResourceArg::Value(Array::bool(true));
        all.push(("frozen".to_string(), frozen));
    }
    all.push(("transform".to_string(), text(&plan.block.name)));
    let args = args.iter();
    all.extend(args.map(|(name, value)| (name.clone(), ResourceArg::Value(value.clone()))));
    all.push(("on".to_string(), text(on)));
    if let Some(except) = &plan.except {
        let except = match except {
            Except::Last => "last",
            Except::Named(pattern) => pattern,
        };
        all.push(("except".to_string(), text(except)));
    }
    if let Some(from) = &plan.from {
        all.push(("from".to_string(), text(from)));
    }
    Resource {
        name: String::new(),
        block: "apply".to_string(),
        args: all,
        // It names no file that is read from beside this one.
        file: String::new(),
        span: plan.span,
    }
}
