//! What differs between runs: in what they compute, with which settings, on what, and what came of it.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::curve::Curve;
use crate::number::{duration, number};
use crate::run::{Run, members, text};

/// Rows that belong together.
#[derive(Clone, PartialEq, Debug)]
pub struct Section {
    pub title: String,
    pub rows: Vec<Row>,
}

/// Something that differs, and what it is in each of the runs; `—` where it is not there.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub what: String,
    pub values: Vec<String>,
}

pub const ABSENT: &str = "—";

/// A thing that can differ: what is shown of it, and what decides whether it is the same.
struct Fact {
    section: String,
    what: String,
    shown: String,
    key: String,
}

/// What differs in meaning: not the names, comments and layout of the text.
pub fn differences(runs: &[Run]) -> Vec<Section> {
    let all: Vec<Vec<Fact>> = runs.iter().map(facts).collect();
    let mut sections: Vec<Section> = Vec::new();
    let mut done = BTreeSet::new();
    for fact in all.iter().flatten() {
        let name = (fact.section.as_str(), fact.what.as_str());
        if !done.insert(name) {
            continue;
        }
        let found: Vec<Option<&Fact>> = all
            .iter()
            .map(|facts| {
                facts
                    .iter()
                    .find(|own| (own.section.as_str(), own.what.as_str()) == name)
            })
            .collect();
        let keys: BTreeSet<Option<&str>> = found
            .iter()
            .map(|fact| fact.map(|fact| fact.key.as_str()))
            .collect();
        if keys.len() < 2 {
            continue;
        }
        let shown: BTreeSet<&str> = found
            .iter()
            .flatten()
            .map(|fact| fact.shown.as_str())
            .collect();
        // The same words for something else: a block whose body has changed.
        let is_inside = shown.len() == 1 && found.iter().all(Option::is_some);
        let value = |fact: &Option<&Fact>| match fact {
            None => ABSENT.to_string(),
            Some(fact) if is_inside => format!("{} #{}", fact.shown, short(&fact.key)),
            Some(fact) => fact.shown.clone(),
        };
        let row = Row {
            what: fact.what.clone(),
            values: found.iter().map(value).collect(),
        };
        match sections
            .iter_mut()
            .find(|section| section.title == fact.section)
        {
            Some(section) => section.rows.push(row),
            None => sections.push(Section {
                title: fact.section.clone(),
                rows: vec![row],
            }),
        }
    }
    sections
}

/// Whether the texts of the pipelines differ, in files of the user's own.
pub fn texts_differ(runs: &[Run]) -> bool {
    let texts: BTreeSet<String> = runs
        .iter()
        .map(|run| run.description["sources"].to_string())
        .collect();
    texts.len() > 1
}

/// What came of the runs: the numbers that they told, each the mean of its last steps.
pub fn results(runs: &[Run]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let stages = runs.iter().flat_map(|run| &run.stages);
    let mut names: Vec<&str> = Vec::new();
    for stage in stages {
        if !names.contains(&stage.name.as_str()) {
            names.push(&stage.name);
        }
    }
    for stage in names {
        let mut rows = Vec::new();
        let curves = runs.iter().flat_map(|run| &run.curves);
        for curve in curves.filter(|curve| curve.stage == stage && !is_vital(&curve.name)) {
            if rows.iter().any(|row: &Row| row.what == curve.name) {
                continue;
            }
            let value = |run: &Run| {
                run.curve(stage, &curve.name)
                    .and_then(Curve::recent)
                    .map_or(ABSENT.to_string(), number)
            };
            rows.push(Row {
                what: curve.name.clone(),
                values: runs.iter().map(value).collect(),
            });
        }
        let of = |show: &dyn Fn(&crate::run::Stage) -> String| {
            let own = |run: &Run| {
                let stage = run.stages.iter().find(|own| own.name == stage);
                stage.map_or(ABSENT.to_string(), show)
            };
            runs.iter().map(own).collect()
        };
        rows.push(Row {
            what: "steps".to_string(),
            values: of(&|stage| stage.steps.to_string()),
        });
        rows.push(Row {
            what: "time".to_string(),
            values: of(&|stage| duration(stage.seconds)),
        });
        sections.push(Section {
            title: format!("stage {stage}"),
            rows,
        });
    }
    sections
}

/// Whether a number tells of the run's health and speed, not of what it is for.
pub fn is_vital(name: &str) -> bool {
    let plain = [
        "entropy",
        "cut",
        "outside",
        "logp_gap",
        "tokens/s",
        "updates",
        "grad_norm",
    ];
    let parts = ["grad_norm.", "updates.", "phases.", "rewards."];
    plain.contains(&name) || parts.iter().any(|part| name.starts_with(part))
}

fn short(key: &str) -> String {
    let sum = key.rsplit(' ').next().unwrap_or_default();
    sum.chars().take(6).collect()
}

fn facts(run: &Run) -> Vec<Fact> {
    let mut facts = Facts(Vec::new());
    let resolved = &run.resolved;
    for (name, value) in members(resolved, "settings") {
        facts.plain("settings", name, value);
    }
    let description = &run.description;
    facts.plain("pipeline", "name", &description["pipeline"]);
    for (section, list) in [("models", &resolved["models"]), ("data", &resolved["data"])] {
        for own in list.as_array().into_iter().flatten() {
            let name = text(own, "name");
            facts.plain(section, &name, &own["block"]);
            for (arg, value) in members(own, "args") {
                facts.plain(section, &format!("{name}.{arg}"), value);
            }
        }
    }
    for stage in resolved["stages"].as_array().into_iter().flatten() {
        facts.stage(stage);
    }
    for what in ["seed", "steps", "executor", "device", "threads", "rlpc"] {
        facts.plain("run", what, &description[what]);
    }
    facts.add(
        "run",
        "standard library",
        "another one",
        &text(description, "standard"),
    );
    for what in ["libtorch", "processor"] {
        facts.plain("run", what, &run.environment[what]);
    }
    facts.0
}

struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, section: &str, what: &str, shown: &str, key: &str) {
        self.0.push(Fact {
            section: section.to_string(),
            what: what.to_string(),
            shown: shown.to_string(),
            key: key.to_string(),
        });
    }

    fn plain(&mut self, section: &str, what: &str, value: &Json) {
        if value.is_null() {
            return;
        }
        let shown = shown(value);
        self.add(section, what, &shown, &shown);
    }

    fn stage(&mut self, stage: &Json) {
        let section = format!("stage {}", text(stage, "name"));
        for value in stage["values"].as_array().into_iter().flatten() {
            let name = text(value, "name");
            let what = match value["block"].as_str() {
                Some(block) => block.to_string(),
                None => text(value, "kind"),
            };
            // What is in the arguments of a draw has rows of its own.
            let key = if text(value, "kind") == "draw" {
                let reads: Vec<&str> = strings(&value["reads"]);
                format!("{what} {reads:?}")
            } else {
                format!("{what} {}", text(value, "sum"))
            };
            self.add(&section, &name, &what, &key);
            for (arg, value) in members(value, "args") {
                self.plain(&section, &format!("{name}.{arg}"), value);
            }
        }
        for train in stage["trains"].as_array().into_iter().flatten() {
            let targets = strings(&train["trains"]).join("+");
            let of = |what: &str| format!("train {targets}: {what}");
            self.read(&section, &of("minimize"), &train["loss"]);
            for rule in train["rules"].as_array().into_iter().flatten() {
                let (block, on) = (text(rule, "block"), text(rule, "on"));
                let with = of(&format!("with on {on}"));
                let with = with.trim_end_matches(" on all").to_string();
                self.add(&section, &with, &block, &block);
                for (arg, value) in members(rule, "args") {
                    let what = format!("{with}, {arg}");
                    if value.is_object() {
                        self.read(&section, &what, value);
                    } else {
                        self.plain(&section, &what, value);
                    }
                }
            }
            for what in [
                "steps",
                "epochs",
                "minibatch",
                "micro_batch",
                "clip_norm",
                "keep_state",
            ] {
                self.plain(&section, &of(what), &train[what]);
            }
            for report in train["evaluations"].as_array().into_iter().flatten() {
                self.report(&section, "evaluate", report);
            }
        }
        for report in stage["reports"].as_array().into_iter().flatten() {
            self.report(&section, "report", report);
        }
        for state in stage["states"].as_array().into_iter().flatten() {
            self.read(&section, &format!("state {}", text(state, "name")), state);
        }
    }

    fn report(&mut self, section: &str, word: &str, report: &Json) {
        for entry in report["entries"].as_array().into_iter().flatten() {
            self.read(section, &format!("{word} {}", text(entry, "name")), entry);
        }
    }

    /// An expression by the values that it reads.
    fn read(&mut self, section: &str, what: &str, value: &Json) {
        let reads = strings(&value["reads"]).join(", ");
        let key = format!("{reads} {}", text(value, "sum"));
        let shown = if reads.is_empty() {
            "an expression".to_string()
        } else {
            format!("of {reads}")
        };
        self.add(section, what, &shown, &key);
    }
}

fn strings(list: &Json) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Json::as_str).collect()
}

pub(crate) fn shown(value: &Json) -> String {
    match value {
        Json::Number(real) if real.is_f64() => real.as_f64().map_or(String::new(), number),
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            value.to_string()
        }
    }
}
