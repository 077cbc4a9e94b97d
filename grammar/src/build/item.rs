//! Items, signatures and types.

use pest::iterators::Pair;

use super::{Builder, Parts, doc_line, unexpected};
use crate::ast::{
    Block, DimExpr, Expr, ExprKind, Item, Param, Pipeline, Span, Stmt, Test, TypeExpr, TypeKind,
    Use,
};
use crate::error::SyntaxError;
use crate::syntax::Rule;

impl Builder<'_> {
    pub(super) fn import(&mut self, pair: Pair<'_, Rule>) -> Use {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let path = parts.need();
        let alias = parts.need();
        Use {
            path_span: self.span(&path),
            path: self.text(&path),
            alias: self.ident(alias),
            span,
        }
    }

    pub(super) fn test(&mut self, pair: Pair<'_, Rule>) -> Test {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let title = parts.need();
        Test {
            title_span: self.span(&title),
            title: self.text(&title),
            stmts: self.stmts(parts.need()),
            span,
        }
    }

    pub(super) fn documented(&mut self, pair: Pair<'_, Rule>) -> Item {
        let mut parts = Parts::of(pair);
        let mut doc = Vec::new();
        while let Some(line) = parts.take(Rule::DOC) {
            doc.push(doc_line(&line));
        }
        let pair = parts.need();
        match pair.as_rule() {
            Rule::pipeline => Item::Pipeline(self.pipeline(doc, pair)),
            Rule::block => Item::Block(self.block(doc, pair)),
            rule => unexpected(rule),
        }
    }

    /// A block in the body of another.
    pub(super) fn function(&mut self, mut parts: Parts<'_>) -> Block {
        self.block(Vec::new(), parts.need())
    }

    fn pipeline(&mut self, doc: Vec<String>, pair: Pair<'_, Rule>) -> Pipeline {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let name = self.ident(parts.need());
        Pipeline {
            doc,
            name,
            stmts: self.stmts(parts.need()),
            span,
        }
    }

    fn block(&mut self, doc: Vec<String>, pair: Pair<'_, Rule>) -> Block {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let head_pair = parts.need();
        let head_end = self.span(&head_pair);
        let mut head = Parts::of(head_pair);
        let native = head.take(Rule::NATIVE).is_some();
        let kind = self.ident(head.need());
        let name = self.ident(head.need());
        let params = self.params(head.need());
        let result = head.take(Rule::result).map(|pair| self.result(pair));
        let head = Span {
            start: kind.span.start,
            ..head_end
        };
        let body = parts.take(Rule::body).map(|pair| self.body(pair));
        match &body {
            None if !native => self
                .errors
                .push(SyntaxError::missing_body(head, &kind.name, &name.name)),
            Some(_) | None => {}
        }
        Block {
            doc,
            native,
            kind,
            name,
            params,
            result,
            body,
            head,
            span,
        }
    }

    fn params(&mut self, pair: Pair<'_, Rule>) -> Vec<Param> {
        // A comment that ends the line of a parameter belongs to it: nothing but a comma may stand between.
        let whole = pair.as_str();
        let start = self.span(&pair).start;
        let comments = &self.scan.comments;
        let mut params = Vec::new();
        for param in pair.into_inner() {
            let mut param = self.param(param);
            let rest = whole
                .get((param.span.end - start) as usize..)
                .unwrap_or_default();
            let blank = rest
                .bytes()
                .take_while(|byte| matches!(byte, b' ' | b'\t' | b','))
                .count();
            let at = param.span.end + u32::try_from(blank).unwrap_or_default();
            if let Ok(index) = comments.binary_search_by_key(&at, |comment| comment.span.start) {
                param.note = Some(comments[index].text.trim().to_owned());
            }
            params.push(param);
        }
        params
    }

    fn param(&mut self, pair: Pair<'_, Rule>) -> Param {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let trainable = parts.take(Rule::trainable).is_some();
        let name = self.ident(parts.need());
        let ty = self.annotation(&mut parts);
        let default = parts.next().map(|pair| self.value(pair));
        Param {
            trainable,
            name,
            ty,
            default,
            note: None,
            span,
        }
    }

    /// An expression, or the hole that recovery leaves of one.
    pub(super) fn value(&mut self, pair: Pair<'_, Rule>) -> Expr {
        if pair.as_rule() == Rule::hole {
            return Expr {
                kind: ExprKind::Error,
                span: self.span(&pair),
            };
        }
        self.expr(pair)
    }

    pub(super) fn annotation(&mut self, parts: &mut Parts<'_>) -> Option<TypeExpr> {
        parts
            .take(Rule::annotation)
            .map(|pair| self.ty(Parts::of(pair).need()))
    }

    fn result(&mut self, pair: Pair<'_, Rule>) -> TypeExpr {
        let pair = Parts::of(pair).need();
        if pair.as_rule() == Rule::r#type {
            return self.ty(pair);
        }
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let param = self.ident(parts.need());
        let mut fresh = Vec::new();
        while let Some(name) = parts.take(Rule::name) {
            fresh.push(self.ident(name));
        }
        TypeExpr {
            kind: TypeKind::Like { param, fresh },
            span,
        }
    }

    pub(super) fn ty(&mut self, pair: Pair<'_, Rule>) -> TypeExpr {
        let span = self.span(&pair);
        let pair = Parts::of(pair).need();
        let kind = match pair.as_rule() {
            Rule::named_type => {
                let mut parts = Parts::of(pair);
                let name = self.ident(parts.need());
                let dims = parts
                    .take(Rule::dims)
                    .map(|dims| self.dims(dims))
                    .unwrap_or_default();
                TypeKind::Named { name, dims }
            }
            Rule::record_type => {
                let mut fields = Vec::new();
                for field in pair.into_inner() {
                    let mut parts = Parts::of(field);
                    let label = self.ident(parts.need());
                    fields.push((label, self.ty(Parts::of(parts.need()).need())));
                }
                TypeKind::Record(fields)
            }
            rule => unexpected(rule),
        };
        TypeExpr { kind, span }
    }

    fn dims(&mut self, pair: Pair<'_, Rule>) -> Vec<DimExpr> {
        let mut dims = Vec::new();
        for dim in pair.into_inner() {
            let mut parts = Parts::of(dim);
            let first = parts.need();
            dims.push(if first.as_rule() == Rule::rest {
                DimExpr::Rest(self.span(&first))
            } else {
                let name = self.ident(first);
                DimExpr::Dim {
                    name,
                    size: parts
                        .take(Rule::size)
                        .map(|size| self.expr(Parts::of(size).need())),
                }
            });
        }
        dims
    }

    /// The statements of a pipeline, a stage or a test.
    pub(super) fn stmts(&mut self, pair: Pair<'_, Rule>) -> Vec<Stmt> {
        pair.into_inner().map(|pair| self.stmt(pair)).collect()
    }
}
