//! `rlpc fmt`: files in the one style.

use std::path::Path;

use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::source::{SourceMap, Sources};
use rlp_frontend::Files;
use rlp_frontend::files::write_file;

use crate::answer::{Answer, Exit};
use crate::arguments::Fmt;
use crate::diff::diff;
use crate::found::{Found, count};
use crate::inputs::{self, STANDARD_INPUT};

pub(crate) fn run(arguments: &Fmt) -> Answer {
    let mut files = Files::new();
    let paths = inputs::all(&arguments.paths, &mut files);
    let mut found = Found::new(arguments.output);
    let mut out = String::new();
    let mut changed = Vec::new();
    for path in &paths {
        let mut sources = SourceMap::default();
        match formatted(&files, path, &mut sources) {
            Err(diagnostics) => found.add(&diagnostics, &sources),
            Ok((old, new)) => {
                if arguments.diff {
                    out += &diff(path, &old, &new);
                } else if path == STANDARD_INPUT && !arguments.check {
                    out += &new;
                }
                if old != new {
                    changed.push((path, new));
                }
            }
        }
    }
    let kept = arguments.check || arguments.diff;
    for (path, new) in changed
        .iter()
        .filter(|(path, _)| !kept && *path != STANDARD_INPUT)
    {
        if let Err(why) = write_file(Path::new(path), new) {
            let message = format!("`{path}` cannot be written: {why}");
            return Answer::refusal(Exit::Problems, &message, None);
        }
    }
    if arguments.check && !arguments.diff {
        out.extend(changed.iter().map(|(path, _)| format!("{path}\n")));
    }
    let failed = found.n_errors() > 0 || arguments.check && !changed.is_empty();
    let exit = if failed { Exit::Problems } else { Exit::Done };
    let is_filter = !kept && paths == [STANDARD_INPUT];
    let done = if is_filter {
        String::new()
    } else {
        summary(paths.len(), changed.len(), kept, &found)
    };
    let answer = found.answer(&done, exit);
    Answer {
        out: out + &answer.out,
        ..answer
    }
}

/// `2 of 3 files changed: 1 error`
fn summary(n_files: usize, n_changed: usize, kept: bool, found: &Found) -> String {
    let changed = if kept { "would change" } else { "changed" };
    let files = count(n_files, "file");
    match found.counted() {
        Some(counted) => format!("{n_changed} of {files} {changed}: {counted}"),
        None if n_changed == 0 => format!("{files} in style"),
        None => format!("{n_changed} of {files} {changed}"),
    }
}

/// A text as it is and as it should be; or what is wrong with it.
fn formatted(
    files: &Files,
    path: &str,
    sources: &mut SourceMap,
) -> Result<(String, String), Vec<Diagnostic>> {
    let text = files
        .read(path)
        .map_err(|why| vec![inputs::refused(path, &why, sources)])?;
    // The only source of its map has the number that the formatter gives it.
    sources.add(path, text.clone());
    let new = rlp_grammar::fmt(&text);
    let new = new.map_err(|errors| errors.into_iter().map(Diagnostic::from).collect::<Vec<_>>())?;
    Ok((text.to_string(), new))
}
