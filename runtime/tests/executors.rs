//! Every block of the standard library in both executors: values and gradients, on random arguments.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use rlp_compiler::array::Elements;
use rlp_compiler::plan::{BlockPlan, InputPlan};
use rlp_compiler::source::Sources;
use rlp_compiler::ty::{DimId, Elem};
use rlp_compiler::{Settings, pass};
use rlp_runtime::block::{Content, Inputs, Options, evaluate};
use rlp_runtime::error::Result;
use rlp_runtime::executor::ExecutorChoice;
use rlp_runtime::tensor::{Device, Kind, Tensor, Value};
use serde_json::{Value as Json, json};

/// The standard library and nothing else.
struct Library;

impl Sources for Library {
    fn read(&self, path: &str) -> std::result::Result<Arc<str>, String> {
        let text = path.strip_prefix("std/").and_then(rlp_stdlib::file);
        text.map(Arc::from)
            .ok_or_else(|| format!("there is no {path}"))
    }

    fn resolve(&self, _: &str, written: &str) -> String {
        written.to_string()
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        rlp_stdlib::defining(kind, name).map(|path| format!("std/{path}"))
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        rlp_stdlib::names(kind).map(String::from).collect()
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn real(&mut self, edges: &[f64]) -> f64 {
        if !edges.is_empty() && self.below(6) == 0 {
            return edges[self.below(edges.len() as u64) as usize];
        }
        self.below(1 << 20) as f64 / (1 << 19) as f64 - 1.0
    }
}

/// Sizes and masks of the dimensions of a block, and its arguments.
struct Case<'p> {
    plan: &'p BlockPlan,
    random: Random,
    kind: Kind,
    edges: &'static [f64],
    sizes: BTreeMap<DimId, i64>,
    inputs: Inputs,
}

impl Case<'_> {
    fn size(&mut self, dim: DimId) -> i64 {
        let known = self.plan.graph.dims.get(dim).size;
        let random = &mut self.random;
        *self
            .sizes
            .entry(dim)
            .or_insert_with(|| known.map_or(1 + random.below(4) as i64, |size| size as i64))
    }

    fn add(&mut self, input: &InputPlan) {
        let is_given = input.default.is_none() && input.initial.is_none();
        if !is_given && (input.axes.is_empty() || self.random.below(2) == 0) {
            return;
        }
        let mut shape: Vec<i64> = Vec::new();
        for &dim in &input.axes {
            // A rival is one of the dimension before it again.
            let is_rival = self.plan.graph.dims.name(dim) == "rival";
            if let (true, Some(&size)) = (is_rival, shape.last()) {
                self.sizes.insert(dim, size);
            }
            let size = self.size(dim);
            shape.push(size);
        }
        let count: i64 = shape.iter().product();
        let reals = |case: &mut Self| {
            let edges = case.edges;
            let values: Vec<f64> = (0..count).map(|_| case.random.real(edges)).collect();
            Tensor::from_slice(&values).to_kind(case.kind)
        };
        let content = match input.elem {
            Elem::Real if input.axes.is_empty() => {
                Tensor::from_slice(&[0.5 + self.random.below(3) as f64]).to_kind(self.kind)
            }
            Elem::Real => reals(self),
            Elem::Int => {
                let values: Vec<i64> = (0..count).map(|_| self.random.below(2) as i64).collect();
                Tensor::from_slice(&values)
            }
            Elem::Bool => {
                let values: Vec<bool> = (0..count).map(|_| self.random.below(2) == 0).collect();
                Tensor::from_slice(&values)
            }
            Elem::Text => {
                let texts = ["46", " 46", "a 46.", ""];
                let text = |random: &mut Random| json!(texts[random.below(4) as usize]);
                let list = nested(&shape, &mut || text(&mut self.random));
                self.inputs.insert(&input.name, Content::Nested(list));
                return;
            }
        };
        self.inputs
            .insert(&input.name, Content::Tensor(content.reshape(&shape)));
        for (place, &dim) in input.axes.iter().enumerate() {
            self.add_mask(dim, &input.axes[..=place], &shape[..=place]);
        }
    }

    /// Lengths of a ragged dimension.
    fn add_mask(&mut self, dim: DimId, axes: &[DimId], shape: &[i64]) {
        let dims = &self.plan.graph.dims;
        let name = format!("#{}", dims.name(dim));
        let has_parents = dims.get(dim).ragged.as_ref().is_some_and(|parents| {
            parents.len() + 1 == axes.len() && parents.iter().all(|parent| axes.contains(parent))
        });
        if !has_parents || self.inputs.get(&name).is_some() {
            return;
        }
        let size = shape[shape.len() - 1];
        let rows: i64 = shape[..shape.len() - 1].iter().product();
        let mut real = Vec::new();
        for _ in 0..rows {
            let length = self.random.below(size as u64 + 1) as i64;
            real.extend((0..size).map(|position| position < length));
        }
        self.inputs.insert(
            &name,
            Content::Tensor(Tensor::from_slice(&real).reshape(shape)),
        );
    }
}

fn nested(shape: &[i64], leaf: &mut dyn FnMut() -> Json) -> Json {
    match shape.split_first() {
        None => leaf(),
        Some((&size, rest)) => Json::Array((0..size).map(|_| nested(rest, leaf)).collect()),
    }
}

fn plan(name: &str) -> Option<BlockPlan> {
    let (plan, _) = rlp_compiler::block(&Library, name, &Settings::default());
    let mut plan = plan.ok()?;
    pass::run(&mut plan);
    Some(plan)
}

type Results = Result<Vec<(String, Value)>>;

fn both(plan: &BlockPlan, inputs: &Inputs, gradients: bool) -> [Results; 2] {
    [ExecutorChoice::Eager, ExecutorChoice::Fused].map(|executor| {
        let options = Options {
            executor,
            device: Device::Cpu,
            seed: 0,
            step: 3,
            steps: Some(10),
            gradients,
        };
        evaluate(plan, inputs, &options)
    })
}

fn is_close(a: f64, b: f64, within: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= within * (1.0 + a.abs().max(b.abs()))
}

fn assert_agree(name: &str, [eager, fused]: [Results; 2], within: f64) {
    match (eager, fused) {
        (Ok(eager), Ok(fused)) => {
            assert_eq!(eager.len(), fused.len(), "{name}");
            for ((entry, eager), (_, fused)) in eager.iter().zip(&fused) {
                let [a, b] = [eager, fused].map(|value| value.to_array().unwrap());
                assert_eq!(a.shape, b.shape, "{name}: {entry}");
                let same = match (&a.elements, &b.elements) {
                    (Elements::Real(a), Elements::Real(b)) => {
                        a.iter().zip(b).all(|(a, b)| is_close(*a, *b, within))
                    }
                    (a, b) => a == b,
                };
                assert!(same, "{name}: {entry} is eager {a:?} and fused {b:?}");
            }
        }
        (Err(eager), Err(fused)) => assert_eq!(eager.to_string(), fused.to_string(), "{name}"),
        (eager, fused) => panic!("{name}: eager {eager:?}, fused {fused:?}"),
    }
}

const KINDS: [&str; 8] = [
    "advantage",
    "fn",
    "loss",
    "metric",
    "optimizer",
    "reward",
    "schedule",
    "search",
];

#[test]
fn every_standard_block_agrees() {
    tch::set_num_threads(1);
    let names: Vec<String> = KINDS
        .iter()
        .flat_map(|kind| rlp_stdlib::names(kind).map(move |name| format!("{kind}.{name}")))
        .collect();
    assert!(names.len() > 40, "only {} blocks were found", names.len());
    let (mut evaluated, mut differentiated) = (0, 0);
    for (number, name) in names.iter().enumerate() {
        let Some(plan) = plan(name) else { continue };
        for round in 0..4 {
            let (kind, edges, within): (_, &[f64], _) = match round {
                0 | 1 => (Kind::Float, &[], 1e-5),
                _ => (Kind::Double, &[0.0, -0.0, 1e-12, -30.0, 30.0, 700.0], 1e-10),
            };
            let mut case = Case {
                plan: &plan,
                random: Random((number * 7 + round) as u64),
                kind,
                edges,
                sizes: BTreeMap::new(),
                inputs: Inputs::default(),
            };
            plan.inputs.iter().for_each(|input| case.add(input));
            let values = both(&plan, &case.inputs, false);
            evaluated += usize::from(values[0].is_ok());
            assert_agree(name, values, within);
            let gradients = both(&plan, &case.inputs, true);
            differentiated += usize::from(gradients[0].is_ok());
            assert_agree(name, gradients, within);
        }
    }
    assert!(
        evaluated > 3 * names.len(),
        "{evaluated} of {} were evaluated",
        4 * names.len()
    );
    assert!(
        differentiated > names.len(),
        "{differentiated} of {} have gradients",
        4 * names.len()
    );
}
