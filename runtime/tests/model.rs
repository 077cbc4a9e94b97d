//! The model's outputs and gradients against plain autograd, and what padding must not change.
#![allow(clippy::unwrap_used)]

use rlp_runtime::model::{CausalLm, CausalLmConfig, SequenceBatch, Upstream};
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

/// Lengths of prompt and response; one response is empty, and the longest prompt and response are in different rows.
const LENGTHS: [(usize, usize); 5] = [(3, 4), (1, 6), (7, 2), (2, 0), (4, 1)];
const TEMPERATURE: f64 = 0.7;

fn token_ids(stream: Stream, count: usize) -> Vec<i64> {
    (0..count as u64)
        .map(|i| stream.below(i, 11) as i64)
        .collect()
}

fn batch() -> SequenceBatch {
    let stream = Stream::new(2, Purpose::Program);
    let rows: Vec<(Vec<i64>, Vec<i64>)> = (0..)
        .zip(LENGTHS)
        .map(|(row, (prompt, response))| {
            (
                token_ids(stream.at(row).at(0), prompt),
                token_ids(stream.at(row).at(1), response),
            )
        })
        .collect();
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

fn assert_agrees(config: CausalLmConfig) {
    let model = model(config);
    let batch = batch();
    let upstream = upstream(&batch, model.config().vocab);
    let (expected, expected_gradients) = reference(&model, &batch, &upstream);
    let found = outputs(&model, &batch);
    assert!(gap(&found.logp, &expected.logp) < 1e-10);
    assert!(gap(&found.entropy, &expected.entropy) < 1e-10);
    assert!(gap(&found.value, &expected.value) < 1e-10);
    assert!(gap(&found.logits, &expected.logits) < 1e-10);
    let gradients = model.forward(&batch, true).backward(&upstream);
    for (parameter, (found, expected)) in model
        .parameters()
        .iter()
        .zip(gradients.iter().zip(&expected_gradients))
    {
        assert!(
            gap(found, expected) < 1e-10,
            "{}: {}",
            parameter.name,
            gap(found, expected)
        );
    }
}

#[test]
fn outputs_and_gradients_are_those_of_autograd() {
    assert_agrees(config());
}
