//! What a step tells: reports, and evaluations that are due.

use std::collections::BTreeSet;
use std::time::Instant;

use rlp_compiler::graph::{NodeId, Op};
use rlp_compiler::phase::{Phase, upstream};
use rlp_compiler::plan::ReportPlan;

use super::Stage;
use crate::asserted;
use crate::error::{Fault, Result, RunError};
use crate::executor::Executor;
use crate::part;
use crate::report::{EvaluationRecord, is_due};
use crate::tensor::{Value, elements};

impl Stage<'_> {
    /// The sinks of a step besides its losses: reports that are due, and the states' next values.
    pub(super) fn told_each_step(&self, step: u64) -> Vec<NodeId> {
        let due = self
            .plan
            .reports
            .iter()
            .filter(|report| is_due(report.every, step, self.steps));
        let reported = due.flat_map(|report| report.entries.iter().map(|(_, node)| *node));
        reported
            .chain(self.graph.states.iter().map(|state| state.next))
            .collect()
    }

    /// The nodes before the update phase that a sink reads.
    pub(super) fn early(&self, sink: NodeId) -> Vec<NodeId> {
        let is_early = |id: &NodeId| self.plan.phases[id.index()] != Phase::Minibatch;
        let needed = upstream(self.graph, &[sink]);
        let late = needed
            .iter()
            .filter(|id| !is_early(id))
            .flat_map(|&id| self.graph.operands(id));
        let read: BTreeSet<NodeId> = late.chain([sink]).filter(|id| is_early(id)).collect();
        read.into_iter()
            .filter(|&id| !matches!(self.graph.op(id), Op::Draw(_)))
            .collect()
    }

    /// The entries of a report as they are now, without those that depend on an empty draw.
    pub(super) fn tell(
        &mut self,
        batch: &mut Executor<'_>,
        report: &ReportPlan,
        empty: &BTreeSet<NodeId>,
    ) -> Result<Vec<(String, f64)>> {
        let entries: Vec<&(String, NodeId)> = report
            .entries
            .iter()
            .filter(|(_, node)| !self.depends(*node, empty))
            .collect();
        let nodes: Vec<NodeId> = entries.iter().map(|(_, node)| *node).collect();
        self.check(&report.asserts, batch, empty)?;
        let values = self.steady.evaluate(batch, &nodes, &mut self.host)?;
        let number = |value: &Value| {
            elements::<f64>(value.tensor()?)?
                .first()
                .copied()
                .ok_or_else(|| Fault::broken("a report is a number"))
        };
        let told = entries
            .iter()
            .zip(&values)
            .map(|((name, _), value)| Ok((name.clone(), number(value)?)));
        told.collect::<Result<_, Fault>>().map_err(RunError::from)
    }

    /// Checks assertions, by index in the graph, but for those that depend on an empty draw.
    pub(super) fn check(
        &mut self,
        asserts: &[usize],
        batch: &mut Executor<'_>,
        empty: &BTreeSet<NodeId>,
    ) -> Result<()> {
        let mut asserts = asserted::of(self.graph, asserts);
        asserts.retain(|assertion| !self.depends(assertion.condition, empty));
        let conditions: Vec<NodeId> = asserts
            .iter()
            .map(|assertion| assertion.condition)
            .collect();
        self.steady.evaluate(batch, &conditions, &mut self.host)?;
        asserted::check(&asserts, batch, &mut self.host)
    }

    /// The assertions of what is told in a step that are known before its updates.
    pub(super) fn early_asserts(&self, step: u64) -> Vec<usize> {
        let due = self
            .plan
            .reports
            .iter()
            .filter(|report| is_due(report.every, step, self.steps));
        let asserts = due.flat_map(|report| report.asserts.iter().copied());
        let is_early = |&index: &usize| {
            let condition = self.graph.asserts[index].condition;
            self.plan.phases[condition.index()] != Phase::Minibatch
        };
        let all = asserts.chain(self.plan.asserts.iter().copied());
        all.filter(is_early).collect()
    }

    pub(super) fn evaluations(
        &mut self,
        batch: &mut Executor<'_>,
        step: u64,
        empty: &BTreeSet<NodeId>,
    ) -> Result<Vec<EvaluationRecord>> {
        let mut records = Vec::new();
        for index in 0..self.clauses.len() {
            let plan = self.clauses[index].0.plan;
            let last = plan.steps.min(self.steps);
            for report in plan
                .evaluations
                .iter()
                .filter(|report| step <= last && is_due(report.every, step, last))
            {
                let start = Instant::now();
                let metrics = part::evaluating(|| self.tell(batch, report, empty))?;
                let seconds = start.elapsed().as_secs_f64();
                records.push(EvaluationRecord {
                    stage: self.plan.name.clone(),
                    step,
                    metrics,
                    seconds,
                });
            }
        }
        Ok(records)
    }
}
