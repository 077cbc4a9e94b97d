//! What it takes to load a large model: memory, and time beside that of reading its file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};
use tch::{Device, Kind};

use super::folder::{copied, open};

const HIDDEN: usize = 1024;
const LAYERS: usize = 42;
const VOCAB: usize = 65_536;

/// A gigabyte in the form of Llama, in elements of `width` bytes called `dtype`, whose bits are anything that is finite.
fn write_large(path: &Path, (dtype, name, width): (&str, &str, usize)) -> u64 {
    let layers = 2 * LAYERS / width;
    let vocab = 2 * VOCAB / width;
    let config = path.join("config.json");
    let mut described: Json = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    for (field, value) in [
        ("hidden_size", json!(HIDDEN)),
        ("intermediate_size", json!(2 * HIDDEN)),
        ("num_hidden_layers", json!(layers)),
        ("num_attention_heads", json!(16)),
        ("num_key_value_heads", json!(16)),
        ("head_dim", json!(64)),
        ("vocab_size", json!(vocab)),
        ("tie_word_embeddings", json!(true)),
        ("dtype", json!(name)),
    ] {
        described[field] = value;
    }
    fs::write(&config, described.to_string()).unwrap();

    let mut header = Map::new();
    let mut end = 0;
    let mut add = |name: String, shape: &[usize]| {
        let bytes = width * shape.iter().product::<usize>();
        let offsets = [end, end + bytes];
        end += bytes;
        header.insert(
            name,
            json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}),
        );
    };
    add("model.embed_tokens.weight".to_string(), &[vocab, HIDDEN]);
    for layer in 0..layers {
        let mut add = |part: &str, shape: &[usize]| {
            add(format!("model.layers.{layer}.{part}.weight"), shape);
        };
        add("input_layernorm", &[HIDDEN]);
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(&format!("self_attn.{part}"), &[HIDDEN, HIDDEN]);
        }
        add("post_attention_layernorm", &[HIDDEN]);
        add("mlp.gate_proj", &[2 * HIDDEN, HIDDEN]);
        add("mlp.up_proj", &[2 * HIDDEN, HIDDEN]);
        add("mlp.down_proj", &[HIDDEN, 2 * HIDDEN]);
    }
    add("model.norm.weight".to_string(), &[HIDDEN]);
    let header = Json::Object(header).to_string();
    let mut file = BufWriter::new(File::create(path.join("model.safetensors")).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let block: Vec<u8> = (0..1 << 20)
        .map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x3f)
        .collect();
    let mut left = end;
    while left > 0 {
        let part = left.min(block.len());
        file.write_all(&block[..part]).unwrap();
        left -= part;
    }
    file.flush().unwrap();
    end as u64
}

fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.unwrap().trim_start_matches(':').trim();
    let kilobytes = kilobytes.trim_end_matches(" kB").parse::<u64>();
    kilobytes.unwrap() << 10
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

#[test]
#[ignore = "writes and reads a gigabyte; alone, since it measures the process: `cargo test -p rlp-runtime --test pretrained gigabyte -- --ignored --nocapture`"]
#[allow(clippy::print_stderr, reason = "what is measured is told")]
fn a_gigabyte_takes_little_more_memory_and_time_than_its_file() {
    // Once: what an earlier model had may be kept for the next one.
    let before = memory("VmRSS");
    for (form, kind) in [
        (("BF16", "bfloat16", 2), Kind::BFloat16),
        (("F32", "float32", 4), Kind::Float),
    ] {
        let path = copied("llama", "large");
        let size = write_large(&path, form);
        let file = path.join("model.safetensors");
        let (mut read, mut loaded) = (Duration::MAX, Duration::MAX);
        let mut grown = 0;
        for _ in 0..5 {
            read = read.min(timed(|| fs::read(&file).unwrap().len()).0);
            // Lets the peak begin again from what is resident now.
            fs::write("/proc/self/clear_refs", "5").unwrap();
            let load = || open(&path).load(None, None, Device::Cpu).unwrap();
            let (time, model) = timed(load);
            assert_eq!(model.kind(), kind);
            loaded = loaded.min(time);
            grown = grown.max(memory("VmHWM") - before);
        }
        fs::remove_dir_all(&path).unwrap();
        let memory = grown as f64 / size as f64;
        let time = loaded.as_secs_f64() / read.as_secs_f64();
        eprintln!(
            "{size} bytes of {kind:?}: {memory:.3} times that in memory; {loaded:?}, {time:.2} times reading ({read:?})"
        );
        assert!(memory <= 1.2, "{memory} times its size in memory");
        assert!(time <= 1.5, "{time} times as long as reading the file");
    }
}
