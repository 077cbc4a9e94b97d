//! `rlpc doc`: blocks described by their own text.

use std::collections::BTreeMap;
use std::fmt::Write;

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::doc::{BlockDoc, blocks, papers};
use rlp_compiler::source::Sources;
use rlp_frontend::Files;

use crate::answer::{Answer, Exit};
use crate::arguments::Doc;
use crate::papers::{found, rows, text};

include!(concat!(env!("OUT_DIR"), "/examples.rs"));

pub(crate) fn run(arguments: &Doc) -> Answer {
    if arguments.papers {
        return papers_table(arguments.json);
    }
    let Some(name) = &arguments.name else {
        let all = standard();
        return if arguments.json {
            json(&all)
        } else {
            Answer::done(list(&all))
        };
    };
    match named(name) {
        Ok(Named::Block(block)) if arguments.json => json(&block),
        Ok(Named::Block(block)) => Answer::done(block.text()),
        Ok(Named::Several(blocks)) if arguments.json => json(&blocks),
        Ok(Named::Several(blocks)) => Answer::done(list(&blocks)),
        Err(answer) => answer,
    }
}

enum Named {
    Block(BlockDoc),
    Several(Vec<BlockDoc>),
}

/// What a name means: `loss.dpo`, `mine.rlp:loss.my_loss`, `mine.rlp:my_loss`, `mine.rlp`, `loss`, or `dpo`.
fn named(name: &str) -> Result<Named, Answer> {
    let (file, name) = match name.split_once(".rlp:") {
        Some((file, block)) => (Some(format!("{file}.rlp")), Some(block)),
        None if name.ends_with(".rlp") => (Some(name.to_string()), None),
        None => (None, Some(name)),
    };
    let all = match &file {
        Some(file) => {
            let text = Files::new()
                .read(&Files::path_of(file.as_ref()))
                .map_err(|why| {
                    Answer::refusal(
                        Exit::Problems,
                        &format!("`{file}` cannot be read: {why}"),
                        None,
                    )
                })?;
            blocks(file, &text)
        }
        None => standard(),
    };
    let Some(name) = name else {
        return Ok(Named::Several(all));
    };
    let full = |block: &BlockDoc| format!("{}.{}", block.kind, block.name);
    if let Some(block) = all.iter().find(|block| full(block) == name) {
        return Ok(Named::Block(block.clone()));
    }
    let matching: Vec<BlockDoc> = all
        .iter()
        .filter(|block| block.kind == name || block.name == name)
        .cloned()
        .collect();
    match matching.as_slice() {
        [] => {}
        [one] => return Ok(Named::Block(one.clone())),
        _ => return Ok(Named::Several(matching)),
    }
    let place = file.map_or("the standard library".to_string(), |file| {
        format!("`{file}`")
    });
    let mut names: Vec<String> = all.iter().map(full).collect();
    names.extend(all.into_iter().map(|block| block.name));
    let help = match nearest(name, names.iter().map(String::as_str)).as_slice() {
        [] => "`rlpc doc` lists the blocks of the standard library".to_string(),
        near => format!("rlpc doc {}", near.join(", or ")),
    };
    Err(Answer::misused(
        &format!("{place} has no block `{name}`"),
        Some(&help),
    ))
}

/// All blocks of the standard library, by kind and name.
fn standard() -> Vec<BlockDoc> {
    let mut all: Vec<BlockDoc> = rlp_stdlib::files()
        .flat_map(|(path, text)| blocks(&format!("std/{path}"), text))
        .collect();
    all.sort_by(|left, right| (&left.kind, &left.name).cmp(&(&right.kind, &right.name)));
    all
}

/// The blocks of each kind, with the first sentence of each.
fn list(all: &[BlockDoc]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&BlockDoc>> = BTreeMap::new();
    for block in all {
        kinds.entry(&block.kind).or_default().push(block);
    }
    let width = all
        .iter()
        .map(|block| block.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (kind, blocks) in kinds {
        let _ = writeln!(text, "{kind}");
        for block in blocks {
            let _ = writeln!(
                text,
                "{}",
                format!("  {:width$}  {}", block.name, block.summary()).trim_end()
            );
        }
    }
    text
}

/// Every paper with the blocks that compute it, the examples that show it, and what came of its comparison.
fn papers_table(as_json: bool) -> Answer {
    let table = papers(rlp_stdlib::files(), EXAMPLES.iter().copied());
    match found() {
        Ok(found) if as_json => json(&rows(&table, &found)),
        Ok(found) => Answer::done(text(&table, &found)),
        Err(error) => Answer::misused(&format!("docs/papers.json is damaged: {error}"), None),
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Answer::done(text + "\n"),
        Err(error) => Answer::misused(&format!("this cannot be written as JSON: {error}"), None),
    }
}
