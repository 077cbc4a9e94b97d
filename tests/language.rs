//! Runs the specification: the programs of `tests/language/*.md` and of `LANGUAGE.md` say what they announce,
//! and the tests of those without an error hold in the reference interpreter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rlp_compiler::array::Elements;
use rlp_compiler::diagnostic::{Diagnostic, Severity};
use rlp_compiler::eval::{Given, evaluate};
use rlp_compiler::explain::EXPLANATIONS;
use rlp_compiler::plan::{AssertPlan, TestPlan};
use rlp_compiler::source::Sources;
use rlp_compiler::{Checked, Settings, check, pass};
use rlp_frontend::data;

use crate::explain::OF_RUNS;

/// One fenced program.
struct Program {
    /// `tests/language/names.md`, and the line on which the program begins, from 1.
    page: String,
    line: usize,
    /// The name that other programs under the same heading may `use` it by.
    name: Option<String>,
    text: String,
    /// Named programs under the same heading.
    beside: BTreeMap<String, String>,
    /// `--set name=value`
    settings: Settings,
}

/// A diagnostic that a comment announces.
struct Announced {
    line: usize,
    severity: Severity,
    code: String,
    /// What its message must contain.
    words: String,
}

struct Files<'p>(&'p Program);

impl Sources for Files<'_> {
    fn read(&self, path: &str) -> Result<Arc<str>, String> {
        let text = match path.strip_prefix("std/") {
            Some(path) => rlp_stdlib::file(path),
            None if path == "program.rlp" => Some(self.0.text.as_str()),
            None => self.0.beside.get(path).map(String::as_str),
        };
        text.map(Arc::from)
            .ok_or_else(|| "there is no such file".to_string())
    }

    fn resolve(&self, _from: &str, written: &str) -> String {
        written.to_string()
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        rlp_stdlib::defining(kind, name).map(|path| format!("std/{path}"))
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        rlp_stdlib::names(kind).map(str::to_string).collect()
    }
}

/// Files of data are those below this repository.
fn checked(program: &Program) -> Checked {
    let mut checked = check(&Files(program), "program.rlp", &program.settings);
    checked.diagnostics.extend(data::faults(&checked.plans));
    checked
}

/// The programs of a page. A heading ends the reach of named ones.
fn programs(page: &str, text: &str) -> Vec<Program> {
    let mut programs: Vec<Program> = Vec::new();
    let mut beside = BTreeMap::new();
    let mut open: Option<Program> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(program) = &mut open {
            if line == "```" {
                programs.extend(open.take());
            } else {
                program.text.push_str(line);
                program.text.push('\n');
            }
        } else if let Some(words) = line.strip_prefix("```rlp") {
            let mut words = words.split_whitespace().peekable();
            open = Some(Program {
                page: page.to_string(),
                line: index + 2,
                name: words
                    .next_if(|word| word.ends_with(".rlp"))
                    .map(str::to_string),
                text: String::new(),
                beside: BTreeMap::new(),
                settings: Settings(
                    words
                        .filter_map(|word| word.split_once('='))
                        .map(|(name, value)| (name.to_string(), value.to_string()))
                        .collect(),
                ),
            });
        } else if line.starts_with('#') {
            share(&mut programs, &mut beside);
        }
        if let (
            None,
            Some(Program {
                name: Some(name),
                text,
                ..
            }),
        ) = (&open, programs.last())
        {
            beside.insert(name.clone(), text.clone());
        }
    }
    assert!(open.is_none(), "{page}: a fence is not closed");
    share(&mut programs, &mut beside);
    programs
}

/// Gives the programs of a heading that has ended their named files.
fn share(programs: &mut [Program], beside: &mut BTreeMap<String, String>) {
    let files = std::mem::take(beside);
    for program in programs.iter_mut().rev() {
        if program
            .name
            .as_ref()
            .is_some_and(|name| !files.contains_key(name))
            || !program.beside.is_empty()
        {
            break;
        }
        program.beside.clone_from(&files);
    }
}

/// `// error[code]: words`, possibly several on one line.
fn announced(text: &str) -> Vec<Announced> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for comment in line.split("// ").skip(1) {
            let (severity, rest) = if let Some(rest) = comment.strip_prefix("error[") {
                (Severity::Error, rest)
            } else if let Some(rest) = comment.strip_prefix("warning[") {
                (Severity::Warning, rest)
            } else {
                continue;
            };
            let Some((code, words)) = rest.split_once(']') else {
                continue;
            };
            let words = words
                .strip_prefix(':')
                .unwrap_or_default()
                .trim()
                .to_string();
            all.push(Announced {
                line: index + 1,
                severity,
                code: code.to_string(),
                words,
            });
        }
    }
    all
}

/// `// stops: words`, on the line of an assertion that does not hold when the tests are run.
fn stops(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate();
    let stop = |(index, line)| Some((index + 1, str::split_once(line, "// stops: ")?.1));
    lines.filter_map(stop).collect()
}

/// What a program says against what it announces, in lines of the page.
fn differences(program: &Program, checked: &Checked) -> Vec<String> {
    let mut open = announced(&program.text);
    let mut wrong = Vec::new();
    for diagnostic in &checked.diagnostics {
        let (line, _) = checked.sources.place(diagnostic.span());
        let path = &checked.sources.get(diagnostic.span().source).path;
        let met = open
            .iter()
            .position(|one| path == "program.rlp" && meets(one, line, diagnostic));
        match met {
            Some(index) => drop(open.swap_remove(index)),
            None if path == "program.rlp" => {
                wrong.push(format!(
                    "{}:{}: says [{}] {}",
                    program.page,
                    program.line + line - 1,
                    diagnostic.code,
                    diagnostic.message
                ));
            }
            None => wrong.push(format!(
                "{}:{}: {path}:{line} says [{}] {}",
                program.page, program.line, diagnostic.code, diagnostic.message
            )),
        }
    }
    for one in open {
        wrong.push(format!(
            "{}:{}: does not say [{}] {}",
            program.page,
            program.line + one.line - 1,
            one.code,
            one.words
        ));
    }
    wrong
}

fn meets(one: &Announced, line: usize, diagnostic: &Diagnostic) -> bool {
    one.line == line
        && one.severity == diagnostic.severity
        && one.code == diagnostic.code
        && diagnostic.message.contains(&one.words)
}

/// What does not hold of a test, in the places of its program.
fn failures(test: &mut TestPlan, checked: &Checked) -> Vec<(usize, String)> {
    pass::run(test);
    let mut wrong = Vec::new();
    for assertion in &test.graph.asserts {
        let (line, _) = checked.sources.place(assertion.span);
        match evaluate(&test.graph, &Given::default(), &[assertion.condition]) {
            Ok(values) => match &values[0].elements {
                Elements::Bool(all) if all.iter().all(|&holds| holds) => {}
                _ => wrong.push((line, assertion.claim.clone())),
            },
            Err(error) => wrong.push((line, error.fault.to_string())),
        }
    }
    // Where the run stops, nothing is compared.
    if !wrong.is_empty() {
        return wrong;
    }
    for assert in &test.asserts {
        let (span, want) = match assert {
            AssertPlan::Holds { value, span } => (*span, vec![*value]),
            AssertPlan::Close {
                left,
                right,
                mask,
                span,
                ..
            } => (*span, [*left, *right].into_iter().chain(*mask).collect()),
        };
        let (line, _) = checked.sources.place(span);
        let values = match evaluate(&test.graph, &Given::default(), &want) {
            Ok(values) => values,
            Err(error) => {
                wrong.push((line, error.fault.to_string()));
                continue;
            }
        };
        let elements: Vec<&Elements> = values.iter().map(|value| &value.elements).collect();
        let holds = match (assert, elements.as_slice()) {
            (AssertPlan::Holds { .. }, [Elements::Bool(all)]) => all.iter().all(|&holds| holds),
            (
                AssertPlan::Close { within, .. },
                [Elements::Real(left), Elements::Real(right), ..],
            ) => {
                let real = |index: usize| !matches!(elements.get(2), Some(Elements::Bool(mask)) if !mask[index]);
                let close = |index: usize| (left[index] - right[index]).abs() <= *within;
                (0..left.len()).all(|index| !real(index) || close(index))
            }
            _ => false,
        };
        if !holds {
            wrong.push((line, format!("{elements:?}")));
        }
    }
    wrong
}

/// Every program of the specification.
fn specification() -> Vec<Program> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<_> = std::fs::read_dir(root.join("tests/language"))
        .expect("the folder of the specification")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    pages.push(root.join("LANGUAGE.md"));
    pages.sort();
    let mut all = Vec::new();
    for path in pages {
        let text = std::fs::read_to_string(&path).expect("a page");
        let page = path
            .strip_prefix(root)
            .expect("a page of ours")
            .display()
            .to_string();
        all.extend(programs(&page, &text));
    }
    all
}

#[test]
fn programs_say_what_they_announce() {
    let mut wrong = Vec::new();
    let mut n_programs = 0;
    for program in specification() {
        n_programs += 1;
        let checked = checked(&program);
        wrong.extend(differences(&program, &checked));
    }
    assert!(n_programs > 200, "{n_programs} programs");
    assert!(
        wrong.is_empty(),
        "{} differences\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn tests_of_programs_hold() {
    let mut wrong = Vec::new();
    let mut n_tests = 0;
    for program in specification() {
        let mut checked = checked(&program);
        if checked
            .diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
        {
            continue;
        }
        let mut stops = stops(&program.text);
        for mut test in std::mem::take(&mut checked.tests) {
            n_tests += 1;
            for (line, why) in failures(&mut test, &checked) {
                let announced = stops
                    .iter()
                    .position(|(own, words)| *own == line && why.contains(words));
                if let Some(index) = announced {
                    stops.swap_remove(index);
                    continue;
                }
                wrong.push(format!(
                    "{}:{}: {}: {why}",
                    program.page,
                    program.line + line - 1,
                    test.title
                ));
            }
        }
        for (line, words) in stops {
            let line = program.line + line - 1;
            wrong.push(format!("{}:{line}: does not stop: {words}", program.page));
        }
    }
    assert!(n_tests > 60, "{n_tests} tests");
    assert!(
        wrong.is_empty(),
        "{} do not hold\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Codes that no program of a page raises: they are about programs too large to print, or about `rlpc eval`.
const WITHOUT_PROGRAM: [&str; 6] = [
    "file-too-large",
    "no-derivative",
    "not-evaluable",
    "too-deep",
    "too-large",
    "too-many-files",
];

#[test]
fn every_code_is_announced_somewhere() {
    let programs = specification();
    let codes: BTreeSet<String> = programs
        .iter()
        .flat_map(|program| announced(&program.text))
        .map(|one| one.code)
        .collect();
    let missing: Vec<&str> = EXPLANATIONS
        .iter()
        .map(|explanation| explanation.code)
        .filter(|code| !codes.contains(*code) && !WITHOUT_PROGRAM.contains(code))
        .filter(|code| !OF_RUNS.contains(code))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join(", "));
}
