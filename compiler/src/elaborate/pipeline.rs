//! Pipelines: settings, models and data, then each stage.

pub(crate) mod draw;
pub(crate) mod stage;
pub(crate) mod train;

use rlp_grammar::ast::{
    Expr, ExprKind, Ident, Pipeline, SourceId, Span, Stmt, StmtKind, TypeExpr, TypeKind,
};

use crate::array::{Array, Elements};
use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::expr::annotation::elem_named;
use crate::elaborate::expr::quoted;
use crate::elaborate::model::mapped::is_map;
use crate::elaborate::model::trainable::{Declared, Trainable};
use crate::elaborate::scope::{Binding, Pending, Scope};
use crate::elaborate::value::Value;
use crate::elaborate::{Elaborator, Mode, Reported, Result};
use crate::plan::Plan;
use crate::ty::Elem;

/// What every stage of a pipeline starts from.
pub(crate) struct Base {
    pub(crate) scope: Scope,
    /// Definitions that are elaborated anew in the graph of each stage.
    pub(crate) pending: Vec<Pending>,
    pub(crate) settings: Vec<(Ident, Array)>,
    pub(crate) trainables: Vec<Trainable>,
    /// Whether nothing was wrong outside the stages.
    pub(crate) is_whole: bool,
}

impl Elaborator<'_> {
    pub(crate) fn pipeline(&mut self, pipeline: &Pipeline, file: SourceId) -> Plan {
        let before = self.error_count();
        self.models.clear();
        self.transforms.clear();
        self.data.clear();
        self.tensors.clear();
        self.made.clear();
        self.maps.clear();
        let (mut base, _) = self.apart(Mode::Pipeline, |this| {
            this.in_scope(Scope::new(file), |this| this.base(pipeline))
        });
        self.refuse_unknown_settings(pipeline, &base);
        base.is_whole = self.error_count() == before;
        let mut stages = Vec::new();
        let mut names: Vec<(String, Span)> = Vec::new();
        for stmt in &pipeline.stmts {
            let StmtKind::Stage { name, stmts } = &stmt.kind else {
                continue;
            };
            if let Some((_, first)) = names.iter().find(|(known, _)| *known == name.name) {
                let first = *first;
                let diagnostic = Diagnostic::error(
                    "duplicate-definition",
                    name.span,
                    format!("there are two stages `{}`", name.name),
                )
                .label(first, "first here");
                self.report(diagnostic);
            }
            names.push((name.name.clone(), name.span));
            let allows = self.allows.len();
            self.allow(stmt);
            if let Some(stage) = self.stage(&base, name, stmts, stmt.span) {
                stages.push(stage);
            }
            self.allows.truncate(allows);
        }
        self.refuse_nameless();
        if names.is_empty() {
            let message = format!(
                "the pipeline `{}` has no stage: nothing would run",
                pipeline.name.name
            );
            let diagnostic = Diagnostic::error("nothing-to-run", pipeline.name.span, message)
                .help("stage train { … }");
            self.report(diagnostic);
        }
        let settings = base
            .settings
            .into_iter()
            .map(|(name, array)| (name.name, array))
            .collect();
        Plan {
            name: pipeline.name.name.clone(),
            settings,
            models: std::mem::take(&mut self.models),
            transforms: std::mem::take(&mut self.transforms),
            maps: std::mem::take(&mut self.maps),
            data: std::mem::take(&mut self.data),
            tensors: std::mem::take(&mut self.tensors),
            stages,
        }
    }

    /// Everything that stands outside the stages.
    fn base(&mut self, pipeline: &Pipeline) -> Base {
        let mut base = Base {
            scope: self.scope.clone(),
            pending: Vec::new(),
            settings: Vec::new(),
            trainables: Vec::new(),
            is_whole: true,
        };
        let mut lets: Vec<Pending> = Vec::new();
        let mut seen: Vec<Ident> = Vec::new();
        let mut declared: Vec<Declared> = Vec::new();
        for stmt in &pipeline.stmts {
            if let Some(tensor) = self.declared(stmt, pipeline) {
                self.refuse_twice(tensor.name, &mut seen);
                declared.push(tensor);
                continue;
            }
            match &stmt.kind {
                StmtKind::Let { name, ty, value } => {
                    self.refuse_twice(name, &mut seen);
                    let pending = Pending {
                        name: name.clone(),
                        ty: ty.clone(),
                        value: value.clone(),
                        span: stmt.span,
                    };
                    self.scope.set(
                        &name.name,
                        Binding::Pending(pending.clone().into()),
                        name.span,
                    );
                    lets.push(pending);
                }
                StmtKind::Param { name, ty, value } => {
                    self.refuse_twice(name, &mut seen);
                    self.setting(
                        name,
                        ty.as_ref(),
                        value.as_ref(),
                        stmt,
                        &mut base,
                        &mut lets,
                    );
                }
                StmtKind::Stage { .. } => {}
                StmtKind::State { .. }
                | StmtKind::Assign { .. }
                | StmtKind::Function(_)
                | StmtKind::Train { .. }
                | StmtKind::Report { .. }
                | StmtKind::Steps { .. }
                | StmtKind::Assert { .. } => {
                    let _ = self.error::<()>(
                        "misplaced-statement",
                        stmt.span,
                        "this stands inside a `stage`",
                    );
                }
            }
        }
        for tensor in &declared {
            match self.trainable(tensor, &base) {
                Ok(trainable) => base.trainables.push(trainable),
                Err(Reported) => {
                    let name = tensor.name;
                    self.scope.bind(&name.name, Value::Poison, name.span);
                    base.scope.bind(&name.name, Value::Poison, name.span);
                }
            }
        }
        self.bind_trainables(&base.trainables);
        self.stage_scope = Some(self.scope.clone());
        for pending in lets {
            let value = self.bound(&pending.name.name, pending.name.span);
            match value {
                Ok(Some(Value::Model(model))) => {
                    let is_made = model.frozen.is_none() || is_map_of(&pending.value);
                    if is_made && self.models[model.model].name.is_empty() {
                        self.models[model.model].name = pending.name.name.clone();
                    }
                    base.scope
                        .bind(&pending.name.name, Value::Model(model), pending.name.span);
                }
                Ok(Some(Value::Data(data))) => {
                    if self.data[data.data].name.is_empty() {
                        self.data[data.data].name = pending.name.name.clone();
                    }
                    base.scope
                        .bind(&pending.name.name, Value::Data(data), pending.name.span);
                }
                Ok(Some(value @ (Value::Network(made) | Value::Source(made)))) => {
                    if made.frozen.is_none() {
                        self.name_made(made, &pending.name.name);
                    }
                    base.scope
                        .bind(&pending.name.name, value, pending.name.span);
                }
                Ok(Some(_)) => base.pending.push(pending),
                Ok(None) | Err(Reported) => {
                    base.scope
                        .bind(&pending.name.name, Value::Poison, pending.name.span)
                }
            }
        }
        base
    }

    pub(crate) fn refuse_twice(&mut self, name: &Ident, seen: &mut Vec<Ident>) {
        if let Some(first) = seen
            .iter()
            .find(|known| known.name == name.name)
            .map(|known| known.span)
        {
            let diagnostic = Diagnostic::error(
                "duplicate-definition",
                name.span,
                format!("`{}` is defined twice", name.name),
            )
            .here("again here")
            .label(first, "first here");
            self.report(diagnostic);
        }
        seen.push(name.clone());
    }

    /// `param lr: real = 1e-3`: a constant that `--set` can change, or a block that stands for a rule.
    fn setting(
        &mut self,
        name: &Ident,
        ty: Option<&TypeExpr>,
        value: Option<&Expr>,
        stmt: &Stmt,
        base: &mut Base,
        lets: &mut Vec<Pending>,
    ) {
        let scalar = match ty.map(|ty| &ty.kind) {
            Some(TypeKind::Named { name, dims }) if dims.is_empty() => elem_named(&name.name),
            Some(TypeKind::Named { .. } | TypeKind::Record(_) | TypeKind::Like { .. }) => None,
            None => {
                let diagnostic = Diagnostic::error(
                    "missing-type",
                    name.span,
                    format!("`param {}` needs a type", name.name),
                )
                .help(format!("param {}: real = …", name.name));
                self.report(diagnostic);
                self.scope.bind(&name.name, Value::Poison, name.span);
                base.scope.bind(&name.name, Value::Poison, name.span);
                return;
            }
        };
        let Some(elem) = scalar else {
            let is_rule = matches!(ty.map(|ty| &ty.kind), Some(TypeKind::Named { name, .. }) if name.name == "optimizer");
            match value {
                Some(value) if is_rule => {
                    let pending = Pending {
                        name: name.clone(),
                        ty: None,
                        value: value.clone(),
                        span: stmt.span,
                    };
                    self.scope.set(
                        &name.name,
                        Binding::Pending(pending.clone().into()),
                        name.span,
                    );
                    lets.push(pending);
                }
                _ => {
                    let _ = self.error::<()>(
                        "unknown-type",
                        stmt.span,
                        "a `param` of a pipeline is a scalar, a tensor `real[…]` that is trained, or an `optimizer`",
                    );
                    self.scope.bind(&name.name, Value::Poison, name.span);
                    base.scope.bind(&name.name, Value::Poison, name.span);
                }
            }
            return;
        };
        let array = self.setting_value(name, elem, value);
        match array {
            Ok(array) => {
                if let Ok(tensor) = self.literal(array.clone(), name.span) {
                    self.scope
                        .bind(&name.name, Value::Tensor(tensor), name.span);
                }
                base.settings.push((name.clone(), array));
            }
            Err(Reported) => {
                self.scope.bind(&name.name, Value::Poison, name.span);
                base.scope.bind(&name.name, Value::Poison, name.span);
            }
        }
    }

    fn setting_value(&mut self, name: &Ident, elem: Elem, value: Option<&Expr>) -> Result<Array> {
        let default = match value {
            Some(value) => {
                let tensor = self.expr_tensor(value)?;
                let tensor = match self.static_number(tensor) {
                    Some(number) if elem == Elem::Int && number.fract() == 0.0 => {
                        self.literal(Array::int(number as i64), value.span)?
                    }
                    _ => self.expect_elem(tensor, elem, value.span)?,
                };
                match self.static_value(tensor) {
                    Some(array) => Some(array),
                    None => {
                        return self.error(
                            "not-known-before-run",
                            value.span,
                            "the value of a `param` must be known before the run",
                        );
                    }
                }
            }
            None => None,
        };
        let given = self
            .settings
            .0
            .iter()
            .rev()
            .find(|(known, _)| *known == name.name)
            .map(|(_, text)| text.clone());
        match (given, default) {
            (Some(text), _) => match parse_setting(elem, &text) {
                Some(array) => Ok(array),
                None => {
                    let message = format!(
                        "`--set {}={text}`: `{text}` is not {}",
                        name.name,
                        describe(elem)
                    );
                    let declared = format!("declared here as `{}`", elem.name());
                    Err(self.report(
                        Diagnostic::error("bad-setting", name.span, message).here(declared),
                    ))
                }
            },
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let message = format!("`param {}` has no value", name.name);
                Err(self.report(
                    Diagnostic::error("missing-setting", name.span, message).help(format!(
                        "run with `--set {}=…`, or give it a default",
                        name.name
                    )),
                ))
            }
        }
    }

    fn refuse_unknown_settings(&mut self, pipeline: &Pipeline, base: &Base) {
        let names: Vec<String> = base
            .settings
            .iter()
            .map(|(name, _)| name.name.clone())
            .collect();
        for (given, text) in self.settings.0.clone() {
            let declared = pipeline.stmts.iter().any(
                |stmt| matches!(&stmt.kind, StmtKind::Param { name, .. } if name.name == given),
            );
            if declared {
                continue;
            }
            let near: Vec<String> = nearest(&given, names.iter().map(String::as_str))
                .into_iter()
                .map(str::to_string)
                .collect();
            let message = format!(
                "`--set {given}={text}`: the pipeline `{}` has no `param {given}`",
                pipeline.name.name
            );
            let mut diagnostic = Diagnostic::error("unknown-setting", pipeline.name.span, message);
            if let Some((best, _)) = near
                .first()
                .and_then(|best| base.settings.iter().find(|(name, _)| name.name == *best))
            {
                diagnostic = diagnostic
                    .label(best.span, "declared here")
                    .help(format!("did you mean {}?", quoted(&near)));
            } else if names.is_empty() {
                diagnostic = diagnostic.help("it has none at all");
            } else {
                diagnostic = diagnostic.help(format!("it has {}", names.join(", ")));
            }
            self.report(diagnostic);
        }
    }
}

/// Whether a definition makes a model of others.
fn is_map_of(value: &Expr) -> bool {
    matches!(&value.kind, ExprKind::Call { callee, .. } if is_map(callee))
}

/// A value as written on the command line.
pub(crate) fn parse_setting(elem: Elem, text: &str) -> Option<Array> {
    Some(match elem {
        Elem::Real => Array::real(
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite())?,
        ),
        Elem::Int => Array {
            shape: Vec::new(),
            elements: Elements::Int(vec![text.trim().parse().ok()?]),
        },
        Elem::Bool => Array::bool(text.trim().parse().ok()?),
        Elem::Text => Array::text(text),
    })
}

fn describe(elem: Elem) -> &'static str {
    match elem {
        Elem::Real => "a number",
        Elem::Int => "a whole number",
        Elem::Bool => "`true` or `false`",
        Elem::Text => "a text",
    }
}
