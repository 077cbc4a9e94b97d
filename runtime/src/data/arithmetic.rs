//! `data.arithmetic`: `12+34=` is answered by `46`.

use super::{Partition, Problem, Split, Task};
use crate::error::{ArgumentError, Fault};
use crate::random::Stream;

/// Every operation on two operands of up to `digits` digits, both uniform.
///
/// A problem and its mirror image (`12+34=`, `34+12=`) are in the same split, so that no held-out problem
/// can be answered from its image.
pub struct Arithmetic {
    operations: Vec<Operation>,
    /// Operands are `0..operands`.
    operands: u64,
    /// Sets of two different operands, numbered as `pair` decodes.
    pairs: Partition,
    /// Operands that meet themselves.
    doubles: Partition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    fn read(symbol: char) -> Option<Operation> {
        match symbol {
            '+' => Some(Operation::Add),
            '-' => Some(Operation::Subtract),
            '*' => Some(Operation::Multiply),
            _ => None,
        }
    }

    fn symbol(self) -> char {
        match self {
            Operation::Add => '+',
            Operation::Subtract => '-',
            Operation::Multiply => '*',
        }
    }

    fn result(self, left: i64, right: i64) -> i64 {
        match self {
            Operation::Add => left + right,
            Operation::Subtract => left - right,
            Operation::Multiply => left * right,
        }
    }
}

impl Arithmetic {
    /// `digits` is in 1..=6; `ops` holds some of `+`, `-`, `*`, each at most once and equally frequent.
    pub fn new(digits: i64, ops: &str) -> Result<Arithmetic, ArgumentError> {
        let power = u32::try_from(digits)
            .ok()
            .filter(|power| (1..=6).contains(power));
        let Some(power) = power else {
            let message = format!("`digits` must be from 1 to 6, found {digits}");
            return Err(ArgumentError::new("digits", message));
        };
        let mut operations = Vec::new();
        for symbol in ops.chars() {
            match Operation::read(symbol) {
                Some(operation) if !operations.contains(&operation) => operations.push(operation),
                Some(_) => {
                    let message = format!("`ops` names `{symbol}` twice");
                    return Err(ArgumentError::new("ops", message));
                }
                None => {
                    let message = format!("`ops` is made of `+`, `-` and `*`, found `{symbol}`");
                    return Err(ArgumentError::new("ops", message));
                }
            }
        }
        if operations.is_empty() {
            return Err(ArgumentError::new("ops", "`ops` names no operation"));
        }
        let operands = 10u64.pow(power);
        let pairs = Partition::new(operands * (operands - 1) / 2);
        Ok(Arithmetic {
            operations,
            operands,
            pairs,
            doubles: Partition::new(operands),
        })
    }
}

impl Task for Arithmetic {
    fn name(&self) -> &str {
        "data.arithmetic"
    }

    fn size(&self, split: Split) -> u64 {
        (2 * self.pairs.size(split) + self.doubles.size(split)) * self.operations.len() as u64
    }

    fn problem(&self, split: Split, index: u64, _stream: Stream) -> Result<Problem, Fault> {
        let n_operations = self.operations.len() as u64;
        let (place, choice) = (index / n_operations, index % n_operations);
        let ordered_pairs = 2 * self.pairs.size(split);
        let (left, right) = if place < ordered_pairs {
            let (smaller, larger) = pair(self.pairs.element(split, place / 2));
            if place % 2 == 0 {
                (smaller, larger)
            } else {
                (larger, smaller)
            }
        } else {
            let operand = self.doubles.element(split, place - ordered_pairs);
            (operand, operand)
        };
        let operation = self.operations[choice as usize];
        let answer = operation.result(left as i64, right as i64).to_string();
        Ok(Problem {
            id: (left * self.operands + right) * n_operations + choice,
            context: Vec::new(),
            prompt: format!("{left}{}{right}=", operation.symbol()),
            demonstration: answer.clone(),
            answer,
            length: None,
        })
    }
}

/// The pair of numbers that comes at `rank` in the order (0, 1), (0, 2), (1, 2), (0, 3), …
fn pair(rank: u64) -> (u64, u64) {
    let larger = (8 * rank + 1).isqrt().div_ceil(2);
    (rank - larger * (larger - 1) / 2, larger)
}
