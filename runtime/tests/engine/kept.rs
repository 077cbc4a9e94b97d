//! What a run keeps besides its weights: event files, samples, the resolved pipeline; and what it tries out beforehand.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::Folder;

const SMALL: &str = r#"
pipeline small {
    param lr: real = 1e-2
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    let held   = sampler.rollout(policy, held_out(task), prompts: 4, samples: 1, max_tokens: 3, temperature: 0)
    stage warmup {
        train policy {
            minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 8)))
            with     optimizer.adamw(lr: lr)
            steps    4
            evaluate length = mean(held.length) every 2
        }
    }
    stage rl {
        let rollouts = sampler.rollout(policy, task, prompts: 2, samples: 4, max_tokens: 3)
        let score    = reward.brevity(rollouts.length, max_length: 3)
        train policy {
            minimize loss.ppo_clip(logp(policy, rollouts), rollouts.logp, advantage.group_norm(score))
            with     optimizer.adamw(lr: lr)
            steps    3
            epochs   2
        }
        report score = mean(score)
    }
}
"#;

fn run(folder: &Folder, more: &[&str]) {
    let said = folder.said(&[&["run", "small.rlp", "--threads", "1", "--quiet"], more].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
}

fn lines(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A checksum by polynomial division of the reflected bits, a table entry at a time: not as the writer does it.
fn crc32c(bytes: &[u8]) -> u32 {
    let entry = |index: u32| {
        let shift = |rest: u32| {
            if rest & 1 == 1 {
                (rest >> 1) ^ 0x82F6_3B78
            } else {
                rest >> 1
            }
        };
        (0..8).fold(index, |rest, _| shift(rest))
    };
    let table: Vec<u32> = (0..256).map(entry).collect();
    let all = bytes.iter().fold(u32::MAX, |rest, byte| {
        table[((rest ^ u32::from(*byte)) & 0xff) as usize] ^ (rest >> 8)
    });
    all ^ u32::MAX
}

/// A field of a message: its number, and its value as the bytes that it takes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for place in 0.. {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => varint(&mut bytes) as usize,
            other => panic!("form {other}"),
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

/// A number in an event file: step, name and value.
type Number = (u64, String, f32);

/// Adds the numbers of an event file, whose checksums are right and of which only a last record may be cut, to those of
/// earlier ones: as TensorBoard does, without what a process before told of steps that this one begins with.
fn read_events(path: &Path, found: &mut Vec<Number>) {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut is_first = true;
    while rest.len() >= 12 {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        if rest.len() < 16 + length {
            break;
        }
        let event = &rest[12..12 + length];
        for (start, end) in [(0, 8), (12, 12 + length)] {
            let sum = u32::from_le_bytes(rest[end..end + 4].try_into().unwrap());
            let own = crc32c(&rest[start..end]);
            let masked = own.rotate_right(15).wrapping_add(0xa282_ead8);
            assert_eq!(sum, masked);
        }
        rest = &rest[16 + length..];
        let event = fields(event);
        let of = |number: u64| event.iter().find(|(own, _)| *own == number);
        if std::mem::take(&mut is_first) {
            assert_eq!(of(3).unwrap().1, b"brain.Event:2");
            continue;
        }
        let step = u64::from_le_bytes(of(2).unwrap().1.clone().try_into().unwrap());
        if of(7).is_some() {
            found.retain(|number| number.0 < step);
        }
        for (number, value) in of(5).map_or(Vec::new(), |(_, summary)| fields(summary)) {
            assert_eq!(number, 1);
            let parts = fields(&value);
            let name = String::from_utf8(parts[0].1.clone()).unwrap();
            let value = f32::from_le_bytes(parts[1].1.clone().try_into().unwrap());
            found.push((step, name, value));
        }
    }
}

/// The numbers of all event files of a run, but for those of time.
pub(crate) fn events(run: &Path) -> Vec<Number> {
    let mut files = event_files(run);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        read_events(&file, &mut found);
    }
    found.retain(|(_, name, _)| !name.ends_with("tokens_per_second"));
    found
}

fn event_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().contains("tfevents"));
    files
}

#[test]
fn event_files_hold_what_the_metrics_say() {
    let folder = Folder::new("events");
    folder.write("small.rlp", SMALL);
    run(&folder, &["--run-dir", "out"]);
    let out = folder.0.join("out");
    assert_eq!(event_files(&out).len(), 1);
    let found = events(&out);
    let told = lines(&out.join("metrics.jsonl"));
    let (mut done, mut count) = (0, 0);
    for line in told.iter().filter(|line| line["event"] != "warning") {
        let stage = line["stage"].as_str().unwrap();
        let is_step = line["event"] == "step";
        done += u64::from(is_step);
        let prefix = if is_step {
            stage.to_string()
        } else {
            format!("{stage}/evaluated")
        };
        let metrics = line["metrics"].as_object().unwrap().iter();
        let loss = line.get("loss").map(|loss| ("loss".to_string(), loss));
        for (name, value) in metrics
            .map(|(name, value)| (name.clone(), value))
            .chain(loss)
        {
            let value = value.as_f64().unwrap() as f32;
            let expected = (done, format!("{prefix}/{name}"), value);
            assert!(found.contains(&expected), "{expected:?}");
            count += 1;
        }
    }
    // 7 losses, 3 scores, 2 evaluations.
    assert_eq!(count, 12);
}

#[test]
fn samples_are_few_and_carry_their_scores() {
    let folder = Folder::new("samples");
    folder.write("small.rlp", SMALL);
    run(&folder, &["--run-dir", "out"]);
    let samples = lines(&folder.0.join("out/samples.jsonl"));
    // Two responses to each of two prompts, at each of the three steps.
    assert_eq!(samples.len(), 12);
    for sample in &samples {
        assert_eq!(
            (&sample["stage"], &sample["draw"]),
            (&"rl".into(), &"rollouts".into())
        );
        let score = sample["numbers"]["score"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&score), "{score}");
        assert!(sample["prompt"].as_str().unwrap().ends_with('='));
    }
    let resolved = fs::read_to_string(folder.0.join("out/resolved.json")).unwrap();
    let resolved: Json = serde_json::from_str(&resolved).unwrap();
    let names = |place: usize| -> Vec<&str> {
        let values = resolved["stages"][place]["values"].as_array().unwrap();
        values
            .iter()
            .map(|value| value["name"].as_str().unwrap())
            .collect()
    };
    let rl = names(1);
    assert!(rl.contains(&"rollouts") && rl.contains(&"score"), "{rl:?}");
    assert!(
        rl.contains(&"loss.ppo_clip") && rl.contains(&"logp(policy)"),
        "{rl:?}"
    );
    let page = fs::read_to_string(folder.0.join("out/report.html")).unwrap();
    assert!(page.contains("reward.brevity") && page.ends_with("</html>\n"));
}

#[test]
fn sums_change_with_what_is_computed_and_with_nothing_else() {
    let folder = Folder::new("sums");
    let rewritten = SMALL
        .replace("let score ", "// Short is good.\n        let score ")
        .replace("pipeline small {", "pipeline small {\n");
    let changed = SMALL.replace("max_length: 3", "max_length: 4");
    assert!(rewritten != SMALL && changed != SMALL);
    let values = |text: &str, out: &str| {
        folder.write("small.rlp", text);
        run(&folder, &["--run-dir", out, "--steps", "1"]);
        let path = folder.0.join(out).join("resolved.json");
        serde_json::from_str::<Json>(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let (first, rewritten) = (values(SMALL, "a"), values(&rewritten, "b"));
    assert_eq!(first, rewritten);
    let changed = values(&changed, "c");
    let differ = |stage: usize| -> Vec<Json> {
        let of = |all: &Json| all["stages"][stage]["values"].as_array().unwrap().clone();
        let both = of(&first).into_iter().zip(of(&changed));
        both.filter(|(one, other)| one != other)
            .map(|(one, _)| one["name"].clone())
            .collect()
    };
    assert_eq!((differ(0), differ(1)), (vec![], vec![Json::from("score")]));
}

#[test]
fn a_dry_run_does_everything_once_and_leaves_nothing() {
    let folder = Folder::new("dry");
    folder.write("small.rlp", SMALL);
    fs::create_dir_all(folder.0.join("runs")).unwrap();
    let arguments = ["run", "small.rlp", "--threads", "1", "--dry-run"];
    let said = folder.said(&arguments);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("all of it works"), "{}", said.out);
    assert!(
        said.out.contains("warmup 1/1") && said.out.contains("rl 1/1"),
        "{}",
        said.out
    );
    assert_eq!(fs::read_dir(folder.0.join("runs")).unwrap().count(), 0);

    // What would show only in the second stage.
    let (fine, wrong) = (
        "minimize loss.ppo_clip(",
        "minimize log(mean(logp(policy, rollouts))) + loss.ppo_clip(",
    );
    folder.write("small.rlp", &SMALL.replace(fine, wrong));
    let said = folder.said(&arguments);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(
        said.err.contains("not-finite") || said.err.contains("not finite"),
        "{}",
        said.err
    );
    assert_eq!(fs::read_dir(folder.0.join("runs")).unwrap().count(), 0);
}
