//! Logits to 1e-4, greedy responses token for token, tokens and texts, weights bit for bit.

use std::path::Path;

use rlp_runtime::generate::{End, Sampling, rollout};
use rlp_runtime::model::{CausalLm, SequenceBatch, Upstream, read_tensors, write_tensors};
use rlp_runtime::pretrained::save_in_shards;
use rlp_runtime::random::{Purpose, Stream};
use serde_json::Value as Json;
use tch::{Device, Kind, Tensor};

use super::folder::{all, copied, open, scratch, shipped, tokenizer};

fn load(path: &Path) -> CausalLm {
    open(path).load(None, None, Device::Cpu).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// Each in both ways, where both compute it.
fn both_ways(path: &Path) -> Vec<CausalLm> {
    let mut plain = load(path);
    plain.without_kernels();
    vec![load(path), plain]
}

fn assert_same_logits(path: &Path) {
    let reference = read_tensors(&path.join("reference.safetensors")).unwrap();
    let (tokens, logits) = (&reference["tokens"], &reference["logits"]);
    for model in both_ways(path) {
        // In bf16 two orders of the same sums are a hundredth apart.
        let near = if model.kind() == Kind::BFloat16 {
            0.1
        } else {
            1e-4
        };
        let full = model.logits_with_graph(&model.leaves(false), tokens);
        assert!(gap(&full, logits) < near, "{}", path.display());
        let rows = Vec::<Vec<i64>>::try_from(tokens).unwrap();
        let rows: Vec<(&[i64], &[i64])> = rows.iter().map(|row| row.split_at(1)).collect();
        let pass = model.forward(&SequenceBatch::new(&rows, 1.0, Device::Cpu), false);
        let predicting = logits.narrow(1, 0, logits.size()[1] - 1);
        assert!(
            gap(&pass.logits(), &predicting) < near,
            "{}",
            path.display()
        );
        let all = predicting.log_softmax(-1, None);
        let targets = tokens.narrow(1, 1, tokens.size()[1] - 1).unsqueeze(-1);
        let logp = all.gather(-1, &targets, false).squeeze_dim(-1);
        assert!(gap(&pass.logp(), &logp) < near, "{}", path.display());
    }
}

fn rows(json: &Json) -> Vec<Vec<i64>> {
    serde_json::from_value(json.clone()).unwrap()
}

fn texts(json: &Json) -> Vec<String> {
    serde_json::from_value(json.clone()).unwrap()
}

/// Prompts as the tokenizer and the chat template make them, the responses to all of them at once, and their texts.
fn assert_same_responses(path: &Path) {
    let reference = std::fs::read(path.join("reference.json")).unwrap();
    let reference: Json = serde_json::from_slice(&reference).unwrap();
    let (questions, prompts) = (texts(&reference["texts"]), rows(&reference["prompts"]));
    let opened = open(path);
    let mut ways = vec![
        (false, "", prompts.clone()),
        (true, "", rows(&reference["chats"])),
    ];
    if !reference["advised"].is_null() {
        ways.push((true, " Be brief. ", rows(&reference["advised"])));
    }
    for (is_chat, system, expected) in &ways {
        let tokenizer = tokenizer(&opened, *is_chat, system);
        for (question, expected) in questions.iter().zip(expected) {
            let name = path.display();
            assert_eq!(&tokenizer.prompt(question).unwrap(), expected, "{name}");
        }
    }
    let tokenizer = tokenizer(&opened, false, "");
    let sampling = Sampling {
        samples: 2,
        max_tokens: 20,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
    };
    let stream = Stream::new(0, Purpose::Sample);
    let end = End::at(tokenizer.ends());
    for model in both_ways(path) {
        if model.kind() == Kind::BFloat16 {
            // One near tie that falls the other way changes all that follows.
            continue;
        }
        let drawn = rollout(&model, &prompts, &sampling, end, stream).unwrap();
        let greedy = rows(&reference["greedy"]);
        let written = texts(&reference["written"]);
        for (index, response) in drawn.batch.responses().iter().enumerate() {
            let name = path.display();
            assert_eq!(response, &greedy[index / 2], "{name}, prompt {}", index / 2);
            assert_eq!(
                tokenizer.decode(response).unwrap(),
                written[index / 2],
                "{name}"
            );
        }
    }
}

/// A step that changes every weight.
fn change(model: &mut CausalLm) {
    tch::no_grad(|| {
        for parameter in model.parameters_mut() {
            parameter.value += 0.01;
        }
    });
}

fn is_sharded(name: &str) -> bool {
    ["qwen2", "gemma3"].contains(&name)
}

/// Saves what a model has become, and beside it what `transformers` should then find.
fn save_changed(path: &Path, to: &Path) {
    let mut model = load(path);
    change(&mut model);
    model.add_value_head();
    let name = path.file_name().unwrap().to_str().unwrap();
    // As a large model is saved, and as a small one.
    let most = if is_sharded(name) { 10_000 } else { 1 << 30 };
    save_in_shards(&model, path, &to.join(name), most).unwrap();
    let index = to.join(name).join("model.safetensors.index.json");
    assert_eq!(index.exists(), is_sharded(name));
    let own = model.parameters().iter();
    let own = own.filter(|own| own.name != "value_head.weight");
    let values = own.map(|own| (own.name.as_str(), &own.value));
    write_tensors(&to.join(format!("{name}.expected.safetensors")), values).unwrap();
}

#[test]
fn every_family_says_what_transformers_says() {
    for path in shipped() {
        assert_same_logits(&path);
    }
}

#[test]
fn every_family_responds_as_transformers_does() {
    for path in shipped() {
        assert_same_responses(&path);
    }
}

#[test]
fn what_is_saved_is_read_again_with_the_same_bits() {
    let to = scratch("saved");
    for path in shipped() {
        save_changed(&path, &to);
        let name = path.file_name().unwrap();
        let (saved, mut own) = (load(&to.join(name)), load(&path));
        change(&mut own);
        for (saved, own) in saved.parameters().iter().zip(own.parameters()) {
            assert_eq!(saved.name, own.name);
            assert!(saved.value.equal(&own.value), "{}", saved.name);
        }
        assert_same_responses_are_encoded(&to.join(name), &path);
    }
}

fn assert_same_responses_are_encoded(saved: &Path, own: &Path) {
    let [saved, own] = [saved, own].map(|path| tokenizer(&open(path), true, ""));
    let (question, answer) = ("12+34=", "46");
    let response = own.response(question, answer).unwrap();
    assert_eq!(saved.response(question, answer).unwrap(), response);
    // The chat template closes an answer by `<|end|>`, which is the second of the end tokens.
    assert_eq!((saved.closing(), own.closing()), (4, 4));
    assert_eq!(own.decode(&response).unwrap(), answer);
}

#[test]
fn layers_computed_again_give_the_same_gradients() {
    for path in shipped() {
        let reference = read_tensors(&path.join("reference.safetensors")).unwrap();
        let rows = Vec::<Vec<i64>>::try_from(&reference["tokens"]).unwrap();
        let rows: Vec<(&[i64], &[i64])> = rows.iter().map(|row| row.split_at(3)).collect();
        let batch = SequenceBatch::new(&rows, 0.8, Device::Cpu);
        let gradients = |model: &CausalLm| {
            let logp = Tensor::arange(16, (Kind::Double, Device::Cpu)).view([2, 8]) * 0.1 - 0.5;
            model.forward(&batch, true).backward(&Upstream {
                logp: Some(logp.shallow_clone()),
                entropy: Some(logp),
                ..Upstream::default()
            })
        };
        let load = || {
            let model = open(&path).load(Some(Kind::Double), None, Device::Cpu);
            model.unwrap()
        };
        let (mut plain, mut recomputing) = (load(), load());
        plain.without_kernels();
        recomputing.recompute();
        let own = gradients(&plain);
        let others = [gradients(&recomputing), gradients(&load())];
        for other in &others {
            for (own, other) in own.iter().zip(other) {
                assert!(gap(own, other) < 1e-9, "{}", path.display());
            }
        }
        assert!(
            own.iter()
                .all(|own| own.abs().max().double_value(&[]) > 0.0)
        );
    }
}

/// Where `cargo xtask transformers` has models made, and where it looks for what was saved.
fn made() -> (std::path::PathBuf, std::path::PathBuf) {
    let folder = |name| std::path::PathBuf::from(std::env::var_os(name).unwrap());
    (folder("RLPC_MODELS"), folder("RLPC_SAVED"))
}

#[test]
#[ignore = "needs models that `cargo xtask transformers` makes"]
fn models_made_anew_are_as_transformers_says() {
    let (models, saved) = made();
    for path in all(&models) {
        assert_same_logits(&path);
        assert_same_responses(&path);
        save_changed(&path, &saved);
    }
}

/// What the families' own configurations looked like before `transformers` 5.
#[test]
fn older_configurations_say_the_same() {
    type Change = fn(&mut serde_json::Map<String, Json>);
    let older: [(&str, Change); 4] = [
        ("llama", |config| {
            let mut rope = config.remove("rope_parameters").unwrap();
            let rope = rope.as_object_mut().unwrap();
            config.insert("rope_theta".into(), rope.remove("rope_theta").unwrap());
            config.insert("rope_scaling".into(), rope.clone().into());
            config.remove("head_dim");
        }),
        ("qwen2", |config| {
            let rope = config.remove("rope_parameters").unwrap();
            config.insert("rope_theta".into(), rope["rope_theta"].clone());
            config.insert("rope_scaling".into(), Json::Null);
            config.insert("sliding_window".into(), 32768.into());
            config.insert("use_mrope".into(), false.into());
            config.remove("layer_types");
        }),
        ("gemma2", |config| {
            let rope = config.remove("rope_parameters").unwrap();
            config.insert("rope_theta".into(), rope["rope_theta"].clone());
            config.insert("hidden_act".into(), "gelu_pytorch_tanh".into());
            config.insert("cache_implementation".into(), "hybrid".into());
            config.remove("layer_types");
            config.remove("tie_word_embeddings");
        }),
        ("gemma3", |config| {
            let rope = config.remove("rope_parameters").unwrap();
            let (far, near) = (&rope["full_attention"], &rope["sliding_attention"]);
            config.insert("rope_theta".into(), far["rope_theta"].clone());
            config.insert("rope_local_base_freq".into(), near["rope_theta"].clone());
            let scaling = serde_json::json!({"rope_type": "linear", "factor": 8.0});
            config.insert("rope_scaling".into(), scaling);
            config.remove("layer_types");
            config.remove("_sliding_window_pattern");
            config.insert("sliding_window_pattern".into(), 2.into());
        }),
    ];
    for (model, change) in older {
        let path = copied(model, &format!("older_{model}"));
        let file = path.join("config.json");
        let mut config: Json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let fields = config.as_object_mut().unwrap();
        change(fields);
        let dtype = fields.remove("dtype").unwrap();
        fields.insert("torch_dtype".into(), dtype);
        std::fs::write(&file, config.to_string()).unwrap();
        assert_same_logits(&path);
    }
}
