//! What a stage does in which order: frozen copies, states, evaluations, filters, several clauses, several rules.

use rlp_runtime::error::Fault;
use tch::{Kind, Tensor};

use crate::program::{Told, compile, told, try_told};

/// A pipeline with a tiny policy; `stages` is the rest.
fn program(stages: &str) -> String {
    format!(
        r#"
        pipeline small {{
            let task   = data.arithmetic(digits: 1, ops: "+")
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            let critic = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            {stages}
        }}
        "#
    )
}

/// A stage that draws responses of 1 to 4 tokens: the policy's first stage teaches it that answers end.
fn rollouts(body: &str) -> String {
    program(&format!(
        r#"
        stage warmup {{
            train policy {{
                minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 16)))
                with optimizer.adamw(lr: 2e-2)
                steps 15
            }}
        }}
        stage rl {{
            let drawn = sampler.rollout(policy, task, prompts: 6, samples: 2, max_tokens: 4)
            {body}
        }}
        "#
    ))
}

const WARMUP: usize = 15;

fn weight<'a>(told: &'a Told, name: &str) -> &'a Tensor {
    &told
        .weights
        .iter()
        .find(|(own, _)| own.ends_with(name))
        .unwrap()
        .1
}

fn is_close(found: &[f64], expected: &[f64], within: f64) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() <= within)
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let text = rollouts(
        r#"
        let adv = advantage.group_norm(drawn.length)
        train policy {
            minimize loss.ppo_clip(logp(policy, drawn), drawn.logp, adv)
            with optimizer.adamw(lr: 1e-3)
            steps 3 epochs 2 minibatch 5 micro_batch 3
            evaluate right = mean(reward.exact_answer(drawn.text, drawn.answer)) every 2
        }
        report length = mean(drawn.length)
        "#,
    );
    let (first, second, other) = (
        told(&text, 5, Kind::Float),
        told(&text, 5, Kind::Float),
        told(&text, 6, Kind::Float),
    );
    let without_time = |told: &Told| {
        let mut steps = told.steps.clone();
        steps.iter_mut().for_each(|step| step.seconds = 0.0);
        steps
    };
    assert_eq!(without_time(&first), without_time(&second));
    for ((name, a), (_, b)) in first.weights.iter().zip(&second.weights) {
        assert!(a.equal(b), "{name}");
    }
    assert_ne!(without_time(&first), without_time(&other));
}

#[test]
fn a_loss_falls() {
    let text = program(
        "stage s { train policy { minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 16))) \
         with optimizer.adamw(lr: 1e-2) steps 40 } }",
    );
    let losses = told(&text, 0, Kind::Float).losses();
    assert!(losses[0] > 4.0 && losses[39] < 2.0, "{losses:?}");
}

/// `every: 2` follows at the third step and the fifth, `every: 1` at every step, a plain copy never.
#[test]
fn frozen_copies_are_taken_when_they_are_due() {
    let text = program(
        r#"
        stage s {
            let demos = sampler.demonstrations(task, prompts: 4)
            let held  = sampler.once(sampler.demonstrations(task, prompts: 4))
            let start = mean(logp(frozen(policy), held))
            train policy {
                minimize loss.nll(logp(policy, demos))
                with optimizer.sgd(lr: 0.1)
                steps 5
            }
            report start = start, now = mean(logp(policy, held)),
                   two   = mean(logp(frozen(policy, every: 2), held)),
                   each  = mean(logp(frozen(policy, every: 1), held))
        }
        "#,
    );
    let told = told(&text, 0, Kind::Double);
    let (start, now) = (told.metric("start"), told.metric("now"));
    assert!(start.iter().all(|value| *value == start[0]));
    let expected =
        |steps: [usize; 5]| steps.map(|step| if step == 0 { start[0] } else { now[step - 1] });
    assert!(is_close(
        &told.metric("two"),
        &expected([0, 0, 2, 2, 4]),
        1e-12
    ));
    assert!(is_close(
        &told.metric("each"),
        &expected([0, 1, 2, 3, 4]),
        1e-12
    ));
    assert!(now.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn every_next_value_of_a_state_reads_the_old_ones() {
    let text = program(
        r#"
        stage s {
            state a = 1.0
            state b = 2.0
            a <- b
            b <- a + b
            steps 4
            report a = a, b = b
        }
        "#,
    );
    let told = told(&text, 0, Kind::Float);
    assert_eq!(told.metric("a"), [1.0, 2.0, 3.0, 5.0]);
    assert_eq!(told.metric("b"), [2.0, 3.0, 5.0, 8.0]);
}

#[test]
fn a_state_may_begin_from_what_another_begins_as() {
    let text = program(
        r#"
        stage s {
            state a = 1.0
            let twice = 2 * a
            state b = a + twice
            a <- a + 1
            b <- 2 * b
            steps 3
            report a = a, b = b
        }
        "#,
    );
    let told = told(&text, 0, Kind::Float);
    assert_eq!(told.metric("a"), [1.0, 2.0, 3.0]);
    assert_eq!(told.metric("b"), [3.0, 6.0, 12.0]);
}

#[test]
fn evaluations_come_when_they_are_due_and_at_the_end() {
    let text = program(
        r#"
        stage s {
            let held = sampler.rollout(policy, held_out(task), prompts: 3, samples: 1, max_tokens: 2, temperature: 0)
            train policy {
                minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4)))
                with optimizer.adamw(lr: 1e-2)
                steps 7
                evaluate length = mean(held.length) every 3
            }
            report every 4 one = 1.0
        }
        "#,
    );
    let told = told(&text, 0, Kind::Float);
    let steps: Vec<u64> = told
        .evaluations
        .iter()
        .map(|evaluation| evaluation.step)
        .collect();
    assert_eq!(steps, [3, 6, 7]);
    let reported: Vec<u64> = told
        .steps
        .iter()
        .filter(|step| !step.metrics.is_empty())
        .map(|step| step.step)
        .collect();
    assert_eq!(reported, [4, 7]);
}

/// What only an evaluation needs is drawn only then, and so changes nothing else.
#[test]
fn an_evaluation_does_not_change_the_training() {
    let text = |evaluate: &str| {
        rollouts(&format!(
            r#"
            let other = sampler.rollout(policy, task, prompts: 2, samples: 2, max_tokens: 4)
            train policy {{
                minimize loss.ppo_clip(logp(policy, drawn), drawn.logp, advantage.group_norm(drawn.length))
                with optimizer.adamw(lr: 1e-3)
                steps 4
                {evaluate}
            }}
            "#
        ))
    };
    let (plain, evaluated) = (
        told(&text(""), 0, Kind::Float),
        told(
            &text("evaluate length = mean(other.length) every 2"),
            0,
            Kind::Float,
        ),
    );
    assert_eq!(evaluated.evaluations.len(), 2);
    assert_eq!(plain.losses(), evaluated.losses());
    let tokens = |told: &Told| {
        told.steps
            .iter()
            .map(|step| step.tokens)
            .collect::<Vec<_>>()
    };
    assert_eq!(tokens(&plain), tokens(&evaluated));
}

const DYNAMIC: &str = r#"
    let rollouts = sampler.dynamic(drawn with { score: SCORE }, rounds: ROUNDS)
    let again    = logp(policy, rollouts)
    train policy {
        minimize loss.reinforce(again, advantage.group_center(rollouts.score))
        with optimizer.sgd(lr: 0.01)
        steps 4
    }
    report groups = sum(mean(0 * rollouts.score + 1, over: sample)), varying = mean(real(fn.varies(rollouts.score))),
           aligned = mean(abs(rollouts.length - rollouts.score)),
           drawn = mean(real(fn.varies(drawn.length)))
"#;

fn dynamic(score: &str, rounds: u64) -> Told {
    told(
        &rollouts(
            &DYNAMIC
                .replace("SCORE", score)
                .replace("ROUNDS", &rounds.to_string()),
        ),
        2,
        Kind::Float,
    )
}

#[test]
fn a_dynamic_sampler_keeps_the_groups_that_vary() {
    let once = dynamic("drawn.length", 1);
    let (groups, share) = (once.metric("groups"), once.metric("drawn"));
    let expected: Vec<f64> = share.iter().map(|share| (share * 6.0).round()).collect();
    assert_eq!(groups, expected);
    assert!(
        groups.iter().any(|groups| *groups < 6.0),
        "the test needs groups that do not vary: {groups:?}"
    );

    let often = dynamic("drawn.length", 8);
    assert_eq!(often.metric("groups"), [6.0; 4]);
    for told in [&once, &often] {
        assert_eq!(told.metric("varying"), [1.0; 4]);
        assert_eq!(told.metric("aligned"), [0.0; 4]);
        // Tokens, masks and recorded log-probabilities still belong together.
        assert!(
            told.steps[WARMUP..]
                .iter()
                .all(|step| step.logp_gap.unwrap() < 1e-5)
        );
    }
    let tokens = |told: &Told| told.steps[WARMUP].tokens;
    assert!(tokens(&often) > tokens(&once), "more is drawn");
}

#[test]
fn a_step_without_a_group_makes_no_update() {
    let told = dynamic("0 * drawn.length", 2);
    let (before, after) = (&told.steps[WARMUP - 1], &told.steps[WARMUP]);
    assert!(before.without_update.is_empty());
    assert_eq!(after.without_update, ["policy"]);
    assert!(after.trained.is_empty());
    let names: Vec<&str> = after
        .metrics
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["drawn"], "what comes from nothing is not reported");
    let untouched = told_without_rl();
    assert!(
        told.weights
            .iter()
            .zip(&untouched.weights)
            .all(|((_, a), (_, b))| a.equal(b))
    );
}

fn told_without_rl() -> Told {
    let text = rollouts("report length = mean(drawn.length)");
    told(&text, 2, Kind::Float)
}

#[test]
fn an_output_that_is_written_twice_gives_its_whole_gradient() {
    let weights = |loss: &str| {
        let text = program(&format!(
            r#"
            stage warmup {{
                let demos = sampler.demonstrations(task, prompts: 8)
                train policy {{
                    minimize {loss}
                    with optimizer.sgd(lr: 0.1)
                    steps 2
                }}
            }}
            "#
        ));
        told(&text, 0, Kind::Double).weights
    };
    let twice = weights("loss.nll(logp(policy, demos)) + loss.nll(2 * logp(policy, demos))");
    let once = weights("3 * loss.nll(logp(policy, demos))");
    for ((name, a), (_, b)) in twice.iter().zip(&once) {
        assert!(a.allclose(b, 1e-12, 1e-12, false), "{name}");
    }
}

#[test]
fn two_clauses_train_two_models() {
    let text = rollouts(
        r#"
        let old = value(frozen(critic, every: 1), drawn)
        let gae = advantage.gae(fn.at_last_token(drawn.length, like: old), old)
        train policy {
            minimize loss.ppo_clip_token(logp(policy, drawn), drawn.logp, gae)
            with optimizer.adamw(lr: 1e-3)
            steps 2 epochs 2 minibatch 4
        }
        train critic {
            minimize loss.value_mse(value(critic, drawn), gae + old)
            with optimizer.adamw(lr: 1e-2)
            steps 4
        }
        report kept = mean(abs(value(frozen(critic), drawn)))
        "#,
    );
    let told = told(&text, 0, Kind::Float);
    let trained: Vec<Vec<(&str, u64)>> = told.steps[WARMUP..]
        .iter()
        .map(|step| {
            step.trained
                .iter()
                .map(|trained| (trained.targets.as_str(), trained.updates))
                .collect()
        })
        .collect();
    assert_eq!(
        trained,
        [
            vec![("policy", 6), ("critic", 1)],
            vec![("policy", 6), ("critic", 1)],
            vec![("critic", 1)],
            vec![("critic", 1)]
        ]
    );
    assert_eq!(told.metric("kept"), [0.0; 4], "a value head starts at 0");
    let of_critic: Vec<f64> = told.steps[WARMUP..]
        .iter()
        .map(|step| step.trained.last().unwrap().loss)
        .collect();
    assert!(of_critic[3] < of_critic[0], "{of_critic:?}");
}

/// Momentum from the first stage moves the weights in a second whose gradient is 0.
#[test]
fn states_are_kept_where_a_stage_says_so() {
    let text = |keep: &str, stages: &str| {
        program(&format!(
            r#"
            stage first {{
                train policy {{
                    minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4)))
                    with optimizer.sgd(lr: 0.1, momentum: 0.5)
                    steps 1
                }}
            }}
            {stages}
            "#
        ))
        .replace("KEEP", keep)
    };
    let second = "stage second { train policy { minimize 0 * loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4))) \
                  with optimizer.sgd(lr: 0.1, momentum: 0.5) KEEP steps 1 } }";
    let idle = "stage first { train policy { minimize 0 * loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4))) \
                with optimizer.sgd(lr: 0.1) steps 1 } }";
    let name = "q_proj.weight";
    let start = told(&program(idle), 0, Kind::Double);
    let first = told(&text("", ""), 0, Kind::Double);
    let (fresh, kept) = (
        told(&text("", second), 0, Kind::Double),
        told(&text("keep state", second), 0, Kind::Double),
    );
    assert!(weight(&fresh, name).equal(weight(&first, name)));
    let moved = weight(&first, name) - weight(&start, name);
    let carried = weight(&kept, name) - weight(&first, name);
    assert!(moved.abs().max().double_value(&[]) > 1e-6);
    assert!((carried - moved * 0.5).abs().max().double_value(&[]) < 1e-12);
}

#[test]
fn groups_of_parameters_have_their_own_rules() {
    let train = |rules: &str| {
        program(&format!(
            "stage s {{ train policy {{ minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4))) with {rules} steps 1 }} }}"
        ))
    };
    let told_with = |rules: &str| told(&train(rules), 0, Kind::Float);
    let still = told_with("optimizer.sgd(lr: 0.0)");
    let moved = |told: &Told| -> Vec<String> {
        let changed = told
            .weights
            .iter()
            .zip(&still.weights)
            .filter(|((_, a), (_, b))| !a.equal(b));
        changed
            .map(|((name, _), _)| name.trim_start_matches("policy/").to_string())
            .collect()
    };
    let matrices = moved(&told_with("optimizer.sgd(lr: 0.1) on matrices(policy)"));
    assert_eq!(matrices.len(), 7, "{matrices:?}");
    let others = moved(&told_with(
        "optimizer.sgd(lr: 0.0) on matrices(policy), optimizer.sgd(lr: 0.1) on others(policy)",
    ));
    assert_eq!(
        others,
        [
            "model.embed_tokens.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.post_attention_layernorm.weight",
            "model.norm.weight"
        ]
    );
    let named = moved(&told_with(
        "optimizer.sgd(lr: 0.1) on \"model.layers.*.mlp.*\", optimizer.sgd(lr: 0.0) on others(policy)",
    ));
    assert_eq!(named.len(), 3, "{named:?}");
}

/// `step` of a schedule counts the updates of its clause, not the steps of the stage.
#[test]
fn a_schedule_counts_updates() {
    let text = |rule: &str, epochs: u64| {
        program(&format!(
            "stage s {{ train policy {{ minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4))) \
             with optimizer.sgd(lr: {rule}) steps 1 epochs {epochs} }} }}"
        ))
    };
    let name = "model.norm.weight";
    let one = |rule: &str| weight(&told(&text(rule, 1), 0, Kind::Double), name).copy();
    let two = |rule: &str| weight(&told(&text(rule, 2), 0, Kind::Double), name).copy();
    assert!(one("schedule.constant_with_warmup(peak: 0.4, warmup: 4)").equal(&one("0.1")));
    // With `steps` 2, the second update of a linear schedule to 0 is the half of the first.
    let first = one("0.1");
    let second = two("schedule.linear(peak: 0.1)") - &first;
    let unscaled = two("0.1") - &first;
    assert!((second - unscaled * 0.5).abs().max().double_value(&[]) < 1e-15);
}

/// Also on one that nothing else reads, drawn before the update.
#[test]
fn an_argument_of_a_rule_may_depend_on_a_draw() {
    let text = |lr: &str| {
        program(&format!(
            "stage s {{ let other = sampler.rollout(policy, task, prompts: 2, samples: 2, max_tokens: 3)
             train policy {{ minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 4)))
             with optimizer.sgd(lr: {lr}) steps 2 }} }}"
        ))
    };
    let name = "model.norm.weight";
    let constant = told(&text("0.1"), 0, Kind::Double);
    let computed = told(&text("0.1 + 0 * mean(other.length)"), 0, Kind::Double);
    // A constant step is multiplied and added in one rounding, a computed one in two.
    assert!(weight(&constant, name).allclose(weight(&computed, name), 1e-12, 1e-12, false));
    assert!(computed.steps[0].tokens > constant.steps[0].tokens);
}

/// The text that an error points at.
fn place(text: &str, seed: u64) -> (Fault, String) {
    let (_, sources) = compile(text);
    let error = try_told(text, seed, Kind::Float).unwrap_err();
    let span = error.place.expect("a place").span;
    (error.fault, sources.text(span).to_string())
}

#[test]
fn a_loss_that_is_not_finite_is_traced_to_where_it_began() {
    let text = |loss: &str| {
        program(&format!(
            "stage s {{ let demos = sampler.demonstrations(task, prompts: 4)\n\
             let weight = log(demos.length - demos.length)\n\
             train policy {{ minimize {loss} with optimizer.sgd(lr: 0.1) steps 1 minibatch 2 }} }}"
        ))
    };
    let (fault, place_of) = place(&text("mean(exp(1000 + abs(logp(policy, demos))) * 2)"), 0);
    assert_eq!(fault.to_string(), "a value here is not finite");
    assert_eq!(place_of, "exp(1000 + abs(logp(policy, demos)))");
    // The cause lies before the minibatch.
    let (_, place_of) = place(
        &text("mean(weight * sum(logp(policy, demos), over: token))"),
        0,
    );
    assert_eq!(place_of, "log(demos.length - demos.length)");
}

#[test]
fn a_gradient_that_is_not_finite_is_traced_to_the_derivative() {
    let text = program(
        "stage s { let demos = sampler.demonstrations(task, prompts: 4)\n\
         train policy { minimize mean(2 * sqrt(0 * logp(policy, demos))) with optimizer.sgd(lr: 0.1) steps 1 } }",
    );
    let (fault, place_of) = place(&text, 0);
    assert_eq!(fault.to_string(), "the gradient through this is not finite");
    assert_eq!(place_of, "sqrt(0 * logp(policy, demos))");
}

#[test]
fn an_update_that_is_not_finite_is_not_made() {
    let text = program(
        "stage s { let demos = sampler.demonstrations(task, prompts: 4)\n\
         train policy { minimize loss.nll(logp(policy, demos)) with optimizer.sgd(lr: 1e39) steps 1 } }",
    );
    let (fault, place_of) = place(&text, 0);
    assert!(
        fault
            .to_string()
            .ends_with("after an update by `optimizer.sgd` is not finite"),
        "{fault}"
    );
    assert!(place_of.starts_with("train policy"));
}
