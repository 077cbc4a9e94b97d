//! Rollouts: what they record, what they depend on, and where they stop.
#![allow(clippy::unwrap_used)]

use rlp_runtime::generate::{End, Rollout, Sampling, rollout};
use rlp_runtime::model::{CausalLm, CausalLmConfig, Form};
use rlp_runtime::random::{Purpose, Stream};
use tch::{Device, Kind, Tensor, no_grad};

const VOCAB: i64 = 13;
const END: i64 = 0;

fn model(kind: Kind) -> CausalLm {
    tch::set_num_threads(1);
    let config = CausalLmConfig {
        layers: 2,
        hidden: 16,
        heads: 4,
        kv_heads: 2,
        ffn: 24,
        vocab: VOCAB,
        positions: 32,
        tied: false,
        rope_theta: 100.0,
        norm_eps: 1e-5,
        form: Form::default(),
    };
    CausalLm::new(config, 3, kind, Device::Cpu).unwrap()
}

/// Of different lengths, the first one not the longest.
fn prompts() -> Vec<Vec<i64>> {
    vec![
        vec![5, 2],
        vec![1, 2, 3, 4, 5, 6, 7],
        vec![9],
        vec![4, 8, 12],
    ]
}

const SAMPLING: Sampling = Sampling {
    samples: 3,
    max_tokens: 12,
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
};
const GREEDY: Sampling = Sampling {
    samples: 1,
    temperature: 0.0,
    ..SAMPLING
};

fn draw(model: &CausalLm, prompts: &[Vec<i64>], sampling: Sampling) -> Rollout {
    rollout(
        model,
        prompts,
        &sampling,
        End::at(&[END]),
        Stream::new(11, Purpose::Sample),
    )
    .unwrap()
}

/// `[token, vocab]`: the logits that predict each response token of a row, read without a cache and without padding.
fn logits(model: &CausalLm, prompt: &[i64], response: &[i64]) -> Tensor {
    let tokens = Tensor::from_slice(&[prompt, response].concat()).unsqueeze(0);
    let logits = no_grad(|| model.logits_with_graph(&model.leaves(false), &tokens));
    logits
        .get(0)
        .narrow(0, prompt.len() as i64 - 1, response.len() as i64)
}

fn assert_recorded(kind: Kind, sampling: Sampling, tolerance: f64) {
    let mut model = model(kind);
    assert_recorded_by(&model, sampling, tolerance);
    model.without_kernels();
    assert_recorded_by(&model, sampling, tolerance);
}

fn assert_recorded_by(model: &CausalLm, sampling: Sampling, tolerance: f64) {
    let rollout = draw(model, &prompts(), sampling);
    let read = model.forward(&rollout.batch, false).logp();
    assert_eq!(
        rollout.logp.size(),
        [4 * sampling.samples, rollout.batch.width()]
    );
    let gap = (&rollout.logp - read).abs().max().double_value(&[]);
    let kind = model.kind();
    assert!(gap <= tolerance, "{kind:?}, {sampling:?}: {gap}");
}

#[test]
fn the_recorded_logp_is_what_the_model_says_of_the_rollout() {
    for temperature in [0.0, 0.7, 1.0] {
        for (top_k, top_p) in [(0, 1.0), (4, 1.0), (0, 0.5)] {
            let sampling = Sampling {
                temperature,
                top_k,
                top_p,
                ..SAMPLING
            };
            assert_recorded(Kind::Float, sampling, 1e-5);
            assert_recorded(Kind::Double, sampling, 1e-10);
        }
    }
}

#[test]
fn the_recorded_logp_is_at_the_temperature_and_without_filters() {
    let model = model(Kind::Double);
    for (temperature, recorded) in [(0.7, 0.7), (1.0, 1.0), (0.0, 1.0)] {
        let rollout = draw(
            &model,
            &prompts(),
            Sampling {
                temperature,
                top_k: 4,
                top_p: 0.6,
                ..SAMPLING
            },
        );
        assert_eq!(rollout.batch.temperature, recorded);
        for (row, response) in (0i64..).zip(rollout.batch.responses()) {
            let prompt = &prompts()[row as usize / 3];
            let all = (logits(&model, prompt, &response) / recorded).log_softmax(-1, None);
            for (place, &token) in (0i64..).zip(&response) {
                let expected = all.double_value(&[place, token]);
                assert!((rollout.logp.double_value(&[row, place]) - expected).abs() < 1e-10);
            }
            for padding in response.len() as i64..rollout.batch.width() {
                assert_eq!(rollout.logp.double_value(&[row, padding]), 0.0);
            }
        }
    }
}

#[test]
fn greedy_takes_the_likeliest_token_step_by_step() {
    let model = model(Kind::Double);
    let rollout = draw(&model, &prompts(), GREEDY);
    for (prompt, response) in prompts().iter().zip(rollout.batch.responses()) {
        let likeliest = logits(&model, prompt, &response).argmax(-1, false);
        assert_eq!(Vec::<i64>::try_from(likeliest).unwrap(), response);
    }
}

#[test]
fn a_filter_that_leaves_one_token_is_greedy() {
    let model = model(Kind::Float);
    let greedy = draw(&model, &prompts(), GREEDY).batch.responses();
    for (top_k, top_p) in [(1, 1.0), (0, 1e-9), (1, 0.5)] {
        let filtered = draw(
            &model,
            &prompts(),
            Sampling {
                samples: 1,
                top_k,
                top_p,
                ..SAMPLING
            },
        );
        assert_eq!(
            filtered.batch.responses(),
            greedy,
            "top_k {top_k}, top_p {top_p}"
        );
    }
}

/// How often each token comes first in 4000 responses, and its probability.
fn first_tokens(temperature: f64, top_k: i64, top_p: f64) -> Vec<(f64, f64)> {
    let model = model(Kind::Float);
    let prompt = vec![vec![5, 2]];
    let sampling = Sampling {
        samples: 4000,
        max_tokens: 1,
        temperature,
        top_k,
        top_p,
    };
    let mut counts = vec![0.0; VOCAB as usize];
    for response in draw(&model, &prompt, sampling).batch.responses() {
        counts[response[0] as usize] += 1.0;
    }
    let p = (logits(&model, &prompt[0], &[END]).get(0) / temperature).softmax(-1, Kind::Double);
    counts
        .into_iter()
        .zip(Vec::<f64>::try_from(p).unwrap())
        .collect()
}

/// χ² of counts against probabilities that need not sum to 1.
fn chi_square(tokens: &[(f64, f64)]) -> f64 {
    let mass: f64 = tokens.iter().map(|(_, p)| p).sum();
    let expected = |p: f64| 4000.0 * p / mass;
    tokens
        .iter()
        .map(|&(count, p)| (count - expected(p)).powi(2) / expected(p))
        .sum()
}

#[test]
fn tokens_come_as_often_as_the_model_says() {
    for temperature in [0.7, 1.0, 2.0] {
        // 12 degrees of freedom: above 32.9 once in 1000.
        let found = chi_square(&first_tokens(temperature, 0, 1.0));
        assert!(found < 32.9, "temperature {temperature}: {found}");
    }
}

#[test]
fn filters_keep_the_likeliest_tokens_in_their_proportion() {
    for (top_k, top_p) in [(3, 1.0), (0, 0.6), (3, 0.6)] {
        let mut tokens = first_tokens(1.0, top_k, top_p);
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut likelier = 0.0;
        let kept = tokens.iter().take_while(|(_, p)| {
            let is_kept = likelier < top_p;
            likelier += p;
            is_kept
        });
        let kept = if top_k == 0 {
            kept.count()
        } else {
            kept.count().min(top_k as usize)
        };
        assert!((2..tokens.len()).contains(&kept));
        assert!(
            tokens[kept..].iter().all(|(count, _)| *count == 0.0),
            "top_k {top_k}, top_p {top_p}"
        );
        // At most 12 degrees of freedom.
        assert!(
            chi_square(&tokens[..kept]) < 32.9,
            "top_k {top_k}, top_p {top_p}"
        );
    }
}

/// The kernels of the CPU and libtorch's operations, on the same random numbers.
#[test]
fn both_ways_to_draw_give_the_same_responses() {
    for (temperature, top_k, top_p) in [(0.0, 0, 1.0), (0.7, 0, 1.0), (1.0, 4, 1.0), (1.0, 5, 0.7)]
    {
        let sampling = Sampling {
            temperature,
            top_k,
            top_p,
            ..SAMPLING
        };
        let mut model = model(Kind::Double);
        let found = draw(&model, &prompts(), sampling);
        model.without_kernels();
        let expected = draw(&model, &prompts(), sampling);
        assert_eq!(found.batch.responses(), expected.batch.responses());
        assert_eq!(found.finished, expected.finished);
        let gap = (found.logp - expected.logp).abs().max().double_value(&[]);
        assert!(gap < 1e-10, "{sampling:?}: {gap}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let model = model(Kind::Float);
    let alone = draw(&model, &prompts(), SAMPLING);
    tch::set_num_threads(3);
    let together = draw(&model, &prompts(), SAMPLING);
    tch::set_num_threads(1);
    assert_eq!(alone.batch.responses(), together.batch.responses());
    assert!(alone.logp.equal(&together.logp));
}

#[test]
fn a_response_does_not_depend_on_what_else_is_drawn() {
    let model = model(Kind::Float);
    let together = draw(&model, &prompts(), SAMPLING).batch.responses();
    let alone = draw(&model, &prompts()[..1], SAMPLING).batch.responses();
    assert_eq!(alone, together[..3]);
    let fewer = draw(
        &model,
        &prompts(),
        Sampling {
            samples: 2,
            ..SAMPLING
        },
    )
    .batch
    .responses();
    assert_eq!(
        fewer,
        [0, 1, 3, 4, 6, 7, 9, 10].map(|row: usize| together[row].clone())
    );
    let shorter = draw(
        &model,
        &prompts(),
        Sampling {
            max_tokens: 4,
            ..SAMPLING
        },
    )
    .batch
    .responses();
    assert_eq!(
        shorter,
        together
            .iter()
            .map(|row| row[..row.len().min(4)].to_vec())
            .collect::<Vec<_>>()
    );

    let other = rollout(
        &model,
        &prompts(),
        &SAMPLING,
        End::at(&[END]),
        Stream::new(12, Purpose::Sample),
    )
    .unwrap();
    assert_ne!(other.batch.responses(), together);
}

#[test]
fn a_response_ends_with_the_end_token_or_is_cut() {
    let rollout = draw(
        &model(Kind::Float),
        &prompts(),
        Sampling {
            samples: 16,
            ..SAMPLING
        },
    );
    let responses = rollout.batch.responses();
    assert_eq!(rollout.finished.len(), responses.len());
    for (response, &finished) in responses.iter().zip(&rollout.finished) {
        let end = response.iter().position(|&token| token == END);
        assert_eq!(finished, end.is_some());
        assert_eq!(
            response.len(),
            end.map_or(SAMPLING.max_tokens as usize, |end| end + 1)
        );
    }
    // Both kinds were there to look at.
    assert!(rollout.finished.contains(&true) && rollout.finished.contains(&false));
}

#[test]
fn drawing_stops_when_every_response_has_ended() {
    let model = model(Kind::Float);
    let greedy = draw(&model, &prompts()[..1], GREEDY).batch.responses();
    // The token that comes first of all as the end token.
    let sampling = Sampling {
        samples: 2,
        ..GREEDY
    };
    let stream = Stream::new(11, Purpose::Sample);
    let rollout = rollout(
        &model,
        &prompts()[..1],
        &sampling,
        End::at(&greedy[0][..1]),
        stream,
    )
    .unwrap();
    assert_eq!(rollout.batch.responses(), [[greedy[0][0]], [greedy[0][0]]]);
    assert_eq!(
        (rollout.finished, rollout.logp.size()),
        (vec![true, true], vec![2, 1])
    );
}

#[test]
fn a_response_with_a_length_is_over_there() {
    for with_kernels in [true, false] {
        let mut model = model(Kind::Float);
        if !with_kernels {
            model.without_kernels();
        }
        let free = draw(&model, &prompts(), SAMPLING);
        let lengths = [Some(2), None, Some(1), Some(50)];
        let end = End {
            tokens: &[END],
            lengths: &lengths,
        };
        let stream = Stream::new(11, Purpose::Sample);
        let bound = rollout(&model, &prompts(), &SAMPLING, end, stream).unwrap();
        for (row, (free, bound)) in free
            .batch
            .responses()
            .iter()
            .zip(bound.batch.responses())
            .enumerate()
        {
            let most = lengths[row / 3].unwrap_or(u64::MAX).min(free.len() as u64);
            assert_eq!(bound, free[..most as usize]);
        }
        assert_eq!(bound.finished[..3], [true; 3]);
        assert_eq!(bound.finished[6..9], [true; 3]);
        assert_eq!(bound.finished[3..6], free.finished[3..6]);
        assert_eq!(bound.finished[9..], free.finished[9..]);
    }
}

fn refusal(prompts: &[Vec<i64>], sampling: Sampling) -> (&'static str, String) {
    let stream = Stream::new(0, Purpose::Sample);
    let error = rollout(
        &model(Kind::Float),
        prompts,
        &sampling,
        End::at(&[END]),
        stream,
    )
    .err()
    .unwrap();
    (error.argument, error.message)
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let fits = Sampling {
        max_tokens: 25,
        ..SAMPLING
    };
    assert!(
        rollout(
            &model(Kind::Float),
            &prompts(),
            &fits,
            End::at(&[END]),
            Stream::new(0, Purpose::Sample)
        )
        .is_ok()
    );
    let (argument, message) = refusal(
        &prompts(),
        Sampling {
            max_tokens: 26,
            ..SAMPLING
        },
    );
    assert_eq!(argument, "max_tokens");
    assert_eq!(
        message,
        "a prompt of 7 tokens and `max_tokens` of 26 exceed the model's 32 positions"
    );
    assert_eq!(refusal(&[], SAMPLING).0, "prompts");
    assert_eq!(
        refusal(&[vec![1], vec![]], SAMPLING).1,
        "a prompt must have at least one token"
    );
}

#[test]
fn arguments_out_of_range_are_refused_by_name() {
    let cases = [
        (
            Sampling {
                samples: 0,
                ..SAMPLING
            },
            "samples",
            "`samples` must be at least 1, found 0",
        ),
        (
            Sampling {
                max_tokens: 0,
                ..SAMPLING
            },
            "max_tokens",
            "`max_tokens` must be at least 1, found 0",
        ),
        (
            Sampling {
                temperature: -0.5,
                ..SAMPLING
            },
            "temperature",
            "`temperature` must be at least 0, found -0.5",
        ),
        (
            Sampling {
                temperature: f64::NAN,
                ..SAMPLING
            },
            "temperature",
            "`temperature` must be at least 0, found NaN",
        ),
        (
            Sampling {
                top_k: -1,
                ..SAMPLING
            },
            "top_k",
            "`top_k` must be at least 0, found -1",
        ),
        (
            Sampling {
                top_p: 0.0,
                ..SAMPLING
            },
            "top_p",
            "`top_p` must be above 0 and at most 1, found 0",
        ),
        (
            Sampling {
                top_p: 1.5,
                ..SAMPLING
            },
            "top_p",
            "`top_p` must be above 0 and at most 1, found 1.5",
        ),
    ];
    for (sampling, argument, message) in cases {
        assert_eq!(
            refusal(&prompts(), sampling),
            (argument, message.to_owned())
        );
    }
}
