//! What must not depend on how a batch is cut: gradients, and the policy that sampled against the one that trains.

use tch::{Kind, Tensor};

use crate::program::{Told, told};

/// A stage of rollouts, 3 prompts × 4 samples, after one from which the policy knows that answers end.
fn program(loss: &str, train: &str) -> String {
    format!(
        r#"
        pipeline cut {{
            let task   = data.arithmetic(digits: 2, ops: "+")
            let policy = model.causal_lm(layers: 2, hidden: 16, heads: 2, ffn: 32)
            stage warmup {{
                train policy {{
                    minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 16)))
                    with optimizer.adamw(lr: 2e-2)
                    steps 20
                }}
            }}
            stage rl {{
                let rollouts = sampler.rollout(policy, task, prompts: 3, samples: 4, max_tokens: 7, temperature: 0.8)
                let adv      = advantage.group_norm(rollouts.length)
                train policy {{
                    minimize {loss}
                    {train}
                }}
            }}
        }}
        "#
    )
}

const TOKEN_MEAN: &str = "loss.ppo_clip(logp(policy, rollouts), rollouts.logp, adv) + 0.1 * loss.entropy_bonus(entropy(policy, rollouts))";
/// Whose gradient is not a number at positions that are not real.
const TOKEN_MEAN_BY_DIVISION: &str =
    "-mean(adv * 0.2 * tanh((logp(policy, rollouts) - rollouts.logp) / (0.2 + 0 * rollouts.logp)))";
const SEQUENCE_MEAN: &str = "loss.grpo(logp(policy, rollouts), rollouts.logp, adv)";
/// With a value that has only one of the dimensions that number the rows.
const GROUP_WEIGHTED: &str =
    "mean(mean(rollouts.length, over: sample) * mean(logp(policy, rollouts), over: token))";
const GROUP_COUPLED: &str =
    "mean(logsumexp(sum(logp(policy, rollouts), over: token), over: sample))";

/// All weights end to end, in f64.
fn flat(told: &Told) -> Tensor {
    let parts: Vec<Tensor> = told
        .weights
        .iter()
        .map(|(_, value)| value.flatten(0, -1).to_kind(Kind::Double))
        .collect();
    Tensor::cat(&parts, 0)
}

/// ‖a − b‖ / ‖b‖
fn relative(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).norm().double_value(&[]) / b.norm().double_value(&[])
}

/// The gradient of a single update: so large a step that the weights before it are lost in rounding.
fn gradient(loss: &str, cut: &str, kind: Kind) -> Tensor {
    let told = told(
        &program(loss, &format!("with optimizer.sgd(lr: 1e9) steps 1 {cut}")),
        3,
        kind,
    );
    flat(&told) / -1e9
}

#[test]
fn micro_batches_leave_the_gradient_as_it_is() {
    for loss in [
        TOKEN_MEAN,
        TOKEN_MEAN_BY_DIVISION,
        SEQUENCE_MEAN,
        GROUP_COUPLED,
    ] {
        for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::Double, 1e-12)] {
            let whole = gradient(loss, "", kind);
            assert!(
                whole.norm().double_value(&[]) > 1e-3,
                "{loss} has a gradient"
            );
            for micro_batch in [
                "micro_batch 1",
                "micro_batch 2",
                "micro_batch 4",
                "micro_batch 5",
                "micro_batch 12",
            ] {
                let cut = gradient(loss, micro_batch, kind);
                let error = relative(&cut, &whole);
                assert!(
                    error < tolerance,
                    "{loss}, {micro_batch}, {kind:?}: {error:e}"
                );
            }
        }
    }
}

/// With a small step, the minibatches of one epoch together move the weights by their number times the whole gradient,
/// if the loss is a mean over what is dealt out and the minibatches are of one size.
#[test]
fn minibatches_are_parts_of_the_batch() {
    const STEP: f64 = 1e-7;
    let untouched = flat(&told(
        &program(SEQUENCE_MEAN, "with optimizer.sgd(lr: 0.0) steps 1"),
        3,
        Kind::Double,
    ));
    for (loss, rows, updates) in [
        (SEQUENCE_MEAN, 4, 3),
        (SEQUENCE_MEAN, 2, 6),
        (GROUP_WEIGHTED, 4, 3),
        (GROUP_COUPLED, 4, 3),
        (GROUP_COUPLED, 7, 3),
    ] {
        let whole = gradient(loss, "", Kind::Double);
        for micro_batch in ["", "micro_batch 1"] {
            let train =
                format!("with optimizer.sgd(lr: {STEP}) steps 1 minibatch {rows} {micro_batch}");
            let told = told(&program(loss, &train), 3, Kind::Double);
            assert_eq!(
                told.steps[20].trained[0].updates, updates,
                "{loss}, minibatches of {rows}"
            );
            let moved = (flat(&told) - &untouched) / (-STEP * updates as f64);
            let error = relative(&moved, &whole);
            assert!(error < 1e-5, "{loss}, minibatches of {rows}: {error:e}");
        }
    }
}

#[test]
fn the_last_minibatch_may_be_smaller() {
    let told = told(
        &program(
            TOKEN_MEAN,
            "with optimizer.adamw(lr: 1e-3) steps 2 epochs 3 minibatch 5",
        ),
        0,
        Kind::Float,
    );
    let updates: Vec<u64> = told.steps[20..]
        .iter()
        .map(|step| step.trained[0].updates)
        .collect();
    assert_eq!(updates, [9, 9]);
}

/// One engine samples and trains: before the first update of a step the ratio of the two policies is 1.
#[test]
fn the_policy_that_trains_is_the_policy_that_sampled() {
    for train in ["", "minibatch 5", "minibatch 4 micro_batch 3"] {
        let train = format!("with optimizer.adamw(lr: 1e-2) steps 6 epochs 2 {train}");
        let told = told(&program(TOKEN_MEAN, &train), 1, Kind::Float);
        for step in &told.steps[20..] {
            let gap = step.logp_gap.unwrap();
            assert!(gap <= 1e-5, "step {}: {gap:e} with {train}", step.step);
            assert!((gap.exp() - 1.0).abs() <= 1e-5);
        }
        // The gap is measured, not assumed.
        assert!(
            told.steps[20..]
                .iter()
                .any(|step| step.logp_gap.unwrap() > 0.0)
        );
    }
}

/// The gap tells when something else sampled than trains.
#[test]
fn a_gap_is_that_of_the_policy_that_sampled() {
    let text = program(TOKEN_MEAN, "with optimizer.adamw(lr: 1e-2) steps 2")
        .replace("rollout(policy,", "rollout(frozen(policy),");
    let told = told(&text, 1, Kind::Float);
    assert!(told.steps.iter().all(|step| step.logp_gap.is_none()));
}

#[test]
fn a_long_gradient_is_cut_to_the_norm() {
    let before = flat(&told(
        &program(TOKEN_MEAN, "with optimizer.sgd(lr: 0.0) steps 1"),
        3,
        Kind::Double,
    ));
    let clipped = told(
        &program(
            TOKEN_MEAN,
            "with optimizer.sgd(lr: 0.5) steps 1 clip_norm 1e-3",
        ),
        3,
        Kind::Double,
    );
    let moved = (flat(&clipped) - before).norm().double_value(&[]);
    assert!((moved / (0.5 * 1e-3) - 1.0).abs() < 1e-9, "{moved:e}");
    let norm = gradient(TOKEN_MEAN, "", Kind::Double)
        .norm()
        .double_value(&[]);
    assert!((clipped.steps[20].trained[0].grad_norm / norm - 1.0).abs() < 1e-9);
}
