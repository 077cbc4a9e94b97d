//! `tokenizer.json`: text to the tokens of a pretrained model and back.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use rlp_account::pretrained::{Fields, read_bounded};
use rlp_data::Message;
use tokenizers::Tokenizer;

use super::chat::Chat;
use super::growth;
use crate::error::Fault;
use crate::tokenizer::joined;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The largest there are have 40 MiB.
const MOST_BYTES: u64 = 256 << 20;

/// How prompts are given to a pretrained model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompting {
    /// As the message of a user, in the chat template of the folder.
    pub is_chat: bool,
    /// After this message of the system, if it is not empty.
    pub system: String,
}

/// The tokenizer of a folder.
#[derive(Debug)]
pub struct PretrainedTokenizer {
    tokenizer: Tokenizer,
    chat: Option<Chat>,
    /// The tokens that end a sequence.
    ends: Vec<i64>,
    /// The one that closes a demonstration.
    closing: i64,
    /// Token ids that the model knows.
    vocab: i64,
    /// What makes two of them the same: the file, and how prompts are given.
    identity: (Vec<u8>, Prompting),
}

impl PartialEq for PretrainedTokenizer {
    fn eq(&self, other: &PretrainedTokenizer) -> bool {
        self.identity == other.identity && self.ends == other.ends
    }
}

impl PretrainedTokenizer {
    pub(super) fn open(
        folder: &Path,
        prompting: Prompting,
        ends: Vec<i64>,
        vocab: i64,
    ) -> Result<PretrainedTokenizer, Fault> {
        let path = folder.join(TOKENIZER);
        let Some(bytes) = read_bounded(&path, MOST_BYTES)? else {
            let message = format!("`{}` holds no `{TOKENIZER}`", folder.display());
            return Err(Fault::input(message));
        };
        let tokenizer = guarded(|| {
            let mut tokenizer = Tokenizer::from_bytes(&bytes)?;
            // As `transformers` does unless it is asked to: a text is all of its tokens, and no others.
            tokenizer.with_padding(None).with_truncation(None)?;
            growth::check(&tokenizer)?;
            Ok(tokenizer)
        });
        let tokenizer = tokenizer
            .map_err(|error| Fault::file(&path, format!("it is no tokenizer: {error}")))?;
        let described = folder.join(TOKENIZER_CONFIG);
        let described = Fields::read(&described)?.unwrap_or_else(|| Fields::empty(&described));
        let mut described = described;
        let begin = special(&mut described, "bos_token")?;
        let end = special(&mut described, "eos_token")?;
        let usual = end.as_deref().and_then(|end| tokenizer.token_to_id(end));
        let usual = usual.map(i64::from).filter(|end| ends.contains(end));
        let chat = match prompting.is_chat {
            true => Some(Chat::open(
                folder,
                &mut described,
                (begin, end),
                &prompting.system,
            )?),
            false => None,
        };
        let mut opened = PretrainedTokenizer {
            tokenizer,
            chat,
            closing: usual.or(ends.first().copied()).unwrap_or_default(),
            ends,
            vocab,
            identity: (bytes, prompting),
        };
        if let Some(closing) = opened.closing_of_chat()? {
            opened.closing = closing;
        }
        Ok(opened)
    }

    pub(crate) fn vocab(&self) -> i64 {
        self.vocab
    }

    pub(crate) fn ends(&self) -> &[i64] {
        &self.ends
    }

    /// The end token that the chat template puts behind an answer.
    fn closing_of_chat(&self) -> Result<Option<i64>, Fault> {
        let Some(chat) = &self.chat else {
            return Ok(None);
        };
        const ANSWER: &str = "yes";
        let answered = chat.answered("no", ANSWER)?;
        let Some(place) = answered.rfind(ANSWER) else {
            return Ok(None);
        };
        let after = self.encode(&answered[place + ANSWER.len()..], false)?;
        Ok(after.into_iter().find(|token| self.ends.contains(token)))
    }

    fn encode(&self, text: &str, has_special: bool) -> Result<Vec<i64>, Fault> {
        let encoded = guarded(|| self.tokenizer.encode_fast(text, has_special));
        let encoded = encoded
            .map_err(|error| Fault::input(format!("a text cannot be made tokens: {error}")))?;
        let tokens: Vec<i64> = encoded.get_ids().iter().map(|&id| i64::from(id)).collect();
        match tokens.iter().find(|&&token| token >= self.vocab) {
            None => Ok(tokens),
            Some(token) => Err(Fault::input(format!(
                "the tokenizer gives the token {token}, and the model has only {}",
                self.vocab
            ))),
        }
    }

    /// The text that is encoded for a prompt, and whether the tokenizer adds its own tokens to it.
    fn written(&self, context: &[Message], prompt: &str) -> Result<(String, bool), Fault> {
        match &self.chat {
            Some(chat) => Ok((chat.question(context, prompt)?, false)),
            None => Ok((joined(context, prompt), true)),
        }
    }

    pub(crate) fn is_chat(&self) -> bool {
        self.chat.is_some()
    }

    pub(crate) fn prompt(&self, context: &[Message], prompt: &str) -> Result<Vec<i64>, Fault> {
        let (text, has_special) = self.written(context, prompt)?;
        self.encode(&text, has_special)
    }

    pub(crate) fn closing(&self) -> i64 {
        self.closing
    }

    /// The tokens of an answer to a prompt, without an end token. Encoded with the prompt, so that no token begins where
    /// none would in a text; by itself where the two share a token.
    pub(crate) fn response(
        &self,
        context: &[Message],
        prompt: &str,
        response: &str,
    ) -> Result<Vec<i64>, Fault> {
        let (text, has_special) = self.written(context, prompt)?;
        let before = self.encode(&text, has_special)?;
        let both = self.encode(&format!("{text}{response}"), has_special)?;
        match both.strip_prefix(before.as_slice()) {
            Some(own) => Ok(own.to_vec()),
            None => self.encode(response, false),
        }
    }

    /// The text of tokens up to their first end, without special tokens.
    pub(crate) fn decode(&self, tokens: &[i64]) -> Result<String, Fault> {
        let own = tokens.split(|token| self.ends.contains(token)).next();
        let ids: Vec<u32> = own
            .unwrap_or_default()
            .iter()
            .filter_map(|&token| u32::try_from(token).ok())
            .collect();
        guarded(|| self.tokenizer.decode(&ids, true))
            .map_err(|error| Fault::input(format!("tokens cannot be made a text: {error}")))
    }
}

/// What the crate is asked for, or why it fails: it assumes things of a tokenizer that a damaged file does not keep, and
/// panics then.
fn guarded<T>(asked: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(asked)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("its parts do not fit together".to_string()),
    }
}

/// A special token, written as a text or as an object with its `content`.
fn special(described: &mut Fields, name: &str) -> Result<Option<String>, Fault> {
    let found = described.take(name);
    Ok(found.and_then(|found| match found.as_str() {
        Some(text) => Some(text.to_string()),
        None => found["content"].as_str().map(str::to_string),
    }))
}
