//! Checkpoints: the state of a run in a folder that is there whole or not at all, and the one to go on from.
//!
//! `RUN/checkpoints/N`, after N steps of all stages, holds `weights/NAME.safetensors` for each model that changed, the rest of
//! the state as `state.safetensors` and `state.json`, and a manifest of them all. It is written under another name, synced
//! and renamed.

pub(crate) mod cadence;
pub(crate) mod manifest;
pub(crate) mod opened;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::mem;
use std::path::{Path, PathBuf};

use rlp_frontend::files::{reason, write_file};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::error::{Fault, Result};
use crate::model::{tensors_of, write_tensors};
use crate::resource::World;
use crate::state::{Archive, Named, Position, State};
use crate::watchdog::Watchdog;
use cadence::Best;
use manifest::Manifest;
use opened::Opened;

/// What changes whenever an older program could not read what a newer one wrote.
const FORMAT: u32 = 2;

/// What a folder is called until it is whole, and what is left of one that was.
const UNFINISHED: &str = "part";
/// What one is called that was found not to be as it was written.
const DAMAGED: &str = "damaged";

const STATE: &str = "state.json";
const TENSORS: &str = "state.safetensors";
const WEIGHTS: &str = "weights";

/// A checkpoint that was read.
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) aside: Aside,
    /// The sums of the weights that it does not hold, by the names of their models.
    named: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Takes up the weights that it only names, from the models as they were opened.
    ///
    /// # Errors
    /// They are not those that the run began with.
    pub(crate) fn complete(&mut self, world: &World) -> Result<(), Fault> {
        opened::complete(&mut self.state, mem::take(&mut self.named), world)
    }
}

/// What a run remembers besides its state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Aside {
    /// The name of the stage.
    pub(crate) stage: String,
    /// The sum of the description of the run.
    pub(crate) run: String,
    /// How many bytes of each file that grows were written then.
    pub(crate) lengths: BTreeMap<String, u64>,
    pub(crate) best: Option<Best>,
    /// What the watchdog knows; one that knows nothing, if another version of the program saved it.
    #[serde(default)]
    pub(crate) watchdog: Watchdog,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    position: Position,
    /// Those that it holds.
    weights: Vec<String>,
    /// The sums of the others.
    named: BTreeMap<String, String>,
    aside: Aside,
    facts: Map<String, Json>,
}

/// The checkpoints of one run.
pub(crate) struct Checkpoints {
    folder: PathBuf,
    /// What is only named as long as it stays as it is.
    opened: Opened,
}

impl Checkpoints {
    pub(crate) fn of(run: &Path) -> Checkpoints {
        Checkpoints {
            folder: run.join("checkpoints"),
            opened: Opened::default(),
        }
    }

    /// As [`Checkpoints::of`], for a run that opened these weights.
    pub(crate) fn of_opened(run: &Path, opened: Opened) -> Checkpoints {
        Checkpoints {
            opened,
            ..Checkpoints::of(run)
        }
    }

    /// Where the one after so many steps is.
    pub(crate) fn path(&self, done: u64) -> PathBuf {
        self.folder.join(done.to_string())
    }

    /// Where the weights of one are.
    pub(crate) fn weights(&self, done: u64) -> PathBuf {
        self.path(done).join(WEIGHTS)
    }

    /// The steps after which there is one, ascending.
    pub(crate) fn list(&self) -> Result<Vec<u64>, Fault> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Fault::file(&self.folder, reason(&error))),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Fault::file(&self.folder, reason(&error)))?;
            let name = entry.file_name();
            found.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Writes one, in place of another after as many steps.
    pub(crate) fn write(&self, state: &State, aside: Aside) -> Result<(), Fault> {
        let done = state.position.done;
        let part = self.folder.join(format!("{done}.{UNFINISHED}"));
        let written = self.write_part(&part, state, aside).and_then(|()| {
            self.discard(done)?;
            let path = self.path(done);
            fs::rename(&part, &path)
                .and_then(|()| sync(&self.folder))
                .map_err(|error| Fault::file(&path, reason(&error)))
        });
        if written.is_err() {
            // What is left of the attempt is of no use, and takes the room that may have been missing.
            let _ = fs::remove_dir_all(&part);
        }
        written
    }

    fn write_part(&self, part: &Path, state: &State, aside: Aside) -> Result<(), Fault> {
        let State {
            position,
            weights,
            archive: Archive { facts, tensors },
        } = state;
        remove(part)?;
        let inner = part.join(WEIGHTS);
        fs::create_dir_all(&inner).map_err(|error| Fault::file(&inner, reason(&error)))?;
        let mut manifest = Manifest::default();
        let mut write = |name: String, tensors: Vec<(&str, &crate::tensor::Tensor)>| {
            let path = part.join(&name);
            write_tensors(&path, tensors).map_err(|error| Fault::file(&path, error.message))?;
            manifest.add(part, &name)
        };
        let (mut held, mut named) = (Vec::new(), BTreeMap::new());
        for (name, own) in weights {
            if let Some(sum) = self.opened.still(name, own) {
                named.insert(name.clone(), sum);
                continue;
            }
            held.push(name.clone());
            let own = own.iter().map(|(name, tensor)| (name.as_str(), tensor));
            write(weights_of(name), own.collect())?;
        }
        let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        write(TENSORS.to_string(), tensors.collect())?;
        let saved = Saved {
            format: FORMAT,
            position: *position,
            weights: held,
            named,
            aside,
            facts: facts.clone(),
        };
        let text = serde_json::to_string(&saved)
            .map_err(|error| Fault::broken(format!("a state is JSON: {error}")))?;
        let path = part.join(STATE);
        write_file(&path, &text).map_err(|reason| Fault::file(&path, reason))?;
        manifest.add(part, STATE)?;
        manifest.write(part)?;
        for folder in [&inner, part] {
            sync(folder).map_err(|error| Fault::file(folder, reason(&error)))?;
        }
        Ok(())
    }

    /// The one after so many steps.
    ///
    /// # Errors
    /// A sentence: it is not as it was written.
    pub(crate) fn read(&self, done: u64) -> Result<Checkpoint, String> {
        let folder = self.path(done);
        let manifest = Manifest::read(&folder)?;
        let text = manifest.bytes(&folder, STATE)?;
        let saved: Saved = serde_json::from_slice(&text)
            .map_err(|error| format!("`{STATE}` cannot be read: {error}"))?;
        if saved.format != FORMAT {
            return Err(format!(
                "its format is {}, and this program reads {FORMAT}",
                saved.format
            ));
        }
        let tensors = |name: &str| {
            let bytes = manifest.bytes(&folder, name)?;
            tensors_of(&bytes).map_err(|message| format!("`{name}`: {message}"))
        };
        let mut weights: Vec<(String, Named)> = Vec::new();
        for name in saved.weights {
            let own = tensors(&weights_of(&name))?;
            weights.push((name, own.into_iter().collect()));
        }
        let archive = Archive {
            facts: saved.facts,
            tensors: tensors(TENSORS)?,
        };
        let state = State {
            position: saved.position,
            weights,
            archive,
        };
        Ok(Checkpoint {
            state,
            aside: saved.aside,
            named: saved.named,
        })
    }

    /// Removes one, if it is there: at no moment is a part of it taken for the whole.
    pub(crate) fn discard(&self, done: u64) -> Result<(), Fault> {
        let (path, part) = (
            self.path(done),
            self.folder.join(format!("{done}.old.{UNFINISHED}")),
        );
        if !path.exists() {
            return Ok(());
        }
        remove(&part)?;
        fs::rename(&path, &part).map_err(|error| Fault::file(&path, reason(&error)))?;
        remove(&part)
    }

    /// Puts a damaged one aside, where it is not read again.
    pub(crate) fn put_aside(&self, done: u64) -> Result<PathBuf, Fault> {
        let (path, aside) = (
            self.path(done),
            self.folder.join(format!("{done}.{DAMAGED}")),
        );
        remove(&aside)?;
        fs::rename(&path, &aside).map_err(|error| Fault::file(&path, reason(&error)))?;
        Ok(aside)
    }

    /// Removes what a process that was killed left half done.
    pub(crate) fn tidy(&self) -> Result<(), Fault> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Ok(());
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|found| found == UNFINISHED) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn weights_of(name: &str) -> String {
    format!("{WEIGHTS}/{name}.safetensors")
}

fn remove(folder: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::file(folder, reason(&error)))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the names in a folder last.
pub(crate) fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::env;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::tensor::Tensor;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What happens to the bytes of a file, by shares of its length.
    #[derive(Clone, Debug)]
    enum Harm {
        Flip { from: f64, bytes: usize, mask: u8 },
        Remove { from: f64, bytes: usize },
        Cut { at: f64 },
        Append { bytes: usize },
        Lose,
    }

    fn harm() -> impl Strategy<Value = Harm> {
        prop_oneof![
            (0.0..1.0, 1..40usize, 1..=255u8).prop_map(|(from, bytes, mask)| Harm::Flip {
                from,
                bytes,
                mask
            }),
            (0.0..1.0, 1..400usize).prop_map(|(from, bytes)| Harm::Remove { from, bytes }),
            (0.0..1.0).prop_map(|at| Harm::Cut { at }),
            (1..40usize).prop_map(|bytes| Harm::Append { bytes }),
            Just(Harm::Lose),
        ]
    }

    fn harmed(bytes: &[u8], harm: &Harm) -> Option<Vec<u8>> {
        let place = |share: f64| (share * bytes.len() as f64) as usize;
        let mut new = bytes.to_vec();
        match *harm {
            Harm::Flip { from, bytes, mask } => {
                let from = place(from);
                new.iter_mut()
                    .skip(from)
                    .take(bytes)
                    .for_each(|byte| *byte ^= mask);
            }
            Harm::Remove { from, bytes } => {
                let from = place(from);
                new.drain(from..(from + bytes).min(new.len()));
            }
            Harm::Cut { at } => new.truncate(place(at)),
            Harm::Append { bytes } => new.resize(new.len() + bytes, b' '),
            Harm::Lose => return None,
        }
        Some(new)
    }

    /// Everything that was read, as text: reals by all their bits.
    fn shown(found: Checkpoint) -> String {
        let own = |(name, tensor): &(String, Tensor)| {
            let bits: Vec<f64> = Vec::try_from(tensor.to_kind(tch::Kind::Double).view(-1)).unwrap();
            let bits: Vec<u64> = bits.into_iter().map(f64::to_bits).collect();
            format!("{name} {:?} {bits:?}\n", tensor.size())
        };
        let State {
            position,
            weights,
            archive: Archive { facts, tensors },
        } = found.state;
        let weights = weights.iter().flat_map(|(name, own)| {
            own.iter()
                .map(move |(part, tensor)| (format!("{name}/{part}"), tensor.shallow_clone()))
        });
        let all: String = weights.chain(tensors).map(|named| own(&named)).collect();
        format!(
            "{position:?} {:?} {:?} {facts:?} {all}",
            found.aside, found.named
        )
    }

    #[test]
    fn whatever_happens_to_a_byte_of_a_checkpoint_is_noticed() {
        tch::set_num_threads(1);
        let folder = Folder(env::temp_dir().join(format!("rlpc-harm-{}", std::process::id())));
        let _ = fs::remove_dir_all(&folder.0);
        let ramp = |size: i64| Tensor::arange(size, (tch::Kind::Float, tch::Device::Cpu)) / 7;
        let mut archive = Archive::default();
        archive.put("walks", &[1, 2, 3]).unwrap();
        archive.put_tensor("clause.0.group.0.m", &ramp(60));
        archive.put_reals("pass_rates.0", &[0.1, f64::NAN]).unwrap();
        let state = State {
            position: Position {
                stage: 1,
                step: 7,
                done: 12,
            },
            weights: vec![(
                "policy".to_string(),
                vec![("a.weight".to_string(), ramp(99))],
            )],
            archive,
        };
        let checkpoints = Checkpoints::of(&folder.0);
        fs::create_dir_all(&folder.0).unwrap();
        checkpoints.write(&state, Aside::default()).unwrap();
        assert_eq!(checkpoints.list(), Ok(vec![12]));
        let whole = shown(
            checkpoints
                .read(12)
                .unwrap_or_else(|reason| panic!("{reason}")),
        );
        let names = [
            manifest::MANIFEST,
            STATE,
            TENSORS,
            "weights/policy.safetensors",
        ];
        let config = Config {
            cases: 600,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&(0..names.len(), harm()), |(name, harm)| {
                let path = checkpoints.path(12).join(names[name]);
                let before = fs::read(&path).unwrap();
                match harmed(&before, &harm) {
                    Some(bytes) => fs::write(&path, bytes).unwrap(),
                    None => fs::remove_file(&path).unwrap(),
                }
                let found = checkpoints.read(12);
                fs::write(&path, before).unwrap();
                // Space between the words of a manifest means nothing.
                if let Ok(found) = found {
                    prop_assert!(name == 0, "{:?} was not noticed", harm);
                    prop_assert_eq!(&shown(found), &whole);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(
            shown(
                checkpoints
                    .read(12)
                    .unwrap_or_else(|reason| panic!("{reason}"))
            ),
            whole
        );
    }
}
