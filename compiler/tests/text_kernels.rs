//! Kernels that read text: machine code against the meaning of each function, and how long it takes.

#![allow(clippy::print_stdout, reason = "one of the tests measures")]

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use rlp_compiler::array::{Array, Elements};
use rlp_compiler::codegen::launch::{Launch, Slice, SliceMut, Source};
use rlp_compiler::codegen::text::{Arena, TextRef};
use rlp_compiler::codegen::{Precision, cpu};
use rlp_compiler::graph::{Binary, NodeId, TextOp};
use rlp_compiler::kernel::{
    Form, Input, Instruction, Kernel, KernelOp, Level, Output, ValueId, interpret,
};
use rlp_compiler::ty::{DimId, Elem};

const PROMPT: DimId = DimId(0);

/// A kernel of rows alone over texts.
struct Build(Kernel);

impl Build {
    fn new() -> Build {
        Build(Kernel {
            rows: vec![PROMPT],
            cells: Vec::new(),
            inputs: Vec::new(),
            body: Vec::new(),
            scans: Vec::new(),
            outputs: Vec::new(),
        })
    }

    fn op(&mut self, op: KernelOp, elem: Elem) -> ValueId {
        let node = NodeId::new(self.0.body.len());
        self.0.body.push(Instruction {
            op,
            elem,
            level: Level::Row,
            node,
        });
        ValueId(self.0.body.len() as u32 - 1)
    }

    fn input(&mut self) -> ValueId {
        let input = self.0.inputs.len();
        self.0.inputs.push(Input {
            node: NodeId::new(input),
            elem: Elem::Text,
            dims: vec![PROMPT],
        });
        self.op(KernelOp::Load(input), Elem::Text)
    }

    fn word(&mut self, text: &str) -> ValueId {
        self.op(KernelOp::TextValue(text.to_string()), Elem::Text)
    }

    fn real(&mut self, value: f64) -> ValueId {
        self.op(KernelOp::Real(value), Elem::Real)
    }

    fn text(&mut self, op: TextOp, operands: &[ValueId], elem: Elem) -> ValueId {
        self.op(KernelOp::Text(op, operands.to_vec()), elem)
    }

    fn select(&mut self, condition: ValueId, then: ValueId, otherwise: ValueId) -> ValueId {
        let elem = self.0.body[then.0 as usize].elem;
        self.op(KernelOp::Select(condition, then, otherwise), elem)
    }

    fn output(&mut self, value: ValueId) {
        let node = NodeId::new(value.0 as usize);
        self.0.outputs.push(Output {
            node,
            value,
            form: Form::Rows,
        });
    }
}

/// The outputs of machine code, on so many threads.
fn run(kernel: &Kernel, inputs: &[Vec<&str>], threads: usize) -> Vec<Elements> {
    let code = cpu::compile_verified(kernel, Precision::F64).unwrap_or_else(|why| panic!("{why}"));
    let n = inputs[0].len();
    let inputs: Vec<Vec<TextRef>> = inputs
        .iter()
        .map(|texts| texts.iter().map(|text| TextRef::new(text)).collect())
        .collect();
    let arena = Arena::new();
    let elems: Vec<Elem> = kernel.outputs.iter().map(|it| kernel.elem(it)).collect();
    let mut reals = vec![vec![0.0; n]; elems.len()];
    let mut ints = vec![vec![0; n]; elems.len()];
    let mut bools = vec![vec![false; n]; elems.len()];
    let mut texts = vec![vec![TextRef::default(); n]; elems.len()];
    let slots = reals
        .iter_mut()
        .zip(&mut ints)
        .zip(&mut bools)
        .zip(&mut texts);
    let targets = slots
        .zip(&elems)
        .map(|((((real, int), bool), text), elem)| match elem {
            Elem::Real => SliceMut::F64(real),
            Elem::Int => SliceMut::Int(int),
            Elem::Bool => SliceMut::Bool(bool),
            Elem::Text => SliceMut::Text(text),
        });
    let sources: Vec<Source> = inputs
        .iter()
        .map(|it| Source::Slice(Slice::Text(it)))
        .collect();
    let mut launch = Launch::with_texts(&code, &[n], 1, &sources, targets.collect(), &arena)
        .unwrap_or_else(|why| panic!("{why}"));
    launch.run(threads);
    drop(launch);
    let all = reals.into_iter().zip(ints).zip(bools).zip(texts);
    all.zip(&elems)
        .map(|((((real, int), bool), text), elem)| match elem {
            Elem::Real => Elements::Real(real),
            Elem::Int => Elements::Int(int),
            Elem::Bool => Elements::Bool(bool),
            Elem::Text => Elements::Text(text.iter().map(|it| it.get().to_string()).collect()),
        })
        .collect()
}

fn agrees(kernel: &Kernel, inputs: &[Vec<&str>]) {
    let n = inputs[0].len();
    let arrays: Vec<Array> = inputs
        .iter()
        .map(|texts| Array {
            shape: vec![n],
            elements: Elements::Text(texts.iter().map(|it| it.to_string()).collect()),
        })
        .collect();
    let expected = interpret(kernel, &BTreeMap::from([(PROMPT, n)]), &arrays)
        .unwrap_or_else(|fault| panic!("{fault}"));
    let expected: Vec<Elements> = expected.into_iter().map(|it| it.elements).collect();
    for threads in [1, 2] {
        // Not numbers are alike, too.
        assert_eq!(
            format!("{:?}", run(kernel, inputs, threads)),
            format!("{expected:?}")
        );
    }
}

/// Every function, its needles constant or not, on texts `a`, `b` and `c`.
fn everything(constants: bool) -> Kernel {
    let mut b = Build::new();
    let text = b.input();
    let (part, other) = if constants {
        (b.word("a"), b.word("é<"))
    } else {
        (b.input(), b.input())
    };
    let otherwise = b.real(-1.0);
    let pattern = "(a+)[b<]*(é)?".to_string();
    for (op, operands, elem) in [
        (TextOp::Contains, vec![text, part], Elem::Bool),
        (TextOp::StartsWith, vec![text, part], Elem::Bool),
        (TextOp::EndsWith, vec![text, part], Elem::Bool),
        (TextOp::Equal, vec![text, part], Elem::Bool),
        (TextOp::AfterFirst, vec![text, part], Elem::Text),
        (TextOp::AfterLast, vec![text, part], Elem::Text),
        (TextOp::Before, vec![text, part], Elem::Text),
        (TextOp::Between, vec![text, part, other], Elem::Text),
        (TextOp::Replace, vec![text, part, other], Elem::Text),
        (TextOp::Join, vec![text, part], Elem::Text),
        (TextOp::Occurrences, vec![text, part], Elem::Int),
        (TextOp::EditDistance, vec![text, part], Elem::Int),
        (TextOp::Trim, vec![text], Elem::Text),
        (TextOp::Lower, vec![text], Elem::Text),
        (TextOp::Upper, vec![text], Elem::Text),
        (TextOp::Words, vec![text], Elem::Int),
        (TextOp::Length, vec![text], Elem::Int),
        (TextOp::Number, vec![text, otherwise], Elem::Real),
        (TextOp::Repetition(2), vec![text], Elem::Real),
        (TextOp::Matches(pattern.clone()), vec![text], Elem::Bool),
        (
            TextOp::Captures { pattern, group: 2 },
            vec![text],
            Elem::Text,
        ),
    ] {
        let value = b.text(op, &operands, elem);
        b.output(value);
    }
    // A new text is read by other functions, and one of two is chosen.
    let joined = b.text(TextOp::Join, &[text, part], Elem::Text);
    let low = b.text(TextOp::Lower, &[joined], Elem::Text);
    let is_long = b.text(TextOp::Contains, &[low, other], Elem::Bool);
    let chosen = b.select(is_long, low, text);
    b.output(chosen);
    b.0
}

/// Choices within choices, whose sides are dear: some read by one side alone, some by both, some by what follows.
fn branches() -> Kernel {
    let mut b = Build::new();
    let (text, other) = (b.input(), b.input());
    let (part, mark) = (b.word("a"), b.word("<"));
    let has_part = b.text(TextOp::Contains, &[text, part], Elem::Bool);
    let has_mark = b.text(TextOp::Contains, &[other, mark], Elem::Bool);
    let low = b.text(TextOp::Lower, &[text], Elem::Text);
    let joined = b.text(TextOp::Join, &[text, other], Elem::Text);
    let rest = b.text(TextOp::AfterFirst, &[joined, mark], Elem::Text);
    let before = b.text(TextOp::Before, &[joined, mark], Elem::Text);
    // `low` in both sides, `joined` in one alone, with a choice of its own.
    let inner = b.select(has_mark, rest, before);
    let twice = b.text(TextOp::Join, &[inner, low], Elem::Text);
    let outer = b.select(has_part, twice, low);
    b.output(outer);
    let count = b.text(TextOp::Words, &[outer], Elem::Int);
    let far = b.text(TextOp::EditDistance, &[text, other], Elem::Int);
    let number = b.select(has_mark, far, count);
    b.output(number);
    // The condition is one of the results, and a side is the condition of another choice.
    let ends = b.text(TextOp::EndsWith, &[text, other], Elem::Bool);
    let claim = b.select(has_part, ends, has_part);
    b.output(claim);
    let chosen = b.select(claim, low, other);
    b.output(chosen);
    b.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn branches_mean_what_a_choice_means(
        rows in prop::collection::vec(("[aAb<é ]{0,6}", "[ab<é]{0,3}"), 1..20),
    ) {
        let column = |place: usize| -> Vec<&str> {
            rows.iter().map(|(a, b)| [a.as_str(), b.as_str()][place]).collect()
        };
        agrees(&branches(), &[column(0), column(1)]);
    }

    #[test]
    fn every_function_means_what_it_means(
        rows in prop::collection::vec(("[aAb<é 1.\n]{0,12}", "[ab<é]{0,3}", "[ab<é]{0,2}"), 1..20),
    ) {
        let column = |place: usize| -> Vec<&str> {
            rows.iter().map(|(a, b, c)| [a.as_str(), b.as_str(), c.as_str()][place]).collect()
        };
        agrees(&everything(false), &[column(0), column(1), column(2)]);
        agrees(&everything(true), &[column(0)]);
    }
}

#[test]
fn many_texts_on_several_threads() {
    let texts: Vec<String> = (0..70_000)
        .map(|it| format!("so <a{it}> and 0{it} é"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    agrees(&everything(true), &[texts]);
}

/// `tagged_answer` of LANGUAGE.md.
fn tagged_answer() -> Kernel {
    let mut b = Build::new();
    let (text, answer) = (b.input(), b.input());
    let (open, close) = (b.word("<answer>"), b.word("</answer>"));
    let got = b.text(TextOp::Between, &[text, open, close], Elem::Text);
    let got = b.text(TextOp::Trim, &[got], Elem::Text);
    let is_right = b.text(TextOp::Equal, &[got, answer], Elem::Bool);
    let is_tagged = b.text(TextOp::Contains, &[text, open], Elem::Bool);
    let (one, partial, none) = (b.real(1.0), b.real(0.1), b.real(0.0));
    let wrong = b.select(is_tagged, partial, none);
    let score = b.select(is_right, one, wrong);
    b.output(score);
    b.0
}

fn of_one(op: TextOp, elem: Elem, is_lowered: bool) -> Kernel {
    let mut b = Build::new();
    let mut text = b.input();
    if is_lowered {
        text = b.text(TextOp::Lower, &[text], Elem::Text);
    }
    let value = b.text(op, &[text], elem);
    b.output(value);
    b.0
}

fn distance() -> Kernel {
    let mut b = Build::new();
    let (x, y) = (b.input(), b.input());
    let value = b.text(TextOp::EditDistance, &[x, y], Elem::Int);
    let real = b.op(KernelOp::Cast(value), Elem::Real);
    let zero = b.real(0.0);
    let score = b.op(KernelOp::Binary(Binary::Sub, zero, real), Elem::Real);
    b.output(score);
    b.0
}

/// `cargo test -p rlp-compiler --test text_kernels -- --ignored --nocapture` prints microseconds a completion.
#[test]
#[ignore = "prints times"]
fn times() {
    let mut state = 1u64;
    let mut random = |n: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let n = 100_000;
    let bodies: Vec<String> = (0..n)
        .map(|_| {
            (0..400)
                .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz "[random(27) as usize]))
                .collect()
        })
        .collect();
    let answers: Vec<String> = (0..n).map(|it| (it % 1000).to_string()).collect();
    let texts: Vec<String> = bodies
        .iter()
        .zip(&answers)
        .map(|(body, answer)| format!("<think>{body}</think><answer> {answer} </answer>"))
        .collect();
    let whole: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let format = r"(?s)^<think>.*?</think>\s*<answer>.*?</answer>$".to_string();
    let head: Vec<&str> = whole.iter().map(|it| &it[..120]).collect();
    let tail: Vec<&str> = whole.iter().map(|it| &it[40..160]).collect();
    for (name, kernel, inputs) in [
        ("tagged answer", tagged_answer(), vec![&whole, &answers]),
        (
            "format",
            of_one(TextOp::Matches(format), Elem::Bool, false),
            vec![&whole],
        ),
        (
            "3-gram repetition",
            of_one(TextOp::Repetition(3), Elem::Real, true),
            vec![&whole],
        ),
        ("edit distance", distance(), vec![&head, &tail]),
    ] {
        let code = cpu::compile(&kernel, Precision::F64).unwrap_or_else(|why| panic!("{why}"));
        let inputs: Vec<Vec<TextRef>> = inputs
            .iter()
            .map(|texts| texts.iter().map(|text| TextRef::new(text)).collect())
            .collect();
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let (mut reals, mut bools) = (vec![0.0; n], vec![false; n]);
            let target = match kernel.elem(&kernel.outputs[0]) {
                Elem::Bool => SliceMut::Bool(&mut bools),
                _ => SliceMut::F64(&mut reals),
            };
            let sources: Vec<Source> = inputs
                .iter()
                .map(|it| Source::Slice(Slice::Text(it)))
                .collect();
            let mut launch = Launch::new(&code, &[n], 1, &sources, vec![target])
                .unwrap_or_else(|why| panic!("{why}"));
            let start = Instant::now();
            launch.run(1);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name}: {:.3} µs a completion", best / n as f64 * 1e6);
    }
}
