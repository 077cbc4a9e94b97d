//! `rlpc doc --papers`: paper, blocks, example, the paper's own figure and ours; then what else the library cites.

use std::fmt::Write;

use rlp_compiler::doc::Paper;
use serde::{Deserialize, Serialize};

/// What `cargo xtask papers` has measured.
const FOUND: &str = include_str!("../docs/papers.json");

/// What came of the comparison of a paper.
#[derive(Deserialize, Serialize, Clone)]
pub(crate) struct Found {
    title: String,
    arxiv: String,
    example: String,
    /// The paper's own figure.
    theirs: String,
    date: String,
    machine: String,
    claims: Vec<Claim>,
}

#[derive(Deserialize, Serialize, Clone)]
struct Claim {
    says: String,
    /// The median of the seeds, and what it must be at most or at least.
    measured: f64,
    is: String,
    bound: f64,
    holds: bool,
}

/// A paper that the library cites, with its comparisons.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    #[serde(flatten)]
    paper: &'a Paper,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comparisons: Vec<&'a Found>,
}

pub(crate) fn found() -> Result<Vec<Found>, serde_json::Error> {
    serde_json::from_str(FOUND)
}

pub(crate) fn rows<'a>(papers: &'a [Paper], found: &'a [Found]) -> Vec<Row<'a>> {
    let row = |paper: &'a Paper| {
        let own = found.iter().filter(|own| own.arxiv == paper.arxiv);
        let comparisons = own.collect();
        Row { paper, comparisons }
    };
    papers.iter().map(row).collect()
}

/// The table of `docs/papers.md`, and the other papers below.
pub(crate) fn text(papers: &[Paper], found: &[Found]) -> String {
    let mut text = String::from(
        "| paper | arXiv | blocks | example | the paper's own figure | ours |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for own in found {
        let paper = papers.iter().find(|paper| paper.arxiv == own.arxiv);
        let blocks = paper.map_or(&[][..], |paper| &paper.blocks);
        let blocks: Vec<String> = blocks.iter().map(|block| format!("`{block}`")).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | `{}` | {} | {} |",
            own.title,
            own.arxiv,
            blocks.join(", "),
            own.example,
            own.theirs,
            ours(own)
        );
    }
    text += "\nThe library also cites\n\n";
    for row in rows(papers, found) {
        if row.comparisons.is_empty() {
            let Paper {
                arxiv,
                title,
                blocks,
                examples,
            } = row.paper;
            let _ = writeln!(text, "arXiv:{arxiv}  {title}\n    {}", blocks.join(", "));
            if !examples.is_empty() {
                let _ = writeln!(text, "    {}", examples.join(", "));
            }
        }
    }
    text
}

/// The first claim with its figure, and how many hold.
fn ours(found: &Found) -> String {
    let holding = found.claims.iter().filter(|claim| claim.holds).count();
    let first = found.claims.first().map(|claim| {
        let relation = if claim.is == "at most" { "≤" } else { "≥" };
        let Claim {
            says,
            measured,
            bound,
            ..
        } = claim;
        format!("{says}: {measured} ({relation} {bound}); ")
    });
    let (first, all) = (first.unwrap_or_default(), found.claims.len());
    format!("{first}{holding} of {all} claims hold")
}
