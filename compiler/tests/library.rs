//! The standard library checks clean, and its tests hold in the reference interpreter.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rlp_compiler::array::Elements;
use rlp_compiler::eval::{Given, evaluate};
use rlp_compiler::pass::{PASSES, Snapshot};
use rlp_compiler::plan::AssertPlan;
use rlp_compiler::source::{SourceMap, Sources};
use rlp_compiler::verify::{verify, verify_phases, verify_stage};
use rlp_compiler::{Settings, check};

/// The standard library, and files of the repository.
struct Standard;

impl Sources for Standard {
    fn read(&self, path: &str) -> Result<Arc<str>, String> {
        match path.strip_prefix("std/") {
            Some(path) => rlp_stdlib::file(path)
                .map(Arc::from)
                .ok_or_else(|| "there is no such file".to_string()),
            None => std::fs::read_to_string(path)
                .map(Arc::from)
                .map_err(|error| error.to_string()),
        }
    }

    fn resolve(&self, from: &str, written: &str) -> String {
        let folder = std::path::Path::new(from)
            .parent()
            .unwrap_or(std::path::Path::new(""));
        folder.join(written).to_string_lossy().into_owned()
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        rlp_stdlib::defining(kind, name).map(|path| format!("std/{path}"))
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        rlp_stdlib::names(kind).map(str::to_string).collect()
    }
}

fn show(map: &SourceMap, diagnostic: &rlp_compiler::diagnostic::Diagnostic) -> String {
    let (line, column) = map.place(diagnostic.span());
    let path = &map.get(diagnostic.span().source).path;
    format!(
        "{path}:{line}:{column}: {} [{}]",
        diagnostic.message, diagnostic.code
    )
}

#[test]
fn every_file_checks_clean() {
    let mut wrong = Vec::new();
    for (path, _) in rlp_stdlib::files() {
        let checked = check(&Standard, &format!("std/{path}"), &Settings::default());
        wrong.extend(
            checked
                .diagnostics
                .iter()
                .map(|diagnostic| show(&checked.sources, diagnostic)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The paths of all examples.
fn examples() -> Vec<String> {
    let mut examples = Vec::new();
    let mut open = vec![std::path::PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples"
    ))];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rlp") {
            examples.push(path.to_string_lossy().into_owned());
        }
    }
    examples
}

#[test]
fn every_example_checks_clean() {
    let mut wrong = Vec::new();
    for path in examples() {
        let checked = check(&Standard, &path, &Settings::default());
        wrong.extend(
            checked
                .diagnostics
                .iter()
                .map(|diagnostic| show(&checked.sources, diagnostic)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_stage_survives_every_pass() {
    let mut stages = 0;
    for path in examples() {
        let checked = check(&Standard, &path, &Settings::default());
        for stage in checked.plans.iter().flat_map(|plan| &plan.stages) {
            assert_eq!(verify_stage(stage), Vec::<String>::new(), "{path}");
            for (pass, _) in PASSES {
                let snapshot = Snapshot::after(stage, pass).unwrap();
                let mut violations = verify(&snapshot.graph);
                violations.extend(verify_phases(&snapshot.graph, &snapshot.phases));
                assert_eq!(violations, Vec::<String>::new(), "{path} after {pass}");
                let adjoints = snapshot
                    .sinks
                    .iter()
                    .filter(|(name, _)| name.starts_with("adjoint."));
                let outputs = stage
                    .trains
                    .iter()
                    .map(|train| train.outputs.len())
                    .sum::<usize>();
                let differentiated = PASSES.iter().skip_while(|(name, _)| *name != "autodiff");
                let expected = if differentiated.into_iter().any(|(name, _)| name == pass) {
                    outputs
                } else {
                    0
                };
                assert_eq!(adjoints.count(), expected, "{path} after {pass}");
            }
            let mut stage = stage.clone();
            rlp_compiler::pass::run(&mut stage);
            assert_eq!(
                verify_stage(&stage),
                Vec::<String>::new(),
                "{path} after all passes"
            );
            stages += 1;
        }
    }
    assert!(stages > 4, "{stages} stages");
}

#[test]
fn every_test_holds() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, _) in rlp_stdlib::files() {
        let checked = check(&Standard, &format!("std/{path}"), &Settings::default());
        for mut test in checked.tests {
            rlp_compiler::pass::run(&mut test);
            // Random numbers are the executors' own: `rlpc test --std` has those tests.
            let is_random =
                |id| matches!(test.graph.op(id), rlp_compiler::graph::Op::Random { .. });
            if test.graph.ids().any(is_random) {
                continue;
            }
            for assert in &test.asserts {
                count += 1;
                if let Err(why) = holds(&test.graph, assert) {
                    wrong.push(format!("{path}: {}: {why}", test.title));
                }
            }
        }
    }
    assert!(count > 100, "{count} assertions");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn holds(graph: &rlp_compiler::graph::Graph, assert: &AssertPlan) -> Result<(), String> {
    let given = Given {
        step: 1,
        steps: 1,
        ..Given::default()
    };
    match assert {
        AssertPlan::Holds { value, .. } => {
            let values =
                evaluate(graph, &given, &[*value]).map_err(|error| error.fault.to_string())?;
            match &values[0].elements {
                Elements::Bool(all) if all.iter().all(|&holds| holds) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }
        AssertPlan::Close {
            left,
            right,
            within,
            mask,
            ..
        } => {
            let mut want = vec![*left, *right];
            want.extend(mask);
            let values = evaluate(graph, &given, &want).map_err(|error| error.fault.to_string())?;
            let reals = |index: usize| match &values[index].elements {
                Elements::Real(reals) => reals.clone(),
                other => panic!("{other:?}"),
            };
            let real = match values.get(2).map(|mask| &mask.elements) {
                Some(Elements::Bool(mask)) => mask.clone(),
                _ => vec![true; reals(0).len()],
            };
            for ((a, b), real) in reals(0).iter().zip(reals(1)).zip(real) {
                if real && !((a - b).abs() <= *within || *a == b || a.is_nan() && b.is_nan()) {
                    return Err(format!("{:?} against {:?}", reals(0), reals(1)));
                }
            }
            Ok(())
        }
    }
}

/// One text beside the standard library.
struct Inline(&'static str);

impl Sources for Inline {
    fn read(&self, path: &str) -> Result<Arc<str>, String> {
        match path {
            "inline.rlp" => Ok(Arc::from(self.0)),
            other => Standard.read(other),
        }
    }

    fn resolve(&self, from: &str, written: &str) -> String {
        Standard.resolve(from, written)
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        Standard.defining(kind, name)
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        Standard.standard(kind)
    }
}

#[test]
fn the_ends_of_lists_do_not_reach_gradients() {
    let text = r#"
test "of what moves values between positions" {
    let x: real[prompt, token] = [[1, 2, 3], [4]]
    let s = [2, 3] : real[prompt]
    assert grad(cumsum(x, over: token), wrt: x) ~= [[3, 2, 1], [1]]
    assert grad(dot(x, x * s, over: token), wrt: x) ~= [[4, 8, 12], [24]]
    assert grad(dot(x, x * s, over: token), wrt: s) ~= [14, 16]
    assert grad(shift(x, over: token, by: -1), wrt: x) ~= [[0, 1, 1], [0]]
    assert grad(scan_back(x, over: token, init: 0.0, |x, carry| x + 0.5 * carry), wrt: x) ~= [[1, 1.5, 1.75], [1]]
    assert grad(max(x, over: token), wrt: x) ~= [[0, 0, 1], [1]]
}
"#;
    let checked = check(&Inline(text), "inline.rlp", &Settings::default());
    let diagnostics = checked.diagnostics.iter();
    let shown: Vec<String> = diagnostics.map(|one| show(&checked.sources, one)).collect();
    assert_eq!(shown, Vec::<String>::new());
    for mut test in checked.tests {
        rlp_compiler::pass::run(&mut test);
        for assert in &test.asserts {
            holds(&test.graph, assert).unwrap();
        }
    }
}
