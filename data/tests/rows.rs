//! Rows of files: what is read, divided, refused and named.
#![allow(clippy::unwrap_used)]

#[path = "rows/hostile.rs"]
mod hostile;
#[cfg(feature = "parquet")]
#[path = "rows/parquet.rs"]
mod parquet_files;
#[path = "rows/text.rs"]
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rlp_data::{
    Columns, DataError, Field, Format, Part, Prompt, Request, Row, Table, Template, found, glance,
};

/// A folder of its own, which goes with the test.
struct Folder(PathBuf);

static FOLDERS: AtomicU64 = AtomicU64::new(0);

impl Folder {
    fn new() -> Folder {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("rlp-data-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn field(path: &str) -> Field {
    Field::new(path).unwrap()
}

/// `question` and `answer`.
fn columns() -> Columns {
    Columns {
        prompt: Prompt::Field(field("question")),
        answer: Some(field("answer")),
        is_answer_optional: true,
        response: None,
        needs_response: false,
        system: String::new(),
    }
}

fn request(files: Vec<PathBuf>, columns: Columns) -> Request {
    Request {
        files,
        format: Format::Jsonl,
        columns,
        part: Part::Train,
        fraction: 1.0,
        limit: 0,
        skip: 0,
    }
}

fn open(request: &Request) -> Result<Table, DataError> {
    Table::open(request, &mut |_| Ok(()))
}

fn rows(table: &Table) -> Vec<Row> {
    let all = 0..table.trained();
    all.map(|index| table.train_row(index).unwrap().1).collect()
}

/// Reads one text as a jsonl file.
fn read(columns: Columns, text: impl AsRef<[u8]>) -> Result<Vec<Row>, DataError> {
    let folder = Folder::new();
    let path = folder.write("rows.jsonl", text);
    Ok(rows(&open(&request(vec![path], columns))?))
}

fn asked(rows: &[Row]) -> Vec<(&str, &str)> {
    rows.iter()
        .map(|row| (row.prompt.as_str(), row.answer.as_str()))
        .collect()
}

#[test]
fn a_row_is_an_object_a_line_and_numbers_are_as_written() {
    let text = "\u{feff}{\"question\": \"2+2\", \"answer\": 4}\r\n\n  \n{\"answer\": 1.50, \"question\": \"\\u00e9\", \"more\": [{}]}\n{\"question\": \"no answer\", \"answer\": null}";
    let rows = read(columns(), text).unwrap();
    assert_eq!(
        asked(&rows),
        [("2+2", "4"), ("é", "1.50"), ("no answer", "")]
    );
    assert_eq!(rows[0].response, "4");
}

#[test]
fn fields_lie_in_each_other() {
    let columns = Columns {
        prompt: Prompt::Field(field("turns.0.content")),
        answer: Some(field("meta.answer")),
        is_answer_optional: false,
        response: Some(field("a.b")),
        needs_response: false,
        system: String::new(),
    };
    let text = r#"{"turns": [{"content": "hi"}, 3], "meta": {"answer": true}, "a.b": "by its own name", "a": {"b": "inside"}}"#;
    let rows = read(columns, text).unwrap();
    assert_eq!(asked(&rows), [("hi", "true")]);
    assert_eq!(rows[0].response, "by its own name");
}

#[test]
fn templates_fill_every_brace() {
    let template = |source| Template::new(source).map_err(|misfit| misfit.message);
    let columns = Columns {
        prompt: Prompt::Template(template("{{{ name }}}: {meta.n}\nAnswer:").unwrap()),
        ..columns()
    };
    let rows = read(columns, r#"{"name": "Q", "meta": {"n": 7}, "answer": "x"}"#).unwrap();
    assert_eq!(asked(&rows), [("{Q}: 7\nAnswer:", "x")]);
    for (source, says) in [
        ("{a", "`{a` in the template is not closed"),
        ("a} b", "a `}` in the template closes nothing"),
        ("{}", "`` is no field"),
        ("no field", "the template has no field"),
    ] {
        let message = template(source).unwrap_err();
        assert!(message.starts_with(says), "{message}");
    }
}

#[test]
fn the_last_turn_of_a_conversation_is_the_answer() {
    let own = Columns {
        prompt: Prompt::Conversation(field("messages")),
        answer: None,
        system: "Be brief.".to_string(),
        ..columns()
    };
    let text = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}
{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "c"}]}"#;
    let rows = read(own.clone(), text).unwrap();
    assert_eq!(asked(&rows), [("c", "d"), ("c", "")]);
    let said = |row: &Row| -> Vec<String> {
        let said = row.context.iter();
        said.map(|said| format!("{}: {}", said.role, said.content))
            .collect()
    };
    assert_eq!(
        said(&rows[0]),
        ["system: Be brief.", "user: a", "assistant: b"]
    );
    assert_eq!(said(&rows[1]), ["system: s"]);
    for (text, says) in [
        (
            r#"{"messages": []}"#,
            "the conversation has no message of a user",
        ),
        (
            r#"{"messages": "hi"}"#,
            "`messages` is a text, where a list of messages is expected",
        ),
        (
            r#"{"messages": [{"role": "user"}]}"#,
            "has no `messages.0.content`",
        ),
        (r#"{"messages": [3]}"#, "has no `messages.0.role`"),
        (
            r#"{"messages": [{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]}"#,
            "a message of `tool`, where one of `user` is expected",
        ),
    ] {
        let error = read(own.clone(), text).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
    // Preference data often holds both responses as conversations.
    let pairs = Columns {
        prompt: Prompt::Field(field("prompt")),
        response: Some(field("chosen")),
        needs_response: false,
        answer: Some(field("rejected")),
        is_answer_optional: false,
        system: String::new(),
    };
    let text = r#"{"prompt": "p", "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}]}"#;
    let rows = read(pairs, text).unwrap();
    assert_eq!(
        (rows[0].response.as_str(), rows[0].answer.as_str()),
        ("good", "bad")
    );
}

#[test]
fn a_row_that_does_not_fit_is_named_by_file_and_line() {
    let strict = Columns {
        is_answer_optional: false,
        ..columns()
    };
    let good = r#"{"question": "q", "answer": "a"}"#;
    for (bad, says, helps) in [
        (
            "{\"q\": 1, \"answer\": 2}",
            "line 3: has no field `question`",
            "it has `q`, `answer`",
        ),
        (
            "{\"question\": [1], \"answer\": 2}",
            "line 3: has no `question.0.role`",
            "a conversation is",
        ),
        (
            "{\"question\": {}, \"answer\": 2}",
            "line 3: `question` is an object, where a text is expected",
            "",
        ),
        (
            "{\"question\": \"\", \"answer\": 2}",
            "line 3: the prompt is empty",
            "",
        ),
        ("[1]", "line 3: is no object", "a row is written"),
        ("{\"question\"", "line 3: is no JSON from column 11 on", ""),
        (
            "{\"question\": \"a\u{0}\", \"answer\": 1}",
            "line 3: is no JSON",
            "",
        ),
        ("question,answer", "line 3: is no JSON from column 1 on", ""),
    ] {
        let error = read(strict.clone(), format!("{good}\n\n{bad}\n{good}")).unwrap_err();
        assert!(error.message.contains(says), "{error}");
        assert!(error.message.contains("rows.jsonl`, "), "{error}");
        assert!(error.help.unwrap_or_default().contains(helps));
        assert_eq!(error.code, "bad-row");
    }
    let error = read(strict, b"{\"question\": \"\xff\"}").unwrap_err();
    assert!(
        error
            .message
            .contains("line 1: is not UTF-8: byte 15 is 0xff"),
        "{error}"
    );
}

#[test]
fn a_row_to_learn_from_has_something_to_learn() {
    let needed = Columns {
        needs_response: true,
        ..columns()
    };
    let error = read(needed.clone(), r#"{"question": "q"}"#).unwrap_err();
    assert!(error.message.contains("has no field `answer`"), "{error}");
    assert!(read(needed.clone(), r#"{"question": "q", "answer": ""}"#).is_ok());
    let said = Columns {
        prompt: Prompt::Conversation(field("m")),
        answer: None,
        ..needed
    };
    let error = read(said, r#"{"m": [{"role": "user", "content": "q"}]}"#).unwrap_err();
    assert!(
        error
            .message
            .contains("does not end with a message of `assistant`"),
        "{error}"
    );
}

#[test]
fn bad_rows_are_skipped_as_far_as_is_allowed() {
    let folder = Folder::new();
    let path = folder.write(
        "r.jsonl",
        "{\"question\": \"a\"}\nx\n{}\n{\"question\": \"b\"}",
    );
    let mut request = request(vec![path], columns());
    assert!(
        open(&request)
            .unwrap_err()
            .message
            .contains("line 2: is no JSON")
    );
    request.skip = 1;
    let error = open(&request).unwrap_err().message;
    assert!(
        error.contains("line 3: has no field `question`, and 1 rows were skipped before it"),
        "{error}"
    );
    request.skip = 2;
    let table = open(&request).unwrap();
    assert_eq!(asked(&rows(&table)), [("a", ""), ("b", "")]);
    let skipped = table.skipped().unwrap();
    assert_eq!(skipped.count, 2);
    assert!(skipped.first.message.contains("line 2"));
    // What a caller finds wrong counts alike.
    let table = Table::open(&request, &mut |row| match row.prompt.as_str() {
        "b" => Err(rlp_data::Misfit::new("is too long")),
        _ => Ok(()),
    });
    assert!(
        table
            .unwrap_err()
            .message
            .contains("line 4: is too long, and 2 rows")
    );
}

#[test]
fn a_row_is_on_the_same_side_in_any_file() {
    let folder = Folder::new();
    let line = |n: u32| format!("{{\"question\": \"{n}\", \"answer\": \"{}\"}}", n * n);
    let forward: Vec<String> = (0..500).map(line).collect();
    let backward: Vec<String> = (0..500).rev().map(line).collect();
    let other: Vec<String> = (250..500)
        .map(|n| format!("{{\"answer\": \"\", \"id\": {n}, \"question\": \"{n}\"}}"))
        .collect();
    let side = |lines: &[String], part| -> BTreeSet<String> {
        let path = folder.write("split.jsonl", lines.join("\n"));
        let request = Request {
            part,
            fraction: 0.9,
            ..request(vec![path], columns())
        };
        rows(&open(&request).unwrap())
            .into_iter()
            .map(|row| row.prompt)
            .collect()
    };
    let (train, held_out) = (side(&forward, Part::Train), side(&forward, Part::HeldOut));
    assert!(train.is_disjoint(&held_out));
    assert_eq!(train.len() + held_out.len(), 500);
    // A tenth of 500 has a standard deviation of √(500 · 0.1 · 0.9) = 6.7.
    assert!((25..75).contains(&held_out.len()), "{}", held_out.len());
    assert_eq!(side(&backward, Part::HeldOut), held_out);
    let of_other = side(&other, Part::HeldOut);
    assert!(of_other.is_subset(&held_out) && !of_other.is_empty());
}

#[test]
fn a_template_does_not_move_a_row_to_the_other_side() {
    let folder = Folder::new();
    let lines: Vec<String> = (0..100)
        .map(|n| format!("{{\"question\": \"{n}\"}}"))
        .collect();
    let path = folder.write("t.jsonl", lines.join("\n"));
    let count = |prompt| {
        let columns = Columns {
            prompt,
            ..columns()
        };
        let request = Request {
            fraction: 0.5,
            ..request(vec![path.clone()], columns)
        };
        let table = open(&request).unwrap();
        let ids = (0..table.trained()).map(|index| table.train_row(index).unwrap().0);
        ids.collect::<Vec<u64>>()
    };
    let template = Template::new("Q: {question} A:").unwrap();
    assert_eq!(
        count(Prompt::Field(field("question"))),
        count(Prompt::Template(template))
    );
}

#[test]
fn files_are_found_by_name_folder_and_pattern() {
    let folder = Folder::new();
    for name in [
        "b/2.jsonl",
        "b/1.jsonl",
        "b/.hidden.jsonl",
        "b/c/3.ndjson",
        "b/note.txt",
        "x-01.jsonl",
    ] {
        folder.write(name, "{\"question\": \"q\"}\n");
    }
    let names = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| path.to_string()).collect();
        found(&paths, &folder.0, Format::Jsonl).map(|files| {
            let own = |file: &PathBuf| file.strip_prefix(&folder.0).unwrap().display().to_string();
            files.iter().map(own).collect::<Vec<String>>()
        })
    };
    assert_eq!(
        names(&["b"]).unwrap(),
        ["b/1.jsonl", "b/2.jsonl", "b/c/3.ndjson"]
    );
    assert_eq!(
        names(&["./x-*.jsonl", "b/?.jsonl"]).unwrap(),
        ["x-01.jsonl", "b/1.jsonl", "b/2.jsonl"]
    );
    assert_eq!(names(&["*/2.jsonl", "b/2.jsonl"]).unwrap(), ["b/2.jsonl"]);
    assert_eq!(names(&["b/note.txt"]).unwrap(), ["b/note.txt"]);
    for (path, says) in [
        ("missing.jsonl", "there is no such file"),
        ("y-*.jsonl", "no file has such a name"),
        ("x-01.jsonl/y", "x-01.jsonl/y"),
        ("a\0b", "a\0b"),
        ("", "a path is empty"),
    ] {
        let error = names(&[path]).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
    folder.write("empty/readme.md", "");
    assert!(
        names(&["empty"])
            .unwrap_err()
            .message
            .contains("no file in this folder has the extension")
    );
    let error = found(&["/dev/zero".to_string()], Path::new(""), Format::Jsonl).unwrap_err();
    assert!(
        error.message.contains("neither a file nor a folder"),
        "{error}"
    );
}

#[test]
fn several_files_are_one_table() {
    let folder = Folder::new();
    let files: Vec<PathBuf> = (0..3)
        .map(|n| {
            folder.write(
                &format!("{n}.jsonl"),
                format!("\n{{\"question\": \"{n}a\"}}\n{{\"question\": \"{n}b\"}}\n\n"),
            )
        })
        .collect();
    let mut request = request(files, columns());
    let table = open(&request).unwrap();
    let prompts: Vec<String> = rows(&table).into_iter().map(|row| row.prompt).collect();
    assert_eq!(prompts, ["0a", "0b", "1a", "1b", "2a", "2b"]);
    let ids: BTreeMap<u64, ()> = (0..6)
        .map(|index| (table.train_row(index).unwrap().0, ()))
        .collect();
    assert_eq!(ids.len(), 6);
    request.limit = 3;
    assert_eq!(rows(&open(&request).unwrap()).len(), 3);
}

#[test]
fn a_digest_tells_whether_rows_are_the_same() {
    let folder = Folder::new();
    let digest = |text: &str| {
        let path = folder.write("d.jsonl", text);
        *open(&request(vec![path], columns())).unwrap().digest()
    };
    let one = digest("{\"question\": \"a\", \"answer\": \"b\"}\n");
    assert_eq!(
        one,
        digest("{\"answer\": \"b\", \"question\": \"a\", \"more\": 1}")
    );
    assert_ne!(one, digest("{\"question\": \"a\", \"answer\": \"c\"}"));
    assert_ne!(one, digest("{\"question\": \"ab\", \"answer\": \"\"}"));
}

#[test]
fn a_file_that_changes_under_a_run_is_said() {
    let folder = Folder::new();
    let path = folder.write("c.jsonl", "{\"question\": \"a\"}\n{\"question\": \"b\"}\n");
    let table = open(&request(vec![path.clone()], columns())).unwrap();
    fs::write(&path, "{\"question\": \"a\"}\n{\"q\": 0, \"x\": 0}").unwrap();
    let error = table.train_row(1).unwrap_err();
    assert!(
        error.message.contains("line 2: has no field `question`"),
        "{error}"
    );
    assert!(error.help.unwrap().contains("was changed"));
}

#[test]
fn a_glance_sees_the_first_rows_only() {
    let folder = Folder::new();
    let line = "{\"question\": \"a\"}\n";
    let path = folder.write("g.jsonl", format!("{}x\n", line.repeat(100)));
    assert!(glance(&request(vec![path], columns())).is_ok());
    let path = folder.write("h.jsonl", format!("{line}x\n"));
    let mut request = request(vec![path], columns());
    assert!(glance(&request).unwrap_err().message.contains("line 2"));
    request.skip = 1;
    assert!(glance(&request).is_ok());
}

#[test]
fn a_file_without_rows_is_refused() {
    for text in ["", "\n\n \n"] {
        let error = read(columns(), text).unwrap_err();
        assert!(error.message.contains("it has no rows"), "{error}");
    }
}
