//! Blocks by themselves: the standard library's own tests, and arguments from files and back.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rlp_compiler::array::Elements;
use rlp_compiler::diagnostic::Severity;
use rlp_compiler::plan::BlockPlan;
use rlp_compiler::source::Sources;
use rlp_compiler::{Settings, check, pass};
use rlp_runtime::assertion;
use rlp_runtime::block::{Content, ExecutorChoice, Inputs, Options, evaluate, write};
use rlp_runtime::error::Result;
use rlp_runtime::tensor::{Device, Kind, Tensor, Value};
use serde_json::json;

#[path = "block/bad_input.rs"]
mod bad_input;
#[path = "block/long.rs"]
mod long;

/// The standard library and nothing else.
struct Library;

impl Sources for Library {
    fn read(&self, path: &str) -> std::result::Result<Arc<str>, String> {
        let text = path.strip_prefix("std/").and_then(rlp_stdlib::file);
        text.map(Arc::from)
            .ok_or_else(|| format!("there is no {path}"))
    }

    fn resolve(&self, _: &str, written: &str) -> String {
        written.to_string()
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        rlp_stdlib::defining(kind, name).map(|path| format!("std/{path}"))
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        rlp_stdlib::names(kind).map(String::from).collect()
    }
}

#[test]
fn the_standard_library_passes_its_tests() {
    tch::set_num_threads(1);
    let mut failed = Vec::new();
    let mut count = 0;
    for (path, _) in rlp_stdlib::files() {
        let checked = check(&Library, &format!("std/{path}"), &Settings::default());
        let errors = checked
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error);
        failed.extend(errors.map(|error| format!("{path}: {}", error.message)));
        for mut test in checked.tests {
            count += 1;
            pass::run(&mut test);
            match assertion::run(&test, Device::Cpu, ExecutorChoice::Eager) {
                Ok(failures) => failed.extend(
                    failures
                        .iter()
                        .map(|failure| format!("{path}: {}: {failure:?}", test.title)),
                ),
                Err(error) => {
                    failed.push(format!("{path}: {}: {error} {:?}", test.title, error.place))
                }
            }
        }
    }
    assert!(count > 50, "only {count} tests were found");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

const OPTIONS: Options = Options {
    executor: ExecutorChoice::Eager,
    device: Device::Cpu,
    seed: 0,
    step: 1,
    steps: None,
    gradients: false,
};

fn plan(name: &str, settings: &[(&str, &str)]) -> BlockPlan {
    let settings = settings
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let (plan, _) = rlp_compiler::block(&Library, name, &Settings(settings));
    let mut plan = plan.unwrap_or_else(|diagnostics| panic!("{name}: {diagnostics:?}"));
    pass::run(&mut plan);
    plan
}

fn inputs(contents: &[(&str, Content)]) -> Inputs {
    let mut inputs = Inputs::default();
    contents
        .iter()
        .for_each(|(name, content)| inputs.insert(name, content.clone()));
    inputs
}

fn nested(value: serde_json::Value) -> Content {
    Content::Nested(value)
}

fn tensor(values: &[f64], shape: &[i64]) -> Content {
    Content::Tensor(Tensor::from_slice(values).reshape(shape))
}

fn reals(results: &Result<Vec<(String, Value)>>, name: &str) -> Vec<f64> {
    let results = results.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let (_, value) = results
        .iter()
        .find(|(own, _)| own == name)
        .unwrap_or_else(|| panic!("no `{name}`"));
    match value.to_array().unwrap().elements {
        Elements::Real(values) => values,
        other => panic!("{other:?} are not reals"),
    }
}

fn assert_close(found: &[f64], expected: &[f64], within: f64) {
    assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
    let is_close = |(found, expected): (&f64, &f64)| (found - expected).abs() <= within;
    assert!(
        found.iter().zip(expected).all(is_close),
        "{found:?} is not {expected:?}"
    );
}

fn refused(results: Result<Vec<(String, Value)>>) -> String {
    results.unwrap_err().to_string()
}

/// The worked example of `papers/common.md`, with NaN where there is no token.
fn example(kind: Kind) -> Inputs {
    const PAD: f64 = f64::NAN;
    let logp = [
        -1.0, -0.5, -2.0, -0.2, -1.5, PAD, -0.9, -0.4, PAD, -3.0, PAD, PAD,
    ];
    let old_logp = [
        -1.2, -0.5, -1.6, -0.6, -1.4, PAD, -0.8, -0.9, PAD, -2.4, PAD, PAD,
    ];
    let mask = [
        true, true, true, true, true, false, true, true, false, true, false, false,
    ];
    let of_kind = |values: &[f64], shape: &[i64]| {
        Content::Tensor(Tensor::from_slice(values).to_kind(kind).reshape(shape))
    };
    inputs(&[
        ("logp", of_kind(&logp, &[2, 2, 3])),
        ("old_logp", of_kind(&old_logp, &[2, 2, 3])),
        ("advantage", of_kind(&[1.0, -1.0, 0.5, -2.0], &[2, 2])),
        (
            "#token",
            Content::Tensor(Tensor::from_slice(&mask).reshape([2, 2, 3])),
        ),
    ])
}

/// Gradients with respect to `logp`, of `papers/common.md`.
const PPO_CLIP_GRADIENT: [f64; 12] = [
    0.0,
    -0.125,
    -0.0837900058,
    0.1864780872,
    0.1131046773,
    0.0,
    -0.0565523386,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
];

#[test]
fn both_executors_find_the_worked_example_of_ppo_clip() {
    tch::set_num_threads(1);
    let plan = plan("loss.ppo_clip", &[]);
    for executor in [ExecutorChoice::Eager, ExecutorChoice::Fused] {
        let options = Options {
            executor,
            gradients: true,
            ..OPTIONS
        };
        let double = evaluate(&plan, &example(Kind::Double), &options);
        assert_close(&reals(&double, "result"), &[0.0092404201], 1e-9);
        assert_close(&reals(&double, "grad.logp"), &PPO_CLIP_GRADIENT, 1e-9);
        assert!(
            double
                .as_ref()
                .unwrap()
                .iter()
                .all(|(name, _)| name != "grad.clip_low")
        );

        let single = evaluate(&plan, &example(Kind::Float), &options);
        assert_close(&reals(&single, "result"), &[0.0092404201], 1e-6);
        assert_eq!(single.unwrap()[0].1.tensor().unwrap().kind(), Kind::Float);
    }
}

#[test]
fn executors_agree_on_gradients_of_every_argument() {
    tch::set_num_threads(1);
    for name in [
        "loss.ppo_clip",
        "loss.grpo",
        "loss.gspo",
        "loss.cispo",
        "loss.dapo",
        "loss.ppo_dual_clip",
    ] {
        let plan = plan(name, &[]);
        let of = |executor| {
            evaluate(
                &plan,
                &example(Kind::Double),
                &Options {
                    executor,
                    gradients: true,
                    ..OPTIONS
                },
            )
        };
        let (eager, fused) = (of(ExecutorChoice::Eager), of(ExecutorChoice::Fused));
        for (name, _) in eager.as_ref().unwrap() {
            assert_close(&reals(&eager, name), &reals(&fused, name), 1e-12);
        }
    }
}

#[test]
fn lists_of_different_lengths_tell_what_is_real() {
    tch::set_num_threads(1);
    let plan = plan("loss.ppo_clip", &[]);
    let ragged = inputs(&[
        (
            "logp",
            nested(json!([
                [[-1, -0.5, -2], [-0.2, -1.5]],
                [[-0.9, -0.4], [-3]]
            ])),
        ),
        (
            "old_logp",
            nested(json!([
                [[-1.2, -0.5, -1.6], [-0.6, -1.4]],
                [[-0.8, -0.9], [-2.4]]
            ])),
        ),
        ("advantage", nested(json!([[1, -1], [0.5, -2]]))),
    ]);
    let results = evaluate(
        &plan,
        &ragged,
        &Options {
            gradients: true,
            ..OPTIONS
        },
    );
    assert_close(&reals(&results, "result"), &[0.0092404201], 1e-9);
    assert_close(&reals(&results, "grad.logp"), &PPO_CLIP_GRADIENT, 1e-9);
}

#[test]
fn a_rest_of_dimensions_has_the_axes_and_the_mask_of_its_tensor() {
    tch::set_num_threads(1);
    let plan = plan("loss.nll", &[]);
    let options = Options {
        gradients: true,
        ..OPTIONS
    };
    let first_prompt = tensor(&[-1.0, -0.5, -2.0, -0.2, -1.5, f64::NAN], &[2, 3]);
    let mask =
        Content::Tensor(Tensor::from_slice(&[true, true, true, true, true, false]).reshape([2, 3]));
    let masked = evaluate(
        &plan,
        &inputs(&[("logp", first_prompt), ("#token", mask)]),
        &options,
    );
    assert_close(&reals(&masked, "result"), &[1.04], 1e-12);
    assert_close(
        &reals(&masked, "grad.logp"),
        &[-0.2, -0.2, -0.2, -0.2, -0.2, 0.0],
        1e-12,
    );
    assert_eq!(masked.unwrap()[1].1.shape(), [2, 3]);

    let lists = nested(json!([[-1, -0.5, -2], [-0.2, -1.5]]));
    assert_close(
        &reals(
            &evaluate(&plan, &inputs(&[("logp", lists)]), &options),
            "result",
        ),
        &[1.04],
        1e-12,
    );
    let one = evaluate(&plan, &inputs(&[("logp", tensor(&[-3.0], &[]))]), &options);
    assert_close(&reals(&one, "result"), &[3.0], 0.0);
    assert_eq!(one.unwrap()[1].1.shape(), [0i64; 0]);

    let plan = self::plan("loss.mse", &[]);
    let apart = inputs(&[
        ("prediction", tensor(&[1.0; 6], &[2, 3])),
        ("target", tensor(&[1.0; 6], &[3, 2])),
    ]);
    assert_eq!(
        refused(evaluate(&plan, &apart, &options)),
        "`target` has the shape [3, 2], and `prediction` [2, 3]"
    );
}

#[test]
fn an_optimizer_takes_gradients_in_turn_and_a_parameter_of_any_shape() {
    tch::set_num_threads(1);
    let settings = [("lr", "0.1"), ("weight_decay", "0.1")];
    for (name, settings, expected) in [
        (
            "optimizer.adamw",
            &settings[..],
            [0.8619501989, -2.1557181866],
        ),
        ("optimizer.adam", &settings, [0.8613529972, -1.8407351661]),
        (
            "optimizer.sgd",
            &[settings[0], settings[1], ("momentum", "0.9")],
            [0.9066, -1.9811],
        ),
    ] {
        let plan = plan(name, settings);
        let given = inputs(&[
            ("param", tensor(&[1.0, -2.0], &[1, 1, 2])),
            ("grad.0", tensor(&[0.5, 0.1], &[1, 1, 2])),
            ("grad.1", tensor(&[-0.3, 0.2], &[1, 1, 2])),
        ]);
        let results = evaluate(&plan, &given, &OPTIONS);
        assert_close(&reals(&results, "param"), &expected, 1e-9);

        // The same by hand: the state of the first step goes into the second.
        let step = |param: Content, grad: &[f64], states: &[(String, Value)], step| {
            let mut given = inputs(&[("param", param), ("grad", tensor(grad, &[1, 1, 2]))]);
            for (name, value) in states.iter().filter(|(name, _)| name.starts_with("state.")) {
                given.insert(
                    name,
                    Content::Tensor(value.tensor().unwrap().shallow_clone()),
                );
            }
            evaluate(&plan, &given, &Options { step, ..OPTIONS }).unwrap()
        };
        let first = step(tensor(&[1.0, -2.0], &[1, 1, 2]), &[0.5, 0.1], &[], 1);
        assert_eq!(first[0].1.shape(), [1, 1, 2]);
        let param = Content::Tensor(first[0].1.tensor().unwrap().shallow_clone());
        let second = step(param, &[-0.3, 0.2], &first, 2);
        let names = results.as_ref().unwrap().iter().map(|(name, _)| name);
        names.for_each(|name| assert_eq!(reals(&Ok(second.clone()), name), reals(&results, name)));
    }
}

#[test]
fn texts_come_in_and_go_out_as_json() {
    tch::set_num_threads(1);
    let plan = plan("reward.exact_answer", &[("marker", "#")]);
    let given = inputs(&[
        ("text", nested(json!([["3;8;#8", "8", "#8#9"]]))),
        ("answer", nested(json!([["8", "8", "8"]]))),
    ]);
    assert_close(
        &reals(&evaluate(&plan, &given, &OPTIONS), "result"),
        &[1.0, 0.0, 0.0],
        0.0,
    );

    let folder = std::env::temp_dir().join(format!("rlpc-block-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = Value::from_array(
        &rlp_compiler::array::Array::text("a \"b\""),
        Kind::Double,
        Device::Cpu,
    )
    .unwrap();
    let matrix = Tensor::from_slice(&[1.5, f64::INFINITY]).reshape([1, 2]);
    let results = [
        ("text".to_string(), text),
        ("matrix".to_string(), matrix.shallow_clone().into()),
    ];
    let files = write(&folder.join("result.safetensors"), &results).unwrap();
    assert_eq!(
        files
            .iter()
            .map(|file| file.extension().unwrap().to_str().unwrap())
            .collect::<Vec<_>>(),
        ["safetensors", "json"]
    );
    let back = Inputs::read(&files).unwrap();
    assert!(matches!(back.get("matrix"), Some(Content::Tensor(tensor)) if *tensor == matrix));
    assert!(matches!(back.get("text"), Some(Content::Nested(value)) if *value == json!("a \"b\"")));
    let lists = write(&folder.join("all.json"), &results).unwrap();
    let back = Inputs::read(&lists).unwrap();
    assert!(
        matches!(back.get("matrix"), Some(Content::Nested(value)) if *value == json!([[1.5, null]]))
    );
    assert!(refused_file(&[folder.join("missing.json")]).contains("missing.json"));
    assert!(refused_file(&[files[0].clone(), lists[0].clone()]).contains("given already"));
    std::fs::write(folder.join("broken.safetensors"), "no tensors").unwrap();
    assert!(refused_file(&[folder.join("broken.safetensors")]).contains("broken.safetensors"));
    std::fs::remove_dir_all(&folder).unwrap();
}

fn refused_file(paths: &[std::path::PathBuf]) -> String {
    Inputs::read(paths).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    tch::set_num_threads(1);
    let plan = plan("loss.ppo_clip", &[]);
    let changed = |name: &str, content: Content| {
        let mut given = example(Kind::Double);
        given.insert(name, content);
        refused(evaluate(&plan, &given, &OPTIONS))
    };
    assert_eq!(
        changed("advantage", tensor(&[1.0; 6], &[3, 2])),
        "dimension `prompt` is 3 in `advantage` but 2 in `#token`"
    );
    assert_eq!(
        changed("advantage", tensor(&[1.0; 4], &[4])),
        "`advantage` is `real[prompt, sample]`, and a file has it with 1 axes"
    );
    assert_eq!(
        changed("advantage", nested(json!([[true, false], [true, false]]))),
        "`advantage` is of real, and the file has true"
    );
    assert_eq!(
        changed("advantage", nested(json!([[1, 2], [3]]))),
        "the lists of `advantage` differ in length along `sample`, which is not ragged"
    );
    assert_eq!(
        changed("old_logp", nested(json!([[[1, 1, 1], [1]], [[1], [1]]]))),
        "`old_logp` and `#token` disagree about which positions of `token` are real"
    );
    assert_eq!(
        changed(
            "clip_low",
            Content::Tensor(Tensor::from_slice(&[true]).reshape([0i64; 0]))
        ),
        "`clip_low` is of real, and a file has it of bool"
    );
    let none = evaluate(
        &plan,
        &inputs(&[("logpp", tensor(&[1.0], &[1, 1, 1]))]),
        &OPTIONS,
    )
    .unwrap_err();
    assert_eq!(none.to_string(), "no value is given for `logp`");
    assert_eq!(none.fault.help().as_deref(), Some("a file has `logpp`"));
}

#[test]
fn schedules_read_step_and_steps() {
    tch::set_num_threads(1);
    let plan = plan("schedule.linear", &[("peak", "1"), ("warmup", "2")]);
    let error = evaluate(&plan, &Inputs::default(), &OPTIONS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`schedule.linear` reads `steps`, the number of all updates"
    );
    let at = |step| {
        reals(
            &evaluate(
                &plan,
                &Inputs::default(),
                &Options {
                    step,
                    steps: Some(10),
                    ..OPTIONS
                },
            ),
            "result",
        )[0]
    };
    assert_close(&[at(1), at(2)], &[0.5, 1.0], 1e-12);
}
