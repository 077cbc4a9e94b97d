//! Tests of a program: what its assertions claim, and element by element where they do not hold.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{Assertion, NodeId};
use rlp_compiler::plan::{AssertPlan, TestPlan};
use rlp_compiler::ty::DimId;
use rlp_grammar::ast::Span;

use crate::asserted;
use crate::error::{Fault, Result};
use crate::executor::{Executor, ExecutorChoice, NoHost, Steps};
use crate::tensor::{Device, Kind, without_gradient};
use crate::torch::Context;

/// An assertion that does not hold.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// The place of the assertion.
    pub span: Span,
    /// The first elements that are not as claimed.
    pub elements: Vec<Differing>,
    /// How many there are.
    pub count: usize,
}

/// An element that is not as claimed.
#[derive(Clone, PartialEq, Debug)]
pub struct Differing {
    /// The name of each dimension and the position along it.
    pub at: Vec<(String, usize)>,
    pub sides: Sides,
}

/// The two sides of `~=`; `None` for a claim that is false.
pub type Sides = Option<(f64, f64)>;

/// So many elements of a failure are listed.
const LISTED: usize = 8;

/// Runs a test in double precision.
pub fn run(plan: &TestPlan, device: Device, executor: ExecutorChoice) -> Result<Vec<Failure>> {
    let context = Context {
        kind: Kind::Double,
        device,
        seed: 0,
        step: 1,
        steps: 1,
    };
    let steps = executor.kernels().as_ref().map(Steps::new);
    let mut executor = Executor::fused(&plan.graph, context, steps.as_ref());
    let asserts: Vec<&Assertion> = plan.graph.asserts.iter().collect();
    asserted::check(&asserts, &mut executor, &mut NoHost)?;
    let wanted: Vec<NodeId> = plan.asserts.iter().flat_map(AssertPlan::nodes).collect();
    let values = without_gradient(|| executor.evaluate(&wanted, &mut NoHost))?;
    let array = |node: NodeId| -> Result<Array> {
        let place = wanted.iter().position(|&own| own == node);
        let value = place.and_then(|place| values.get(place));
        let value = value.ok_or_else(|| Fault::broken("what is asserted has a value"))?;
        Ok(value.to_array()?)
    };
    let mut failures = Vec::new();
    for assert in &plan.asserts {
        let (span, node, shape, differing) = match assert {
            AssertPlan::Holds { value, span } => {
                let claims = array(*value)?;
                let false_ones = bools(&claims)?
                    .iter()
                    .enumerate()
                    .filter(|(_, holds)| !**holds);
                let differing = false_ones.map(|(place, _)| (place, None)).collect();
                (*span, *value, claims.shape, differing)
            }
            AssertPlan::Close {
                left,
                right,
                within,
                mask,
                span,
            } => {
                let (a, b) = (array(*left)?, array(*right)?);
                let mask = mask.map(array).transpose()?;
                let differing = apart(&a, &b, *within, mask.as_ref())?;
                (*span, *left, a.shape, differing)
            }
        };
        let differing: Vec<(usize, Sides)> = differing;
        if !differing.is_empty() {
            let dims = &plan.graph.ty(node).dims;
            let element = |&(place, sides): &(usize, _)| Differing {
                at: named(plan, dims, &shape, place),
                sides,
            };
            failures.push(Failure {
                span,
                elements: differing.iter().take(LISTED).map(element).collect(),
                count: differing.len(),
            });
        }
    }
    Ok(failures)
}

fn bools(array: &Array) -> Result<&[bool], Fault> {
    match &array.elements {
        Elements::Bool(claims) => Ok(claims),
        Elements::Real(_) | Elements::Int(_) | Elements::Text(_) => {
            Err(Fault::broken("a claim is a bool"))
        }
    }
}

fn reals(array: &Array) -> Result<&[f64], Fault> {
    match &array.elements {
        Elements::Real(values) => Ok(values),
        Elements::Int(_) | Elements::Bool(_) | Elements::Text(_) => {
            Err(Fault::broken("the sides of `~=` are real"))
        }
    }
}

/// The places where both sides are real and further apart than `within`, with the sides.
fn apart(
    left: &Array,
    right: &Array,
    within: f64,
    mask: Option<&Array>,
) -> Result<Vec<(usize, Sides)>, Fault> {
    let real = mask.map(bools).transpose()?;
    let sides = reals(left)?
        .iter()
        .copied()
        .zip(reals(right)?.iter().copied())
        .enumerate();
    let is_apart = |&(place, (a, b)): &(usize, (f64, f64))| {
        // Infinities are equal to themselves; what is not a number is close to nothing.
        let is_close = a == b || (a - b).abs() <= within;
        !is_close && real.is_none_or(|real| real[place])
    };
    Ok(sides
        .filter(is_apart)
        .map(|(place, sides)| (place, Some(sides)))
        .collect())
}

/// A place in row-major order, by the names of its dimensions.
fn named(plan: &TestPlan, dims: &[DimId], shape: &[usize], place: usize) -> Vec<(String, usize)> {
    let position = |axis: usize| place / shape[axis + 1..].iter().product::<usize>() % shape[axis];
    dims.iter()
        .enumerate()
        .map(|(axis, &dim)| (plan.graph.dims.name(dim).to_string(), position(axis)))
        .collect()
}
