//! The quickstart's promise, checked: three seeds, each within its time, above its accuracy, and better by practice.

use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

/// Accuracy on held-out problems at the end, at least.
const ACCURACY: f64 = 0.85;
/// What the second stage adds to it, at least.
const GAIN: f64 = 0.25;
/// Seconds of a whole run, at most.
const SECONDS: f64 = 90.0;

/// Trains the quickstart with the seeds 1, 2 and 3, and prints what came of each.
pub(crate) fn seeds(checkout: &Path) -> Result<(), String> {
    let mut failed = Vec::new();
    println!("seed  warm-up  practice   gain  seconds");
    for seed in 1..=3 {
        let folder = env::temp_dir().join(format!("rlpc-quickstart-{}-{seed}", std::process::id()));
        let start = Instant::now();
        let done = Command::new(checkout.join("target/debug/rlpc"))
            .args(["run", "examples/quickstart.rlp", "--quiet", "--seed"])
            .arg(seed.to_string())
            .arg("--run-dir")
            .arg(&folder)
            .current_dir(checkout)
            .status()
            .map_err(|error| format!("rlpc cannot be started: {error}"))?;
        let seconds = start.elapsed().as_secs_f64();
        if !done.success() {
            return Err(format!("seed {seed}: rlpc {done}"));
        }
        let metrics = fs::read_to_string(folder.join("metrics.jsonl"))
            .map_err(|error| format!("the metrics of seed {seed} cannot be read: {error}"))?;
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let last = |stage: &str| {
            accuracy(&metrics, stage).ok_or(format!("seed {seed}: `{stage}` reports no accuracy"))
        };
        let (before, after) = (last("warmup")?, last("rl")?);
        let gain = after - before;
        println!("{seed:4}  {before:7.3}  {after:8.3}  {gain:5.3}  {seconds:7.1}");
        if after < ACCURACY || gain < GAIN || seconds > SECONDS {
            failed.push(seed.to_string());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "seed {} falls short of {ACCURACY} accuracy, {GAIN} gained, or {SECONDS} seconds",
        failed.join(", ")
    ))
}

/// The accuracy that the last evaluation of a stage reports, from the lines of `metrics.jsonl`.
fn accuracy(metrics: &str, stage: &str) -> Option<f64> {
    let stage = format!("\"stage\":\"{stage}\"");
    let line = metrics
        .lines()
        .rfind(|line| line.contains("\"event\":\"evaluation\"") && line.contains(&stage))?;
    let number = line.split_once("\"accuracy\":")?.1;
    number[..number.find([',', '}'])?].parse().ok()
}
