//! The examples of `rlpc explain` that stop while running, and those beside them that do not.

use rlp_compiler::explain::{EXPLANATIONS, Explanation};

use crate::{Folder, Said};

/// Runs an example as its page means it: a block on its arguments, a pipeline, or tests.
fn ran(folder: &Folder, page: &Explanation, number: usize, text: &str) -> Said {
    folder.write("example.rlp", text);
    if let Some(inputs) = page.inputs().get(number) {
        folder.write("x.json", inputs);
        let (_, name) = text.split_once("loss ").unwrap();
        let name = name.split('(').next().unwrap();
        let block = format!("example.rlp:loss.{name}");
        return folder.said(&[
            "eval",
            &block,
            "--in",
            "x.json",
            "--message-format",
            "short",
        ]);
    }
    let command = if text.contains("pipeline ") {
        "run"
    } else {
        "test"
    };
    folder.said(&[command, "example.rlp", "--message-format", "short"])
}

#[test]
fn examples_of_warnings_warn_once_and_others_do_not() {
    let mut count = 0;
    for page in EXPLANATIONS {
        let (warned, fine) = (page.examples("warns"), page.examples("works"));
        if warned.is_empty() {
            continue;
        }
        for (is_warned, example) in [(true, &warned[0]), (false, &fine[0])] {
            let folder = Folder::new(page.code);
            folder.write("example.rlp", example.text);
            let arguments = ["run", "example.rlp", "--threads", "1", "--quiet"];
            let said = folder.said(&arguments);
            assert_eq!(said.code, Some(0), "{}: {}", page.code, said.err);
            let times = said.err.matches(&format!("warning[{}]", page.code)).count();
            assert_eq!(times, usize::from(is_warned), "{}: {}", page.code, said.err);
            if !is_warned {
                assert!(!said.err.contains("warning"), "{}: {}", page.code, said.err);
            }
            count += 1;
        }
    }
    assert_eq!(count, 12);
}

#[test]
fn examples_of_runs_stop_and_work_as_they_say() {
    let mut count = 0;
    for page in EXPLANATIONS {
        let stopping = page.examples("stops");
        for (number, example) in stopping.iter().enumerate() {
            count += 1;
            let said = ran(&Folder::new(page.code), page, number, example.text);
            assert!(said.err.contains(page.code), "{}: {}", page.code, said.err);
            assert!(
                matches!(said.code, Some(1 | 3)),
                "{}: {:?}",
                page.code,
                said.code
            );
        }
        let working = if stopping.is_empty() {
            Vec::new()
        } else {
            page.examples("works")
        };
        for (number, example) in working.iter().enumerate() {
            let number = stopping.len() + number;
            let said = ran(&Folder::new(page.code), page, number, example.text);
            assert_eq!(said.code, Some(0), "{}: {}", page.code, said.err);
        }
    }
    assert!(count >= 3, "{count} examples");
}
