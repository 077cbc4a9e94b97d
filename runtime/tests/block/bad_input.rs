//! What comes out of the blocks of the reasoning papers when rewards are all equal, when no answer is right, when every
//! response is cut off, and when a reward is no number: the pages of the blocks say it, and here they are held to it.

use rlp_runtime::block::{Content, ExecutorChoice, Inputs, Options, evaluate};
use rlp_runtime::tensor::{Tensor, Value};

use crate::{OPTIONS, plan};

/// An argument: its numbers, row by row, and its shape.
#[derive(Clone)]
struct Argument {
    name: &'static str,
    shape: Vec<i64>,
    values: Vec<f64>,
    is_bool: bool,
}

fn reals(name: &'static str, shape: &[i64], values: &[f64]) -> Argument {
    Argument {
        name,
        shape: shape.to_vec(),
        values: values.to_vec(),
        is_bool: false,
    }
}

fn bools(name: &'static str, shape: &[i64], values: &[f64]) -> Argument {
    Argument {
        is_bool: true,
        ..reals(name, shape, values)
    }
}

/// What is done to an argument.
#[derive(Clone, Copy)]
enum Change {
    /// The rewards all earn the same.
    Equal,
    /// No answer is right, or no response has come to its end.
    None,
    /// Every response is far beyond its limit.
    Long,
    /// The first is no number.
    Nan,
}

impl Change {
    fn of(self, argument: &mut Argument) {
        match self {
            Change::Equal => argument.values.fill(1.0),
            Change::None => argument.values.fill(0.0),
            Change::Long => argument.values.fill(1e6),
            Change::Nan => argument.values[0] = f64::NAN,
        }
    }
}

/// Two prompts of two samples of two tokens.
const GROUPS: [i64; 2] = [2, 2];
const TOKENS: [i64; 3] = [2, 2, 2];
const OBJECTIVES: [i64; 3] = [2, 2, 2];
const EIGHT: [f64; 8] = [-0.5, -1.0, -0.25, -2.0, -0.75, -1.5, -0.1, -0.3];
const FOUR: [f64; 4] = [0.25, 1.0, 0.5, 0.75];

fn case(name: &'static str, arguments: Vec<Argument>, changes: &[(&'static str, Change)]) -> Case {
    Case {
        name,
        arguments,
        changes: changes.to_vec(),
    }
}

struct Case {
    name: &'static str,
    arguments: Vec<Argument>,
    changes: Vec<(&'static str, Change)>,
}

fn cases() -> Vec<Case> {
    use Change::{Equal, Long, Nan, None};
    let score = || reals("score", &GROUPS, &FOUR);
    let correct = || bools("correct", &GROUPS, &[1.0, 0.0, 1.0, 1.0]);
    let length = || reals("length", &GROUPS, &[3.0, 5.0, 4.0, 9.0]);
    let tokens = |name| reals(name, &TOKENS, &EIGHT);
    let pair = |name, values: [f64; 2]| reals(name, &[2], &values);
    let number = |name, value: f64| reals(name, &[], &[value]);
    let several = |name| reals(name, &OBJECTIVES, &EIGHT);
    let each = |name| reals(name, &[2], &[0.4, 0.3]);
    let finished = || bools("finished", &GROUPS, &[1.0, 0.0, 1.0, 1.0]);
    let scored = [("score", Equal), ("score", None), ("score", Nan)];
    let pairs = || {
        vec![
            pair("logp_a", [-1.0, -2.0]),
            pair("logp_b", [-1.5, -1.0]),
            pair("reward_a", [1.0, 0.5]),
            pair("reward_b", [0.25, 2.0]),
        ]
    };
    let ratios = || {
        let old = [
            pair("old_logp_a", [-1.2, -2.0]),
            pair("old_logp_b", [-1.4, -1.1]),
        ];
        [pairs(), old.to_vec()].concat()
    };
    let even_pairs = [("reward_a", None), ("reward_a", Nan)];
    vec![
        case(
            "advantage.egae",
            vec![tokens("reward"), tokens("value"), finished()],
            &[
                ("reward", Equal),
                ("reward", None),
                ("finished", None),
                ("reward", Nan),
            ],
        ),
        case(
            "loss.tppo_policy",
            vec![
                tokens("logp"),
                tokens("old_logp"),
                tokens("advantage"),
                bools("fresh", &TOKENS, &[1.0; 8]),
            ],
            &[
                ("advantage", Equal),
                ("advantage", None),
                ("fresh", None),
                ("advantage", Nan),
            ],
        ),
        case(
            "loss.tppo_value",
            vec![tokens("value"), tokens("reward"), finished()],
            &[
                ("reward", Equal),
                ("reward", None),
                ("finished", None),
                ("reward", Nan),
            ],
        ),
        case(
            "advantage.positive_softmax",
            vec![reals("preference", &GROUPS, &FOUR), correct()],
            &[
                ("preference", Equal),
                ("correct", None),
                ("preference", Long),
                ("preference", Nan),
            ],
        ),
        case(
            "loss.drpo",
            vec![
                tokens("logp"),
                tokens("old_logp"),
                correct(),
                length(),
                number("max_length", 10.0),
            ],
            &[
                ("correct", Equal),
                ("correct", None),
                ("length", Long),
                ("length", Nan),
            ],
        ),
        case(
            "loss.disco",
            vec![tokens("logp"), tokens("old_logp"), correct()],
            &[("correct", Equal), ("correct", None), ("logp", Nan)],
        ),
        case(
            "reward.brevity",
            vec![length(), number("max_length", 10.0)],
            &[("length", Equal), ("length", Long), ("length", Nan)],
        ),
        case("advantage.batch_norm", vec![score()], &scored),
        case("advantage.group_norm", vec![score()], &scored),
        case("advantage.group_center", vec![score()], &scored),
        case("advantage.group_batch_norm", vec![score()], &scored),
        case(
            "advantage.whiten",
            vec![tokens("advantage")],
            &[
                ("advantage", Equal),
                ("advantage", None),
                ("advantage", Nan),
            ],
        ),
        case(
            "reward.truncation",
            vec![score(), length(), number("limit", 8.0)],
            &[
                ("score", Equal),
                ("score", None),
                ("length", Long),
                ("score", Nan),
            ],
        ),
        case(
            "reward.difficulty_truncation",
            vec![score(), length(), number("short", 4.0), number("long", 8.0)],
            &[
                ("score", Equal),
                ("score", None),
                ("length", Long),
                ("score", Nan),
            ],
        ),
        case(
            "fn.outlier_cutoff",
            vec![length(), correct()],
            &[
                ("length", Equal),
                ("correct", None),
                ("length", Long),
                ("length", Nan),
            ],
        ),
        case(
            "loss.kl_cov",
            vec![
                tokens("logp"),
                tokens("old_logp"),
                reals("advantage", &GROUPS, &FOUR),
            ],
            &[
                ("advantage", Equal),
                ("advantage", None),
                ("advantage", Nan),
            ],
        ),
        case(
            "reward.top_lambda",
            vec![correct(), length(), number("top", 1.0)],
            &[
                ("correct", Equal),
                ("correct", None),
                ("length", Long),
                ("length", Nan),
            ],
        ),
        case(
            "reward.zscore_length",
            vec![correct(), length()],
            &[
                ("correct", Equal),
                ("correct", None),
                ("length", Long),
                ("length", Nan),
            ],
        ),
        case("loss.pairwise_pg", pairs(), &even_pairs),
        case("loss.p3o_separate", ratios(), &even_pairs),
        case("loss.p3o_joint", ratios(), &even_pairs),
        case(
            "reward.kl_shaped",
            vec![score(), tokens("logp"), tokens("ref_logp")],
            &scored,
        ),
        case(
            "fn.tri_factor",
            vec![several("score"), each("risk")],
            &scored,
        ),
        case(
            "loss.bt_ties",
            vec![
                pair("chosen_reward", [1.0, 2.0]),
                pair("rejected_reward", [0.5, 3.0]),
                bools("tie", &[2], &[0.0, 1.0]),
            ],
            &[
                ("chosen_reward", Equal),
                ("tie", Equal),
                ("chosen_reward", Nan),
            ],
        ),
        case(
            "reward.reference_frozen",
            vec![several("score"), each("ref_mean"), each("ref_std")],
            &scored,
        ),
        case(
            "reward.weighted",
            vec![several("score"), each("weight")],
            &scored,
        ),
        case(
            "reward.saturated",
            vec![several("score"), each("threshold")],
            &scored,
        ),
        case(
            "fn.standardized",
            vec![reals("x", &GROUPS, &FOUR)],
            &[("x", Equal), ("x", None), ("x", Nan)],
        ),
        case(
            "advantage.lagrangian",
            vec![
                several("constraint"),
                reals("base", &GROUPS, &FOUR),
                each("multiplier"),
            ],
            &[
                ("constraint", Equal),
                ("constraint", None),
                ("constraint", Nan),
                ("base", Nan),
            ],
        ),
        case(
            "loss.multiplier",
            vec![each("multiplier"), several("value"), each("threshold")],
            &[("value", Equal), ("value", None), ("value", Nan)],
        ),
        case(
            "search.nelder_mead",
            vec![
                number("value", 1.0),
                each("point"),
                reals("simplex", &[3, 2], &[0.4, 0.3, 0.5, 0.3, 0.4, 0.5]),
            ],
            &[("value", Equal), ("value", None), ("value", Nan)],
        ),
    ]
}

/// What a block says of the arguments, with gradients where they are asked for, or that it refuses them.
fn outcome(
    name: &str,
    arguments: &[Argument],
    (executor, gradients): (ExecutorChoice, bool),
) -> Option<Vec<Tensor>> {
    let mut inputs = Inputs::default();
    for argument in arguments {
        let tensor = Tensor::from_slice(&argument.values).reshape(&argument.shape);
        let tensor = if argument.is_bool {
            tensor.ne(0.0)
        } else {
            tensor
        };
        inputs.insert(argument.name, Content::Tensor(tensor));
    }
    let options = Options {
        executor,
        gradients,
        ..OPTIONS
    };
    let results = evaluate(&plan(name, &[]), &inputs, &options).ok()?;
    let tensors = results
        .into_iter()
        .filter(|(name, _)| !name.starts_with("state."));
    let tensors = tensors.filter_map(|(_, value)| match value {
        Value::Tensor(tensor) => Some(tensor),
        Value::Text(_) => None,
    });
    Some(tensors.collect())
}

fn all_finite(tensors: &[Tensor]) -> bool {
    let is_finite = |tensor: &Tensor| i64::try_from(tensor.isfinite().all()).unwrap() == 1;
    tensors.iter().all(is_finite)
}

#[test]
fn bad_rewards_give_numbers_or_stop_the_run() {
    tch::set_num_threads(1);
    for executor in [ExecutorChoice::Eager, ExecutorChoice::Fused] {
        for Case {
            name,
            arguments,
            changes,
        } in cases()
        {
            for (changed, change) in changes {
                let mut arguments = arguments.clone();
                let place = arguments.iter().position(|own| own.name == changed);
                change.of(&mut arguments[place.unwrap()]);
                let found = outcome(name, &arguments, (executor, true));
                match change {
                    Change::Equal | Change::None | Change::Long => {
                        let found = found.unwrap_or_else(|| panic!("{name} refuses {changed}"));
                        // The least value of a search is infinite before the first.
                        assert!(all_finite(&found), "{name}, {changed}: {found:?}");
                    }
                    // A NaN must come out, so that the run stops at it, or be refused at once.
                    Change::Nan => assert!(
                        found.as_ref().is_none_or(|found| !all_finite(found)),
                        "{name} swallows a NaN in {changed}: {found:?}"
                    ),
                }
            }
        }
    }
}

/// The page of each of these blocks says what becomes of a NaN.
#[test]
fn pages_speak_of_bad_rewards() {
    for Case { name, .. } in cases() {
        let (kind, block) = name.split_once('.').unwrap();
        let path = rlp_stdlib::defining(kind, block).unwrap();
        let text = rlp_stdlib::file(path).unwrap();
        let all = rlp_compiler::doc::blocks(path, text);
        let page = all.iter().find(|own| own.name == block).unwrap();
        let speaks = ["NaN", "not a finite number"]
            .iter()
            .any(|word| page.doc.contains(word));
        assert!(speaks, "{name}: {}", page.doc);
    }
}

/// A group with a NaN is not taken for an even one, which would be dropped.
#[test]
fn a_group_with_a_nan_varies() {
    for executor in [ExecutorChoice::Eager, ExecutorChoice::Fused] {
        let score = reals("score", &[3, 2], &[f64::NAN, 1.0, 1.0, 1.0, 1.0, f64::NAN]);
        let found = outcome("fn.varies", &[score], (executor, false)).unwrap();
        let varies: Vec<i64> =
            Vec::try_from(found[0].to_kind(rlp_runtime::tensor::Kind::Int64)).unwrap();
        assert_eq!(varies, [1, 0, 1]);
    }
}
