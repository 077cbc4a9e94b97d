//! The manifest of a folder: size and SHA-256 of its files, so that one that was cut, changed or lost is recognised.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path};

use rlp_frontend::description::{hexadecimal, sum};
use rlp_frontend::files::{read_file, reason, write_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Fault;

/// The name of the manifest itself.
pub(crate) const MANIFEST: &str = "manifest.json";

/// By path within the folder. A change of the manifest itself makes it differ from a file, or lose one that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    files: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    bytes: u64,
    pub(crate) sha256: String,
}

impl Manifest {
    /// Takes up a file that was written, and makes it last.
    pub(crate) fn add(&mut self, folder: &Path, name: &str) -> Result<(), Fault> {
        let path = folder.join(name);
        let entry = File::open(&path)
            .and_then(|mut file| {
                let entry = Entry::of(&mut file)?;
                file.sync_all()?;
                Ok(entry)
            })
            .map_err(|error| Fault::file(&path, reason(&error)))?;
        self.files.insert(name.to_string(), entry);
        Ok(())
    }

    /// Takes up a file that will hold this text.
    pub(crate) fn expect(&mut self, name: &str, text: &str) {
        let entry = Entry {
            bytes: text.len() as u64,
            sha256: sum([text]),
        };
        self.files.insert(name.to_string(), entry);
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Fault> {
        let path = folder.join(MANIFEST);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Fault::broken(format!("a manifest is JSON: {error}")))?;
        write_file(&path, &format!("{text}\n")).map_err(|reason| Fault::file(&path, reason))
    }

    /// # Errors
    /// A sentence: it is missing, or no manifest.
    pub(crate) fn read(folder: &Path) -> Result<Manifest, String> {
        let text = read_file(&folder.join(MANIFEST))
            .map_err(|reason| format!("`{MANIFEST}`: {reason}"))?;
        serde_json::from_str(&text).map_err(|error| format!("`{MANIFEST}` cannot be read: {error}"))
    }

    /// The sum of a file as it was written.
    pub(crate) fn sum(&self, name: &str) -> Result<&str, String> {
        Ok(&self.entry(name)?.sha256)
    }

    /// What is in a file, if that is what was written.
    ///
    /// # Errors
    /// A sentence: the file is missing, or another one.
    pub(crate) fn bytes(&self, folder: &Path, name: &str) -> Result<Vec<u8>, String> {
        let entry = self.entry(name)?;
        let path = folder.join(name);
        let is_plain = |part| matches!(part, Component::Normal(_));
        if !Path::new(name).components().all(is_plain) {
            return Err(format!("`{name}` lies outside its folder"));
        }
        let told = |error: io::Error| format!("`{name}`: {}", reason(&error));
        // Nothing is read of a file of another size, however large it or its entry is.
        let found = fs::metadata(&path).map_err(told)?;
        if !found.is_file() || found.len() != entry.bytes {
            return Err(format!(
                "`{name}` has {} bytes where {} were written",
                found.len(),
                entry.bytes
            ));
        }
        let bytes = fs::read(&path).map_err(told)?;
        if Entry::of(&mut bytes.as_slice()).map_err(told)? != *entry {
            return Err(format!("`{name}` is not as it was written"));
        }
        Ok(bytes)
    }

    fn entry(&self, name: &str) -> Result<&Entry, String> {
        let found = self.files.get(name);
        found.ok_or_else(|| format!("`{name}` is missing in `{MANIFEST}`"))
    }
}

impl Entry {
    fn of(from: &mut impl Read) -> io::Result<Entry> {
        let mut sum = Sha256::new();
        let bytes = io::copy(from, &mut sum)?;
        Ok(Entry {
            bytes,
            sha256: hexadecimal(&sum.finalize()),
        })
    }
}
