//! The fields of a JSON object, taken one by one, so that none is passed over in silence.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rlp_frontend::files::reason;
use serde_json::{Map, Value as Json};

use crate::error::Unreadable;

/// What is left of an object.
pub struct Fields {
    path: PathBuf,
    /// Where the object is in its file: empty, or `rope_scaling.`.
    within: String,
    map: Map<String, Json>,
}

/// The largest file of settings that is read. Those of real models are a few KiB; a tokenizer's are up to 40 MiB.
const MOST_BYTES: u64 = 16 << 20;

/// A file of at most `most` bytes; `None` if there is none.
pub fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Unreadable> {
    let fault = |error: io::Error| Unreadable::file(path, reason(&error));
    match fs::metadata(path) {
        // A pipe would be waited for when it is opened.
        Ok(found) if !found.is_file() => return Err(Unreadable::file(path, "it is no file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > most {
        let message = format!("it is larger than {} MiB", most >> 20);
        return Err(Unreadable::file(path, message));
    }
    Ok(Some(bytes))
}

impl Fields {
    /// The object that a file holds; `None` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Fields>, Unreadable> {
        let Some(bytes) = read(path, MOST_BYTES)? else {
            return Ok(None);
        };
        let json = serde_json::from_slice(&bytes).map_err(|error| Unreadable::file(path, error))?;
        let Json::Object(map) = json else {
            return Err(Unreadable::file(path, "it is no JSON object"));
        };
        Ok(Some(Fields {
            path: path.to_path_buf(),
            within: String::new(),
            map,
        }))
    }

    /// Of a file that is not there.
    pub fn empty(path: &Path) -> Fields {
        Fields {
            path: path.to_path_buf(),
            within: String::new(),
            map: Map::new(),
        }
    }

    /// A fault about this file.
    pub fn fault(&self, message: impl Into<String>) -> Unreadable {
        Unreadable::file(&self.path, message.into())
    }

    fn wrong(&self, name: &str, expected: &str, found: &Json) -> Unreadable {
        let found = found.to_string();
        let shown: String = found.chars().take(60).collect();
        let rest = if shown.len() < found.len() { "…" } else { "" };
        self.fault(format!(
            "`{}{name}` must be {expected}, found {shown}{rest}",
            self.within
        ))
    }

    pub fn missing(&self, name: &str) -> Unreadable {
        self.fault(format!("`{}{name}` is missing", self.within))
    }

    /// A field that is there and not null.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub fn names(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a text", &other)),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A number above `least` that is finite.
    pub fn number_above(&mut self, name: &str, least: f64) -> Result<Option<f64>, Unreadable> {
        let Some(found) = self.take(name) else {
            return Ok(None);
        };
        match found.as_f64() {
            Some(number) if number.is_finite() && number > least => Ok(Some(number)),
            Some(_) | None => Err(self.wrong(name, &format!("a number above {least}"), &found)),
        }
    }

    /// A whole number from 1 to `most`, which bounds what is computed from it.
    pub fn size(&mut self, name: &str, most: i64) -> Result<Option<i64>, Unreadable> {
        let Some(found) = self.take(name) else {
            return Ok(None);
        };
        match found.as_i64() {
            Some(number) if (1..=most).contains(&number) => Ok(Some(number)),
            Some(_) | None => {
                Err(self.wrong(name, &format!("a whole number from 1 to {most}"), &found))
            }
        }
    }

    /// Token ids: a number, or a list of some.
    pub fn ids(&mut self, name: &str) -> Result<Option<Vec<i64>>, Unreadable> {
        let Some(found) = self.take(name) else {
            return Ok(None);
        };
        let id = |json: &Json| json.as_i64().filter(|id| (0..1 << 32).contains(id));
        let ids: Option<Vec<i64>> = match &found {
            Json::Array(list) if (1..=64).contains(&list.len()) => list.iter().map(id).collect(),
            single => id(single).map(|id| vec![id]),
        };
        match ids {
            Some(ids) => Ok(Some(ids)),
            None => Err(self.wrong(name, "a token id or a short list of them", &found)),
        }
    }

    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Unreadable> {
        let Some(found) = self.take(name) else {
            return Ok(None);
        };
        let text = |json: &Json| json.as_str().map(str::to_string);
        let texts = found.as_array().map(|list| list.iter().map(text).collect());
        match texts.flatten() {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.wrong(name, "a list of texts", &found)),
        }
    }

    pub fn object(&mut self, name: &str) -> Result<Option<Fields>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Json::Object(map)) => Ok(Some(Fields {
                path: self.path.clone(),
                within: format!("{}{name}.", self.within),
                map,
            })),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    /// Refuses what was not taken and is not `inert`. What is null or false says that something is not there.
    pub fn finish(mut self, inert: &[&str]) -> Result<(), Unreadable> {
        self.map.retain(|name, value| {
            !(value.is_null() || *value == Json::Bool(false) || inert.contains(&name.as_str()))
        });
        match self.map.iter().next() {
            None => Ok(()),
            Some((name, value)) => {
                let shown: String = value.to_string().chars().take(60).collect();
                let within = &self.within;
                Err(self.fault(format!(
                    "`{within}{name}` is {shown}, which rlpc does not know, and would change the model if it were ignored"
                )))
            }
        }
    }
}
