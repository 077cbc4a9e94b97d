//! Models seen through transforms: what is trained, what stays, and what comes of it.

use rlp_runtime::executor::ExecutorChoice;
use tch::{Kind, Tensor};

use crate::program::{Told, told, told_by, try_told};

const MODEL: &str = "let task = data.arithmetic(digits: 1, ops: \"+\")
    let base = model.causal_lm(layers: 2, hidden: 16, heads: 2, ffn: 24)";

/// A pipeline that trains a model `tuned` on a few demonstrations.
fn adapting(apply: &str, lr: f64, steps: u32) -> String {
    format!(
        "pipeline p {{
            {MODEL}
            let tuned = {apply}
            stage s {{
                let demos = sampler.once(sampler.demonstrations(task, prompts: 8))
                let gap   = max(abs(logp(tuned, demos) - logp(base, demos)))
                train tuned {{
                    minimize loss.nll(logp(tuned, demos))
                    with optimizer.sgd(lr: {lr:e})
                    steps {steps}
                }}
                report gap = gap
            }}
        }}"
    )
}

fn weight<'t>(told: &'t Told, name: &str) -> &'t Tensor {
    let found = told.weights.iter().find(|(own, _)| own == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

fn moved(one: &Told, other: &Told, name: &str) -> f64 {
    let difference = weight(one, name) - weight(other, name);
    difference.abs().max().double_value(&[])
}

const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";

/// A step of gradient descent by ε lowers the loss by ε ‖g‖², up to its square.
fn assert_descends(apply: &str) {
    let told = told(&adapting(apply, 1e-6, 2), 3, Kind::Double);
    let norm = told.steps[0].trained[0].grad_norm;
    let lowered = (told.losses()[0] - told.losses()[1]) / 1e-6;
    assert!(norm > 1e-3, "{apply}: {norm}");
    assert!(
        (lowered / norm.powi(2) - 1.0).abs() < 1e-3,
        "{apply}: {lowered} {norm}"
    );
}

#[test]
fn the_gradient_of_what_a_transform_trains_is_that_of_the_loss() {
    for apply in [
        "apply(base, transform.lora(rank: 2))",
        "apply(base, transform.bone(rank: 5))",
        "apply(base, transform.bat(rank: 4))",
        "apply(frozen(base), transform.pissa(rank: 3))",
        "apply(base, transform.lora(rank: 2), on: \"*.q_proj.weight\")",
        "apply(apply(base, transform.bone(rank: 4)), transform.lora(rank: 2), on: matrices(base, except: last))",
    ] {
        // Under a name, since a model that is seen through a transform has one.
        let apply = apply.replace(
            "apply(apply(base, transform.bone(rank: 4)),",
            "apply(inner,",
        );
        let program = match apply.contains("inner") {
            true => {
                format!("{apply}\n            let inner = apply(base, transform.bone(rank: 4))")
            }
            false => apply,
        };
        assert_descends(&program);
    }
}

#[test]
fn an_adapter_starts_as_its_base_and_leaves_it_as_it_was() {
    let apply = "apply(base, transform.lora(rank: 4, alpha: 8))";
    let before = told(&adapting(apply, 1e-30, 1), 3, Kind::Float);
    assert_eq!(before.metric("gap"), [0.0]);
    let after = told(&adapting(apply, 1.0, 5), 3, Kind::Float);
    assert!(after.losses()[4] < after.losses()[0]);
    assert!(after.metric("gap")[4] > 0.0);
    for (name, value) in &before.weights {
        let tail = name.strip_prefix("base/");
        if tail.is_some() {
            assert_eq!(*value, *weight(&after, name), "{name}");
        }
    }
    let tuned = format!("tuned/{QUERY}");
    assert!(moved(&before, &after, &tuned) > 0.0);
    assert_eq!(
        moved(&before, &after, "tuned/model.embed_tokens.weight"),
        0.0
    );
}

#[test]
fn both_executors_train_the_same() {
    for apply in [
        "apply(base, transform.lora(rank: 4))",
        "apply(base, transform.bat(rank: 4))",
    ] {
        let program = adapting(apply, 0.5, 4);
        let runs = [ExecutorChoice::Eager, ExecutorChoice::Fused]
            .map(|executor| told_by(executor, &program, 0, Kind::Double).unwrap());
        for (one, other) in runs[0].losses().iter().zip(runs[1].losses()) {
            assert!((one - other).abs() < 1e-9, "{one} {other}");
        }
    }
}

#[test]
fn a_base_that_is_named_is_trained_with_its_adapter() {
    let both = |targets: &str| {
        adapting("apply(base, transform.lora(rank: 2))", 1e-6, 2)
            .replace("train tuned", &format!("train {targets}"))
    };
    let run = told(&both("tuned, base"), 3, Kind::Double);
    let norm = run.steps[0].trained[0].grad_norm;
    let lowered = (run.losses()[0] - run.losses()[1]) / 1e-6;
    assert!(
        (lowered / norm.powi(2) - 1.0).abs() < 1e-3,
        "{lowered} {norm}"
    );
    // At the start b is 0, so that the whole base has the gradient that it has without an adapter.
    let plain = both("base").replace("logp(tuned, demos))\n", "logp(base, demos))\n");
    let plain = told(&plain, 3, Kind::Double);
    let of_base = plain.steps[0].trained[0].grad_norm;
    let of_adapter = told(&both("tuned"), 3, Kind::Double).steps[0].trained[0].grad_norm;
    let joint = (of_base.powi(2) + of_adapter.powi(2)).sqrt();
    assert!((norm - joint).abs() < 1e-9, "{norm} {joint}");
}

#[test]
fn a_transform_without_params_trains_the_weights_under_it() {
    let program = adapting("apply(base, doubled())", 1e-6, 2);
    let program = format!(
        "transform doubled(weight: real[row, col]) -> real[row, col] {{ 2 * weight }}\n{program}"
    );
    let run = told(&program, 3, Kind::Double);
    let norm = run.steps[0].trained[0].grad_norm;
    let lowered = (run.losses()[0] - run.losses()[1]) / 1e-6;
    assert!(
        (lowered / norm.powi(2) - 1.0).abs() < 1e-3,
        "{lowered} {norm}"
    );
    let (base, seen) = (
        weight(&run, &format!("base/{QUERY}")),
        weight(&run, &format!("tuned/{QUERY}")),
    );
    assert_eq!(2 * base, *seen);
}

#[test]
fn a_frozen_base_stays_while_the_model_is_trained_on() {
    let program = format!(
        "pipeline p {{
            {MODEL}
            stage first {{
                let demos = sampler.demonstrations(task, prompts: 8)
                train base {{ minimize loss.nll(logp(base, demos)) with optimizer.sgd(lr: 0.5) steps 3 }}
            }}
            stage second {{
                let tuned = apply(frozen(base), transform.pissa(rank: 2))
                let demos = sampler.once(sampler.demonstrations(task, prompts: 8))
                train base {{ minimize loss.nll(logp(base, demos)) with optimizer.sgd(lr: 0.5) steps 3 }}
                train tuned {{ minimize loss.nll(logp(tuned, demos)) with optimizer.sgd(lr: 0) steps 3 }}
                report nll = loss.nll(logp(tuned, demos)), start = loss.nll(logp(frozen(base), demos))
            }}
        }}"
    );
    let run = told(&program, 0, Kind::Double);
    let (nll, start) = (run.metric("nll"), run.metric("start"));
    // The initial values are of the weights that the first stage left.
    assert!(
        nll.iter()
            .zip(&start)
            .all(|(one, other)| (one - other).abs() < 1e-9),
        "{nll:?} {start:?}"
    );
}

#[test]
fn rollouts_gradients_and_values_are_of_the_weights_as_they_are_seen() {
    let program = format!(
        "pipeline p {{
            {MODEL}
            let tuned = apply(base, transform.lora(rank: 2))
            stage s {{
                let drawn = sampler.rollout(tuned, task, prompts: 4, samples: 2, max_tokens: 4)
                let score = reward.exact_answer(drawn.text, drawn.answer)
                let worth = value(tuned, drawn)
                let l     = mean(logp(tuned, drawn) * stop_grad(0.5 + worth)) + mean((worth - 1)^2)
                train tuned {{
                    minimize l
                    with optimizer.sgd(lr: 0.1) on matrices(tuned), optimizer.sgd(lr: 0.3) on others(tuned)
                    steps 3
                }}
                report slope = norm(grad(l, wrt: tuned)), worth = mean(worth), score = mean(score)
            }}
        }}"
    );
    for kind in [Kind::Double, Kind::Float] {
        let run = told(&program, 0, kind);
        for step in &run.steps {
            assert!(step.logp_gap.unwrap() < 1e-4, "{:?}", step.logp_gap);
        }
        assert!(
            run.metric("slope")
                .iter()
                .all(|slope| slope.is_finite() && *slope > 0.0)
        );
        // The value head is new, and is trained with the adapter.
        assert!(run.metric("worth")[2] != 0.0);
    }
}

#[test]
fn weights_are_computed_in_the_kind_of_the_model() {
    let program = adapting("apply(base, transform.lora(rank: 2))", 0.5, 4)
        .replace("ffn: 24)", "ffn: 24, dtype: \"bf16\", recompute: true)");
    let run = told(&program, 0, Kind::Float);
    assert_eq!(run.metric("gap").len(), 4);
    assert!(run.losses()[3] < run.losses()[0], "{:?}", run.losses());
}

#[test]
fn small_models_are_seen_through_transforms_too() {
    let program = |apply: &str, targets: &str| {
        format!(
            "transform compander(weight: real[row, col], a: real = 2.0, b: real = 1.5) -> real[row, col] {{
                a * atan(weight / b)
            }}
            pipeline p {{
                let task = data.conflicting_pairs(inputs: 3, pairs: 40)
                let net  = model.mlp(inputs: 3, hidden: [4])
                let seen = {apply}
                stage s {{
                    let ahead = value(seen, task.a) - value(seen, task.b)
                    let l     = -mean(log_sigmoid(at(task.preference, objective: 0) * ahead))
                    train {targets} {{ minimize l with optimizer.sgd(lr: 1e-6) steps 2 }}
                    report gap = max(abs(value(seen, task.a) - value(net, task.a))), slope = norm(grad(l, wrt: seen))
                }}
            }}"
        )
    };
    for (apply, starts_as_its_base) in [
        ("apply(net, transform.lora(rank: 2))", true),
        (
            "apply(net, transform.lora(rank: 2), on: matrices(net, except: last))",
            true,
        ),
        ("apply(net, transform.bone(rank: 2), on: \"weight\")", true),
        ("apply(net, transform.pissa(rank: 2))", true),
        (
            "apply(apply(net, compander()), transform.bat(rank: 1))",
            false,
        ),
        ("apply(net, compander())", false),
    ] {
        for targets in ["seen", "seen, net"] {
            let run = told(&program(apply, targets), 3, Kind::Double);
            let norm = run.steps[0].trained[0].grad_norm;
            let lowered = (run.losses()[0] - run.losses()[1]) / 1e-6;
            assert!(norm > 1e-3, "{apply}: {norm}");
            assert!(
                (lowered / norm.powi(2) - 1.0).abs() < 1e-3,
                "{apply}, {targets}: {lowered} {norm}"
            );
            assert_eq!(run.metric("gap")[0] < 1e-4, starts_as_its_base, "{apply}");
            if targets == "seen" {
                let slope = run.metric("slope")[0];
                assert!(
                    (slope - norm).abs() < 1e-4 * norm,
                    "{apply}: {slope} {norm}"
                );
            }
        }
    }
}

fn message(program: &str) -> String {
    try_told(program, 0, Kind::Float)
        .unwrap_err()
        .fault
        .to_string()
}

#[test]
fn what_does_not_fit_a_model_is_said_before_the_first_step() {
    let with = |apply: &str| message(&adapting(apply, 0.1, 1));
    let found = with("apply(base, transform.lora(), on: \"*.query.weight\")");
    assert!(found.contains("selects no weight"), "{found}");
    let found = with("apply(base, transform.lora(), on: \"model.norm.weight\")");
    assert!(found.contains("is for matrices"), "{found}");
    let found = with("apply(base, transform.bat(rank: 5))");
    assert!(found.contains("cannot be split"), "{found}");
    let found = with("apply(base, transform.lora(), from: \"./nowhere\")");
    assert!(found.contains("nowhere"), "{found}");
}
