//! The states of a model, its logits and its log-probabilities: all of the same tokens, whatever batch they are of.

use tch::Kind;

use crate::program::{Told, told};

/// What is left of the logits once the best linear map of the normalised states of the last layer is taken away, and
/// the distance of their log-softmax at the tokens from `logp`.
fn aligned(batch: &str, over: &str) -> String {
    format!(
        "let {batch}_state = at(hidden(policy, {batch}), layer: 1)
         let {batch}_normed = {batch}_state / sqrt(mean({batch}_state^2, over: feature) + 1e-5)
         let {batch}_other = rename({batch}_normed, feature: other)
         let {batch}_gram = dot({batch}_normed, {batch}_other, over: {over})
         let {batch}_head = solve({batch}_gram, dot({batch}_other, {batch}_logits, over: {over}), row: other, col: feature)
         let {batch}_rest = {batch}_logits - dot({batch}_head, {batch}_normed, over: feature)
         let {batch}_logp = gather(log_softmax({batch}_logits, over: vocab), {batch}.tokens, over: vocab)
         report {batch}_states = max(abs({batch}_rest)), {batch}_tokens = max(abs({batch}_logp - logp(policy, {batch})))"
    )
}

fn small(tells: &Told, name: &str) -> bool {
    let found = tells.metric(name);
    !found.is_empty() && found.iter().all(|rest| *rest < 1e-6)
}

/// The logits are a linear map of the normalised states of the last layer, token by token: with many more tokens than
/// features, what a map leaves over is nothing only where the two are of the same tokens. The second batch is drawn after
/// the dimensions of the first one's logits and states are known, and has axes on either side of them.
#[test]
fn states_logits_and_logp_are_of_the_same_tokens() {
    let [demos, later] = [
        aligned("demos", "[example, token]"),
        aligned("later", "[prompt, sample, token]"),
    ];
    let told = told(
        &format!(
            "pipeline aligned {{
                let task   = data.running_sum(terms: 3, redundancy: 2)
                let policy = model.causal_lm(layers: 2, hidden: 8, heads: 2, ffn: 16)
                stage look {{
                    steps 2
                    let demos = sampler.demonstrations(task, prompts: 12)
                    let demos_logits = logits(policy, demos)
                    {demos}
                    let later = sampler.rollout(policy, task, prompts: 5, samples: 3, max_tokens: 12)
                    let later_logits = logits(policy, later)
                    {later}
                }}
            }}"
        ),
        3,
        Kind::Double,
    );
    for name in [
        "demos_states",
        "demos_tokens",
        "later_states",
        "later_tokens",
    ] {
        assert!(small(&told, name), "{name}: {:?}", told.metric(name));
    }
}

/// A loss of the logits of a batch that is drawn after those of another is differentiated as one of `logp` is.
#[test]
fn a_gradient_flows_through_the_logits_of_a_later_batch() {
    let trained = |logp: &str| {
        told(
            &format!(
                "pipeline trained {{
                    let task   = data.running_sum(terms: 2, redundancy: 1)
                    let policy = model.causal_lm(layers: 1, hidden: 8, heads: 2, ffn: 16)
                    stage learn {{
                        let first = sampler.demonstrations(task, prompts: 4)
                        let known = logits(policy, first)
                        let early = mean(known^2)
                        let later = sampler.demonstrations(task, prompts: 6)
                        train policy {{
                            minimize 0.01 * early - mean({logp})
                            with     optimizer.sgd(lr: 0.5)
                            steps    4
                            minibatch 3
                        }}
                    }}
                }}"
            ),
            1,
            Kind::Double,
        )
        .losses()
    };
    let by_logits = trained(
        "gather(log_softmax(logits(policy, later), over: vocab), later.tokens, over: vocab)",
    );
    let by_logp = trained("logp(policy, later)");
    assert_eq!(by_logits.len(), 4);
    assert!(by_logp[3] < by_logp[0], "{by_logp:?}");
    for (left, right) in by_logits.iter().zip(&by_logp) {
        assert!((left - right).abs() < 1e-9, "{by_logits:?} {by_logp:?}");
    }
}
