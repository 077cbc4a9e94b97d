//! A run as it is watched: a bar on a terminal, plain lines elsewhere, JSON for programs.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rlp_record::number::number;

use crate::console::Console;
use crate::error::Fault;
use crate::report::{EvaluationRecord, Event, Offence, Skip, StepRecord, Warning};
use crate::summary::Summary;

/// How a run is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    Bar,
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
    bar: Option<ProgressBar>,
    /// The stage that the bar belongs to.
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
            bar: None,
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
            (Style::Bar | Style::Lines { .. } | Style::Nothing, Event::Warning(warning)) => {
                let text = warned(warning);
                match &self.bar {
                    Some(bar) => bar.suspend(|| console.complain(&text)),
                    None => console.complain(&text),
                }
                Ok(())
            }
            (Style::Bar | Style::Lines { .. }, Event::NotFinite(offence)) => {
                if let Some(left_out) = left_out(offence) {
                    match &self.bar {
                        Some(bar) => bar.println(left_out),
                        None => console.line(&left_out)?,
                    }
                }
                Ok(())
            }
            (Style::Nothing, Event::Step(_) | Event::Evaluation(_) | Event::NotFinite(_)) => Ok(()),
            (Style::Bar, Event::Step(step)) => {
                self.step_bar(step);
                Ok(())
            }
            (Style::Bar, Event::Evaluation(evaluation)) => {
                if let Some(bar) = &self.bar {
                    bar.println(evaluated(evaluation));
                }
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
            (Style::Lines { .. }, Event::Evaluation(evaluation)) => {
                console.line(&evaluated(evaluation))
            }
        }
    }

    /// Leaves the display as it is.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    fn step_bar(&mut self, step: &StepRecord) {
        if self.stage != step.stage {
            self.end();
            self.stage = step.stage.clone();
        }
        let numbers = self.numbers(step, false);
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(step.steps), ProgressDrawTarget::stdout());
            // The template is a constant; should it be wrong, the default bar serves.
            let style = ProgressStyle::with_template("{prefix} {bar:20} {pos}/{len} {msg} {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(step.stage.clone());
            bar
        });
        bar.set_message(numbers);
        bar.set_position(step.step);
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
