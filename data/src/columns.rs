//! What of a row is the prompt, the answer and the response.

use serde::{Deserialize, Serialize};

use crate::error::Misfit;
use crate::field::{Field, is_list, messages, names, not_json, text};
use crate::template::Template;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else a chat template knows.
    pub role: String,
    pub content: String,
}

/// The roles of a conversation that mean something here.
pub mod role {
    pub const SYSTEM: &str = "system";
    pub const USER: &str = "user";
    pub const ASSISTANT: &str = "assistant";
}

/// Which fields of a row are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    pub prompt: Prompt,
    /// The reference.
    pub answer: Option<Field>,
    /// Where a row without an answer has an empty one.
    pub is_answer_optional: bool,
    /// A response that solves the row; the answer if absent.
    pub response: Option<Field>,
    /// Whether a row must have a response, or an answer in its place.
    pub needs_response: bool,
    /// What the system says before conversations that do not begin with its words, if it is not empty.
    pub system: String,
}

/// Where the prompt of a row comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A text, or the messages up to the one that is to be answered.
    Field(Field),
    Template(Template),
    /// Messages, of which the last one, if it is the assistant's, is the answer and the response.
    Conversation(Field),
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was said before the prompt.
    pub context: Vec<Message>,
    /// What the user says, to be answered.
    pub prompt: String,
    pub answer: String,
    pub response: String,
    /// The values of its fields that make the prompt, whatever is around them: what a row is known by.
    pub(crate) key: Vec<String>,
}

impl Columns {
    /// All fields that are read.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        let (of_prompt, of_template) = match &self.prompt {
            Prompt::Field(field) | Prompt::Conversation(field) => (Some(field), &[][..]),
            Prompt::Template(template) => (None, template.parts.as_slice()),
        };
        let of_prompt = of_prompt
            .into_iter()
            .chain(of_template.iter().map(|(_, field)| field));
        of_prompt.chain(&self.answer).chain(&self.response)
    }

    /// What a line of JSON says.
    ///
    /// # Errors
    /// It is no object, a field is missing or of a wrong type, or there is nothing to go on from.
    pub(crate) fn row(&self, line: &[u8]) -> Result<Row, Misfit> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|error| {
            let at = error.valid_up_to();
            let message = format!("is not UTF-8: byte {} is 0x{:02x}", at + 1, line[at]);
            Misfit::new(message).help("`iconv -t UTF-8` converts a file")
        })?;
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace());
        if !line.starts_with('{') {
            return Err(match serde_json::from_str::<serde::de::IgnoredAny>(line) {
                Ok(_) => Misfit::new("is no object")
                    .help(r#"a row is written {"prompt": "…", "answer": "…"}"#),
                Err(error) => not_json(&error),
            });
        }
        let missing = |field: &Field| {
            let names = names(line);
            let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("has no field `{}`", field.path());
            match known.as_slice() {
                [] => Misfit::new(message),
                [only] => Misfit::new(message).help(format!("it has only {only}")),
                known => Misfit::new(message).help(format!("it has {}", known.join(", "))),
            }
        };
        let found = |field: &Field| field.find(line)?.ok_or_else(|| missing(field));
        let mut last = None;
        let (mut context, prompt, key) = match &self.prompt {
            Prompt::Template(template) => {
                let (mut prompt, mut key) = (String::new(), Vec::new());
                for (before, field) in &template.parts {
                    let value = text(found(field)?, field.path())?;
                    prompt.push_str(before);
                    prompt.push_str(&value);
                    key.push(value);
                }
                prompt.push_str(&template.end);
                (Vec::new(), prompt, key)
            }
            Prompt::Field(field) => match found(field)? {
                list if is_list(list) => conversation(messages(list, field.path())?, &mut None)?,
                value => {
                    let prompt = text(value, field.path())?;
                    (Vec::new(), prompt.clone(), vec![prompt])
                }
            },
            Prompt::Conversation(field) => {
                let said = messages(found(field)?, field.path())?;
                conversation(said, &mut last)?
            }
        };
        if prompt.is_empty() {
            return Err(Misfit::new(
                "the prompt is empty, and a model needs something to go on from",
            ));
        }
        let reply = |field: &Field| {
            let value = found(field)?;
            match is_list(value) {
                true => replied(messages(value, field.path())?, field),
                false => text(value, field.path()),
            }
        };
        let answer = match (&self.answer, &last) {
            (Some(field), _) if !self.is_answer_optional => reply(field)?,
            (_, Some(said)) => said.clone(),
            (Some(field), None) if field.find(line)?.is_some() => reply(field)?,
            (_, None) => String::new(),
        };
        let response = match (&self.response, last) {
            (Some(field), _) => reply(field)?,
            (None, Some(said)) => said,
            (None, None) if self.needs_response && answer.is_empty() => match &self.answer {
                Some(field) if field.find(line)?.is_none() => return Err(missing(field)),
                Some(_) => answer.clone(),
                None => {
                    let message = "the conversation does not end with a message of `assistant`";
                    return Err(Misfit::new(message));
                }
            },
            (None, None) => answer.clone(),
        };
        let begins = context
            .first()
            .is_some_and(|first| first.role == role::SYSTEM);
        if !self.system.is_empty() && !begins {
            let system = Message {
                role: role::SYSTEM.to_string(),
                content: self.system.clone(),
            };
            context.insert(0, system);
        }
        Ok(Row {
            context,
            prompt,
            answer,
            response,
            key,
        })
    }
}

type Asked = (Vec<Message>, String, Vec<String>);

/// What was said before the last words of the user, these words, and all of it as what the row is known by. What the assistant
/// says after them goes to `last`.
fn conversation(mut said: Vec<Message>, last: &mut Option<String>) -> Result<Asked, Misfit> {
    if said.last().is_some_and(|last| last.role == role::ASSISTANT) {
        *last = said.pop().map(|last| last.content);
    }
    let key = said.iter().map(|said| said.content.clone()).collect();
    match said.pop() {
        Some(asked) if asked.role == role::USER => Ok((said, asked.content, key)),
        Some(other) => Err(Misfit::new(format!(
            "what is to be answered is a message of `{}`, where one of `user` is expected",
            other.role.chars().take(40).collect::<String>()
        ))),
        None => Err(Misfit::new("the conversation has no message of a user")),
    }
}

/// The last message of a list, which is the assistant's.
fn replied(said: Vec<Message>, field: &Field) -> Result<String, Misfit> {
    match said.into_iter().next_back() {
        Some(last) if last.role == role::ASSISTANT => Ok(last.content),
        _ => Err(Misfit::new(format!(
            "`{}` does not end with a message of `assistant`",
            field.path()
        ))),
    }
}
