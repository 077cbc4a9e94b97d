//! A run under way: what it tells is shown and kept, it is saved from time to time, and it ends when a signal asks it to.

use std::env;
use std::io::{self, IsTerminal, Read};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rlp_compiler::plan::Plan;
use rlp_compiler::source::SourceMap;
use rlp_frontend::files::{reason, write_file};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use super::arguments::Watching;
use super::problem::{Exit, show_error, warn};
use crate::checkpoint::cadence::{Cadence, Wishes};
use crate::checkpoint::opened::Opened;
use crate::checkpoint::{Aside, Checkpoint, Checkpoints};
use crate::console::Console;
use crate::error::{Fault, Result, RunError};
use crate::executor::Kernels;
use crate::exhausted;
use crate::folder::{FINAL, RunFolder, STOPPED};
use crate::live::Live;
use crate::part::{self, Part};
use crate::profile::{self, Detail, Profile};
use crate::progress::{Progress, Style};
use crate::report::{Event, Moment, Watch};
use crate::resource::World;
use crate::run::{Ending, run_watched};
use crate::summary::Summary;
use crate::tensorboard::EventFile;
use crate::watchdog::Watchdog;

/// A run that is about to begin or to go on.
pub(crate) struct Course<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) world: &'a mut World,
    pub(crate) sources: &'a SourceMap,
    pub(crate) seed: u64,
    pub(crate) steps: Option<u64>,
    pub(crate) folder: RunFolder,
    pub(crate) wishes: Wishes,
    /// Where it goes on, and what was told up to there.
    pub(crate) from: Option<Checkpoint>,
    pub(crate) summary: Summary,
}

/// Runs a plan, shows how it goes, and leaves its weights: under `final`; in a checkpoint if a signal ended it; or under
/// `stopped` after an error.
pub(crate) fn follow(
    course: Course<'_>,
    watching: &Watching,
    console: &mut Console,
) -> Result<Exit> {
    let Course {
        plan,
        world,
        sources,
        seed,
        steps,
        folder,
        wishes,
        from,
        summary,
    } = course;
    let (is_stopped, told) = signals(style(watching))?;
    let path = folder.path().to_path_buf();
    if watching.json {
        let threads = tch::get_num_threads();
        let mut start = json!({ "event": "start", "pipeline": plan.name, "seed": seed, "threads": threads, "run_dir": path });
        if let Some(Checkpoint { state, aside, .. }) = &from {
            start["resumed"] = json!({ "stage": aside.stage, "step": state.position.step });
        }
        console.line(&start.to_string())?;
    }
    part::end();
    let start = Instant::now();
    let detail = if watching.profile || watching.is_dry {
        Detail::Calls
    } else {
        Detail::Phases
    };
    profile::start(world.device, detail);
    let known = from
        .as_ref()
        .map(|from| (from.state.position.done, &from.aside));
    let checkpoints = Checkpoints::of_opened(&path, Opened::of(plan, world));
    let mut follower = Follower {
        events: EventFile::create(&path, known.map_or(0, |(done, _)| done))?,
        watchdog: known.map_or_else(Watchdog::default, |(_, aside)| aside.watchdog.clone()),
        cadence: Cadence::new(checkpoints, wishes, known),
        folder,
        progress: Progress::new(style(watching), summary),
        console,
        kernels: world.kernels.clone().filter(|_| watching.verbose),
        is_stopped: Arc::clone(&is_stopped),
        lost: None,
        offence: None,
    };
    let from = from.map(|from| from.state);
    let ending = exhausted::told(|| run_watched(plan, world, steps, from, &mut follower));
    let profile = profile::finish();
    if is_stopped.load(Ordering::SeqCst) {
        // Its line comes before what is told now. A panic there is no reason to say nothing here.
        let _ = told.join();
    }
    let Follower {
        cadence,
        folder,
        mut progress,
        console,
        lost,
        offence,
        ..
    } = follower;
    progress.end();

    let (exit, ending) = match (&ending, &lost) {
        (Ok(Ending::Done), None) => (Exit::Done, "done"),
        (Ok(Ending::Interrupted), None) => (Exit::Done, "interrupted"),
        (Ok(_), Some(fault)) => {
            show_error(&fault.clone().into(), sources, watching.output, console);
            (Exit::Failed, "failed")
        }
        (Err(error), _) => {
            let exit = show_error(error, sources, watching.output, console);
            // A disk that became full while running is no mistake in the user's files.
            let is_file = matches!(error.fault, Fault::File { .. });
            (if is_file { Exit::Failed } else { exit }, "failed")
        }
    };
    let profiled = profile.iter().try_for_each(|profile| {
        folder.write("profile.json", &format!("{:#}\n", profile.to_json(sources)))?;
        if watching.profile {
            folder.write("trace.json", &profile.to_trace(sources).to_string())?;
        }
        Ok::<(), Fault>(())
    });
    let memory = profile.as_ref().map(Profile::memory_table);
    let memory = memory.filter(|_| watching.profile || watching.is_dry);
    let profile = profile.filter(|_| watching.profile);
    let saved = cadence.done();
    let finished = match (ending, saved) {
        ("done", _) => folder.finish(FINAL, world),
        ("interrupted", Some(done)) => {
            folder.leave();
            Ok(cadence.checkpoints().weights(done))
        }
        _ => folder.finish(STOPPED, world),
    };
    let weights = match profiled.map_err(RunError::from).and(finished) {
        Ok(path) => path.display().to_string(),
        Err(error) => {
            show_error(&error, sources, watching.output, console);
            tell_checkpoint(&cadence, &path, watching, console)?;
            return Ok(Exit::Failed);
        }
    };
    let report = write_report(&path).map(|()| path.join(REPORT));
    if let Err(reason) = &report {
        let message = format!("there is no `{REPORT}`: {reason}");
        warn("report", &message, None, watching.output, console);
    }
    if watching.json {
        let seconds = start.elapsed().as_secs_f64();
        let stages = progress.summary().to_json();
        let checkpoint = saved.map(|done| cadence.checkpoints().path(done));
        let result = json!({ "event": "result", "ending": ending, "seconds": seconds, "weights": weights, "checkpoint": checkpoint, "stages": stages });
        console.line(&result.to_string())?;
    } else {
        console.line("")?;
        let profile = profile.as_ref().map(|profile| profile.table(sources));
        let blank = profile.iter().map(|_| String::new());
        let summary = progress.summary().table();
        for line in summary
            .into_iter()
            .chain(blank)
            .chain(profile.iter().flatten().cloned())
            .chain(memory.into_iter().flatten())
        {
            console.line(&line)?;
        }
        if watching.is_dry {
            return Ok(exit);
        }
        console.line(&format!("\nweights: {weights}"))?;
        if let Ok(report) = &report {
            console.line(&format!("report:  {}", report.display()))?;
        }
        if let (Some(offence), "failed") = (offence, ending) {
            console.line(&format!("minibatch: {}", offence.display()))?;
        }
        if ending != "done" {
            tell_checkpoint(&cadence, &path, watching, console)?;
        }
    }
    Ok(exit)
}

/// Says from where a run that did not come to its end can go on.
fn tell_checkpoint(
    cadence: &Cadence,
    run: &Path,
    watching: &Watching,
    console: &mut Console,
) -> Result<(), Fault> {
    let Some(done) = cadence.done().filter(|_| !watching.json) else {
        return Ok(());
    };
    let steps = if done == 1 { "step" } else { "steps" };
    console.line(&format!(
        "saved after {done} {steps}: `rlpc resume {}` goes on from there",
        run.display()
    ))
}

/// Set by the first Ctrl-C or SIGTERM, which lets the step end, and says so; a second one ends the process.
///
/// The thread that says so ends with the first.
fn signals(style: Style) -> Result<(Arc<AtomicBool>, JoinHandle<()>), Fault> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    let register = || {
        let (mut heard, told) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            // As a shell tells of a process that a signal ended.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_stopped))?;
            flag::register(signal, Arc::clone(&is_stopped))?;
            pipe::register(signal, told.try_clone()?)?;
        }
        // A step may take minutes, and who hears nothing tries again.
        thread::Builder::new().spawn(move || {
            let from = match style {
                Style::Json | Style::Nothing => return,
                // In place of the live line, which is drawn anew below.
                Style::Live => "\r\x1b[2K",
                Style::Lines { .. } => "\n",
            };
            if heard.read_exact(&mut [0]).is_ok() {
                let text = "this step is finished and saved; once more ends it at once";
                Console::new().complain(&format!("{from}{text}"));
            }
        })
    };
    let told = register().map_err(|error: io::Error| Fault::Device {
        reason: format!("interrupts cannot be noticed: {}", reason(&error)),
    })?;
    Ok((is_stopped, told))
}

/// The page about a run, in its folder.
const REPORT: &str = "report.html";

/// Writes the page from what the folder tells.
fn write_report(folder: &Path) -> std::result::Result<(), String> {
    let run = rlp_record::Run::read(folder)?;
    write_file(&folder.join(REPORT), &rlp_record::page(&[run]))
}

struct Follower<'a> {
    folder: RunFolder,
    events: EventFile,
    watchdog: Watchdog,
    cadence: Cadence,
    progress: Progress,
    console: &'a mut Console,
    /// Those that are to tell what they do not run.
    kernels: Option<Rc<Kernels>>,
    is_stopped: Arc<AtomicBool>,
    /// Why something told could not be kept or shown.
    lost: Option<Fault>,
    /// Where the latest minibatch is that had a number that is not finite.
    offence: Option<PathBuf>,
}

impl Watch for Follower<'_> {
    fn hear(&mut self, event: Event<'_>) {
        self.cadence.hear(event);
        if let Event::NotFinite(offence) = event {
            self.offence = Some(self.folder.path().join(offence.file()));
        }
        let told = self
            .folder
            .record(event)
            .and_then(|()| self.events.hear(event))
            .and_then(|()| self.progress.tell(event, self.console));
        self.lost = self.lost.take().or(told.err());
        if let Event::Step(step) = event {
            for warning in self.watchdog.hear(step) {
                self.hear(Event::Warning(&warning));
            }
        }
    }

    fn rest(&mut self, moment: &Moment<'_>) -> Result<ControlFlow<()>> {
        let news = self.kernels.iter().flat_map(|kernels| kernels.news());
        for note in news {
            self.progress.aside(|| self.console.complain(&note));
        }
        if self.lost.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let is_stopped = self.is_stopped.load(Ordering::SeqCst);
        if is_stopped || self.cadence.is_due(moment) {
            let aside = Aside {
                watchdog: self.watchdog.clone(),
                ..self.folder.aside(moment.stage)?
            };
            part::begin(Part::Saving, 0);
            self.cadence.save(moment, aside)?;
            part::end();
        }
        Ok(if is_stopped {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

/// A live line for what comes before the first step, where there is to be one.
pub(super) fn live(watching: &Watching) -> Option<Live> {
    part::begin(Part::Loading, 0);
    (style(watching) == Style::Live).then(Live::new)
}

/// How a run is shown: a live line only to somebody who sees both streams on a terminal that can draw it.
fn style(watching: &Watching) -> Style {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    let is_seen = io::stdout().is_terminal() && io::stderr().is_terminal() && !is_dumb;
    if watching.json {
        Style::Json
    } else if watching.quiet {
        Style::Nothing
    } else if is_seen && !watching.verbose {
        Style::Live
    } else {
        Style::Lines {
            all: watching.verbose,
        }
    }
}
