//! Samplers that keep something from step to step, and those that change what was drawn.

use tch::Kind;

use crate::program::{Told, told};

/// A policy that has learnt that answers end, and then a stage.
fn program(body: &str) -> String {
    format!(
        r#"
        pipeline small {{
            let task   = data.arithmetic(digits: 1, ops: "+")
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            stage warmup {{
                train policy {{
                    minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 16)))
                    with optimizer.adamw(lr: 2e-2)
                    steps 15
                }}
            }}
            stage rl {{
                {body}
            }}
        }}
        "#
    )
}

const WARMUP: usize = 15;

fn all_zero(values: &[f64]) -> bool {
    !values.is_empty() && values.iter().all(|value| *value == 0.0)
}

fn windowed(window: u64, max_tokens: u64) -> Told {
    let body = format!(
        r#"
        let slots = sampler.windowed(policy, task, prompts: 3, samples: 2, window: {window}, max_tokens: {max_tokens})
        let again = logp(frozen(policy), slots)
        let older = count(slots.logp, over: token) - sum(int(real(slots.fresh)), over: token)
        state was_open = 0.0
        was_open <- sum(real(not slots.finished))
        train policy {{
            minimize 0 * loss.nll(logp(policy, slots))
            with optimizer.sgd(lr: 0.0)
            steps 8
        }}
        report gap = max(abs(again - slots.logp)), fresh = sum(real(slots.fresh)), longest = max(slots.length),
               decode = metric.decode_steps(slots), lengths = sum(abs(slots.length - count(slots.logp, over: token))),
               wrong = sum(real(slots.length == {max_tokens} and not slots.finished)),
               kept = sum(real(older > 0)) - was_open, first = sum(older)
        "#
    );
    told(&program(&body), 3, Kind::Float)
}

#[test]
fn a_windowed_sampler_grows_every_response_by_a_window() {
    let told = windowed(1, 3);
    assert_eq!(told.metric("decode"), [1.0; 8]);
    assert_eq!(
        told.metric("fresh"),
        [6.0; 8],
        "every slot grows at every step"
    );
    assert!(told.steps[WARMUP..].iter().all(|step| step.tokens == 6));
    assert!(told.metric("longest").iter().all(|longest| *longest <= 3.0));
    assert!(told.metric("longest").contains(&3.0));
}

#[test]
fn a_windowed_sampler_goes_on_with_what_is_not_finished_and_with_nothing_else() {
    let told = windowed(2, 3);
    assert_eq!(told.metric("first")[0], 0.0);
    assert!(all_zero(&told.metric("kept")), "{:?}", told.metric("kept"));
    assert!(told.metric("first").iter().any(|older| *older > 0.0));
}

#[test]
fn a_windowed_sampler_keeps_what_belongs_together() {
    let told = windowed(2, 3);
    assert!(all_zero(&told.metric("lengths")));
    assert!(
        all_zero(&told.metric("wrong")),
        "a response of the longest length is finished"
    );
    // The policy does not change, so that what was recorded when each token was drawn still holds.
    assert!(
        told.metric("gap").iter().all(|gap| *gap < 1e-5),
        "{:?}",
        told.metric("gap")
    );
}

#[test]
fn responses_are_cut_and_spelt_again() {
    let body = r#"
        let drawn = sampler.rollout(policy, task, prompts: 6, samples: 2, max_tokens: 4)
        let keep  = max(drawn.length - 1, 1.5)
        let cut   = sampler.outlier_truncation(drawn, keep)
        train policy {
            minimize loss.reinforce(logp(policy, cut), advantage.group_center(cut.length))
            with optimizer.sgd(lr: 0.0)
            steps 4
        }
        report length = sum(abs(cut.length - min(floor(max(drawn.length - 1, 1)), drawn.length))),
               tokens = sum(abs(count(cut.logp, over: token) - cut.length)),
               text   = sum(max(length(cut.text) - cut.length, 0)),
               whole  = sum(real(cut.finished and cut.length < drawn.length)),
               kept   = sum(real(drawn.finished and drawn.length == 1 and not cut.finished)),
               some   = sum(drawn.length - cut.length),
               gap    = max(abs(logp(frozen(policy), cut) - cut.logp))
    "#;
    let told = told(&program(body), 1, Kind::Float);
    for name in ["length", "tokens", "text", "whole", "kept"] {
        assert!(
            all_zero(&told.metric(name)),
            "{name}: {:?}",
            told.metric(name)
        );
    }
    assert!(told.metric("some").iter().all(|cut| *cut > 0.0));
    assert!(told.metric("gap").iter().all(|gap| *gap < 1e-5));
}

#[test]
fn a_predicting_filter_draws_once_more_than_is_wanted() {
    let filtered = |filter: &str| {
        let body = format!(
            r#"
            let drawn    = sampler.rollout(policy, task, prompts: 6, samples: 2, max_tokens: 4)
            let cut      = sampler.outlier_truncation(drawn, min(drawn.length, 3))
            let rollouts = {filter}
            train policy {{
                minimize loss.reinforce(logp(policy, rollouts), advantage.group_center(rollouts.score))
                with optimizer.sgd(lr: 0.01)
                steps 6
            }}
            report groups = sum(mean(0 * rollouts.score + 1, over: sample)), varying = mean(real(fn.varies(rollouts.score))),
                   aligned = mean(abs(rollouts.length - rollouts.score)), longest = max(rollouts.length)
            "#
        );
        told(&program(&body), 2, Kind::Float)
    };
    let once = filtered("sampler.dynamic(cut with { score: cut.length }, rounds: 1)");
    let more = filtered("sampler.predictive_dynamic(cut with { score: cut.length })");
    for told in [&once, &more] {
        assert_eq!(told.metric("varying"), [1.0; 6]);
        assert_eq!(told.metric("aligned"), [0.0; 6]);
        assert!(told.metric("longest").iter().all(|length| *length <= 3.0));
        assert!(told.metric("groups").iter().all(|groups| *groups <= 6.0));
    }
    let total = |told: &Told| told.metric("groups").iter().sum::<f64>();
    assert!(total(&more) > total(&once));
    // At first half as many again: 9 prompts instead of 6, whose responses have 1 to 4 tokens.
    let tokens = |told: &Told| told.steps[WARMUP].tokens;
    assert!(tokens(&more) > tokens(&once) && tokens(&more) < 3 * tokens(&once));
}
