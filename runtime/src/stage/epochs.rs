//! All minibatches of a clause: an update each, or, where a number is not finite, the end or one that is left out.

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::plan::StagePlan;
use rlp_compiler::ty::DimId;

use super::Stage;
use super::clause::Clause;
use super::gap::{self, Gap};
use super::gradient::gradient;
use super::guard;
use super::host::{StageHost, draw_of};
use super::minibatch::{self, Portion};
use super::update::Optimizer;
use crate::error::{Fault, Numbers, Result, RunError};
use crate::executor::Executor;
use crate::part::{self, Part};
use crate::profile::{self, Label, Phase};
use crate::random::{Purpose, Stream};
use crate::report::{Offence, Skip, StepRecord, Trained};
use crate::tensor::Value;

impl Stage<'_> {
    /// All epochs and minibatches of one clause.
    pub(super) fn train(
        &mut self,
        index: usize,
        batch: &Executor<'_>,
        given: &[Value],
        step: u64,
        record: &mut StepRecord,
    ) -> Result<Trained> {
        let plan = self.clauses[index].0.plan;
        let stream = Stream::new(self.host.world.seed, Purpose::Shuffle)
            .at(self.host.stage)
            .at(step)
            .at(index as u64);
        let n_minibatches =
            minibatch::count(&self.clauses[index].0.rows, batch.extents(), plan.minibatch)?;
        let total = plan.steps.min(self.steps) * plan.epochs * n_minibatches as u64;
        let mut trained = Trained {
            targets: self.targets(index),
            loss: 0.0,
            grad_norm: 0.0,
            updates: 0,
        };
        part::begin(Part::Update, plan.epochs * n_minibatches as u64);
        for epoch in 0..plan.epochs {
            let rows = &self.clauses[index].0.rows;
            let dealt = minibatch::deal(rows, batch.extents(), plan.minibatch, stream.at(epoch))?;
            for (number, portions) in dealt.iter().enumerate() {
                let is_first = trained.updates == 0;
                let is_last = epoch + 1 == plan.epochs && number + 1 == dealt.len();
                let compares = is_first || is_last;
                match self.minibatch(index, (batch, given, portions), total, compares) {
                    Ok((loss, norm, gap)) => {
                        trained.updates += 1;
                        trained.loss += loss;
                        trained.grad_norm += norm;
                        let most = |known: Option<f64>, new: Option<f64>| {
                            known.into_iter().chain(new).reduce(f64::max)
                        };
                        if is_first {
                            let largest = gap.map(|gap| gap.largest);
                            record.logp_gap = most(record.logp_gap, largest);
                        } else {
                            let outside = gap.map(|gap| gap.outside);
                            record.vitals.outside = most(record.vitals.outside, outside);
                        }
                    }
                    Err(error) if matches!(error.fault, Fault::NotFinite { .. }) => {
                        self.leave_out(index, (given, portions), step, error)?;
                    }
                    Err(error) => return Err(error),
                }
                part::advance(1);
            }
        }
        part::end();
        let updates = trained.updates.max(1) as f64;
        trained.loss /= updates;
        trained.grad_norm /= updates;
        Ok(trained)
    }

    /// One update; the loss, the norm of its gradient, and how far the policy is from the one that sampled, if that is asked.
    fn minibatch(
        &mut self,
        index: usize,
        (batch, given, portions): (&Executor<'_>, &[Value], &[Portion]),
        total: u64,
        compares: bool,
    ) -> Result<(f64, f64, Option<Gap>)> {
        let (graph, host) = (self.graph, &mut self.host);
        let (clause, optimizer) = &mut self.clauses[index];
        let (gradient, norm, gap) = profile::within(Label::Phase(Phase::Update), || {
            let mut minibatch = clause.minibatch(batch, given, portions)?;
            let gradient = gradient(clause, &mut minibatch, host)?;
            let gap = if compares {
                gap::logp_gap(host, &minibatch, &gradient, portions)?
            } else {
                None
            };
            let norm = gradient.norm()?;
            Ok::<_, RunError>((gradient, norm, gap))
        })?;
        if !norm.is_finite() {
            let what = "the norm of the gradient";
            let (numbers, loss) = (Numbers::default(), clause.plan.loss);
            return Err(guard::not_finite(what, numbers, graph, loss));
        }
        profile::within(Label::Phase(Phase::Optimizer), || {
            optimizer.update(&gradient, norm, total, graph, host)
        })?;
        Ok((gradient.loss, norm, gap))
    }

    /// Keeps a minibatch with a number that is not finite for whoever hears of the run, and goes on if the clause may.
    fn leave_out(
        &mut self,
        index: usize,
        (given, portions): (&[Value], &[Portion]),
        step: u64,
        error: RunError,
    ) -> Result<()> {
        self.host.forget_passes();
        let targets = self.targets(index);
        let (clause, optimizer) = &mut self.clauses[index];
        let skip = skip(clause, optimizer);
        self.offences.push(Offence {
            stage: self.plan.name.clone(),
            step,
            targets,
            error: error.clone(),
            skip,
            number: self.offences.len() as u64 + 1,
            minibatch: contents(self.plan, self.graph, (clause, given), portions, &self.host)?,
        });
        match skip {
            Some(_) => Ok(()),
            None => Err(error),
        }
    }

    pub(super) fn targets(&self, index: usize) -> String {
        let (plan, world) = (self.clauses[index].0.plan, &self.host.world);
        let models = plan
            .targets
            .iter()
            .map(|&own| world.models[own].name.as_str());
        let tensors = plan.tensors.iter().map(|&own| world.tensors[own].target());
        let mut names: Vec<&str> = models.chain(tensors).collect();
        names.dedup();
        names.join("+")
    }
}

/// Counts a minibatch that is left out; `None` if there may be no more.
fn skip(clause: &Clause<'_>, optimizer: &mut Optimizer<'_>) -> Option<Skip> {
    let most = clause.plan.skips;
    (optimizer.skipped < most).then(|| {
        optimizer.skipped += 1;
        Skip {
            number: optimizer.skipped,
            most,
        }
    })
}

/// What a minibatch holds: the fields of its draws, and what the loss reads of the rollout phase, by the names of the user.
fn contents(
    plan: &StagePlan,
    graph: &Graph,
    (clause, given): (&Clause<'_>, &[Value]),
    portions: &[Portion],
    host: &StageHost<'_>,
) -> Result<Vec<(String, Value)>> {
    let cut = |value: &Value, dims: &[DimId]| {
        portions
            .iter()
            .try_fold(value.clone(), |value, portion| portion.cut(&value, dims))
    };
    let name = |node: NodeId| {
        let found = plan.names.iter().find(|(_, own)| *own == node);
        found.map_or_else(|| format!("%{}", node.index()), |(name, _)| name.clone())
    };
    let mut contents: Vec<(String, Value)> = Vec::new();
    for &node in &clause.draws {
        let (draw, Some(record)) = (draw_of(graph, node)?, host.records.get(&node)) else {
            continue;
        };
        let owner = match clause.draws.len() {
            1 => draw.block.clone(),
            _ => format!("{} %{}", draw.block, node.index()),
        };
        for ((field, ty), value) in draw.fields.iter().zip(&record.drawn.fields) {
            contents.push((format!("{owner}.{field}"), cut(value, &ty.dims)?));
        }
        for (dim, mask) in &record.drawn.masks {
            let mut dims = graph.dims.get(*dim).ragged.clone().unwrap_or_default();
            dims.push(*dim);
            dims.sort_unstable();
            let mask = cut(&mask.shallow_clone().into(), &dims)?;
            contents.push((format!("{owner}#{}", graph.dims.name(*dim)), mask));
        }
    }
    for (&node, value) in clause.given.iter().zip(given) {
        // What belongs to a draw is there already.
        if !matches!(graph.op(node), Op::Field(_) | Op::Mask(_)) {
            contents.push((name(node), cut(value, &graph.ty(node).dims)?));
        }
    }
    Ok(contents)
}
