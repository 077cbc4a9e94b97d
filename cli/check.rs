//! `rlpc check`: all that is wrong with some files.

use rlp_compiler::{Settings, check};
use rlp_frontend::{Files, data};

use crate::answer::{Answer, Exit};
use crate::arguments::Check;
use crate::found::{Found, count};
use crate::inputs;

pub(crate) fn run(arguments: &Check) -> Answer {
    let mut files = Files::new();
    let paths = inputs::all(&arguments.paths, &mut files);
    let settings = Settings(arguments.settings.clone());
    let mut found = Found::new(arguments.output);
    for path in &paths {
        let mut checked = check(&files, path, &settings);
        checked.diagnostics.extend(data::faults(&checked.plans));
        found.add(&checked.diagnostics, &checked.sources);
    }
    let failed = found.n_errors() > 0 || arguments.deny.is_some() && found.n_warnings() > 0;
    let counted = found.counted().unwrap_or("no problems".to_string());
    let done = format!("checked {}: {counted}", count(paths.len(), "file"));
    found.answer(&done, if failed { Exit::Problems } else { Exit::Done })
}
