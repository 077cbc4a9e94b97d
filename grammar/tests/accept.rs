//! Programs that must be read without a complaint.

mod fixtures;

use rlp_grammar::ast::SourceId;

#[test]
fn every_program_is_read() {
    for (path, text) in fixtures::programs("ok") {
        assert_eq!(
            rlp_grammar::parse(SourceId(0), &text).errors,
            [],
            "{}",
            path.display()
        );
    }
}
