//! Assertions of blocks: a run stops where one does not hold, before a weight changes.

use std::ops::ControlFlow;

use rlp_runtime::error::{Fault, RunError};
use rlp_runtime::resource::World;
use rlp_runtime::run::run;
use tch::{Device, Kind, Tensor};

use crate::program::compile;

const BLOCKS: &str = r#"
reward short(length: real[prompt, sample], most: real) -> real[prompt, sample] {
    assert length <= most
    -length
}

loss bounded(logp: real[prompt, sample, token], least: real) -> real {
    assert all(logp >= least)
    -mean(logp)
}

fn grouped(x: real[prompt, sample]) -> real {
    assert abs(mean(x, over: sample)) < 1e-6
    mean(x)
}

optimizer small(lr: real) {
    assert lr < 0.25
    param <- param - lr * grad
}

schedule growing() -> real {
    0.1 * step
}

fn checked(x: real) -> real {
    assert x < 2.5
    x
}
"#;

fn program(stage: &str) -> String {
    format!(
        r#"{BLOCKS}
        pipeline small_policy {{
            let task   = data.arithmetic(digits: 1, ops: "+")
            let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
            stage rl {{
                let drawn = sampler.rollout(policy, task, prompts: 6, samples: 2, max_tokens: 4)
                {stage}
            }}
        }}"#
    )
}

/// The steps that a run told, how it ended, and the weights it left.
fn ran(stage: &str) -> (u64, Option<RunError>, Vec<Tensor>) {
    tch::set_num_threads(1);
    let (plan, _) = compile(&program(stage));
    let mut world = World::open(&plan, 3, Kind::Double, Device::Cpu).unwrap();
    let mut steps = 0;
    let ended = run(&plan, &mut world, None, &mut |_| {
        steps += 1;
        ControlFlow::Continue(())
    });
    let parameters = world.models[0].network.parameters();
    let weights = parameters.iter().map(|own| own.value.copy()).collect();
    (steps, ended.err(), weights)
}

fn train(loss: &str, rule: &str, steps: usize) -> String {
    format!(
        "train policy {{ minimize {loss} with {rule} steps {steps} minibatch 4 micro_batch 3 }}"
    )
}

type Broken = (String, Vec<(String, usize)>, Vec<(String, String)>);

/// What an assertion says that did not hold: its claim, where, and what it read there.
fn broken(error: Option<RunError>) -> Broken {
    let error = error.expect("the run stops");
    let place = error.place.as_ref().expect("an assertion has a place");
    assert!(!place.calls.is_empty(), "the call that led there is told");
    match error.fault {
        Fault::Assertion {
            claim, at, values, ..
        } => (claim, at, values),
        other => panic!("{other:?}"),
    }
}

fn fresh() -> Vec<Tensor> {
    let (_, _, weights) = ran("report length = mean(drawn.length)");
    weights
}

fn same(a: &[Tensor], b: &[Tensor]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.equal(b))
}

#[test]
fn a_reward_that_asserts_stops_the_step_before_its_update() {
    let stage = format!(
        "let score = short(drawn.length, 0.5)\n{}",
        train(
            "loss.reinforce(logp(policy, drawn), score)",
            "optimizer.sgd(lr: 0.1)",
            2
        )
    );
    let (steps, error, weights) = ran(&stage);
    let (claim, at, values) = broken(error);
    assert_eq!(claim, "`reward.short` needs `length <= most`");
    assert_eq!(at, [("prompt".to_string(), 0), ("sample".to_string(), 0)]);
    assert_eq!(values[0].0, "length");
    assert_eq!(values[1], ("most".to_string(), "0.5".to_string()));
    assert_eq!(steps, 0);
    assert!(same(&weights, &fresh()));
}

#[test]
fn what_holds_changes_nothing() {
    let with = |loss: &str| {
        let (steps, error, weights) = ran(&train(loss, "optimizer.sgd(lr: 0.1)", 2));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(steps, 2);
        weights
    };
    let asserted = with("bounded(logp(policy, drawn), -1000)");
    assert!(same(&asserted, &with("-mean(logp(policy, drawn))")));
    assert!(!same(&asserted, &fresh()));
}

#[test]
fn a_loss_that_asserts_stops_on_the_minibatch_and_names_the_element() {
    let stage = train(
        "bounded(logp(policy, drawn), -1)",
        "optimizer.sgd(lr: 0.1)",
        2,
    );
    let (steps, error, weights) = ran(&stage);
    let (claim, at, values) = broken(error);
    assert_eq!(claim, "`loss.bounded` needs `all(logp >= least)`");
    let names: Vec<&str> = at.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["prompt", "sample", "token"]);
    let least = ("least".to_string(), "-1".to_string());
    assert!(values.contains(&least), "{values:?}");
    let (_, logp) = values.iter().find(|(name, _)| name == "logp").unwrap();
    assert!(logp.parse::<f64>().unwrap() < -1.0, "{logp}");
    assert_eq!(steps, 0);
    assert!(same(&weights, &fresh()));
}

/// On a minibatch that cut a group in two the mean of a group would not be 0.
#[test]
fn groups_that_an_assertion_needs_are_not_cut() {
    let stage = train(
        "grouped(sum(logp(policy, drawn), over: token) - repeat(mean(sum(logp(policy, drawn), over: token), over: sample), \
         like: drawn.length)) - mean(logp(policy, drawn))",
        "optimizer.sgd(lr: 0.1)",
        1,
    );
    let (_, error, _) = ran(&stage);
    assert!(error.is_none(), "{error:?}");
}

/// 0.1, 0.2, 0.3: the third update is refused, after three steps of one minibatch each less one.
#[test]
fn an_optimizer_that_asserts_stops_before_the_update_it_refuses() {
    let rule = |lr: &str, steps: usize| {
        let loss = "-mean(logp(policy, drawn))";
        ran(&format!(
            "train policy {{ minimize {loss} with small(lr: {lr}) steps {steps} }}"
        ))
    };
    let (steps, error, weights) = rule("growing()", 5);
    let (claim, at, values) = broken(error);
    assert_eq!(claim, "`optimizer.small` needs `lr < 0.25`");
    assert!(at.is_empty());
    assert_eq!(values[0].0, "lr");
    assert!(values[0].1.starts_with("0.3"), "{values:?}");
    assert_eq!(steps, 2);
    assert!(same(&weights, &rule("growing()", 2).2));
}

#[test]
fn a_schedule_that_asserts_is_checked_at_its_own_update() {
    let stage = "train policy { minimize -mean(logp(policy, drawn)) with optimizer.sgd(lr: 0.01 * checked(10 * growing())) steps 5 }";
    let (steps, error, _) = ran(stage);
    let (claim, _, values) = broken(error);
    assert_eq!(claim, "`fn.checked` needs `x < 2.5`");
    assert!(values[0].1.starts_with('3'), "{values:?}");
    assert_eq!(steps, 2);
}

#[test]
fn a_report_that_asserts_is_checked_when_it_is_due() {
    let stage = "state n = 0.0\nn <- n + 1\nreport every 4 n = checked(n)\nsteps 8\nreport length = mean(drawn.length)";
    let (steps, error, _) = ran(stage);
    let (claim, _, values) = broken(error);
    assert_eq!(claim, "`fn.checked` needs `x < 2.5`");
    assert_eq!(values, [("x".to_string(), "3".to_string())]);
    assert_eq!(steps, 3);
}
