//! What a run tells while it goes on.

use serde::Serialize;

/// One step of a stage, once its updates are done.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StepRecord {
    pub stage: String,
    /// From 1, and of how many.
    pub step: u64,
    pub steps: u64,
    /// Of each `train` clause that made updates: its loss and the norm of its gradient before clipping, means over the
    /// step's updates.
    pub trained: Vec<Trained>,
    /// What `report` names.
    pub metrics: Vec<(String, f64)>,
    /// Tokens drawn: generated, and of demonstrations.
    pub tokens: u64,
    pub seconds: f64,
    /// The largest difference between the recorded log-probability of a token and the one computed again before the
    /// first update, nats; absent where none was recorded for this step.
    pub logp_gap: Option<f64>,
    /// Clauses that made no update, since a filter left them nothing.
    pub without_update: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Trained {
    /// The names of the models that the clause trains, joined by `+`.
    pub targets: String,
    pub loss: f64,
    pub grad_norm: f64,
    pub updates: u64,
}

/// What an `evaluate` clause found after a step.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct EvaluationRecord {
    pub stage: String,
    pub step: u64,
    pub metrics: Vec<(String, f64)>,
    pub seconds: f64,
}

/// News of a run, in order.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Step(&'a StepRecord),
    Evaluation(&'a EvaluationRecord),
}

/// Whether something is due after a step: every so many steps, or each, and at the last.
pub(crate) fn is_due(every: Option<u64>, step: u64, last: u64) -> bool {
    step == last || step.is_multiple_of(every.unwrap_or(1).max(1))
}
