//! The table of ratios in `benches/RESULTS.md`, from what is kept of both sides.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use super::rows::{Figure, Goal, ROWS, Row, Unit};
use super::{Lines, file, read};

const BEGIN: &str = "<!-- written by `cargo xtask bench` -->\n";
const END: &str = "<!-- end -->\n";
/// Thread counts that have a table, if they were measured.
const THREADS: [usize; 2] = [1, 2];

/// Writes the tables between their marks, and nothing else.
pub(super) fn write(checkout: &Path) -> Result<(), String> {
    let path = checkout.join("benches/RESULTS.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} has no place for the tables", path.display()));
    };
    let mut tables = String::new();
    for threads in THREADS {
        tables += &table(checkout, threads)?;
    }
    print!("{tables}");
    fs::write(&path, format!("{before}{BEGIN}{tables}{END}{after}"))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn table(checkout: &Path, threads: usize) -> Result<String, String> {
    let (machine, ours) = read(&file(checkout, threads))?;
    let path = checkout.join(format!("benches/peers/results/threads-{threads}.json"));
    let (other_machine, theirs) = read_peers(&path)?;
    if ours.is_empty() && theirs.is_empty() {
        return Ok(String::new());
    }
    let mut text = String::new();
    let plural = if threads == 1 { "" } else { "s" };
    let _ = writeln!(text, "\n### {threads} thread{plural}\n");
    for (side, machine) in [("rlpc", &machine), ("The others", &other_machine)] {
        if !machine.is_null() {
            let _ = writeln!(text, "{side}: {}.", described(machine));
        }
    }
    text += "\n| work | rlpc | the other | ratio | asked |\n| --- | --- | --- | --- | --- |\n";
    for row in ROWS {
        text += &line(row, &ours, &theirs);
    }
    Ok(text)
}

fn read_peers(path: &Path) -> Result<(Json, Lines), String> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok((Json::Null, Lines::new()));
    };
    let kept: Json =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut lines = BTreeMap::new();
    for line in kept["results"].as_array().into_iter().flatten() {
        if let (Some(bench), Some(case)) = (line["bench"].as_str(), line["case"].as_str()) {
            lines.insert(format!("{bench}: {case}"), line.clone());
        }
    }
    Ok((kept["machine"].clone(), lines))
}

/// `2026-11-24, AMD EPYC, 2 cores, AVX-512, load 9.1, torch 2.11.0`
fn described(machine: &Json) -> String {
    let text = |field: &str| machine[field].as_str().map(str::to_string);
    let mut parts: Vec<String> = ["date", "cpu"]
        .iter()
        .filter_map(|field| text(field))
        .collect();
    parts.extend(
        machine["cores"]
            .as_u64()
            .map(|cores| format!("{cores} cores")),
    );
    parts.extend((machine["avx512"] == true).then(|| "AVX-512".to_string()));
    parts.extend(machine["load"].as_f64().map(|load| format!("load {load}")));
    parts.extend(text("profile").map(|profile| format!("{profile} build")));
    for name in ["torch", "transformers", "trl"] {
        parts.extend(text(name).map(|version| format!("{name} {version}")));
    }
    parts.join(", ")
}

fn line(row: &Row, ours: &Lines, theirs: &Lines) -> String {
    let (mine, other) = (figure(row.ours, ours), figure(row.peer, theirs));
    let shown = |value: Option<f64>| value.map_or("–".to_string(), |value| show(value, row.unit));
    let ratio = mine.zip(other).map(|(mine, other)| other / mine);
    let is_reached = match row.goal {
        Goal::Times(times) => ratio.map(|ratio| ratio >= times),
        Goal::AtMost(most) => mine.map(|mine| mine <= most),
    };
    let ratio = ratio.map_or("–".to_string(), |ratio| {
        let digits = if ratio < 10.0 { 2 } else { 0 };
        format!("{ratio:.digits$}×")
    });
    let asked = match row.goal {
        Goal::Times(times) => format!("{times}×"),
        Goal::AtMost(most) => format!("≤ {}", show(most, row.unit)),
    };
    let mark = match is_reached {
        Some(true) => ", reached",
        Some(false) | None => "",
    };
    let (mine, other, work) = (shown(mine), shown(other), row.work);
    format!("| {work} | {mine} | {other} | {ratio} | {asked}{mark} |\n")
}

fn figure(figure: Figure, lines: &Lines) -> Option<f64> {
    let value = lines.get(figure.line)?.pointer(figure.field)?.as_f64()?;
    (value > 0.0).then_some(value / figure.per)
}

/// With three digits.
fn show(value: f64, unit: Unit) -> String {
    let (value, name) = match unit {
        Unit::Mebibytes => (value, "MiB"),
        Unit::Tokens => (1.0 / value, "tok/CPU s"),
        Unit::Seconds => match value {
            ..1e-6 => (value * 1e9, "ns"),
            1e-6..1e-3 => (value * 1e6, "µs"),
            1e-3..1.0 => (value * 1e3, "ms"),
            _ => (value, "s"),
        },
    };
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {name}")
}
