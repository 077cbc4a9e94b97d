//! The functions of text.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::graph::{NodeId, Op, TextOp};
use rlp_compiler::ty::Elem;

use crate::setup::Setup;
use crate::value::{SHAPE, reals, value};

fn text(op: TextOp, operands: &[&str]) -> Elements {
    let mut s = Setup::new(SHAPE);
    let elem = match op {
        TextOp::Words | TextOp::Length | TextOp::Occurrences => Elem::Int,
        TextOp::Contains | TextOp::Matches(_) => Elem::Bool,
        _ => Elem::Text,
    };
    let operands: Vec<NodeId> = operands
        .iter()
        .map(|text| s.input(Array::text(*text), Elem::Text, &[]))
        .collect();
    let y = s.add(Op::Text(op), &operands, elem, &[]);
    value(&s, y).elements
}

#[test]
fn text_functions_are_total() {
    let is = |op: TextOp, operands: &[&str], expected: &str| {
        assert_eq!(
            text(op, operands),
            Elements::Text(vec![expected.to_string()])
        )
    };
    is(TextOp::AfterLast, &["#8#9", "#"], "9");
    is(TextOp::AfterLast, &["89", "#"], "");
    is(TextOp::AfterFirst, &["#8#9", "#"], "8#9");
    is(TextOp::Before, &["8#9", "#"], "8");
    is(TextOp::Before, &["89", "#"], "89");
    is(TextOp::Between, &["<a>7</a>", "<a>", "</a>"], "7");
    is(TextOp::Between, &["<a>7", "<a>", "</a>"], "");
    is(TextOp::Replace, &["aXbX", "X", "-"], "a-b-");
    is(TextOp::Replace, &["ab", "", "-"], "ab");
    is(
        TextOp::Captures {
            pattern: "a(b)?".to_string(),
            group: 1,
        },
        &["a"],
        "",
    );
    assert_eq!(
        text(TextOp::Occurrences, &["aaaa", "aa"]),
        Elements::Int(vec![2])
    );
    assert_eq!(text(TextOp::Length, &["Ärger"]), Elements::Int(vec![5]));
    assert_eq!(
        text(TextOp::Words, &["  two\twords\n"]),
        Elements::Int(vec![2])
    );
    assert_eq!(
        text(TextOp::Matches("^[0-9]+$".to_string()), &["42"]),
        Elements::Bool(vec![true])
    );
}

#[test]
fn numbers_are_plain_decimals() {
    let number = |text: &str| {
        let mut s = Setup::new(SHAPE);
        let operands = [s.input(Array::text(text), Elem::Text, &[]), s.literal(-1.0)];
        let y = s.add(Op::Text(TextOp::Number), &operands, Elem::Real, &[]);
        reals(&s, y)[0]
    };
    let cases = [
        (" 42 ", 42.0),
        ("-2.5e1", -25.0),
        ("+.5", 0.5),
        ("", -1.0),
        ("inf", -1.0),
        ("NaN", -1.0),
        ("1e999", -1.0),
        ("1 2", -1.0),
    ];
    for (text, expected) in cases {
        assert_eq!(number(text), expected, "{text:?}");
    }
}
