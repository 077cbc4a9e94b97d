//! The papers' comparisons in small: every run with three seeds, the medians, and a page of what came out.

mod found;
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use found::{Finding, Found};

const SEEDS: [u64; 3] = [0, 1, 2];
/// How many steps a stage's start is the mean of.
const FIRST: usize = 3;
const COMPARISONS: &str = "tests/papers/comparisons.json";

/// The comparison of one paper, as its page states it.
#[derive(Deserialize)]
struct Comparison {
    /// The name of its example.
    paper: String,
    /// Where the example is, if not among those of the papers.
    #[serde(default)]
    example: Option<String>,
    title: String,
    arxiv: String,
    /// The paper's own figure.
    theirs: String,
    /// How many steps the end is the mean of.
    last: usize,
    runs: BTreeMap<String, Variant>,
    claims: Vec<Claim>,
}

impl Comparison {
    fn example(&self) -> String {
        let usual = || format!("examples/papers/{}.rlp", self.paper);
        self.example.clone().unwrap_or_else(usual)
    }
}

#[derive(Deserialize)]
struct Variant {
    #[serde(default)]
    set: BTreeMap<String, String>,
}

/// `left` is at most, or at least, `times` · `right` + `plus`.
#[derive(Deserialize)]
struct Claim {
    says: String,
    left: Quantity,
    is: Relation,
    right: Option<Quantity>,
    times: f64,
    plus: f64,
    /// What was tried, of a claim that is known not to show at this scale.
    #[serde(default)]
    not_shown: Option<String>,
}

#[derive(Deserialize, Serialize, Clone, Copy, PartialEq)]
enum Relation {
    #[serde(rename = "at most")]
    AtMost,
    #[serde(rename = "at least")]
    AtLeast,
}

/// A number of a run: a metric of its last stage at the start, the end or a step, or how much of `counting` went by until it
/// reached a value (all of it, if it never did).
#[derive(Deserialize)]
struct Quantity {
    run: String,
    metric: String,
    at: Option<End>,
    /// Of the stage's steps, from 1, in place of an end.
    step: Option<usize>,
    reaches: Option<f64>,
    counting: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum End {
    Start,
    End,
}

/// The metrics of the steps of a run's last stage.
type Steps = Vec<BTreeMap<String, f64>>;

/// Makes the runs of the papers named (of all, if none is), as many at once as there are cores, and writes what came out
/// into the page. A run that this engine has made before of the same sources is not made again.
pub(crate) fn papers(checkout: &Path, named: &[&str]) -> Result<(), String> {
    let text = read(&checkout.join(COMPARISONS))?;
    let comparisons: Vec<Comparison> =
        serde_json::from_str(&text).map_err(|error| format!("{COMPARISONS}: {error}"))?;
    let is_known = |name: &&&str| comparisons.iter().any(|other| other.paper == **name);
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        return Err(format!("{COMPARISONS} has no `{unknown}`"));
    }
    let is_named = |own: &&Comparison| named.is_empty() || named.contains(&own.paper.as_str());
    let chosen: Vec<&Comparison> = comparisons.iter().filter(is_named).collect();
    make(checkout, &chosen)?;

    let mut all = found::read(checkout)?;
    let mut failed = Vec::new();
    for comparison in chosen {
        let found = compare(checkout, comparison)?;
        for finding in &found.claims {
            println!("{}: {}", comparison.paper, page::row(finding));
            if !finding.holds && finding.not_shown.is_none() {
                failed.push(format!("{}: {}", comparison.paper, finding.says));
            }
        }
        all.retain(|other| other.paper != comparison.paper);
        all.push(found);
    }
    let place = |found: &Found| comparisons.iter().position(|own| own.paper == found.paper);
    all.retain(|found| place(found).is_some());
    all.sort_by_key(place);
    found::write(checkout, &all)?;
    page::write(checkout, &all)?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("does not hold:\n  {}", failed.join("\n  ")))
}

/// What the runs of a comparison say of its claims.
fn compare(checkout: &Path, comparison: &Comparison) -> Result<Found, String> {
    let mut runs: BTreeMap<(&str, u64), Steps> = BTreeMap::new();
    for name in comparison.runs.keys() {
        for seed in SEEDS {
            let folder = folder(checkout, comparison, name, seed);
            runs.insert((name, seed), steps(&folder.join("metrics.jsonl"))?);
        }
    }
    let claims = comparison.claims.iter();
    Ok(Found {
        paper: comparison.paper.clone(),
        title: comparison.title.clone(),
        arxiv: comparison.arxiv.clone(),
        example: comparison.example(),
        theirs: comparison.theirs.clone(),
        date: found::today(),
        machine: found::machine(),
        claims: claims
            .map(|claim| check(claim, comparison, &runs))
            .collect::<Result<_, _>>()?,
    })
}

fn folder(checkout: &Path, comparison: &Comparison, name: &str, seed: u64) -> PathBuf {
    let plain = |letter: char| {
        if letter.is_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(plain).collect();
    checkout.join(format!("target/papers/{}-{name}-{seed}", comparison.paper))
}

/// A run to make.
struct Job<'a> {
    comparison: &'a Comparison,
    name: &'a str,
    variant: &'a Variant,
    seed: u64,
}

/// Makes the runs that are not there, on one thread each.
fn make(checkout: &Path, comparisons: &[&Comparison]) -> Result<(), String> {
    let mut jobs = Vec::new();
    for comparison in comparisons {
        for seed in SEEDS {
            for (name, variant) in &comparison.runs {
                if !is_current(checkout, &folder(checkout, comparison, name, seed)) {
                    jobs.push(Job {
                        comparison,
                        name,
                        variant,
                        seed,
                    });
                }
            }
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(checkout, job)?;
        }
        Ok(())
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            let done = worker.join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Whether a run ended, of the same sources and made by the engine that would make it now.
fn is_current(checkout: &Path, folder: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    let engine = written(&checkout.join("target/debug/rlpc-engine"));
    let about = fs::read_to_string(folder.join("run.json")).unwrap_or_default();
    let about: Value = serde_json::from_str(&about).unwrap_or_default();
    let is_same = |(path, text): (&String, &Value)| {
        fs::read_to_string(checkout.join(path)).is_ok_and(|now| Some(now.as_str()) == text.as_str())
    };
    folder.join("final").is_dir()
        && written(&folder.join("run.json")) > engine
        && about["sources"]
            .as_object()
            .is_some_and(|sources| sources.iter().all(is_same))
}

fn run(checkout: &Path, job: &Job) -> Result<(), String> {
    let Job {
        comparison,
        name,
        variant,
        seed,
    } = job;
    let folder = folder(checkout, comparison, name, *seed);
    if folder.is_dir() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    println!("{}: {name}, seed {seed}", comparison.paper);
    let mut command = Command::new(checkout.join("target/debug/rlpc"));
    command
        .current_dir(checkout)
        .args(["run", "--quiet", "--threads", "1", "--seed"])
        .arg(seed.to_string())
        .arg("--run-dir")
        .arg(&folder)
        .arg(comparison.example())
        .stdout(Stdio::null());
    for (setting, value) in &variant.set {
        command.arg("--set").arg(format!("{setting}={value}"));
    }
    let status = command
        .status()
        .map_err(|error| format!("rlpc cannot be started: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "{}: {name}, seed {seed}: rlpc {status}",
        comparison.paper
    ))
}

fn steps(path: &Path) -> Result<Steps, String> {
    let mut stage = String::new();
    let mut steps = Steps::new();
    for line in read(path)?.lines() {
        let event: Value =
            serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?;
        if event["event"] != "step" {
            continue;
        }
        if event["stage"] != stage.as_str() {
            stage = event["stage"].as_str().unwrap_or_default().to_string();
            steps.clear();
        }
        let metrics = event["metrics"].as_object().into_iter().flatten();
        steps.push(
            metrics
                .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                .collect(),
        );
    }
    Ok(steps)
}

/// What was measured for a claim; it holds if it does for the median of what is left over of it in each seed.
fn check(
    claim: &Claim,
    comparison: &Comparison,
    runs: &BTreeMap<(&str, u64), Steps>,
) -> Result<Finding, String> {
    let (mut lefts, mut bounds, mut spare) = (Vec::new(), Vec::new(), Vec::new());
    for seed in SEEDS {
        let left = number(&claim.left, comparison, runs, seed)?;
        let right = match &claim.right {
            Some(right) => number(right, comparison, runs, seed)?,
            None => 0.0,
        };
        let bound = claim.times * right + claim.plus;
        spare.push(match claim.is {
            Relation::AtMost => bound - left,
            Relation::AtLeast => left - bound,
        });
        lefts.push(left);
        bounds.push(bound);
    }
    Ok(Finding {
        says: claim.says.clone(),
        measured: found::rounded(median(lefts.clone()), 3),
        seeds: lefts.iter().map(|left| found::rounded(*left, 2)).collect(),
        is: claim.is,
        bound: found::rounded(median(bounds), 3),
        holds: median(spare) >= 0.0,
        not_shown: claim.not_shown.clone(),
    })
}

fn number(
    quantity: &Quantity,
    comparison: &Comparison,
    runs: &BTreeMap<(&str, u64), Steps>,
    seed: u64,
) -> Result<f64, String> {
    let unknown = || {
        format!(
            "{}: no `{}` of `{}`",
            comparison.paper, quantity.metric, quantity.run
        )
    };
    let steps = runs
        .get(&(quantity.run.as_str(), seed))
        .ok_or_else(unknown)?;
    let until = quantity.step.unwrap_or(steps.len()).min(steps.len());
    let values: Vec<f64> = steps[..until]
        .iter()
        .filter_map(|step| step.get(&quantity.metric).copied())
        .collect();
    if values.is_empty() {
        return Err(unknown());
    }
    let last = comparison.last.min(values.len());
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    match (quantity.at, quantity.reaches, &quantity.counting) {
        (Some(End::Start), ..) => Ok(mean(&values[..FIRST.min(values.len())])),
        (_, Some(reaches), Some(counting)) => {
            let count = |step: &BTreeMap<String, f64>| step.get(counting).copied();
            let there = values
                .windows(last)
                .position(|window| mean(window) >= reaches);
            let until = there.map_or(steps.len(), |start| start + last);
            Ok(steps[..until].iter().filter_map(count).sum())
        }
        _ => Ok(mean(&values[values.len() - last..])),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
