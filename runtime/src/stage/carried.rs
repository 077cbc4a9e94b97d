//! What rules leave behind at the end of their stage, for a later one that says `keep state`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::state::Archive;
use crate::tensor::{Device, Value};

#[derive(Clone, Default)]
pub(crate) struct Carried(pub(super) BTreeMap<Key, Left>);

/// The block of a rule, a model and one of its parameters, or a trainable tensor by itself.
pub(super) type Key = (String, Option<usize>, String);

#[derive(Clone)]
pub(super) struct Left {
    pub(super) updates: u64,
    pub(super) states: Vec<(String, Value)>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: Key,
    updates: u64,
    states: Vec<String>,
}

impl Carried {
    pub(crate) fn save(&self, archive: &mut Archive) -> Result<(), Fault> {
        let mut entries = Vec::new();
        for (index, (key, Left { updates, states })) in self.0.iter().enumerate() {
            for (name, value) in states {
                archive.put_value(&format!("carried.{index}.{name}"), value)?;
            }
            entries.push(Entry {
                key: key.clone(),
                updates: *updates,
                states: states.iter().map(|(name, _)| name.clone()).collect(),
            });
        }
        archive.put("carried", &entries)
    }

    pub(crate) fn restore(archive: &mut Archive, device: Device) -> Result<Carried, Fault> {
        let mut carried = Carried::default();
        let entries: Vec<Entry> = archive.take("carried")?;
        for (index, entry) in entries.into_iter().enumerate() {
            let value = |name: String| {
                let value = archive.take_value(&format!("carried.{index}.{name}"), device)?;
                Ok((name, value))
            };
            let left = Left {
                updates: entry.updates,
                states: entry
                    .states
                    .into_iter()
                    .map(value)
                    .collect::<Result<_, Fault>>()?,
            };
            carried.0.insert(entry.key, left);
        }
        Ok(carried)
    }
}
