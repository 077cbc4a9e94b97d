//! A run as it is watched: a live line on a terminal, plain lines elsewhere, JSON for programs.

use std::time::{Duration, Instant};

use rlp_record::number::number;

use crate::console::Console;
use crate::error::Fault;
use crate::live::{Live, Said};
use crate::report::{EvaluationRecord, Event, Offence, Skip, StepRecord, Warning};
use crate::summary::Summary;

/// How a run is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Live,
    /// A line a second at most; every step if `all`.
    Lines {
        all: bool,
    },
    Json,
    Nothing,
}

/// The display of a run, and its summary.
pub(crate) struct Progress {
    style: Style,
    live: Option<Live>,
    /// The stage of the latest step.
    stage: String,
    told: Option<Instant>,
    summary: Summary,
}

/// Plain lines come at most so often.
const PAUSE: Duration = Duration::from_secs(1);

impl Progress {
    /// `summary` holds what an earlier process told of the same run.
    pub(crate) fn new(style: Style, summary: Summary) -> Progress {
        Progress {
            style,
            live: (style == Style::Live).then(Live::new),
            stage: String::new(),
            told: None,
            summary,
        }
    }

    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Shows one piece of news.
    pub(crate) fn tell(&mut self, event: Event<'_>, console: &mut Console) -> Result<(), Fault> {
        self.summary.add(event);
        match (self.style, event) {
            (Style::Json, _) => console.line(&event.to_json().to_string()),
            (Style::Live | Style::Lines { .. } | Style::Nothing, Event::Warning(warning)) => {
                let text = warned(warning);
                self.aside(|| console.complain(&text));
                Ok(())
            }
            (Style::Live | Style::Lines { .. }, Event::NotFinite(offence)) => {
                if let Some(left_out) = left_out(offence) {
                    self.aside(|| console.line(&left_out))?;
                }
                Ok(())
            }
            (Style::Nothing, Event::Step(_) | Event::Evaluation(_) | Event::NotFinite(_)) => Ok(()),
            (Style::Live, Event::Step(step)) => {
                self.step_live(step);
                Ok(())
            }
            (Style::Lines { all }, Event::Step(step)) => {
                let is_due =
                    self.told.is_none_or(|told| told.elapsed() >= PAUSE) || step.step == step.steps;
                if !all && !is_due && step.stage == self.stage {
                    return Ok(());
                }
                self.told = Some(Instant::now());
                self.stage = step.stage.clone();
                console.line(&format!(
                    "{} {}/{}  {}",
                    step.stage,
                    step.step,
                    step.steps,
                    self.numbers(step, all)
                ))
            }
            (Style::Live | Style::Lines { .. }, Event::Evaluation(evaluation)) => {
                self.aside(|| console.line(&evaluated(evaluation)))
            }
        }
    }

    /// Takes the live line away.
    pub(crate) fn end(&mut self) {
        self.live = None;
    }

    /// Writes while the live line is away.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.live {
            Some(live) => live.aside(write),
            None => write(),
        }
    }

    fn step_live(&mut self, step: &StepRecord) {
        let numbers = self.numbers(step, false);
        let Some(live) = &self.live else { return };
        let before = live.said();
        let is_new = self.stage != step.stage;
        self.stage = step.stage.clone();
        live.say(Said {
            stage: step.stage.clone(),
            step: step.step,
            steps: step.steps,
            numbers,
            since: match before.since {
                Some(since) if !is_new => Some(since),
                Some(_) | None => Some((Instant::now(), step.step)),
            },
        });
    }

    fn numbers(&self, step: &StepRecord, all: bool) -> String {
        let mut numbers: Vec<String> = step
            .losses()
            .iter()
            .chain(&step.metrics)
            .map(|(name, value)| format!("{name} {}", number(*value)))
            .collect();
        numbers.extend(
            step.without_update
                .iter()
                .map(|targets| format!("no group left for {targets}: no update")),
        );
        if all {
            numbers.extend(
                step.trained
                    .iter()
                    .map(|trained| format!("grad_norm {}", number(trained.grad_norm))),
            );
            numbers.extend(step.logp_gap.map(|gap| format!("logp_gap {}", number(gap))));
        }
        numbers.push(format!(
            "{} tokens/s",
            number(self.summary.tokens_per_second().round())
        ));
        numbers.join("  ")
    }
}

fn warned(warning: &Warning) -> String {
    let Warning {
        code,
        stage,
        step,
        message,
    } = warning;
    format!(
        "warning[{code}]: {message}\nin step {step} of {stage}; `rlpc explain {code}` tells what to do"
    )
}

/// A minibatch without which the run goes on; an error is told by itself.
fn left_out(offence: &Offence) -> Option<String> {
    let Offence {
        stage, step, error, ..
    } = offence;
    let Skip { number, most } = offence.skip?;
    Some(format!(
        "{stage} {step}  a minibatch is left out, {number} of at most {most}: {error} ({})",
        offence.file()
    ))
}

fn evaluated(evaluation: &EvaluationRecord) -> String {
    let EvaluationRecord {
        stage,
        step,
        metrics,
        ..
    } = evaluation;
    let numbers: Vec<String> = metrics
        .iter()
        .map(|(name, value)| format!("{name} {}", number(*value)))
        .collect();
    format!("{stage} {step}  evaluated: {}", numbers.join("  "))
}
