//! The model: its outputs and gradients against plain autograd, what padding must not change, memory, files.
#![allow(clippy::unwrap_used)]

#[path = "model/threads.rs"]
mod threads;

use std::path::{Path, PathBuf};

use rlp_runtime::model::{
    CausalLm, CausalLmConfig, Form, SequenceBatch, Upstream, read_tensors, write_tensors,
};
use rlp_runtime::random::{Purpose, Stream};
use tch::{Device, Kind, Tensor};

fn config() -> CausalLmConfig {
    CausalLmConfig {
        layers: 2,
        hidden: 16,
        heads: 4,
        kv_heads: 2,
        ffn: 24,
        vocab: 11,
        positions: 32,
        tied: false,
        rope_theta: 100.0,
        norm_eps: 1e-5,
        form: Form::default(),
    }
}

/// A model of `config` in f64 whose norms and value head are not what they start as.
fn model(config: CausalLmConfig) -> CausalLm {
    tch::set_num_threads(1);
    let mut model = CausalLm::new(config, 7, Kind::Double, Device::Cpu).unwrap();
    model.add_value_head();
    let stream = Stream::new(1, Purpose::Program);
    for (index, parameter) in model.parameters_mut().iter_mut().enumerate() {
        let noise = normals(stream.at(index as u64), &parameter.value.size());
        parameter.value += 0.2 * noise;
    }
    model
}

fn normals(stream: Stream, shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>() as u64;
    let values: Vec<f64> = (0..count).map(|i| stream.normal(i)).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Lengths of a row's prompt and response.
type Lengths = [(usize, usize)];

/// One response is empty, and the longest prompt and response are in different rows.
const LENGTHS: &Lengths = &[(3, 4), (1, 6), (7, 2), (2, 0), (4, 1)];
const TEMPERATURE: f64 = 0.7;
/// Token ids used; every vocabulary here is at least as large.
const TOKENS: u64 = 11;

fn token_ids(stream: Stream, count: usize) -> Vec<i64> {
    (0..count as u64)
        .map(|i| stream.below(i, TOKENS) as i64)
        .collect()
}

fn batch(lengths: &Lengths) -> SequenceBatch {
    let stream = Stream::new(2, Purpose::Program);
    let row = |(row, &(prompt, response)): (u64, &(usize, usize))| {
        let stream = stream.at(row);
        (
            token_ids(stream.at(0), prompt),
            token_ids(stream.at(1), response),
        )
    };
    let rows: Vec<(Vec<i64>, Vec<i64>)> = (0..).zip(lengths).map(row).collect();
    let rows: Vec<(&[i64], &[i64])> = rows
        .iter()
        .map(|(p, r)| (p.as_slice(), r.as_slice()))
        .collect();
    SequenceBatch::new(&rows, TEMPERATURE, Device::Cpu)
}

/// The gradient by every output; padding carries numbers too, which must not matter.
fn upstream(batch: &SequenceBatch, vocab: i64) -> Upstream {
    let stream = Stream::new(3, Purpose::Program);
    let shape = [batch.rows(), batch.width()];
    Upstream {
        logp: Some(normals(stream.at(0), &shape)),
        entropy: Some(normals(stream.at(1), &shape)),
        value: Some(normals(stream.at(2), &shape)),
        logits: Some(normals(stream.at(3), &[shape[0], shape[1], vocab])),
    }
}

struct Outputs {
    logp: Tensor,
    entropy: Tensor,
    value: Tensor,
    logits: Tensor,
}

impl Outputs {
    fn list(&self) -> [&Tensor; 4] {
        [&self.logp, &self.entropy, &self.value, &self.logits]
    }
}

fn outputs(model: &CausalLm, batch: &SequenceBatch) -> Outputs {
    let pass = model.forward(batch, false);
    Outputs {
        logp: pass.logp(),
        entropy: pass.entropy(),
        value: pass.value(),
        logits: pass.logits(),
    }
}

/// The same by autograd alone, a row at a time and so without padding, with full logits.
fn reference(
    model: &CausalLm,
    batch: &SequenceBatch,
    upstream: &Upstream,
) -> (Outputs, Vec<Tensor>) {
    let leaves = model.leaves(true);
    let (rows, width, vocab) = (batch.rows(), batch.width(), model.config().vocab);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Double, Device::Cpu));
    let outputs = Outputs {
        logp: zeros(&[rows, width]),
        entropy: zeros(&[rows, width]),
        value: zeros(&[rows, width]),
        logits: zeros(&[rows, width, vocab]),
    };
    let mut total = zeros(&[]);
    for row in 0..rows {
        let prompt = batch.prompt_length[row as usize];
        let response = batch.response_length[row as usize];
        if response == 0 {
            continue;
        }
        let tokens = batch.tokens.get(row).narrow(0, 0, prompt + response);
        let tokens = tokens.unsqueeze(0);
        let logits = model.logits_with_graph(&leaves, &tokens);
        let hidden = model.hidden_with_graph(&leaves, &tokens);
        let predicting = |x: &Tensor| x.get(0).narrow(0, prompt - 1, response);
        let logits = predicting(&logits);
        let all = (&logits / batch.temperature).log_softmax(-1, None);
        let targets = tokens.get(0).narrow(0, prompt, response).unsqueeze(-1);
        let results = [
            (
                &outputs.logp,
                &upstream.logp,
                all.gather(-1, &targets, false).squeeze_dim(-1),
            ),
            (
                &outputs.entropy,
                &upstream.entropy,
                -(all.exp() * &all).sum_dim_intlist(-1, false, None),
            ),
            (
                &outputs.value,
                &upstream.value,
                predicting(&hidden)
                    .matmul(&leaves.last().unwrap().tr())
                    .squeeze_dim(-1),
            ),
            (&outputs.logits, &upstream.logits, logits.shallow_clone()),
        ];
        for (output, upstream, result) in results {
            output
                .get(row)
                .narrow(0, 0, response)
                .copy_(&result.detach());
            if let Some(upstream) = upstream {
                total += (upstream.get(row).narrow(0, 0, response) * result).sum(Kind::Double);
            }
        }
    }
    let gradients = Tensor::run_backward(&[total], &leaves, false, false);
    let gradients = gradients.into_iter().zip(&leaves).map(|(gradient, leaf)| {
        if gradient.defined() {
            gradient
        } else {
            leaf.detach().zeros_like()
        }
    });
    (outputs, gradients.collect())
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    if a.numel() == 0 {
        0.0
    } else {
        (a - b).abs().max().double_value(&[])
    }
}

fn assert_agrees(config: &CausalLmConfig, lengths: &Lengths) {
    let mut model = model(config.clone());
    assert_agrees_with_autograd(&model, lengths);
    model.without_kernels();
    assert_agrees_with_autograd(&model, lengths);
}

fn assert_agrees_with_autograd(model: &CausalLm, lengths: &Lengths) {
    let config = model.config();
    let batch = batch(lengths);
    let upstream = upstream(&batch, config.vocab);
    let (expected, expected_gradients) = reference(model, &batch, &upstream);
    let found = outputs(model, &batch);
    let context = format!("{config:?}, {lengths:?}");
    for (found, expected) in found.list().into_iter().zip(expected.list()) {
        assert!(gap(found, expected) < 1e-10, "{context}");
    }
    let gradients = model.forward(&batch, true).backward(&upstream);
    for ((parameter, found), expected) in model
        .parameters()
        .iter()
        .zip(&gradients)
        .zip(&expected_gradients)
    {
        assert!(
            gap(found, expected) < 1e-10,
            "{}, {context}",
            parameter.name
        );
    }
}

#[test]
fn outputs_and_gradients_are_those_of_autograd() {
    let configurations = [
        config(),
        CausalLmConfig {
            tied: true,
            ..config()
        },
        CausalLmConfig {
            kv_heads: 4,
            layers: 1,
            ..config()
        },
        CausalLmConfig {
            kv_heads: 1,
            layers: 3,
            norm_eps: 1e-2,
            ..config()
        },
        CausalLmConfig {
            heads: 1,
            kv_heads: 1,
            tied: true,
            rope_theta: 10_000.0,
            ..config()
        },
        CausalLmConfig {
            hidden: 8,
            vocab: 17,
            ffn: 1,
            ..config()
        },
    ];
    let lengths: [&Lengths; 4] = [
        LENGTHS,
        &[(1, 1)],
        &[(2, 5), (2, 5)],
        &[(16, 16), (1, 0), (1, 31), (31, 1)],
    ];
    for config in &configurations {
        for lengths in lengths {
            assert_agrees(config, lengths);
        }
    }
}

/// The upstreams one at a time: each alone must give its share of the gradient.
#[test]
fn gradients_of_the_outputs_add_up() {
    let model = model(config());
    let batch = batch(LENGTHS);
    let gradients = |upstream: Upstream| model.forward(&batch, true).backward(&upstream);
    let upstream = upstream(&batch, model.config().vocab);
    let together = gradients(Upstream {
        logp: upstream.logp.as_ref().map(Tensor::shallow_clone),
        entropy: upstream.entropy.as_ref().map(Tensor::shallow_clone),
        value: upstream.value.as_ref().map(Tensor::shallow_clone),
        logits: upstream.logits.as_ref().map(Tensor::shallow_clone),
    });
    let parts = [
        gradients(Upstream {
            logp: upstream.logp,
            ..Upstream::default()
        }),
        gradients(Upstream {
            entropy: upstream.entropy,
            ..Upstream::default()
        }),
        gradients(Upstream {
            value: upstream.value,
            ..Upstream::default()
        }),
        gradients(Upstream {
            logits: upstream.logits,
            ..Upstream::default()
        }),
    ];
    for (index, together) in together.iter().enumerate() {
        let sum: Tensor = parts.iter().map(|part| &part[index]).sum();
        assert!(gap(together, &sum) < 1e-10);
    }
}

/// Rows of the same prompt share it, wherever they stand, and rows that do not fit into one chunk of work make several.
/// Three prompts with up to 320 tokens of response: too long for one chunk of positions.
fn long_batch() -> SequenceBatch {
    let prompts = [vec![1, 2, 3], vec![4], vec![1, 2]];
    let rows = (0..9u64).map(|row| {
        let response = token_ids(Stream::new(row, Purpose::Program), 40 * row as usize);
        (prompts[row as usize % 3].clone(), response)
    });
    let rows: Vec<(Vec<i64>, Vec<i64>)> = rows.collect();
    let rows: Vec<(&[i64], &[i64])> = rows
        .iter()
        .map(|(prompt, response)| (prompt.as_slice(), response.as_slice()))
        .collect();
    SequenceBatch::new(&rows, TEMPERATURE, Device::Cpu)
}

#[test]
fn shared_prompts_and_long_batches_change_nothing() {
    let config = CausalLmConfig {
        positions: 400,
        ..config()
    };
    let model = model(config);
    let batch = long_batch();
    let upstream = upstream(&batch, 11);
    let (expected, expected_gradients) = reference(&model, &batch, &upstream);
    let found = outputs(&model, &batch);
    for (found, expected) in found.list().into_iter().zip(expected.list()) {
        assert!(gap(found, expected) < 1e-10);
    }
    let gradients = model.forward(&batch, true).backward(&upstream);
    for (found, expected) in gradients.iter().zip(&expected_gradients) {
        let size = expected.abs().max().double_value(&[]).max(1.0);
        assert!(gap(found, expected) < 1e-10 * size);
    }
}

#[test]
fn rows_without_responses_give_nothing_and_no_gradient() {
    let model = model(config());
    for lengths in [&[(3, 0), (2, 0)][..], &[(1, 0)]] {
        let batch = batch(lengths);
        let outputs = outputs(&model, &batch);
        assert_eq!(outputs.logp.size(), [lengths.len() as i64, 0]);
        assert_eq!(outputs.logits.size(), [lengths.len() as i64, 0, 11]);
        let gradients = model.forward(&batch, true).backward(&upstream(&batch, 11));
        assert!(
            gradients
                .iter()
                .all(|gradient| gradient.count_nonzero(None).int64_value(&[]) == 0)
        );
    }
}

/// The same rows with `extra` more columns and other tokens at the padding.
fn with_padding(batch: &SequenceBatch, extra: i64) -> SequenceBatch {
    let (rows, length) = (batch.rows(), batch.tokens.size()[1]);
    let garbage = token_ids(
        Stream::new(9, Purpose::Program),
        (rows * (length + extra)) as usize,
    );
    let tokens = Tensor::from_slice(&garbage).view([rows, length + extra]);
    for (row, (prompt, response)) in
        (0..).zip(batch.prompt_length.iter().zip(&batch.response_length))
    {
        let real = prompt + response;
        tokens
            .get(row)
            .narrow(0, 0, real)
            .copy_(&batch.tokens.get(row).narrow(0, 0, real));
    }
    SequenceBatch {
        tokens,
        prompt_length: batch.prompt_length.clone(),
        response_length: batch.response_length.clone(),
        temperature: batch.temperature,
    }
}

#[test]
fn padding_changes_nothing() {
    let model = model(config());
    let plain = batch(LENGTHS);
    let expected = outputs(&model, &plain);
    let expected_gradients = model.forward(&plain, true).backward(&upstream(&plain, 11));
    for extra in [0, 1, 40] {
        let padded = with_padding(&plain, extra);
        assert_eq!(padded.responses(), plain.responses());
        for (found, expected) in outputs(&model, &padded)
            .list()
            .into_iter()
            .zip(expected.list())
        {
            assert_eq!(gap(found, expected), 0.0);
        }
        let gradients = model
            .forward(&padded, true)
            .backward(&upstream(&padded, 11));
        for (found, expected) in gradients.iter().zip(&expected_gradients) {
            assert_eq!(gap(found, expected), 0.0);
        }
    }
}

#[test]
fn outputs_and_upstreams_at_padding_are_nothing() {
    let model = model(config());
    let batch = batch(LENGTHS);
    let plain = upstream(&batch, 11);
    let poisoned = upstream(&batch, 11);
    let outputs = outputs(&model, &batch);
    for (row, &(_, response)) in (0..).zip(LENGTHS) {
        let padding = |x: &Tensor| {
            x.get(row)
                .narrow(0, response as i64, batch.width() - response as i64)
        };
        for output in outputs.list() {
            assert_eq!(padding(output).count_nonzero(None).int64_value(&[]), 0);
        }
        for upstream in [
            &poisoned.logp,
            &poisoned.entropy,
            &poisoned.value,
            &poisoned.logits,
        ] {
            let _ = padding(upstream.as_ref().unwrap()).fill_(f64::NAN);
        }
    }
    let expected = model.forward(&batch, true).backward(&plain);
    let found = model.forward(&batch, true).backward(&poisoned);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(gap(found, expected), 0.0);
    }
}

/// A line of `/proc/self/status`, in MiB.
fn memory(line: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<i64>()
        .unwrap()
        / 1024
}

/// 4096 positions of 32768 tokens are 512 MiB of logits in f32.
#[test]
fn the_logits_of_a_batch_are_never_held_in_full() {
    tch::set_num_threads(1);
    let config = CausalLmConfig {
        layers: 1,
        hidden: 32,
        vocab: 32_768,
        positions: 257,
        ..config()
    };
    let model = CausalLm::new(config, 7, Kind::Float, Device::Cpu).unwrap();
    let batch = batch(&[(1, 256); 16]);
    let ones = || Some(Tensor::ones([16, 256], (Kind::Float, Device::Cpu)));
    let before = memory("VmRSS");
    let pass = model.forward(&batch, true);
    let (logp, entropy) = (pass.logp(), pass.entropy());
    let upstream = Upstream {
        logp: ones(),
        entropy: ones(),
        ..Upstream::default()
    };
    let gradients = pass.backward(&upstream);
    let grown = memory("VmHWM") - before;
    // A chunk's logits are 16 MiB, several of which live at a time; the allocator keeps more.
    assert!(grown < 320, "{grown} MiB");
    for tensor in [logp, entropy].iter().chain(&gradients) {
        assert!(tensor.isfinite().all().int64_value(&[]) == 1);
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("model-{name}.safetensors"))
}

#[test]
fn a_saved_model_comes_back_bit_for_bit() {
    for (kind, name) in [(Kind::Double, "f64"), (Kind::Float, "f32")] {
        let path = file(name);
        let mut saved = CausalLm::new(config(), 7, kind, Device::Cpu).unwrap();
        saved.add_value_head();
        saved.save(&path).unwrap();
        let mut loaded = CausalLm::new(config(), 8, kind, Device::Cpu).unwrap();
        loaded.add_value_head();
        let differs = |other: &CausalLm| {
            saved
                .parameters()
                .iter()
                .zip(other.parameters())
                .any(|(a, b)| !a.value.equal(&b.value))
        };
        assert!(differs(&loaded));
        loaded.load(&path).unwrap();
        assert!(!differs(&loaded));
        assert!(
            loaded
                .parameters()
                .iter()
                .all(|parameter| parameter.value.kind() == kind)
        );
    }
}

#[test]
fn a_file_that_is_not_of_this_model_is_refused_and_changes_nothing() {
    let path = file("wrong");
    let mut model = CausalLm::new(config(), 7, Kind::Double, Device::Cpu).unwrap();
    let before = model.deep_copy();
    let norm = "model.norm.weight";
    let ones = |size: i64| Some(Tensor::ones([size], (Kind::Double, Device::Cpu)));
    let cases = [
        (norm, None, "`model.norm.weight` is missing"),
        (
            norm,
            ones(15),
            "`model.norm.weight` has the shape [15] where the model has [16]",
        ),
        ("extra", ones(1), "`extra` is no parameter of this model"),
    ];
    for (name, value, message) in cases {
        before.save(&path).unwrap();
        // The others differ from the model, so that a load that stops halfway would show.
        let mut tensors = read_tensors(&path).unwrap();
        tensors.values_mut().for_each(|tensor| *tensor += 1.0);
        tensors.remove(name);
        tensors.extend(value.map(|value| (name.to_owned(), value)));
        write_tensors(
            &path,
            tensors.iter().map(|(name, value)| (name.as_str(), value)),
        )
        .unwrap();
        let error = model.load(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {message}", path.display()));
        for (parameter, before) in model.parameters().iter().zip(before.parameters()) {
            assert!(parameter.value.equal(&before.value), "{}", parameter.name);
        }
    }
    std::fs::write(&path, "no tensors").unwrap();
    assert_eq!(model.load(&path).unwrap_err().path, path);
    assert_eq!(
        model.load(&file("absent")).unwrap_err().path,
        file("absent")
    );
}

#[test]
fn configurations_that_cannot_be_are_refused_by_the_argument() {
    let cases = [
        (
            CausalLmConfig {
                layers: 0,
                ..config()
            },
            "layers",
            "`layers` must be at least 1, found 0",
        ),
        (
            CausalLmConfig {
                vocab: -3,
                ..config()
            },
            "vocab",
            "`vocab` must be at least 1, found -3",
        ),
        (
            CausalLmConfig {
                kv_heads: 0,
                ..config()
            },
            "kv_heads",
            "`kv_heads` must be at least 1, found 0",
        ),
        (
            CausalLmConfig {
                heads: 3,
                ..config()
            },
            "heads",
            "`heads` must divide `hidden`, and 3 does not divide 16",
        ),
        (
            CausalLmConfig {
                hidden: 12,
                ..config()
            },
            "heads",
            "`hidden` / `heads` must be even, because rotary positions pair its elements, found 3",
        ),
        (
            CausalLmConfig {
                kv_heads: 3,
                ..config()
            },
            "kv_heads",
            "`kv_heads` must divide `heads`, and 3 does not divide 4",
        ),
        (
            CausalLmConfig {
                rope_theta: 1.0,
                ..config()
            },
            "rope_theta",
            "`rope_theta` must be a number above 1, found 1",
        ),
        (
            CausalLmConfig {
                norm_eps: f64::NAN,
                ..config()
            },
            "norm_eps",
            "`norm_eps` must be a number of at least 0, found NaN",
        ),
    ];
    for (config, argument, message) in cases {
        let error = CausalLm::new(config, 7, Kind::Float, Device::Cpu)
            .err()
            .unwrap();
        assert_eq!(
            (error.argument, error.message.as_str()),
            (argument, message)
        );
    }
    for name in CausalLmConfig::PRESETS {
        CausalLmConfig::preset(name).unwrap().validate().unwrap();
    }
}
