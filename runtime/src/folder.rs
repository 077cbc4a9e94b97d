//! The folder of a run: its pipeline, its metrics, its weights. Nothing that stands in a folder is ever overwritten.

mod lines;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rlp_frontend::description::sum;
use rlp_frontend::files::{reason, write_file};
use serde::Serialize;

use crate::block;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::{Aside, sync};
use crate::error::{Fault, Result};
use crate::model::write_tensors;
use crate::pretrained;
use crate::report::Event;
use crate::resource::World;
use crate::tensor::Tensor;
use crate::watchdog::Watchdog;
use lines::Lines;

/// A folder that belongs to one run, and to one process at a time.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// The sum of the description of the run.
    sum: String,
    metrics: Lines,
    samples: Lines,
}

/// What describes the run; it is written last, so that a folder that has it has all that a run begins with.
pub(crate) const DESCRIPTION: &str = "run.json";
/// Where the weights are at the end, and after an error.
pub(crate) const FINAL: &str = "final";
pub(crate) const STOPPED: &str = "stopped";
const PIPELINE: &str = "pipeline.rlp";
const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples.jsonl";

/// Where weights stand until they are all written.
const UNFINISHED: &str = "weights.part";

impl RunFolder {
    /// Makes `path`, or a folder `NAME-DATE-TIME` below `runs` if there is none, and writes the description of the run
    /// and the weights as they are: what cannot be written after training is better known before.
    ///
    /// `pipeline` is the text of the program; `description` goes to `run.json`.
    ///
    /// # Errors
    /// The folder holds something already, or cannot be written.
    pub(crate) fn create(
        path: Option<&Path>,
        name: &str,
        pipeline: &str,
        description: &impl Serialize,
        world: &World,
    ) -> Result<RunFolder> {
        let description = serde_json::to_string_pretty(description)
            .map_err(|error| Fault::broken(format!("a description is JSON: {error}")))?;
        let description = format!("{description}\n");
        let path = match path {
            Some(path) => {
                fs::create_dir_all(path).map_err(|error| Fault::file(path, reason(&error)))?;
                refuse_unless_empty(path, "")?;
                path.to_path_buf()
            }
            None => new_folder(Path::new("runs"), name)?,
        };
        // From here on no other process writes here; one that was as fast may have written already.
        let metrics = Lines::open(&path, METRICS)?;
        refuse_unless_empty(&path, METRICS)?;
        write(&path, PIPELINE, pipeline)?;
        let mut manifest = Manifest::default();
        manifest.expect(PIPELINE, pipeline);
        manifest.expect(DESCRIPTION, &description);
        manifest.write(&path)?;
        let folder = RunFolder {
            sum: sum([description.as_str()]),
            metrics,
            samples: Lines::open(&path, SAMPLES)?,
            path,
        };
        folder.write_weights(world)?;
        write(&folder.path, DESCRIPTION, &description)?;
        Ok(folder)
    }

    /// Opens the folder of an earlier process, with the text of its description.
    ///
    /// # Errors
    /// It is none, it is damaged, or another process has it.
    pub(crate) fn open(path: &Path) -> Result<(RunFolder, String), Fault> {
        let is_none = |reason: String| {
            Fault::input(format!(
                "`{}` is not the folder of a run that can go on: {reason}",
                path.display()
            ))
        };
        let manifest = Manifest::read(path).map_err(is_none)?;
        let text = manifest.bytes(path, DESCRIPTION).map_err(is_none)?;
        let description =
            String::from_utf8(text).map_err(|_| is_none(format!("`{DESCRIPTION}` is no text")))?;
        let folder = RunFolder {
            path: path.to_path_buf(),
            sum: manifest.sum(DESCRIPTION).map_err(is_none)?.to_string(),
            metrics: Lines::open(path, METRICS)?,
            samples: Lines::open(path, SAMPLES)?,
        };
        Ok((folder, description))
    }

    /// Cuts what grows back to what a checkpoint knew of it, nothing without one. The lines of metrics that are left, and
    /// whether some that should be there are not.
    pub(crate) fn cut(&mut self, aside: Option<&Aside>) -> Result<(String, bool), Fault> {
        let known = |name: &str| aside.and_then(|aside| aside.lengths.get(name).copied());
        // Those of another version of the program may not know of them.
        if let Some(known) = known(SAMPLES).or(aside.is_none().then_some(0)) {
            self.samples.cut(known)?;
        }
        self.metrics.cut(known(METRICS).unwrap_or(0))
    }

    /// What a checkpoint is to know of the run: how long its files are, now that they are safe on the disk.
    pub(crate) fn aside(&mut self, stage: &str) -> Result<Aside, Fault> {
        let mut lengths = BTreeMap::new();
        for lines in [&mut self.metrics, &mut self.samples] {
            let length = lines.length()?;
            lengths.extend(length.map(|length| (lines.name.to_string(), length)));
        }
        Ok(Aside {
            stage: stage.to_string(),
            run: self.sum.clone(),
            lengths,
            best: None,
            watchdog: Watchdog::default(),
        })
    }

    /// The weights that the run left at its end, if it came to it.
    pub(crate) fn weights(&self) -> Option<PathBuf> {
        Some(self.path.join(FINAL)).filter(|path| path.exists())
    }

    /// The sum of the description of the run.
    pub(crate) fn sum(&self) -> &str {
        &self.sum
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of its own into the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Fault> {
        write(&self.path, name, text)
    }

    /// Adds a line to `metrics.jsonl`, and keeps the samples or the minibatch that it may tell of.
    pub(crate) fn record(&mut self, event: Event<'_>) -> Result<(), Fault> {
        if let Event::NotFinite(offence) = event {
            let path = self.path.join(offence.file());
            let folder = path.parent().unwrap_or(&self.path);
            fs::create_dir_all(folder).map_err(|error| Fault::file(folder, reason(&error)))?;
            block::write(&path, &offence.minibatch).map_err(|error| error.fault)?;
        }
        if let Event::Step(step) = event {
            for sample in &step.samples {
                self.samples.add(&sample.to_json().to_string())?;
            }
        }
        self.metrics.add(&event.to_json().to_string())
    }

    /// Leaves the weights under `name`, whole or not at all: `MODEL.safetensors` each. Those that an earlier process left
    /// there are replaced.
    pub(crate) fn finish(mut self, name: &str, world: &World) -> Result<PathBuf> {
        self.write_weights(world)?;
        self.metrics.length()?;
        self.samples.length()?;
        let (from, to) = (self.path.join(UNFINISHED), self.path.join(name));
        let removed = match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        let renamed = removed
            .and_then(|()| fs::rename(&from, &to))
            .and_then(|()| sync(&self.path));
        renamed.map_err(|error| Fault::file(&to, reason(&error)))?;
        Ok(to)
    }

    /// Leaves no weights: they are in a checkpoint.
    pub(crate) fn leave(self) {
        // A copy from before the run, which harms nobody if it cannot be removed.
        let _ = fs::remove_dir_all(self.path.join(UNFINISHED));
    }

    fn write_weights(&self, world: &World) -> Result<(), Fault> {
        let folder = self.path.join(UNFINISHED);
        fs::create_dir_all(&folder).map_err(|error| Fault::file(&folder, reason(&error)))?;
        let write = |name: &str, tensors: Vec<(&str, &Tensor)>| {
            let path = folder.join(format!("{name}.safetensors"));
            write_tensors(&path, tensors).map_err(|error| Fault::file(&path, error.message))
        };
        for (name, tensors) in world.weights() {
            let model = world.models.iter().find(|model| model.name == name);
            if model.is_some_and(|model| !model.is_kept()) {
                continue;
            }
            if let Some(own) = model.and_then(|model| model.transformed.as_deref()) {
                let of = &world.models[own.base()];
                let base = of
                    .folder
                    .as_ref()
                    .map_or(of.name.clone(), |own| own.display().to_string());
                pretrained::save_adapter(own, &base, &folder.join(format!("{name}-adapter")))?;
            }
            if let Some((model, from)) = model.and_then(|own| Some((own, own.folder.as_ref()?))) {
                pretrained::save(&model.network, from, &folder.join(&name))?;
                continue;
            }
            let merged = model.filter(|own| own.transformed.is_some());
            if let Some(model) = merged {
                let own = model.network.parameters().iter();
                write(
                    &name,
                    own.map(|own| (own.name.as_str(), &own.value)).collect(),
                )?;
                continue;
            }
            let tensors = tensors.iter().map(|(own, value)| (own.as_str(), value));
            write(&name, tensors.collect())?;
        }
        Ok(())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Fault> {
    let path = folder.join(name);
    write_file(&path, text).map_err(|reason| Fault::file(&path, reason))
}

/// A run overwrites nothing: its folder holds nothing but, at most, the file `but`.
fn refuse_unless_empty(path: &Path, but: &str) -> Result<(), Fault> {
    let entries = fs::read_dir(path).map_err(|error| Fault::file(path, reason(&error)))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    if !names.any(|name| name != but) {
        return Ok(());
    }
    let shown = path.display();
    let help = match path.join(DESCRIPTION).exists() {
        true => {
            format!("`rlpc resume {shown}` goes on with it; a new run needs another `--run-dir`")
        }
        false => "choose a new folder with `--run-dir`".to_string(),
    };
    let message = format!("`{shown}` holds something already, and a run overwrites nothing");
    Err(Fault::input_help(message, help))
}

/// A folder below `parent` that was not there before.
fn new_folder(parent: &Path, name: &str) -> Result<PathBuf, Fault> {
    fs::create_dir_all(parent).map_err(|error| Fault::file(parent, reason(&error)))?;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let started = format!("{name}-{}", stamp(since.as_secs()));
    for attempt in 1.. {
        let path = if attempt == 1 {
            parent.join(&started)
        } else {
            parent.join(format!("{started}-{attempt}"))
        };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Another run started in the same second.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Fault::file(&path, reason(&error))),
        }
    }
    Err(Fault::broken("some number is free"))
}

/// `20261124-095759`, in UTC.
fn stamp(seconds: u64) -> String {
    moment(seconds).replace(['-', ':'], "").replace(' ', "-")
}

/// `2026-11-24 09:57:59`, in UTC.
pub(crate) fn moment(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from March 1st of year 0, in years that end with February (Hinnant, "chrono-compatible
    // low-level date algorithms", civil_from_days).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (
        era * 400 + year_of_era + u64::from(month >= 10),
        if month < 10 { month + 3 } else { month - 9 },
    );
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::stamp;

    /// By `date -u -d @SECONDS +%Y%m%d-%H%M%S`.
    #[test]
    fn a_moment_has_the_date_of_the_calendar() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(951_782_399), "20000228-235959");
        assert_eq!(stamp(951_868_799), "20000229-235959");
        assert_eq!(stamp(1_798_761_599), "20261231-235959");
        assert_eq!(stamp(4_107_542_400), "21000301-000000");
    }
}
