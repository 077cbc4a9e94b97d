//! `run` with pretrained models: what is trained is left in the layout it came in, and can be trained further.

use std::path::{Path, PathBuf};

use rlp_runtime::model::read_tensors;
use tch::Kind;

use crate::resume::{as_of, resume, same};
use crate::{Folder, Said};

fn model(name: &str) -> PathBuf {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretrained/models");
    models.join(name)
}

fn run(folder: &Folder, file: &str, model: &Path, to: &str) -> Said {
    let set = format!("model={}", model.display());
    folder.said(&[
        "run",
        file,
        "--set",
        &set,
        "--threads",
        "1",
        "--steps",
        "2",
        "--run-dir",
        to,
    ])
}

#[test]
fn the_example_trains_every_family_and_then_what_it_left() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pretrained.rlp");
    let example = example.to_str().unwrap();
    for family in ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"] {
        let folder = Folder::new(&format!("pretrained_{family}"));
        let said = run(&folder, example, &model(family), "first");
        assert_eq!(said.code, Some(0), "{family}: {}", said.err);
        let trained = folder.0.join("first/final/policy");
        let said = run(&folder, example, &trained, "second");
        assert_eq!(said.code, Some(0), "{family}: {}", said.err);
        for file in ["config.json", "tokenizer.json", "chat_template.jinja"] {
            assert!(folder.0.join("second/final/policy").join(file).exists());
        }
    }
}

/// One stage of demonstrations; WITH is given to `model.causal_lm`.
const TUNED: &str = r#"
pipeline tuned {
    param model: text = "./model"

    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(model WITH)
    CRITIC
    stage warmup {
        train policy {
            minimize loss.nll(logp(policy, sampler.demonstrations(task, prompts: 8)))
            with     optimizer.adamw(lr: 2e-4)
            steps    20
        }
    }
}
"#;

#[test]
fn updates_smaller_than_the_step_between_two_bf16_numbers_are_not_lost() {
    let folder = Folder::new("pretrained_bf16");
    let text = TUNED
        .replace("WITH", ", dtype: \"bf16\"")
        .replace("CRITIC", "");
    folder.write("tuned.rlp", &text);
    let set = format!("model={}", model("llama").display());
    let said = folder.said(&[
        "run",
        "tuned.rlp",
        "--set",
        &set,
        "--threads",
        "1",
        "--run-dir",
        "run",
    ]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let own = read_tensors(&model("llama").join("model.safetensors")).unwrap();
    let saved = folder.0.join("run/final/policy/model.safetensors");
    let tuned = read_tensors(&saved).unwrap();
    let name = "model.layers.1.mlp.down_proj.weight";
    assert_eq!(tuned[name].kind(), Kind::BFloat16);
    // A step of 2e-4 is a tenth of that between two bf16 numbers near 0.3; twenty of them are two.
    let large = own[name].abs().ge(0.3);
    let moved = tuned[name].ne_tensor(&own[name].to_kind(Kind::BFloat16));
    let share = moved.logical_and(&large).sum(Kind::Double) / large.sum(Kind::Double);
    assert!(share.double_value(&[]) > 0.5, "{share:?}");
    let config = std::fs::read_to_string(saved.with_file_name("config.json")).unwrap();
    assert!(config.contains("\"dtype\": \"bfloat16\""), "{config}");
}

#[test]
fn a_folder_that_is_none_is_shown_where_it_is_named() {
    let folder = Folder::new("pretrained_nowhere");
    folder.write(
        "tuned.rlp",
        &TUNED.replace("WITH", "").replace("CRITIC", ""),
    );
    let said = folder.said(&["run", "tuned.rlp", "--threads", "1"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("`./model` holds no `config.json`"),
        "{}",
        said.err
    );
    assert!(said.err.contains("model.causal_lm(model )"), "{}", said.err);
}

#[test]
fn models_that_read_text_by_different_tokenizers_are_refused() {
    let folder = Folder::new("pretrained_two");
    let critic = "let critic = model.causal_lm(\"tiny\")\n";
    let text = TUNED.replace("WITH", "").replace("CRITIC", critic);
    let text = text.replace(
        "loss.nll(",
        "mean(value(critic, sampler.demonstrations(task, prompts: 8))) + loss.nll(",
    );
    folder.write("two.rlp", &text);
    let said = run(&folder, "two.rlp", &model("qwen3"), "run");
    assert_eq!(said.code, Some(1), "{}", said.err);
    let expected = "`policy` and `critic` read text by different tokenizers";
    assert!(said.err.contains(expected), "{}", said.err);
}

/// A reference that nothing trains is in the folder that it was read from, or follows from the seed: checkpoints need not hold it.
#[test]
fn what_stays_as_it_was_opened_is_named_in_checkpoints_and_not_held() {
    let folder = Folder::new("pretrained_named");
    for entry in std::fs::read_dir(model("llama")).unwrap() {
        let entry = entry.unwrap();
        let to = folder.0.join("reference");
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    folder.write(
        "p.rlp",
        &r#"
        pipeline p {
            let task      = data.arithmetic(digits: 1, ops: "+")
            let policy    = model.causal_lm("MODEL", dtype: "f32")
            let reference = model.causal_lm("./reference", dtype: "bf16")
            let fixed     = model.mlp(inputs: 2, hidden: [3])
            stage rl {
                let rollouts = sampler.rollout(policy, task, prompts: 2, samples: 2, max_tokens: 3)
                let kl       = loss.kl_k3(logp(policy, rollouts), logp(reference, rollouts))
                train policy {
                    minimize kl + mean(logp(policy, rollouts) * rollouts.length)
                    with     optimizer.adamw(lr: 1e-3)
                    steps    4
                }
                report kl = kl
            }
        }
        "#
        .replace("MODEL", model("llama").to_str().unwrap()),
    );
    let run = |out: &str, more: &[&str]| {
        let usual = [
            "run",
            "p.rlp",
            "--threads",
            "1",
            "--quiet",
            "--run-dir",
            out,
        ];
        let said = folder.said(&[&usual, more].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
    };
    run("whole", &[]);
    run("kept", &["--checkpoint-every", "1", "--keep", "9"]);
    let weights = std::fs::read_dir(folder.0.join("kept/checkpoints/2/weights")).unwrap();
    let weights: Vec<_> = weights.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(weights, ["policy.safetensors"]);
    assert!(!folder.0.join("kept/final/reference").exists());
    as_of(&folder, "kept", 2, "again");
    let said = resume(&folder, "again");
    assert_eq!(said.code, Some(0), "{}", said.err);
    same(&folder, "whole", "again");

    // Another reference would go on with other numbers.
    as_of(&folder, "kept", 2, "again");
    let file = folder.0.join("reference/model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let said = resume(&folder, "again");
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err
            .contains("the weights of `reference` are not those that the run began with"),
        "{}",
        said.err
    );
}
