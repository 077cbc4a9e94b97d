//! What came of the comparisons as a page of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::found::{Finding, Found};
use super::{COMPARISONS, FIRST, Relation, SEEDS};

const PAGE: &str = "docs/papers.md";

pub(super) fn write(checkout: &Path, all: &[Found]) -> Result<(), String> {
    let blocks = blocks(checkout)?;
    let mut page = head();
    for found in all {
        let cited = blocks.get(&found.arxiv).map_or("", String::as_str);
        let _ = writeln!(
            page,
            "| {} | {} | {cited} | `{}` | {} | {} |",
            found.title,
            found.arxiv,
            found.example,
            found.theirs,
            ours(found)
        );
    }
    for found in all {
        section(&mut page, found);
    }
    fs::write(checkout.join(PAGE), page).map_err(|error| format!("{PAGE}: {error}"))
}

/// The first claim with its figure, and how many hold.
fn ours(found: &Found) -> String {
    let holding = found.claims.iter().filter(|claim| claim.holds).count();
    let first = found.claims.first().map(|claim| {
        format!(
            "{}: {} ({} {}); ",
            claim.says,
            claim.measured,
            relation(claim.is),
            claim.bound
        )
    });
    format!(
        "{}{holding} of {} claims hold",
        first.unwrap_or_default(),
        found.claims.len()
    )
}

fn relation(is: Relation) -> &'static str {
    match is {
        Relation::AtMost => "≤",
        Relation::AtLeast => "≥",
    }
}

/// A claim as a row of its paper's table.
pub(super) fn row(finding: &Finding) -> String {
    let seeds: Vec<String> = finding
        .seeds
        .iter()
        .map(|seed| format!("{seed:.2}"))
        .collect();
    let verdict = match (finding.holds, &finding.not_shown) {
        (true, _) => "holds",
        (false, Some(_)) => "not shown",
        (false, None) => "**does not hold**",
    };
    format!(
        "| {} | {:.3} ({}) | {} {:.3} | {verdict} |",
        finding.says,
        finding.measured,
        seeds.join(", "),
        relation(finding.is),
        finding.bound
    )
}

fn section(page: &mut String, found: &Found) {
    let _ = write!(
        page,
        "\n## {}\n\n{}, {}\n\n| ours | measured | must be | |\n| --- | --- | --- | --- |\n",
        found.title, found.date, found.machine
    );
    for finding in &found.claims {
        let _ = writeln!(page, "{}", row(finding));
    }
    let mut told: Vec<&str> = Vec::new();
    for finding in &found.claims {
        // What was tried stands once, whatever number of claims it is about.
        if let Some(tried) = &finding.not_shown
            && !told.contains(&tried.as_str())
        {
            told.push(tried);
            let _ = writeln!(page, "\n{}: {tried}", finding.says);
        }
    }
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
    format!(
        "# The papers in small\n\n\
         Written by `cargo xtask papers`, one thread a run. Each figure is the median of {} seeds, with the seeds behind it;\n\
         the start is the mean of the first {FIRST} steps after the warm-up, the end that of the last steps as many as `{COMPARISONS}` says.\n\
         What is compared and by how much it must differ stands there too, as the papers' pages state it. A claim that does not show at this scale\n\
         says so, and what was tried stands under its table. `rlpc doc --papers` prints the table that follows.\n\n\
         | paper | arXiv | blocks | example | the paper's own figure | ours |\n| --- | --- | --- | --- | --- | --- |\n",
        SEEDS.len()
    )
}
