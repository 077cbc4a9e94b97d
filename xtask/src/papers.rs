//! The papers' comparisons in small: every run with three seeds, the medians, and a page of what came out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;
use serde_json::Value;

const SEEDS: [u64; 3] = [0, 1, 2];
/// How many steps a stage's start is the mean of.
const FIRST: usize = 3;
const COMPARISONS: &str = "tests/papers/comparisons.json";
const PAGE: &str = "docs/papers.md";

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

#[derive(Deserialize, Clone, Copy, PartialEq)]
enum Relation {
    #[serde(rename = "at most")]
    AtMost,
    #[serde(rename = "at least")]
    AtLeast,
}

/// A number of a run: a metric of its last stage at the start or the end, or how much of `counting` went by until it
/// reached a value (all of it, if it never did).
#[derive(Deserialize)]
struct Quantity {
    run: String,
    metric: String,
    at: Option<End>,
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

/// Makes the runs of the papers named (of all, if none is), as many at once as there are cores, and writes the page
/// once all were compared. A run that this engine has made before of the same sources is not made again.
pub(crate) fn papers(checkout: &Path, named: &[&str]) -> Result<(), String> {
    let text = read(&checkout.join(COMPARISONS))?;
    let mut comparisons: Vec<Comparison> =
        serde_json::from_str(&text).map_err(|error| format!("{COMPARISONS}: {error}"))?;
    let is_known = |name: &&&str| comparisons.iter().any(|other| other.paper == **name);
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        return Err(format!("{COMPARISONS} has no `{unknown}`"));
    }
    comparisons.retain(|comparison| named.is_empty() || named.contains(&comparison.paper.as_str()));
    make(checkout, &comparisons)?;

    let blocks = blocks(checkout)?;
    let (mut overview, mut sections) = (String::new(), String::new());
    let mut failed = Vec::new();
    for comparison in &comparisons {
        let mut runs: BTreeMap<(&str, u64), Steps> = BTreeMap::new();
        for name in comparison.runs.keys() {
            for seed in SEEDS {
                let folder = folder(checkout, comparison, name, seed);
                runs.insert((name, seed), steps(&folder.join("metrics.jsonl"))?);
            }
        }
        let cited = blocks.get(&comparison.arxiv).cloned().unwrap_or_default();
        section(&mut sections, comparison);
        let mut holding = 0;
        for claim in &comparison.claims {
            let (row, holds) = check(claim, comparison, &runs)?;
            println!("{}: {row}", comparison.paper);
            let _ = writeln!(sections, "{row}");
            holding += usize::from(holds);
            if !holds && claim.not_shown.is_none() {
                failed.push(format!("{}: {}", comparison.paper, claim.says));
            }
        }
        for claim in &comparison.claims {
            if let Some(tried) = &claim.not_shown {
                let _ = writeln!(sections, "\n{}: {tried}", claim.says);
            }
        }
        let _ = writeln!(
            overview,
            "| {} | {} | {cited} | `{}` | {} | {holding} of {} claims hold |",
            comparison.title,
            comparison.arxiv,
            comparison.example(),
            comparison.theirs,
            comparison.claims.len()
        );
    }
    if named.is_empty() {
        let path = checkout.join(PAGE);
        fs::write(&path, format!("{}{overview}{sections}", head()))
            .map_err(|error| format!("{PAGE}: {error}"))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("does not hold:\n  {}", failed.join("\n  ")))
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
fn make(checkout: &Path, comparisons: &[Comparison]) -> Result<(), String> {
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

/// A row of the page, and whether the claim holds for the median of what is left over of it in each seed.
fn check(
    claim: &Claim,
    comparison: &Comparison,
    runs: &BTreeMap<(&str, u64), Steps>,
) -> Result<(String, bool), String> {
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
    let holds = median(spare) >= 0.0;
    let relation = match claim.is {
        Relation::AtMost => "≤",
        Relation::AtLeast => "≥",
    };
    let seeds: Vec<String> = lefts.iter().map(|left| format!("{left:.2}")).collect();
    let row = format!(
        "| {} | {:.3} ({}) | {relation} {:.3} | {} |",
        claim.says,
        median(lefts),
        seeds.join(", "),
        median(bounds),
        match (holds, &claim.not_shown) {
            (true, _) => "holds",
            (false, Some(_)) => "not shown",
            (false, None) => "**does not hold**",
        }
    );
    Ok((row, holds))
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
    let values: Vec<f64> = steps
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

/// The blocks that cite each paper, by its number.
fn blocks(checkout: &Path) -> Result<BTreeMap<String, String>, String> {
    let done = Command::new(checkout.join("target/debug/rlpc"))
        .current_dir(checkout)
        .args(["doc", "--papers", "--json"])
        .output()
        .map_err(|error| format!("rlpc cannot be started: {error}"))?;
    let papers: Vec<Value> = serde_json::from_slice(&done.stdout)
        .map_err(|error| format!("`rlpc doc --papers --json`: {error}"))?;
    let row = |paper: &Value| {
        let names = paper["blocks"].as_array()?.iter();
        let names: Vec<String> = names
            .filter_map(|name| Some(format!("`{}`", name.as_str()?)))
            .collect();
        Some((paper["arxiv"].as_str()?.to_string(), names.join(", ")))
    };
    Ok(papers.iter().filter_map(row).collect())
}

fn head() -> String {
    let date = Command::new("date")
        .arg("+%F")
        .output()
        .map(|done| String::from_utf8_lossy(&done.stdout).trim().to_string())
        .unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, name)| name);
    format!(
        "# The papers in small\n\n\
         Written by `cargo xtask papers` on {date}, on {processor}, one thread a run. Each figure is the median of {} seeds, with the seeds behind it;\n\
         the start is the mean of the first {FIRST} steps after the warm-up, the end that of the last steps as many as `{COMPARISONS}` says.\n\
         What is compared and by how much it must differ stands there too, as the papers' pages state it. A claim that does not show at this scale\n\
         says so, and what was tried stands under its table.\n\n\
         | paper | arXiv | blocks | example | the paper's own figure | ours |\n| --- | --- | --- | --- | --- | --- |\n",
        SEEDS.len()
    )
}

fn section(page: &mut String, comparison: &Comparison) {
    let _ = write!(
        page,
        "\n## {}\n\n| ours | measured | must be | |\n| --- | --- | --- | --- |\n",
        comparison.title
    );
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
