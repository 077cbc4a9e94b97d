//! Adapters of models: left as `peft` has them and merged, read again, and resumed to the same bits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rlp_runtime::model::read_tensors;
use serde_json::Value as Json;
use tch::Tensor;

use crate::resume::resumed;
use crate::{Folder, Said};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretrained/models")
}

fn adapt(folder: &Folder, model: &Path, more: &[&str]) -> Said {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lora.rlp");
    let set = format!("model={}", model.display());
    let first = [
        "run",
        example.to_str().unwrap(),
        "--threads",
        "1",
        "--steps",
        "2",
        "--set",
        &set,
    ];
    folder.said(&[&first, more].concat())
}

fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    read_tensors(path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_adapter_is_left_as_peft_has_it_and_merged_into_the_model() {
    for family in ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"] {
        let folder = Folder::new(&format!("adapter_{family}"));
        let model = models().join(family);
        let lr = ["--run-dir", "out", "--set", "rank=4", "--set", "lr=0.01"];
        let said = adapt(&folder, &model, &lr);
        assert_eq!(said.code, Some(0), "{family}: {}", said.err);
        let to = folder.0.join("out/final/tuned-adapter");
        let config = fs::read(to.join("adapter_config.json")).unwrap();
        let config: Json = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            (config["r"].as_i64(), config["lora_alpha"].as_f64()),
            (Some(4), Some(8.0))
        );
        let modules = "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj";
        assert_eq!(
            config["target_modules"].as_array().unwrap().len(),
            modules.split(' ').count()
        );

        let adapter = tensors(&to.join("adapter_model.safetensors"));
        let merged = tensors(&folder.0.join("out/final/tuned/model.safetensors"));
        let query = "model.layers.1.self_attn.q_proj";
        let of = |matrix: &str| &adapter[&format!("base_model.model.{query}.lora_{matrix}.weight")];
        let (a, b) = (of("A"), of("B"));
        assert_eq!((a.size()[0], b.size()[1]), (4, 4));
        assert!(b.abs().max().double_value(&[]) > 0.0);
        let base = base_weight(&model, &format!("{query}.weight"));
        let gap = (base + b.matmul(a) * 2.0 - &merged[&format!("{query}.weight")])
            .abs()
            .max();
        assert!(gap.double_value(&[]) < 1e-6, "{family}: {gap:?}");
    }
}

fn base_weight(model: &Path, name: &str) -> Tensor {
    let files = fs::read_dir(model)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut weights = files.filter(|path| {
        path.to_string_lossy().contains("model")
            && path.extension().is_some_and(|own| own == "safetensors")
    });
    weights
        .find_map(|path| tensors(&path).remove(name))
        .unwrap()
}

/// Nothing is trained at a rate of 0, so that what is left is what was read.
const READ: &str = r#"
pipeline read {
    param model: text = "./model"
    let task  = data.arithmetic(digits: 1, ops: "+")
    let base  = model.causal_lm(model)
    let tuned = apply(base, transform.lora(rank: 4, alpha: 8), from: "./out/final/tuned-adapter")
    stage s {
        let demos = sampler.demonstrations(task, prompts: 4)
        train tuned { minimize loss.nll(logp(tuned, demos)) with optimizer.sgd(lr: 0) steps 1 }
    }
}
"#;

fn read(folder: &Folder, text: &str, model: &Path, to: &str) -> Said {
    folder.write("read.rlp", text);
    let set = format!("model={}", model.display());
    folder.said(&[
        "run",
        "read.rlp",
        "--threads",
        "1",
        "--set",
        &set,
        "--run-dir",
        to,
    ])
}

#[test]
fn an_adapter_that_was_left_is_read_again() {
    let folder = Folder::new("adapter_read");
    let model = models().join("llama");
    let said = adapt(
        &folder,
        &model,
        &["--run-dir", "out", "--set", "rank=4", "--set", "lr=0.01"],
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = read(&folder, READ, &model, "again");
    assert_eq!(said.code, Some(0), "{}", said.err);
    for file in [
        "tuned-adapter/adapter_model.safetensors",
        "tuned-adapter/adapter_config.json",
        "tuned/model.safetensors",
    ] {
        let [one, other] = ["out", "again"]
            .map(|run| fs::read(folder.0.join(run).join("final").join(file)).unwrap());
        assert!(one == other, "{file} has other bytes");
    }
    // What is not of this transform of this model is refused, with the file that says so.
    for (old, new, words) in [
        (
            "rank: 4",
            "rank: 3",
            "its rank is 4: `transform.lora(rank: 4, …)`",
        ),
        ("alpha: 8", "alpha: 9", "its alpha is 8"),
        (
            "from:",
            "on: \"*.q_proj.weight\", from:",
            "belongs to a weight",
        ),
        ("tuned-adapter\"", "tuned\"", "adapter_config.json"),
    ] {
        let said = read(&folder, &READ.replace(old, new), &model, "refused");
        assert_eq!(said.code, Some(1), "{new}");
        assert!(said.err.contains(words), "{new}: {}", said.err);
        assert!(said.err.contains("read.rlp:6"), "{}", said.err);
    }
}

/// By mistake or by intent: a sentence that names the file, and never a crash.
#[test]
fn an_adapter_that_is_none_is_refused() {
    let folder = Folder::new("adapter_hostile");
    let model = models().join("llama");
    let settings = ["--run-dir", "out", "--set", "rank=4", "--set", "lr=0.01"];
    let said = adapt(&folder, &model, &settings);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let adapter = folder.0.join("out/final/tuned-adapter");
    let (config, weights) = ("adapter_config.json", "adapter_model.safetensors");
    let refused = |file: &str, words: &str| {
        let said = read(&folder, READ, &model, "refused");
        assert_eq!(said.code, Some(1), "{file}, {words}: {}", said.err);
        assert!(
            said.err.contains(file) && said.err.contains(words),
            "{words}: {}",
            said.err
        );
        assert!(!said.err.contains("panicked"), "{}", said.err);
    };
    let whole = fs::read(adapter.join(config)).unwrap();
    let deep = format!("{{\"r\": {}", "[".repeat(1 << 20));
    for (text, words) in [
        (String::new(), "EOF"),
        ("[]".to_string(), "it is no JSON object"),
        (deep, "recursion limit exceeded"),
        (
            "{\"peft_type\": 7}".to_string(),
            "`peft_type` must be a text",
        ),
        (
            "{\"peft_type\": \"LORA\", \"r\": 1e300}".to_string(),
            "`r` must be a whole number",
        ),
        (
            "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": -1}".to_string(),
            "a number above 0",
        ),
    ] {
        fs::write(adapter.join(config), text).unwrap();
        refused(config, words);
    }
    fs::write(adapter.join(config), whole).unwrap();

    let whole = fs::read(adapter.join(weights)).unwrap();
    let huge = br#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,64]}}"#;
    let huge = [&(huge.len() as u64).to_le_bytes()[..], huge, &[0; 64]].concat();
    for bytes in [
        Vec::new(),
        whole[..100].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        vec![255; 200],
        huge,
    ] {
        fs::write(adapter.join(weights), bytes).unwrap();
        refused(weights, "");
    }
    let pipe = adapter.join(weights);
    fs::remove_file(&pipe).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    refused(weights, "it is no file");
}

/// Adapters of a model as it is, of a copy that stays while the model is trained on, with states and a value head.
const ADAPTERS: &str = r#"
pipeline adapters {
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    let tuned  = apply(policy, transform.lora(rank: 2))

    stage warmup {
        let demos = sampler.demonstrations(task, prompts: 8)
        train policy { minimize loss.nll(logp(policy, demos)) with optimizer.adamw(lr: 0.01) steps 2 }
    }
    stage adapt {
        let copied   = apply(frozen(policy), transform.pissa(rank: 2))
        let rollouts = sampler.rollout(tuned, task, prompts: 4, samples: 4, max_tokens: 3)
        let adv      = advantage.group_norm(rollouts.length)
        train tuned {
            minimize loss.ppo_clip(logp(tuned, rollouts), rollouts.logp, adv) + mean((value(tuned, rollouts) - 1)^2)
                     + 0.01 * loss.kl_k3(logp(tuned, rollouts), logp(frozen(tuned, every: 2), rollouts))
            with     optimizer.adamw(lr: 0.01)
            steps    4
            epochs   2
        }
        train policy, copied {
            minimize loss.nll(logp(policy, rollouts)) + loss.nll(logp(copied, rollouts))
            with     optimizer.adamw(lr: 0.01)
            steps    4
        }
        report length = mean(rollouts.length)
    }
}
"#;

#[test]
fn adapters_are_resumed_to_the_same_bits() {
    let folder = Folder::new("adapter_states");
    folder.write("p.rlp", ADAPTERS);
    resumed(&folder, "1", &[1, 2, 3, 4, 5]);
    // A checkpoint holds what an adapter trains, and not the weights that follow from it.
    let saved = tensors(
        &folder
            .0
            .join("kept/checkpoints/4/weights/tuned.safetensors"),
    );
    assert!(
        saved.keys().all(|name| name.ends_with(".a")
            || name.ends_with(".b")
            || name == "value_head.weight"),
        "{saved:?}"
    );
}

/// Where `cargo xtask transformers` has models made, and where it looks for what was saved.
fn made(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap())
}

#[test]
#[ignore = "needs models that `cargo xtask transformers` makes"]
fn models_made_anew_leave_adapters_that_peft_loads() {
    let to = made("RLPC_SAVED").join("adapters");
    let entries = made("RLPC_MODELS").read_dir().unwrap();
    let models = entries.map(|entry| entry.unwrap().path());
    for model in models.filter(|path| path.join("config.json").exists()) {
        let name = model.file_name().unwrap().to_str().unwrap();
        let folder = Folder::new(&format!("adapter_made_{name}"));
        let said = adapt(
            &folder,
            &model,
            &["--run-dir", "out", "--set", "rank=4", "--set", "lr=0.01"],
        );
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
        fs::create_dir_all(to.join(name)).unwrap();
        let copy = |from: PathBuf, to: PathBuf| {
            fs::create_dir_all(&to).unwrap();
            for entry in from.read_dir().unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        };
        let last = folder.0.join("out/final");
        copy(last.join("tuned"), to.join(name).join("merged"));
        copy(last.join("tuned-adapter"), to.join(name).join("adapter"));
        // And one that `peft` made comes back as it was.
        let text = READ.replace(
            "./out/final/tuned-adapter",
            model.join("adapter").to_str().unwrap(),
        );
        let said = read(&folder, &text, &model, "again");
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
        copy(
            folder.0.join("again/final/tuned-adapter"),
            to.join(name).join("again"),
        );
        copy(
            folder.0.join("again/final/tuned"),
            to.join(name).join("again_merged"),
        );
    }
}
