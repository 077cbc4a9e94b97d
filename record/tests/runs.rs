//! Runs read from folders that are whole, old, cut off, or written by someone who wishes us ill.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use rlp_record::compare::{Row, Section, differences, results, texts_differ};
use rlp_record::{Curve, Ending, Run, list, page, plot};
use serde_json::{Value as Json, json};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("record-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Folder {
        fs::write(self.0.join(name), text).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const FILES: [&str; 6] = [
    "run.json",
    "resolved.json",
    "environment.json",
    "profile.json",
    "metrics.jsonl",
    "samples.jsonl",
];

/// What ends a script, an attribute or a comment, and what no page may hold.
const HOSTILE: &str =
    "</script><script>alert(1)</script>\"'--><img src=x onerror=alert(2)>\u{202e}\u{0}";

fn resolved(lr: f64, advantage: &str, sum: &str) -> Json {
    let value = |name: &str, kind: &str, block: &str, reads: &[&str], sum: &str| {
        json!({
            "name": name, "kind": kind, "block": block, "args": {}, "type": "real[prompt, sample]", "phase": "step",
            "reads": reads, "sum": sum,
        })
    };
    let values = [
        value("rollouts", "draw", "sampler.rollout", &[], "1"),
        value("score", "block", "reward.exact_answer", &["rollouts"], "2"),
        value("adv", "block", advantage, &["score"], sum),
    ];
    let train = json!({
        "trains": ["policy"], "loss": { "reads": ["adv", "rollouts"], "sum": "3" }, "steps": 4, "epochs": 2,
        "minibatch": null, "micro_batch": null, "clip_norm": null, "keep_state": false, "evaluations": [],
        "rules": [{ "block": "optimizer.adamw", "on": "all", "args": { "lr": lr } }],
    });
    let entry = json!({ "name": "score", "reads": ["score"], "sum": "4" });
    json!({
        "pipeline": "p", "settings": { "lr": lr }, "data": [], "tensors": [],
        "models": [{ "name": "policy", "block": "model.causal_lm", "args": { "heads": 4 } }],
        "stages": [{
            "name": "rl", "steps": 4, "values": values, "trains": [train], "states": [],
            "reports": [{ "every": null, "entries": [entry] }],
        }],
    })
}

fn run(name: &str, resolved: &Json, scores: &[f64]) -> Folder {
    let folder = Folder::new(name);
    let description = json!({
        "rlpc": "0.1.0", "pipeline": "p", "file": "p.rlp", "set": [], "settings": resolved["settings"], "seed": 3,
        "sources": { "p.rlp": format!("pipeline p {{}} // {HOSTILE}") },
    });
    let line = |(index, score): (usize, &f64)| {
        let step = json!({
            "event": "step", "stage": "rl", "step": index + 1, "steps": scores.len(), "loss": 0.5, "grad_norm": 1.0,
            "updates": 2, "metrics": { "score": score }, "tokens": 40, "seconds": 0.5,
        });
        format!("{step}\n")
    };
    let metrics: String = scores.iter().enumerate().map(line).collect();
    let evaluation = json!({
        "event": "evaluation", "stage": "rl", "step": scores.len(), "metrics": { HOSTILE: 0.75 }, "seconds": 0.1,
    });
    let warning = json!({
        "event": "warning", "code": "constant-groups", "stage": "rl", "step": 2, "message": HOSTILE,
    });
    let sample = json!({
        "stage": "rl", "step": 1, "draw": HOSTILE, "prompt": HOSTILE, "text": HOSTILE, "answer": HOSTILE,
        "finished": false, "numbers": { HOSTILE: 1.0 },
    });
    let row = json!({
        "stage": "rl", "phase": "rollout", "block": HOSTILE, "work": null, "file": HOSTILE, "line": 3, "seconds": 2.0,
        "share": 1.0, "calls": 4,
    });
    let environment = json!({ "started": "2026-11-24 09:57:59", "libtorch": "2.11.0" });
    folder
        .write("run.json", description.to_string())
        .write("resolved.json", resolved.to_string())
        .write("environment.json", environment.to_string())
        .write(
            "profile.json",
            json!({ "seconds": 2.0, "rows": [row] }).to_string(),
        )
        .write(
            "metrics.jsonl",
            format!("{metrics}{evaluation}\n{warning}\n"),
        )
        .write("samples.jsonl", format!("{sample}\n"));
    folder
}

fn read(folder: &Folder) -> Run {
    Run::read(&folder.0).unwrap()
}

type Told = (String, String, Vec<String>);

fn rows(sections: &[Section]) -> Vec<Told> {
    let all = sections.iter().flat_map(|section| {
        let told = |row: &Row| (section.title.clone(), row.what.clone(), row.values.clone());
        section.rows.iter().map(told)
    });
    all.collect()
}

fn row(section: &str, what: &str, values: [&str; 2]) -> Told {
    let values = values.map(str::to_string).to_vec();
    (section.to_string(), what.to_string(), values)
}

#[test]
fn a_run_is_what_its_folder_tells() {
    let resolved = resolved(0.1, "advantage.group_norm", "5");
    let folder = run("whole", &resolved, &[0.0, 0.25, 0.5, 1.0]);
    assert_eq!(read(&folder).ending, Ending::Open);
    for inner in ["final", "checkpoints/12", "checkpoints/9.part"] {
        fs::create_dir_all(folder.0.join(inner)).unwrap();
    }
    let run = read(&folder);
    assert_eq!((run.ending, run.saved), (Ending::Done, Some(12)));
    assert_eq!((run.steps(), run.seconds()), (4, 2.0));
    let score = run.curve("rl", "score").unwrap();
    assert_eq!(score.points, [(1, 0.0), (2, 0.25), (3, 0.5), (4, 1.0)]);
    let speed = run.curve("rl", "tokens/s").and_then(Curve::last);
    assert_eq!(speed, Some(80.0));
    assert_eq!(run.headline()[0].last(), Some(0.75));
    assert_eq!(
        (run.samples.len(), run.warnings.len(), run.timings.len()),
        (1, 1, 1)
    );
    assert!(run.remarks.is_empty(), "{:?}", run.remarks);
}

#[test]
fn what_differs_is_what_is_computed() {
    let norm = resolved(0.1, "advantage.group_norm", "5");
    let (one, same) = (
        run("one", &norm, &[0.0, 1.0]),
        run("same", &norm, &[0.0, 1.0]),
    );
    assert_eq!(differences(&[read(&one), read(&same)]), []);
    assert!(!texts_differ(&[read(&one), read(&same)]));

    let other = resolved(0.2, "advantage.rloo", "6");
    let other = run("other", &other, &[0.0, 0.5, 0.5]);
    let runs = [read(&one), read(&other)];
    assert_eq!(
        rows(&differences(&runs)),
        [
            row("settings", "lr", ["0.1", "0.2"]),
            row(
                "stage rl",
                "adv",
                ["advantage.group_norm", "advantage.rloo"]
            ),
            row("stage rl", "train policy: with, lr", ["0.1", "0.2"]),
        ]
    );
    // (0 + 1) / 2 and (0 + 0.5 + 0.5) / 3.
    let score = row("stage rl", "score", ["0.5", "0.3333"]);
    assert!(rows(&results(&runs)).contains(&score));

    // The same name for something else.
    let changed = resolved(0.1, "advantage.group_norm", "abcdef12");
    let changed = run("changed", &changed, &[0.0, 1.0]);
    let sums = ["advantage.group_norm #5", "advantage.group_norm #abcdef"];
    assert_eq!(
        rows(&differences(&[read(&one), read(&changed)])),
        [row("stage rl", "adv", sums)]
    );
}

#[test]
fn a_page_takes_no_text_for_markup_and_needs_no_network() {
    let one = resolved(0.1, "advantage.group_norm", HOSTILE);
    let one = run("hostile-one", &one, &[0.0, 1.0]);
    let two = run("hostile-two", &resolved(0.2, HOSTILE, "6"), &[0.5, 0.25]);
    for page in [page(&[read(&one)]), page(&[read(&one), read(&two)])] {
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("</script").count(), 1);
        assert!(!page.contains("<img") && !page.contains("-->"));
        assert!(!page.contains(['\u{202e}', '\u{0}']));
        assert!(page.contains("&lt;/script&gt;"));
        for elsewhere in ["href=\"http", "url(", "@import", "https:", "fetch("] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }
}

#[test]
fn damage_stops_nothing() {
    let resolved = resolved(0.1, "advantage.group_norm", "5");
    let folder = run("damaged", &resolved, &[0.0, 1.0]);
    let whole = read(&folder);
    let originals = FILES.map(|name| fs::read(folder.0.join(name)).unwrap());
    // Knuth's MMIX generator: the same damage each time.
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let mut changed = 0;
    for round in 0..300 {
        let file = random(FILES.len());
        let mut bytes = originals[file].clone();
        let at = random(bytes.len());
        match round % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random(8),
            2 => drop(bytes.drain(at..(at + 1 + random(40)).min(bytes.len()))),
            _ => drop(bytes.splice(at..at, vec![b'['; 1 + random(300)])),
        }
        folder.write(FILES[file], &bytes);
        let run = read(&folder);
        changed += usize::from(run != whole);
        let named = run.curves.iter().map(|curve| (curve.name.as_str(), curve));
        assert!(!plot(&named.collect::<Vec<_>>(), 80, 8).is_empty());
        let runs = [run, whole.clone()];
        assert!(page(&runs).ends_with("</html>\n"));
        differences(&runs);
        results(&runs);
        folder.write(FILES[file], &originals[file]);
    }
    assert!(changed > 200, "{changed}");
    for name in FILES {
        fs::remove_file(folder.0.join(name)).unwrap();
        // As long as one of the two that make a run is there.
        let is_run = ["run.json", "metrics.jsonl"]
            .iter()
            .any(|name| folder.0.join(name).exists());
        assert_eq!(Run::read(&folder.0).is_ok(), is_run, "without {name}");
    }
}

#[test]
fn numbers_out_of_all_bounds_are_drawn() {
    let folder = Folder::new("bounds");
    for values in [
        &["1e308", "-1e308", "0"][..],
        &["1e-320", "2e-320"],
        &["5", "5", "5"],
        &["null", "\"x\"", "[1]"],
        &["7"],
    ] {
        let line = |(step, value): (usize, &&str)| {
            format!(
                "{{\"event\":\"step\",\"stage\":\"s\",\"step\":{step},\"steps\":9,\"loss\":{value},\
                 \"tokens\":18446744073709551615,\"seconds\":1e300}}\n"
            )
        };
        let lines: String = values.iter().enumerate().map(line).collect();
        folder.write("metrics.jsonl", lines);
        let run = read(&folder);
        for curve in &run.curves {
            assert!(!plot(&[("x", curve)], 60, 6).is_empty());
        }
        assert!(page(&[run]).ends_with("</html>\n"));
    }
}

#[test]
fn folders_without_a_run_are_told_apart() {
    let parent = Folder::new("parent");
    fs::create_dir_all(parent.0.join("empty")).unwrap();
    fs::create_dir_all(parent.0.join("a")).unwrap();
    parent.write("a/run.json", "{");
    let listed = list(&parent.0).unwrap();
    assert_eq!((listed.runs.len(), listed.others.len()), (1, 1));
    assert_eq!(listed.runs[0].remarks.len(), 1);
    let said = |name: &str| Run::read(&parent.0.join(name)).unwrap_err();
    assert!(said("empty").contains("not the folder of a run"));
    assert!(said("none").contains("no folder"));
}
