//! How times are told: a table for people, a line of JSON for programs.

use rlp_compiler::plan::{BlockPlan, Plan};
use serde_json::{Map, Value as Json, json};

use super::Command;
use crate::bench::{BlockTimes, RuleTimes, StageTimes, Times, part_name};
use crate::clock::{Elapsed, peak_mib};
use crate::error::Result;
use rlp_frontend::arguments::Executor;
use rlp_record::number::time;
use rlp_record::table::table;

impl Command<'_> {
    pub(super) fn tell_block(
        &mut self,
        plan: &BlockPlan,
        found: &[(Executor, BlockTimes)],
    ) -> Result<()> {
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

    pub(super) fn tell_rule(&mut self, name: &str, found: &RuleTimes) -> Result<()> {
        let arguments = self.arguments;
        let per_value = found.times.median() / found.parameters as f64;
        if arguments.json {
            let mut line = self.head(
                "optimizer",
                name,
                Executor::Eager,
                found.first,
                &found.times,
            );
            line.extend([("parameters".to_string(), json!(found.parameters))]);
            self.console.line(&Json::Object(line).to_string())?;
            return Ok(());
        }
        let title = format!(
            "{} over {:.1} million values, {}",
            name,
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
        self.show(&title, &table(&rows, &[0]))
    }

    pub(super) fn tell_stage(&mut self, plan: &Plan, stage: &StageTimes) -> Result<()> {
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
