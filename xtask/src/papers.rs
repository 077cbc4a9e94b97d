//! The papers' comparisons in small: every run with three seeds, the medians, and a page of what came out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

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
    title: String,
    arxiv: String,
    /// The paper's own figure.
    theirs: String,
    /// How many steps the end is the mean of.
    last: usize,
    runs: BTreeMap<String, Variant>,
    claims: Vec<Claim>,
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

/// Makes the runs of the papers named (of all, if none is) that were not made before, and writes the page.
pub(crate) fn papers(checkout: &Path, named: &[&str]) -> Result<(), String> {
    let text = read(&checkout.join(COMPARISONS))?;
    let comparisons: Vec<Comparison> =
        serde_json::from_str(&text).map_err(|error| format!("{COMPARISONS}: {error}"))?;
    let blocks = blocks(checkout)?;
    let mut page = head();
    let mut failed = Vec::new();
    for comparison in &comparisons {
        if !named.is_empty() && !named.contains(&comparison.paper.as_str()) {
            continue;
        }
        let mut runs: BTreeMap<(&str, u64), Steps> = BTreeMap::new();
        for (name, variant) in &comparison.runs {
            for seed in SEEDS {
                runs.insert(
                    (name, seed),
                    run(checkout, comparison, (name, variant), seed)?,
                );
            }
        }
        let cited = blocks.get(&comparison.arxiv).cloned().unwrap_or_default();
        section(&mut page, comparison, &cited);
        for claim in &comparison.claims {
            let (row, holds) = check(claim, comparison, &runs)?;
            println!("{}: {row}", comparison.paper);
            let _ = writeln!(page, "{row}");
            if !holds {
                failed.push(format!("{}: {}", comparison.paper, claim.says));
            }
        }
    }
    if named.is_empty() {
        let path = checkout.join(PAGE);
        fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("does not hold:\n  {}", failed.join("\n  ")))
}

/// The steps of one run; a run that was made before is not made again.
fn run(
    checkout: &Path,
    comparison: &Comparison,
    (name, variant): (&str, &Variant),
    seed: u64,
) -> Result<Steps, String> {
    let plain: String = name
        .chars()
        .map(|letter| {
            if letter.is_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect();
    let folder = checkout.join(format!("target/papers/{}-{plain}-{seed}", comparison.paper));
    if !folder.join("final").is_dir() {
        if folder.is_dir() {
            fs::remove_dir_all(&folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        println!("{}: {name}, seed {seed}", comparison.paper);
        let mut command = Command::new(checkout.join("target/debug/rlpc"));
        command
            .current_dir(checkout)
            .args([
                "run",
                "--quiet",
                "--threads",
                "1",
                "--seed",
                &seed.to_string(),
            ])
            .arg("--run-dir")
            .arg(&folder)
            .arg(format!("examples/papers/{}.rlp", comparison.paper))
            .stdout(Stdio::null());
        for (setting, value) in &variant.set {
            command.arg("--set").arg(format!("{setting}={value}"));
        }
        let status = command
            .status()
            .map_err(|error| format!("rlpc cannot be started: {error}"))?;
        if !status.success() {
            return Err(format!(
                "{}: {name}, seed {seed}: rlpc {status}",
                comparison.paper
            ));
        }
    }
    steps(&folder.join("metrics.jsonl"))
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
        if holds { "holds" } else { "**does not hold**" }
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
         What is compared and by how much it must differ stands there too, as the papers' pages state it. A claim that does not hold says so.\n",
        SEEDS.len()
    )
}

fn section(page: &mut String, comparison: &Comparison, blocks: &str) {
    let Comparison {
        paper,
        title,
        arxiv,
        theirs,
        ..
    } = comparison;
    let _ = write!(
        page,
        "\n## {title} (arXiv:{arxiv})\n\n\
         Blocks: {blocks}. Example: `examples/papers/{paper}.rlp`. The paper's own figure: {theirs}.\n\n\
         | ours | measured | must be | |\n| --- | --- | --- | --- |\n"
    );
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
