//! `rlpc runs`: the runs that were kept, listed, shown, compared and plotted.

use std::path::{Path, PathBuf};

use rlp_record::compare::{Section, differences, results, texts_differ};
use rlp_record::number::{duration, number};
use rlp_record::table::lines_of;
use rlp_record::{Curve, Run, list, plot};
use serde_json::{Value as Json, json};

use crate::answer::{Answer, Exit};
use crate::arguments::{RunsTask, RunsWhat};
use crate::report::read;

/// The width of a picture where nobody says another.
const WIDTH: usize = 88;

pub(crate) fn run(arguments: &RunsTask) -> Answer {
    match &arguments.what {
        None => listed(Path::new("runs"), false),
        Some(RunsWhat::List { folder, json }) => listed(folder, *json),
        Some(RunsWhat::Show { run, json }) => match read(std::slice::from_ref(run)) {
            Ok(runs) if *json => Answer::done(format!("{}\n", of_all(&runs))),
            Ok(runs) => shown(&runs),
            Err(answer) => answer,
        },
        Some(RunsWhat::Diff { runs, json }) => differ(runs, *json),
        Some(RunsWhat::Plot {
            runs,
            number,
            width,
            height,
        }) => plotted(runs, number, (width.unwrap_or(WIDTH), *height)),
    }
}

fn listed(folder: &Path, as_json: bool) -> Answer {
    if !folder.exists() {
        let help = "`rlpc run` keeps each run in a folder of its own below `runs`";
        let message = format!("there is no folder `{}`", folder.display());
        return Answer::refusal(Exit::Problems, &message, Some(help));
    }
    let listed = match list(folder) {
        Ok(listed) => listed,
        Err(message) => return Answer::refusal(Exit::Problems, &message, None),
    };
    if as_json {
        return Answer::done(format!("{}\n", of_all(&listed.runs)));
    }
    if listed.runs.is_empty() {
        return Answer::done(format!("no runs in `{}`\n", folder.display()));
    }
    let head = ["run", "pipeline", "ending", "steps", "time", "result"].map(str::to_string);
    let rows = listed.runs.iter().map(|run| {
        vec![
            run.path.display().to_string(),
            run.pipeline.clone(),
            run.ending.name().to_string(),
            run.steps().to_string(),
            duration(run.seconds()),
            headline(run),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head.to_vec()).chain(rows).collect();
    Answer::done(joined(&lines_of(&rows, &[0, 1, 2, 5])))
}

/// `accuracy 0.98`
fn headline(run: &Run) -> String {
    let numbers = run.headline().into_iter().take(3);
    let numbers = numbers.filter_map(|curve| {
        let name = curve.name.trim_end_matches(" (evaluated)");
        Some(format!("{name} {}", number(curve.last()?)))
    });
    numbers.collect::<Vec<_>>().join(", ")
}

fn shown(runs: &[Run]) -> Answer {
    let mut lines = Vec::new();
    for run in runs {
        lines.push(run.path.display().to_string());
        let facts = [
            ("pipeline", run.pipeline.clone()),
            ("ending", run.ending.name().to_string()),
            ("started", run.started()),
            ("time", duration(run.seconds())),
        ];
        let mut rows: Vec<Vec<String>> = facts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| vec![name.to_string(), value])
            .collect();
        let known = ["seed", "device", "threads", "executor", "rlpc"];
        for name in known {
            let value = &run.description[name];
            if !value.is_null() {
                rows.push(vec![name.to_string(), plain(value)]);
            }
        }
        for (name, value) in run.description["settings"]
            .as_object()
            .into_iter()
            .flatten()
        {
            rows.push(vec![name.clone(), plain(value)]);
        }
        if let Some(saved) = run.saved {
            rows.push(vec!["saved".to_string(), format!("after {saved} steps")]);
        }
        lines.extend(lines_of(&rows, &[0, 1]));
        lines.push(String::new());
        let mut rows = vec![
            ["stage", "steps", "", "first", "last"]
                .map(str::to_string)
                .to_vec(),
        ];
        for stage in &run.stages {
            let mut head = [stage.name.clone(), format!("{}/{}", stage.steps, stage.of)];
            let curves = run.curves.iter().filter(|own| own.stage == stage.name);
            for curve in curves.filter(|own| !own.name.starts_with("phases.")) {
                let [name, steps] = std::mem::take(&mut head);
                let value = |value: Option<f64>| value.map_or(String::new(), number);
                rows.push(vec![
                    name,
                    steps,
                    curve.name.clone(),
                    value(curve.first()),
                    value(curve.last()),
                ]);
            }
        }
        lines.extend(lines_of(&rows, &[0, 2]));
        for warning in &run.warnings {
            lines.push(format!(
                "warning[{}]: {} (stage {}, step {})",
                warning.code, warning.message, warning.stage, warning.step
            ));
        }
        lines.extend(run.remarks.iter().cloned());
    }
    Answer::done(joined(&lines))
}

fn differ(paths: &[PathBuf], as_json: bool) -> Answer {
    let runs = match read(paths) {
        Ok(runs) => runs,
        Err(answer) => return answer,
    };
    let (differences, results) = (differences(&runs), results(&runs));
    if as_json {
        let sections = |sections: &[Section]| -> Vec<Json> {
            let rows = |section: &Section| -> Vec<Json> {
                let row = |row: &rlp_record::compare::Row| json!({ "what": row.what, "values": row.values });
                section.rows.iter().map(row).collect()
            };
            sections
                .iter()
                .map(|section| json!({ "title": section.title, "rows": rows(section) }))
                .collect()
        };
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let told = json!({
            "runs": names, "differences": sections(&differences), "results": sections(&results),
            "texts_differ": texts_differ(&runs),
        });
        return Answer::done(format!("{told}\n"));
    }
    let mut lines = Vec::new();
    if differences.is_empty() {
        lines.push("the runs compute the same, with the same settings".to_string());
    } else {
        lines.extend(rows_of(&runs, &differences));
    }
    if texts_differ(&runs) {
        lines.push(String::new());
        lines.push(
            "the texts of the pipelines differ; what is not listed computes the same".to_string(),
        );
    }
    lines.push(String::new());
    lines.push("what came of it, each number the mean of its last tenth".to_string());
    lines.extend(rows_of(&runs, &results));
    Answer::done(joined(&lines))
}

fn rows_of(runs: &[Run], sections: &[Section]) -> Vec<String> {
    let names = runs.iter().map(|run| run.name.clone());
    let mut rows: Vec<Vec<String>> = vec![std::iter::once(String::new()).chain(names).collect()];
    for section in sections {
        rows.push(vec![section.title.clone()]);
        for row in &section.rows {
            let values = row.values.iter().cloned();
            rows.push(
                std::iter::once(format!("  {}", row.what))
                    .chain(values)
                    .collect(),
            );
        }
    }
    lines_of(&rows, &[0])
}

fn plotted(paths: &[PathBuf], wanted: &[String], (width, height): (usize, usize)) -> Answer {
    let runs = match read(paths) {
        Ok(runs) => runs,
        Err(answer) => return answer,
    };
    let numbers = || {
        let curves = runs.iter().flat_map(|run| &run.curves);
        let mut names: Vec<&str> = curves.map(|curve| curve.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let wanted: Vec<String> = if wanted.is_empty() {
        let headlines = runs.iter().flat_map(Run::headline);
        let mut names: Vec<String> = headlines.map(|curve| curve.name.clone()).collect();
        names.dedup();
        names
    } else {
        wanted.to_vec()
    };
    let mut lines = Vec::new();
    for name in &wanted {
        // `accuracy` also means what an evaluation tells.
        let is_it =
            |curve: &&Curve| curve.name == *name || curve.name == format!("{name} (evaluated)");
        let mut stages: Vec<(&str, &str)> = Vec::new();
        for curve in runs.iter().flat_map(|run| &run.curves).filter(is_it) {
            let key = (curve.stage.as_str(), curve.name.as_str());
            if !stages.contains(&key) {
                stages.push(key);
            }
        }
        if stages.is_empty() {
            let help = format!("there are {}", numbers().join(", "));
            let message = format!("no run tells `{name}`");
            return Answer::refusal(Exit::Problems, &message, Some(&help));
        }
        for (stage, name) in stages {
            let titled: Vec<(String, &Curve)> = runs
                .iter()
                .filter_map(|run| {
                    let curve = run.curve(stage, name)?;
                    let title = match runs.len() {
                        1 => format!("{stage}  {name}"),
                        _ => format!("{stage}  {name}  {}", run.name),
                    };
                    Some((title, curve))
                })
                .collect();
            let curves: Vec<(&str, &Curve)> = titled
                .iter()
                .map(|(title, curve)| (title.as_str(), *curve))
                .collect();
            lines.extend(plot(&curves, width, height));
            lines.push(String::new());
        }
    }
    lines.pop();
    Answer::done(joined(&lines))
}

fn of_all(runs: &[Run]) -> Json {
    let one = |run: &Run| {
        let stages = run.stages.iter().map(|stage| {
            let curves = run.curves.iter().filter(|own| own.stage == stage.name);
            let last: serde_json::Map<String, Json> = curves
                .filter_map(|own| Some((own.name.clone(), json!(own.last()?))))
                .collect();
            json!({
                "stage": stage.name, "steps": stage.steps, "of": stage.of, "seconds": stage.seconds,
                "tokens": stage.tokens, "last": last,
            })
        });
        let warnings = run.warnings.iter().map(|warning| {
            json!({ "code": warning.code, "stage": warning.stage, "step": warning.step, "message": warning.message })
        });
        json!({
            "run": run.path, "pipeline": run.pipeline, "ending": run.ending.name(), "started": run.started(),
            "seconds": run.seconds(), "stages": stages.collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(), "remarks": run.remarks,
        })
    };
    runs.iter().map(one).collect()
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            value.to_string()
        }
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
