//! One reading of a batch by a model: what it says of each response token, and the way back to its parameters.
//!
//! The loss stands between the two: whoever computes it takes `logp`, `entropy`, `value` or `logits` as data and hands
//! back its gradient by them. So a batch can be split without the loss knowing, and gradients still add up exactly.

use tch::{Kind, Tensor, no_grad};

use super::head::{Head, HeadUpstream};
use crate::profile::{self, Label, Work};

/// What a model computed for a batch; `width` is the length of the batch's longest response.
pub struct Pass {
    /// The model's parameters, as leaves of this pass's graph when it has one.
    pub(super) leaves: Vec<Tensor>,
    /// Which of them maps hidden states to logits; the embedding, if that is tied to the head.
    pub(super) head: usize,
    pub(super) value_head: Option<usize>,
    /// `[position, hidden]`: the normalised hidden states that predict a response token, row by row.
    pub(super) hidden: Tensor,
    /// int64 `[position]`: the tokens that they predict.
    pub(super) targets: Tensor,
    /// int64 `[position]`: where each lies in a flat `[rows, width]`.
    pub(super) slots: Tensor,
    pub(super) rows: i64,
    pub(super) width: i64,
    pub(super) temperature: f64,
}

/// The gradient of a scalar by the outputs of a [`Pass`], in their shapes; none where it does not depend on them.
/// What stands at padding is ignored.
#[derive(Debug, Default)]
pub struct Upstream {
    pub logp: Option<Tensor>,
    pub entropy: Option<Tensor>,
    pub value: Option<Tensor>,
    pub logits: Option<Tensor>,
}

impl Pass {
    /// `[rows, width]`: log-probability of each response token at the batch's temperature, nats; 0 at padding.
    pub fn logp(&self) -> Tensor {
        no_grad(|| self.spread(&self.by_position(|hidden| self.head().logp(hidden))))
    }

    /// `[rows, width]`: entropy of the distribution that each response token was drawn from, nats; 0 at padding.
    pub fn entropy(&self) -> Tensor {
        no_grad(|| self.spread(&self.by_position(|hidden| self.head().entropy(hidden))))
    }

    /// `[rows, width]`: the value head where each response token is predicted, before it is known; 0 at padding.
    pub fn value(&self) -> Tensor {
        no_grad(|| {
            let weight = &self.leaves[self.value_index()];
            self.spread(&self.by_position(|hidden| hidden.matmul(&weight.tr()).squeeze_dim(-1)))
        })
    }

    /// `[rows, width, vocab]`: the logits that predict each response token, not divided by the temperature; 0 at
    /// padding. They are held in full, so this is for small vocabularies.
    pub fn logits(&self) -> Tensor {
        no_grad(|| self.spread(&self.hidden.matmul(&self.leaves[self.head].tr())))
    }

    /// The gradient by each parameter, in their order, of a scalar whose gradient by the outputs is `upstream`.
    /// Only for a pass that was made with `grad`.
    pub fn backward(self, upstream: &Upstream) -> Vec<Tensor> {
        assert!(
            self.leaves.iter().all(Tensor::requires_grad),
            "backward through a pass that was made without gradients"
        );
        let mut gradients: Vec<Tensor> = self
            .leaves
            .iter()
            .map(|leaf| leaf.detach().zeros_like())
            .collect();
        if self.slots.numel() == 0 {
            return gradients;
        }
        let hidden_gradient = profile::within(Label::Work(Work::Head), || {
            no_grad(|| self.heads_backward(upstream, &mut gradients))
        });
        // The gradient of Σ hidden · g by the hidden states is g, which is how autograd is given it.
        let surrogate = (&self.hidden * hidden_gradient).sum(None::<Kind>);
        let by_trunk = Tensor::run_backward(&[surrogate], &self.leaves, false, false);
        no_grad(|| {
            for (gradient, through_trunk) in gradients.iter_mut().zip(by_trunk) {
                // The heads lie beyond the trunk, and come back undefined.
                if through_trunk.defined() {
                    *gradient += through_trunk;
                }
            }
        });
        gradients
    }

    /// The gradient by the hidden states; adds those by the weights of the heads.
    fn heads_backward(&self, upstream: &Upstream, gradients: &mut [Tensor]) -> Tensor {
        let gather = |x: &Option<Tensor>| x.as_ref().map(|x| self.gather(x));
        let hidden = self.hidden.detach();
        let mut hidden_gradient = hidden.zeros_like();
        let by_head = HeadUpstream {
            logp: gather(&upstream.logp),
            entropy: gather(&upstream.entropy),
            logits: gather(&upstream.logits),
        };
        if by_head.logp.is_some() || by_head.entropy.is_some() || by_head.logits.is_some() {
            let (by_hidden, by_weight) = self.head().backward(&hidden, &by_head);
            hidden_gradient += by_hidden;
            gradients[self.head] += by_weight;
        }
        if let Some(value) = gather(&upstream.value) {
            let value = value.unsqueeze(-1);
            let index = self.value_index();
            hidden_gradient += value.matmul(&self.leaves[index].detach());
            gradients[index] += value.tr().matmul(&hidden);
        }
        hidden_gradient
    }

    fn head(&self) -> Head<'_> {
        Head {
            weight: &self.leaves[self.head],
            targets: &self.targets,
            temperature: self.temperature,
        }
    }

    fn value_index(&self) -> usize {
        self.value_head
            .unwrap_or_else(|| panic!("the value of a model without a value head"))
    }

    fn by_position(&self, of: impl Fn(&Tensor) -> Tensor) -> Tensor {
        if self.slots.numel() == 0 {
            return Tensor::zeros([0], (self.hidden.kind(), self.hidden.device()));
        }
        of(&self.hidden)
    }

    /// `[position, …]` to `[rows, width, …]`, with 0 at padding.
    fn spread(&self, positions: &Tensor) -> Tensor {
        let tail = &positions.size()[1..];
        let flat = [&[self.rows * self.width], tail].concat();
        let spread = Tensor::zeros(flat, (positions.kind(), positions.device()));
        spread
            .index_copy(0, &self.slots, positions)
            .view_([&[self.rows, self.width], tail].concat())
    }

    /// `[rows, width, …]` to `[position, …]`.
    fn gather(&self, spread: &Tensor) -> Tensor {
        spread.flatten(0, 1).index_select(0, &self.slots)
    }
}
