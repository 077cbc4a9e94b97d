//! Random numbers, the tokenizer, and the tasks.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use rlp_runtime::data::{
    Arithmetic, Letters, Problem, ProblemOrder, RunningSum, Split, Task, evaluation,
};
use rlp_runtime::error::ArgumentError;
use rlp_runtime::random::{Permutation, Purpose, Stream, philox};
use rlp_runtime::tokenizer::Tokenizer;

/// The known answers that come with Random123 (`tests/kat_vectors`, philox4x32 of 10 rounds).
#[test]
fn philox_gives_the_known_answers() {
    let cases = [
        (
            [0; 4],
            [0; 2],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        ),
        (
            [u32::MAX; 4],
            [u32::MAX; 2],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        ),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, expected) in cases {
        assert_eq!(philox(counter, key), expected);
    }
}

#[test]
fn draws_depend_on_every_part_of_their_key() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for seed in 0..3 {
        for purpose in [Purpose::Sample, Purpose::Order] {
            for step in 0..3 {
                for item in 0..3 {
                    let stream = Stream::new(seed, purpose).at(step).at(item);
                    seen.extend((0..3).map(|position| stream.bits(position)));
                    count += 3;
                }
            }
        }
    }
    assert_eq!(seen.len(), count);
}

#[test]
fn normals_have_the_moments_of_a_standard_normal() {
    let stream = Stream::new(1, Purpose::Program);
    let n = 40_000;
    let mean = |power: i32| (0..n).map(|i| stream.normal(i).powi(power)).sum::<f64>() / n as f64;
    // Standard errors of the first four moments: √(1, 2, 15, 96) / √n = 0.005, 0.007, 0.019, 0.049.
    for (power, moment, error) in [
        (1, 0.0, 0.005),
        (2, 1.0, 0.007),
        (3, 0.0, 0.019),
        (4, 3.0, 0.049),
    ] {
        assert!(
            (mean(power) - moment).abs() < 4.0 * error,
            "moment {power}: {}",
            mean(power)
        );
    }
}

#[test]
fn permutations_visit_everything_once() {
    for size in [1, 2, 3, 10, 257, 5000] {
        let stream = Stream::new(size, Purpose::Order);
        let shuffled: BTreeSet<u64> = stream.permutation(size).into_iter().collect();
        let permutation = Permutation::new(stream, size);
        let walked: BTreeSet<u64> = (0..size).map(|index| permutation.at(index)).collect();
        assert_eq!(shuffled, (0..size).collect());
        assert_eq!(walked, (0..size).collect());
    }
}

/// All 24 orders of 4 elements come about equally often: χ² with 23 degrees of freedom is below 49.7 but once in 1000.
#[test]
fn permutations_of_four_are_uniform() {
    let mut counts: BTreeMap<Vec<u64>, f64> = BTreeMap::new();
    for index in 0..24 * 200 {
        let stream = Stream::new(5, Purpose::Shuffle).at(index);
        *counts.entry(stream.permutation(4)).or_default() += 1.0;
    }
    assert_eq!(counts.len(), 24);
    let chi_square: f64 = counts
        .values()
        .map(|count| (count - 200.0).powi(2) / 200.0)
        .sum();
    assert!(chi_square < 49.7, "{chi_square}");
}

#[test]
fn text_comes_back_and_bytes_that_are_no_text_do_not_panic() {
    let tokenizer = Tokenizer::Bytes;
    for text in ["", "12+34=", "Ω ≈ 3, naïve", "\0"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
    }
    assert_eq!(tokenizer.decode(&[52, 54, tokenizer.end(), 57]), "46");
    assert_eq!(tokenizer.decode(&[52, 0xC3, 54]), "4\u{FFFD}6");
    assert_eq!(tokenizer.decode(&[300, -1]), "\u{FFFD}\u{FFFD}");
}

fn all(task: &dyn Task, split: Split) -> Vec<Problem> {
    let stream = Stream::new(0, Purpose::Problem);
    (0..task.size(split))
        .map(|index| task.problem(split, index, stream.at(index)).unwrap())
        .collect()
}

#[test]
fn arithmetic_divides_every_problem_between_the_splits() {
    let task = Arithmetic::new(1, "+-*").unwrap();
    let prompts =
        |split| -> BTreeSet<String> { all(&task, split).into_iter().map(|p| p.prompt).collect() };
    let (train, held_out) = (prompts(Split::Train), prompts(Split::HeldOut));
    assert!(train.is_disjoint(&held_out));
    let mut expected = BTreeSet::new();
    for (a, b) in (0..10).flat_map(|a| (0..10).map(move |b| (a, b))) {
        expected.extend(["+", "-", "*"].map(|op| format!("{a}{op}{b}=")));
    }
    assert_eq!(
        train.union(&held_out).cloned().collect::<BTreeSet<_>>(),
        expected
    );
    // 45 pairs and 10 doubles: a tenth of each, rounded up, is (2 · 5 + 1) · 3 problems.
    assert_eq!(held_out.len(), 33);
}

#[test]
fn arithmetic_keeps_mirror_images_together_and_answers_right() {
    let task = Arithmetic::new(2, "-").unwrap();
    assert_eq!(
        (task.size(Split::Train), task.size(Split::HeldOut)),
        (9000, 1000)
    );
    let held_out = all(&task, Split::HeldOut);
    let prompts: BTreeSet<&str> = held_out.iter().map(|p| p.prompt.as_str()).collect();
    let ids: BTreeSet<u64> = held_out.iter().map(|p| p.id).collect();
    assert_eq!((prompts.len(), ids.len()), (1000, 1000));
    for problem in &held_out {
        let (left, right) = problem
            .prompt
            .trim_end_matches('=')
            .split_once('-')
            .unwrap();
        assert!(prompts.contains(format!("{right}-{left}=").as_str()));
        let difference = left.parse::<i64>().unwrap() - right.parse::<i64>().unwrap();
        assert_eq!(problem.answer, difference.to_string());
        assert_eq!(problem.demonstration, problem.answer);
    }
}

#[test]
fn arithmetic_of_six_digits_needs_no_table() {
    let task = Arithmetic::new(6, "+-*").unwrap();
    let last = task.size(Split::Train) - 1;
    assert_eq!(
        task.size(Split::Train) + task.size(Split::HeldOut),
        3_000_000_000_000
    );
    let problem = task
        .problem(Split::Train, last, Stream::new(0, Purpose::Problem))
        .unwrap();
    assert!(problem.prompt.len() <= 14);
}

#[test]
fn arguments_that_no_task_can_have_are_refused() {
    let message = |made: Result<Arithmetic, ArgumentError>| made.err().unwrap().message;
    assert_eq!(
        message(Arithmetic::new(7, "+")),
        "`digits` must be from 1 to 6, found 7"
    );
    assert_eq!(message(Arithmetic::new(2, "")), "`ops` names no operation");
    assert_eq!(
        message(Arithmetic::new(2, "+/")),
        "`ops` is made of `+`, `-` and `*`, found `/`"
    );
    assert_eq!(message(Arithmetic::new(2, "++")), "`ops` names `+` twice");
    let message = |made: Result<RunningSum, ArgumentError>| made.err().unwrap().message;
    assert_eq!(
        message(RunningSum::new(1, 3)),
        "`terms` must be from 2 to 12, found 1"
    );
    assert_eq!(
        message(RunningSum::new(3, -1)),
        "`redundancy` must be at least 0, found -1"
    );
}

/// The digits of a prompt such as `7+2+5=`.
fn terms(problem: &Problem) -> Vec<u64> {
    let digits = problem.prompt.strip_suffix('=').unwrap().split('+');
    digits.map(|digit| digit.parse().unwrap()).collect()
}

#[test]
fn without_redundancy_a_running_sum_writes_each_total_once() {
    let task = RunningSum::new(3, 0).unwrap();
    for problem in [all(&task, Split::Train), all(&task, Split::HeldOut)].concat() {
        let terms = terms(&problem);
        assert!(terms.iter().all(|&term| term < 10));
        let mut expected = String::new();
        for end in 2..=terms.len() {
            expected += &format!("{};", terms[..end].iter().sum::<u64>());
        }
        let total: u64 = terms.iter().sum();
        assert_eq!(problem.demonstration, format!("{expected}#{total}"));
        assert_eq!(problem.answer, total.to_string());
    }
}

#[test]
fn a_running_sum_writes_each_total_one_to_four_times_equally_often() {
    let task = RunningSum::new(3, 3).unwrap();
    let mut counts: BTreeMap<usize, f64> = BTreeMap::new();
    for problem in all(&task, Split::Train) {
        let terms = terms(&problem);
        // A term of 0 repeats the total before it, so that it cannot be told whose repeats are whose.
        if terms[1..].contains(&0) {
            continue;
        }
        let (worked, answer) = problem.demonstration.split_once('#').unwrap();
        assert_eq!(answer, problem.answer);
        let written: Vec<&str> = worked.strip_suffix(';').unwrap().split(';').collect();
        let runs: Vec<&[&str]> = written.chunk_by(|a, b| a == b).collect();
        let totals: Vec<String> = (2..=terms.len())
            .map(|end| terms[..end].iter().sum::<u64>().to_string())
            .collect();
        assert_eq!(runs.iter().map(|run| run[0]).collect::<Vec<_>>(), totals);
        for run in runs {
            *counts.entry(run.len()).or_default() += 1.0;
        }
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    let expected = counts.values().sum::<f64>() / 4.0;
    let chi_square: f64 = counts
        .values()
        .map(|count| (count - expected).powi(2) / expected)
        .sum();
    // 3 degrees of freedom: above 16.3 once in 1000.
    assert!(chi_square < 16.3, "{counts:?}");
}

#[test]
fn a_running_sum_has_every_number_of_terms_equally_often_and_no_problem_in_both_splits() {
    let task = RunningSum::new(3, 3).unwrap();
    let mut splits = Vec::new();
    // Of the 100 sums of two digits and the 1000 of three, a tenth is held out.
    for (split, two, three) in [(Split::Train, 90, 900), (Split::HeldOut, 10, 100)] {
        let problems = all(&task, split);
        let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
        for problem in &problems {
            *lengths.entry(terms(problem).len()).or_default() += 1;
        }
        assert_eq!(lengths, BTreeMap::from([(2, three), (3, three)]));
        let prompts: BTreeSet<String> = problems.iter().map(|p| p.prompt.clone()).collect();
        let ids: BTreeSet<u64> = problems.iter().map(|p| p.id).collect();
        assert_eq!(prompts.len() as u64, two + three);
        assert_eq!(ids.len(), prompts.len());
        splits.push(prompts);
    }
    assert!(splits[0].is_disjoint(&splits[1]));
}

#[test]
fn letters_have_a_target_a_prompt_and_demonstrations_that_do_not_tell_it() {
    let task = Letters::new(16, 8, 8, 0.0, &[], &[1.0]).unwrap();
    let (train, held_out) = (all(&task, Split::Train), all(&task, Split::HeldOut));
    assert_eq!((train.len(), held_out.len()), (16, 2));
    let prompts: BTreeSet<&str> = train
        .iter()
        .chain(&held_out)
        .map(|problem| problem.prompt.as_str())
        .collect();
    assert_eq!(
        prompts.len(),
        18,
        "no code comes twice, in one split or both"
    );
    let targets: BTreeSet<&str> = train
        .iter()
        .map(|problem| problem.answer.as_str())
        .collect();
    assert!(targets.len() > 3, "{targets:?}");
    for problem in &train {
        assert_eq!(problem.prompt.len(), 3);
        assert!(problem.answer.len() == 1 && ("a".."i").contains(&problem.answer.as_str()));
    }

    // Letters of demonstrations are even: above 24.3 once in 1000 with 7 degrees of freedom.
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    for draw in 0..100 {
        for index in 0..16 {
            let stream = Stream::new(draw, Purpose::Problem).at(index);
            let demonstration = task
                .problem(Split::Train, index, stream)
                .unwrap()
                .demonstration;
            assert_eq!(demonstration.len(), 8);
            for letter in demonstration.chars() {
                *counts.entry(letter).or_default() += 1.0;
            }
        }
    }
    assert_eq!(counts.keys().collect::<String>(), "abcdefgh");
    let expected = 1600.0;
    let chi_square: f64 = counts
        .values()
        .map(|count| (count - expected).powi(2) / expected)
        .sum();
    assert!(chi_square < 24.3, "{counts:?}");
}

#[test]
fn letters_carry_constants_of_the_spread_asked_for() {
    let task = Letters::new(600, 8, 8, 5.0, &[], &[1.0]).unwrap();
    let plain = Letters::new(600, 8, 8, 0.0, &[], &[1.0]).unwrap();
    let mut squares = 0.0;
    for (problem, without) in all(&task, Split::Train)
        .iter()
        .zip(all(&plain, Split::Train))
    {
        let (target, constant) = problem.answer.split_once(' ').unwrap();
        assert_eq!(target, without.answer);
        squares += constant.parse::<f64>().unwrap().powi(2);
    }
    // The variance of 600 has a standard error of 5 · 5 · √(2 / 600) = 1.44.
    let variance = squares / 600.0;
    assert!((variance - 25.0).abs() < 4.0 * 1.44, "{variance}");
}

#[test]
fn letters_have_lengths_as_frequent_as_their_weights() {
    let task = Letters::new(4, 8, 8, 0.0, &[8, 16, 32, 64], &[0.5, 0.25, 0.15, 0.1]).unwrap();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for problem in all(&task, Split::Train) {
        let length = problem.demonstration.len();
        assert_eq!(problem.length, Some(length as u64));
        assert!(problem.prompt.ends_with(&format!("{length}:")));
        *counts.entry(length).or_default() += 1;
    }
    assert_eq!(
        counts,
        BTreeMap::from([(8, 200), (16, 100), (32, 60), (64, 40)])
    );
    let even = Letters::new(1, 8, 8, 0.0, &[3, 5], &[1.0]).unwrap();
    assert_eq!(even.size(Split::Train), 2);
}

#[test]
fn letters_that_cannot_be_are_refused() {
    let message = |prompts, length, symbols, offset, lengths: &[i64], weights: &[f64]| {
        let made = Letters::new(prompts, length, symbols, offset, lengths, weights);
        made.err().unwrap().message
    };
    let cases = [
        (
            message(0, 8, 8, 0.0, &[], &[1.0]),
            "`prompts` must be from 1 to 600, found 0",
        ),
        (
            message(1, 0, 8, 0.0, &[], &[1.0]),
            "`length` must be from 1 to 1000, found 0",
        ),
        (
            message(1, 8, 27, 0.0, &[], &[1.0]),
            "`symbols` must be from 1 to 26, found 27",
        ),
        (
            message(1, 8, 8, -1.0, &[], &[1.0]),
            "`offset` must be at least 0, found -1",
        ),
        (
            message(1, 8, 8, 0.0, &[8, 0], &[1.0]),
            "`lengths` must be from 1 to 1000, found 0",
        ),
        (
            message(1, 8, 8, 0.0, &[8, 16], &[0.0, 0.0]),
            "`weights` are at least 0, and one of them is above it",
        ),
        (
            message(1, 8, 8, 0.0, &[8, 16, 32], &[0.5, 0.5]),
            "`weights` are one for each length: there are 2 for 3 lengths",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_problem_depends_on_its_number_and_its_demonstration_on_the_stream() {
    let (task, again) = (
        RunningSum::new(3, 3).unwrap(),
        RunningSum::new(3, 3).unwrap(),
    );
    let (one, other) = (
        Stream::new(0, Purpose::Problem),
        Stream::new(1, Purpose::Problem),
    );
    assert_eq!(
        task.problem(Split::Train, 7, one).unwrap(),
        again.problem(Split::Train, 7, one).unwrap()
    );
    let mut differing = 0;
    for index in 0..20 {
        let (a, b) = (
            task.problem(Split::Train, index, one).unwrap(),
            task.problem(Split::Train, index, other).unwrap(),
        );
        assert_eq!((a.id, &a.prompt, &a.answer), (b.id, &b.prompt, &b.answer));
        differing += u32::from(a.demonstration != b.demonstration);
    }
    assert!(differing > 0);
}

#[test]
fn an_epoch_visits_every_problem_once_and_resumes_where_it_stopped() {
    let task = Arithmetic::new(1, "+").unwrap();
    let stream = Stream::new(3, Purpose::Order);
    let size = task.size(Split::Train);
    let mut order = ProblemOrder::default();
    let draw = |order: &mut ProblemOrder, count| order.draw(&task, Split::Train, stream, count);
    let mut first = draw(&mut order, 50);
    let saved = order;
    first.extend(draw(&mut order, size - 50));
    let prompts: BTreeSet<&str> = first.iter().map(|p| p.prompt.as_str()).collect();
    assert_eq!(prompts.len() as u64, size);

    let second = draw(&mut order, size);
    assert_eq!(
        order,
        ProblemOrder {
            epoch: 1,
            position: size
        }
    );
    assert_ne!(first, second);

    let mut resumed = saved;
    assert_eq!(draw(&mut resumed, size - 50), first[50..]);
    assert_eq!(draw(&mut resumed, size), second);
}

#[test]
fn evaluation_gives_distinct_held_out_problems() {
    let task = Arithmetic::new(1, "+").unwrap();
    let held_out: BTreeSet<String> = all(&task, Split::HeldOut)
        .into_iter()
        .map(|p| p.prompt)
        .collect();
    let prompts: BTreeSet<String> = evaluation(&task, 1000)
        .unwrap()
        .into_iter()
        .map(|p| p.prompt)
        .collect();
    assert_eq!(prompts, held_out);
    assert_eq!(evaluation(&task, 4).unwrap().len(), 4);
}
