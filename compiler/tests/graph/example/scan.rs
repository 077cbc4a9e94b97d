//! Examples of the scan.

use std::sync::Arc;

use rlp_compiler::graph::{Binary, NodeId, Op, ScanBody, Unary};
use rlp_compiler::ty::{DimId, Elem};

use super::{Build, build};
use crate::setup::Setup;

/// c ← tanh(c·k + x) + x², over dimensions without `over`; k is shared by all.
fn recurrence(s: &mut Setup, dims: &[DimId]) -> ScanBody {
    let dims = dims.to_vec();
    s.body(move |s| {
        let (x, k, c) = (
            s.given("x0", Elem::Real, &dims),
            s.given("k0", Elem::Real, &[]),
            s.given("c0", Elem::Real, &dims),
        );
        let k = s.add(Op::Broadcast, &[k], Elem::Real, &dims);
        let scaled = s.mul(c, k);
        let sum = s.binary(Binary::Add, scaled, x);
        let tanh = s.unary(Unary::Tanh, sum);
        let square = s.mul(x, x);
        vec![s.binary(Binary::Add, tanh, square)]
    })
}

pub(crate) fn add_scan(
    s: &mut Setup,
    over: DimId,
    reverse: bool,
    operands: [&[NodeId]; 4],
    part: usize,
    body: ScanBody,
) -> NodeId {
    let [xs, captured, carries, mask] = operands;
    let op = Op::Scan {
        over,
        reverse,
        xs: xs.len(),
        captured: captured.len(),
        carries: carries.len(),
        masked: !mask.is_empty(),
        part,
        body: Arc::new(body),
    };
    let ty = s.graph.ty(carries[part]).clone();
    let dims: Vec<DimId> = ty.dims.into_iter().chain([over]).collect();
    s.add(op, &[xs, captured, carries, mask].concat(), ty.elem, &dims)
}

pub(crate) fn scan() -> Vec<Build> {
    let ragged = |reverse: bool| {
        build(format!("scan ragged, reverse: {reverse}"), move |s| {
            let (over, inner, dims) =
                (s.token, [s.prompt, s.sample], [s.prompt, s.sample, s.token]);
            let x = s.variable(&dims, -1.0, 1.0);
            let (k, initial) = (s.variable(&[], 0.5, 0.9), s.variable(&inner, -1.0, 1.0));
            let mask = s.mask(&dims).unwrap();
            let body = recurrence(s, &inner);
            add_scan(s, over, reverse, [&[x], &[k], &[initial], &[mask]], 0, body)
        })
    };
    vec![
        ragged(false),
        ragged(true),
        build("scan without mask", |s| {
            let (over, inner) = (s.prompt, [s.feature]);
            let x = s.variable(&[s.prompt, s.feature], -1.0, 1.0);
            let (k, initial) = (s.variable(&[], 0.5, 0.9), s.variable(&inner, -1.0, 1.0));
            let body = recurrence(s, &inner);
            add_scan(s, over, false, [&[x], &[k], &[initial], &[]], 0, body)
        }),
        build("scan with two carries and a matrix", matrix_scan),
        build("scan in a scan", nested_scan),
    ]
}

/// h ← tanh(w h + x), n ← n + 1; the sum of both parts.
fn matrix_scan(s: &mut Setup) -> NodeId {
    let (prompt, sample, token, feature) = (s.prompt, s.sample, s.token, s.feature);
    let input = s.dim("input", s.shape.features, None);
    let inner = [prompt, sample, feature];
    let x = s.variable(&[prompt, sample, token, feature], -1.0, 1.0);
    let (w, initial) = (
        s.variable(&[feature, input], -0.7, 0.7),
        s.variable(&inner, -1.0, 1.0),
    );
    let zero = s.integer(0);
    let count = s.add(Op::Broadcast, &[zero], Elem::Int, &[prompt, sample]);
    let mask = s.mask(&[prompt, sample, token]).unwrap();
    let body = s.body(|s| {
        let (x, w) = (
            s.given("x0", Elem::Real, &inner),
            s.given("k0", Elem::Real, &[feature, input]),
        );
        let (h, n) = (
            s.given("c0", Elem::Real, &inner),
            s.given("c1", Elem::Int, &[prompt, sample]),
        );
        let renamed = s.add(
            Op::Rename(vec![(feature, input)]),
            &[h],
            Elem::Real,
            &[prompt, sample, input],
        );
        let product = s.add(
            Op::Contract { over: vec![input] },
            &[w, renamed],
            Elem::Real,
            &inner,
        );
        let sum = s.binary(Binary::Add, product, x);
        let h = s.unary(Unary::Tanh, sum);
        let one = s.integer(1);
        let one = s.add(Op::Broadcast, &[one], Elem::Int, &[prompt, sample]);
        let n = s.binary(Binary::Add, n, one);
        let scale = s.add(Op::Cast(Elem::Real), &[n], Elem::Real, &[prompt, sample]);
        let scale = s.add(Op::Broadcast, &[scale], Elem::Real, &inner);
        vec![s.mul(h, scale), n]
    });
    add_scan(
        s,
        token,
        false,
        [&[x], &[w], &[initial, count], &[mask]],
        0,
        body,
    )
}

/// The outer scan runs over features, the inner one, which it captures a mask for, over tokens.
fn nested_scan(s: &mut Setup) -> NodeId {
    let (prompt, sample, token, feature) = (s.prompt, s.sample, s.token, s.feature);
    let dims = [prompt, sample, token];
    let x = s.variable(&dims, -1.0, 1.0);
    let (scale, initial) = (
        s.variable(&[feature], 0.5, 0.9),
        s.variable(&dims, -1.0, 1.0),
    );
    let mask = s.mask(&dims).unwrap();
    let body = s.body(|s| {
        let (scale, x) = (
            s.given("x0", Elem::Real, &[]),
            s.given("k0", Elem::Real, &dims),
        );
        let (mask, c) = (
            s.given("k1", Elem::Bool, &dims),
            s.given("c0", Elem::Real, &dims),
        );
        let start = s.add(Op::Broadcast, &[scale], Elem::Real, &[prompt, sample]);
        let product = s.mul(c, x);
        let inner = recurrence(s, &[prompt, sample]);
        let through = add_scan(
            s,
            token,
            false,
            [&[product], &[scale], &[start], &[mask]],
            0,
            inner,
        );
        vec![s.unary(Unary::Tanh, through)]
    });
    add_scan(
        s,
        feature,
        false,
        [&[scale], &[x, mask], &[initial], &[]],
        0,
        body,
    )
}
