//! A transform at work on one weight: its graph, given the weight and what belongs to it.

use std::rc::Rc;

use rlp_compiler::graph::Assertion;
use rlp_compiler::pass::UPSTREAM;
use rlp_compiler::plan::{BlockPlan, InputPlan, TransformPlan};
use rlp_grammar::ast::Span;

use crate::asserted;
use crate::error::{Fault, Numbers, Result, RunError};
use crate::executor::{Executor, NoHost, Steps};
use crate::tensor::{Tensor, Value};
use crate::torch::{Context, axis};

const STATE: &str = "state.";

/// What of a transform belongs to one weight, in the order of its inputs.
pub(super) struct Slots<'t> {
    pub(super) block: &'t BlockPlan,
    pub(super) params: Vec<Tensor>,
    pub(super) states: Vec<Tensor>,
    pub(super) span: Span,
}

/// Initial values by name.
pub(super) struct Started {
    pub(super) params: Vec<(String, Tensor)>,
    pub(super) states: Vec<(String, Tensor)>,
}

/// Gradients of one weight's share.
pub(super) struct Shares {
    pub(super) by_params: Vec<Tensor>,
    pub(super) by_weight: Option<Tensor>,
}

/// How many states a transform has for each weight.
pub(super) fn n_states(block: &BlockPlan) -> usize {
    block.inputs.iter().filter(|input| is_state(input)).count()
}

/// The initial values for a weight. What the transform asserts must hold for them.
pub(super) fn start(
    plan: &TransformPlan,
    weight: &Tensor,
    context: Context,
    steps: Option<&Rc<Steps>>,
) -> Result<Started> {
    let block = &plan.block;
    let made = || -> Result<Started> {
        let mut executor = given(block, weight, context, steps)?;
        let mut started = Started {
            params: Vec::new(),
            states: Vec::new(),
        };
        for input in block.inputs.iter().filter(|input| input.name != "weight") {
            let initial = input
                .initial
                .ok_or_else(|| Fault::broken("what is trained starts somewhere"))?;
            let value = executor.evaluate(&[initial], &mut NoHost)?.remove(0);
            let dims = &block.graph.ty(input.node).dims;
            let own = axis::arrange(value.tensor()?, dims, &input.axes)?;
            if own.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                let what = format!("the initial value of `{}`", input.name);
                return Err(Fault::not_finite(what, Numbers::default()).into());
            }
            executor.give(input.node, value, format_args!("`{}`", input.name))?;
            // It may share the elements of the weight, or be one number repeated.
            let own = own.f_contiguous()?.copy();
            match input.name.strip_prefix(STATE) {
                Some(name) => started.states.push((name.to_string(), own)),
                None => started.params.push((input.name.clone(), own)),
            }
        }
        let asserts: Vec<&Assertion> = block.graph.asserts.iter().collect();
        asserted::check(&asserts, &mut executor, &mut NoHost)?;
        Ok(started)
    };
    made().map_err(|error| error.at_span(plan.span))
}

impl Slots<'_> {
    /// What the weight becomes.
    pub(super) fn seen(
        &self,
        weight: &Tensor,
        context: Context,
        steps: Option<&Rc<Steps>>,
    ) -> Result<Tensor> {
        let seen = || -> Result<Tensor> {
            let mut executor = self.executor(self.block, weight, context, steps)?;
            let result = self.block.results.first();
            let result = result.ok_or_else(|| Fault::broken("a transform has a result"))?;
            let value = executor.evaluate(&[result.node], &mut NoHost)?.remove(0);
            let dims = &self.block.graph.ty(result.node).dims;
            Ok(axis::arrange(value.tensor()?, dims, &result.axes)?.f_contiguous()?)
        };
        seen().map_err(|error| error.at_span(self.span))
    }

    /// The gradients by the first `wanted.0` of the `param`s, and by the weight if `wanted.1`, given that by what it becomes.
    pub(super) fn gradients(
        &self,
        pullback: &BlockPlan,
        weight: &Tensor,
        upstream: &Tensor,
        wanted: (usize, bool),
        context: Context,
        steps: Option<&Rc<Steps>>,
    ) -> Result<Shares> {
        let found = || -> Result<Shares> {
            let mut executor = self.executor(pullback, weight, context, steps)?;
            // The gradient has the form of the result, which is that of the weight.
            let like = input(pullback, "weight")?;
            let dims = &pullback.graph.ty(like.node).dims;
            let upstream = axis::arrange(&upstream.f_to_kind(context.kind)?, &like.axes, dims)?;
            executor.give_input(UPSTREAM, &upstream.into())?;
            let (by_params, by_weight) = pullback.results.split_at(self.params.len());
            let by_params = &by_params[..wanted.0];
            let by_weight = if wanted.1 { by_weight } else { &[] };
            let results: Vec<_> = by_params.iter().chain(by_weight).collect();
            let nodes: Vec<_> = results.iter().map(|result| result.node).collect();
            let values = executor.evaluate(&nodes, &mut NoHost)?;
            let tensors = results.iter().zip(values).map(|(result, value)| {
                let dims = &pullback.graph.ty(result.node).dims;
                Ok(axis::arrange(value.tensor()?, dims, &result.axes)?.f_contiguous()?)
            });
            let mut tensors = tensors.collect::<Result<Vec<Tensor>, Fault>>()?;
            let by_weight = if wanted.1 { tensors.pop() } else { None };
            Ok(Shares {
                by_params: tensors,
                by_weight,
            })
        };
        found().map_err(|error| error.at_span(self.span))
    }

    /// An executor of the transform, or of its gradients, with a value for each of its inputs.
    fn executor<'g>(
        &self,
        block: &'g BlockPlan,
        weight: &Tensor,
        context: Context,
        steps: Option<&Rc<Steps>>,
    ) -> Result<Executor<'g>> {
        let mut executor = given(block, weight, context, steps)?;
        let (mut params, mut states) = (self.params.iter(), self.states.iter());
        for input in block.inputs.iter().filter(|input| input.name != "weight") {
            let own = if is_state(input) {
                states.next()
            } else {
                params.next()
            };
            let own = own.ok_or_else(|| Fault::broken("a weight has a value for each input"))?;
            give(block, &mut executor, input, own)?;
        }
        Ok(executor)
    }
}

/// An executor that knows the weight, and the sizes that follow from it.
fn given<'g>(
    block: &'g BlockPlan,
    weight: &Tensor,
    context: Context,
    steps: Option<&Rc<Steps>>,
) -> Result<Executor<'g>> {
    let mut executor = Executor::fused(&block.graph, context, steps);
    let weight = weight.f_to_kind(context.kind).map_err(Fault::from)?;
    give(block, &mut executor, input(block, "weight")?, &weight)?;
    size_dimensions(block, &mut executor)?;
    Ok(executor)
}

/// Computes the sizes that follow from those of others.
///
/// # Errors
/// One is no whole number.
pub(crate) fn size_dimensions(block: &BlockPlan, executor: &mut Executor<'_>) -> Result<()> {
    for &(dim, node) in &block.sizes {
        if executor.extents().known_size(dim).is_some() {
            continue;
        }
        let value = executor.evaluate(&[node], &mut NoHost)?.remove(0);
        let size = value.tensor()?.f_double_value(&[]).map_err(Fault::from)?;
        let name = block.graph.dims.name(dim);
        if size.fract() != 0.0 || !(0.0..1e15).contains(&size) {
            let message = format!(
                "`{}` would have {size} of `{name}`, which is no whole number",
                block.name
            );
            return Err(RunError::from(Fault::input(message)));
        }
        executor.give_size(
            dim,
            size as i64,
            format_args!("the signature of `{}`", block.name),
        )?;
    }
    Ok(())
}

fn give(
    block: &BlockPlan,
    executor: &mut Executor<'_>,
    input: &InputPlan,
    value: &Tensor,
) -> Result<()> {
    let dims = &block.graph.ty(input.node).dims;
    let value: Value = axis::arrange(value, &input.axes, dims)?.into();
    executor.give(input.node, value, format_args!("`{}`", input.name))
}

fn input<'b>(block: &'b BlockPlan, name: &str) -> Result<&'b InputPlan, Fault> {
    let found = block.inputs.iter().find(|input| input.name == name);
    found.ok_or_else(|| Fault::broken(format!("a transform has the input `{name}`")))
}

fn is_state(input: &InputPlan) -> bool {
    input.name.starts_with(STATE)
}
