//! Sequences as a model reads them: prompts followed by responses, padded on the right.

use tch::{Device, Tensor};

/// Rows of a prompt and its response. Padding stands after both, where a causal model cannot see it.
#[derive(Debug)]
pub struct SequenceBatch {
    /// int64 `[rows, length]`; what stands after prompt and response is any valid token.
    pub tokens: Tensor,
    /// Tokens of each row's prompt; at least 1, since something must predict the first token of the response.
    pub prompt_length: Vec<i64>,
    /// Tokens of each row's response, 0 or more.
    pub response_length: Vec<i64>,
    /// What logits are divided by before they become probabilities; above 0.
    pub temperature: f64,
}

impl SequenceBatch {
    /// The rows `(prompt, response)`, on the device of a model.
    pub fn new(rows: &[(&[i64], &[i64])], temperature: f64, device: Device) -> SequenceBatch {
        let length = rows
            .iter()
            .map(|(prompt, response)| prompt.len() + response.len())
            .max();
        let length = length.unwrap_or_default();
        let mut tokens = Vec::with_capacity(rows.len() * length);
        for (prompt, response) in rows {
            let padding = length - prompt.len() - response.len();
            tokens.extend_from_slice(prompt);
            tokens.extend_from_slice(response);
            tokens.extend(std::iter::repeat_n(0, padding));
        }
        let tokens = Tensor::from_slice(&tokens).view([rows.len() as i64, length as i64]);
        SequenceBatch {
            tokens: tokens.to_device(device),
            prompt_length: rows.iter().map(|(prompt, _)| prompt.len() as i64).collect(),
            response_length: rows
                .iter()
                .map(|(_, response)| response.len() as i64)
                .collect(),
            temperature,
        }
    }

    pub fn rows(&self) -> i64 {
        self.prompt_length.len() as i64
    }

    /// Tokens of the longest response: the width of everything that a model says a token.
    pub fn width(&self) -> i64 {
        self.response_length
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
    }

    /// The batch of some of the rows, in the order given.
    #[must_use]
    pub fn select(&self, rows: &[i64]) -> SequenceBatch {
        let index = Tensor::from_slice(rows).to_device(self.tokens.device());
        let pick = |lengths: &[i64]| rows.iter().map(|&row| lengths[row as usize]).collect();
        SequenceBatch {
            tokens: self.tokens.index_select(0, &index),
            prompt_length: pick(&self.prompt_length),
            response_length: pick(&self.response_length),
            temperature: self.temperature,
        }
    }

    /// The tokens of each response, on the host.
    pub fn responses(&self) -> Vec<Vec<i64>> {
        let length = self.tokens.size()[1] as usize;
        let mut tokens = vec![0; self.tokens.numel()];
        self.tokens.copy_data(&mut tokens, self.tokens.numel());
        let row = |row: usize| {
            let start = row * length + self.prompt_length[row] as usize;
            tokens[start..start + self.response_length[row] as usize].to_vec()
        };
        (0..self.prompt_length.len()).map(row).collect()
    }

    /// Length of the longest row, less the token that predicts nothing any more.
    pub(super) fn input_length(&self) -> i64 {
        let lengths = self.prompt_length.iter().zip(&self.response_length);
        lengths
            .map(|(prompt, response)| prompt + response - 1)
            .max()
            .unwrap_or_default()
    }
}
