//! What a run was started with, as the arguments of the engine say it and as they are read back.

use clap::ValueEnum;
use rlp_frontend::Description;
use rlp_frontend::arguments::{Device, Executor};
use rlp_frontend::description::{Asked, CheckpointWishes};

use super::arguments::Run;
use crate::checkpoint::cadence::{Every, Metric, Wishes};

/// What the arguments of a run say.
pub(crate) fn asked(arguments: &Run) -> Asked {
    Asked {
        set: arguments.settings.clone(),
        seed: arguments.seed,
        steps: arguments.steps,
        executor: arguments.executor.name().to_string(),
        device: arguments.machine.device.name().to_string(),
        threads: tch::get_num_threads(),
        checkpoints: CheckpointWishes {
            every: arguments.checkpoint_every.map(Every::text),
            keep: arguments.keep,
            best: arguments.best.as_ref().map(Metric::text),
        },
    }
}

pub(crate) fn executor(description: &Description) -> Result<Executor, String> {
    Executor::from_str(&description.executor, false)
}

pub(crate) fn device(description: &Description) -> Result<Device, String> {
    Device::from_str(&description.device, false)
}

pub(crate) fn wishes(description: &Description) -> Result<Wishes, String> {
    let CheckpointWishes { every, keep, best } = &description.checkpoints;
    Ok(Wishes {
        every: every.as_deref().map(Every::parse).transpose()?,
        keep: *keep,
        best: best.as_deref().map(Metric::parse).transpose()?,
    })
}
