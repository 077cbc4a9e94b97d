//! The table from papers to blocks to examples, from what the files say of themselves.

use std::collections::BTreeMap;

use serde::Serialize;

/// A paper that a block of the library cites.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Paper {
    /// `2402.03300`
    pub arxiv: String,
    /// Title, authors and year, as far as a file says them.
    pub title: String,
    /// `loss.grpo`, in alphabetical order.
    pub blocks: Vec<String>,
    /// Paths of the examples that open with the paper.
    pub examples: Vec<String>,
}

/// All papers that the library cites, by number. Both arguments are paths and texts of files.
///
/// A block cites the papers of its own documentation, and that with which its file opens.
pub fn papers<'a>(
    library: impl IntoIterator<Item = (&'a str, &'a str)>,
    examples: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<Paper> {
    let mut papers: BTreeMap<String, Paper> = BTreeMap::new();
    // How a paper is cited in passing, for those with which no file opens.
    let mut citations: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in library {
        let head = head(text);
        let opening = numbers(&head);
        for block in super::blocks(path, text) {
            for (at, number) in &opening {
                let paper = papers.entry(number.clone()).or_default();
                paper.blocks.push(format!("{}.{}", block.kind, block.name));
                // A file that opens with one paper opens with its title; the first such file has it from the paper.
                if opening.len() == 1 && paper.title.is_empty() {
                    paper.title = before(&head[..*at]);
                }
            }
            for line in block.doc.lines() {
                for (at, number) in numbers(line) {
                    let paper = papers.entry(number.clone()).or_default();
                    paper.blocks.push(format!("{}.{}", block.kind, block.name));
                    citations
                        .entry(number)
                        .or_insert_with(|| before(clause(line, at)));
                }
            }
        }
    }
    for (path, text) in examples {
        for (_, number) in numbers(&head(text)) {
            if let Some(paper) = papers.get_mut(&number) {
                paper.examples.push(path.to_string());
            }
        }
    }
    let finished = papers.into_iter().map(|(arxiv, mut paper)| {
        paper.blocks.sort();
        paper.blocks.dedup();
        if let (true, Some(citation)) = (paper.title.is_empty(), citations.remove(&arxiv)) {
            paper.title = citation;
        }
        Paper { arxiv, ..paper }
    });
    finished.collect()
}

/// The lines of `//!`, joined.
fn head(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .collect();
    lines.join(" ")
}

/// Where `arXiv:` and a number stand in a line, and the number.
fn numbers(line: &str) -> Vec<(usize, String)> {
    let number = |(at, mark): (usize, &str)| {
        let rest = &line[at + mark.len()..];
        let number: String = rest
            .chars()
            .take_while(|letter| letter.is_ascii_digit() || *letter == '.')
            .collect();
        let number = number.trim_end_matches('.');
        (number.len() >= 9).then(|| (at, number.to_string()))
    };
    line.match_indices("arXiv:").filter_map(number).collect()
}

/// What stands before a number: `Title. Author et al. year`, with its parenthesis closed.
fn before(line: &str) -> String {
    let title = line.trim_end_matches([' ', ',', '(']);
    let open = title.matches('(').count() > title.matches(')').count();
    if open {
        format!("{title})")
    } else {
        title.to_string()
    }
}

/// The part of a line of citations in which a number stands, up to it.
fn clause(line: &str, at: usize) -> &str {
    let line = &line[..at];
    let start = line.rfind("; ").map_or(0, |semicolon| semicolon + 2);
    let clause = &line[start..];
    clause.strip_prefix("Source: ").unwrap_or(clause)
}
