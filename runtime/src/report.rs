//! What a run tells while it goes on.

use std::ops::ControlFlow;

use serde_json::{Map, Value as Json, json};

use crate::error::{Result, RunError};
use crate::state::{Position, State};
use crate::tensor::Value;

/// One step of a stage, once its updates are done.
#[derive(Clone, PartialEq, Debug)]
pub struct StepRecord {
    pub stage: String,
    /// From 1, and of how many.
    pub step: u64,
    pub steps: u64,
    /// Each `train` clause that made updates.
    pub trained: Vec<Trained>,
    /// Clauses that made no update, since a filter left them nothing: the names of their models.
    pub without_update: Vec<String>,
    /// What `report` names.
    pub metrics: Vec<(String, f64)>,
    /// Tokens drawn: generated, and of demonstrations.
    pub tokens: u64,
    pub seconds: f64,
    /// The largest difference between the recorded log-probability of a token and the one computed again before the
    /// first update, nats; absent where none was recorded for this step.
    pub logp_gap: Option<f64>,
    pub vitals: Vitals,
    /// A few of what was sampled, at some steps.
    pub samples: Vec<SampleRecord>,
}

/// What tells whether a step can teach anything.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Vitals {
    /// The mean of −logp of the sampled tokens, nats: an estimate of the policy's entropy.
    pub entropy: Option<f64>,
    /// The share of responses that were cut at their length, in [0, 1].
    pub cut: Option<f64>,
    /// In the last update of the step, the share of tokens whose ratio to the policy that sampled is outside 0.8 to 1.2;
    /// absent where there was one update only.
    pub outside: Option<f64>,
    pub rewards: Vec<RewardVitals>,
}

/// What a reward said of the responses of a step.
#[derive(Clone, PartialEq, Debug)]
pub struct RewardVitals {
    pub name: String,
    pub mean: f64,
    pub least: f64,
    pub most: f64,
    /// Absent where there is one response to each prompt.
    pub groups: Option<Groups>,
}

/// Groups of responses to one prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Groups {
    /// Those in which all responses have the same reward.
    pub constant: u64,
    pub all: u64,
}

/// A response that was sampled. Long texts are cut short.
#[derive(Clone, PartialEq, Debug)]
pub struct SampleRecord {
    pub stage: String,
    pub step: u64,
    /// What the pipeline calls the draw.
    pub draw: String,
    pub prompt: String,
    pub text: String,
    pub answer: String,
    /// Whether it ended by itself.
    pub finished: bool,
    /// Its rewards and advantages, and what the record of the draw holds of it.
    pub numbers: Vec<(String, f64)>,
}

impl SampleRecord {
    /// One flat object.
    pub fn to_json(&self) -> Json {
        let SampleRecord {
            stage,
            step,
            draw,
            prompt,
            text,
            answer,
            finished,
            numbers,
        } = self;
        json!({
            "stage": stage, "step": step, "draw": draw, "prompt": prompt, "text": text, "answer": answer,
            "finished": finished, "numbers": metrics(numbers),
        })
    }
}

/// What silently wastes a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// `rlpc explain CODE` tells more.
    pub code: &'static str,
    pub stage: String,
    pub step: u64,
    pub message: String,
}

/// The updates of one `train` clause in one step.
#[derive(Clone, PartialEq, Debug)]
pub struct Trained {
    /// The names of the models that the clause trains, joined by `+`.
    pub targets: String,
    /// Mean over the updates.
    pub loss: f64,
    /// Global norm before clipping, mean over the updates.
    pub grad_norm: f64,
    pub updates: u64,
}

/// What an `evaluate` clause found after a step.
#[derive(Clone, PartialEq, Debug)]
pub struct EvaluationRecord {
    pub stage: String,
    pub step: u64,
    pub metrics: Vec<(String, f64)>,
    pub seconds: f64,
}

/// A minibatch in which a number was not finite: no weight changed.
#[derive(Debug)]
pub struct Offence {
    pub stage: String,
    pub step: u64,
    /// The names of the models that its clause trains, joined by `+`.
    pub targets: String,
    /// Which number, and where.
    pub error: RunError,
    /// Which of the minibatches it is that may be left out; absent if the run ends here.
    pub skip: Option<Skip>,
    /// Which of this step it is, from 1.
    pub number: u64,
    /// What it holds, by name.
    pub minibatch: Vec<(String, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Skip {
    pub number: u64,
    pub most: u64,
}

impl Offence {
    /// Where it is kept in the folder of a run: `not-finite/rl-7-1.safetensors`.
    pub(crate) fn file(&self) -> String {
        let Offence {
            stage,
            step,
            number,
            ..
        } = self;
        format!("not-finite/{stage}-{step}-{number}.safetensors")
    }
}

/// News of a run, in order.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    NotFinite(&'a Offence),
    Warning(&'a Warning),
    Step(&'a StepRecord),
    Evaluation(&'a EvaluationRecord),
}

/// Hears of a run while it goes on; `Break` ends it after the current step.
pub type Observer<'o> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'o;

/// A run between two steps, when what it told is heard and it can be saved.
pub struct Moment<'a> {
    pub stage: &'a str,
    pub position: Position,
    /// Saves it.
    pub(crate) state: &'a dyn Fn() -> Result<State>,
}

impl Moment<'_> {
    /// The whole state of the run; it shares its elements with the run, and holds good until the next step.
    pub fn state(&self) -> Result<State> {
        (self.state)()
    }
}

/// Accompanies a run: hears of it, and may stop or save it between its steps.
pub trait Watch {
    fn hear(&mut self, event: Event<'_>);

    /// After each step; `Break` ends the run here.
    ///
    /// # Errors
    /// The run cannot be saved, and ends.
    fn rest(&mut self, moment: &Moment<'_>) -> Result<ControlFlow<()>>;
}

/// An observer saves nothing.
pub(crate) struct Listener<'a, 'o> {
    observe: &'a mut Observer<'o>,
    is_over: bool,
}

impl<'a, 'o> Listener<'a, 'o> {
    pub(crate) fn new(observe: &'a mut Observer<'o>) -> Listener<'a, 'o> {
        Listener {
            observe,
            is_over: false,
        }
    }
}

impl Watch for Listener<'_, '_> {
    fn hear(&mut self, event: Event<'_>) {
        self.is_over |= (self.observe)(event).is_break();
    }

    fn rest(&mut self, _: &Moment<'_>) -> Result<ControlFlow<()>> {
        Ok(if self.is_over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

impl StepRecord {
    /// The losses by name: `loss`, or `loss.policy`, `loss.critic` where several clauses train.
    pub fn losses(&self) -> Vec<(String, f64)> {
        self.of_clauses("loss", |trained| trained.loss)
    }

    /// The norms of the gradients, named as the losses are: `grad_norm`, or `grad_norm.policy`.
    pub(crate) fn grad_norms(&self) -> Vec<(String, f64)> {
        self.of_clauses("grad_norm", |trained| trained.grad_norm)
    }

    fn of_clauses(&self, name: &str, of: impl Fn(&Trained) -> f64) -> Vec<(String, f64)> {
        let is_one = self.trained.len() + self.without_update.len() == 1;
        let named = |trained: &Trained| {
            if is_one {
                name.to_string()
            } else {
                format!("{name}.{}", trained.targets)
            }
        };
        self.trained
            .iter()
            .map(|trained| (named(trained), of(trained)))
            .collect()
    }
}

impl Event<'_> {
    /// One flat object, `event` first; a number that is not finite is `null`.
    pub fn to_json(&self) -> Json {
        let mut object = Map::new();
        match self {
            Event::Step(step) => {
                let named = |name: &str, value: Json| (name.to_string(), value);
                object.extend([
                    named("event", json!("step")),
                    named("stage", json!(step.stage)),
                    named("step", json!(step.step)),
                    named("steps", json!(step.steps)),
                ]);
                let norms = step.grad_norms();
                let updates = step.of_clauses("updates", |trained| trained.updates as f64);
                object.extend(
                    step.losses()
                        .into_iter()
                        .chain(norms)
                        .map(|(name, value)| (name, json!(value))),
                );
                object.extend(
                    updates
                        .into_iter()
                        .map(|(name, value)| (name, json!(value as u64))),
                );
                if !step.without_update.is_empty() {
                    object.extend([named("without_update", json!(step.without_update))]);
                }
                object.extend([
                    named("metrics", metrics(&step.metrics)),
                    named("tokens", json!(step.tokens)),
                    named("seconds", json!(step.seconds)),
                ]);
                if let Some(gap) = step.logp_gap {
                    object.extend([named("logp_gap", json!(gap))]);
                }
                let Vitals {
                    entropy,
                    cut,
                    outside,
                    rewards: _,
                } = &step.vitals;
                for (name, value) in [("entropy", entropy), ("cut", cut), ("outside", outside)] {
                    object.extend(value.map(|value| named(name, json!(value))));
                }
            }
            Event::Warning(warning) => {
                let Warning {
                    code,
                    stage,
                    step,
                    message,
                } = warning;
                return json!({ "event": "warning", "code": code, "stage": stage, "step": step, "message": message });
            }
            Event::NotFinite(offence) => {
                return json!({
                    "event": "not_finite", "stage": offence.stage, "step": offence.step, "targets": offence.targets,
                    "message": offence.error.to_string(), "skipped": offence.skip.map(|skip| skip.number),
                    "minibatch": offence.file(),
                });
            }
            Event::Evaluation(evaluation) => {
                let EvaluationRecord {
                    stage,
                    step,
                    metrics: told,
                    seconds,
                } = evaluation;
                return json!({ "event": "evaluation", "stage": stage, "step": step, "metrics": metrics(told), "seconds": seconds });
            }
        }
        Json::Object(object)
    }
}

fn metrics(told: &[(String, f64)]) -> Json {
    Json::Object(
        told.iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect(),
    )
}

/// Whether something is due after a step: every so many steps, or each, and at the last.
pub(crate) fn is_due(every: Option<u64>, step: u64, last: u64) -> bool {
    step == last || step.is_multiple_of(every.unwrap_or(1).max(1))
}
