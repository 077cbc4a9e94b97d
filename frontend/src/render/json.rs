//! A diagnostic as a JSON object, for editors and scripts.

use rlp_compiler::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::place::Text;
use super::{Texts, word};

/// All places hold `file`, bytes `start` and `end` (from 0, the end excluded), and `line` and `column` of both
/// (from 1, columns in characters). `help` and `fix` are null where there is none.
pub(super) fn object(diagnostic: &Diagnostic, texts: &mut Texts) -> Value {
    let mut pointed = |span, name, value: &str| {
        let text = texts.of(span);
        place(text, text.range(span), name, value)
    };
    let spans: Vec<Value> = diagnostic
        .labels
        .iter()
        .map(|label| pointed(label.span, "label", &label.text))
        .collect();
    let calls: Vec<Value> = diagnostic
        .calls
        .iter()
        .map(|(block, span)| pointed(*span, "block", block))
        .collect();
    let fix = diagnostic.fix.as_ref().map(|fix| {
        let text = texts.of(fix.span);
        place(text, text.bytes(fix.span), "replacement", &fix.replacement)
    });
    json!({
        "code": diagnostic.code,
        "severity": word(diagnostic.severity),
        "message": diagnostic.message,
        "spans": spans,
        "help": diagnostic.help,
        "fix": fix,
        "calls": calls,
    })
}

fn place(text: &Text, (start, end): (usize, usize), name: &str, value: &str) -> Value {
    let (from, to) = (text.place(start), text.place(end));
    json!({
        "file": text.path(),
        "start": start,
        "end": end,
        "line": from.line,
        "column": from.column,
        "end_line": to.line,
        "end_column": to.column,
        name: value,
    })
}
