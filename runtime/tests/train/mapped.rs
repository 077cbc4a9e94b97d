//! Models whose weights are a function of those of others.

use rlp_runtime::resource::World;
use rlp_runtime::run::run;
use std::ops::ControlFlow;
use tch::{Device, Kind, Tensor};

use crate::program::{compile, told};

fn program(function: &str, stage: &str) -> String {
    format!(
        "fn of_both(base: real[row, col], tuned: real[row, col]) -> real[row, col] {{ {function} }}
        pipeline p {{
            let task   = data.arithmetic(digits: 1, ops: \"+\")
            let policy = model.causal_lm(layers: 1, hidden: 8, heads: 2, ffn: 16)
            let both   = model.map(of_both, base: frozen(policy), tuned: policy)
            stage learn {{
                let demos = sampler.demonstrations(task, prompts: 4)
                train policy {{
                    minimize loss.nll(logp(policy, demos))
                    with     optimizer.sgd(lr: 0.5)
                    steps    3
                }}
                {stage}
            }}
        }}"
    )
}

/// One side alone is a copy of it: of what training started from, and of what each step starts from.
#[test]
fn one_side_of_a_map_is_a_copy_of_it() {
    let report = "report far = max(abs(logp(both, demos) - logp(frozen(policy), demos))),
                         near = max(abs(logp(both, demos) - logp(frozen(policy, every: 1), demos)))";
    for (function, same, other) in [
        ("base + 0 * tuned", "far", "near"),
        ("tuned + 0 * base", "near", "far"),
    ] {
        let told = told(&program(function, report), 1, Kind::Double);
        assert!(
            told.metric(same).iter().all(|gap| *gap < 1e-12),
            "{function}"
        );
        let moved = told.metric(other);
        assert_eq!(moved[0], 0.0, "{function}: nothing has moved yet");
        assert!(
            moved[1..].iter().all(|gap| *gap > 1e-3),
            "{function}: {moved:?}"
        );
    }
}

/// At the end of a stage that reads it a map has the weights of then, vectors among them.
#[test]
fn a_map_is_left_with_the_weights_of_the_end() {
    tch::set_num_threads(1);
    let text = program(
        "base + 0.25 * (tuned - base)",
        "report both = mean(logp(both, demos))",
    );
    let (plan, _) = compile(&text);
    let mut world = World::open(&plan, 1, Kind::Double, Device::Cpu).unwrap();
    let weights = |world: &World, model: usize| -> Vec<Tensor> {
        let parameters = world.models[model].network.parameters().iter();
        parameters.map(|own| own.value.copy()).collect()
    };
    let start = weights(&world, 0);
    run(&plan, &mut world, None, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(world.models[1].name, "both");
    for ((base, tuned), both) in start.iter().zip(weights(&world, 0)).zip(weights(&world, 1)) {
        assert!(!base.equal(&tuned));
        let expected: Tensor = base + (&tuned - base) * 0.25;
        assert!(f64::try_from((&expected - &both).abs().max()).unwrap() < 1e-12);
    }
}
