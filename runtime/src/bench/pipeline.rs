//! The times of the steps of a pipeline, part by part.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rlp_compiler::plan::Plan;

use super::{Times, median};
use crate::clock::{Elapsed, Moment};
use crate::error::{Fault, Result};
use crate::profile::{self, Detail, Phase, Totals, Work};
use crate::report::Event;
use crate::resource::World;
use crate::run::run;

/// The steps of one stage.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StageTimes {
    pub(crate) stage: String,
    pub(crate) first: Elapsed,
    /// Of the steps after the first, or of the first if there is no other.
    pub(crate) times: Times,
    /// Tokens drawn in a step, the median.
    pub(crate) tokens: f64,
    /// The least CPU time a token that was drawn, over the steps; 0 if none is drawn.
    pub(crate) cpu_per_token: f64,
    /// The parts of a step in order, each with the median of its wall time and the least of its CPU time.
    pub(crate) parts: Vec<(Part, Elapsed)>,
}

pub(crate) type Part = (Option<Phase>, Option<Work>);

/// One step: its time, its tokens, the time of its parts.
struct Step {
    time: Elapsed,
    tokens: u64,
    parts: Totals,
}

/// Runs a pipeline, at most `most_steps` steps of each stage.
pub(crate) fn pipeline(plan: &Plan, world: &mut World, most_steps: u64) -> Result<Vec<StageTimes>> {
    let mut stages: Vec<(String, Vec<Step>)> = Vec::new();
    let device = world.device;
    profile::start(device, Detail::Calls);
    let (mut start, mut before) = (Moment::now(), Totals::new());
    let done = run(plan, world, Some(most_steps), &mut |event: Event<'_>| {
        let Event::Step(record) = event else {
            return ControlFlow::Continue(());
        };
        let time = start.elapsed_on(device);
        let after = profile::totals();
        let step = Step {
            time,
            tokens: record.tokens,
            parts: since(&before, &after),
        };
        match stages.last_mut() {
            Some((stage, steps)) if *stage == record.stage => steps.push(step),
            Some(_) | None => stages.push((record.stage.clone(), vec![step])),
        }
        (start, before) = (Moment::now(), after);
        ControlFlow::Continue(())
    });
    drop(profile::finish());
    done?;
    stages
        .into_iter()
        .map(|(stage, steps)| summed_up(stage, &steps).map_err(Into::into))
        .collect()
}

fn since(before: &Totals, after: &Totals) -> Totals {
    let difference = |(part, &total): (&Part, &Elapsed)| {
        let before = before.get(part).copied().unwrap_or_default();
        (*part, total - before)
    };
    after.iter().map(difference).collect()
}

fn summed_up(stage: String, steps: &[Step]) -> Result<StageTimes, Fault> {
    let Some(first) = steps.first() else {
        return Err(Fault::broken("a stage has a step"));
    };
    let counted = if steps.len() > 1 { &steps[1..] } else { steps };
    let all: BTreeSet<Part> = counted
        .iter()
        .flat_map(|step| step.parts.keys().copied())
        .collect();
    let part = |part: Part| {
        let of = |step: &Step| step.parts.get(&part).copied().unwrap_or_default();
        let wall = median(counted.iter().map(|step| of(step).wall).collect());
        // As that of whole steps: other processes only add to it.
        let cpus = counted.iter().map(|step| of(step).cpu);
        let cpu = cpus.reduce(f64::min).unwrap_or(0.0);
        (part, Elapsed { wall, cpu })
    };
    let per_token = counted
        .iter()
        .filter(|step| step.tokens > 0)
        .map(|step| step.time.cpu / step.tokens as f64);
    Ok(StageTimes {
        stage,
        first: first.time,
        times: Times(counted.iter().map(|step| step.time).collect()),
        tokens: median(counted.iter().map(|step| step.tokens as f64).collect()),
        cpu_per_token: per_token.reduce(f64::min).unwrap_or(0.0),
        parts: all.into_iter().map(part).collect(),
    })
}

/// `rollout: decoding`, `update`, `the loop itself`.
pub(crate) fn part_name((phase, work): Part) -> String {
    match (phase, work) {
        (None, _) => "the loop itself".to_string(),
        (Some(phase), None) => match phase {
            Phase::Rollout => "rollout: rewards, advantages".to_string(),
            Phase::Update => "update: loss".to_string(),
            Phase::Optimizer | Phase::Report => phase.name().to_string(),
        },
        (Some(phase), Some(work)) => format!("{}: {}", phase.name(), work.name()),
    }
}
