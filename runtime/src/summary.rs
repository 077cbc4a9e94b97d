//! What a run came to: for each stage, every number that was told, at first and at last.

use rlp_record::number::{duration, number};
use rlp_record::table::table;
use serde_json::{Map, Value as Json, json};

use crate::report::Event;

/// The numbers of a run so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Summary {
    stages: Vec<Stage>,
}

#[derive(Clone, PartialEq, Debug)]
struct Stage {
    name: String,
    steps: u64,
    tokens: u64,
    seconds: f64,
    numbers: Vec<Number>,
}

#[derive(Clone, PartialEq, Debug)]
struct Number {
    name: String,
    first: f64,
    last: f64,
}

impl Summary {
    pub(crate) fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Step(step) => {
                let stage = self.stage(&step.stage);
                stage.steps = step.step;
                stage.tokens += step.tokens;
                stage.seconds += step.seconds;
                step.losses()
                    .iter()
                    .chain(&step.metrics)
                    .for_each(|(name, value)| stage.add(name, *value));
            }
            Event::NotFinite(_) | Event::Warning(_) => {}
            Event::Evaluation(evaluation) => {
                let stage = self.stage(&evaluation.stage);
                let shown = |name: &str| format!("{name} (evaluated)");
                evaluation
                    .metrics
                    .iter()
                    .for_each(|(name, value)| stage.add(&shown(name), *value));
            }
        }
    }

    /// Adds what a line of `metrics.jsonl` tells; one that is none is passed over.
    pub(crate) fn recall(&mut self, line: &Json) {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let number = |value: &Json| value.as_f64().unwrap_or(f64::NAN);
        let told = line["metrics"].as_object().into_iter().flatten();
        match text("event") {
            "step" => {
                let is_loss = |name: &str| name == "loss" || name.starts_with("loss.");
                let losses = line.as_object().into_iter().flatten();
                let losses = losses.filter(|(name, _)| is_loss(name));
                let stage = self.stage(text("stage"));
                stage.steps = line["step"].as_u64().unwrap_or(stage.steps);
                stage.tokens += line["tokens"].as_u64().unwrap_or(0);
                stage.seconds += line["seconds"].as_f64().unwrap_or(0.0);
                losses
                    .chain(told)
                    .for_each(|(name, value)| stage.add(name, number(value)));
            }
            "evaluation" => {
                let stage = self.stage(text("stage"));
                told.for_each(|(name, value)| {
                    stage.add(&format!("{name} (evaluated)"), number(value));
                });
            }
            _ => {}
        }
    }

    /// Tokens a second of the latest stage.
    pub(crate) fn tokens_per_second(&self) -> f64 {
        self.stages
            .last()
            .map_or(0.0, |stage| stage.tokens as f64 / stage.seconds.max(1e-9))
    }

    fn stage(&mut self, name: &str) -> &mut Stage {
        if self.stages.last().is_none_or(|stage| stage.name != name) {
            let name = name.to_string();
            self.stages.push(Stage {
                name,
                steps: 0,
                tokens: 0,
                seconds: 0.0,
                numbers: Vec::new(),
            });
        }
        let last = self.stages.len() - 1;
        &mut self.stages[last]
    }

    /// Lines of a table, its heading first.
    pub(crate) fn table(&self) -> Vec<String> {
        let mut rows = vec![["stage", "steps", "time", "", "first", "last"].map(str::to_string)];
        for stage in &self.stages {
            let mut head = [
                stage.name.clone(),
                stage.steps.to_string(),
                duration(stage.seconds),
            ];
            for Number { name, first, last } in &stage.numbers {
                let [name_of_stage, steps, seconds] = std::mem::take(&mut head);
                rows.push([
                    name_of_stage,
                    steps,
                    seconds,
                    name.clone(),
                    number(*first),
                    number(*last),
                ]);
            }
            if stage.numbers.is_empty() {
                let [name, steps, seconds] = head;
                rows.push([
                    name,
                    steps,
                    seconds,
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
        }
        // Names to the left, numbers to the right.
        table(&rows, &[0, 3])
    }

    /// One object a stage, with the last value of each number.
    pub(crate) fn to_json(&self) -> Json {
        let stage = |stage: &Stage| {
            let last: Map<String, Json> = stage
                .numbers
                .iter()
                .map(|own| (own.name.clone(), json!(own.last)))
                .collect();
            json!({ "stage": stage.name, "steps": stage.steps, "tokens": stage.tokens, "seconds": stage.seconds, "last": last })
        };
        self.stages.iter().map(stage).collect()
    }
}

impl Stage {
    fn add(&mut self, name: &str, value: f64) {
        match self.numbers.iter_mut().find(|number| number.name == name) {
            Some(number) => number.last = value,
            None => self.numbers.push(Number {
                name: name.to_string(),
                first: value,
                last: value,
            }),
        }
    }
}
