//! Folders that are wrong, by mistake or by intent: a clear error, and no memory beyond what the files have.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rlp_runtime::pretrained::{Pretrained, Prompting};
use serde_json::{Value as Json, json};
use tch::{Device, Kind};

use super::folder::{copied, scratch};

/// All that opening a model does, and its first prompt.
fn read(path: &Path) -> Result<(), String> {
    tch::set_num_threads(1);
    let read = || {
        let opened = Pretrained::open(path)?;
        for is_chat in [false, true] {
            let system = String::new();
            let tokenizer = opened.tokenizer(Prompting { is_chat, system })?;
            let prompt = tokenizer.prompt("12+34= <s>")?;
            tokenizer.decode(&prompt)?;
            tokenizer.response("12+34=", "46")?;
        }
        opened.load(None, None, Device::Cpu).map(drop)
    };
    read().map_err(|fault: rlp_runtime::error::Fault| fault.to_string())
}

#[track_caller]
fn assert_refused(path: &Path, expected: &str) {
    let found = read(path).expect_err("a fault");
    assert!(found.contains(expected), "{found}\nhas no: {expected}");
}

fn edit(path: &Path, change: impl FnOnce(&mut Json)) {
    let mut json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn what_is_not_known_of_a_configuration_is_refused() {
    let cases = [
        (
            "model_type",
            json!("mamba"),
            "the family `mamba` is not supported; those that are: llama, mistral, qwen2, qwen3, gemma2, gemma3_text",
        ),
        (
            "model_type",
            json!(7),
            "`model_type` must be a text, found 7",
        ),
        (
            "architectures",
            json!(["LlamaForSequenceClassification"]),
            "where a language model is `LlamaForCausalLM`",
        ),
        (
            "hidden_act",
            json!("relu2"),
            "the activation `relu2` is not supported",
        ),
        (
            "quantization_config",
            json!({"bits": 4}),
            "`quantization_config` is {\"bits\":4}, which rlpc does not know",
        ),
        (
            "attention_dropout",
            json!(0.1),
            "`attention_dropout` is not supported",
        ),
        ("dtype", json!("float8"), "`dtype` is `float8`"),
        (
            "rope_parameters",
            json!({"rope_type": "yarn", "factor": 4.0}),
            "rotary positions of the type `yarn` are not supported",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "llama3", "factor": 4.0}),
            "`rope_parameters.low_freq_factor` is missing",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default", "mscale": 2.0}),
            "`rope_parameters.mscale` is 2.0, which rlpc does not know",
        ),
        (
            "num_hidden_layers",
            json!(1_000_000_000_000_i64),
            "`num_hidden_layers` must be a whole number from 1 to 4096",
        ),
        (
            "num_hidden_layers",
            json!(4096),
            "the weight `model.layers.2.input_layernorm.weight` is missing",
        ),
        (
            "num_hidden_layers",
            json!(1),
            "`model.layers.1.input_layernorm.weight` is no weight of a model like this",
        ),
        (
            "hidden_size",
            json!(16.5),
            "`hidden_size` must be a whole number",
        ),
        (
            "hidden_size",
            json!(-16),
            "`hidden_size` must be a whole number",
        ),
        ("hidden_size", json!(null), "`hidden_size` is missing"),
        (
            "hidden_size",
            json!(1 << 24),
            "where the model has [110, 16777216]",
        ),
        (
            "head_dim",
            json!(1 << 24),
            "has the shape [16, 16] where the model has [67108864, 16]",
        ),
        (
            "num_attention_heads",
            json!(3),
            "`kv_heads` must divide `heads`",
        ),
        (
            "vocab_size",
            json!(1 << 24),
            "where the model has [16777216, 16]",
        ),
        (
            "vocab_size",
            json!([[[]]]),
            "`vocab_size` must be a whole number from 1 to 16777216, found [[[]]]",
        ),
        (
            "eos_token_id",
            json!(-1),
            "`eos_token_id` must be a token id",
        ),
        (
            "tie_word_embeddings",
            json!(true),
            "`lm_head.weight` differs from the embedding",
        ),
        (
            "attention_bias",
            json!(true),
            "the weight `model.layers.0.self_attn.q_proj.bias` is missing",
        ),
    ];
    for (field, value, expected) in cases {
        let path = copied("llama", "configured");
        fs::remove_file(path.join("generation_config.json")).unwrap();
        edit(&path.join("config.json"), |config| config[field] = value);
        assert_refused(&path, expected);
    }
    let path = copied("gemma3", "layered");
    edit(&path.join("config.json"), |config| {
        config["layer_types"] = json!(["full_attention"])
    });
    assert_refused(&path, "`layer_types` names 1 layers where the model has 2");
    let path = copied("llama", "ended");
    edit(&path.join("generation_config.json"), |config| {
        config["eos_token_id"] = json!([2, 999])
    });
    assert_refused(
        &path,
        "`eos_token_id` 999 is outside the 110 tokens of the model",
    );
}

#[test]
fn files_that_are_missing_or_nest_too_deep_are_named() {
    let files = ["config.json", "tokenizer.json", "model.safetensors"];
    for file in files {
        let path = copied("llama", "missing");
        fs::remove_file(path.join(file)).unwrap();
        assert_refused(&path, file);
    }
    let deep = "[".repeat(1 << 20);
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        let path = copied("llama", "deep");
        fs::write(path.join(file), format!("{{\"model\": {deep}")).unwrap();
        assert_refused(&path, "recursion limit exceeded");
    }
    let path = copied("llama", "pickled");
    fs::rename(
        path.join("model.safetensors"),
        path.join("pytorch_model.bin"),
    )
    .unwrap();
    assert_refused(
        &path,
        "holds neither `model.safetensors` nor `model.safetensors.index.json`",
    );
    assert_refused(&scratch("empty"), "holds no `config.json`");
    assert_refused(&path.join("config.json"), "config.json");
}

#[test]
fn an_index_names_files_of_its_folder_only() {
    let cases = [
        (
            "../mistral/model-00001-of-00005.safetensors",
            "no safetensors file of this folder",
        ),
        ("/etc/passwd", "no safetensors file of this folder"),
        (
            "./model-00001-of-00005.safetensors",
            "no safetensors file of this folder",
        ),
        ("a/b.safetensors", "no safetensors file of this folder"),
        ("..", "no safetensors file of this folder"),
        ("", "no safetensors file of this folder"),
        ("model.bin", "no safetensors file of this folder"),
        ("other.safetensors", "other.safetensors"),
        (
            "model-00002-of-00005.safetensors",
            "does not hold `lm_head.weight`",
        ),
    ];
    for (file, expected) in cases {
        let path = copied("mistral", "indexed");
        edit(&path.join("model.safetensors.index.json"), |index| {
            index["weight_map"]["lm_head.weight"] = json!(file);
        });
        assert_refused(&path, expected);
    }
    let path = copied("mistral", "unnamed");
    edit(&path.join("model.safetensors.index.json"), |index| {
        index["weight_map"]
            .as_object_mut()
            .unwrap()
            .remove("lm_head.weight");
    });
    assert_refused(&path, "the weight `lm_head.weight` is missing");
}

/// A safetensors file of a header and what follows it.
fn safetensors(header: &str, length: u64, elements: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), header.as_bytes(), elements].concat()
}

#[test]
fn headers_promise_no_more_than_there_is() {
    let tensor = |shape: &str, end: &str| {
        let dtype = r#""dtype":"F32""#;
        format!(r#"{{"model.norm.weight":{{{dtype},"shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let honest = tensor("[16]", "64");
    let headers = [
        (tensor("[1073741824,1073741824]", "64"), None),
        (
            tensor("[18446744073709551615,18446744073709551615]", "64"),
            None,
        ),
        (tensor("[16]", "18446744073709551615"), None),
        (tensor("[17]", "68"), None),
        (tensor("[-1]", "64"), None),
        (tensor(&"[".repeat(100_000), "64"), None),
        (String::new(), None),
        ("{}".to_string(), None),
        (honest.clone(), Some(u64::MAX)),
        (honest.clone(), Some(90_000_000)),
        (honest, Some(3)),
    ];
    for (header, length) in headers {
        let path = copied("llama", "header");
        let length = length.unwrap_or(header.len() as u64);
        let file = safetensors(&header, length, &[0; 64]);
        fs::write(path.join("model.safetensors"), file).unwrap();
        assert_refused(&path, "it is no safetensors file");
    }
    let path = copied("llama", "short");
    fs::write(path.join("model.safetensors"), [1, 2, 3]).unwrap();
    assert_refused(&path, "its header is missing or too large");
    // A file without bytes cannot be mapped on every system.
    fs::write(path.join("model.safetensors"), []).unwrap();
    assert_refused(&path, "model.safetensors");
}

#[test]
fn templates_neither_hang_nor_reach_outside() {
    let cases = [
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            "fuel",
        ),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "the chat template fails",
        ),
        ("{{ 'a' * 10000000000 }}", "the chat template fails"),
        ("{% include '/etc/passwd' %}", "the chat template is none"),
        ("{{ messages.pop() }}", "the chat template fails"),
        ("{% if %}", "the chat template is none"),
        ("{{ raise_exception('only users') }}", "only users"),
    ];
    for (template, expected) in cases {
        let path = copied("llama", "template");
        fs::write(path.join("chat_template.jinja"), template).unwrap();
        assert_refused(&path, expected);
    }
    let path = copied("llama", "untemplated");
    fs::remove_file(path.join("chat_template.jinja")).unwrap();
    assert_refused(&path, "has no chat template, which `chat: true` asks for");
}

/// Each would take from gigabytes to far more than there is.
#[test]
fn templates_use_no_more_memory_than_their_fuel() {
    let before = resident_peak();
    let long = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}STEP{% endfor %}{{ ns.x|length }}";
    let doubled = [
        "{% set ns.x = ns.x ~ ns.x %}",
        "{% set ns.x = ns.x + ns.x %}",
        "{% set ns.x = ns.x * 8 %}",
        "{% set ns.x = ns.x.replace('a', ns.x) %}",
        "{% set ns.x = ns.x|replace('a', ns.x) %}",
        "{% set ns.x = [ns.x, ns.x]|join(ns.x) %}",
        "{% set ns.x = [ns.x, ns.x]|string %}",
        "{% set ns.x = '%s%s'|format(ns.x, ns.x) %}",
        "{% set ns.x = ns.x|indent(100000, true) %}",
        "{% set ns.x = (ns.x ~ ns.x)|upper %}",
        "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}",
        "{% set ns.x = (ns.x ~ ns.x).split('b')[0] %}",
        "{% set ns.x = (ns.x ~ ns.x)|list|join('') %}",
        "{{ ns.x }}{% set ns.x = ns.x ~ ns.x %}",
    ];
    let single = [
        "{{ 'a' * 90000000 }}{{ ('a' * 90000000).split('a')|length }}",
        "{{ ('a' * 90000000)|list|length }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000000)|length }}",
        "{{ ([1] * 90000000)|list|length }}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('aaaa') }}",
        "{{ [[1] * 10000000, [2] * 10000000]|tojson }}",
    ];
    let all = doubled.iter().map(|step| long.replace("STEP", step));
    for template in all.chain(single.iter().map(|one| (*one).to_string())) {
        let path = copied("llama", "growing");
        fs::write(path.join("chat_template.jinja"), &template).unwrap();
        let found = read(&path).expect_err(&template);
        assert!(found.contains("the chat template fails"), "{found}");
    }
    let grown = resident_peak() - before;
    assert!(grown < 1 << 30, "{grown} bytes more");
}

#[test]
fn tokenizers_make_no_text_endless() {
    let before = resident_peak();
    let replace = |times: usize| json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(times)});
    let sequence = |name: &str, parts: Vec<Json>| json!({"type": "Sequence", name: parts});
    let pieces = vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 5000];
    let cases = [
        (
            "normalizer",
            replace(1 << 20),
            "its normalizer makes a text up to 1048577 times as long",
        ),
        (
            "normalizer",
            sequence("normalizers", vec![replace(2); 40]),
            "its normalizer makes a text up to 12157665459056928801 times as long",
        ),
        (
            "decoder",
            sequence("decoders", vec![replace(2); 200]),
            "its decoder makes a text up to 18446744073709551615 times as long",
        ),
        (
            "post_processor",
            json!({"type": "TemplateProcessing", "single": pieces, "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}}),
            "its post-processor makes a text up to 5000 times as long",
        ),
    ];
    for (field, value, expected) in cases {
        let path = copied("llama", "endless");
        edit(&path.join("tokenizer.json"), |tokenizer| {
            tokenizer[field] = value;
        });
        assert_refused(&path, expected);
    }
    // What would be filled up to a size of the file's choice is not.
    let path = copied("llama", "filled");
    edit(&path.join("tokenizer.json"), |tokenizer| {
        tokenizer["padding"] = json!({
            "strategy": {"Fixed": 4_000_000_000_u64}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>",
        });
    });
    read(&path).unwrap();
    let grown = resident_peak() - before;
    assert!(grown < 512 << 20, "{grown} bytes more");
}

/// A pipe would be waited for, a device never ends.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    for file in [
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "model.safetensors",
    ] {
        let path = copied("llama", "pipe");
        fs::remove_file(path.join(file)).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path.join(file))
            .status();
        assert!(made.unwrap().success());
        assert_refused(&path, "it is no file");
        fs::remove_file(path.join(file)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path.join(file)).unwrap();
        assert_refused(&path, "it is no file");
    }
    // Those that the hub keeps are links to files elsewhere.
    let (path, elsewhere) = (copied("llama", "linked"), scratch("elsewhere"));
    for entry in fs::read_dir(&path).unwrap() {
        let (from, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        fs::rename(&from, elsewhere.join(&name)).unwrap();
        std::os::unix::fs::symlink(elsewhere.join(&name), from).unwrap();
    }
    read(&path).unwrap();
}

/// Mapped into memory, the file would end the process here.
#[test]
fn weights_that_are_cut_after_they_were_opened_are_an_error() {
    let path = copied("llama", "cut");
    let opened = Pretrained::open(&path).unwrap();
    let file = fs::File::options()
        .write(true)
        .open(path.join("model.safetensors"));
    let file = file.unwrap();
    for length in [file.metadata().unwrap().len() - 1, 9000, 8, 0] {
        file.set_len(length).unwrap();
        for kind in [Kind::Float, Kind::BFloat16] {
            let loaded = opened.load(Some(kind), None, Device::Cpu);
            let fault = loaded.map(drop).expect_err("a fault").to_string();
            assert!(fault.contains("it was cut while it was read"), "{fault}");
        }
    }
}

/// Bytes removed, repeated or replaced somewhere in a file.
#[derive(Clone, Debug)]
struct Damage {
    file: &'static str,
    place: prop::sample::Index,
    removed: usize,
    inserted: Vec<u8>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let files = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
        "generation_config.json",
    ];
    let pieces = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(vec![
            "null",
            "-1",
            "1e400",
            "[]",
            "{}",
            "\"\"",
            "18446744073709551616",
            "4294967295",
            "true",
            ",",
            "\"a\":",
            "{{",
            "%}",
            "0",
            "\\ud800",
            "\"id\":4000000000",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    let file = prop::sample::select(files.to_vec());
    (file, any::<prop::sample::Index>(), 0usize..20, pieces).prop_map(
        |(file, place, removed, inserted)| Damage {
            file,
            place,
            removed,
            inserted,
        },
    )
}

fn resident_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() << 10
}

#[test]
fn damaged_files_are_refused_or_read_but_never_panic() {
    let path = copied("llama", "damaged");
    let before = resident_peak();
    let mut runner = TestRunner::new(Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&damage(), |damage| {
        let file = path.join(damage.file);
        let whole = fs::read(&file).unwrap();
        let place = damage.place.index(whole.len());
        let rest = &whole[(place + damage.removed).min(whole.len())..];
        fs::write(&file, [&whole[..place], &damage.inserted, rest].concat()).unwrap();
        let read = std::panic::catch_unwind(|| read(&path));
        fs::write(&file, whole).unwrap();
        prop_assert!(read.is_ok(), "a panic");
        Ok(())
    });
    outcome.unwrap();
    let grown = resident_peak() - before;
    assert!(grown < 512 << 20, "{grown} bytes more");
}
