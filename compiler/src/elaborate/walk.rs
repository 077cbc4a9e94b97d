//! Walking over syntax.

use rlp_grammar::ast::{Body, Clause, ClauseKind, Expr, ExprKind, Stmt, StmtKind};

/// Calls `each` with an expression and every expression inside it.
pub(crate) fn exprs<'e>(expr: &'e Expr, each: &mut dyn FnMut(&'e Expr)) {
    each(expr);
    match &expr.kind {
        ExprKind::Number { .. }
        | ExprKind::Text(_)
        | ExprKind::Bool(_)
        | ExprKind::Name(_)
        | ExprKind::Error => {}
        ExprKind::Field { base, .. } => exprs(base, each),
        ExprKind::Call { callee, args } => {
            exprs(callee, each);
            args.iter().for_each(|arg| exprs(&arg.value, each));
        }
        ExprKind::Unary { operand, .. } => exprs(operand, each),
        ExprKind::Binary { left, right, .. } => {
            exprs(left, each);
            exprs(right, each);
        }
        ExprKind::If {
            cond,
            then,
            otherwise,
        } => {
            exprs(cond, each);
            body(then, each);
            body(otherwise, each);
        }
        ExprKind::List(items) => items.iter().for_each(|item| exprs(item, each)),
        ExprKind::Lambda { body, .. } => exprs(body, each),
        ExprKind::With { base, fields } => {
            exprs(base, each);
            fields.iter().for_each(|(_, value)| exprs(value, each));
        }
        ExprKind::Record(fields) => fields.iter().for_each(|(_, value)| exprs(value, each)),
        ExprKind::Ascribe { value, .. } => exprs(value, each),
        ExprKind::Pipe { value, call } => {
            exprs(value, each);
            exprs(call, each);
        }
    }
}

/// Calls `each` with every expression of a block's body.
pub(crate) fn body<'e>(body: &'e Body, each: &mut dyn FnMut(&'e Expr)) {
    body.stmts.iter().for_each(|stmt| statement(stmt, each));
    if let Some(result) = &body.result {
        exprs(result, each);
    }
}

pub(crate) fn statement<'e>(stmt: &'e Stmt, each: &mut dyn FnMut(&'e Expr)) {
    match &stmt.kind {
        StmtKind::Let { value, .. }
        | StmtKind::State { value, .. }
        | StmtKind::Assign { value, .. }
        | StmtKind::Steps { count: value } => exprs(value, each),
        StmtKind::Param { value, .. } => value.iter().for_each(|value| exprs(value, each)),
        StmtKind::Assert { value, close_to } => {
            exprs(value, each);
            if let Some((other, within)) = close_to {
                exprs(other, each);
                within.iter().for_each(|within| exprs(within, each));
            }
        }
        StmtKind::Function(function) => function.body.iter().for_each(|own| body(own, each)),
        StmtKind::Stage { stmts, .. } => stmts.iter().for_each(|stmt| statement(stmt, each)),
        StmtKind::Report { entries, .. } => {
            entries.iter().for_each(|(_, value)| exprs(value, each))
        }
        StmtKind::Train { targets, clauses } => {
            targets.iter().for_each(|target| exprs(target, each));
            clauses.iter().for_each(|part| clause(part, each));
        }
    }
}

fn clause<'e>(clause: &'e Clause, each: &mut dyn FnMut(&'e Expr)) {
    match &clause.kind {
        ClauseKind::Minimize { value, .. } | ClauseKind::Setting { value, .. } => {
            exprs(value, each)
        }
        ClauseKind::With { rules, .. } => {
            for rule in rules {
                exprs(&rule.optimizer, each);
                rule.on.iter().for_each(|on| exprs(on, each));
            }
        }
        ClauseKind::Evaluate { entries, every } => {
            entries.iter().for_each(|(_, value)| exprs(value, each));
            every.iter().for_each(|every| exprs(every, each));
        }
    }
}

/// Whether an expression reads a name.
pub(crate) fn mentions(expr: &Expr, name: &str) -> bool {
    let mut found = false;
    exprs(expr, &mut |inner| {
        if let ExprKind::Name(other) = &inner.kind {
            found |= other == name;
        }
    });
    found
}
