//! Training in both executors.

use rlp_runtime::executor::ExecutorChoice;
use tch::Kind;

use crate::program::{Told, told_by};

/// A supervised stage, and one of rollouts with a critic-free surrogate, a penalty, clipping, and states.
const PROGRAM: &str = r#"
    pipeline both {
        let task   = data.arithmetic(digits: 1, ops: "+")
        let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
        stage warmup {
            let demos = sampler.once(sampler.demonstrations(task, prompts: 48))
            train policy {
                minimize loss.nll(logp(policy, demos))
                with optimizer.adamw(lr: schedule.constant_with_warmup(1e-2, warmup: 4))
                steps 12
                minibatch 16
            }
        }
        stage rl {
            let rollouts = sampler.rollout(policy, task, prompts: 6, samples: 4, max_tokens: 5)
            let score    = reward.exact_answer(rollouts.text, rollouts.answer) - 0.01 * rollouts.length
            let adv      = advantage.group_norm(score)
            train policy {
                minimize loss.ppo_clip(logp(policy, rollouts), rollouts.logp, adv)
                         + 0.05 * loss.kl_k3(logp(policy, rollouts), logp(frozen(policy), rollouts))
                         + 0.01 * loss.entropy_bonus(entropy(policy, rollouts))
                with optimizer.lion(lr: 1e-3) on matrices(policy), optimizer.adamw(lr: 1e-3) on others(policy)
                steps 6
                epochs 2
                minibatch 8
                clip_norm 0.5
            }
            report score = mean(score), length = mean(rollouts.length)
        }
    }
"#;

fn numbers(told: &Told) -> Vec<f64> {
    let trained = told.steps.iter().flat_map(|step| &step.trained);
    let trained = trained.flat_map(|trained| [trained.loss, trained.grad_norm]);
    let metrics = told.steps.iter().flat_map(|step| &step.metrics);
    trained.chain(metrics.map(|(_, value)| *value)).collect()
}

fn run(executor: ExecutorChoice, kind: Kind) -> Told {
    told_by(executor, PROGRAM, 5, kind).unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn both_executors_train_alike() {
    for (kind, within) in [(Kind::Float, 1e-4), (Kind::Double, 1e-9)] {
        let [eager, fused] = [ExecutorChoice::Eager, ExecutorChoice::Fused]
            .map(|executor| numbers(&run(executor, kind)));
        assert_eq!(eager.len(), fused.len());
        for (eager, fused) in eager.iter().zip(&fused) {
            assert!(
                (eager - fused).abs() <= within * (1.0 + eager.abs()),
                "{kind:?}: {fused} is not {eager}"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_twice() {
    let [one, two] = [(); 2].map(|()| run(ExecutorChoice::Fused, Kind::Float));
    assert_eq!(numbers(&one), numbers(&two));
    for ((name, one), (_, two)) in one.weights.iter().zip(&two.weights) {
        assert!(one.equal(two), "{name} differs");
    }
}
