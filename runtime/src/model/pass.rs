//! One reading of a batch by a model: what it says of each response token, and the way back to its parameters.
//!
//! The loss stands between the two: whoever computes it takes `logp`, `entropy`, `value` or `logits` as data and hands
//! back its gradient by them. So a batch can be split without the loss knowing, and gradients still add up exactly.

use std::cell::OnceCell;

use tch::{Kind, Tensor, no_grad};

use super::CausalLmConfig;
use super::head::{Head, HeadUpstream};
use super::recompute::Entries;
use super::tape::Tape;
use super::tiles::{self, Prediction};
use super::trunk::{logits, wide};
use crate::profile::{self, Label, Work};

/// What a model computed for a batch; `width` is the length of the batch's longest response.
pub struct Pass {
    pub(super) config: CausalLmConfig,
    /// The model's parameters, as leaves of this pass's graph when it has one.
    pub(super) leaves: Vec<Tensor>,
    /// How it goes back through the layers, if it can.
    pub(super) trunk: Option<Trunk>,
    /// Which of them maps hidden states to logits; the embedding, if that is tied to the head.
    pub(super) head: usize,
    pub(super) value_head: Option<usize>,
    /// Whether the heads are computed by the kernels of the CPU, in which case they say all that they know at once.
    pub(super) has_kernels: bool,
    pub(super) predictions: OnceCell<Vec<Prediction>>,
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

/// What remembers the way through the layers.
pub(super) enum Trunk {
    Autograd,
    Recomputed(Entries),
    Single(Tape<f32>),
    Double(Tape<f64>),
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
        no_grad(|| {
            let logp = match self.predictions() {
                Some(predictions) => self.tensor(predictions.iter().map(|it| it.logp)),
                None => self.by_position(|hidden| self.head().logp(hidden)),
            };
            self.spread(&logp)
        })
    }

    /// `[rows, width]`: entropy of the distribution that each response token was drawn from, nats; 0 at padding.
    pub fn entropy(&self) -> Tensor {
        no_grad(|| {
            let entropy = match self.predictions() {
                Some(predictions) => {
                    self.tensor(predictions.iter().map(|it| it.distribution.entropy()))
                }
                None => self.by_position(|hidden| self.head().entropy(hidden)),
            };
            self.spread(&entropy)
        })
    }

    /// `[rows, width]`: the value head where each response token is predicted, before it is known; 0 at padding.
    pub fn value(&self) -> Tensor {
        no_grad(|| {
            let weight = &self.leaves[self.value_index()];
            let value = |hidden: &Tensor| hidden.matmul(&weight.tr()).squeeze_dim(-1);
            self.spread(&self.by_position(|hidden| value(hidden).to_kind(self.wide())))
        })
    }

    /// `[rows, width, vocab]`: the logits that predict each response token, not divided by the temperature; 0 at
    /// padding. They are held in full, so this is for small vocabularies.
    pub fn logits(&self) -> Tensor {
        no_grad(|| self.spread(&logits(&self.config, &self.hidden, &self.leaves[self.head])))
    }

    /// The gradient by each parameter, in their order, of a scalar whose gradient by the outputs is `upstream`.
    /// Only for a pass that was made with `grad`.
    pub fn backward(mut self, upstream: &Upstream) -> Vec<Tensor> {
        let trunk = self
            .trunk
            .take()
            .unwrap_or_else(|| panic!("backward through a pass that was made without gradients"));
        let wide = self.wide();
        let zeros = |leaf: &Tensor| Tensor::zeros(leaf.size(), (wide, leaf.device()));
        if self.slots.numel() == 0 {
            return self.leaves.iter().map(zeros).collect();
        }
        let mut by_heads: Vec<Option<Tensor>> = self.leaves.iter().map(|_| None).collect();
        let hidden_gradient = profile::within(Label::Work(Work::Head), || {
            no_grad(|| self.heads_backward(upstream, &mut by_heads))
        });
        let mut by_trunk = match trunk {
            Trunk::Autograd => {
                // The gradient of Σ hidden · g by the hidden states is g, which is how autograd is given it.
                let surrogate = (&self.hidden * hidden_gradient).sum(None::<Kind>);
                Tensor::run_backward(&[surrogate], &self.leaves, false, false)
            }
            Trunk::Recomputed(entries) => {
                entries.backward(&self.config, &self.leaves, &hidden_gradient)
            }
            Trunk::Single(tape) => {
                no_grad(|| tape.backward(&self.config, &self.leaves, &hidden_gradient))
            }
            Trunk::Double(tape) => {
                no_grad(|| tape.backward(&self.config, &self.leaves, &hidden_gradient))
            }
        }
        .into_iter()
        // The heads lie beyond the trunk, and come back undefined.
        .map(|gradient| gradient.defined().then(|| gradient.to_kind(wide)));
        let each = self.leaves.iter().zip(by_heads);
        no_grad(|| {
            each.map(
                |(leaf, by_head)| match (by_head, by_trunk.next().flatten()) {
                    (Some(by_head), Some(by_trunk)) => by_head + by_trunk,
                    (Some(gradient), None) | (None, Some(gradient)) => gradient,
                    (None, None) => zeros(leaf),
                },
            )
            .collect()
        })
    }

    /// The gradient by the hidden states; sets those by the weights of the heads.
    fn heads_backward(&self, upstream: &Upstream, gradients: &mut [Option<Tensor>]) -> Tensor {
        let gather = |x: &Option<Tensor>| x.as_ref().map(|x| self.gather(x));
        let hidden = self.hidden.detach();
        let mut hidden_gradient = hidden.zeros_like();
        let by_head = HeadUpstream {
            logp: gather(&upstream.logp),
            entropy: gather(&upstream.entropy),
            logits: gather(&upstream.logits),
        };
        if by_head.logp.is_some() || by_head.entropy.is_some() || by_head.logits.is_some() {
            let head = self.head();
            let (by_hidden, by_weight) = match (self.predictions(), hidden.kind()) {
                (None, _) => head.backward(&hidden, &by_head),
                (Some(predictions), Kind::Double) => {
                    tiles::backward::<f64>(&head, &hidden, predictions, &by_head)
                }
                (Some(predictions), _) => {
                    tiles::backward::<f32>(&head, &hidden, predictions, &by_head)
                }
            };
            hidden_gradient += by_hidden;
            gradients[self.head] = Some(by_weight);
        }
        if let Some(value) = gather(&upstream.value) {
            let value = value.unsqueeze(-1).to_kind(hidden.kind());
            let index = self.value_index();
            hidden_gradient += value.matmul(&self.leaves[index].detach());
            gradients[index] = Some(value.tr().matmul(&hidden).to_kind(self.wide()));
        }
        hidden_gradient
    }

    /// What the head says of each position, if kernels compute it.
    fn predictions(&self) -> Option<&[Prediction]> {
        let compute = || match self.hidden.kind() {
            Kind::Double => tiles::predictions::<f64>(&self.head(), &self.hidden),
            _ => tiles::predictions::<f32>(&self.head(), &self.hidden),
        };
        self.has_kernels
            .then(|| self.predictions.get_or_init(compute).as_slice())
    }

    fn tensor(&self, by_position: impl Iterator<Item = f64>) -> Tensor {
        let values: Vec<f64> = by_position.collect();
        Tensor::from_slice(&values).to_kind(self.wide())
    }

    /// What the outputs and gradients of a pass are in.
    fn wide(&self) -> Kind {
        wide(self.hidden.kind())
    }

    fn head(&self) -> Head<'_> {
        Head {
            config: &self.config,
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
            return Tensor::zeros([0], (self.wide(), self.hidden.device()));
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
