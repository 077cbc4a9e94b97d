//! A run as its folder tells of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::curve::Curve;
use crate::read;

/// How far a run came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Done,
    /// After an error; its weights were left.
    Stopped,
    /// It goes on, was interrupted, or was killed.
    Open,
}

impl Ending {
    pub fn name(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Stopped => "stopped",
            Ending::Open => "open",
        }
    }
}

/// How far a stage came, and what it took.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    pub name: String,
    /// Steps done, and of how many.
    pub steps: u64,
    pub of: u64,
    pub seconds: f64,
    pub tokens: u64,
}

/// A response that was sampled, with its scores.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub stage: String,
    pub step: u64,
    /// The name of the draw.
    pub draw: String,
    pub prompt: String,
    pub text: String,
    pub answer: String,
    pub finished: bool,
    /// Rewards and advantages by name.
    pub numbers: Vec<(String, f64)>,
}

/// Where time went: a row of the profile.
#[derive(Clone, PartialEq, Debug)]
pub struct Timing {
    pub stage: String,
    pub phase: String,
    /// The block and the work in it; empty for the loop itself.
    pub what: String,
    pub place: String,
    pub seconds: f64,
    pub calls: u64,
}

/// A warning that the run gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Warned {
    pub code: String,
    pub stage: String,
    pub step: u64,
    pub message: String,
}

/// A run, as far as its folder can be read.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    pub path: PathBuf,
    /// The name of the folder.
    pub name: String,
    pub pipeline: String,
    /// `run.json`, `resolved.json` and `environment.json`; `Null` where there is none.
    pub description: Json,
    pub resolved: Json,
    pub environment: Json,
    pub stages: Vec<Stage>,
    pub curves: Vec<Curve>,
    pub samples: Vec<Sample>,
    pub timings: Vec<Timing>,
    pub warnings: Vec<Warned>,
    pub ending: Ending,
    /// After how many steps the latest checkpoint was saved.
    pub saved: Option<u64>,
    /// What of the folder cannot be read.
    pub remarks: Vec<String>,
}

/// So many samples are kept in memory.
const MOST_SAMPLES: usize = 20_000;
/// So many numbers of a stage: a file may name as many as it has lines.
const MOST_CURVES: usize = 500;

/// What of a step is no number of the run.
const HEAD: [&str; 8] = [
    "event",
    "stage",
    "step",
    "steps",
    "metrics",
    "tokens",
    "seconds",
    "without_update",
];

impl Run {
    /// Reads a folder, or what is left of it.
    ///
    /// # Errors
    /// It is no folder, or holds nothing of a run.
    pub fn read(path: &Path) -> Result<Run, String> {
        let shown = path.display();
        if !path.is_dir() {
            return Err(format!("`{shown}` is no folder"));
        }
        if !["run.json", "metrics.jsonl"]
            .iter()
            .any(|name| path.join(name).exists())
        {
            return Err(format!("`{shown}` is not the folder of a run"));
        }
        let mut reader = Reader::default();
        let description = reader.json(path, "run.json");
        let resolved = reader.json(path, "resolved.json");
        let environment = reader.json(path, "environment.json");
        let profile = reader.json(path, "profile.json");
        reader.lines(path, "metrics.jsonl", Reader::told);
        reader.lines(path, "samples.jsonl", Reader::sampled);
        let name = path
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let ending = if path.join("final").is_dir() {
            Ending::Done
        } else if path.join("stopped").is_dir() {
            Ending::Stopped
        } else {
            Ending::Open
        };
        Ok(Run {
            name: name.unwrap_or_else(|| shown.to_string()),
            pipeline: text(&description, "pipeline"),
            saved: saved(path),
            path: path.to_path_buf(),
            description,
            resolved,
            environment,
            stages: reader.stages,
            curves: reader.curves,
            samples: reader.samples,
            timings: timings(&profile),
            warnings: reader.warnings,
            ending,
            remarks: reader.remarks,
        })
    }

    /// When it began, `2026-11-24 09:57:59` in UTC; empty if that is not known.
    pub fn started(&self) -> String {
        text(&self.environment, "started")
    }

    /// Seconds of all its steps.
    pub fn seconds(&self) -> f64 {
        self.stages.iter().map(|stage| stage.seconds).sum()
    }

    pub fn steps(&self) -> u64 {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    pub fn curve(&self, stage: &str, name: &str) -> Option<&Curve> {
        self.curves
            .iter()
            .find(|curve| curve.stage == stage && curve.name == name)
    }

    /// What tells how well it went: what is evaluated, else what is reported, else the loss; of the last stage that has it.
    pub fn headline(&self) -> Vec<&Curve> {
        let of_last = |is: &dyn Fn(&&Curve) -> bool| {
            let last = self.curves.iter().rfind(is)?;
            let same = |curve: &&Curve| curve.stage == last.stage && is(curve);
            Some(self.curves.iter().filter(same).collect::<Vec<_>>())
        };
        let is_evaluated = |curve: &&Curve| curve.name.ends_with(EVALUATED);
        let is_loss = |curve: &&Curve| curve.name == "loss" || curve.name.starts_with("loss.");
        of_last(&is_evaluated)
            .or_else(|| of_last(&is_loss))
            .unwrap_or_default()
    }
}

/// What stands behind the name of a number that an evaluation tells.
pub(crate) const EVALUATED: &str = " (evaluated)";

#[derive(Default)]
struct Reader {
    stages: Vec<Stage>,
    curves: Vec<Curve>,
    /// Where a curve stands, by stage and name.
    places: BTreeMap<(String, String), usize>,
    samples: Vec<Sample>,
    warnings: Vec<Warned>,
    remarks: Vec<String>,
}

impl Reader {
    fn json(&mut self, folder: &Path, name: &str) -> Json {
        read::json(folder, name).unwrap_or_else(|remark| {
            self.remarks.push(remark);
            Json::Null
        })
    }

    fn lines(&mut self, folder: &Path, name: &str, each: fn(&mut Reader, &Json)) {
        match read::lines(folder, name, |line| each(self, line)) {
            Ok(0) => {}
            Ok(1) => self
                .remarks
                .push(format!("1 line of `{name}` cannot be read")),
            Ok(wrong) => self
                .remarks
                .push(format!("{wrong} lines of `{name}` cannot be read")),
            Err(remark) => self.remarks.push(remark),
        }
    }

    fn told(&mut self, line: &Json) {
        let stage = text(line, "stage");
        let step = line["step"].as_u64().unwrap_or_default();
        match line["event"].as_str() {
            Some("step") => {
                let tokens = line["tokens"].as_u64().unwrap_or_default();
                let seconds = line["seconds"]
                    .as_f64()
                    .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
                    .unwrap_or_default();
                let own = self.stage(&stage);
                own.steps = step;
                own.of = line["steps"].as_u64().unwrap_or_default();
                own.tokens = own.tokens.saturating_add(tokens);
                own.seconds += seconds;
                let numbers = line.as_object().into_iter().flatten();
                for (name, value) in numbers.filter(|(name, _)| !HEAD.contains(&name.as_str())) {
                    match value {
                        // The rewards of a step, its phases: a number each.
                        Json::Object(parts) => parts.iter().for_each(|(part, value)| {
                            self.add(&stage, &format!("{name}.{part}"), step, value)
                        }),
                        value => self.add(&stage, name, step, value),
                    }
                }
                for (name, value) in members(line, "metrics") {
                    self.add(&stage, name, step, value);
                }
                if tokens > 0 && seconds > 0.0 {
                    let speed = Json::from(tokens as f64 / seconds);
                    self.add(&stage, "tokens/s", step, &speed);
                }
            }
            Some("evaluation") => {
                for (name, value) in members(line, "metrics") {
                    self.add(&stage, &format!("{name}{EVALUATED}"), step, value);
                }
            }
            Some("warning") => self.warnings.push(Warned {
                code: text(line, "code"),
                stage,
                step,
                message: text(line, "message"),
            }),
            Some(_) | None => {}
        }
    }

    fn stage(&mut self, name: &str) -> &mut Stage {
        let place = self.stages.iter().position(|stage| stage.name == name);
        let place = place.unwrap_or_else(|| {
            self.stages.push(Stage {
                name: name.to_string(),
                steps: 0,
                of: 0,
                seconds: 0.0,
                tokens: 0,
            });
            self.stages.len() - 1
        });
        &mut self.stages[place]
    }

    fn add(&mut self, stage: &str, name: &str, step: u64, value: &Json) {
        let Some(value) = value.as_f64().filter(|value| value.is_finite()) else {
            return;
        };
        let key = (stage.to_string(), name.to_string());
        let place = match self.places.get(&key) {
            Some(&place) => place,
            None if self.curves.len() >= MOST_CURVES => return,
            None => {
                self.curves.push(Curve {
                    stage: key.0.clone(),
                    name: key.1.clone(),
                    points: Vec::new(),
                });
                self.places.insert(key, self.curves.len() - 1);
                self.curves.len() - 1
            }
        };
        self.curves[place].points.push((step, value));
    }

    fn sampled(&mut self, line: &Json) {
        if self.samples.len() >= MOST_SAMPLES {
            return;
        }
        let numbers = members(line, "numbers")
            .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
            .collect();
        self.samples.push(Sample {
            stage: text(line, "stage"),
            step: line["step"].as_u64().unwrap_or_default(),
            draw: text(line, "draw"),
            prompt: text(line, "prompt"),
            text: text(line, "text"),
            answer: text(line, "answer"),
            finished: line["finished"].as_bool().unwrap_or(true),
            numbers,
        });
    }
}

fn timings(profile: &Json) -> Vec<Timing> {
    let rows = profile["rows"].as_array().into_iter().flatten();
    let row = |row: &Json| {
        let (block, work) = (text(row, "block"), text(row, "work"));
        let what = [block, work]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": ");
        let place = match row["line"].as_u64() {
            Some(line) if line > 0 => format!("{}:{line}", text(row, "file")),
            Some(_) | None => String::new(),
        };
        let seconds = row["seconds"].as_f64().unwrap_or_default();
        Timing {
            stage: text(row, "stage"),
            phase: text(row, "phase"),
            what,
            place,
            seconds: if seconds.is_finite() {
                seconds.max(0.0)
            } else {
                0.0
            },
            calls: row["calls"].as_u64().unwrap_or_default(),
        }
    };
    rows.map(row).collect()
}

/// After how many steps the latest checkpoint was saved, by the names of their folders.
fn saved(path: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(path.join("checkpoints")).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).max()
}

pub(crate) fn text(json: &Json, name: &str) -> String {
    json[name].as_str().unwrap_or_default().to_string()
}

pub(crate) fn members<'j>(
    json: &'j Json,
    name: &str,
) -> impl Iterator<Item = (&'j String, &'j Json)> {
    json[name].as_object().map(Map::iter).into_iter().flatten()
}
