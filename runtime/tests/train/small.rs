//! Models that are blocks of `.rlp`, gradients by all parameters of a model, and what is remembered of items.

use rlp_runtime::executor::ExecutorChoice;
use tch::Kind;

use crate::program::{told, told_by};

fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-9 * (1.0 + expected.abs())
}

/// Nothing moves at a learning rate of 0, so that what is reported is of the weights that were differentiated.
#[test]
fn the_gradients_of_objectives_add_up_to_that_of_their_sum() {
    let told = told(
        "pipeline p {
            let task   = data.arithmetic(digits: 1, ops: \"+\")
            let policy = model.causal_lm(layers: 1, hidden: 8, heads: 2, ffn: 8)
            let weight: real[objective] = [0.7, 0.3]
            stage s {
                let demos  = sampler.once(sampler.demonstrations(task, prompts: 4))
                let l      = logp(policy, demos)
                let losses = stack(loss.nll(l), mean(sum(l^2, over: token)), as: objective)
                let slopes = grad(losses, wrt: policy)
                train policy {
                    minimize sum(weight * losses)
                    with optimizer.sgd(lr: 0)
                    steps 2
                }
                report norm = norm(sum(weight * slopes, over: objective)),
                       other = norm(grad(sum(weight * losses), wrt: policy))
            }
        }",
        0,
        Kind::Double,
    );
    let of_train = told.steps[0].trained[0].grad_norm;
    assert!(of_train > 0.1);
    assert!(is_near(told.metric("norm")[0], of_train), "{told:?}");
    assert!(is_near(told.metric("other")[0], of_train), "{told:?}");
}

const TWO_OBJECTIVES: &str = "pipeline p {
    let task = data.conflicting_pairs(inputs: 3, pairs: 40)
    let net  = model.mlp(inputs: 3, hidden: [4])
    stage s {
        let ahead  = value(net, task.a) - value(net, task.b)
        let losses = -mean(log_sigmoid(task.preference * ahead), over: pair)
        let slopes = grad(losses, wrt: net)
        let weight = 1 / (0.1 + norm(slopes, over: parameter))
        train net {
            minimize sum(stop_grad(weight) * losses)
            with optimizer.sgd(lr: 0.1)
            steps 4
        }
        report steep = norm(slopes), first = at(losses, objective: 0)
    }
}";

/// The weights are of the parameters before each update: both executors say so, and neither has them once for all steps.
#[test]
fn weights_by_gradients_are_computed_anew_on_each_minibatch() {
    let runs = [ExecutorChoice::Eager, ExecutorChoice::Fused]
        .map(|executor| told_by(executor, TWO_OBJECTIVES, 0, Kind::Double).unwrap());
    for (one, other) in runs[0].losses().iter().zip(runs[1].losses()) {
        assert!(is_near(*one, other), "{one} {other}");
    }
    let steep = runs[1].metric("steep");
    assert!(steep.windows(2).all(|pair| pair[0] != pair[1]), "{steep:?}");
    // Σ w·loss with w = 1/(0.1 + ‖slope‖) before the second update, from what was reported after the first.
    assert!(runs[1].losses()[1] > 0.0);
}

/// The gradient of a squared norm of a gradient: 2 H g, by a finite difference of ‖g‖².
#[test]
fn a_gradient_of_a_small_model_is_differentiated_again() {
    let program = |by: f64| {
        format!(
            "pipeline p {{
                let task = data.conflicting_pairs(inputs: 2, pairs: 20)
                param start: real[one: 1] = {by}
                let net  = model.mlp(inputs: 2, hidden: [2])
                stage s {{
                    let x     = task.a + sum(start)
                    let steep = sum(grad(mean(value(net, x)^2), wrt: net)^2)
                    train start {{ minimize steep with optimizer.sgd(lr: 0) steps 1 }}
                    report steep = steep
                }}
            }}"
        )
    };
    let run = |by: f64| told(&program(by), 0, Kind::Double);
    let (low, here, high) = (run(0.3 - 1e-4), run(0.3), run(0.3 + 1e-4));
    let difference = (high.metric("steep")[0] - low.metric("steep")[0]) / 2e-4;
    let norm = here.steps[0].trained[0].grad_norm;
    assert!(
        (norm - difference.abs()).abs() < 1e-6 * (1.0 + norm),
        "{norm} {difference}"
    );
}

/// Of five items two are drawn a step, each twice in five steps.
#[test]
fn a_memory_belongs_to_its_item() {
    let told = told(
        "pipeline p {
            let task = data.letters(prompts: 5, length: 1, symbols: 2)
            stage s {
                let demos = sampler.demonstrations(task, prompts: 2)
                state seen = memory(demos, initial: 0.0)
                seen <- seen + 1
                steps 5
                report before = sum(seen)
            }
        }",
        0,
        Kind::Double,
    );
    let before = told.metric("before");
    // Two passes over five items of ten draws in all: every item was seen 0 and then 1 times before.
    assert_eq!(before.iter().sum::<f64>(), 5.0, "{before:?}");
    assert_eq!(before[0], 0.0);
    assert_eq!(before[4], 2.0);
}

/// A policy that is a table: what is drawn has the probability that the table gives it.
#[test]
fn responses_are_drawn_from_a_table() {
    let told = told(
        "pipeline p {
            let task   = data.preference_bandit(prompts: 3, actions: 4)
            let policy = model.tabular(task)
            stage s {
                let drawn = sampler.rollout(policy, task, prompts: 3, samples: 2000, max_tokens: 1)
                let gold  = task.gold(drawn.text)
                report gap = max(abs(mean(gold) - mean(task.expected_gold(policy)))),
                       logp = max(abs(drawn.logp - logp(policy, drawn))), n = mean(drawn.length)
            }
        }",
        0,
        Kind::Double,
    );
    // Of 6000 draws of numbers with standard deviation 1 the mean is within 0.05 of what is expected.
    assert!(told.metric("gap")[0] < 0.05, "{told:?}");
    assert!(told.metric("logp")[0] < 1e-12);
    assert_eq!(told.metric("n")[0], 1.0);
}

/// Pairs of a table are dealt out as those of a draw are: five updates of ten a step, each of other pairs.
#[test]
fn a_small_model_is_trained_on_minibatches_of_a_table() {
    let program = |minibatch: &str| {
        format!(
            "pipeline ahead {{
                let task = data.conflicting_pairs(inputs: 3, pairs: 50)
                let net  = model.mlp(inputs: 3, hidden: [4])
                stage learn {{
                    let ahead = value(net, task.a) - value(net, task.b)
                    train net {{
                        minimize -mean(log_sigmoid(at(task.preference, objective: 0) * ahead))
                        with     optimizer.sgd(lr: 1.0)
                        steps    6
                        {minibatch}
                    }}
                }}
            }}"
        )
    };
    let updates = |minibatch: &str| {
        let told = told(&program(minibatch), 1, Kind::Double);
        let updates = told.steps.iter().flat_map(|step| &step.trained);
        (
            updates.map(|own| own.updates).collect::<Vec<_>>(),
            told.losses(),
        )
    };
    let (whole, slow) = updates("");
    let (parts, fast) = updates("minibatch 10");
    assert_eq!(whole, [1; 6]);
    assert_eq!(parts, [5; 6]);
    assert!(fast[5] < slow[5], "{fast:?} {slow:?}");
}

/// With a rate of nothing the mean of the losses of all minibatches is the loss of the whole.
#[test]
fn minibatches_of_a_draw_are_all_of_it() {
    let losses = |minibatch: &str| {
        let program = format!(
            "pipeline judged {{
                let task   = data.preference_bandit(prompts: 4, actions: 3)
                let policy = model.tabular(task)
                let judge  = model.tabular(task)
                stage learn {{
                    let duo   = sampler.once(sampler.rollout_pairs(policy, task, pairs: 60, max_tokens: 1))
                    let pairs = sampler.preferences(duo, task.gold(duo.a.text), task.gold(duo.b.text))
                    train judge {{
                        minimize loss.bradley_terry(value(judge, pairs.chosen), value(judge, pairs.rejected))
                        with     optimizer.sgd(lr: 0.0)
                        steps    2
                        {minibatch}
                    }}
                }}
            }}"
        );
        told(&program, 2, Kind::Double).losses()
    };
    let (whole, parts) = (losses(""), losses("minibatch 15"));
    for (left, right) in whole.iter().zip(&parts) {
        assert!((left - right).abs() < 1e-12, "{whole:?} {parts:?}");
    }
}
