//! Text to tokens and back.

/// How a model reads and writes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// One token a byte of the UTF-8 text, for models made from scratch. The end token is byte 255, which no
    /// UTF-8 text contains, so every text has exactly one encoding and comes back unchanged.
    Bytes,
}

const BYTES_END: i64 = 255;

impl Tokenizer {
    /// Number of token ids; a model's vocabulary must be at least as large.
    pub fn vocab(self) -> i64 {
        match self {
            Tokenizer::Bytes => 256,
        }
    }

    /// The token that ends a sequence.
    pub fn end(self) -> i64 {
        match self {
            Tokenizer::Bytes => BYTES_END,
        }
    }

    /// The tokens of `text`, without an end token.
    pub fn encode(self, text: &str) -> Vec<i64> {
        match self {
            Tokenizer::Bytes => text.bytes().map(i64::from).collect(),
        }
    }

    /// The text of `tokens` up to their first end token. What is not valid text becomes U+FFFD.
    pub fn decode(self, tokens: &[i64]) -> String {
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
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }
}
