//! A whole pipeline: its stages in order, on the same models.

use std::ops::ControlFlow;

use rlp_compiler::plan::Plan;

use crate::error::Result;
use crate::profile::{self, Label};
use crate::report::Observer;
use crate::resource::World;
use crate::stage::{Carried, Limits, run_stage};

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Done,
    /// The observer asked for it; the last step was finished.
    Interrupted,
}

/// Trains the models of `world`, which was opened for the plan; each stage takes at most `most_steps` steps.
///
/// After an error the models hold the weights of before the step in which it occurred.
pub fn run(
    plan: &Plan,
    world: &mut World,
    most_steps: Option<u64>,
    observe: &mut Observer<'_>,
) -> Result<Ending> {
    let mut carried = Carried::default();
    for (number, stage) in (0..).zip(&plan.stages) {
        let limits = Limits {
            number,
            steps: most_steps.unwrap_or(u64::MAX),
        };
        let ended = profile::within(Label::Stage(&stage.name), || {
            run_stage(stage, limits, world, &mut carried, observe)
        })?;
        match ended {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(()) => return Ok(Ending::Interrupted),
        }
    }
    Ok(Ending::Done)
}
