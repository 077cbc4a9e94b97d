//! Templates of prompts: text with fields in braces.

use crate::error::Misfit;
use crate::field::Field;

/// `Question: {question}\nAnswer:`; `{{` and `}}` are braces themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The text before each field, with the field.
    pub(crate) parts: Vec<(String, Field)>,
    /// The text behind the last of them.
    pub(crate) end: String,
}

impl Template {
    /// # Errors
    /// A brace that is not closed or not opened, a field that is none, or no field at all.
    pub fn new(source: &str) -> Result<Template, Misfit> {
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut rest = source.chars().peekable();
        while let Some(next) = rest.next() {
            match next {
                '{' | '}' if rest.peek() == Some(&next) => text.extend(rest.next()),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(own) if own != '{' => name.push(own),
                            Some(_) | None => {
                                let message = format!("`{{{name}` in the template is not closed");
                                return Err(Misfit::new(message)
                                    .help("a field is written {name}, and a brace itself {{"));
                            }
                        }
                    }
                    parts.push((std::mem::take(&mut text), Field::new(name.trim())?));
                }
                '}' => {
                    let message = "a `}` in the template closes nothing";
                    return Err(Misfit::new(message).help("a brace itself is written }}"));
                }
                other => text.push(other),
            }
        }
        if parts.is_empty() {
            return Err(Misfit::new(
                "the template has no field, so that all prompts would be the same",
            )
            .help("a field is written {name}"));
        }
        Ok(Template { parts, end: text })
    }
}
