//! What is compared: the commands of ours, and the rows that set their numbers beside those of others.

/// A command of ours, measured once a round.
pub(super) struct Ours {
    pub(super) name: &'static str,
    /// Those of one group take turns with one script of the others.
    pub(super) group: &'static str,
    pub(super) work: Work,
}

#[derive(Clone, Copy)]
pub(super) enum Work {
    /// `rlpc bench` with these arguments.
    Bench(&'static [&'static str]),
    /// The first step of a pipeline, from the start of the process.
    FirstStep(&'static str),
}

const fn bench(
    group: &'static str,
    name: &'static str,
    arguments: &'static [&'static str],
) -> Ours {
    Ours {
        name,
        group,
        work: Work::Bench(arguments),
    }
}

const COMPLETIONS: &str = "--size=prompt=100000,sample=1";
const VALUES: &str = "--parameters=21.2M";
const LOSS: &str = "benches/losses.rlp:loss.clip_with_kl";

#[rustfmt::skip]
pub(super) const OURS: &[Ours] = &[
    bench("grpo-a", "grpo A", &["benches/pipelines/grpo_a.rlp", "--steps=6"]),
    bench("grpo-b", "grpo B", &["benches/pipelines/grpo_b.rlp", "--steps=6"]),
    bench("grpo-c", "grpo C", &["benches/pipelines/grpo_c.rlp", "--steps=4"]),
    bench("grpo-v", "grpo V", &["benches/pipelines/grpo_v.rlp", "--steps=4"]),
    bench("gen", "rollout 1", &["benches/pipelines/rollout.rlp", "--set=prompts=1", "--steps=6"]),
    bench("gen", "rollout 16", &["benches/pipelines/rollout.rlp", "--set=prompts=16", "--steps=6"]),
    bench("gen", "rollout 128", &["benches/pipelines/rollout.rlp", "--set=prompts=128", "--steps=6"]),
    // Of this setting the head alone: 4096 tokens, width 128, 32,768 words.
    bench("head", "head", &["benches/pipelines/grpo_v.rlp", "--steps=4"]),
    bench(
        "loss",
        "loss",
        &[LOSS, "--size=prompt=512,sample=1,token=4096", "--filled=0.9", "--wrt=logp", "--executor=fused"],
    ),
    bench(
        "loss",
        "loss, small",
        &[LOSS, "--size=prompt=128,sample=1,token=64", "--filled=0.9", "--wrt=logp", "--executor=fused"],
    ),
    bench("optim", "adamw", &["optimizer.adamw", VALUES]),
    bench("optim", "lion", &["optimizer.lion", VALUES]),
    bench("optim", "frugal", &["optimizer.frugal", VALUES]),
    bench("optim", "fira", &["optimizer.fira", VALUES, "--set=rank=64"]),
    bench("reward", "tagged_answer", &["benches/rewards.rlp:reward.tagged_answer", COMPLETIONS, "--executor=fused"]),
    bench("reward", "well_formed", &["benches/rewards.rlp:reward.well_formed", COMPLETIONS, "--executor=fused"]),
    bench("reward", "repetition", &["benches/text_rewards.rlp:reward.repeated", COMPLETIONS, "--executor=fused"]),
    bench(
        "reward",
        "edit_distance",
        &["benches/text_rewards.rlp:reward.distance", COMPLETIONS, "--characters=120", "--executor=fused"],
    ),
    bench(
        "reward",
        "arithmetic",
        &["benches/rewards.rlp:reward.arithmetic", "--size=prompt=1048576,sample=1", "--executor=fused"],
    ),
    Ours {
        name: "first step",
        group: "imports",
        work: Work::FirstStep("examples/quickstart.rlp"),
    },
];

/// One line of the table.
pub(super) struct Row {
    pub(super) work: &'static str,
    pub(super) ours: Figure,
    pub(super) peer: Figure,
    pub(super) unit: Unit,
    pub(super) goal: Goal,
}

/// A number of a measured line: which line, where in it, and for how many pieces of work it stands.
#[derive(Clone, Copy)]
pub(super) struct Figure {
    /// Of ours its name; of the others `bench: case`.
    pub(super) line: &'static str,
    /// A JSON pointer.
    pub(super) field: &'static str,
    pub(super) per: f64,
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    Seconds,
    Mebibytes,
    /// The figures are seconds a token.
    Tokens,
}

#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// So many times as fast, or as small.
    Times(f64),
    /// Ours at most so much.
    AtMost(f64),
}

const fn of(line: &'static str, field: &'static str) -> Figure {
    Figure {
        line,
        field,
        per: 1.0,
    }
}

const fn each(line: &'static str, field: &'static str, per: f64) -> Figure {
    Figure { line, field, per }
}

const fn row(work: &'static str, ours: Figure, peer: Figure, unit: Unit, goal: Goal) -> Row {
    Row {
        work,
        ours,
        peer,
        unit,
        goal,
    }
}

use Goal::{AtMost, Times};
use Unit::{Mebibytes, Seconds, Tokens};

const CPU: &str = "/cpu_seconds";
const FIRST: &str = "/first_seconds";
const PER_TOKEN: &str = "/cpu_microseconds_per_token";
const PEAK: &str = "/peak_mib";
const HEAD: &str = "/parts/update: head/cpu_seconds";
const MANY: f64 = 1e5;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("GRPO step, setting A: 16 × 8 responses of 64 tokens", of("grpo A", CPU), of("grpo: A", CPU), Seconds, Times(2.5)),
    row("GRPO step, setting B: 12 tokens, 2 epochs, KL", of("grpo B", CPU), of("grpo: B", CPU), Seconds, Times(3.0)),
    row("GRPO step, setting C: 7.2 M parameters", of("grpo C", CPU), of("grpo: C", CPU), Seconds, Times(1.5)),
    row("GRPO step, setting V: vocabulary 32,768", of("grpo V", CPU), of("grpo: V", CPU), Seconds, Times(3.0)),
    row("the same, peak memory", of("grpo V", PEAK), of("grpo: V", PEAK), Mebibytes, AtMost(819.0)),
    row("rollout, batch 1", each("rollout 1", PER_TOKEN, 1e6), each("gen: batch 1", CPU, 64.0), Tokens, Times(4.0)),
    row("rollout, batch 16", each("rollout 16", PER_TOKEN, 1e6), each("gen: batch 16", CPU, 1024.0), Tokens, Times(3.0)),
    row("rollout, batch 128", each("rollout 128", PER_TOKEN, 1e6), each("gen: batch 128", CPU, 8192.0), Tokens, Times(2.0)),
    row("vocabulary head, against `log_softmax` + gather", of("head", HEAD), of("head: log_softmax + gather", CPU), Seconds, AtMost(1.3)),
    row("vocabulary head, against TRL's chunks", of("head", HEAD), of("head: TRL chunked head", CPU), Seconds, AtMost(1.3)),
    row("PPO clip + k3, [512, 4096], against eager", of("loss", CPU), of("loss: eager [512, 4096]", CPU), Seconds, Times(8.0)),
    row("PPO clip + k3, [512, 4096], against `torch.compile`", of("loss", CPU), of("loss: torch.compile [512, 4096]", CPU), Seconds, Times(1.0)),
    row("PPO clip + k3, [128, 64], against eager", of("loss, small", CPU), of("loss: eager [128, 64]", CPU), Seconds, Times(1.0)),
    row("the same, time to the first result", of("loss, small", FIRST), of("loss: torch.compile [128, 64]", FIRST), Seconds, AtMost(0.05)),
    row("AdamW, 21.2 M values, against PyTorch's fused", of("adamw", CPU), of("optim: AdamW, fused", CPU), Seconds, Times(1.0)),
    row("Lion, against its authors' loop", of("lion", CPU), of("optim: Lion", CPU), Seconds, Times(3.0)),
    row("Lion, against `torch.compile`", of("lion", CPU), of("optim: Lion, compiled", CPU), Seconds, Times(1.0)),
    row("FRUGAL", of("frugal", CPU), of("optim: FRUGAL", CPU), Seconds, Times(3.0)),
    row("Fira, rank 64", of("fira", CPU), of("optim: Fira", CPU), Seconds, Times(1.0)),
    row("reward: tagged answer", each("tagged_answer", CPU, MANY), each("reward: tagged_answer", CPU, 20_000.0), Seconds, Times(10.0)),
    row("reward: format by regular expression", each("well_formed", CPU, MANY), each("reward: well_formed", CPU, 20_000.0), Seconds, Times(10.0)),
    row("reward: 3-gram repetition", each("repetition", CPU, MANY), each("reward: repetition", CPU, 20_000.0), Seconds, Times(20.0)),
    row("reward: edit distance, 120 × 120", each("edit_distance", CPU, MANY), each("reward: edit_distance", CPU, 200.0), Seconds, Times(100.0)),
    row("reward: arithmetic, against rustc", each("arithmetic", CPU, 1_048_576.0), each("reward: arithmetic, rustc", CPU, 1_048_576.0), Seconds, Times(0.8)),
    row("process start to the first step, against TRL's imports alone", of("first step", "/seconds"), of("imports: torch, transformers, trl", "/seconds"), Seconds, AtMost(0.5)),
];
