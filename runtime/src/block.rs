//! A block evaluated alone (`rlpc eval`): arguments from files, results and gradients back to files.

mod bind;
mod inputs;
mod nested;
mod output;

use std::cell::OnceCell;
use std::rc::Rc;

use rlp_compiler::graph::{Assertion, Binary, NodeId, Op};
use rlp_compiler::pass;
use rlp_compiler::plan::{BlockPlan, ResultPlan};
use rlp_compiler::ty::Elem;

use crate::asserted;
use crate::error::{Fault, Result};
pub use crate::executor::ExecutorChoice;
use crate::executor::{Executor, NoHost, Steps};
use crate::extent::Extents;
use crate::tensor::{Device, Tensor, Value, gradients, without_gradient};
use crate::torch::{Context, axis};
use crate::transform::size_dimensions;
use bind::{Bound, bind, missing, precision};
pub use inputs::{Content, Inputs};
pub use output::{to_json, write};

/// How a block is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub executor: ExecutorChoice,
    pub device: Device,
    pub seed: u64,
    /// The number of the (first) update, from 1.
    pub step: u64,
    /// The number of all updates; refused if the block reads it and it is not set.
    pub steps: Option<u64>,
    /// Whether to add `grad.NAME`, the gradient of the sum of all results, for every real tensor argument.
    pub gradients: bool,
}

/// Evaluates a block. Results have the names of the plan and their axes in ascending order of dimensions, gradients
/// have those of the signature; both are 0 where nothing is real.
///
/// The plan has been through the passes: no `Grad` is left in its graph.
///
/// If the inputs hold `grad.0`, `grad.1`, … instead of `grad`, the block is evaluated for each in turn, on the `param`
/// and the states that the one before left; the results are those of the last.
pub fn evaluate(
    plan: &BlockPlan,
    inputs: &Inputs,
    options: &Options,
) -> Result<Vec<(String, Value)>> {
    let takes_gradient = plan.inputs.iter().any(|input| input.name == "grad");
    let sequence = if takes_gradient {
        inputs.by_gradient()
    } else {
        Vec::new()
    };
    if options.gradients && !sequence.is_empty() {
        return Err(Fault::input(
            "`grad.0`, `grad.1`, … ask for several evaluations, and gradients are those of one",
        )
        .into());
    }
    let mut step = options.step;
    let mut evaluation = Evaluation::new(plan, sequence.first().unwrap_or(inputs), options, step)?;
    for inputs in sequence.iter().skip(1) {
        let values = evaluation.values()?;
        step += 1;
        evaluation = Evaluation::new(plan, inputs, options, step)?;
        evaluation.bound.carry(plan, &values);
    }
    evaluation.finish(options)
}

/// A block on its arguments; it can be computed any number of times.
pub(crate) struct Evaluation<'a> {
    plan: &'a BlockPlan,
    inputs: &'a Inputs,
    bound: Bound,
    context: Context,
    /// How the plan's graph runs as kernels, and the one with its derivative; none if they run node by node.
    steps: Option<[Rc<Steps>; 2]>,
    /// The arguments to differentiate by; every real tensor if absent.
    by: Option<&'a [String]>,
    /// The plan with the gradients as results, after its own.
    with_gradients: OnceCell<BlockPlan>,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        plan: &'a BlockPlan,
        inputs: &'a Inputs,
        options: &Options,
        step: u64,
    ) -> Result<Evaluation<'a>> {
        let reads_steps = plan
            .graph
            .ids()
            .any(|id| matches!(plan.graph.op(id), Op::Steps));
        let Some(steps) = options.steps.or((!reads_steps).then_some(step)) else {
            let message = format!("`{}` reads `steps`, the number of all updates", plan.name);
            return Err(Fault::input_help(message, "--set steps=…").into());
        };
        let (kind, device) = (precision(plan, inputs)?, options.device);
        let context = Context {
            kind,
            device,
            seed: options.seed,
            step,
            steps,
        };
        let kernels = options.executor.kernels();
        Ok(Evaluation {
            plan,
            inputs,
            bound: bind(plan, inputs, kind, device)?,
            context,
            steps: kernels.map(|kernels| [(); 2].map(|()| Steps::new(&kernels))),
            by: None,
            with_gradients: OnceCell::new(),
        })
    }

    /// The same, differentiated by these arguments only.
    #[must_use]
    pub(crate) fn by(mut self, names: &'a [String]) -> Evaluation<'a> {
        self.by = Some(names);
        self
    }

    /// The results in the order of the plan, as the graph computes them.
    fn values(&self) -> Result<Vec<Value>> {
        without_gradient(|| {
            self.executor(self.plan, self.steps_of(0), &[])?
                .evaluate(&self.wanted(), &mut NoHost)
        })
    }

    /// The results and, if they are asked for, the gradients, over ascending dimensions.
    pub(crate) fn compute(&self, options: &Options) -> Result<Evaluated> {
        match (options.gradients, options.executor) {
            (false, _) => {
                let mut executor = self.executor(self.plan, self.steps_of(0), &[])?;
                let values = without_gradient(|| executor.evaluate(&self.wanted(), &mut NoHost))?;
                Ok((values, Vec::new(), executor.extents().clone()))
            }
            (true, ExecutorChoice::Eager) => self.by_autograd(),
            (true, ExecutorChoice::Fused) => self.by_compiler(),
        }
    }

    /// The same as they are written.
    fn finish(&self, options: &Options) -> Result<Vec<(String, Value)>> {
        let (values, gradients, extents) = self.compute(options)?;
        let mut written = Vec::new();
        for (result, value) in self.plan.results.iter().zip(values) {
            let dims = &self.plan.graph.ty(result.node).dims;
            let value = match value {
                Value::Tensor(tensor) => {
                    let tensor =
                        axis::arrange(&extents.keep_real(tensor, dims)?, dims, &result.axes)?;
                    self.bound.unfold(&tensor, &result.axes)?.into()
                }
                Value::Text(_) => value,
            };
            written.push((result.name.clone(), value));
        }
        for (number, gradient) in gradients {
            let input = &self.plan.inputs[number];
            let dims = &self.plan.graph.ty(input.node).dims;
            let gradient = axis::arrange(&extents.keep_real(gradient, dims)?, dims, &input.axes)?;
            written.push((
                format!("grad.{}", input.name),
                self.bound.unfold(&gradient, &input.axes)?.into(),
            ));
        }
        Ok(written)
    }

    fn by_autograd(&self) -> Result<Evaluated> {
        let arguments = self.differentiated();
        let leaves = arguments
            .iter()
            .map(|&(number, value)| Ok((number, value.f_detach()?.f_set_requires_grad(true)?)));
        let leaves = leaves.collect::<Result<Vec<(usize, Tensor)>, Fault>>()?;
        // What libtorch differentiates runs node by node.
        let mut executor = self.executor(self.plan, None, &leaves)?;
        let values = executor.evaluate(&self.wanted(), &mut NoHost)?;
        let mut total = Tensor::f_zeros([0i64; 0], (self.context.kind, self.context.device))?;
        for node in self.summed()? {
            let value = executor.evaluate(&[node], &mut NoHost)?.remove(0);
            let real = executor.extents().keep_real(
                value.tensor()?.shallow_clone(),
                &self.plan.graph.ty(node).dims,
            )?;
            total = total.f_add(&real.f_sum(self.context.kind)?)?;
        }
        let xs: Vec<&Tensor> = leaves.iter().map(|(_, leaf)| leaf).collect();
        let found = gradients(&total, &xs, false)?;
        let numbers = leaves.iter().map(|(number, _)| *number);
        Ok((
            values,
            numbers.zip(found).collect(),
            executor.extents().clone(),
        ))
    }

    fn by_compiler(&self) -> Result<Evaluated> {
        let numbers: Vec<usize> = self
            .differentiated()
            .iter()
            .map(|(number, _)| *number)
            .collect();
        let summed = self.summed()?;
        let plan = self
            .with_gradients
            .get_or_init(|| with_gradients(self.plan, &numbers, &summed));
        let mut executor = self.executor(plan, self.steps_of(1), &[])?;
        let wanted: Vec<NodeId> = plan.results.iter().map(|result| result.node).collect();
        let mut values = without_gradient(|| executor.evaluate(&wanted, &mut NoHost))?;
        let gradients = values.split_off(self.plan.results.len()).into_iter();
        let found = numbers
            .into_iter()
            .zip(gradients)
            .map(|(number, gradient)| Ok((number, gradient.tensor()?.shallow_clone())));
        let found = found.collect::<Result<Vec<(usize, Tensor)>, Fault>>()?;
        Ok((values, found, executor.extents().clone()))
    }

    /// An executor of the plan's graph, or of the plan with gradients, with a value for every input.
    fn executor<'g>(
        &self,
        plan: &'g BlockPlan,
        steps: Option<&Rc<Steps>>,
        leaves: &[(usize, Tensor)],
    ) -> Result<Executor<'g>> {
        let mut executor = Executor::fused(&plan.graph, self.context, steps);
        self.bound.give(plan, &mut executor, leaves)?;
        size_dimensions(plan, &mut executor)?;
        for (input, value) in plan.inputs.iter().zip(&self.bound.values) {
            if value.is_none() {
                let initial = input.initial.ok_or_else(|| missing(input, self.inputs))?;
                let value = executor.evaluate(&[initial], &mut NoHost)?.remove(0);
                executor.give(input.node, value, format_args!("`{}`", input.name))?;
            }
        }
        let asserts: Vec<&Assertion> = plan.graph.asserts.iter().collect();
        asserted::check(&asserts, &mut executor.clone(), &mut NoHost)?;
        Ok(executor)
    }

    fn steps_of(&self, graph: usize) -> Option<&Rc<Steps>> {
        self.steps.as_ref().map(|steps| &steps[graph])
    }

    fn wanted(&self) -> Vec<NodeId> {
        self.plan.results.iter().map(|result| result.node).collect()
    }

    /// The results whose sum is differentiated: all real ones but the next values of a parameter and of states.
    fn summed(&self) -> Result<Vec<NodeId>> {
        let is_summed = |result: &&ResultPlan| {
            result.name != "param"
                && !result.name.starts_with("state.")
                && self.plan.graph.ty(result.node).elem == Elem::Real
        };
        let nodes: Vec<NodeId> = self
            .plan
            .results
            .iter()
            .filter(is_summed)
            .map(|result| result.node)
            .collect();
        if nodes.is_empty() {
            return Err(Fault::input(format!(
                "`{}` has no real result to differentiate",
                self.plan.name
            ))
            .into());
        }
        Ok(nodes)
    }

    /// The inputs that get a gradient, by number: real ones that have dimensions or came from a file, other than states.
    fn differentiated(&self) -> Vec<(usize, &Tensor)> {
        let numbered = self.plan.inputs.iter().zip(&self.bound.values).enumerate();
        let differentiated = numbered.filter_map(|(number, (input, value))| match value {
            Some(Value::Tensor(tensor))
                if input.elem == Elem::Real
                    && !input.name.starts_with("state.")
                    && self.by.is_none_or(|names| names.contains(&input.name)) =>
            {
                (!input.axes.is_empty() || self.inputs.get(&input.name).is_some())
                    .then_some((number, tensor))
            }
            Some(_) | None => None,
        });
        differentiated.collect()
    }
}

/// The plan with the gradients of the sum of some nodes by some inputs, numbered, as results after its own.
fn with_gradients(plan: &BlockPlan, inputs: &[usize], summed: &[NodeId]) -> BlockPlan {
    let mut plan = plan.clone();
    let wrt: Vec<NodeId> = inputs
        .iter()
        .map(|&input| plan.inputs[input].node)
        .collect();
    let mut totals: Option<Vec<NodeId>> = None;
    for &node in summed {
        let shares = pass::gradients(&mut plan.graph, node, &wrt);
        totals = Some(match totals {
            None => shares,
            Some(totals) => {
                let pairs = totals.into_iter().zip(shares);
                let sums = pairs.map(|(total, share)| {
                    let node = plan.graph.node(total).clone();
                    let (add, operands) = (Op::Binary(Binary::Add), [total, share]);
                    plan.graph
                        .add(add, &operands, node.ty, node.span, node.call)
                });
                sums.collect()
            }
        });
    }
    for (&input, node) in inputs.iter().zip(totals.into_iter().flatten()) {
        let input = &plan.inputs[input];
        plan.results.push(ResultPlan {
            name: format!("grad.{}", input.name),
            node,
            axes: input.axes.clone(),
        });
    }
    pass::run(&mut plan);
    plan
}

/// The results, the gradient of each differentiated input by its number, and what is known of the dimensions.
pub(crate) type Evaluated = (Vec<Value>, Vec<(usize, Tensor)>, Extents);
