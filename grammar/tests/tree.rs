//! What a text means: how it groups, where a line goes on, what is documented and noted.

use rlp_grammar::ast::{Body, Expr, ExprKind, File, Item, SourceId, Stmt, StmtKind, UnaryOp};

/// The tree of a text without mistakes.
fn read(text: &str) -> File {
    let parsed = rlp_grammar::parse(SourceId(7), text);
    assert_eq!(parsed.errors, [], "{text}");
    parsed.file
}

/// The body of the one block in a text.
fn body(text: &str) -> Body {
    match read(text).items.into_iter().next() {
        Some(Item::Block(block)) => block.body.expect("a body"),
        other => panic!("no block, but {other:?}"),
    }
}

/// An expression with every operation in parentheses: `a - b * c` is `(a - (b * c))`.
fn show(expr: &Expr) -> String {
    let list = |exprs: &[Expr]| exprs.iter().map(show).collect::<Vec<_>>().join(", ");
    let branch = |body: &Body| {
        let stmts: String = body
            .stmts
            .iter()
            .map(|stmt| show_stmt(stmt) + "; ")
            .collect();
        format!(
            "{{{stmts}{}}}",
            body.result.as_deref().map(show).unwrap_or_default()
        )
    };
    let fields = |fields: &[(rlp_grammar::ast::Ident, Expr)]| {
        fields
            .iter()
            .map(|(label, value)| format!("{}: {}", label.name, show(value)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match &expr.kind {
        ExprKind::Number { value, integer } => {
            format!("{value}{}", if *integer { "" } else { "r" })
        }
        ExprKind::Text(text) => format!("{text:?}"),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Name(name) => name.clone(),
        ExprKind::Field { base, field } => format!("{}.{}", show(base), field.name),
        ExprKind::Call { callee, args } => {
            let args: Vec<_> = args
                .iter()
                .map(|arg| match &arg.name {
                    Some(name) => format!("{}: {}", name.name, show(&arg.value)),
                    None => show(&arg.value),
                })
                .collect();
            format!("{}({})", show(callee), args.join(", "))
        }
        ExprKind::Unary {
            op: UnaryOp::Neg,
            operand,
        } => format!("(-{})", show(operand)),
        ExprKind::Unary {
            op: UnaryOp::Not,
            operand,
        } => format!("(not {})", show(operand)),
        ExprKind::Binary {
            op, left, right, ..
        } => format!("({} {} {})", show(left), op.symbol(), show(right)),
        ExprKind::If {
            cond,
            then,
            otherwise,
        } => format!("(if {} {} {})", show(cond), branch(then), branch(otherwise)),
        ExprKind::List(items) => format!("[{}]", list(items)),
        ExprKind::Lambda { params, body } => {
            let params: Vec<_> = params.iter().map(|param| param.name.as_str()).collect();
            format!("(|{}| {})", params.join(", "), show(body))
        }
        ExprKind::With {
            base,
            fields: added,
        } => format!("({} with {{{}}})", show(base), fields(added)),
        ExprKind::Record(entries) => format!("{{{}}}", fields(entries)),
        ExprKind::Ascribe { value, ty } => format!("({} : {:?})", show(value), ty.kind),
        ExprKind::Pipe { value, call } => format!("({} |> {})", show(value), show(call)),
        ExprKind::Error => "ERROR".to_owned(),
    }
}

fn show_stmt(stmt: &Stmt) -> String {
    match &stmt.kind {
        StmtKind::Let { name, value, .. } => format!("let {} = {}", name.name, show(value)),
        StmtKind::Assign { name, value } => format!("{} <- {}", name.name, show(value)),
        StmtKind::State {
            name, value, lazy, ..
        } => {
            format!(
                "state {} {} {}",
                name.name,
                if *lazy { "init" } else { "=" },
                show(value)
            )
        }
        StmtKind::Param { name, value, .. } => {
            format!(
                "param {} = {}",
                name.name,
                value.as_ref().map(show).unwrap_or_default()
            )
        }
        other => panic!("not expected in a body: {other:?}"),
    }
}

fn lines(text: &str) -> Vec<String> {
    let body = body(text);
    body.stmts
        .iter()
        .map(show_stmt)
        .chain(body.result.as_deref().map(show))
        .collect()
}

#[track_caller]
fn groups(text: &str, wanted: &str) {
    assert_eq!(
        lines(&format!("fn f(a: real) -> real {{ {text} }}")),
        [wanted],
        "{text}"
    );
}

#[test]
fn operators_group_as_in_mathematics() {
    groups("a - b - c", "((a - b) - c)");
    groups("a - b * c ^ d", "(a - (b * (c ^ d)))");
    groups("a ^ b ^ c", "(a ^ (b ^ c))");
    groups("-a ^ 2 * b", "((-(a ^ 2)) * b)");
    groups("2 ^ -a ^ b * c", "((2 ^ (-(a ^ b))) * c)");
    groups("a * -b + - -c", "((a * (-b)) + (-(-c)))");
    groups("not a == b and c or d", "(((not (a == b)) and c) or d)");
    groups("a < b and b + 1 <= c", "((a < b) and ((b + 1) <= c))");
    groups("(a < b) == (b < c)", "((a < b) == (b < c))");
    groups("c + a <-b", "((c + a) < (-b))");
}

#[test]
fn what_stands_behind_binds_tightest() {
    groups("-a.b(c).d", "(-a.b(c).d)");
    groups(
        "f(drawn with { score: s, }, over: [x, y],)",
        "f((drawn with {score: s}), over: [x, y])",
    );
    groups("a + b with { c: 1 }.c", "(a + (b with {c: 1}).c)");
    groups("(a + b)(c)", "(a + b)(c)");
}

#[test]
fn a_pipe_takes_all_before_it() {
    groups(
        "a + b |> f() |> g.h(over: c)",
        "(((a + b) |> f()) |> g.h(over: c))",
    );
    groups("f(a |> g(), b)", "f((a |> g()), b)");
    groups(
        "(a |> f()) + 1",
        "((a |> f()) + 1r)".replace('r', "").as_str(),
    );
}

#[test]
fn branches_and_lambdas_take_all_behind_them() {
    groups(
        "if a { b } else if c { d } else { e }",
        "(if a {b} {(if c {d} {e})})",
    );
    groups(
        "1 - if a { let x = b x } else { c } * 2",
        "(1 - ((if a {let x = b; x} {c}) * 2))",
    );
    groups(
        "scan(x, |y, carry| y + carry |> f(), init: 0)",
        "scan(x, (|y, carry| ((y + carry) |> f())), init: 0)",
    );
    groups(
        "if { a: b }.a { c } else { { a: b } }",
        "(if {a: b}.a {c} {{a: b}})",
    );
}

#[test]
fn numbers_and_texts_are_read() {
    groups(
        "[1, 1.0, 1e-3, 0.25E2, 40000]",
        "[1, 1r, 0.001r, 25r, 40000]",
    );
    groups(r#""a\n\t\"\\\u{e9}é""#, r#""a\n\t\"\\éé""#);
}

#[test]
fn words_are_names_where_no_statement_begins() {
    groups(
        "state.train + steps * loss(step: param, state: data.let)",
        "(state.train + (steps * loss(step: param, state: data.let)))",
    );
}

#[test]
fn a_line_that_begins_with_a_minus_goes_on_if_it_is_deeper() {
    let text = "fn f(a: real) -> real {
    let b = a
        - c
    let d = b
        (e)
    -mean(d)
}";
    assert_eq!(
        lines(text),
        ["let b = (a - c)", "let d = b(e)", "(-mean(d))"]
    );
    let text = "fn f(a: real) -> real {
    let b = a
    (b + 1) * 2
}";
    assert_eq!(lines(text), ["let b = a", "((b + 1) * 2)"]);
    let text = "fn f(a: real) -> real { let b = a
                        -b
}";
    assert_eq!(lines(text), ["let b = a", "(-b)"]);
}

#[test]
fn every_other_operator_goes_on_at_any_depth() {
    let text = "fn f(a: real) -> real {
let b = a
+ c
|> f()
let d = (a
- c)
[b
, -d]
}";
    assert_eq!(
        lines(text),
        ["let b = ((a + c) |> f())", "let d = (a - c)", "[b, (-d)]"]
    );
}

#[test]
fn comments_on_the_line_of_a_parameter_are_its_note() {
    let text = "/// What it is.
///
///   result = x
fn f(
    a: real,          // first
    b: real, c: real, // third
    // nobody's
    d: real           // fourth
) -> real {           // nobody's either
    a
}";
    let file = read(text);
    let Some(Item::Block(block)) = file.items.first() else {
        panic!("no block")
    };
    let notes: Vec<_> = block
        .params
        .iter()
        .map(|param| param.note.as_deref())
        .collect();
    assert_eq!(notes, [Some("first"), None, Some("third"), Some("fourth")]);
    assert_eq!(block.doc, ["What it is.", "", "  result = x"]);
}

#[test]
fn spans_mark_the_text_of_a_node() {
    let text = "//! é\nfn f(a: real) -> real { (a + 1) * a |> f() }";
    let Some(Item::Block(block)) = read(text).items.into_iter().next() else {
        panic!("no block")
    };
    let marked = |span: rlp_grammar::ast::Span| &text[span.start as usize..span.end as usize];
    assert_eq!(marked(block.head), "fn f(a: real) -> real");
    let body = block.body.expect("a body");
    assert_eq!(marked(body.span), "{ (a + 1) * a |> f() }");
    let Some(Expr {
        kind: ExprKind::Pipe { value, call },
        span,
    }) = body.result.as_deref()
    else {
        panic!("no pipe")
    };
    assert_eq!(span.source, SourceId(7));
    assert_eq!(marked(*span), "(a + 1) * a |> f()");
    assert_eq!(marked(call.span), "f()");
    let ExprKind::Binary { left, op_span, .. } = &value.kind else {
        panic!("no product")
    };
    assert_eq!((marked(left.span), marked(*op_span)), ("(a + 1)", "*"));
}

#[test]
fn names_of_what_cannot_be_read_stay_known() {
    let text = "fn f(a: real, b real) -> real {
    let x = a +
    let y = g(a b)
    x + y
}";
    let parsed = rlp_grammar::parse(SourceId(0), text);
    assert_eq!(parsed.errors.len(), 3);
    let Some(Item::Block(block)) = parsed.file.items.first() else {
        panic!("no block")
    };
    assert_eq!(
        block
            .params
            .iter()
            .map(|param| param.name.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    let body = block.body.as_ref().expect("a body");
    let stmts: Vec<_> = body.stmts.iter().map(show_stmt).collect();
    assert_eq!(stmts, ["let x = ERROR", "let y = ERROR"]);
    assert_eq!(body.result.as_deref().map(show).as_deref(), Some("(x + y)"));
}
