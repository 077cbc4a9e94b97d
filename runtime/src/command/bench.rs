//! `rlpc bench`: how long a block, an optimizer's rule or a pipeline takes.

use rlp_compiler::plan::{BlockPlan, Plan};
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, block as plan_block, check, pass};
use rlp_frontend::Files;
use serde_json::{Map, Value as Json, json};

use super::arguments::{Bench, Executor, Precision};
use super::problem::{Exit, choose, cores, open, refuse, show, show_error};
use crate::bench::{
    BlockTimes, Given, StageTimes, Times, block, part_name, pipeline, rule, rule_source,
};
use crate::block::{ExecutorChoice, Inputs, Options};
use crate::clock::{Elapsed, Moment, peak_mib};
use crate::console::Console;
use crate::error::{Fault, Result};
use crate::resource::World;
use crate::table::{table, time};
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

    fn tell_block(&mut self, plan: &BlockPlan, found: &[(Executor, BlockTimes)]) -> Result<()> {
        let arguments = self.arguments;
        let slowest = found.first().map_or(0.0, |(_, times)| times.times.median());
        let differentiated = match (&arguments.wrt, arguments.grad) {
            (names, _) if !names.is_empty() => json!(names),
            (_, grad) => json!(grad),
        };
        let sizes: Map<String, Json> = arguments
            .sizes
            .iter()
            .map(|(name, size)| (name.clone(), json!(size)))
            .collect();
        if arguments.json {
            for (executor, times) in found {
                let mut line = self.head("block", &plan.name, *executor, times.first, &times.times);
                line.extend([
                    ("sizes".to_string(), json!(sizes)),
                    ("grad".to_string(), differentiated.clone()),
                    ("bytes".to_string(), json!(times.bytes)),
                    ("gb_per_second".to_string(), json!(speed(times))),
                    ("ratio".to_string(), json!(slowest / times.times.median())),
                ]);
                self.console.line(&Json::Object(line).to_string())?;
            }
            return Ok(());
        }
        let sizes: Vec<String> = arguments
            .sizes
            .iter()
            .map(|(name, size)| format!("{name}={size}"))
            .collect();
        let grad = if arguments.grad || !arguments.wrt.is_empty() {
            ", with gradient"
        } else {
            ""
        };
        let title = format!(
            "{} {}{grad}, {}",
            plan.name,
            sizes.join(" "),
            self.machine()
        );
        let heading = [
            "executor", "first", "median", "least", "CPU", "GB/s", "ratio",
        ];
        let mut rows = vec![heading.map(str::to_string)];
        rows.extend(found.iter().map(|(executor, times)| {
            [
                executor.name().to_string(),
                time(times.first.wall),
                time(times.times.median()),
                time(times.times.least()),
                time(times.times.cpu()),
                format!("{:.2}", speed(times)),
                format!("{:.2}", slowest / times.times.median()),
            ]
        }));
        self.show(&title, &table(&rows, &[0]))
    }

    /// An optimizer's rule over a model of about `parameters` values.
    fn rule(&mut self, block: &BlockPlan, parameters: u64) -> Result<Exit> {
        let arguments = self.arguments;
        self.eager_only("an optimizer over the parameters of a model")?;
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
        let mut found = rule(&plan, arguments.seed, kind, self.device, arguments.repeat)?;
        found.first += compiled;
        let per_value = found.times.median() / found.parameters as f64;
        if arguments.json {
            let mut line = self.head(
                "optimizer",
                &block.name,
                Executor::Eager,
                found.first,
                &found.times,
            );
            line.extend([("parameters".to_string(), json!(found.parameters))]);
            self.console.line(&Json::Object(line).to_string())?;
            return Ok(Exit::Done);
        }
        let title = format!(
            "{} over {:.1} million values, {}",
            block.name,
            found.parameters as f64 / 1e6,
            self.machine()
        );
        let rows = [
            ["executor", "first", "median", "least", "CPU", "a value"].map(str::to_string),
            [
                Executor::Eager.name().to_string(),
                time(found.first.wall),
                time(found.times.median()),
                time(found.times.least()),
                time(found.times.cpu()),
                time(per_value),
            ],
        ];
        self.show(&title, &table(&rows, &[0]))?;
        Ok(Exit::Done)
    }

    fn pipeline(&mut self) -> Result<Exit> {
        let arguments = self.arguments;
        self.eager_only("a pipeline")?;
        let path = Files::path_of(arguments.target.as_ref());
        let settings = Settings(arguments.settings.clone());
        let name = arguments.pipeline.as_deref();
        let Some(plan) = self.plan(&Files::new(), &path, &settings, name)? else {
            return Ok(Exit::Problems);
        };
        let mut world = World::open(&plan, arguments.seed, arguments.kind(), self.device)?;
        for stage in pipeline(&plan, &mut world, arguments.steps)? {
            self.tell_stage(&plan, &stage)?;
        }
        Ok(Exit::Done)
    }

    fn tell_stage(&mut self, plan: &Plan, stage: &StageTimes) -> Result<()> {
        let parts = stage.parts.iter().filter(|(_, took)| took.wall > 0.0);
        let median = stage.times.median();
        if self.arguments.json {
            let mut line = self.head(
                "pipeline",
                &plan.name,
                Executor::Eager,
                stage.first,
                &stage.times,
            );
            let parts: Map<String, Json> = parts
                .map(|(part, took)| {
                    let took = json!({ "median_seconds": took.wall, "cpu_seconds": took.cpu });
                    (part_name(*part), took)
                })
                .collect();
            line.extend([
                ("stage".to_string(), json!(stage.stage)),
                ("tokens".to_string(), json!(stage.tokens)),
                (
                    "cpu_microseconds_per_token".to_string(),
                    json!(stage.cpu_per_token * 1e6),
                ),
                ("parts".to_string(), json!(parts)),
            ]);
            self.console.line(&Json::Object(line).to_string())?;
            return Ok(());
        }
        let title = format!(
            "{}, stage {}: a step takes {} (least {}, CPU {}, the first {}) and draws {:.0} tokens, {}",
            plan.name,
            stage.stage,
            time(median),
            time(stage.times.least()),
            time(stage.times.cpu()),
            time(stage.first.wall),
            stage.tokens,
            self.machine()
        );
        let mut rows = vec![["part", "median", "CPU", "share"].map(str::to_string)];
        rows.extend(parts.map(|(part, took)| {
            [
                part_name(*part),
                time(took.wall),
                time(took.cpu),
                format!("{:.1} %", 100.0 * took.wall / median.max(1e-9)),
            ]
        }));
        self.show(&title, &table(&rows, &[0]))
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

    /// Pipelines and rules have one executor.
    fn eager_only(&self, what: &str) -> Result<(), Fault> {
        match self.arguments.executors.as_slice() {
            [] | [Executor::Eager] => Ok(()),
            _ => Err(Fault::input(format!("{what} runs on the executor `eager`"))),
        }
    }

    /// What every line of JSON begins with.
    fn head(
        &self,
        bench: &str,
        name: &str,
        executor: Executor,
        first: Elapsed,
        times: &Times,
    ) -> Map<String, Json> {
        let fields = [
            ("bench", json!(bench)),
            ("name", json!(name)),
            ("executor", json!(executor.name())),
            ("precision", json!(self.arguments.precision.name())),
            ("threads", json!(tch::get_num_threads())),
            ("repeat", json!(times.count())),
            ("first_seconds", json!(first.wall)),
            ("first_cpu_seconds", json!(first.cpu)),
            ("median_seconds", json!(times.median())),
            ("seconds", json!(times.least())),
            ("cpu_seconds", json!(times.cpu())),
            ("peak_mib", json!(peak_mib())),
        ];
        fields
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect()
    }

    fn machine(&self) -> String {
        let threads = tch::get_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!(
            "{}, {threads} thread{plural}",
            self.arguments.precision.name()
        )
    }

    fn show(&mut self, title: &str, lines: &[String]) -> Result<()> {
        self.console.line(title)?;
        for line in lines {
            self.console.line(&format!("  {line}"))?;
        }
        Ok(())
    }
}

fn speed(times: &BlockTimes) -> f64 {
    times.bytes as f64 / times.times.median().max(1e-12) / 1e9
}

impl Bench {
    fn kind(&self) -> Kind {
        match self.precision {
            Precision::F32 => Kind::Float,
            Precision::F64 => Kind::Double,
        }
    }

    /// The settings without `step` and `steps`, and these two.
    fn settings(&self) -> Result<(Vec<(String, String)>, Option<u64>, Option<u64>)> {
        super::eval::counters(&self.settings)
    }
}
