//! Phases: when each node of a stage runs, and whether a gradient flows through it.

/// When a node runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Depends on nothing that changes: once, before the loop.
    Once,
    /// Depends on a draw, the step or a state: once a step, without gradients, on the whole batch.
    Step,
    /// Depends on parameters that the stage trains: on every minibatch of every epoch.
    Minibatch,
}
