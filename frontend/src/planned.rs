//! A plan as a file: a run that is not begun, with all that it follows from, and what it takes.
//!
//! The first line says what the file is and has the sum of all that follows, so that one that was cut or changed is known.

use rlp_compiler::source::SourceMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::description::{Description, is_standard, sum};
use crate::files::Files;

/// What changes whenever an older program could not read what a newer one writes.
const FORMAT: u64 = 1;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file that the plan was made from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    path: String,
    sha256: String,
    text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    /// Its own sources are below, with those of the standard library.
    run: Description,
    sources: Vec<Source>,
    account: Json,
}

/// The text of a plan; `account` says what the run takes.
pub fn write(description: &Description, sources: &SourceMap, account: Json) -> String {
    let sources = sources.iter().map(|source| Source {
        path: source.path.clone(),
        sha256: sum([source.text.as_ref()]),
        text: source.text.to_string(),
    });
    let body = json!({
        "run": Description { sources: Default::default(), ..description.clone() },
        "sources": sources.collect::<Vec<_>>(), "account": account,
    });
    let body = format!("{body:#}\n");
    // One object, whose first line is the head.
    let rest = body.strip_prefix("{\n").unwrap_or(&body);
    let sum = sum([rest]);
    format!("{{ \"rlpc_plan\": {FORMAT}, \"rlpc\": \"{VERSION}\", \"sha256\": \"{sum}\",\n{rest}")
}

/// The run that a text of [`write`] describes.
///
/// # Errors
/// A sentence, and how to mend it: it is no plan, one of another version, or not as it was written.
pub fn read(text: &str) -> Result<Description, (String, &'static str)> {
    const ANEW: &str = "`rlpc plan FILE.rlp --out plan.json` makes one";
    let (head, rest) = text
        .split_once('\n')
        .ok_or_else(|| ("it is no plan".to_string(), ANEW))?;
    let closed = format!("{}}}", head.trim_end().trim_end_matches(','));
    let head: Json = serde_json::from_str(&closed).unwrap_or_default();
    if head["rlpc_plan"].is_null() {
        return Err(("it is no plan".to_string(), ANEW));
    }
    let version = head["rlpc"].as_str().unwrap_or("of an unknown version");
    if version != VERSION || head["rlpc_plan"] != FORMAT {
        let shown: String = version.chars().take(40).collect();
        let message = format!("it was made by rlpc {shown}, and this is rlpc {VERSION}");
        return Err((
            message,
            "make it anew: another version may compute other bits",
        ));
    }
    if head["sha256"].as_str() != Some(sum([rest]).as_str()) {
        let message = "it is damaged: it is not as it was written".to_string();
        return Err((message, "make it anew, or fetch it once more"));
    }
    let damaged = |what: String| (format!("it is damaged: {what}"), ANEW);
    let body: Body =
        serde_json::from_str(&format!("{{\n{rest}")).map_err(|error| damaged(error.to_string()))?;
    for source in &body.sources {
        if sum([source.text.as_str()]) != source.sha256 {
            return Err(damaged(format!(
                "`{}` is not as it was planned",
                source.path
            )));
        }
    }
    let own = body.sources.into_iter();
    let own = own.filter(|source| !is_standard(&source.path));
    let description = Description {
        sources: own.map(|source| (source.path, source.text)).collect(),
        ..body.run
    };
    if !(1..=4096).contains(&description.threads) {
        let threads = description.threads;
        return Err(damaged(format!("there are no {threads} threads")));
    }
    Ok(description)
}

/// The files of a run as they were when it was described, and none besides.
pub fn files(description: &Description) -> Files {
    let mut files = Files::closed();
    for (path, text) in &description.sources {
        files.add(path, Ok(text.clone()));
    }
    files
}

#[cfg(test)]
mod tests {
    use rlp_compiler::{Settings, check};

    use super::*;
    use crate::description::{Asked, CheckpointWishes};

    fn plan() -> String {
        let mut files = Files::new();
        let text = "pipeline p {\n    let task = data.arithmetic()\n    let m = model.causal_lm(\"tiny\")\n    stage s {\n        let d = sampler.demonstrations(task, prompts: 2)\n        train m {\n            minimize loss.nll(logp(m, d))\n            with     optimizer.sgd(lr: 0.1)\n            steps    1\n        }\n    }\n}\n";
        files.add("p.rlp", Ok(text.to_string()));
        let checked = check(&files, "p.rlp", &Settings::default());
        let asked = Asked {
            set: vec![("lr".into(), "1".into())],
            seed: 7,
            steps: None,
            executor: "fused".into(),
            device: "cpu".into(),
            threads: 1,
            checkpoints: CheckpointWishes {
                every: None,
                keep: 2,
                best: None,
            },
        };
        let description = Description::new(asked, &checked.plans[0], "p.rlp", &checked.sources);
        let text = write(&description, &checked.sources, json!({ "peak": 1.5 }));
        assert_eq!(read(&text), Ok(description));
        text
    }

    #[test]
    fn a_plan_is_json_with_every_source_and_its_sum() {
        let json: Json = serde_json::from_str(&plan()).unwrap();
        let sources = json["sources"].as_array().unwrap();
        let paths: Vec<&str> = sources
            .iter()
            .map(|source| source["path"].as_str().unwrap())
            .collect();
        assert!(paths.contains(&"p.rlp") && paths.contains(&"std/loss/nll.rlp"));
        assert_eq!(json["run"]["seed"], 7);
    }

    #[test]
    fn a_plan_that_was_cut_or_changed_anywhere_is_refused() {
        let text = plan();
        for place in (0..text.len()).step_by(7) {
            if let Some(cut) = text.get(..place) {
                assert!(read(cut).is_err(), "cut at {place}");
            }
            let mut changed = text.clone().into_bytes();
            changed[place] = changed[place].wrapping_add(1) & 0x7f;
            // What is no text is refused where files are read.
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            // A blank in the head says nothing.
            if let Ok(description) = read(&changed) {
                assert_eq!(Ok(description), read(&text), "changed at {place}");
            }
        }
    }

    #[test]
    fn a_plan_of_another_version_says_so() {
        let other = plan().replacen(VERSION, "9.9.9", 1);
        let (message, _) = read(&other).unwrap_err();
        assert_eq!(
            message,
            format!("it was made by rlpc 9.9.9, and this is rlpc {VERSION}")
        );
        assert_eq!(read("{}").unwrap_err().0, "it is no plan");
        let deep = format!("{}\n", "[".repeat(100_000));
        assert!(read(&deep).is_err());
    }

    #[test]
    fn a_plan_with_a_right_sum_and_wrong_contents_is_refused() {
        let forged = |rest: &str| {
            let sum = sum([rest]);
            read(&format!(
                "{{ \"rlpc_plan\": {FORMAT}, \"rlpc\": \"{VERSION}\", \"sha256\": \"{sum}\",\n{rest}"
            ))
        };
        for rest in [
            "",
            "}",
            "\"run\": 1}",
            "\"run\": {}, \"sources\": [], \"account\": 0}",
        ] {
            assert!(forged(rest).is_err(), "{rest}");
        }
        let text = plan();
        let (_, rest) = text.split_once('\n').unwrap();
        assert!(forged(rest).is_ok());
        let other = forged(&rest.replace("lr: 0.1", "lr: 0.2")).unwrap_err().0;
        assert_eq!(other, "it is damaged: `p.rlp` is not as it was planned");
        assert!(forged(&rest.replace("\"threads\": 1", "\"threads\": 0")).is_err());
    }
}
