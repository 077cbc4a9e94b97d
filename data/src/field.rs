//! Fields of a row: where they are, and what of JSON is taken for text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::columns::Message;
use crate::error::Misfit;

/// Where a value stands in a row: `question`, `messages.0.content`. A field whose own name has dots comes before one inside others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(String);

/// The most messages of a conversation.
const MOST_MESSAGES: usize = 10_000;

impl Field {
    /// # Errors
    /// A path with an empty part.
    pub fn new(path: &str) -> Result<Field, Misfit> {
        match path.split('.').all(|part| !part.is_empty()) {
            true => Ok(Field(path.to_string())),
            false => Err(Misfit::new(format!(
                "`{path}` is no field: a field is a name, or names and numbers with dots between them, such as `messages.0.content`"
            ))),
        }
    }

    pub fn path(&self) -> &str {
        &self.0
    }

    /// The name of the column that it is in, if no column has its whole name.
    pub(crate) fn column(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The value in a row; `None` if it is not there, or null.
    pub(crate) fn find<'r>(&self, row: &'r str) -> Result<Option<&'r str>, Misfit> {
        if self.0 == self.column() {
            return Ok(member(row, self.column())?.filter(|value| *value != "null"));
        }
        if let Some(own) = member(row, &self.0)? {
            return Ok(Some(own).filter(|value| *value != "null"));
        }
        let mut value = row;
        for part in self.0.split('.') {
            let inner = match (value.as_bytes().first(), part.parse::<usize>()) {
                (Some(b'{'), _) => member(value, part)?,
                (Some(b'['), Ok(index)) => element(value, index)?,
                _ => None,
            };
            match inner {
                Some(inner) => value = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(value).filter(|value| *value != "null"))
    }
}

/// A value as text: a text itself, a number or a truth value as the file writes it.
pub(crate) fn text(value: &str, name: &str) -> Result<String, Misfit> {
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map_err(|error| not_json(&error)),
        Some(b'{') => Err(wrong_type(name, "an object", "a text")),
        Some(b'[') => Err(wrong_type(name, "a list", "a text")),
        _ => Ok(value.to_string()),
    }
}

/// Whether a value is a list.
pub(crate) fn is_list(value: &str) -> bool {
    value.starts_with('[')
}

/// The messages of a list.
pub(crate) fn messages(value: &str, name: &str) -> Result<Vec<Message>, Misfit> {
    if !is_list(value) {
        return Err(wrong_type(name, kind(value), "a list of messages").help(EXAMPLE));
    }
    let mut said = Vec::new();
    for (place, message) in elements(value)?.into_iter().enumerate() {
        let part = |part: &str| {
            let inside = format!("{name}.{place}.{part}");
            let found = match message.starts_with('{') {
                true => member(message, part)?,
                false => None,
            };
            match found {
                Some(found) => text(found, &inside),
                None => Err(Misfit::new(format!("has no `{inside}`")).help(EXAMPLE)),
            }
        };
        said.push(Message {
            role: part("role")?,
            content: part("content")?,
        });
    }
    Ok(said)
}

const EXAMPLE: &str = r#"a conversation is written [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]"#;

fn wrong_type(name: &str, found: &str, wanted: &str) -> Misfit {
    Misfit::new(format!("`{name}` is {found}, where {wanted} is expected"))
}

fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a truth value",
        _ => "a number",
    }
}

/// What is wrong with a line that should be an object.
pub(crate) fn not_json(error: &serde_json::Error) -> Misfit {
    let text = error.to_string();
    // `expected value at line 1 column 7`: the line is that of the file, and said elsewhere.
    let what = text.split(" at line ").next().unwrap_or_default();
    Misfit::new(format!(
        "is no JSON from column {} on: {what}",
        error.column().max(1)
    ))
}

/// The names of the members of an object, as many as a message can show.
pub(crate) fn names(object: &str) -> Vec<String> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if names.len() < 12 {
                    names.push(name.chars().take(40).collect());
                }
            }
            Ok(names)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Names).unwrap_or_default()
}

/// A member of an object; of several by one name the last. All others are passed over without being kept.
fn member<'r>(object: &'r str, name: &str) -> Result<Option<&'r str>, Misfit> {
    struct Member<'n>(&'n str);
    impl<'de> Visitor<'de> for Member<'_> {
        type Value = Option<&'de str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(Name(name)) = map.next_key()? {
                if name == self.0 {
                    found = Some(map.next_value::<&RawValue>()?.get());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(object);
    let found = reader.deserialize_map(Member(name));
    let found = found.and_then(|found| reader.end().map(|()| found));
    found.map_err(|error| not_json(&error))
}

/// The name of a member, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An element of a list.
fn element(list: &str, index: usize) -> Result<Option<&str>, Misfit> {
    struct Element(usize);
    impl<'de> Visitor<'de> for Element {
        type Value = Option<&'de str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            for _ in 0..self.0 {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            let found = list.next_element::<&RawValue>()?;
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(found.map(RawValue::get))
        }
    }
    let mut reader = serde_json::Deserializer::from_str(list);
    let found = reader.deserialize_seq(Element(index));
    found.map_err(|error| not_json(&error))
}

fn elements(list: &str) -> Result<Vec<&str>, Misfit> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(element) = list.next_element::<&RawValue>()? {
                if all.len() == MOST_MESSAGES {
                    let message = format!("a conversation of more than {MOST_MESSAGES} messages");
                    return Err(A::Error::custom(message));
                }
                all.push(element.get());
            }
            Ok(all)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(list);
    let found = reader.deserialize_seq(Elements);
    found.map_err(|error| not_json(&error))
}
