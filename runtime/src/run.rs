//! A whole pipeline: its stages in order, on the same models.

use std::ops::ControlFlow;

use rlp_compiler::plan::{Plan, StagePlan};

use crate::error::Result;
use crate::profile::{self, Label};
use crate::report::{Listener, Observer, Watch};
use crate::resource::World;
use crate::stage::{Carried, Limits, run_stage};
use crate::state::{Position, State};

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Done,
    /// The observer asked for it; the last step was finished.
    Interrupted,
}

/// Trains the models of `world`, which was opened for the plan; each stage takes at most `most_steps` steps.
///
/// After an error the models hold the weights of before the update in which it occurred.
pub fn run(
    plan: &Plan,
    world: &mut World,
    most_steps: Option<u64>,
    observe: &mut Observer<'_>,
) -> Result<Ending> {
    run_watched(plan, world, most_steps, None, &mut Listener::new(observe))
}

/// As [`run`], but from a state that an earlier run of the same plan, seed and `most_steps` had, and so that it can be saved.
pub fn run_watched(
    plan: &Plan,
    world: &mut World,
    most_steps: Option<u64>,
    from: Option<State>,
    watch: &mut dyn Watch,
) -> Result<Ending> {
    let mut start = Position::default();
    let mut carried = Carried::default();
    let mut archive = None;
    if let Some(mut state) = from {
        start = state.position;
        world.restore(state.weights)?;
        carried = Carried::restore(&mut state.archive, world.device)?;
        archive = Some(state.archive);
    }
    let mut before = start.done - start.step;
    for (number, stage) in plan.stages.iter().enumerate().skip(start.stage) {
        let limits = Limits {
            number,
            steps: most_steps.unwrap_or(u64::MAX),
            before,
            // What rules leave is of use if a later stage takes it up.
            is_kept: plan.stages[number..].iter().any(keeps_state),
        };
        let ended = profile::within(Label::Stage(&stage.name), || {
            run_stage(stage, limits, world, &mut carried, archive.take(), watch)
        })?;
        match ended {
            ControlFlow::Continue(steps) => before += steps,
            ControlFlow::Break(()) => return Ok(Ending::Interrupted),
        }
    }
    Ok(Ending::Done)
}

fn keeps_state(stage: &StagePlan) -> bool {
    stage.trains.iter().any(|train| train.keep_state)
}
