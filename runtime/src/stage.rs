//! The loop of a stage: draw, then minibatches and updates, then reports.

pub(crate) mod args;
mod carried;
mod clause;
mod draw;
mod epochs;
mod fused;
mod gap;
mod gradient;
mod group;
mod guard;
mod host;
mod kept;
mod leaves;
mod memory;
mod minibatch;
mod named;
mod preferences;
mod redraw;
mod rows;
mod sequence;
mod steady;
mod table;
mod tell;
mod truncate;
mod update;
mod vitals;
mod window;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::phase::upstream;
use rlp_compiler::plan::StagePlan;
use rlp_compiler::ty::DimId;

use crate::error::Result;
use crate::executor::Executor;
use crate::profile::{self, Label, Phase};
use crate::random::{Purpose, Stream};
use crate::report::{EvaluationRecord, Event, Moment, Offence, StepRecord, Vitals, Watch, is_due};
use crate::resource::World;
use crate::state::{Archive, Position, State};
use crate::tensor::without_gradient;
use crate::torch::Context;
pub(crate) use carried::Carried;
use clause::Clause;
pub(crate) use gradient::Gradient;
pub(crate) use host::StageHost;
use steady::Steady;
pub(crate) use update::Optimizer;
use vitals::Score;

/// How far a stage is to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The place of the stage in its pipeline.
    pub(crate) number: usize,
    /// At most so many steps.
    pub(crate) steps: u64,
    /// Steps of the stages before it.
    pub(crate) before: u64,
    /// Whether this stage or a later one takes up what earlier ones left.
    pub(crate) is_kept: bool,
}

/// Runs a stage on the models of `world`, from its first step or from what was saved after another one. The number of its
/// steps, unless it was ended before.
pub(crate) fn run_stage(
    plan: &StagePlan,
    limits: Limits,
    world: &mut World,
    carried: &mut Carried,
    saved: Option<Archive>,
    watch: &mut dyn Watch,
) -> Result<ControlFlow<(), u64>> {
    if saved.is_none() {
        world.enter(limits.number)?;
    }
    let graph = open(plan, world);
    let mut stage = Stage::new(plan, &graph, limits, world, carried)?;
    let done = match saved {
        Some(mut archive) => stage.restore(&mut archive)?,
        None => 0,
    };
    for step in done + 1..=stage.steps {
        let stepped = stage.step(step);
        for offence in stage.offences.drain(..) {
            watch.hear(Event::NotFinite(&offence));
        }
        let (record, evaluations) = stepped?;
        watch.hear(Event::Step(&record));
        for evaluation in &evaluations {
            watch.hear(Event::Evaluation(evaluation));
        }
        let moment = Moment {
            stage: &plan.name,
            position: Position {
                stage: limits.number,
                step,
                done: limits.before + step,
            },
            state: &|| stage.save(limits, step, carried),
        };
        if watch.rest(&moment)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    for clause in &stage.clauses {
        clause.1.leave(carried)?;
    }
    let StageHost { world, frozen, .. } = &mut stage.host;
    world.keep_maps(frozen)?;
    Ok(ControlFlow::Continue(stage.steps))
}

/// The graph with the sizes of what is cut left open, dimensions of draws and of tables: a minibatch has others than the
/// batch.
///
/// How many parameters a model has is known here, where it is made.
fn open(plan: &StagePlan, world: &World) -> Graph {
    let mut graph = plan.graph.clone();
    for id in graph.ids() {
        if let (Op::Backward { model, .. }, &[dim]) = (graph.op(id), graph.ty(id).dims.as_slice()) {
            let own = &world.models[model.model];
            let parameters = match model.frozen {
                Some(_) => own.network.parameters().iter(),
                None => own.parameters().iter(),
            };
            let count: usize = parameters.map(|own| own.value.numel()).sum();
            graph.dims.get_mut(dim).size = Some(count as u64);
        }
    }
    for draw in &graph.draws {
        for &dim in &draw.fresh {
            graph.dims.get_mut(dim).size = None;
        }
    }
    for (dim, _) in tables(plan) {
        graph.dims.get_mut(dim).size = None;
    }
    graph
}

/// The dimensions of tables that minibatches are cut along, and how long they are.
fn tables(plan: &StagePlan) -> Vec<(DimId, i64)> {
    let cut = plan.trains.iter().filter(|train| train.minibatch.is_some());
    let rows = cut.flat_map(|train| train.batches.iter().flat_map(|batch| &batch.rows));
    let is_drawn = |dim: &&DimId| plan.graph.draws.iter().any(|draw| draw.fresh.contains(dim));
    rows.filter(|dim| !is_drawn(dim))
        .filter_map(|&dim| Some((dim, plan.graph.dims.get(dim).size? as i64)))
        .collect()
}

/// The numbers of the reports of a step, and its evaluations.
type Told = (Vec<(String, f64)>, Vec<EvaluationRecord>);

struct Stage<'s> {
    plan: &'s StagePlan,
    graph: &'s Graph,
    steps: u64,
    host: StageHost<'s>,
    steady: Steady,
    clauses: Vec<(Clause<'s>, Optimizer<'s>)>,
    /// The minibatches of the current step in which a number was not finite.
    offences: Vec<Offence>,
    scores: Vec<Score>,
}

impl<'s> Stage<'s> {
    fn new(
        plan: &'s StagePlan,
        graph: &'s Graph,
        limits: Limits,
        world: &'s mut World,
        carried: &Carried,
    ) -> Result<Stage<'s>> {
        let kernels = world.kernels.clone();
        let mut clauses = Vec::new();
        for train in &plan.trains {
            let clause = Clause::new(plan, graph, train, kernels.as_ref());
            clauses.push((clause, Optimizer::new(train, world, carried)?));
        }
        let micro_batch = plan
            .trains
            .iter()
            .filter_map(|train| train.micro_batch.or(train.minibatch))
            .min();
        let mut host = StageHost::new(world, graph, limits.number as u64, micro_batch)?;
        host.tables = tables(plan);
        let steady = Steady::new(graph, &plan.phases);
        let steps = plan.steps.min(limits.steps);
        let mut stage = Stage {
            plan,
            graph,
            steps,
            host,
            steady,
            clauses,
            offences: Vec::new(),
            scores: vitals::scores(graph, &plan.phases, &plan.names),
        };
        let context = stage.context(1);
        let mut start = Executor::new(graph, context);
        stage.host.give_tables(&mut start)?;
        // In their order: one may begin from what another begins as.
        for (index, state) in graph.states.iter().enumerate() {
            let value = match state.is_memory {
                true => memory::empty()?,
                false => start.evaluate(&[state.initial], &mut stage.host)?.remove(0),
            };
            start.give_state(index, &value)?;
            stage.host.states.push(value);
        }
        Ok(stage)
    }

    /// The state of the run after a step of this stage.
    fn save(&self, limits: Limits, step: u64, carried: &Carried) -> Result<State> {
        let Stage {
            plan: _,
            graph: _,
            steps: _,
            host,
            steady,
            clauses,
            // Of one step only.
            offences: _,
            scores: _,
        } = self;
        let mut archive = Archive::default();
        archive.put("step", &step)?;
        let nothing = Carried::default();
        let carried = if limits.is_kept { carried } else { &nothing };
        carried.save(&mut archive)?;
        host.save(&steady.draws, &mut archive)?;
        steady.save(&mut archive)?;
        for (index, (_, optimizer)) in clauses.iter().enumerate() {
            optimizer.save(&format!("clause.{index}"), &mut archive)?;
        }
        Ok(State {
            position: Position {
                stage: limits.number,
                step,
                done: limits.before + step,
            },
            weights: host.world.weights(),
            archive,
        })
    }

    /// Puts everything back to where it was saved; the steps that were done then.
    fn restore(&mut self, archive: &mut Archive) -> Result<u64> {
        let device = self.host.world.device;
        let step = archive.take("step")?;
        self.host.restore(archive)?;
        self.steady.restore(archive, device)?;
        for (index, (_, optimizer)) in self.clauses.iter_mut().enumerate() {
            optimizer.restore(&format!("clause.{index}"), archive, device)?;
        }
        archive.end()?;
        Ok(step)
    }

    fn context(&self, step: u64) -> Context {
        let world = &self.host.world;
        // Another seed each step and stage, so that `random` gives other numbers.
        let seed = Stream::new(world.seed, Purpose::Program)
            .at(self.host.stage)
            .bits(step);
        Context {
            kind: world.kind,
            device: world.device,
            seed,
            step,
            steps: self.steps,
        }
    }

    fn step(&mut self, step: u64) -> Result<(StepRecord, Vec<EvaluationRecord>)> {
        let start = Instant::now();
        self.host.begin(step, &self.steady.draws)?;
        let mut batch = self.host.batch(self.graph, self.context(step))?;
        let mut record = StepRecord {
            stage: self.plan.name.clone(),
            step,
            steps: self.steps,
            trained: Vec::new(),
            metrics: Vec::new(),
            tokens: 0,
            seconds: 0.0,
            logp_gap: None,
            without_update: Vec::new(),
            vitals: Vitals::default(),
            samples: Vec::new(),
        };
        let rollout = Label::Phase(Phase::Rollout);
        let empty = profile::within(rollout, || without_gradient(|| self.draw(&mut batch, step)))?;

        // Everything of the rollout phase comes before the first update.
        let active: Vec<usize> = (0..self.clauses.len())
            .filter(|&index| step <= self.clauses[index].0.plan.steps)
            .collect();
        let mut given = Vec::new();
        let mut scored = BTreeSet::new();
        for &index in &active {
            let clause = &self.clauses[index].0;
            let is_empty = clause.draws.iter().any(|draw| empty.contains(draw));
            given.push(if is_empty {
                None
            } else {
                // Scores on the way are told of; they are computed here, or would be once more.
                let own = self.scored(&clause.given, &empty);
                let scores = own.iter().map(|&index| self.scores[index].node);
                let wanted: Vec<NodeId> = clause.given.iter().copied().chain(scores).collect();
                let (count, evaluate) = (clause.given.len(), || {
                    self.steady.evaluate(&mut batch, &wanted, &mut self.host)
                });
                let mut values = profile::within(rollout, || without_gradient(evaluate))?;
                values.truncate(count);
                scored.extend(own);
                Some(values)
            });
        }
        let early: Vec<NodeId> = self
            .told_each_step(step)
            .into_iter()
            .flat_map(|node| self.early(node))
            .collect();
        let early: Vec<NodeId> = early
            .into_iter()
            .filter(|node| !self.depends(*node, &empty))
            .collect();
        profile::within(rollout, || {
            without_gradient(|| self.steady.evaluate(&mut batch, &early, &mut self.host))?;
            without_gradient(|| self.check_early(&active, step, &mut batch, &empty))
        })?;
        record.tokens = self.host.tokens;
        scored.extend(self.scored(&early, &empty));
        let scored: Vec<usize> = scored.into_iter().collect();
        (record.vitals, record.samples) = profile::within(Label::Phase(Phase::Report), || {
            without_gradient(|| self.look(&mut batch, step, &scored))
        })?;

        for (&index, given) in active.iter().zip(&given) {
            match given {
                Some(given) => {
                    let trained = self.train(index, &batch, given, step, &mut record)?;
                    if trained.updates > 0 {
                        record.trained.push(trained);
                    } else {
                        record.without_update.push(trained.targets);
                    }
                }
                None => record.without_update.push(self.targets(index)),
            }
        }

        self.host.forget_passes();
        let (metrics, evaluations) = profile::within(Label::Phase(Phase::Report), || {
            without_gradient(|| self.end(&mut batch, step, &empty))
        })?;
        record.metrics = metrics;
        record.seconds = start.elapsed().as_secs_f64();
        Ok((record, evaluations))
    }

    /// What comes after the updates of a step: reports, evaluations, states.
    fn end(
        &mut self,
        batch: &mut Executor<'_>,
        step: u64,
        empty: &BTreeSet<NodeId>,
    ) -> Result<Told> {
        let (plan, steps) = (self.plan, self.steps);
        let mut metrics = Vec::new();
        for report in plan
            .reports
            .iter()
            .filter(|report| is_due(report.every, step, steps))
        {
            metrics.extend(self.tell(batch, report, empty)?);
        }
        let evaluations = self.evaluations(batch, step, empty)?;
        self.next_states(batch, empty)?;
        Ok((metrics, evaluations))
    }

    /// Checks all that is asserted of values of the rollout phase.
    fn check_early(
        &mut self,
        active: &[usize],
        step: u64,
        batch: &mut Executor<'_>,
        empty: &BTreeSet<NodeId>,
    ) -> Result<()> {
        let mut asserts = self.early_asserts(step);
        for &index in active {
            asserts.extend(&self.clauses[index].0.asserts);
        }
        self.check(&asserts, batch, empty)
    }

    /// Makes the draws of the step; those that a filter left empty.
    fn draw(&mut self, batch: &mut Executor<'_>, step: u64) -> Result<BTreeSet<NodeId>> {
        let mut sinks = self.told_each_step(step);
        for (clause, _) in self
            .clauses
            .iter()
            .filter(|(clause, _)| step <= clause.plan.steps)
        {
            sinks.push(clause.plan.loss);
            sinks.extend(
                clause
                    .plan
                    .rules
                    .iter()
                    .flat_map(|rule| rule.args.iter().map(|(_, node)| *node)),
            );
        }
        let draws = upstream(self.graph, &sinks)
            .into_iter()
            .filter(|&id| matches!(self.graph.op(id), Op::Draw(_)));
        let mut empty = BTreeSet::new();
        for draw in draws {
            // What an empty draw leads to is empty as well, and is not drawn from.
            if self.depends(draw, &empty) {
                continue;
            }
            // A draw has no value of its own; whatever reads it makes it happen.
            if let Some(&field) = self.graph.users(draw).first() {
                self.steady.evaluate(batch, &[field], &mut self.host)?;
            }
            if self
                .host
                .records
                .get(&draw)
                .is_some_and(|record| record.is_empty)
            {
                empty.insert(draw);
            }
        }
        Ok(empty)
    }

    fn depends(&self, node: NodeId, draws: &BTreeSet<NodeId>) -> bool {
        !draws.is_empty()
            && upstream(self.graph, &[node])
                .iter()
                .any(|id| draws.contains(id))
    }

    /// Every next value reads the old ones; a state that depends on an empty draw stays.
    fn next_states(&mut self, batch: &mut Executor<'_>, empty: &BTreeSet<NodeId>) -> Result<()> {
        let states = &self.graph.states;
        let moving: Vec<usize> = (0..states.len())
            .filter(|&index| !self.depends(states[index].next, empty))
            .collect();
        let next: Vec<NodeId> = moving.iter().map(|&index| states[index].next).collect();
        self.check(&self.plan.asserts, batch, empty)?;
        let values = self.steady.evaluate(batch, &next, &mut self.host)?;
        for (index, value) in moving.into_iter().zip(values) {
            if !states[index].is_memory {
                self.host.states[index] = value;
            } else if let Some(node) = memory::items(self.graph, index) {
                let items = self.steady.evaluate(batch, &[node], &mut self.host)?;
                let known = &self.host.states[index];
                let known = memory::written(known, items[0].tensor()?, value.tensor()?)?;
                self.host.states[index] = known;
            }
        }
        Ok(())
    }
}
