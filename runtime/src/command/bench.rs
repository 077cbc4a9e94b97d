//! `rlpc bench`: how long a block, an optimizer's rule or a pipeline takes.

mod tell;

use rlp_compiler::plan::{BlockPlan, Plan};
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, block as plan_block, check, pass};
use rlp_frontend::Files;
use rlp_frontend::arguments::Executor;

use super::arguments::{Bench, Precision};
use super::eval::{Counters, counters};
use super::problem::{Exit, choose, cores, open, refuse, show, show_error};
use crate::bench::{Given, block, pipeline, rule, rule_source};
use crate::block::{ExecutorChoice, Inputs, Options};
use crate::clock::Moment;
use crate::console::Console;
use crate::error::{Fault, Result};
use crate::resource::World;
use crate::tensor::{Device, Kind};

/// The path that the pipeline around a rule goes by.
const GENERATED: &str = "<bench>";

pub(crate) fn bench(arguments: &Bench) -> Exit {
    let mut console = Console::new();
    let device = match open(arguments.machine, cores(), arguments.output, &mut console) {
        Ok(device) => device,
        Err(exit) => return exit,
    };
    let mut sources = SourceMap::default();
    let mut bench = Command {
        arguments,
        device,
        sources: &mut sources,
        console: &mut console,
    };
    let done = if is_pipeline(&arguments.target) {
        bench.pipeline()
    } else {
        bench.block()
    };
    match done {
        Ok(exit) => exit,
        Err(error) => match show_error(&error, &sources, arguments.output, &mut console) {
            // What cannot be timed was given by the user.
            Exit::Failed if !matches!(error.fault, Fault::Broken { .. }) => Exit::Problems,
            exit => exit,
        },
    }
}

fn is_pipeline(target: &str) -> bool {
    target.ends_with(".rlp")
}

struct Command<'a> {
    arguments: &'a Bench,
    device: Device,
    sources: &'a mut SourceMap,
    console: &'a mut Console,
}

impl Command<'_> {
    fn block(&mut self) -> Result<Exit> {
        let arguments = self.arguments;
        let start = Moment::now();
        let (settings, step, steps) = arguments.settings()?;
        let (plan, map) = plan_block(&Files::new(), &arguments.target, &Settings(settings));
        *self.sources = map;
        let mut plan = match plan {
            Ok(plan) => plan,
            Err(diagnostics) => {
                show(&diagnostics, self.sources, arguments.output, self.console);
                return Ok(Exit::Problems);
            }
        };
        if let Some(parameters) = arguments.parameters {
            return self.rule(&plan, parameters as u64);
        }
        pass::run(&mut plan);
        let compiled = start.elapsed();
        let mut inputs = Inputs::read(&arguments.inputs)?;
        let given = Given {
            sizes: &arguments.sizes,
            filled: arguments.filled,
            characters: arguments.characters,
            kind: arguments.kind(),
            seed: arguments.seed,
        };
        given.complete(&plan, &mut inputs)?;
        if let Some(name) = arguments
            .wrt
            .iter()
            .find(|name| plan.inputs.iter().all(|input| input.name != **name))
        {
            return Err(Fault::input(format!("`{}` has no argument `{name}`", plan.name)).into());
        }
        let by = (!arguments.wrt.is_empty()).then_some(arguments.wrt.as_slice());
        let chosen: Vec<Executor> = match arguments.executors.as_slice() {
            [] => vec![Executor::Eager, Executor::Fused],
            chosen => chosen.to_vec(),
        };
        let mut found = Vec::new();
        for &executor in &chosen {
            let options = Options {
                executor: ExecutorChoice::from(executor),
                device: self.device,
                seed: arguments.seed,
                step: step.unwrap_or(1),
                steps,
                gradients: arguments.grad || by.is_some(),
            };
            let mut times = block(&plan, &inputs, &options, by, arguments.repeat)?;
            times.first += compiled;
            found.push((executor, times));
        }
        self.tell_block(&plan, &found)?;
        Ok(Exit::Done)
    }

    /// An optimizer's rule over a model of about `parameters` values.
    fn rule(&mut self, block: &BlockPlan, parameters: u64) -> Result<Exit> {
        let arguments = self.arguments;
        let executor = self.one_executor("an optimizer over the parameters of a model")?;
        if block.results.iter().all(|result| result.name != "param") {
            let message = format!("`{}` is no optimizer, and has no parameters", block.name);
            return Err(Fault::input(message).into());
        }
        let (file, name) = match arguments.target.split_once(':') {
            Some((file, name)) => (Some(file), name.rsplit('.').next().unwrap_or(name)),
            None => (None, arguments.target.as_str()),
        };
        let needs_lr = block
            .inputs
            .iter()
            .any(|input| input.name == "lr" && input.default.is_none());
        let (settings, ..) = arguments.settings()?;
        let mut given: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        if needs_lr {
            given.push("lr: 1e-3".to_string());
        }
        let start = Moment::now();
        let text = rule_source(name, file, &given, parameters);
        let mut files = Files::new();
        files.add(GENERATED, Ok(text));
        let Some(plan) = self.plan(&files, GENERATED, &Settings::default(), None)? else {
            return Ok(Exit::Problems);
        };
        let compiled = start.elapsed();
        let kind = arguments.kind();
        let mut found = rule(
            &plan,
            arguments.seed,
            kind,
            self.device,
            executor,
            arguments.repeat,
        )?;
        found.first += compiled;
        self.tell_rule(&block.name, &found)?;
        Ok(Exit::Done)
    }

    fn pipeline(&mut self) -> Result<Exit> {
        let arguments = self.arguments;
        let executor = self.one_executor("a pipeline")?;
        let path = Files::path_of(arguments.target.as_ref());
        let settings = Settings(arguments.settings.clone());
        let name = arguments.pipeline.as_deref();
        let Some(plan) = self.plan(&Files::new(), &path, &settings, name)? else {
            return Ok(Exit::Problems);
        };
        let mut world = World::open(&plan, arguments.seed, arguments.kind(), self.device)?;
        world.kernels = executor.kernels();
        for stage in pipeline(&plan, &mut world, arguments.steps)? {
            self.tell_stage(&plan, &stage)?;
        }
        Ok(Exit::Done)
    }

    /// A pipeline of a file, through the passes; none if it has problems, which were shown.
    fn plan(
        &mut self,
        files: &Files,
        path: &str,
        settings: &Settings,
        name: Option<&str>,
    ) -> Result<Option<Plan>> {
        let output = self.arguments.output;
        let checked = check(files, path, settings);
        let is_wrong = show(&checked.diagnostics, &checked.sources, output, self.console);
        *self.sources = checked.sources;
        if is_wrong {
            return Ok(None);
        }
        match choose(&checked.plans, name) {
            Ok(plan) => {
                let mut plan = plan.clone();
                pass::run_pipeline(&mut plan);
                Ok(Some(plan))
            }
            Err((_, message)) => {
                refuse("which-pipeline", &message, None, output, self.console);
                Ok(None)
            }
        }
    }

    /// Pipelines and rules are timed on one executor.
    fn one_executor(&self, what: &str) -> Result<ExecutorChoice, Fault> {
        match self.arguments.executors.as_slice() {
            [] => Ok(ExecutorChoice::Fused),
            [executor] => Ok(ExecutorChoice::from(*executor)),
            _ => Err(Fault::input(format!(
                "{what} is timed on one executor at a time"
            ))),
        }
    }
}

impl Bench {
    fn kind(&self) -> Kind {
        match self.precision {
            Precision::F32 => Kind::Float,
            Precision::F64 => Kind::Double,
        }
    }

    /// The settings without `step` and `steps`, and these two.
    fn settings(&self) -> Result<Counters> {
        counters(&self.settings)
    }
}
