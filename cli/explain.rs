//! `rlpc explain`: what a diagnostic means.

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::explain::{EXPLANATIONS, Explanation, explain};

use crate::answer::Answer;
use crate::arguments::Explain;

pub(crate) fn run(arguments: &Explain) -> Answer {
    if arguments.all {
        let texts: Vec<&str> = EXPLANATIONS
            .iter()
            .map(|explanation| explanation.text)
            .collect();
        return Answer::done(texts.join("\n"));
    }
    let Some(code) = &arguments.code else {
        return Answer::done(list());
    };
    if let Some(explanation) = explain(code) {
        return Answer::done(explanation.text);
    }
    let codes = EXPLANATIONS.iter().map(|explanation| explanation.code);
    let help = match nearest(code, codes).as_slice() {
        [] => "`rlpc explain` lists all codes".to_string(),
        near => format!("rlpc explain {}", near.join(", or ")),
    };
    Answer::misused(&format!("no diagnostic has the code `{code}`"), Some(&help))
}

/// Every code and what it stands for, a line each.
fn list() -> String {
    let width = EXPLANATIONS
        .iter()
        .map(|explanation| explanation.code.len())
        .max()
        .unwrap_or(0);
    let line = |explanation: &Explanation| {
        format!("{:width$}  {}\n", explanation.code, explanation.title())
    };
    EXPLANATIONS.iter().map(line).collect()
}
