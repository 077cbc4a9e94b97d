//! What each diagnostic means: a page of Markdown a code, with examples that fail and examples that work.

/// The page of one code.
#[derive(Debug)]
pub struct Explanation {
    pub code: &'static str,
    /// `# CODE: title`, the meaning, then examples fenced by ```` ```rlp fails ````
    /// (on checking), ```` ```rlp stops ```` or ```` ```rlp warns ```` (while running) and ```` ```rlp works ````.
    pub text: &'static str,
}

/// The page of a code.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    EXPLANATIONS
        .iter()
        .find(|explanation| explanation.code == code)
}

impl Explanation {
    /// What the heading says after the code.
    pub fn title(&self) -> &'static str {
        let heading = self.text.lines().next().unwrap_or_default();
        heading.split_once(": ").map_or(heading, |(_, title)| title)
    }

    /// The examples of a kind, `fails`, `stops`, `warns` or `works`.
    pub fn examples(&self, kind: &str) -> Vec<Example> {
        let fenced = self
            .text
            .split("\n```rlp ")
            .skip(1)
            .filter_map(|rest| rest.split("\n```").next());
        let examples = fenced.filter_map(|fenced| {
            let (head, text) = fenced.split_once('\n')?;
            let mut words = head.split_whitespace();
            (words.next() == Some(kind)).then(|| {
                let settings = words.filter_map(|word| word.split_once('=')).collect();
                Example { settings, text }
            })
        });
        examples.collect()
    }

    /// The arguments from files that its examples are evaluated on, in order, as JSON.
    pub fn inputs(&self) -> Vec<&'static str> {
        let fenced = self.text.split("\n```json\n").skip(1);
        fenced
            .filter_map(|rest| rest.split("\n```").next())
            .collect()
    }
}

/// A whole file, and what it is checked with.
#[derive(Clone, Debug)]
pub struct Example {
    /// Those of `--set`: ```` ```rlp fails --set lr=fast ````
    pub settings: Vec<(&'static str, &'static str)>,
    pub text: &'static str,
}

const fn page(code: &'static str, text: &'static str) -> Explanation {
    Explanation { code, text }
}

/// All pages, by code.
pub const EXPLANATIONS: &[Explanation] = &[
    page(
        "allow-without-reason",
        include_str!("explain/allow-without-reason.md"),
    ),
    page(
        "assertion-failed",
        include_str!("explain/assertion-failed.md"),
    ),
    page("bad-escape", include_str!("explain/bad-escape.md")),
    page("bad-pattern", include_str!("explain/bad-pattern.md")),
    page("bad-row", include_str!("explain/bad-row.md")),
    page("bad-setting", include_str!("explain/bad-setting.md")),
    page(
        "chained-comparison",
        include_str!("explain/chained-comparison.md"),
    ),
    page(
        "constant-groups",
        include_str!("explain/constant-groups.md"),
    ),
    page(
        "constant-reward",
        include_str!("explain/constant-reward.md"),
    ),
    page(
        "cyclic-definition",
        include_str!("explain/cyclic-definition.md"),
    ),
    page(
        "different-origin",
        include_str!("explain/different-origin.md"),
    ),
    page(
        "dimension-mismatch",
        include_str!("explain/dimension-mismatch.md"),
    ),
    page(
        "duplicate-definition",
        include_str!("explain/duplicate-definition.md"),
    ),
    page(
        "duplicate-dimension",
        include_str!("explain/duplicate-dimension.md"),
    ),
    page("empty-batch", include_str!("explain/empty-batch.md")),
    page(
        "entropy-collapsed",
        include_str!("explain/entropy-collapsed.md"),
    ),
    page("file-too-large", include_str!("explain/file-too-large.md")),
    page("foreign", include_str!("explain/foreign.md")),
    page("group-of-one", include_str!("explain/group-of-one.md")),
    page("kind-result", include_str!("explain/kind-result.md")),
    page(
        "kl-counted-twice",
        include_str!("explain/kl-counted-twice.md"),
    ),
    page(
        "kl-k1-differentiated",
        include_str!("explain/kl-k1-differentiated.md"),
    ),
    page("line-start", include_str!("explain/line-start.md")),
    page(
        "list-without-dimension",
        include_str!("explain/list-without-dimension.md"),
    ),
    page(
        "loss-not-scalar",
        include_str!("explain/loss-not-scalar.md"),
    ),
    page("mean-of-means", include_str!("explain/mean-of-means.md")),
    page(
        "minibatch-too-large",
        include_str!("explain/minibatch-too-large.md"),
    ),
    page(
        "minibatch-too-small",
        include_str!("explain/minibatch-too-small.md"),
    ),
    page("misplaced-doc", include_str!("explain/misplaced-doc.md")),
    page(
        "misplaced-resource",
        include_str!("explain/misplaced-resource.md"),
    ),
    page(
        "misplaced-statement",
        include_str!("explain/misplaced-statement.md"),
    ),
    page(
        "missing-argument",
        include_str!("explain/missing-argument.md"),
    ),
    page("missing-body", include_str!("explain/missing-body.md")),
    page("missing-clause", include_str!("explain/missing-clause.md")),
    page(
        "missing-dimension",
        include_str!("explain/missing-dimension.md"),
    ),
    page("missing-let", include_str!("explain/missing-let.md")),
    page("missing-result", include_str!("explain/missing-result.md")),
    page(
        "missing-setting",
        include_str!("explain/missing-setting.md"),
    ),
    page("missing-type", include_str!("explain/missing-type.md")),
    page(
        "moving-reference",
        include_str!("explain/moving-reference.md"),
    ),
    page("no-derivative", include_str!("explain/no-derivative.md")),
    page(
        "no-trained-parameter",
        include_str!("explain/no-trained-parameter.md"),
    ),
    page("not-evaluable", include_str!("explain/not-evaluable.md")),
    page("not-finite", include_str!("explain/not-finite.md")),
    page(
        "not-known-before-run",
        include_str!("explain/not-known-before-run.md"),
    ),
    page(
        "not-supported-yet",
        include_str!("explain/not-supported-yet.md"),
    ),
    page("nothing-to-run", include_str!("explain/nothing-to-run.md")),
    page(
        "number-too-large",
        include_str!("explain/number-too-large.md"),
    ),
    page("outer-product", include_str!("explain/outer-product.md")),
    page("ragged-size", include_str!("explain/ragged-size.md")),
    page("ratio-not-one", include_str!("explain/ratio-not-one.md")),
    page("ratio-outside", include_str!("explain/ratio-outside.md")),
    page(
        "recursive-block",
        include_str!("explain/recursive-block.md"),
    ),
    page(
        "repeated-argument",
        include_str!("explain/repeated-argument.md"),
    ),
    page("reserved-word", include_str!("explain/reserved-word.md")),
    page(
        "result-mismatch",
        include_str!("explain/result-mismatch.md"),
    ),
    page(
        "result-not-last",
        include_str!("explain/result-not-last.md"),
    ),
    page("rollouts-cut", include_str!("explain/rollouts-cut.md")),
    page(
        "shadowed-function",
        include_str!("explain/shadowed-function.md"),
    ),
    page("sizes-disagree", include_str!("explain/sizes-disagree.md")),
    page("swapped-sides", include_str!("explain/swapped-sides.md")),
    page("syntax", include_str!("explain/syntax.md")),
    page("too-deep", include_str!("explain/too-deep.md")),
    page("too-large", include_str!("explain/too-large.md")),
    page("too-many-files", include_str!("explain/too-many-files.md")),
    page(
        "too-many-tokens",
        include_str!("explain/too-many-tokens.md"),
    ),
    page("trained-twice", include_str!("explain/trained-twice.md")),
    page("type-mismatch", include_str!("explain/type-mismatch.md")),
    page(
        "unclosed-bracket",
        include_str!("explain/unclosed-bracket.md"),
    ),
    page("unclosed-text", include_str!("explain/unclosed-text.md")),
    page(
        "unknown-argument",
        include_str!("explain/unknown-argument.md"),
    ),
    page("unknown-block", include_str!("explain/unknown-block.md")),
    page("unknown-clause", include_str!("explain/unknown-clause.md")),
    page(
        "unknown-dimension",
        include_str!("explain/unknown-dimension.md"),
    ),
    page("unknown-field", include_str!("explain/unknown-field.md")),
    page("unknown-kind", include_str!("explain/unknown-kind.md")),
    page("unknown-lint", include_str!("explain/unknown-lint.md")),
    page("unknown-name", include_str!("explain/unknown-name.md")),
    page(
        "unknown-setting",
        include_str!("explain/unknown-setting.md"),
    ),
    page("unknown-state", include_str!("explain/unknown-state.md")),
    page(
        "unknown-statement",
        include_str!("explain/unknown-statement.md"),
    ),
    page("unknown-type", include_str!("explain/unknown-type.md")),
    page(
        "unopened-bracket",
        include_str!("explain/unopened-bracket.md"),
    ),
    page(
        "unreadable-file",
        include_str!("explain/unreadable-file.md"),
    ),
    page(
        "unused-advantage",
        include_str!("explain/unused-advantage.md"),
    ),
    page(
        "unused-definition",
        include_str!("explain/unused-definition.md"),
    ),
    page("unused-reward", include_str!("explain/unused-reward.md")),
    page(
        "value-out-of-range",
        include_str!("explain/value-out-of-range.md"),
    ),
];
