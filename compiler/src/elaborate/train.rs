//! `train`: what is minimised, through which outputs of which models, by which rules, in which portions.

use std::collections::BTreeSet;

use rlp_grammar::ast::{Clause, ClauseKind, Expr, ExprKind, Rule as RuleExpr, Span};

use crate::diagnostic::{Diagnostic, nearest};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Reported, Result};
use crate::graph::{Graph, NodeId, Op};
use crate::phase::{self, Phase};
use crate::plan::{BatchPlan, ParameterGroup, RulePlan, TrainPlan};
use crate::ty::DimId;

impl Elaborator<'_> {
    pub(crate) fn train(&mut self, targets: &[Expr], clauses: &[Clause], span: Span) -> Result<TrainPlan> {
        let mut models = Vec::new();
        for target in targets {
            match self.expr(target)? {
                Value::Model(model) if model.frozen.is_none() => {
                    if models.contains(&model.model) {
                        return self.error("repeated-argument", target.span, "this model stands twice");
                    }
                    models.push(model.model);
                }
                Value::Model(_) => return self.error("type-mismatch", target.span, "a frozen copy is not trained"),
                Value::Poison => return Err(Reported),
                other => return self.error("type-mismatch", target.span, format!("a model is trained, and this is {}", other.describe())),
            }
        }
        let mut plan = TrainPlan {
            targets: models,
            loss: NodeId::new(0),
            outputs: Vec::new(),
            rules: Vec::new(),
            keep_state: false,
            steps: 0,
            epochs: 1,
            minibatch: None,
            micro_batch: None,
            clip_norm: None,
            batches: Vec::new(),
            evaluations: Vec::new(),
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
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == word && !word.is_empty()) {
                let first = *first;
                let diagnostic = Diagnostic::error("repeated-argument", clause.span, format!("`{word}` stands twice")).label(first, "first here");
                self.report(diagnostic);
                sound = false;
            }
            seen.push((word, clause.span));
            let done = match &clause.kind {
                ClauseKind::Minimize { value, negate } => self.loss(value, *negate).map(|tensor| loss = Some((tensor, value.span))),
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
                ClauseKind::Evaluate { entries, every } => {
                    self.report_entries(entries, every.as_ref(), clause.span).map(|report| plan.evaluations.push(report))
                }
            };
            sound &= done.is_ok();
            self.allows.truncate(allows);
        }
        for (word, there) in [("minimize", loss.is_some()), ("with", !plan.rules.is_empty()), ("steps", plan.steps > 0)] {
            if !there && !seen.iter().any(|(known, _)| known == word) {
                let help = match word {
                    "minimize" => "minimize loss.nll(logp(policy, demos))",
                    "with" => "with optimizer.adamw(lr: 1e-3)",
                    _ => "steps 100",
                };
                self.report(Diagnostic::error("missing-clause", span, format!("`train` needs `{word}`")).help(help));
                sound = false;
            }
        }
        let (Some((loss, loss_span)), true) = (loss, sound) else { return Err(Reported) };
        plan.loss = loss.node;
        self.sense_of_loss(loss, loss_span);
        plan.outputs = self.outputs(&plan, loss_span)?;
        plan.batches = self.batches(&plan);
        self.check_minibatch(&plan, minibatch_span)?;
        Ok(plan)
    }

    fn loss(&mut self, value: &Expr, negate: bool) -> Result<Tensor> {
        let x = self.expr_tensor(value)?;
        let x = self.real(x, value.span)?;
        if !self.ty(x).dims.is_empty() {
            let shown = self.show_type(x);
            let text = super::call::one_line(self.library.map.text(value.span));
            let mut diagnostic = Diagnostic::error("loss-not-scalar", value.span, format!("what is minimised is one number, and this is `{shown}`")).here(shown);
            if text.len() <= 60 {
                diagnostic = diagnostic.help(format!("mean({text})"));
            }
            return Err(self.report(diagnostic));
        }
        if negate { self.unary(crate::graph::Unary::Neg, x, value.span) } else { Ok(x) }
    }

    fn rules(&mut self, rules: &[RuleExpr]) -> Result<Vec<RulePlan>> {
        let mut plans = Vec::new();
        for rule in rules {
            let Value::Rule(value) = self.expr(&rule.optimizer)? else {
                let diagnostic = Diagnostic::error("type-mismatch", rule.optimizer.span, "an optimizer is expected after `with`").help("optimizer.adamw(lr: 1e-3)");
                return Err(self.report(diagnostic));
            };
            let on = match &rule.on {
                None => ParameterGroup::All,
                Some(on) => self.parameter_group(on)?,
            };
            let vector = self.update_plan(&value, &["row"])?;
            let matrix = self.update_plan(&value, &["row", "col"])?;
            let args = value.args.iter().map(|(name, tensor, _)| (name.clone(), tensor.node)).collect();
            plans.push(RulePlan { block: value.definition.name.clone(), on, args, vector, matrix });
        }
        Ok(plans)
    }

    /// `matrices(policy)`, `others(policy)`, or a pattern of parameter names.
    fn parameter_group(&mut self, on: &Expr) -> Result<ParameterGroup> {
        match &on.kind {
            ExprKind::Text(pattern) => Ok(ParameterGroup::Named(pattern.clone())),
            ExprKind::Call { callee, args } if args.len() == 1 => {
                let ExprKind::Name(name) = &callee.kind else {
                    return self.error("unknown-name", callee.span, "`matrices(m)`, `others(m)` or a pattern of names is expected after `on`");
                };
                let Value::Model(_) = self.expr(&args[0].value)? else {
                    return self.error("type-mismatch", args[0].value.span, "a model is expected here");
                };
                match name.as_str() {
                    "matrices" => Ok(ParameterGroup::Matrices),
                    "others" => Ok(ParameterGroup::Others),
                    _ => {
                        let near = nearest(name, ["matrices", "others"]);
                        let mut diagnostic = Diagnostic::error("unknown-name", callee.span, format!("there is no group of parameters `{name}`"));
                        diagnostic = match near.first() {
                            Some(best) => diagnostic.help(format!("did you mean `{best}`?")).fix(callee.span, best.to_string()),
                            None => diagnostic.help("`matrices(m)`, `others(m)`, or a pattern of names in quotes"),
                        };
                        Err(self.report(diagnostic))
                    }
                }
            }
            _ => self.error("unknown-name", on.span, "`matrices(m)`, `others(m)` or a pattern of names is expected after `on`"),
        }
    }

    fn train_setting(&mut self, name: &str, name_span: Span, value: &Expr, plan: &mut TrainPlan) -> Result<()> {
        match name {
            "steps" => plan.steps = self.whole(value, name, 1)?,
            "epochs" => plan.epochs = self.whole(value, name, 1)?,
            "minibatch" => plan.minibatch = Some(self.whole(value, name, 1)?),
            "micro_batch" => plan.micro_batch = Some(self.whole(value, name, 1)?),
            "clip_norm" => {
                let norm = self.expr_tensor(value)?;
                match self.static_number(norm) {
                    Some(number) if number > 0.0 => plan.clip_norm = Some(number),
                    Some(number) => return self.error("value-out-of-range", value.span, format!("`clip_norm` is positive, not {number}")),
                    None => return self.error("not-known-before-run", value.span, "`clip_norm` must be known before the run"),
                }
            }
            _ => return self.error("not-supported-yet", name_span, format!("`{name}` is not supported yet")),
        }
        Ok(())
    }

    /// The outputs of the trained models that a gradient of the loss reaches; there must be some for each.
    fn outputs(&mut self, plan: &TrainPlan, loss_span: Span) -> Result<Vec<NodeId>> {
        let graph = &self.levels[0].graph;
        let live = phase::live(graph, plan.loss);
        let is_output = |node: NodeId, target: usize| match graph.op(node) {
            Op::Model { model, .. } | Op::Trainable(model) => model.model == target && model.frozen.is_none(),
            _ => false,
        };
        let mut outputs = Vec::new();
        let mut missing = None;
        for &target in &plan.targets {
            let reached: Vec<NodeId> = live.iter().copied().filter(|&node| is_output(node, target)).collect();
            if reached.is_empty() {
                missing = Some(target);
            }
            outputs.extend(reached);
        }
        outputs.sort_unstable();
        let Some(target) = missing else {
            for &node in &live {
                if let Err(why) = has_derivative(graph.op(node)) {
                    let (span, name) = (graph.node(node).span, self.block_of(node));
                    let message = match name {
                        Some(block) => format!("the loss cannot be differentiated through `{block}`: {why}"),
                        None => format!("the loss cannot be differentiated here: {why}"),
                    };
                    return Err(self.report(Diagnostic::error("no-derivative", span, message).label(loss_span, "the loss")));
                }
            }
            return Ok(outputs);
        };
        let name = self.models[target].name.clone();
        let message = format!("the loss does not depend on the parameters of `{name}`: nothing would be learnt");
        let mut diagnostic = Diagnostic::error("no-trained-parameter", loss_span, message).here("no gradient reaches the model from here");
        // Say where the gradient stops, if the model is there but cut off.
        let upstream = phase::upstream(graph, &[plan.loss]);
        let cut = upstream.iter().copied().find(|&node| {
            matches!(graph.op(node), Op::StopGrad) && phase::upstream(graph, &[node]).into_iter().any(|inner| is_output(inner, target))
        });
        let drawn = upstream.iter().copied().any(|node| matches!(graph.op(node), Op::Draw(_)));
        if let Some(cut) = cut {
            let span = graph.node(cut).span;
            diagnostic = diagnostic.label(span, "the gradient stops here: rewards and advantages are data");
        } else if drawn {
            diagnostic = diagnostic.help(format!("what was recorded while sampling is data; `logp({name}, …)` is computed again, with a gradient"));
        }
        Err(self.report(diagnostic))
    }

    /// The block in which a node stands.
    fn block_of(&self, node: NodeId) -> Option<String> {
        let graph = &self.levels[0].graph;
        let call = graph.node(node).call?;
        Some(graph.calls[call.0 as usize].block.clone())
    }

    /// How each batch that the outputs read is cut into rows.
    fn batches(&self, plan: &TrainPlan) -> Vec<BatchPlan> {
        let graph = &self.levels[0].graph;
        let trained: BTreeSet<usize> = plan.targets.iter().copied().collect();
        let phases = phase::phases(graph, &trained);
        let mut batches: Vec<BatchPlan> = Vec::new();
        for &output in &plan.outputs {
            let Some(&tokens) = graph.operands(output).first() else { continue };
            let ty = graph.ty(tokens);
            let rows: Vec<DimId> = ty.dims.iter().copied().filter(|&dim| !graph.dims.is_ragged(dim)).collect();
            if !batches.iter().any(|batch| batch.rows == rows) {
                batches.push(BatchPlan { rows, together: Vec::new() });
            }
        }
        let reached = phase::upstream(graph, &[plan.loss]);
        for batch in &mut batches {
            let mut together: BTreeSet<DimId> = BTreeSet::new();
            for &node in &reached {
                if phases[node.index()] != Phase::Minibatch {
                    continue;
                }
                together.extend(coupled(graph, node, &batch.rows));
            }
            batch.together = together.into_iter().collect();
        }
        batches
    }

    /// A minibatch that is larger than the batch, or than can be dealt out, is a mistake.
    fn check_minibatch(&mut self, plan: &TrainPlan, span: Span) -> Result<()> {
        let Some(minibatch) = plan.minibatch else { return Ok(()) };
        for batch in &plan.batches {
            let size = |dims: &[DimId]| dims.iter().map(|&dim| self.graph().dims.get(dim).size).try_fold(1, |all, size| Some(all * size?));
            if let Some(rows) = size(&batch.rows)
                && minibatch > rows
            {
                let names: Vec<String> =
                    batch.rows.iter().map(|&dim| format!("{} {}s", self.graph().dims.get(dim).size.unwrap_or(0), self.dim_name(dim))).collect();
                let message = format!("`minibatch` is {minibatch}, and the batch has {rows} rows: {}", names.join(" × "));
                let origin = batch.rows.first().map(|&dim| self.graph().dims.get(dim).span);
                let mut diagnostic = Diagnostic::error("minibatch-too-large", span, message).help(format!("minibatch {rows}, or leave it out"));
                if let Some(origin) = origin {
                    diagnostic = diagnostic.label(origin, format!("{rows} rows are drawn here"));
                }
                return Err(self.report(diagnostic));
            }
            if let Some(group) = size(&batch.together)
                && minibatch < group
            {
                let name = batch.together.first().map(|&dim| self.dim_name(dim).to_string()).unwrap_or_default();
                let message = format!("`minibatch` is {minibatch}, and the loss needs whole groups of {group} over `{name}`");
                return Err(self.report(Diagnostic::error("minibatch-too-small", span, message).help(format!("minibatch {group} or more"))));
            }
        }
        if let Some(micro) = plan.micro_batch
            && micro > minibatch
        {
            let message = format!("`micro_batch` is {micro}, more than the {minibatch} of a `minibatch`");
            return Err(self.report(Diagnostic::error("value-out-of-range", span, message)));
        }
        Ok(())
    }
}

/// The row dimensions that an operation of the loss treats apart from the others, so that rows may not be dealt out one by one.
fn coupled(graph: &Graph, node: NodeId, rows: &[DimId]) -> Vec<DimId> {
    let touched: Vec<DimId> = match graph.op(node) {
        Op::Reduce { over, .. } | Op::Contract { over } => over.clone(),
        Op::ArgReduce { over, .. } | Op::Scan { over, .. } | Op::Cumsum { over, .. } | Op::Shift { over, .. } | Op::ArgSort { over, .. } | Op::Gather { over } | Op::ScatterAdd { over } => {
            vec![*over]
        }
        Op::Rename(pairs) => pairs.iter().map(|(old, _)| *old).collect(),
        Op::Split { dim, .. } => vec![*dim],
        Op::Merge { dims, .. } => dims.clone(),
        Op::Factor { row, col, .. } | Op::Solve { row, col } => vec![*row, *col],
        Op::Position(dim) | Op::Size(dim) => vec![*dim],
        Op::Literal(_) | Op::Input(_) | Op::Mask(_) | Op::Step | Op::Steps | Op::State(_) | Op::Draw(_) | Op::Field(_) | Op::Model { .. } | Op::Trainable(_)
        | Op::Random { .. } | Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Text(_) | Op::Broadcast | Op::Stack(_) | Op::StopGrad | Op::Grad => Vec::new(),
    };
    let touched: Vec<DimId> = touched.into_iter().filter(|dim| rows.contains(dim)).collect();
    // A reduction over all rows at once treats them alike.
    let reduces = matches!(graph.op(node), Op::Reduce { .. } | Op::Contract { .. });
    if reduces && rows.iter().all(|row| touched.contains(row)) { Vec::new() } else { touched }
}

fn has_derivative(_: &Op) -> std::result::Result<(), &'static str> {
    Ok(())
}
