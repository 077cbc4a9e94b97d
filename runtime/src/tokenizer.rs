//! Text to tokens and back.

use rlp_data::Message;

use crate::error::Fault;
use crate::pretrained::PretrainedTokenizer;

/// How models read and write text.
#[derive(Debug, PartialEq)]
pub enum Tokenizer {
    /// One token a byte of the UTF-8 text, for models made from scratch. The end token is byte 255, which no
    /// UTF-8 text contains, so every text has exactly one encoding and comes back unchanged.
    Bytes,
    /// That of a folder in the Hugging Face layout.
    Pretrained(Box<PretrainedTokenizer>),
}

const BYTES_END: i64 = 255;

impl Tokenizer {
    /// Number of token ids; a model's vocabulary must be at least as large.
    pub fn vocab(&self) -> i64 {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Pretrained(own) => own.vocab(),
        }
    }

    /// The tokens that end a sequence.
    pub fn ends(&self) -> &[i64] {
        match self {
            Tokenizer::Bytes => &[BYTES_END],
            Tokenizer::Pretrained(own) => own.ends(),
        }
    }

    /// The tokens of a prompt, with all that the model reads before a response.
    ///
    /// # Errors
    /// The text cannot be encoded, or the chat template refuses it.
    pub fn prompt(&self, prompt: &str) -> Result<Vec<i64>, Fault> {
        self.prompt_after(&[], prompt)
    }

    /// The tokens of a prompt that something was said before, see [`joined`] and the chat template.
    ///
    /// # Errors
    /// Those of [`Tokenizer::prompt`].
    pub fn prompt_after(&self, context: &[Message], prompt: &str) -> Result<Vec<i64>, Fault> {
        match self {
            Tokenizer::Bytes => Ok(bytes(&joined(context, prompt))),
            Tokenizer::Pretrained(own) => own.prompt(context, prompt),
        }
    }

    /// The end token that closes a response which is written, not drawn.
    pub fn closing(&self) -> i64 {
        match self {
            Tokenizer::Bytes => BYTES_END,
            Tokenizer::Pretrained(own) => own.closing(),
        }
    }

    /// The tokens of a response to a prompt, without an end token.
    ///
    /// # Errors
    /// Those of [`Tokenizer::prompt`].
    pub fn response(&self, prompt: &str, response: &str) -> Result<Vec<i64>, Fault> {
        self.response_after(&[], prompt, response)
    }

    /// The tokens of a response to a prompt that something was said before.
    ///
    /// # Errors
    /// Those of [`Tokenizer::prompt`].
    pub fn response_after(
        &self,
        context: &[Message],
        prompt: &str,
        response: &str,
    ) -> Result<Vec<i64>, Fault> {
        match self {
            Tokenizer::Bytes => Ok(bytes(response)),
            Tokenizer::Pretrained(own) => own.response(context, prompt, response),
        }
    }

    /// Whether conversations are put through a chat template.
    pub fn is_chat(&self) -> bool {
        match self {
            Tokenizer::Bytes => false,
            Tokenizer::Pretrained(own) => own.is_chat(),
        }
    }

    /// The text of `tokens` up to their first end token. What is not valid text becomes U+FFFD.
    ///
    /// # Errors
    /// A pretrained tokenizer refuses them.
    pub fn decode(&self, tokens: &[i64]) -> Result<String, Fault> {
        match self {
            Tokenizer::Bytes => {
                let text = tokens
                    .split(|&token| token == BYTES_END)
                    .next()
                    .unwrap_or_default();
                // 0xFE is no byte of UTF-8 either, so an id beyond a byte shows as one U+FFFD.
                let bytes: Vec<u8> = text
                    .iter()
                    .map(|&token| u8::try_from(token).unwrap_or(0xFE))
                    .collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Tokenizer::Pretrained(own) => own.decode(tokens),
        }
    }
}

/// A prompt with what was said before it, an empty line after each, for models without a chat template.
pub(crate) fn joined(context: &[Message], prompt: &str) -> String {
    let said = context.iter().map(|said| said.content.as_str());
    said.chain([prompt]).collect::<Vec<_>>().join("\n\n")
}

fn bytes(text: &str) -> Vec<i64> {
    text.bytes().map(i64::from).collect()
}
