//! `train`: what is minimised, through which outputs of which models, by which rules, in which portions.

use std::collections::BTreeSet;

use rlp_grammar::ast::{Clause, ClauseKind, Expr, ExprKind, Rule as RuleExpr, Span};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::model::made::MadeRef;
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::graph::{NodeId, Op};
use crate::phase::{self, Trained};
use crate::plan::{ParameterGroup, RulePlan, TrainPlan};

impl Elaborator<'_> {
    /// The plan without its batches, and the place of `minibatch`.
    pub(crate) fn train(
        &mut self,
        targets: &[Expr],
        clauses: &[Clause],
        span: Span,
    ) -> Result<(TrainPlan, Span)> {
        let mut models = Vec::new();
        let mut networks = Vec::new();
        let mut tensors = Vec::new();
        for target in targets {
            match self.expr(target)? {
                Value::Model(model) if model.frozen.is_none() => {
                    let model = self.trained_of(model.model, target.span)?;
                    if models.contains(&model) {
                        return self.error(
                            "repeated-argument",
                            target.span,
                            "this model stands twice",
                        );
                    }
                    models.push(model);
                }
                Value::Model(map) if self.models[map.model].block == "model.map" => {
                    let message = "this model has its weights from other models: train those";
                    return self.error("type-mismatch", target.span, message);
                }
                Value::Model(_)
                | Value::Network(MadeRef {
                    frozen: Some(_), ..
                }) => {
                    return self.error(
                        "type-mismatch",
                        target.span,
                        "a frozen copy is not trained",
                    );
                }
                Value::Network(MadeRef { made, frozen: None }) => {
                    if networks.contains(&made) {
                        return self.error(
                            "repeated-argument",
                            target.span,
                            "this model stands twice",
                        );
                    }
                    networks.push(made);
                }
                Value::Tensor(tensor)
                    if self
                        .trainable_of(tensor)
                        .is_some_and(|own| own.frozen.is_none()) =>
                {
                    let index = self.trainable_of(tensor).map_or(0, |own| own.model);
                    if tensors.contains(&index) {
                        return self.error(
                            "repeated-argument",
                            target.span,
                            "this tensor stands twice",
                        );
                    }
                    tensors.push(index);
                }
                Value::Poison => return Err(Reported),
                other => {
                    return self.error(
                        "type-mismatch",
                        target.span,
                        format!(
                            "a model or a trainable tensor is trained, and this is {}",
                            other.describe()
                        ),
                    );
                }
            }
        }
        let mut plan = TrainPlan {
            targets: models,
            moved: Vec::new(),
            tensors,
            loss: NodeId::new(0),
            outputs: Vec::new(),
            rules: Vec::new(),
            keep_state: false,
            steps: 0,
            epochs: 1,
            minibatch: None,
            micro_batch: None,
            clip_norm: None,
            skips: 0,
            batches: Vec::new(),
            evaluations: Vec::new(),
            asserts: Vec::new(),
            span,
        };
        let mut loss: Option<(Tensor, Span)> = None;
        let mut minibatch_span = span;
        let mut seen: Vec<(String, Span)> = Vec::new();
        let mut sound = true;
        for clause in clauses {
            let allows = self.allows.len();
            self.allow_all(&clause.allows, clause.span);
            let word = match &clause.kind {
                ClauseKind::Minimize { .. } => "minimize".to_string(),
                ClauseKind::With { .. } => "with".to_string(),
                ClauseKind::Setting { name, .. } => name.name.clone(),
                ClauseKind::Evaluate { .. } => String::new(),
            };
            if let Some((_, first)) = seen
                .iter()
                .find(|(known, _)| *known == word && !word.is_empty())
            {
                let first = *first;
                let diagnostic = Diagnostic::error(
                    "repeated-argument",
                    clause.span,
                    format!("`{word}` stands twice"),
                )
                .label(first, "first here");
                self.report(diagnostic);
                sound = false;
            }
            seen.push((word, clause.span));
            let done = match &clause.kind {
                ClauseKind::Minimize { value, negate } => self
                    .loss(value, *negate)
                    .map(|tensor| loss = Some((tensor, value.span))),
                ClauseKind::With { rules, keep_state } => {
                    plan.keep_state = *keep_state;
                    self.rules(rules).map(|rules| plan.rules = rules)
                }
                ClauseKind::Setting { name, value } => {
                    if name.name == "minibatch" {
                        minibatch_span = value.span;
                    }
                    self.train_setting(&name.name, name.span, value, &mut plan)
                }
                ClauseKind::Evaluate { entries, every } => self
                    .report_entries(entries, every.as_ref(), clause.span)
                    .map(|report| plan.evaluations.push(report)),
            };
            sound &= done.is_ok();
            self.allows.truncate(allows);
        }
        for (word, there) in [
            ("minimize", loss.is_some()),
            ("with", !plan.rules.is_empty()),
            ("steps", plan.steps > 0),
        ] {
            if !there && !seen.iter().any(|(known, _)| known == word) {
                let help = match word {
                    "minimize" => "minimize loss.nll(logp(policy, demos))",
                    "with" => "with optimizer.adamw(lr: 1e-3)",
                    _ => "steps 100",
                };
                self.report(
                    Diagnostic::error("missing-clause", span, format!("`train` needs `{word}`"))
                        .help(help),
                );
                sound = false;
            }
        }
        let (Some((loss, loss_span)), true) = (loss, sound) else {
            return Err(Reported);
        };
        plan.loss = loss.node;
        self.sense_of_loss(loss, loss_span);
        self.trained_params(&networks, &mut plan)?;
        plan.moved = self.moved_by(&plan.targets);
        plan.outputs = self.outputs(&plan, loss_span)?;
        self.sense_of_roles(plan.loss, &Trained::by([&plan]));
        Ok((plan, minibatch_span))
    }

    /// Of the models that are blocks of `.rlp`, those parameters that the loss reaches are trained.
    fn trained_params(&mut self, networks: &[usize], plan: &mut TrainPlan) -> Result<()> {
        let graph = &self.levels[0].graph;
        let live = phase::live(graph, plan.loss);
        let reached = live.iter().filter_map(|&node| match graph.op(node) {
            Op::Trainable(tensor) if tensor.frozen.is_none() => Some(tensor.model),
            _ => None,
        });
        let reached: BTreeSet<usize> = reached.collect();
        for &network in networks {
            let made = self.made[network].clone();
            let own = made.params.iter().copied();
            let trained: Vec<usize> = own.filter(|own| reached.contains(own)).collect();
            match (trained.is_empty(), made.params.first()) {
                (false, _) => plan.tensors.extend(trained),
                // It is said of the first that nothing reaches it.
                (true, Some(&first)) => plan.tensors.push(first),
                (true, None) => {
                    let message = format!("`{}` has no `param` to train", made.definition.name);
                    return self.error("no-trained-parameter", plan.span, message);
                }
            }
        }
        // A model and what it is under a transform without `param`s have the same.
        let mut seen = BTreeSet::new();
        plan.tensors.retain(|own| seen.insert(*own));
        Ok(())
    }

    pub(crate) fn loss(&mut self, value: &Expr, negate: bool) -> Result<Tensor> {
        let x = self.expr_tensor(value)?;
        let x = self.real(x, value.span)?;
        if !self.ty(x).dims.is_empty() {
            let shown = self.show_type(x);
            let text = crate::elaborate::block::call::one_line(self.library.map.text(value.span));
            let mut diagnostic = Diagnostic::error(
                "loss-not-scalar",
                value.span,
                format!("what is minimised is one number, and this is `{shown}`"),
            )
            .here(shown);
            if text.len() <= 60 {
                diagnostic = diagnostic.help(format!("mean({text})"));
            }
            return Err(self.report(diagnostic));
        }
        if negate {
            self.unary(crate::graph::Unary::Neg, x, value.span)
        } else {
            Ok(x)
        }
    }

    pub(crate) fn rules(&mut self, rules: &[RuleExpr]) -> Result<Vec<RulePlan>> {
        let mut plans = Vec::new();
        for rule in rules {
            let Value::Rule(value) = self.expr(&rule.optimizer)? else {
                let diagnostic = Diagnostic::error(
                    "type-mismatch",
                    rule.optimizer.span,
                    "an optimizer is expected after `with`",
                )
                .help("optimizer.adamw(lr: 1e-3)");
                return Err(self.report(diagnostic));
            };
            let on = match &rule.on {
                None => ParameterGroup::All,
                Some(on) => self.parameter_group(on)?,
            };
            let vector = self.update_plan(&value, &["row"])?;
            let matrix = self.update_plan(&value, &["row", "col"])?;
            let args = value
                .args
                .iter()
                .map(|(name, tensor, _)| (name.clone(), tensor.node))
                .collect();
            plans.push(RulePlan {
                block: value.definition.name.clone(),
                on,
                args,
                asserts: Vec::new(),
                vector,
                matrix,
            });
        }
        Ok(plans)
    }

    /// `matrices(policy)`, `others(policy)`, or a pattern of parameter names.
    pub(crate) fn parameter_group(&mut self, on: &Expr) -> Result<ParameterGroup> {
        match &on.kind {
            ExprKind::Text(pattern) => Ok(ParameterGroup::Named(pattern.clone())),
            ExprKind::Call { callee, args } if args.len() == 1 => {
                let ExprKind::Name(name) = &callee.kind else {
                    return self.error(
                        "unknown-name",
                        callee.span,
                        "`matrices(m)`, `others(m)` or a pattern of names is expected after `on`",
                    );
                };
                let group = self.expr(&args[0].value)?;
                let is_trained = match &group {
                    Value::Model(_) | Value::Network(_) => true,
                    Value::Tensor(tensor) => self.trainable_of(*tensor).is_some(),
                    _ => false,
                };
                if !is_trained {
                    return self.error(
                        "type-mismatch",
                        args[0].value.span,
                        "a model is expected here",
                    );
                }
                match name.as_str() {
                    "matrices" => Ok(ParameterGroup::Matrices),
                    "others" => Ok(ParameterGroup::Others),
                    _ => {
                        let near = nearest(name, ["matrices", "others"]);
                        let mut diagnostic = Diagnostic::error(
                            "unknown-name",
                            callee.span,
                            format!("there is no group of parameters `{name}`"),
                        );
                        diagnostic = match near.first() {
                            Some(best) => diagnostic
                                .help(format!("did you mean `{best}`?"))
                                .fix(callee.span, best.to_string()),
                            None => diagnostic.help(
                                "`matrices(m)`, `others(m)`, or a pattern of names in quotes",
                            ),
                        };
                        Err(self.report(diagnostic))
                    }
                }
            }
            _ => self.error(
                "unknown-name",
                on.span,
                "`matrices(m)`, `others(m)` or a pattern of names is expected after `on`",
            ),
        }
    }

    pub(crate) fn train_setting(
        &mut self,
        name: &str,
        name_span: Span,
        value: &Expr,
        plan: &mut TrainPlan,
    ) -> Result<()> {
        match name {
            "steps" => plan.steps = self.whole(value, name, 1)?,
            "epochs" => plan.epochs = self.whole(value, name, 1)?,
            "minibatch" => plan.minibatch = Some(self.whole(value, name, 1)?),
            "micro_batch" => plan.micro_batch = Some(self.whole(value, name, 1)?),
            "clip_norm" => {
                let norm = self.expr_tensor(value)?;
                match self.static_number(norm) {
                    Some(number) if number > 0.0 => plan.clip_norm = Some(number),
                    Some(number) => {
                        return self.error(
                            "value-out-of-range",
                            value.span,
                            format!("`clip_norm` is positive, not {number}"),
                        );
                    }
                    None => {
                        return self.error(
                            "not-known-before-run",
                            value.span,
                            "`clip_norm` must be known before the run",
                        );
                    }
                }
            }
            "on_nonfinite" => plan.skips = self.skips(value)?,
            _ => {
                return self.error(
                    "not-supported-yet",
                    name_span,
                    format!("`{name}` is not supported yet"),
                );
            }
        }
        Ok(())
    }

    /// `stop`, or `skip(3)`: how many minibatches may be left out.
    fn skips(&mut self, value: &Expr) -> Result<u64> {
        let is =
            |expr: &Expr, word: &str| matches!(&expr.kind, ExprKind::Name(name) if name == word);
        match &value.kind {
            ExprKind::Call { callee, args } if is(callee, "skip") => {
                if let [most] = args.as_slice()
                    && most.name.is_none()
                {
                    return self.whole(&most.value, "skip", 1);
                }
            }
            _ if is(value, "stop") => return Ok(0),
            _ => {}
        }
        let message =
            "`on_nonfinite` is `stop` or `skip(3)`, which leaves out at most 3 minibatches";
        self.error("value-out-of-range", value.span, message)
    }
}
