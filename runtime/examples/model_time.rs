//! The model's own time, one thread: CPU seconds of rollouts, of training passes and of the vocabulary head.
//!
//! `cargo run -p rlp-runtime --example model_time` measures everything, best of five; settings named behind `--` only those.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that measures, run by hand"
)]

use std::fs;

use rlp_runtime::generate::{End, Rollout, Sampling, rollout};
use rlp_runtime::memory::keep_freed;
use rlp_runtime::model::{CausalLm, CausalLmConfig, Form, SequenceBatch, Upstream};
use rlp_runtime::random::{Purpose, Stream};
use tch::{Device, Kind};

/// A step of GRPO as far as the model goes: rollouts, log-probabilities, gradients.
struct Setting {
    name: &'static str,
    config: CausalLmConfig,
    prompts: u64,
    samples: i64,
    max_tokens: i64,
    epochs: usize,
    minibatch: i64,
    /// Whether a frozen reference reads the rollouts too.
    reference: bool,
}

/// No token, so that every response has its full length.
const NEVER: i64 = -1;
const REPETITIONS: usize = 5;

fn main() {
    tch::set_num_threads(1);
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_asked = |name: &str| named.is_empty() || named.iter().any(|asked| asked == name);
    // First, since what was freed and kept would count as nothing more.
    if is_asked("head") {
        head();
    }
    keep_freed();
    for setting in settings() {
        if is_asked(setting.name) {
            step(&setting);
        }
    }
    for batch in [1, 16, 128] {
        if is_asked(&format!("rollout-{batch}")) {
            rollouts(batch);
        }
    }
}

fn settings() -> Vec<Setting> {
    let small = CausalLmConfig {
        layers: 4,
        hidden: 128,
        heads: 4,
        kv_heads: 4,
        ffn: 384,
        vocab: 256,
        positions: 512,
        tied: false,
        rope_theta: 10_000.0,
        norm_eps: 1e-6,
        form: Form::default(),
    };
    let a = Setting {
        name: "A",
        config: small.clone(),
        prompts: 16,
        samples: 8,
        max_tokens: 64,
        epochs: 1,
        minibatch: 128,
        reference: false,
    };
    let b = Setting {
        name: "B",
        config: small.clone(),
        max_tokens: 12,
        epochs: 2,
        minibatch: 64,
        reference: true,
        ..a
    };
    let c = Setting {
        name: "C",
        config: CausalLmConfig {
            layers: 6,
            hidden: 256,
            heads: 8,
            kv_heads: 8,
            ffn: 768,
            vocab: 4096,
            ..small.clone()
        },
        max_tokens: 128,
        ..a
    };
    let v = Setting {
        name: "V",
        config: CausalLmConfig {
            vocab: 32_768,
            ..small
        },
        prompts: 4,
        max_tokens: 128,
        minibatch: 32,
        ..a
    };
    vec![a, b, c, v]
}

fn step(setting: &Setting) {
    let model = CausalLm::new(setting.config.clone(), 0, Kind::Float, Device::Cpu).unwrap();
    let prompts = prompts(setting.prompts);
    let mut best = [f64::INFINITY; 4];
    forget_peak();
    for repetition in 0..REPETITIONS {
        let start = cpu_seconds();
        let drawn = draw(&model, &prompts, setting, repetition as u64);
        let sampled = cpu_seconds();
        if setting.reference {
            let _ = model.forward(&drawn.batch, false).logp();
        }
        let referred = cpu_seconds();
        let rows = drawn.batch.rows();
        let all: Vec<i64> = (0..rows).collect();
        for _ in 0..setting.epochs {
            for minibatch in all.chunks(setting.minibatch as usize) {
                train(&model, &drawn.batch.select(minibatch));
            }
        }
        let trained = cpu_seconds();
        let spans = [
            sampled - start,
            referred - sampled,
            trained - referred,
            trained - start,
        ];
        for (best, span) in best.iter_mut().zip(spans) {
            *best = best.min(span);
        }
    }
    let drawn = draw(&model, &prompts, setting, 0);
    let gap = drawn.logp - model.forward(&drawn.batch, false).logp();
    let gap = gap.abs().max().double_value(&[]);
    let tokens = (setting.prompts as i64 * setting.samples * setting.max_tokens) as f64;
    println!(
        "{}: step {:.3} CPU-s (rollout {:.3} = {:.0} tok/CPU-s, reference {:.3}, training {:.3}), peak {} MiB, logp recorded to {gap:.1e}",
        setting.name,
        best[3],
        best[0],
        tokens / best[0],
        best[1],
        best[2],
        memory("VmHWM")
    );
}

/// One way there and back, with a gradient that differs from token to token.
fn train(model: &CausalLm, batch: &SequenceBatch) {
    let pass = model.forward(batch, true);
    let logp = pass.logp();
    let upstream = Upstream {
        logp: Some(logp * 1e-3),
        ..Upstream::default()
    };
    let _ = pass.backward(&upstream);
}

fn rollouts(batch: u64) {
    let setting = Setting {
        prompts: batch,
        samples: 1,
        ..settings().remove(0)
    };
    let model = CausalLm::new(setting.config.clone(), 0, Kind::Float, Device::Cpu).unwrap();
    let prompts = prompts(batch);
    let best = best_of(|repetition| {
        let _ = draw(&model, &prompts, &setting, repetition as u64);
    });
    let tokens = (batch as i64 * setting.max_tokens) as f64;
    println!(
        "rollout, batch {batch}: {best:.4} CPU-s = {:.0} tok/CPU-s",
        tokens / best
    );
}

/// 4096 positions, hidden 128, 32,768 tokens: log-probabilities and the way back, behind a trunk of no account.
fn head() {
    let config = CausalLmConfig {
        layers: 1,
        ffn: 1,
        vocab: 32_768,
        ..settings().remove(0).config
    };
    let model = CausalLm::new(config, 0, Kind::Float, Device::Cpu).unwrap();
    let response: Vec<i64> = (0..256).collect();
    let batch = SequenceBatch::new(&[(&[1][..], &response[..]); 16], 1.0, Device::Cpu);
    forget_peak();
    let before = memory("VmRSS");
    let best = best_of(|_| train(&model, &batch));
    let grown = memory("VmHWM") - before;
    println!("head, N 4096, H 128, V 32768: {best:.3} CPU-s, +{grown} MiB with the trunk's own");
}

fn draw(model: &CausalLm, prompts: &[Vec<i64>], setting: &Setting, repetition: u64) -> Rollout {
    let sampling = Sampling {
        samples: setting.samples,
        max_tokens: setting.max_tokens,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    };
    let stream = Stream::new(repetition, Purpose::Sample);
    rollout(model, prompts, &sampling, End::at(&[NEVER]), stream).unwrap()
}

/// Of six tokens, as `12+34=` has.
fn prompts(count: u64) -> Vec<Vec<i64>> {
    let stream = Stream::new(0, Purpose::Problem);
    let token = |prompt: u64, place: u64| stream.at(prompt).below(place, 256) as i64;
    (0..count)
        .map(|prompt| (0..6).map(|place| token(prompt, place)).collect())
        .collect()
}

fn best_of(mut work: impl FnMut(usize)) -> f64 {
    let time = |repetition| {
        let start = cpu_seconds();
        work(repetition);
        cpu_seconds() - start
    };
    (0..REPETITIONS).map(time).fold(f64::INFINITY, f64::min)
}

/// CPU time of all threads, seconds.
fn cpu_seconds() -> f64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = threads.map(|thread| {
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap()
    });
    nanoseconds.sum::<f64>() * 1e-9
}

/// A line of `/proc/self/status`, MiB.
fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let text = status.lines().find_map(|text| text.strip_prefix(line));
    let size = text.unwrap().split_whitespace().nth(1).unwrap();
    size.parse::<u64>().unwrap() / 1024
}

/// Lets `VmHWM` begin again from what is resident now.
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}
