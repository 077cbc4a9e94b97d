//! How much longer a `tokenizer.json` may make a text: by its own rules a few bytes can become terabytes.

use serde::Serialize;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

/// So many times the length at most. Real ones put a mark of three bytes for a space.
const MOST_TIMES: u64 = 4096;
/// The longest token, in bytes; those of real vocabularies have up to a few hundred.
const LONGEST_TOKEN: usize = 1 << 16;

/// Refuses a tokenizer whose texts, tokens or decoded texts could be far longer than what they are made of.
///
/// # Errors
/// A sentence.
pub(super) fn check(tokenizer: &Tokenizer) -> Result<(), String> {
    for (part, times) in [
        ("normalizer", times(tokenizer.get_normalizer())?),
        ("post-processor", times(tokenizer.get_post_processor())?),
        ("decoder", times(tokenizer.get_decoder())?),
    ] {
        if times > MOST_TIMES {
            return Err(format!(
                "its {part} makes a text up to {times} times as long, and {MOST_TIMES} times is the most"
            ));
        }
    }
    let vocab = tokenizer.get_vocab(true);
    let longest = vocab.keys().map(String::len).max().unwrap_or_default();
    if longest > LONGEST_TOKEN {
        return Err(format!(
            "it has a token of {longest} bytes, and {LONGEST_TOKEN} is the most"
        ));
    }
    Ok(())
}

/// How many times as long a part of a tokenizer can make what it is given.
fn times(part: Option<&impl Serialize>) -> Result<u64, String> {
    let part = serde_json::to_value(part).map_err(|error| error.to_string())?;
    Ok(times_of(&part))
}

fn times_of(part: &Json) -> u64 {
    let product = |parts: &Json| {
        let parts = parts.as_array().into_iter().flatten();
        parts.map(times_of).fold(1, u64::saturating_mul)
    };
    match part["type"].as_str() {
        Some("Sequence") => ["normalizers", "processors", "decoders"]
            .iter()
            .map(|name| product(&part[*name]))
            .fold(1, u64::saturating_mul),
        // At worst it replaces every byte, or stands between each two.
        Some("Replace") => part["content"]
            .as_str()
            .map_or(1, |content| 1 + content.len() as u64),
        Some("TemplateProcessing") => {
            let ids = |piece: &Json| {
                let special = &piece["SpecialToken"]["id"];
                let special = special
                    .as_str()
                    .map(|id| &part["special_tokens"][id]["ids"]);
                special.and_then(Json::as_array).map_or(1, Vec::len) as u64
            };
            let pieces = part["single"].as_array().into_iter().flatten();
            pieces.map(ids).fold(0, u64::saturating_add).max(1)
        }
        Some(_) | None => 1,
    }
}
