//! An account as it is shown and kept.

use rlp_record::number::{bytes, count, duration, time};
use rlp_record::table::lines_of;
use serde_json::{Map, Value as Json, json};

use crate::account::{Account, Phase, StageAccount};
use crate::machine::Memory;
use crate::memory::{Amounts, Term};
use crate::work::Work;

impl Account {
    /// Lines for a terminal; with what a machine has of memory, if that is known.
    pub fn table(&self, memory: Option<Memory>) -> Vec<String> {
        let text = |text: &str| text.to_string();
        let head = ["model", "parameters", "trained", "held in", "computed in"].map(text);
        let mut rows = vec![head.to_vec()];
        for model in &self.models {
            rows.push(vec![
                model.name.clone(),
                count(model.parameters as f64),
                match model.trained {
                    0 => text("none"),
                    trained => count(trained as f64),
                },
                text(model.held.name()),
                text(model.computed.name()),
            ]);
        }
        let mut lines = if self.models.is_empty() {
            Vec::new()
        } else {
            lines_of(&rows, &[0, 3, 4])
        };
        lines.extend([String::new()]);
        lines.extend(self.memory_table());
        for stage in &self.stages {
            lines.extend([String::new()]);
            lines.extend(stage.lines(self.has_times));
        }
        lines.extend([String::new()]);
        if let Some(seconds) = self.seconds() {
            lines.push(format!(
                "time: at least {} for all steps; small models and a machine that does other work take several times that",
                about(seconds)
            ));
        }
        let of = memory.map_or(String::new(), |memory| {
            let (total, free) = (bytes(memory.total as f64), bytes(memory.free as f64));
            format!(" of {total}, of which {free} are free now")
        });
        lines.push(format!("peak: {}{of}", bytes(self.peak() as f64)));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines
    }

    /// Peak memory by phase, split into its terms.
    fn memory_table(&self) -> Vec<String> {
        let all = self.stages.iter().flat_map(|stage| &stage.phases);
        let all: Vec<Amounts> = all.map(|own| own.peak).chain([self.loading]).collect();
        let is_used = |term: &Term| all.iter().any(|amounts| amounts[*term] > 0);
        let terms: Vec<Term> = Term::ALL.into_iter().filter(is_used).collect();
        let row = |stage: &str, phase: Phase, peak: &Amounts| {
            let mut row = vec![stage.to_string(), phase.name().to_string()];
            row.push(bytes(peak.total() as f64));
            row.extend(terms.iter().map(|&term| match peak[term] {
                0 => String::new(),
                amount => bytes(amount as f64),
            }));
            row
        };
        let mut head: Vec<String> = ["stage", "phase", "peak"].map(str::to_string).to_vec();
        head.extend(terms.iter().map(|term| term.name().to_string()));
        let mut rows = vec![head, row("", Phase::Loading, &self.loading)];
        for stage in &self.stages {
            for phase in Phase::ALL {
                if let Some(own) = stage.peak(phase) {
                    rows.push(row(&stage.name, phase, &own.peak));
                }
            }
        }
        lines_of(&rows, &[0, 1])
    }

    pub fn to_json(&self) -> Json {
        let models = self.models.iter().map(|model| {
            json!({
                "name": model.name, "parameters": model.parameters, "held": model.held.name(),
                "computed": model.computed.name(), "trained": model.trained,
            })
        });
        let stages = self
            .stages
            .iter()
            .map(|stage| stage.to_json(self.has_times));
        json!({
            "pipeline": self.pipeline, "models": models.collect::<Vec<_>>(), "peak": self.peak(),
            "loading": amounts(&self.loading), "stages": stages.collect::<Vec<_>>(), "seconds": self.seconds(),
            "notes": self.notes,
        })
    }
}

impl StageAccount {
    fn lines(&self, has_times: bool) -> Vec<String> {
        let steps = if self.steps == 1 { "step" } else { "steps" };
        let models = |models: &[(String, u64)]| {
            let each = models
                .iter()
                .map(|(name, own)| format!("{name} ({})", count(*own as f64)));
            each.collect::<Vec<_>>().join(", ")
        };
        let mut head = format!("stage {}, {} {steps}", self.name, self.steps);
        if !self.trained.is_empty() {
            head += &format!(", trains {}", models(&self.trained));
        }
        if !self.frozen.is_empty() {
            head += &format!(", reads {}", models(&self.frozen));
        }
        let mut lines = vec![head, told("a step", &self.work, has_times)];
        if self.evaluation.total() > 0.0 {
            lines.push(told("an evaluation", &self.evaluation, has_times));
        }
        lines
    }

    fn to_json(&self, has_times: bool) -> Json {
        let models = |models: &[(String, u64)]| -> Map<String, Json> {
            models
                .iter()
                .map(|(name, own)| (name.clone(), json!(own)))
                .collect()
        };
        let phases: Map<String, Json> = Phase::ALL
            .into_iter()
            .filter_map(|phase| Some((phase.name().to_string(), amounts(&self.peak(phase)?.peak))))
            .collect();
        json!({
            "name": self.name, "steps": self.steps, "trained": models(&self.trained), "frozen": models(&self.frozen),
            "memory": phases, "flops": work(&self.work), "seconds": has_times.then_some(self.work.seconds),
            "evaluation_seconds": has_times.then_some(self.evaluation.seconds),
        })
    }
}

fn amounts(amounts: &Amounts) -> Json {
    let terms = Term::ALL.into_iter();
    let mut all: Map<String, Json> = terms
        .map(|term| (term.name().to_string(), json!(amounts[term])))
        .collect();
    all.insert("total".to_string(), json!(amounts.total()));
    Json::Object(all)
}

fn parts(work: &Work) -> [(&'static str, f64); 5] {
    [
        ("prefill", work.prefill),
        ("decode", work.decode),
        ("forward", work.forward),
        ("backward", work.backward),
        ("update", work.update),
    ]
}

fn work(work: &Work) -> Map<String, Json> {
    let parts = parts(work).into_iter();
    parts
        .map(|(name, flops)| (name.to_string(), json!(flops)))
        .collect()
}

/// `a step: 840 GFLOP (decode 201 G, forward 201 G, backward 438 G), about 12.3 s`
fn told(what: &str, work: &Work, has_times: bool) -> String {
    let parts = parts(work).into_iter().filter(|(_, flops)| *flops > 0.0);
    let parts: Vec<String> = parts
        .map(|(name, flops)| format!("{name} {}", count(flops)))
        .collect();
    let time = match has_times {
        true => format!(", about {}", about(work.seconds)),
        false => String::new(),
    };
    let parts = if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    };
    format!("{what}: {}FLOP{parts}{time}", count(work.total()))
}

fn about(seconds: f64) -> String {
    if seconds < 60.0 {
        time(seconds)
    } else {
        duration(seconds)
    }
}
