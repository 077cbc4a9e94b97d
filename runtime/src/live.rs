//! The line at the bottom of a terminal while a run goes on: stage, step, what it is at, and the latest numbers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rlp_record::number::duration;

use crate::part;

/// What the line says besides what the run is at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) stage: String,
    pub(crate) step: u64,
    pub(crate) steps: u64,
    pub(crate) numbers: String,
    /// When the stage began, and how many of its steps were done then.
    pub(crate) since: Option<(Instant, u64)>,
}

/// A line that is drawn anew ten times a second, by a thread of its own, until this is dropped.
pub(crate) struct Live {
    bar: ProgressBar,
    said: Arc<Mutex<Said>>,
    is_over: Arc<AtomicBool>,
    drawing: Option<JoinHandle<()>>,
}

const PAUSE: Duration = Duration::from_millis(100);
/// Cells of the bar.
const CELLS: u64 = 16;

impl Live {
    /// On standard error.
    pub(crate) fn new() -> Live {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // Cut where the terminal ends. The template is a constant; should it be wrong, the default serves.
        let style = ProgressStyle::with_template("{wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let (said, is_over) = (Arc::new(Mutex::new(Said::default())), Arc::default());
        let (own, own_said, own_over) = (bar.clone(), Arc::clone(&said), Arc::clone(&is_over));
        let draw = move || {
            while !AtomicBool::load(&own_over, Ordering::Relaxed) {
                let said = own_said
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                own.set_message(line(&said));
                thread::park_timeout(PAUSE);
            }
        };
        Live {
            bar,
            said,
            is_over,
            // Without a thread there is no line, and the run goes on.
            drawing: thread::Builder::new().spawn(draw).ok(),
        }
    }

    pub(crate) fn say(&self, said: Said) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    pub(crate) fn said(&self) -> Said {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes lines of its own while the line is away.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(drawing) = self.drawing.take() {
            drawing.thread().unpark();
            // It has nothing to say but that it ended.
            let _ = drawing.join();
        }
        self.bar.finish_and_clear();
    }
}

/// `rl 12/100 ████----  update 3/8  loss 0.5  3 min 2 s left`
fn line(said: &Said) -> String {
    let mut parts = Vec::new();
    if let Some(full) = (CELLS * said.step.min(said.steps)).checked_div(said.steps) {
        let bar = "█".repeat(full as usize) + &"░".repeat((CELLS - full) as usize);
        parts.push(format!("{} {}/{} {bar}", said.stage, said.step, said.steps));
    }
    parts.push(part::now());
    parts.push(said.numbers.clone());
    if let Some((start, before)) = said.since
        && said.step > before
        && said.step < said.steps
    {
        let each = start.elapsed().as_secs_f64() / (said.step - before) as f64;
        parts.push(format!(
            "{} left",
            duration(each * (said.steps - said.step) as f64)
        ));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_the_run_is() {
        let said = Said {
            stage: "rl".to_string(),
            step: 3,
            steps: 4,
            numbers: "loss 0.5".to_string(),
            since: None,
        };
        part::begin(part::Part::Update, 8);
        part::advance(2);
        assert_eq!(line(&said), "rl 3/4 ████████████░░░░  update 2/8  loss 0.5");
        part::inside(1, 5);
        assert_eq!(part::now(), "update 2/8 1/5");
        part::end();
        assert_eq!(line(&Said::default()), "");
    }
}
