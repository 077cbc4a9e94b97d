//! Programs of tests: their text compiled against the standard library, and their runs.

use std::ops::ControlFlow;
use std::sync::Arc;

use rlp_compiler::diagnostic::Severity;
use rlp_compiler::plan::Plan;
use rlp_compiler::source::{SourceMap, Sources};
use rlp_compiler::{Settings, check, pass};
use rlp_runtime::error::Result;
use rlp_runtime::executor::ExecutorChoice;
use rlp_runtime::report::{EvaluationRecord, Event, StepRecord};
use rlp_runtime::resource::World;
use rlp_runtime::run::{Ending, run};
use tch::{Device, Kind, Tensor};

struct Text(String);

impl Sources for Text {
    fn read(&self, path: &str) -> Result<Arc<str>, String> {
        match path.strip_prefix("std/") {
            Some(path) => rlp_stdlib::file(path)
                .map(Arc::from)
                .ok_or("no such file".to_string()),
            None => Ok(Arc::from(self.0.as_str())),
        }
    }

    fn resolve(&self, _: &str, written: &str) -> String {
        written.to_string()
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        rlp_stdlib::defining(kind, name).map(|path| format!("std/{path}"))
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        rlp_stdlib::names(kind).map(str::to_string).collect()
    }
}

/// The plan of a program with one pipeline, and its text for messages.
pub(crate) fn compile(text: &str) -> (Plan, SourceMap) {
    let mut checked = check(&Text(text.to_string()), "test.rlp", &Settings::default());
    let errors: Vec<_> = checked
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let mut plan = checked.plans.remove(0);
    pass::run_pipeline(&mut plan);
    (plan, checked.sources)
}

/// What a run told, and the weights it left.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) evaluations: Vec<EvaluationRecord>,
    /// The steps of minibatches with a number that is not finite.
    pub(crate) left_out: Vec<u64>,
    /// Name and values of every parameter of every model.
    pub(crate) weights: Vec<(String, Tensor)>,
}

impl Told {
    pub(crate) fn metric(&self, name: &str) -> Vec<f64> {
        let of_step = |step: &StepRecord| {
            step.metrics
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| *value)
        };
        self.steps.iter().filter_map(of_step).collect()
    }

    pub(crate) fn losses(&self) -> Vec<f64> {
        self.steps
            .iter()
            .flat_map(|step| step.trained.iter().map(|trained| trained.loss))
            .collect()
    }
}

/// Runs a program on one thread, fused.
pub(crate) fn told(text: &str, seed: u64, kind: Kind) -> Told {
    try_told(text, seed, kind).unwrap_or_else(|error| panic!("{error:?}"))
}

pub(crate) fn try_told(text: &str, seed: u64, kind: Kind) -> Result<Told> {
    told_by(ExecutorChoice::Fused, text, seed, kind)
}

pub(crate) fn told_by(executor: ExecutorChoice, text: &str, seed: u64, kind: Kind) -> Result<Told> {
    tch::set_num_threads(1);
    let (plan, _) = compile(text);
    let mut world = World::open(&plan, seed, kind, Device::Cpu)?;
    world.kernels = executor.kernels();
    let mut told = Told::default();
    let ending = run(&plan, &mut world, None, &mut |event| {
        match event {
            Event::Step(step) => told.steps.push(step.clone()),
            Event::NotFinite(offence) => told.left_out.push(offence.step),
            Event::Warning(_) => {}
            Event::Evaluation(evaluation) => told.evaluations.push(evaluation.clone()),
        }
        ControlFlow::Continue(())
    })?;
    assert_eq!(ending, Ending::Done);
    for model in &world.models {
        for parameter in model.network.parameters() {
            told.weights.push((
                format!("{}/{}", model.name, parameter.name),
                parameter.value.copy(),
            ));
        }
    }
    Ok(told)
}
