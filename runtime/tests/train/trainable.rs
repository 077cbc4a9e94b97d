//! Trainable tensors that are no model, and pairs of responses.

use std::ops::ControlFlow;

use rlp_runtime::resource::World;
use rlp_runtime::run::run;
use tch::{Device, Kind, Tensor};

use crate::program::{compile, told};

/// The tensors that a run leaves, in the order of the plan.
fn left(text: &str, seed: u64) -> Vec<Tensor> {
    tch::set_num_threads(1);
    let (plan, _) = compile(text);
    let mut world = World::open(&plan, seed, Kind::Double, Device::Cpu).unwrap();
    run(&plan, &mut world, None, &mut |_| ControlFlow::Continue(())).unwrap();
    world.tensors.iter().map(|own| own.value.copy()).collect()
}

fn is_close(found: &Tensor, expected: &[f64]) -> bool {
    let expected = Tensor::from_slice(expected).reshape(found.size());
    f64::try_from((found - expected).abs().max()).unwrap() < 1e-12
}

/// x − 0.1 · 2 (x − t), twice: the distance to t shrinks to 0.64 of itself.
#[test]
fn a_tensor_moves_by_its_gradient() {
    let left = left(
        "pipeline p {
            param x: real[row: 2, col: 2] = [[1, 2], [3, 4]]
            param t: real[row: 2, col: 2] = [[0, 0], [1, 1]]
            param s: real = 3
            let w = model.vector(objective: 2, start: [1, -1])
            stage a {
                train x, s, w {
                    minimize sum((x - t)^2) + s^2 + sum(w^2)
                    with optimizer.sgd(lr: 0.1)
                    steps 2
                }
            }
        }",
        0,
    );
    assert!(is_close(&left[0], &[0.64, 1.28, 2.28, 2.92]));
    assert!(is_close(&left[1], &[0.0, 0.0, 1.0, 1.0]));
    assert!(is_close(&left[2], &[3.0 * 0.64]));
    assert!(is_close(&left[3], &[0.64, -0.64]));
}

/// The whole gradient has norm √(4 + 16) · 2 / 2: it is scaled down to 1 together.
#[test]
fn the_norm_of_a_gradient_counts_all_tensors() {
    let left = left(
        "pipeline p {
            param x: real[row: 1] = [3]
            param y: real[row: 1] = [4]
            stage a {
                train x, y {
                    minimize sum(x^2 + y^2) / 2
                    with optimizer.sgd(lr: 1)
                    steps 1
                    clip_norm 1.0
                }
            }
        }",
        0,
    );
    assert!(is_close(&left[0], &[3.0 - 0.6]));
    assert!(is_close(&left[1], &[4.0 - 0.8]));
}

/// A copy stays where the stage began, or follows every second step; a tensor that another clause trains is no variable.
#[test]
fn copies_and_other_clauses_give_no_gradient() {
    let told = told(
        "pipeline p {
            param x: real[row: 1] = [1]
            param y: real[row: 1] = [10]
            stage a {
                train x { minimize sum((x - y)^2) / 2 with optimizer.sgd(lr: 1) steps 4 }
                train y { minimize sum(y * stop_grad(y) + 0 * x) with optimizer.sgd(lr: 0.1) steps 4 }
                report x = sum(x), start = sum(frozen(x)), two = sum(frozen(x, every: 2)), y = sum(y)
            }
        }",
        0,
        Kind::Double,
    );
    let y = [9.0, 8.1, 7.29, 6.561];
    // x becomes the y before its update of the step, or after: clauses run in turn, x first.
    let x = [10.0, 9.0, 8.1, 7.29];
    for (name, expected) in [
        ("x", x),
        ("y", y),
        ("start", [1.0; 4]),
        ("two", [1.0, 1.0, 9.0, 9.0]),
    ] {
        let found = told.metric(name);
        let is_close = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(is_close, "{name}: {found:?}");
    }
}

/// Two stages of one step with the momentum kept are one stage of two steps.
#[test]
fn states_of_a_tensor_are_kept() {
    let stage = |name: &str, steps: usize, keep: &str| {
        format!(
            "stage {name} {{ train x {{ minimize sum(x^2) with optimizer.adam(lr: 0.1){keep} steps {steps} }} }}"
        )
    };
    let program =
        |stages: &str| format!("pipeline p {{ param x: real[row: 2] = [1, 2]\n{stages} }}");
    let whole = left(&program(&stage("a", 2, "")), 0);
    let parts = [stage("a", 1, ""), stage("b", 1, " keep state")].join("\n");
    assert!(left(&program(&parts), 0)[0].equal(&whole[0]));
    let parts = [stage("a", 1, ""), stage("b", 1, "")].join("\n");
    assert!(!left(&program(&parts), 0)[0].equal(&whole[0]));
}

#[test]
fn a_random_start_follows_the_seed() {
    let program = "pipeline p {
        param x: real[row: 30, col: 30] = random.normal()
        param y: real[row: 30, col: 30] = random.uniform()
        stage a { report x = mean(x) + mean(y) }
    }";
    let [one, two] = [left(program, 1), left(program, 1)];
    assert!(one[0].equal(&two[0]));
    assert!(!one[0].equal(&left(program, 2)[0]));
    let spread = f64::try_from(one[0].std(false)).unwrap();
    assert!((spread - 1.0).abs() < 0.1, "{spread}");
    let mean = f64::try_from(one[1].mean(Kind::Double)).unwrap();
    assert!((mean - 0.5).abs() < 0.05, "{mean}");
}

#[test]
fn a_tensor_is_trained_beside_a_model_on_minibatches() {
    let told = told(
        "pipeline p {
            let task   = data.arithmetic(digits: 1)
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            param shift: real = 0
            stage a {
                let demos = sampler.demonstrations(task, prompts: 8)
                let error = mean(logp(policy, demos), over: token) + shift
                train policy, shift {
                    minimize mean(error^2) - mean(logp(policy, demos)) * 0.001
                    with optimizer.sgd(lr: 0.05)
                    steps 60
                    minibatch 4
                }
                report shift = shift, error = mean(error^2)
            }
        }",
        0,
        Kind::Float,
    );
    let (shift, error) = (told.metric("shift"), told.metric("error"));
    assert!(shift[59] > 1.0, "{shift:?}");
    assert!(error[59] < error[0] / 10.0, "{error:?}");
}

#[test]
fn pairs_are_two_responses_to_one_prompt() {
    let told = told(
        r#"pipeline p {
            let task   = data.arithmetic(digits: 1)
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            stage a {
                let pairs = sampler.rollout_pairs(policy, task, pairs: 6, max_tokens: 5)
                let gap   = sum(logp(policy, pairs.a), over: token) - sum(logp(policy, pairs.b), over: token)
                let same  = (if pairs.a.prompt_text == pairs.b.prompt_text { 1.0 } else { 0.0 })
                let equal = (if pairs.a.text == pairs.b.text { 1.0 } else { 0.0 })
                train policy {
                    minimize -mean(log_sigmoid(gap * sign(pairs.a.length - pairs.b.length + 0.5)))
                    with optimizer.sgd(lr: 0.0)
                    steps 2
                    minibatch 3
                }
                report same  = mean(same), equal = mean(equal),
                       gap_a = max(abs(logp(policy, pairs.a) - pairs.a.logp)),
                       gap_b = max(abs(logp(policy, pairs.b) - pairs.b.logp)),
                       long  = mean(count(pairs.b.tokens, over: token) - pairs.b.length)
            }
        }"#,
        0,
        Kind::Float,
    );
    assert_eq!(told.metric("same"), [1.0, 1.0]);
    assert_eq!(told.metric("long"), [0.0, 0.0]);
    assert!(told.metric("equal").iter().all(|&equal| equal < 0.5));
    let gaps = [told.metric("gap_a"), told.metric("gap_b")].concat();
    assert!(gaps.iter().all(|&gap| gap < 1e-4), "{gaps:?}");
}

/// Every call, step and position has its own number; the same seed has the same ones.
#[test]
fn random_numbers_differ_by_call_step_and_position() {
    let text = "pipeline p {
        let task = data.arithmetic(digits: 1)
        stage a {
            let demos = sampler.demonstrations(task, prompts: 400)
            let one: real[example] = random.normal()
            let two = demos.length * 0 + random.normal()
            steps 2
            report spread = std(one), shared = mean(one * two), first = at(one, example: 0), second = at(one, example: 1)
        }
    }";
    let told = [told(text, 1, Kind::Double), told(text, 1, Kind::Double)];
    assert_eq!(told[0].metric("first"), told[1].metric("first"));
    let (first, second) = (told[0].metric("first"), told[0].metric("second"));
    assert!(first[0] != first[1] && first[0] != second[0], "{first:?}");
    assert!(
        told[0]
            .metric("spread")
            .iter()
            .all(|&spread| (spread - 1.0).abs() < 0.15)
    );
    assert!(
        told[0]
            .metric("shared")
            .iter()
            .all(|&shared| shared.abs() < 0.2)
    );
}
