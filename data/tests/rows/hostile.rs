//! Files that mean harm: an error, in bounded time and memory, and never a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use rlp_data::{Columns, Prompt, Texts, glance};

use super::{Folder, columns, field, open, read, request};

#[test]
fn a_line_without_end_is_refused_or_skipped() {
    let folder = Folder::new();
    let mut text = vec![b'a'; (1 << 24) + 1];
    text.extend(b"aaaa\n{\"question\": \"q\"}\n");
    let path = folder.write("long.jsonl", &text);
    let mut request = request(vec![path], columns());
    let error = open(&request).unwrap_err();
    assert!(
        error.message.contains("line 1: is longer than 16 MiB"),
        "{error}"
    );
    assert!(glance(&request).is_err());
    request.skip = 1;
    assert_eq!(open(&request).unwrap().trained(), 1);
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{\"a\":"] {
        let text = format!("{{\"question\": \"q\", \"x\": {}", open.repeat(100_000));
        let error = read(columns(), text).unwrap_err();
        assert!(error.message.contains("is no JSON"), "{error}");
    }
    let deep = format!("{{\"question\": {}1{}}}", "[".repeat(100), "]".repeat(100));
    assert!(read(columns(), deep).is_err());
}

#[test]
fn a_conversation_without_end_is_refused() {
    let own = Columns {
        prompt: Prompt::Conversation(field("m")),
        ..columns()
    };
    let text = format!("{{\"m\": [{}0]}}", "0,".repeat(20_000));
    let error = read(own, text).unwrap_err();
    assert!(
        error.message.contains("more than 10000 messages"),
        "{error}"
    );
}

/// Lines that are nearly rows.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just("{".to_string()),
        Just("}".to_string()),
        Just("[".to_string()),
        Just("]".to_string()),
        Just("\"question\":".to_string()),
        Just("\"answer\":".to_string()),
        Just("\"m\":".to_string()),
        Just("[{\"role\":\"user\",\"content\":\"x\"}]".to_string()),
        Just("\"\\ud800\"".to_string()),
        Just("1e999999999999".to_string()),
        Just("-0".to_string()),
        Just("null,".to_string()),
        Just(",".to_string()),
        Just("\u{0}".to_string()),
        Just("\u{feff}".to_string()),
        "\\PC{0,8}",
    ];
    let written = vec(token, 0..12).prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![3 => written, 1 => vec(any::<u8>(), 0..64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_rows_or_an_error(lines in vec(line(), 0..6), skip in 0u64..4) {
        let folder = Folder::new();
        let path = folder.write("any.jsonl", lines.join(&b'\n'));
        for prompt in [Prompt::Field(field("question")), Prompt::Conversation(field("m")), Prompt::Field(field("m.0.role"))] {
            let mut request = request(vec![path.clone()], Columns { prompt, ..columns() });
            request.skip = skip;
            let _ = glance(&request);
            if let Ok(table) = open(&request) {
                for index in 0..table.trained() {
                    table.train_row(index).unwrap();
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_text_or_an_error(bytes in vec(any::<u8>(), 0..64), window in 0u64..20) {
        let folder = Folder::new();
        let path = folder.write("any.txt", &bytes);
        if let Ok(mut texts) = Texts::open(&[path]) {
            texts.cut(window);
            let pieces: String = (0..texts.pieces()).map(|number| texts.piece(number).unwrap().text).collect();
            prop_assert_eq!(pieces.as_bytes(), bytes.as_slice());
        }
    }
}
