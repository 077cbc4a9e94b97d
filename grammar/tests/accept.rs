//! Programs that must be read without a complaint.

use std::path::Path;

use rlp_grammar::ast::SourceId;

fn programs() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ok");
    let mut programs: Vec<_> = std::fs::read_dir(folder)
        .expect("the fixtures")
        .map(|entry| {
            let path = entry.expect("a fixture").path();
            (path.display().to_string(), std::fs::read_to_string(&path).expect("its text"))
        })
        .collect();
    programs.sort();
    programs
}

#[test]
fn every_program_is_read() {
    for (name, text) in programs() {
        let parsed = rlp_grammar::parse(SourceId(0), &text);
        assert_eq!(parsed.errors, [], "{name}");
    }
}
