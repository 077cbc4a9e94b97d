//! Losses of whole responses on thousands of tokens, in single precision.

use rlp_runtime::block::{Content, Inputs, Options, evaluate};
use rlp_runtime::tensor::{Kind, Tensor};

use super::{OPTIONS, inputs, plan, reals};

/// Sums of log-probabilities of responses of thousands of tokens, and the same under the reference: among them pairs
/// that are far apart, on either side.
const CHOSEN: &[f64] = &[-9000.0, -8250.5, -9100.25, -40.0];
const REJECTED: &[f64] = &[-8990.0, -8400.0, -100.0, -9040.0];
const REF_CHOSEN: &[f64] = &[-9004.0, -8260.0, -9096.0, -9040.0];
const REF_REJECTED: &[f64] = &[-8991.5, -8396.0, -9100.0, -41.0];

/// Means over tokens, which no length makes large.
const MEAN_CHOSEN: &[f64] = &[-1.0, -0.001, -9000.0, -3.0];
const MEAN_REJECTED: &[f64] = &[-2.0, -9000.0, -0.001, -3.0];

/// The one argument that is no real: which responses are wanted.
const DESIRABLE: &str = "desirable";

fn given(kind: Kind, names: &[(&str, &[f64])]) -> Inputs {
    let tensors: Vec<(&str, Content)> = names
        .iter()
        .map(|(name, values)| {
            let tensor = Tensor::from_slice(values);
            let tensor = match *name {
                DESIRABLE => tensor.ne(0.0),
                _ => tensor.to_kind(kind),
            };
            (*name, Content::Tensor(tensor))
        })
        .collect();
    inputs(&tensors)
}

/// The name of a loss, and its arguments by name.
type Loss = (&'static str, Vec<(&'static str, &'static [f64])>);

#[test]
fn losses_of_whole_responses_keep_their_precision_in_f32() {
    let pairs: &[(&str, &[f64])] = &[
        ("chosen_logp", CHOSEN),
        ("rejected_logp", REJECTED),
        ("ref_chosen_logp", REF_CHOSEN),
        ("ref_rejected_logp", REF_REJECTED),
    ];
    let with = |more: &[(&'static str, &'static [f64])]| [pairs, more].concat();
    let losses: Vec<Loss> = vec![
        ("loss.dpo", with(&[])),
        ("loss.ipo", with(&[])),
        ("loss.rpo", with(&[])),
        (
            "loss.rpo_average",
            with(&[("chosen_length", &[9000.0, 8000.0, 9000.0, 20.0])]),
        ),
        (
            "loss.madpo",
            with(&[("margin", &[0.5, 3.0, -900.0, 900.0])]),
        ),
        (
            "loss.inpo",
            with(&[
                ("last_chosen_logp", CHOSEN),
                ("last_rejected_logp", REJECTED),
            ]),
        ),
        (
            "loss.cpo",
            vec![("chosen_logp", CHOSEN), ("rejected_logp", REJECTED)],
        ),
        ("loss.npo", vec![("logp", CHOSEN), ("ref_logp", REF_CHOSEN)]),
        (
            "loss.kto",
            vec![
                ("logp", CHOSEN),
                ("ref_logp", REF_CHOSEN),
                (DESIRABLE, &[1.0, 0.0, 1.0, 0.0]),
                ("kl_logp", REJECTED),
                ("ref_kl_logp", REF_REJECTED),
            ],
        ),
        (
            "loss.sparsepo",
            vec![("chosen_score", CHOSEN), ("rejected_score", REJECTED)],
        ),
        (
            "loss.bradley_terry",
            vec![("chosen", CHOSEN), ("rejected", REJECTED)],
        ),
        (
            "loss.simpo",
            vec![
                ("chosen_mean_logp", MEAN_CHOSEN),
                ("rejected_mean_logp", MEAN_REJECTED),
            ],
        ),
        (
            "loss.orpo",
            vec![
                ("chosen_mean_logp", MEAN_CHOSEN),
                ("rejected_mean_logp", MEAN_REJECTED),
            ],
        ),
    ];
    let options = Options {
        gradients: true,
        ..OPTIONS
    };
    for (name, arguments) in losses {
        let plan = plan(name, &[]);
        let single = evaluate(&plan, &given(Kind::Float, &arguments), &options);
        let double = evaluate(&plan, &given(Kind::Double, &arguments), &options);
        let of_gradients = arguments.iter().filter(|(own, _)| *own != DESIRABLE);
        let of_gradients = of_gradients.map(|(own, _)| format!("grad.{own}"));
        for result in ["result".to_string()].into_iter().chain(of_gradients) {
            let (found, exact) = (reals(&single, &result), reals(&double, &result));
            for (found, exact) in found.iter().zip(&exact) {
                assert!(
                    (found - exact).abs() <= 1e-3 * exact.abs().max(1e-3),
                    "{name}, {result}: {found} for {exact}"
                );
            }
        }
    }
}
