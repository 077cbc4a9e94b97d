//! `resume`, for every kind of state that a run can have: in each pipeline of these, whichever step it goes on from, the rest is
//! the same to the bit. With two threads: `resume.rs` has one.

use crate::Folder;
use crate::resume::resumed;

/// A pipeline, after how many of its steps it is to go on, and a file that it reads.
struct Case {
    name: &'static str,
    text: &'static str,
    after: &'static [u64],
    file: Option<(&'static str, &'static str)>,
}

const CASES: &[Case] = &[
    Case {
        name: "memories, schedules, minibatches that are left out",
        text: r#"
pipeline p {
    let task   = data.arithmetic(digits: 1, ops: "+")
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    stage remember {
        let demos = sampler.demonstrations(task, prompts: 16)
        let l     = logp(policy, demos)
        state last = memory(demos, initial: 0.0)
        state seen = memory(demos, initial: false)
        last <- -mean(l, over: token)
        seen <- last == last
        let weight = if seen { 1 + last / 10 } else { 1.0 }
        train policy {
            minimize mean(-mean(l, over: token) * weight)
            with     optimizer.adamw(lr: schedule.cosine(peak: 1e-2, warmup: 2))
            steps    9
            minibatch 8
            micro_batch 3
            clip_norm 0.5
        }
        report seen = sum(real(seen))
    }
    stage skip {
        let rollouts = sampler.rollout(policy, task, prompts: 8, samples: 1, max_tokens: 2)
        let short    = sum(2 - rollouts.length)
        train policy {
            minimize  mean(logp(policy, rollouts)) * log(short)
            with      optimizer.adamw(lr: schedule.linear(peak: 1e-3)) keep state
            steps     5
            minibatch 1
            on_nonfinite skip(99)
        }
    }
}
"#,
        after: &[2, 5, 9, 11],
        file: None,
    },
    Case {
        name: "small models, their gradients, tensors and fixed parts",
        text: r#"
/// A line through the origin, seen through a fixed stretch.
model stretched(inputs: int) {
    param weight: real[feature: inputs] = 0.1 * random.normal(feature)
    let   stretch: real[feature: inputs] = 1 + random.uniform(feature)

    fn value(x: real[.., feature]) -> real[..] {
        dot(weight * stretch, x, over: feature)
    }
}

/// Steps along the direction in which the first gradient has no part.
optimizer turned(lr: real) {
    state total = zeros_like(param)
    state first init grad
    state count = 0.0
    total <- 0.9 * total + grad
    count <- count + 1
    param <- param - lr * (total - first / (1 + count))
}

pipeline p {
    let task   = data.conflicting_pairs(inputs: 3, pairs: 40)
    let net    = model.mlp(inputs: 3, hidden: [4])
    let line   = stretched(inputs: 3)
    let weight = model.vector(objective: 2, start: 0.5)
    param bent: real[objective: 2] = [0.1, 0.2]
    stage first {
        let ahead  = value(net, task.a) - value(net, task.b) + value(line, task.a) - value(line, task.b)
        let losses = -mean(log_sigmoid(task.preference * ahead), over: pair)
        let slopes = grad(losses, wrt: net)
        let scale  = 1 / (0.1 + norm(slopes, over: parameter))
        train net, line, weight, bent {
            minimize sum(stop_grad(scale) * losses) + sum(weight^2) + sum((bent - frozen(bent, every: 3) - weight)^2)
            with     turned(lr: 0.05) on others(net), optimizer.adam(lr: 0.01) on "*"
            steps    7
        }
        report steep = norm(slopes)
    }
    stage second {
        state best = 0.0
        best <- max(best, mean(value(net, task.a)))
        train net {
            minimize mean((value(net, task.a) - value(frozen(net), task.b))^2)
                     + mean((value(line, task.a) - value(frozen(line), task.b))^2)
            with     optimizer.lion(lr: 0.01)
            steps    4
        }
        report best = best
    }
}
"#,
        after: &[1, 3, 7, 8],
        file: None,
    },
    Case {
        name: "preferences of pairs that are drawn once and at every step",
        text: r#"
pipeline p {
    let task   = data.preference_bandit(prompts: 4, actions: 5)
    let policy = model.tabular(task)
    let judge  = model.tabular(task)
    stage reward {
        let duo   = sampler.once(sampler.rollout_pairs(policy, task, pairs: 60, max_tokens: 1))
        let pairs = sampler.preferences(duo, task.gold(duo.a.text), task.gold(duo.b.text))
        train judge {
            minimize loss.bradley_terry(value(judge, pairs.chosen), value(judge, pairs.rejected))
            with     optimizer.adam(lr: 0.05)
            steps    5
            minibatch 16
        }
    }
    stage align {
        let duo   = sampler.rollout_pairs(policy, task, pairs: 40, max_tokens: 1)
        let pairs = sampler.preferences(duo, value(judge, duo.a), value(judge, duo.b), temperature: 0.5)
        let ref   = frozen(policy, every: 2)
        let c     = sum(logp(policy, pairs.chosen), over: token) - sum(logp(ref, pairs.chosen), over: token)
        let r     = sum(logp(policy, pairs.rejected), over: token) - sum(logp(ref, pairs.rejected), over: token)
        train policy {
            minimize -mean(log_sigmoid(c - r))
            with     optimizer.rmsprop(lr: 0.01)
            steps    5
        }
        report flipped = mean(real(pairs.flipped))
    }
}
"#,
        after: &[2, 5, 7],
        file: None,
    },
    Case {
        name: "rows of a file, values, filters, a multiplier",
        text: r#"
pipeline p {
    let rows   = data.comparisons("rows.jsonl")
    let task   = data.running_sum(terms: 2, redundancy: 2)
    let policy = model.causal_lm(layers: 1, hidden: 16, heads: 2, ffn: 32)
    let critic = model.value_lm(layers: 1, hidden: 8, heads: 1, ffn: 16)
    stage pairs {
        let pairs = sampler.comparisons(rows, pairs: 3)
        let c     = sum(logp(policy, pairs.chosen), over: token)
        let r     = sum(logp(policy, pairs.rejected), over: token)
        let old_c = sum(logp(frozen(policy), pairs.chosen), over: token)
        let old_r = sum(logp(frozen(policy), pairs.rejected), over: token)
        train policy {
            minimize loss.dpo(c, r, old_c, old_r)
            with     optimizer.adagrad(lr: 0.01)
            steps    4
        }
    }
    stage rl {
        let drawn    = sampler.rollout(policy, task, prompts: 6, samples: 3, max_tokens: 4)
        let rollouts = sampler.dynamic(drawn with { score: drawn.length }, rounds: 2)
        let v        = value(critic, rollouts)
        let gain     = rollouts.score - mean(v)
        train policy {
            minimize loss.ppo_clip(logp(policy, rollouts), rollouts.logp, gain)
            with     optimizer.adamw(lr: 0.01)
            steps    5
            epochs   2
        }
        train critic {
            minimize loss.value_mse(v, repeat(rollouts.score, like: v))
            with     optimizer.sgd(lr: 0.01)
            steps    5
        }
        report length = mean(drawn.length)
    }
}
"#,
        after: &[1, 4, 6],
        file: Some((
            "rows.jsonl",
            concat!(
                "{\"prompt\": \"1+1=\", \"chosen\": \"2\", \"rejected\": \"11\"}\n",
                "{\"prompt\": \"2+1=\", \"chosen\": \"3\", \"rejected\": \"21\"}\n",
                "{\"prompt\": \"2+2=\", \"chosen\": \"4\", \"rejected\": \"22\"}\n",
                "{\"prompt\": \"5+2=\", \"chosen\": \"7\", \"rejected\": \"52\"}\n",
            ),
        )),
    },
];

#[test]
fn every_kind_of_state_is_saved() {
    for case in CASES {
        let folder = Folder::new(case.name);
        folder.write("p.rlp", case.text);
        if let Some((name, text)) = case.file {
            folder.write(name, text);
        }
        resumed(&folder, "2", case.after);
    }
}
