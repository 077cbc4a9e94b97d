//! Chat templates: a conversation as the text that a model was trained on.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, context};
use rlp_data::{Message, role};
use serde_json::Value as Json;

use crate::error::Fault;
use rlp_account::pretrained::{Fields, read_bounded};

const TEMPLATE: &str = "chat_template.jinja";
const NAME: &str = "chat template";
const MOST_BYTES: u64 = 1 << 20;
/// What rendering one conversation may take: instructions, and of all texts and lists that it makes one for every 64 bytes.
/// So it bounds the memory as well. Real templates take a few hundred, and the conversation a few times over.
const FUEL: u64 = 250_000;

/// A template, with the tokens that it names.
#[derive(Debug)]
pub(super) struct Chat {
    environment: Environment<'static>,
    begin: Option<String>,
    end: Option<String>,
    /// What conversations begin with; none if it is empty.
    system: String,
}

impl Chat {
    /// The template of a folder, in `chat_template.jinja` or `tokenizer_config.json`.
    ///
    /// # Errors
    /// There is none, or it is none.
    pub(super) fn open(
        folder: &Path,
        described: &mut Fields,
        (begin, end): (Option<String>, Option<String>),
        system: &str,
    ) -> Result<Chat, Fault> {
        let path = folder.join(TEMPLATE);
        let source = match read_bounded(&path, MOST_BYTES)? {
            Some(bytes) => {
                Some(String::from_utf8(bytes).map_err(|_| Fault::file(&path, "it is not UTF-8"))?)
            }
            None => named(described.take("chat_template")),
        };
        let Some(source) = source else {
            let message = format!(
                "`{}` has no chat template, which `chat: true` asks for",
                folder.display()
            );
            return Err(Fault::input(message));
        };
        let mut environment = Environment::new();
        // As `transformers` sets Jinja.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.unwrap_or_default());
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(method);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, Error> {
                Err(Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| described.fault(format!("the chat template is none: {error}")))?;
        Ok(Chat {
            environment,
            begin,
            end,
            system: system.to_string(),
        })
    }

    /// The conversation up to where the model answers a user, after what was said before.
    pub(super) fn question(&self, context: &[Message], user: &str) -> Result<String, Fault> {
        self.render(context, user, None)
    }

    /// The conversation with the answer, and what closes it.
    pub(super) fn answered(&self, user: &str, answer: &str) -> Result<String, Fault> {
        self.render(&[], user, Some(answer))
    }

    fn render(
        &self,
        context: &[Message],
        user: &str,
        answer: Option<&str>,
    ) -> Result<String, Fault> {
        let message = |role: &str, content: &str| context! { role, content };
        let mut messages = Vec::new();
        // A conversation that says itself what the system says is not told twice.
        let begins = context
            .first()
            .is_some_and(|said| said.role == role::SYSTEM);
        if !self.system.is_empty() && !begins {
            messages.push(message(role::SYSTEM, &self.system));
        }
        let said = context.iter();
        messages.extend(said.map(|said| message(&said.role, &said.content)));
        messages.push(message(role::USER, user));
        messages.extend(answer.map(|answer| message(role::ASSISTANT, answer)));
        let begin = self.begin.as_deref().unwrap_or_default();
        let end = self.end.as_deref().unwrap_or_default();
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| {
            template.render(context! {
                messages,
                add_generation_prompt => answer.is_none(),
                bos_token => begin,
                eos_token => end,
            })
        });
        rendered.map_err(|error| {
            let message = format!("the chat template fails: {error}");
            Fault::input_help(
                message,
                "what it raises is about roles it does not take, such as a system message",
            )
        })
    }
}

/// One template, or the one called `default` of several.
fn named(template: Option<Json>) -> Option<String> {
    match template? {
        Json::String(only) => Some(only),
        Json::Array(several) => several
            .iter()
            .find(|one| one["name"] == "default")
            .and_then(|one| one["template"].as_str())
            .map(str::to_string),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
    }
}

/// Methods of Python's texts and dictionaries, which templates were written with.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if value.kind() == ValueKind::Map {
        return match name {
            "items" => state.apply_filter("items", std::slice::from_ref(value)),
            "keys" => state.apply_filter("list", std::slice::from_ref(value)),
            "get" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let found = value.get_item(&key)?;
                Ok(match found.is_undefined() {
                    true => default.unwrap_or(Value::from(())),
                    false => found,
                })
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        };
    }
    let Some(text) = value.as_str() else {
        return Err(Error::from(ErrorKind::UnknownMethod));
    };
    let trimmed = |trim: fn(&str, &dyn Fn(char) -> bool) -> String| {
        let (characters,): (Option<&str>,) = from_args(args)?;
        let is_out = |c: char| match characters {
            Some(characters) => characters.contains(c),
            None => c.is_whitespace(),
        };
        Ok(Value::from(trim(text, &is_out)))
    };
    match name {
        "strip" => trimmed(|text, is_out| text.trim_matches(is_out).to_string()),
        "lstrip" => trimmed(|text, is_out| text.trim_start_matches(is_out).to_string()),
        "rstrip" => trimmed(|text, is_out| text.trim_end_matches(is_out).to_string()),
        "startswith" => {
            let (start,): (&str,) = from_args(args)?;
            Ok(Value::from(text.starts_with(start)))
        }
        "endswith" => {
            let (end,): (&str,) = from_args(args)?;
            Ok(Value::from(text.ends_with(end)))
        }
        "split" => {
            let (separator,): (Option<&str>,) = from_args(args)?;
            let parts: Vec<&str> = match separator {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                Some(separator) => text.split(separator).collect(),
                None => text.split_whitespace().collect(),
            };
            Ok(parts.into_iter().map(Value::from).collect())
        }
        "replace" => {
            let (from, to): (&str, &str) = from_args(args)?;
            if from.is_empty() {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "an empty text is replaced",
                ));
            }
            // The filter knows before it begins whether there is fuel for the result.
            state.apply_filter("replace", &[value.clone(), from.into(), to.into()])
        }
        "upper" => Ok(Value::from(text.to_uppercase())),
        "lower" => Ok(Value::from(text.to_lowercase())),
        "title" | "capitalize" => state.apply_filter(name, std::slice::from_ref(value)),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
