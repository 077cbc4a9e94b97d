//! Through which outputs a gradient reaches a model, and how the batch is cut into rows.

use crate::diagnostic::Diagnostic;
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Graph, NodeId, Op};
use crate::phase::{self, Phase, Trained};
use crate::plan::{BatchPlan, TrainPlan};
use crate::ty::DimId;
use rlp_grammar::ast::Span;
use std::collections::BTreeSet;

impl Elaborator<'_> {
    /// The outputs of the trained models that a gradient of the loss reaches; there must be some for each.
    pub(crate) fn outputs(&mut self, plan: &TrainPlan, loss_span: Span) -> Result<Vec<NodeId>> {
        let graph = &self.levels[0].graph;
        let live = phase::live(graph, plan.loss);
        let is_output = |node: NodeId, target: &Trained| -> bool {
            target.reads(graph.op(node)) && !matches!(graph.op(node), Op::Backward { .. })
        };
        let models = plan.targets.iter().map(|&target| Trained {
            models: self.moved_by(&[target]).into_iter().collect(),
            tensors: BTreeSet::new(),
        });
        let tensors = plan.tensors.iter().map(|&target| Trained {
            models: BTreeSet::new(),
            tensors: BTreeSet::from([target]),
        });
        let mut outputs = Vec::new();
        let mut missing = None;
        for target in models.chain(tensors) {
            let reached: Vec<NodeId> = live
                .iter()
                .copied()
                .filter(|&node| is_output(node, &target))
                .collect();
            if reached.is_empty() {
                missing = Some(target);
            }
            outputs.extend(reached);
        }
        outputs.sort_unstable();
        outputs.dedup();
        let Some(target) = missing else {
            for node in phase::between(graph, &live, &outputs) {
                if let Err(why) = crate::pass::has_derivative(graph.op(node)) {
                    let (span, name) = (graph.node(node).span, self.block_of(node));
                    let message = match name {
                        Some(block) => {
                            format!("the loss cannot be differentiated through `{block}`: {why}")
                        }
                        None => format!("the loss cannot be differentiated here: {why}"),
                    };
                    return Err(self.report(
                        Diagnostic::error("no-derivative", span, message)
                            .label(loss_span, "the loss"),
                    ));
                }
            }
            return Ok(outputs);
        };
        let model = target.models.first();
        let tensor = target.tensors.first();
        let tensor = tensor.map(|&own| &self.tensors[own]);
        let owner = tensor.and_then(|own| own.owner.as_ref());
        let name = match (model, owner, tensor) {
            (Some(&model), ..) => self.models[model].name.clone(),
            (None, Some(owner), _) => owner.name.clone(),
            (None, None, tensor) => tensor.map_or(String::new(), |own| own.name.clone()),
        };
        let of = if model.is_some() || owner.is_some() {
            "the parameters of "
        } else {
            ""
        };
        let message = format!("the loss does not depend on {of}`{name}`: nothing would be learnt");
        let mut diagnostic = Diagnostic::error("no-trained-parameter", loss_span, message)
            .here("no gradient reaches the model from here");
        // Say where the gradient stops, if the model is there but cut off.
        let upstream = phase::upstream(graph, &[plan.loss]);
        let cut = upstream.iter().copied().find(|&node| {
            matches!(graph.op(node), Op::StopGrad)
                && phase::upstream(graph, &[node])
                    .into_iter()
                    .any(|inner| is_output(inner, &target))
        });
        let drawn = upstream
            .iter()
            .copied()
            .any(|node| matches!(graph.op(node), Op::Draw(_)));
        if let Some(cut) = cut {
            let span = graph.node(cut).span;
            diagnostic = diagnostic.label(
                span,
                "the gradient stops here: rewards and advantages are data",
            );
        } else if drawn && model.is_some() {
            diagnostic = diagnostic.help(format!("what was recorded while sampling is data; `logp({name}, …)` is computed again, with a gradient"));
        }
        Err(self.report(diagnostic))
    }

    /// The block in which a node stands.
    pub(crate) fn block_of(&self, node: NodeId) -> Option<String> {
        let graph = &self.levels[0].graph;
        let call = graph.node(node).call?;
        Some(graph.calls[call.0 as usize].block.clone())
    }

    /// How each batch that the outputs read is cut into rows.
    pub(crate) fn batches(&self, plan: &TrainPlan, trained: &Trained) -> Vec<BatchPlan> {
        let graph = &self.levels[0].graph;
        let phases = phase::phases(graph, trained);
        let mut batches: Vec<BatchPlan> = Vec::new();
        for &output in &plan.outputs {
            let Some(&tokens) = graph.operands(output).first() else {
                continue;
            };
            let ty = graph.ty(tokens);
            let rows: Vec<DimId> = ty
                .dims
                .iter()
                .copied()
                .filter(|&dim| !graph.dims.is_ragged(dim))
                .collect();
            if !batches.iter().any(|batch| batch.rows == rows) {
                batches.push(BatchPlan {
                    rows,
                    together: Vec::new(),
                });
            }
        }
        if batches.is_empty() {
            let rows = self.rows_of_data(plan, &phases).into_iter();
            let together = Vec::new;
            batches.extend(rows.map(|rows| BatchPlan {
                rows,
                together: together(),
            }));
        }
        let asserts = plan.asserts.iter();
        let conditions = asserts.map(|&number| graph.asserts[number].condition);
        let sinks: Vec<NodeId> = conditions.chain([plan.loss]).collect();
        let reached = phase::upstream(graph, &sinks);
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

    /// What numbers the rows of a loss that reads no sequences: of each draw the dimensions that it makes, of the tables
    /// of a data source the first one that all of them share; but none of a parameter, which every minibatch has whole.
    fn rows_of_data(&self, plan: &TrainPlan, phases: &[Phase]) -> Vec<Vec<DimId>> {
        let graph = &self.levels[0].graph;
        let reached = phase::upstream(graph, &[plan.loss]);
        let mut of_parameters: BTreeSet<DimId> = BTreeSet::new();
        let mut held: BTreeSet<DimId> = BTreeSet::new();
        let mut tables: Vec<Vec<DimId>> = Vec::new();
        for &node in &reached {
            let dims = &graph.ty(node).dims;
            if let Op::Trainable(own) = graph.op(node) {
                if self.is_of_data(own.model) {
                    tables.push(dims.clone());
                } else {
                    of_parameters.extend(dims);
                }
            }
            if let Op::Rename(pairs) = graph.op(node) {
                let is_own = |(old, _): &&(DimId, DimId)| of_parameters.contains(old);
                let renamed: Vec<DimId> = pairs.iter().filter(is_own).map(|pair| pair.1).collect();
                of_parameters.extend(renamed);
            }
            let is_late = |node: NodeId| phases[node.index()] == Phase::Minibatch;
            if is_late(node) {
                let given = graph
                    .operands(node)
                    .into_iter()
                    .filter(|&own| !is_late(own));
                held.extend(given.flat_map(|own| graph.ty(own).dims.clone()));
            }
        }
        let is_row = |dim: &DimId| {
            held.contains(dim) && !graph.dims.is_ragged(*dim) && !of_parameters.contains(dim)
        };
        let rows = |dims: Vec<DimId>| dims.into_iter().filter(is_row).collect::<Vec<_>>();
        let draws = graph.draws.iter().map(|draw| rows(draw.fresh.clone()));
        let mut groups: Vec<Vec<DimId>> = Vec::new();
        for dims in tables.into_iter().map(rows) {
            let shares = |group: &&mut Vec<DimId>| group.iter().any(|dim| dims.contains(dim));
            match groups.iter_mut().find(shares) {
                Some(group) => group.retain(|dim| dims.contains(dim)),
                None => groups.push(dims),
            }
        }
        let firsts = groups
            .into_iter()
            .map(|group| group.into_iter().take(1).collect());
        let all = draws.chain(firsts);
        all.filter(|rows: &Vec<DimId>| !rows.is_empty()).collect()
    }

    fn is_of_data(&self, tensor: usize) -> bool {
        let owner = self.tensors.get(tensor).and_then(|own| own.owner.as_ref());
        owner.is_some_and(|owner| !owner.is_model)
    }

    /// A minibatch that is larger than the batch, or than can be dealt out, is a mistake.
    pub(crate) fn check_minibatch(&mut self, plan: &TrainPlan, span: Span) -> Result<()> {
        let Some(minibatch) = plan.minibatch else {
            return Ok(());
        };
        if plan.batches.is_empty() {
            let message = "`minibatch` has nothing to cut: the loss reads no rows of a draw or of a data source";
            let diagnostic = Diagnostic::error("minibatch-of-nothing", span, message);
            return Err(
                self.report(diagnostic.help("leave it out: every update is of the whole loss"))
            );
        }
        for batch in &plan.batches {
            let size = |dims: &[DimId]| {
                dims.iter()
                    .map(|&dim| self.graph().dims.get(dim).size)
                    .try_fold(1, |all, size| Some(all * size?))
            };
            if let Some(rows) = size(&batch.rows)
                && minibatch > rows
            {
                let names: Vec<String> = batch
                    .rows
                    .iter()
                    .map(|&dim| {
                        format!(
                            "{} {}s",
                            self.graph().dims.get(dim).size.unwrap_or(0),
                            self.dim_name(dim)
                        )
                    })
                    .collect();
                let message = format!(
                    "`minibatch` is {minibatch}, and the batch has {rows} rows: {}",
                    names.join(" × ")
                );
                let origin = batch
                    .rows
                    .first()
                    .map(|&dim| self.graph().dims.get(dim).span);
                let mut diagnostic = Diagnostic::error("minibatch-too-large", span, message)
                    .help(format!("minibatch {rows}, or leave it out"));
                if let Some(origin) = origin {
                    diagnostic = diagnostic.label(origin, format!("{rows} rows are drawn here"));
                }
                return Err(self.report(diagnostic));
            }
            if let Some(group) = size(&batch.together)
                && minibatch < group
            {
                let name = batch
                    .together
                    .first()
                    .map(|&dim| self.dim_name(dim).to_string())
                    .unwrap_or_default();
                let message = format!(
                    "`minibatch` is {minibatch}, and the loss needs whole groups of {group} over `{name}`"
                );
                return Err(self.report(
                    Diagnostic::error("minibatch-too-small", span, message)
                        .help(format!("minibatch {group} or more")),
                ));
            }
        }
        if let Some(micro) = plan.micro_batch
            && micro > minibatch
        {
            let message =
                format!("`micro_batch` is {micro}, more than the {minibatch} of a `minibatch`");
            return Err(self.report(Diagnostic::error("value-out-of-range", span, message)));
        }
        Ok(())
    }
}

/// The row dimensions that an operation of the loss treats apart from the others, so that rows may not be dealt out one by one.
pub(crate) fn coupled(graph: &Graph, node: NodeId, rows: &[DimId]) -> Vec<DimId> {
    let touched: Vec<DimId> = match graph.op(node) {
        Op::Reduce { over, .. } | Op::Contract { over } => over.clone(),
        Op::ArgReduce { over, .. }
        | Op::Scan { over, .. }
        | Op::Cumsum { over, .. }
        | Op::Shift { over, .. }
        | Op::ArgSort { over, .. }
        | Op::Gather { over }
        | Op::ScatterAdd { over } => {
            vec![*over]
        }
        Op::Rename(pairs) => pairs.iter().map(|(old, _)| *old).collect(),
        Op::Split { dim, .. } => vec![*dim],
        Op::Merge { dims, .. } => dims.clone(),
        Op::Factor { row, col, .. } | Op::Solve { row, col } => vec![*row, *col],
        Op::Position(dim) | Op::Size(dim) => vec![*dim],
        Op::Literal(_)
        | Op::Input(_)
        | Op::Mask(_)
        | Op::Step
        | Op::Steps
        | Op::State(_)
        | Op::Draw(_)
        | Op::Field(_)
        | Op::Model { .. }
        | Op::Backward { .. }
        | Op::Trainable(_)
        | Op::Random { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Text(_)
        | Op::Broadcast
        | Op::Stack(_)
        | Op::StopGrad
        | Op::Grad => Vec::new(),
    };
    let touched: Vec<DimId> = touched
        .into_iter()
        .filter(|dim| rows.contains(dim))
        .collect();
    // A reduction that leaves no rows of its operand treats them alike.
    let reduces = matches!(graph.op(node), Op::Reduce { .. } | Op::Contract { .. });
    let leaves_rows = graph.ty(node).dims.iter().any(|dim| rows.contains(dim));
    if reduces && !leaves_rows {
        Vec::new()
    } else {
        touched
    }
}
