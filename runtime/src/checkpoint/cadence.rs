//! When a run is saved, and which of its checkpoints stay.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Aside, Checkpoints};
use crate::error::Fault;
use crate::report::{Event, Moment};
use crate::state::Exact;

/// How often a run is saved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Every {
    /// After so many steps of a stage.
    Steps(u64),
    Time(Duration),
    Never,
}

/// Without a wish: a minute of work may be lost.
const PAUSE: Duration = Duration::from_secs(60);
/// And saving may take a fiftieth of the time.
const SHARE: u32 = 50;

/// A number that decides which checkpoint is the best: `accuracy`, `loss:min`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) is_least: bool,
}

impl Metric {
    pub(crate) fn parse(text: &str) -> Result<Metric, String> {
        let (name, order) = text.split_once(':').unwrap_or((text, "max"));
        let is_least = match order {
            "max" => false,
            "min" => true,
            _ => return Err(format!("`:{order}` is neither `:max` nor `:min`")),
        };
        let name = name.to_string();
        Ok(Metric { name, is_least })
    }

    /// As [`Metric::parse`] reads it.
    pub(crate) fn text(&self) -> String {
        format!(
            "{}:{}",
            self.name,
            if self.is_least { "min" } else { "max" }
        )
    }
}

impl Every {
    /// As [`Every::parse`] reads it.
    pub(crate) fn text(self) -> String {
        match self {
            Every::Steps(steps) => steps.to_string(),
            Every::Time(time) => format!("{}s", time.as_secs()),
            Every::Never => "never".to_string(),
        }
    }

    /// `100` steps; `90s`, `10min` or `2h`; `never`.
    pub(crate) fn parse(text: &str) -> Result<Every, String> {
        let text = text.trim();
        let wrong = || {
            format!(
                "`{text}` is neither steps (`100`) nor a time (`90s`, `10min`, `2h`) nor `never`"
            )
        };
        if text == "never" {
            return Ok(Every::Never);
        }
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let seconds = match &text[digits.len()..] {
            "" => {
                return if number > 0 {
                    Ok(Every::Steps(number))
                } else {
                    Err(wrong())
                };
            }
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            _ => return Err(wrong()),
        };
        let seconds = number.checked_mul(seconds).ok_or_else(wrong)?;
        Ok(Every::Time(Duration::from_secs(seconds)))
    }
}

/// The best checkpoint so far.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Best {
    metric: Exact,
    /// After how many steps.
    pub(crate) done: u64,
}

/// What the user wishes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wishes {
    pub(crate) every: Option<Every>,
    /// How many of the latest stay, at least 1.
    pub(crate) keep: usize,
    pub(crate) best: Option<Metric>,
}

/// Saves a run from time to time.
pub(crate) struct Cadence {
    checkpoints: Checkpoints,
    wishes: Wishes,
    best: Option<Best>,
    /// The metric of the current step, if it was told and is better than all before.
    better: Option<f64>,
    /// When the latest was saved, or the run began, and how long saving took.
    latest: Instant,
    took: Duration,
    /// After how many steps the latest was saved.
    done: Option<u64>,
}

impl Cadence {
    /// For a run that begins, or goes on from a checkpoint.
    pub(crate) fn new(
        checkpoints: Checkpoints,
        wishes: Wishes,
        from: Option<(u64, &Aside)>,
    ) -> Cadence {
        Cadence {
            checkpoints,
            wishes,
            best: from.and_then(|(_, aside)| aside.best),
            better: None,
            latest: Instant::now(),
            took: Duration::ZERO,
            done: from.map(|(done, _)| done),
        }
    }

    /// After how many steps the latest checkpoint was saved.
    pub(crate) fn done(&self) -> Option<u64> {
        self.done
    }

    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    pub(crate) fn hear(&mut self, event: Event<'_>) {
        let Some(metric) = &self.wishes.best else {
            return;
        };
        let told = match event {
            Event::Step(step) => [step.losses(), step.metrics.clone()].concat(),
            Event::NotFinite(_) | Event::Warning(_) => return,
            Event::Evaluation(evaluation) => evaluation.metrics.clone(),
        };
        let found = told.iter().find(|(name, _)| *name == metric.name);
        let Some(&(_, value)) = found.filter(|(_, value)| !value.is_nan()) else {
            return;
        };
        let best = self.better.or(self.best.map(|best| best.metric.0));
        let is_better = match best {
            None => true,
            Some(best) if metric.is_least => value < best,
            Some(best) => value > best,
        };
        if is_better {
            self.better = Some(value);
        }
    }

    /// Whether the run is to be saved now.
    pub(crate) fn is_due(&self, moment: &Moment<'_>) -> bool {
        let passed = self.latest.elapsed();
        let is_due = match self.wishes.every {
            Some(Every::Steps(steps)) => moment.position.step.is_multiple_of(steps),
            Some(Every::Time(time)) => passed >= time,
            Some(Every::Never) => false,
            None => passed >= PAUSE.max(self.took * SHARE),
        };
        is_due || self.better.is_some()
    }

    /// Saves the run, and removes the checkpoints that are no longer wanted.
    pub(crate) fn save(&mut self, moment: &Moment<'_>, aside: Aside) -> crate::error::Result<()> {
        let start = Instant::now();
        let done = moment.position.done;
        let better = self.better.take().map(Exact);
        let best = better.map(|metric| Best { metric, done }).or(self.best);
        let aside = Aside { best, ..aside };
        self.checkpoints.write(&moment.state()?, aside)?;
        (self.best, self.done) = (best, Some(done));
        self.prune()?;
        (self.latest, self.took) = (Instant::now(), start.elapsed());
        Ok(())
    }

    fn prune(&self) -> Result<(), Fault> {
        let mut found = self.checkpoints.list()?;
        let best = self.best.map(|best| best.done);
        found.retain(|&done| Some(done) != best);
        let old = found.len().saturating_sub(self.wishes.keep);
        found[..old]
            .iter()
            .try_for_each(|&done| self.checkpoints.discard(done))
    }
}
