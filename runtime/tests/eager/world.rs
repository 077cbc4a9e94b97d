//! Random sizes, lengths and values, and the laws that every primitive obeys on them.

use std::collections::BTreeMap;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::{self, Given};
use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::pass;
use rlp_compiler::ty::{Dim, DimId, Elem, Ty};
use rlp_grammar::ast::Span;
use rlp_runtime::executor::{Executor, NoHost};
use rlp_runtime::random::{Purpose, Stream};
use rlp_runtime::tensor::{Device, Kind, Tensor, Value, elements, gradients};
use rlp_runtime::torch::Context;

pub(crate) const PROMPT: DimId = DimId(0);
pub(crate) const SAMPLE: DimId = DimId(1);
/// Ragged inside `prompt, sample`.
pub(crate) const TOKEN: DimId = DimId(2);
pub(crate) const VOCAB: DimId = DimId(3);
/// As large as `vocab`.
pub(crate) const OTHER: DimId = DimId(4);
/// Made by primitives.
pub(crate) const RIVAL: DimId = DimId(5);
pub(crate) const RANK: DimId = DimId(6);
pub(crate) const INNER: DimId = DimId(7);

pub(crate) type Case<'a> = &'a dyn Fn(&mut Program) -> NodeId;

/// A graph whose inputs hold random values.
pub(crate) struct Program {
    pub graph: Graph,
    world: World,
    inputs: BTreeMap<String, Input>,
    random: Stream,
}

/// The sizes of everything.
#[derive(Clone, Debug)]
struct World {
    prompts: usize,
    samples: usize,
    vocab: usize,
    /// Of each sequence, in tokens.
    lengths: Vec<usize>,
    seed: u64,
}

struct Input {
    node: NodeId,
    array: Array,
    /// What stands where nothing is real: whatever it is, nothing may depend on it.
    poison: Poison,
}

#[derive(Clone, Copy)]
enum Poison {
    NotANumber,
    FarOutside,
    None,
}

impl World {
    fn size(&self, dim: DimId) -> usize {
        match dim {
            PROMPT => self.prompts,
            SAMPLE => self.samples,
            TOKEN => self.lengths.iter().copied().max().unwrap_or(0),
            VOCAB | OTHER => self.vocab,
            other => panic!("an input over {other:?}"),
        }
    }

    fn shape(&self, dims: &[DimId]) -> Vec<usize> {
        dims.iter().map(|&dim| self.size(dim)).collect()
    }

    /// Which positions over `dims` are real, in row-major order.
    fn real(&self, dims: &[DimId]) -> Vec<bool> {
        let shape = self.shape(dims);
        let count: usize = shape.iter().product();
        let is_real = |position: usize| {
            let mut rest = position;
            let mut at = BTreeMap::new();
            for (&dim, &size) in dims.iter().zip(&shape).rev() {
                at.insert(dim, rest % size);
                rest /= size;
            }
            match (at.get(&PROMPT), at.get(&SAMPLE), at.get(&TOKEN)) {
                (Some(prompt), Some(sample), Some(&token)) => {
                    token < self.lengths[prompt * self.samples + sample]
                }
                _ => true,
            }
        };
        (0..count).map(is_real).collect()
    }

    fn mask(&self) -> Array {
        let dims = [PROMPT, SAMPLE, TOKEN];
        Array {
            shape: self.shape(&dims),
            elements: Elements::Bool(self.real(&dims)),
        }
    }
}

impl Program {
    fn new(world: World) -> Program {
        let mut graph = Graph::default();
        let names = [
            "prompt", "sample", "token", "vocab", "other", "rival", "rank", "inner",
        ];
        for (number, name) in names.into_iter().enumerate() {
            let ragged = (DimId(number as u32) == TOKEN).then(|| vec![PROMPT, SAMPLE]);
            graph.dims.add(Dim {
                name: name.into(),
                origin: "a test".into(),
                span: Span::default(),
                ragged,
                size: None,
            });
        }
        let ty = Ty::new(Elem::Bool, vec![PROMPT, SAMPLE, TOKEN]);
        let mask = graph.add(Op::Mask(TOKEN), &[], ty, Span::default(), None);
        graph.masks.insert(TOKEN, mask);
        let random = Stream::new(world.seed, Purpose::Program);
        Program {
            graph,
            world,
            inputs: BTreeMap::new(),
            random,
        }
    }

    pub(crate) fn add(
        &mut self,
        op: Op,
        operands: &[NodeId],
        elem: Elem,
        dims: &[DimId],
    ) -> NodeId {
        self.graph.add(
            op,
            operands,
            Ty::new(elem, dims.to_vec()),
            Span::default(),
            None,
        )
    }

    pub(crate) fn size(&self, dim: DimId) -> usize {
        self.world.size(dim)
    }

    /// Reals between `low` and `high`.
    pub(crate) fn real(&mut self, dims: &[DimId], low: f64, high: f64) -> NodeId {
        let stream = self.next_stream();
        let elements = self.each(dims, |position| {
            low + (high - low) * stream.uniform(position)
        });
        self.input(dims, Elements::Real(elements), Poison::NotANumber)
    }

    /// Integers in `low..high`.
    pub(crate) fn int(&mut self, dims: &[DimId], low: i64, high: i64) -> NodeId {
        let stream = self.next_stream();
        let elements = self.each(dims, |position| {
            low + stream.below(position, (high - low) as u64) as i64
        });
        self.input(dims, Elements::Int(elements), Poison::FarOutside)
    }

    pub(crate) fn bool(&mut self, dims: &[DimId]) -> NodeId {
        let stream = self.next_stream();
        let elements = self.each(dims, |position| stream.below(position, 2) == 1);
        self.input(dims, Elements::Bool(elements), Poison::None)
    }

    pub(crate) fn text(&mut self, dims: &[DimId]) -> NodeId {
        let stream = self.next_stream();
        let words = ["", "a", "  b ", "<x>7</x>", "A,a,b", "-2.5e1"];
        let elements = self.each(dims, |position| {
            words[stream.below(position, words.len() as u64) as usize].to_string()
        });
        self.input(dims, Elements::Text(elements), Poison::None)
    }

    pub(crate) fn constant(&mut self, value: f64) -> NodeId {
        self.add(Op::Literal(Array::real(value)), &[], Elem::Real, &[])
    }

    /// Which positions over `dims`, which include `token`, are real.
    pub(crate) fn mask(&mut self, dims: &[DimId]) -> NodeId {
        let mask = self.graph.masks[&TOKEN];
        if dims == [PROMPT, SAMPLE, TOKEN] {
            mask
        } else {
            self.add(Op::Broadcast, &[mask], Elem::Bool, dims)
        }
    }

    /// `x` with 0 where it is not real, as the primitives without a mask want it.
    pub(crate) fn zeroed(&mut self, x: NodeId) -> NodeId {
        let ty = self.graph.ty(x).clone();
        let mask = self.mask(&ty.dims);
        let zero = match ty.elem {
            Elem::Real => Array::real(0.0),
            Elem::Int => Array::int(0),
            Elem::Bool => Array::bool(false),
            Elem::Text => Array::text(""),
        };
        let zero = self.add(Op::Literal(zero), &[], ty.elem, &[]);
        let zeros = self.add(Op::Broadcast, &[zero], ty.elem, &ty.dims);
        self.add(Op::Select, &[mask, x, zeros], ty.elem, &ty.dims)
    }

    fn next_stream(&self) -> Stream {
        self.random.at(self.inputs.len() as u64)
    }

    fn each<T>(&self, dims: &[DimId], element: impl Fn(u64) -> T) -> Vec<T> {
        (0..self.world.shape(dims).iter().product::<usize>() as u64)
            .map(element)
            .collect()
    }

    fn input(&mut self, dims: &[DimId], elements: Elements, poison: Poison) -> NodeId {
        let name = format!("input{}", self.inputs.len());
        let array = Array {
            shape: self.world.shape(dims),
            elements,
        };
        let node = self.add(Op::Input(name.clone()), &[], eval::elem_of(&array), dims);
        self.inputs.insert(
            name,
            Input {
                node,
                array,
                poison,
            },
        );
        node
    }
}

/// Checks a case on random worlds.
///
/// What libtorch computes from inputs that hold NaN wherever they are not real equals what the reference computes from
/// inputs that hold something sane there, at every real position; so does the gradient of a random combination of the
/// result, against central differences of the reference. And the compiler's own derivative, computed by libtorch from
/// the same inputs, equals libtorch's.
pub(crate) fn check(name: &str, case: Case) {
    tch::set_num_threads(1);
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    // The same worlds in every run: a random one would now and then put a step of a difference across a kink.
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let worlds = (1usize..4, 1usize..4, 1usize..4, 0u64..u64::MAX);
    let result = runner.run(&worlds, |(prompts, samples, vocab, seed)| {
        let stream = Stream::new(seed, Purpose::Order);
        let lengths = (0..prompts * samples)
            .map(|sequence| stream.below(sequence as u64, 4) as usize)
            .collect();
        let mut program = Program::new(World {
            prompts,
            samples,
            vocab,
            lengths,
            seed,
        });
        let result = case(&mut program);
        values_agree(&program, result)?;
        gradients_agree(&program, result)?;
        derivatives_agree(&program, result)
    });
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
}

fn context() -> Context {
    Context {
        kind: Kind::Double,
        device: Device::Cpu,
        seed: 1,
        step: 3,
        steps: 7,
    }
}

fn fail<T>(message: String) -> Result<T, TestCaseError> {
    Err(TestCaseError::fail(message))
}

/// The inputs with poison where nothing is real.
fn poisoned(program: &Program, input: &Input) -> Value {
    let mut array = input.array.clone();
    let real = program.world.real(&program.graph.ty(input.node).dims);
    for (position, _) in real.iter().enumerate().filter(|(_, real)| !**real) {
        match (&mut array.elements, input.poison) {
            (Elements::Real(values), Poison::NotANumber) => values[position] = f64::NAN,
            (Elements::Int(values), Poison::FarOutside) => values[position] = 1_000_000,
            _ => {}
        }
    }
    Value::from_array(&array, Kind::Double, Device::Cpu).unwrap()
}

fn reference(program: &Program, result: NodeId, changed: Option<(&str, Array)>) -> Array {
    let mut given = Given {
        step: 3,
        steps: 7,
        ..Given::default()
    };
    for (name, input) in &program.inputs {
        given.inputs.insert(name.clone(), input.array.clone());
    }
    if let Some((name, array)) = changed {
        given.inputs.insert(name.to_string(), array);
    }
    given.masks.insert(TOKEN, program.world.mask());
    for dim in [PROMPT, SAMPLE, TOKEN, VOCAB, OTHER] {
        given.sizes.insert(dim, program.world.size(dim));
    }
    eval::evaluate(&program.graph, &given, &[result])
        .unwrap()
        .remove(0)
}

fn executor<'g>(graph: &'g Graph, program: &Program, leaves: &[(NodeId, Tensor)]) -> Executor<'g> {
    let mut executor = Executor::new(graph, context());
    let mask = Value::from_array(&program.world.mask(), Kind::Double, Device::Cpu).unwrap();
    executor
        .give_mask(TOKEN, mask.tensor().unwrap(), format_args!("`#token`"))
        .unwrap();
    for dim in [VOCAB, OTHER] {
        executor
            .give_size(
                dim,
                program.world.size(dim) as i64,
                format_args!("the test"),
            )
            .unwrap();
    }
    for (name, input) in &program.inputs {
        let value = match leaves.iter().find(|(node, _)| *node == input.node) {
            Some((_, leaf)) => leaf.shallow_clone().into(),
            None => poisoned(program, input),
        };
        executor
            .give(input.node, value, format_args!("`{name}`"))
            .unwrap();
    }
    executor
}

/// Which positions of a result are real; dimensions made by primitives are full.
fn real_result(program: &Program, result: NodeId, shape: &[usize]) -> Vec<bool> {
    let dims = &program.graph.ty(result).dims;
    let count: usize = shape.iter().product();
    let token = dims.iter().position(|&dim| dim == TOKEN);
    let (Some(prompt), Some(sample), Some(token)) = (
        dims.iter().position(|&dim| dim == PROMPT),
        dims.iter().position(|&dim| dim == SAMPLE),
        token,
    ) else {
        return vec![true; count];
    };
    let place = |position: usize, axis: usize| {
        position / shape[axis + 1..].iter().product::<usize>() % shape[axis]
    };
    let length = |position| {
        program.world.lengths
            [place(position, prompt) * program.world.samples + place(position, sample)]
    };
    (0..count)
        .map(|position| place(position, token) < length(position))
        .collect()
}

fn close(left: f64, right: f64, tolerance: f64) -> bool {
    left == right
        || (left.is_nan() && right.is_nan())
        || (left - right).abs() <= tolerance * (1.0 + right.abs())
}

fn values_agree(program: &Program, result: NodeId) -> Result<(), TestCaseError> {
    let expected = reference(program, result, None);
    let found = executor(&program.graph, program, &[]).evaluate(&[result], &mut NoHost);
    let found = found
        .map_err(|error| TestCaseError::fail(error.to_string()))?
        .remove(0)
        .to_array()
        .unwrap();
    if found.shape != expected.shape {
        return fail(format!(
            "shape {:?} is not {:?}",
            found.shape, expected.shape
        ));
    }
    for (position, real) in real_result(program, result, &expected.shape)
        .into_iter()
        .enumerate()
    {
        let same = match (&found.elements, &expected.elements) {
            (Elements::Real(found), Elements::Real(expected)) => {
                close(found[position], expected[position], 1e-9)
            }
            (Elements::Int(found), Elements::Int(expected)) => {
                found[position] == expected[position]
            }
            (Elements::Bool(found), Elements::Bool(expected)) => {
                found[position] == expected[position]
            }
            (Elements::Text(found), Elements::Text(expected)) => {
                found[position] == expected[position]
            }
            _ => false,
        };
        if real && !same {
            return fail(format!(
                "at {position}: found {found:?}, expected {expected:?}"
            ));
        }
    }
    Ok(())
}

/// The real inputs as leaves of libtorch's autograd, in the order of their names.
fn leaves(program: &Program) -> Vec<(&str, &Input, Tensor)> {
    let is_real =
        |(_, input): &(&String, &Input)| matches!(input.array.elements, Elements::Real(_));
    let leaf = |input| {
        poisoned(program, input)
            .tensor()
            .unwrap()
            .set_requires_grad(true)
    };
    program
        .inputs
        .iter()
        .filter(is_real)
        .map(|(name, input)| (name.as_str(), input, leaf(input)))
        .collect()
}

/// libtorch's gradient of the weighted sum of the real elements of the result, with respect to each leaf.
fn autograd(
    program: &Program,
    result: NodeId,
    leaves: &[(&str, &Input, Tensor)],
    weights: &[f64],
) -> Vec<Vec<f64>> {
    let given: Vec<(NodeId, Tensor)> = leaves
        .iter()
        .map(|(_, input, leaf)| (input.node, leaf.shallow_clone()))
        .collect();
    let mut executor = executor(&program.graph, program, &given);
    let value = executor.evaluate(&[result], &mut NoHost).unwrap().remove(0);
    let dims = &program.graph.ty(result).dims;
    let real = executor
        .extents()
        .keep_real(value.tensor().unwrap().shallow_clone(), dims)
        .unwrap();
    let total = (real * Tensor::from_slice(weights).reshape(value.shape())).sum(Kind::Double);
    let xs: Vec<&Tensor> = leaves.iter().map(|(_, _, leaf)| leaf).collect();
    gradients(&total, &xs, false)
        .unwrap()
        .iter()
        .map(|gradient| elements(gradient).unwrap())
        .collect()
}

fn gradients_agree(program: &Program, result: NodeId) -> Result<(), TestCaseError> {
    let leaves = leaves(program);
    if program.graph.ty(result).elem != Elem::Real || leaves.is_empty() {
        return Ok(());
    }
    let weights = weights(program, result, &reference(program, result, None));
    let found = autograd(program, result, &leaves, &weights);
    for ((name, input, _), gradient) in leaves.iter().zip(found) {
        for position in real_positions(program, input) {
            let expected = difference(program, result, &weights, name, &input.array, position);
            if !close(gradient[position], expected, 1e-5) {
                let found = gradient[position];
                return fail(format!(
                    "gradient of {name} at {position}: found {found}, expected {expected}"
                ));
            }
        }
    }
    Ok(())
}

fn derivatives_agree(program: &Program, result: NodeId) -> Result<(), TestCaseError> {
    let leaves = leaves(program);
    if program.graph.ty(result).elem != Elem::Real || leaves.is_empty() {
        return Ok(());
    }
    let ones = vec![1.0; reference(program, result, None).len()];
    let found = autograd(program, result, &leaves, &ones);
    let mut graph = program.graph.clone();
    let wrt: Vec<NodeId> = leaves.iter().map(|(_, input, _)| input.node).collect();
    let adjoints = pass::gradients(&mut graph, result, &wrt);
    let values = executor(&graph, program, &[]).evaluate(&adjoints, &mut NoHost);
    let values = values.map_err(|error| TestCaseError::fail(format!("its derivative: {error}")))?;
    for (((name, input, _), found), value) in leaves.iter().zip(found).zip(values) {
        let derived: Vec<f64> = elements(value.tensor().unwrap()).unwrap();
        for position in real_positions(program, input) {
            if !close(found[position], derived[position], 1e-9) {
                let (autograd, derived) = (found[position], derived[position]);
                return fail(format!(
                    "gradient of {name} at {position}: autograd {autograd}, compiler {derived}"
                ));
            }
        }
    }
    Ok(())
}

fn real_positions(program: &Program, input: &Input) -> Vec<usize> {
    let real = program.world.real(&program.graph.ty(input.node).dims);
    (0..real.len()).filter(|&position| real[position]).collect()
}

/// Random weights of the result's elements, 0 where it is not real.
fn weights(program: &Program, result: NodeId, value: &Array) -> Vec<f64> {
    let stream = program.random.at(1000);
    let real = real_result(program, result, &value.shape);
    real.into_iter()
        .enumerate()
        .map(|(position, real)| {
            if real {
                stream.normal(position as u64)
            } else {
                0.0
            }
        })
        .collect()
}

/// The central difference of the weighted result, in one element of one input.
fn difference(
    program: &Program,
    result: NodeId,
    weights: &[f64],
    name: &str,
    array: &Array,
    position: usize,
) -> f64 {
    const STEP: f64 = 1e-5;
    let at = |step: f64| {
        let mut array = array.clone();
        if let Elements::Real(values) = &mut array.elements {
            values[position] += step;
        }
        match reference(program, result, Some((name, array))).elements {
            Elements::Real(values) => values,
            other => panic!("a result that is differentiated is real, not {other:?}"),
        }
    };
    // An empty log-sum-exp is −∞ on both sides, and does not move.
    let moved = |(above, below): (f64, f64)| if above == below { 0.0 } else { above - below };
    let differences = at(STEP).into_iter().zip(at(-STEP)).map(moved);
    let real = differences
        .zip(weights)
        .filter(|(_, weight)| **weight != 0.0);
    real.map(|(difference, weight)| difference * weight)
        .sum::<f64>()
        / (2.0 * STEP)
}
