//! What came of the comparisons, kept as data: `rlpc doc --papers` tells of the same numbers as the page.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::Relation;

const FOUND: &str = "docs/papers.json";

/// What came of one comparison, where and when.
#[derive(Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) paper: String,
    pub(super) title: String,
    pub(super) arxiv: String,
    pub(super) example: String,
    /// The paper's own figure.
    pub(super) theirs: String,
    pub(super) date: String,
    pub(super) machine: String,
    pub(super) claims: Vec<Finding>,
}

/// What was measured for a claim: medians over the seeds, and each seed.
#[derive(Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) says: String,
    pub(super) measured: f64,
    pub(super) seeds: Vec<f64>,
    pub(super) is: Relation,
    pub(super) bound: f64,
    pub(super) holds: bool,
    /// What was tried, of a claim that is known not to show at this scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_shown: Option<String>,
}

pub(super) fn read(checkout: &Path) -> Result<Vec<Found>, String> {
    let text = super::read(&checkout.join(FOUND))?;
    serde_json::from_str(&text).map_err(|error| format!("{FOUND}: {error}"))
}

pub(super) fn write(checkout: &Path, all: &[Found]) -> Result<(), String> {
    let text = serde_json::to_string_pretty(all).map_err(|error| format!("{FOUND}: {error}"))?;
    fs::write(checkout.join(FOUND), text + "\n").map_err(|error| format!("{FOUND}: {error}"))
}

/// As it is printed, so that what is read again is the same.
pub(super) fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

pub(super) fn today() -> String {
    let done = Command::new("date").arg("+%F").output();
    let text = done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_string());
    text.unwrap_or_default()
}

pub(super) fn machine() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("an unknown processor", |(_, name)| name)
        .to_string()
}
