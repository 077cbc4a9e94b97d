//! `sampler.dynamic` and `sampler.predictive_dynamic`: of a draw, the groups whose scores vary; more is drawn and scored
//! for them.

use std::collections::BTreeSet;

use rlp_compiler::graph::{Graph, NodeId};

use super::args::Args;
use super::host::{Record, StageHost, draw_index, draw_of};
use super::kept::Groups;
use crate::error::{Fault, Result};
use crate::executor::Executor;
use crate::tensor::Value;

impl StageHost<'_> {
    /// Draws until there are enough groups, or `rounds` times.
    pub(crate) fn dynamic(
        &mut self,
        executor: &Executor<'_>,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Record> {
        let args = Args {
            draw: draw_of(executor.graph(), node)?,
            operands,
        };
        let rounds = args.whole("rounds")? as u64;
        let mut filter = Filter::new(self, executor, node, &args)?;
        for round in 1..rounds {
            if filter.groups.count >= filter.wanted {
                break;
            }
            if !filter.draw_more(self, executor, filter.wanted, round)? {
                break;
            }
        }
        filter.finish()
    }

    /// Draws once, as much as the steps before say will be needed.
    pub(crate) fn predictive_dynamic(
        &mut self,
        executor: &Executor<'_>,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Record> {
        let graph = executor.graph();
        let args = Args {
            draw: draw_of(graph, node)?,
            operands,
        };
        let index = draw_index(graph, node)?;
        let window = args.whole("window")? as usize;
        let bounds = [
            args.number("initial")?,
            args.number("low")?,
            args.number("high")?,
        ];
        let history = self.pass_rates.get(&index).map_or(&[][..], Vec::as_slice);
        let recent = &history[history.len().saturating_sub(window)..];
        let factor = oversample(recent, bounds);

        let mut filter = Filter::new(self, executor, node, &args)?;
        let more = (filter.wanted as f64 * factor) as i64 - filter.wanted;
        if more > 0 {
            filter.draw_more(self, executor, more, 1)?;
        }
        let rate = filter.groups.count as f64 / filter.groups.seen.max(1) as f64;
        self.pass_rates.entry(index).or_default().push(rate);
        filter.finish()
    }
}

/// `fn.oversample` of the standard library.
fn oversample(pass_rates: &[f64], [initial, low, high]: [f64; 3]) -> f64 {
    let n = pass_rates.len() as f64;
    let mean = pass_rates.iter().sum::<f64>() / n;
    if pass_rates.is_empty() {
        initial
    } else if mean <= 0.0 {
        high
    } else {
        let variance = pass_rates
            .iter()
            .map(|rate| (rate - mean).powi(2))
            .sum::<f64>()
            / n;
        ((1.0 + variance.sqrt()) / mean).clamp(low, high)
    }
}

/// A filter at work.
struct Filter<'a> {
    /// The draw whose record is filtered.
    base: NodeId,
    /// How many groups it was asked for.
    wanted: i64,
    scored: Vec<NodeId>,
    /// The identities of the problems drawn so far in this step.
    problems: BTreeSet<u64>,
    groups: Groups<'a>,
}

impl<'a> Filter<'a> {
    /// With the groups of the record that is given.
    fn new(
        host: &StageHost<'_>,
        executor: &Executor<'_>,
        node: NodeId,
        args: &Args<'a>,
    ) -> Result<Filter<'a>> {
        let graph = executor.graph();
        let base = base_draw(graph, node, args.record("scored")?)?;
        let asked = Args {
            draw: draw_of(graph, base)?,
            operands: &[],
        };
        let scored = graph.operands(node);
        let mut groups = Groups::new(graph, args, &scored)?;
        groups.keep_varying(executor, args.operands)?;
        let problems = host
            .records
            .get(&base)
            .map(|record| record.problems.clone())
            .unwrap_or_default();
        Ok(Filter {
            base,
            wanted: asked.whole("prompts")?,
            scored,
            problems,
            groups,
        })
    }

    /// Adds the groups of `count` more problems; false if there are no more in this step.
    fn draw_more(
        &mut self,
        host: &mut StageHost<'_>,
        executor: &Executor<'_>,
        count: i64,
        round: u64,
    ) -> Result<bool> {
        let graph = executor.graph();
        let problems = host.problems(graph, self.base, count as u64, &self.problems)?;
        if problems.is_empty() {
            return Ok(false);
        }
        // On a copy, since the executor is in the middle of a run.
        let operands = executor
            .clone()
            .evaluate(&graph.operands(self.base), host)?;
        let more = host.draw_for(graph, self.base, &operands, &problems, round)?;
        self.problems.extend(&more.problems);
        host.forget_passes();
        let mut again = executor.redraw(self.base, more.drawn)?;
        // What lies between the draw and the filter is drawn again as well, and is not what the step goes on with.
        let records = std::mem::take(&mut host.records);
        let operands = again.evaluate(&self.scored, host);
        host.records = records;
        host.forget_passes();
        self.groups.keep_varying(&again, &operands?)?;
        Ok(true)
    }

    fn finish(self) -> Result<Record> {
        Ok(Record {
            is_empty: self.groups.count == 0,
            drawn: self.groups.first(self.wanted)?,
            problems: self.problems,
        })
    }
}

/// The draw whose record is filtered.
fn base_draw(graph: &Graph, node: NodeId, record: &[(String, usize)]) -> Result<NodeId, Fault> {
    let (mut node, mut record) = (node, record);
    loop {
        let fields = graph.operands(node);
        let tokens = record
            .iter()
            .find(|(name, _)| name == "tokens")
            .and_then(|(_, operand)| fields.get(*operand));
        let source = tokens.and_then(|&tokens| graph.operands(tokens).first().copied());
        let draw = source.and_then(|source| Some((source, draw_of(graph, source).ok()?)));
        match draw {
            Some((source, draw)) if draw.block == "sampler.rollout" => return Ok(source),
            // It cuts what was drawn, and another draw is cut the same way.
            Some((source, draw)) if draw.block == "sampler.outlier_truncation" => {
                let args = Args {
                    draw,
                    operands: &[],
                };
                (node, record) = (source, args.record("rollouts")?);
            }
            _ => {
                let block = &draw_of(graph, node)?.block;
                return Err(Fault::input(format!(
                    "`{block}` filters what `sampler.rollout` drew, and this is another record"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::oversample;

    #[test]
    fn sixteen_prompts_are_drawn_as_the_steps_before_say() {
        let rates = [0.5, 0.4, 0.6, 0.2];
        let drawn = |n: usize| (16.0 * oversample(&rates[..n], [1.5, 1.2, 5.0])) as i64;
        assert_eq!([0, 1, 2, 3].map(drawn), [24, 32, 37, 34]);
        assert_eq!(oversample(&[0.0, 0.0], [1.5, 1.2, 5.0]), 5.0);
        assert_eq!(oversample(&[1.0], [1.5, 1.2, 5.0]), 1.2);
    }
}
