//! Parquet files: written here, read as rows, and damaged.

use std::path::PathBuf;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use rlp_data::{Columns, Format, Prompt, Request, glance};

use super::{Folder, asked, columns, field, open, request, rows};

const SCHEMA: &str = "
    message rows {
        required binary question (UTF8);
        optional int64 answer;
        required double weight;
        optional group messages (LIST) {
            repeated group list {
                required group element {
                    required binary role (UTF8);
                    required binary content (UTF8);
                }
            }
        }
    }
";

/// Rows `q0`, `q1`, … with answers 0, none, 2, none, …, and a conversation of two messages each, `groups` times `count`.
fn written(compression: Compression, groups: i64, count: i64) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder().set_compression(compression);
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    let text = |text: String| ByteArray::from(text.into_bytes());
    for group in 0..groups {
        let all = group * count..(group + 1) * count;
        let mut own = writer.next_row_group().unwrap();
        let mut column = own.next_column().unwrap().unwrap();
        let questions: Vec<ByteArray> = all.clone().map(|n| text(format!("q{n}"))).collect();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&questions, None, None).unwrap();
        column.close().unwrap();
        let mut column = own.next_column().unwrap().unwrap();
        let answers: Vec<i64> = all.clone().filter(|n| n % 2 == 0).collect();
        let levels: Vec<i16> = all.clone().map(|n| i16::from(n % 2 == 0)).collect();
        let typed = column.typed::<Int64Type>();
        typed.write_batch(&answers, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = own.next_column().unwrap().unwrap();
        let weights = vec![0.5; count as usize];
        let typed = column.typed::<DoubleType>();
        typed.write_batch(&weights, None, None).unwrap();
        column.close().unwrap();
        for part in ["role", "content"] {
            let mut column = own.next_column().unwrap().unwrap();
            let values: Vec<ByteArray> = all
                .clone()
                .flat_map(|n| match part {
                    "role" => ["user".to_string(), "assistant".to_string()],
                    _ => [format!("ask {n}"), format!("say \"{n}\"")],
                })
                .map(text)
                .collect();
            let levels = vec![2; values.len()];
            let repeated: Vec<i16> = (0..values.len()).map(|place| (place % 2) as i16).collect();
            let typed = column.typed::<ByteArrayType>();
            typed
                .write_batch(&values, Some(&levels), Some(&repeated))
                .unwrap();
            column.close().unwrap();
        }
        own.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

fn parquet(path: PathBuf, columns: Columns) -> Request {
    Request {
        format: Format::Parquet,
        ..request(vec![path], columns)
    }
}

#[test]
fn columns_are_read_in_each_codec() {
    let folder = Folder::new();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let path = folder.write("r.parquet", written(compression, 3, 10));
        let table = open(&parquet(path, columns())).unwrap();
        let rows = rows(&table);
        assert_eq!(rows.len(), 30);
        assert_eq!(asked(&rows)[..3], [("q0", "0"), ("q1", ""), ("q2", "2")]);
        assert_eq!(asked(&rows)[29], ("q29", ""));
        let (id, row) = table.train_row(17).unwrap();
        assert_eq!(
            (row.prompt.as_str(), table.train_row(17).unwrap().0),
            ("q17", id)
        );
    }
}

#[test]
fn lists_of_messages_are_conversations() {
    let folder = Folder::new();
    let path = folder.write("c.parquet", written(Compression::SNAPPY, 2, 5));
    let own = Columns {
        prompt: Prompt::Conversation(field("messages")),
        answer: None,
        ..columns()
    };
    let read = rows(&open(&parquet(path.clone(), own)).unwrap());
    assert_eq!(asked(&read)[7], ("ask 7", "say \"7\""));
    let inside = Columns {
        prompt: Prompt::Field(field("messages.1.content")),
        ..columns()
    };
    let read = rows(&open(&parquet(path, inside)).unwrap());
    assert_eq!(asked(&read)[8], ("say \"8\"", "8"));
}

#[test]
fn several_files_share_what_is_kept_of_them() {
    let folder = Folder::new();
    let one = folder.write("1.parquet", written(Compression::SNAPPY, 1, 3));
    let other = folder.write("2.parquet", written(Compression::SNAPPY, 1, 2));
    let request = Request {
        files: vec![one.clone(), other],
        ..parquet(one, columns())
    };
    let read = rows(&open(&request).unwrap());
    let prompts: Vec<&str> = read.iter().map(|row| row.prompt.as_str()).collect();
    assert_eq!(prompts, ["q0", "q1", "q2", "q0", "q1"]);
}

#[test]
fn the_same_rows_are_on_the_same_side_as_in_jsonl() {
    let folder = Folder::new();
    let path = folder.write("s.parquet", written(Compression::SNAPPY, 1, 60));
    let lines: Vec<String> = (0..60)
        .map(|n| format!("{{\"question\": \"q{n}\"}}"))
        .collect();
    let jsonl = folder.write("s.jsonl", lines.join("\n"));
    let prompts = |request: Request| -> Vec<String> {
        let request = Request {
            fraction: 0.5,
            ..request
        };
        rows(&open(&request).unwrap())
            .into_iter()
            .map(|row| row.prompt)
            .collect()
    };
    assert_eq!(
        prompts(parquet(path, columns())),
        prompts(request(vec![jsonl], columns()))
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = Folder::new();
    let path = folder.write("n.parquet", written(Compression::SNAPPY, 1, 4));
    let absent = Columns {
        prompt: Prompt::Field(field("query")),
        ..columns()
    };
    let error = glance(&parquet(path.clone(), absent)).unwrap_err();
    assert!(
        error.message.contains("n.parquet`: has no column `query`"),
        "{error}"
    );
    assert!(
        error
            .help
            .unwrap()
            .contains("`question`, `answer`, `weight`, `messages`")
    );
    let strict = Columns {
        is_answer_optional: false,
        ..columns()
    };
    let error = open(&parquet(path, strict)).unwrap_err();
    assert!(
        error
            .message
            .contains("n.parquet`, row 2: has no field `answer`"),
        "{error}"
    );
    for (text, says) in [
        ("PAR1", "no parquet file"),
        ("{\"question\": \"a long enough row\"}", "no parquet file"),
    ] {
        let path = folder.write("x.parquet", text);
        let error = open(&parquet(path, columns())).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
}

/// A footer that announces more elements, or deeper columns, than there are.
#[test]
fn what_a_footer_announces_is_not_believed() {
    let folder = Folder::new();
    let file = |footer: &[u8], length: u32| {
        let bytes = [b"PAR1".as_slice(), footer, &length.to_le_bytes(), b"PAR1"].concat();
        let path = folder.write("f.parquet", bytes);
        open(&parquet(path, columns())).unwrap_err().message
    };
    // version 1; a schema of 2^35 structs
    let many = [0x15, 0x02, 0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
    let message = file(&many, many.len() as u32);
    assert!(
        message.contains("footer is not as it should be"),
        "{message}"
    );
    assert!(file(&many, u32::MAX).contains("a footer of 4294967295 bytes"));
    // version 1; a schema of 100 groups in each other, each with a name and one child
    let mut deep = vec![0x15, 0x02, 0x19, 0xFC, 100];
    for _ in 0..100 {
        deep.extend([0x48, 0x01, b'g', 0x15, 0x02, 0x00]);
    }
    deep.push(0);
    let message = file(&deep, deep.len() as u32);
    assert!(message.contains("deep in each other"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes of a file are changed, taken away or put in: rows or an error, and no panic that leaves the crate.
    #[test]
    fn damage_is_an_error_or_harmless(
        place in any::<prop::sample::Index>(),
        near_end in any::<bool>(),
        length in 0usize..9,
        put in prop::collection::vec(any::<u8>(), 0..9),
        nested in any::<bool>(),
    ) {
        let mut bytes = written(Compression::SNAPPY, 2, 6);
        let from = match near_end {
            true => bytes.len().saturating_sub(700),
            false => 0,
        };
        let at = from + place.index(bytes.len() - from);
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, put);
        let folder = Folder::new();
        let path = folder.write("d.parquet", &bytes);
        let own = match nested {
            true => Columns { prompt: Prompt::Conversation(field("messages")), ..columns() },
            false => columns(),
        };
        let mut request = parquet(path, own);
        request.skip = 4;
        let _ = glance(&request);
        if let Ok(table) = open(&request) {
            for index in 0..table.trained() {
                table.train_row(index).unwrap();
            }
        }
    }
}
