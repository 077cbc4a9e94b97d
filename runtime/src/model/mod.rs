//! A decoder-only language model: named parameters, and the pass that reads a batch with them.

mod attention;
mod batch;
mod crew;
mod file;
mod head;
mod joined;
mod matrix;
mod packing;
mod parameters;
mod pass;
mod recompute;
mod tape;
mod tiles;
mod trunk;

pub(crate) use attention::{Sight, attention, causal_attention};
pub use batch::SequenceBatch;
pub use file::{FileError, read_tensors, write_tensors};
pub(crate) use file::{bytes, tensors_of};
pub(crate) use joined::{Activations, Angles, Direction, Joined, heads, packed};
pub(crate) use matrix::{Matrix, Number, read};
pub use parameters::Parameter;
pub use pass::{Pass, Upstream};
pub use rlp_account::model::{Activation, Bias, CausalLmConfig, Form, Local, RopeScaling};
pub(crate) use trunk::{Rotations, Weights, embed, logits, rms_norm};

use std::cell::OnceCell;
use std::path::Path;

use pass::Trunk;
use tape::Tape;
use tch::{Device, Kind, Tensor, no_grad};

use crate::error::ArgumentError;
use crate::part::{self, Part};
use crate::random::{Purpose, Stream};

/// A causal language model. Its parameters carry no autograd state of their own: each pass makes leaves that share
/// their storage, so an optimizer may write them in place between passes.
pub struct CausalLm {
    config: CausalLmConfig,
    parameters: Vec<Parameter>,
    /// What it computes in.
    kind: Kind,
    is_plain: bool,
    recomputes: bool,
}

impl CausalLm {
    /// A model from scratch; `kind` is the floating-point type of its parameters.
    pub fn new(
        config: CausalLmConfig,
        seed: u64,
        kind: Kind,
        device: Device,
    ) -> Result<CausalLm, ArgumentError> {
        config.validate()?;
        let stream = Stream::new(seed, Purpose::Initialise);
        let parameters = parameters::initial(&config, stream, (kind, device));
        Ok(CausalLm {
            config,
            parameters,
            kind,
            is_plain: false,
            recomputes: false,
        })
    }

    /// A model of weights that are there already, in the shapes of [`parameter_shapes`]; it computes in `kind`.
    pub(crate) fn from_weights<E>(
        config: CausalLmConfig,
        kind: Kind,
        read: impl Fn(&str) -> Result<Tensor, E>,
    ) -> Result<CausalLm, E> {
        let names = parameter_shapes(&config);
        part::begin(Part::Loading, names.len() as u64);
        let names = names.into_iter();
        let parameter = |(name, _): (String, Vec<i64>)| {
            let value = read(&name)?;
            part::advance(1);
            Ok(Parameter { name, value })
        };
        Ok(CausalLm {
            parameters: names.map(parameter).collect::<Result<_, E>>()?,
            config,
            kind,
            is_plain: false,
            recomputes: false,
        })
    }

    /// From now on computes by libtorch's operations alone, as on a GPU, even on the CPU: the reference for the kernels
    /// that are used there.
    pub fn without_kernels(&mut self) {
        self.is_plain = true;
    }

    /// From now on computes in `kind`; the parameters stay in the kind that they are held in.
    pub fn compute_in(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// From now on the way back computes what is inside layers again, instead of keeping it.
    pub fn recompute(&mut self) {
        self.recomputes = true;
    }

    pub(crate) fn has_kernels(&self) -> bool {
        let are_there = matches!(self.kind, Kind::Float | Kind::Double) && self.config.is_llama();
        are_there && self.device() == Device::Cpu && !self.is_plain && !self.recomputes
    }

    pub fn config(&self) -> &CausalLmConfig {
        &self.config
    }

    /// The parameters in their fixed order: embedding, layers, norm, then an untied head and a value head if there
    /// are.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// For writing values in place; names and shapes must stay.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Indices of the weight matrices of the layers.
    pub fn matrices(&self) -> Vec<usize> {
        self.indices(Parameter::is_layer_matrix)
    }

    /// Indices of all other parameters: embedding, heads and norms.
    pub fn others(&self) -> Vec<usize> {
        self.indices(|parameter| !parameter.is_layer_matrix())
    }

    fn indices(&self, choose: impl Fn(&Parameter) -> bool) -> Vec<usize> {
        (0..self.parameters.len())
            .filter(|&index| choose(&self.parameters[index]))
            .collect()
    }

    /// Adds a value head that says 0 everywhere, unless there is one.
    pub fn add_value_head(&mut self) {
        if self.value_head().is_none() {
            let like = &self.parameters[0].value;
            let options = (like.kind(), like.device());
            let value = Tensor::zeros([1, self.config.hidden], options);
            self.parameters.push(Parameter {
                name: rlp_account::model::VALUE_HEAD.to_owned(),
                value,
            });
        }
    }

    /// Its value head, on its own.
    pub(crate) fn head_parameter(&self) -> Option<Parameter> {
        let head = &self.parameters[self.value_head()?];
        Some(Parameter {
            name: head.name.clone(),
            value: head.value.copy(),
        })
    }

    /// A value head like its own, that says what that of `base` says, or 0 if it has none.
    pub(crate) fn new_head(&self, base: &CausalLm) -> Option<Parameter> {
        let own = self.head_parameter()?;
        let value = match base.head_parameter() {
            Some(head) => head.value.to_kind(own.value.kind()),
            None => own.value.zeros_like(),
        };
        Some(Parameter { value, ..own })
    }

    /// What it computes in; its parameters may be held in a wider kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn device(&self) -> Device {
        self.parameters[0].value.device()
    }

    /// A copy that shares no storage with this model, in the kind that it computes in.
    #[must_use]
    pub fn deep_copy(&self) -> CausalLm {
        self.map_values(|value| value.totype(self.kind).copy())
    }

    /// The same model over the same storage, whose parameters can be replaced by others.
    #[must_use]
    pub(crate) fn share(&self) -> CausalLm {
        self.map_values(Tensor::shallow_clone)
    }

    /// The model on another device; the same storage if it is there already.
    #[must_use]
    pub fn to_device(&self, device: Device) -> CausalLm {
        self.map_values(|value| value.to_device(device))
    }

    fn map_values(&self, of: impl Fn(&Tensor) -> Tensor) -> CausalLm {
        let copy = |p: &Parameter| Parameter {
            name: p.name.clone(),
            value: of(&p.value),
        };
        CausalLm {
            config: self.config.clone(),
            parameters: self.parameters.iter().map(copy).collect(),
            kind: self.kind,
            is_plain: self.is_plain,
            recomputes: self.recomputes,
        }
    }

    /// Writes the parameters to a safetensors file, by name.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        write_tensors(
            path,
            self.parameters.iter().map(|p| (p.name.as_str(), &p.value)),
        )
    }

    /// Reads the parameters from a safetensors file that holds each of them in its shape and nothing else.
    pub fn load(&mut self, path: &Path) -> Result<(), FileError> {
        let mut tensors = read_tensors(path)?;
        for parameter in &self.parameters {
            parameters::check(parameter, tensors.get(&parameter.name))
                .map_err(|what| FileError::new(path, what))?;
        }
        if let Some(name) = tensors
            .keys()
            .find(|name| self.parameters.iter().all(|p| p.name != **name))
        {
            return Err(FileError::new(
                path,
                format!("`{name}` is no parameter of this model"),
            ));
        }
        no_grad(|| {
            for parameter in &mut self.parameters {
                if let Some(value) = tensors.remove(&parameter.name) {
                    parameter.value.copy_(&value);
                }
            }
        });
        Ok(())
    }

    /// Reads a batch; `grad` keeps what [`Pass::backward`] needs.
    pub fn forward(&self, batch: &SequenceBatch, grad: bool) -> Pass {
        let (hidden, trunk, leaves) = match (self.has_kernels(), self.kind()) {
            (true, Kind::Float) => {
                let (hidden, tape, leaves) = self.read::<f32>(batch, grad);
                (hidden, tape.map(Trunk::Single), leaves)
            }
            (true, Kind::Double) => {
                let (hidden, tape, leaves) = self.read::<f64>(batch, grad);
                (hidden, tape.map(Trunk::Double), leaves)
            }
            _ => self.read_by_autograd(batch, grad),
        };
        let (positions, slots) = places(batch);
        // What a position predicts is the token after it.
        let targets = batch
            .tokens
            .narrow(1, 1, batch.input_length())
            .flatten(0, 1)
            .index_select(0, &positions);
        Pass {
            config: self.config.clone(),
            targets,
            head: rlp_account::model::head(&self.config),
            value_head: self.value_head(),
            hidden,
            trunk,
            has_kernels: self.has_kernels(),
            predictions: OnceCell::new(),
            slots,
            rows: batch.rows(),
            width: batch.width(),
            temperature: batch.temperature,
            leaves,
        }
    }

    /// The hidden states that predict the response tokens, row by row, by the kernels of the CPU.
    fn read<T: Number>(
        &self,
        batch: &SequenceBatch,
        grad: bool,
    ) -> (Tensor, Option<Tape<T>>, Vec<Tensor>) {
        let leaves = self.leaves(false);
        let chunks = packing::chunks(batch);
        let (hidden, tape) = no_grad(|| tape::read(&self.config, &leaves, chunks, grad));
        (hidden, grad.then_some(tape), leaves)
    }

    /// The same by libtorch's operations.
    fn read_by_autograd(
        &self,
        batch: &SequenceBatch,
        grad: bool,
    ) -> (Tensor, Option<Trunk>, Vec<Tensor>) {
        let leaves = self.leaves(grad);
        let (positions, _) = places(batch);
        let length = batch.input_length();
        let tokens = batch.tokens.narrow(1, 0, length);
        if grad && self.recomputes {
            let (hidden, entries) = recompute::read(&self.config, &leaves, &tokens, &positions);
            return (hidden, Some(Trunk::Recomputed(entries)), leaves);
        }
        let hidden = || {
            let weights = Weights::new(&self.config, &leaves);
            let stream = trunk::trunk(&self.config, &weights, &tokens);
            recompute::hidden(&self.config, &weights, &stream, &positions)
        };
        let hidden = if grad { hidden() } else { no_grad(hidden) };
        (hidden, grad.then_some(Trunk::Autograd), leaves)
    }

    /// `[rows, width, layer, hidden]`: the residual stream after each layer where each response token is predicted; 0 at
    /// padding.
    pub(crate) fn states(&self, batch: &SequenceBatch) -> Tensor {
        no_grad(|| {
            let leaves = self.leaves(false);
            let weights = Weights::new(&self.config, &leaves);
            let inputs = batch.tokens.narrow(1, 0, batch.input_length());
            let states = trunk::states(&self.config, &weights, &inputs).flatten(0, 1);
            let (positions, slots) = places(batch);
            let predicting = states.index_select(0, &positions);
            let (rows, width, tail) = (batch.rows(), batch.width(), &states.size()[1..]);
            let flat = [&[rows * width], tail].concat();
            Tensor::zeros(flat, (states.kind(), states.device()))
                .index_copy(0, &slots, &predicting)
                .view_([&[rows, width], tail].concat())
        })
    }

    /// Normalised hidden states `[rows, length, hidden]` of token ids `[rows, length]`, as one differentiable function
    /// of `parameters`, given in the model's order.
    pub fn hidden_with_graph(&self, parameters: &[Tensor], tokens: &Tensor) -> Tensor {
        let weights = Weights::new(&self.config, parameters);
        let stream = trunk::trunk(&self.config, &weights, tokens);
        rms_norm(&self.config, &stream, weights.norm)
    }

    /// Logits `[rows, length, vocab]` of token ids, likewise; held in full.
    pub fn logits_with_graph(&self, parameters: &[Tensor], tokens: &Tensor) -> Tensor {
        logits(
            &self.config,
            &self.hidden_with_graph(parameters, tokens),
            self.head(parameters),
        )
    }

    /// The parameters' values as fresh tensors over the same storage, that require gradients if `grad`; copies where the
    /// model computes in another kind than it holds them in.
    pub fn leaves(&self, grad: bool) -> Vec<Tensor> {
        let leaf = |p: &Parameter| p.value.detach().to_kind(self.kind).set_requires_grad(grad);
        self.parameters.iter().map(leaf).collect()
    }

    pub(crate) fn head<'a>(&self, parameters: &'a [Tensor]) -> &'a Tensor {
        &parameters[rlp_account::model::head(&self.config)]
    }

    fn value_head(&self) -> Option<usize> {
        self.parameters
            .iter()
            .position(|p| p.name == rlp_account::model::VALUE_HEAD)
    }
}

/// Name and shape of each parameter of a model without a value head, in order.
pub(crate) fn parameter_shapes(config: &CausalLmConfig) -> Vec<(String, Vec<i64>)> {
    let layout = rlp_account::model::layout(config).into_iter();
    layout.map(|(name, shape, _)| (name, shape)).collect()
}

/// For each response token, row by row: the position in flat `[rows, input length]` that predicts it, and its place in
/// flat `[rows, width]`.
fn places(batch: &SequenceBatch) -> (Tensor, Tensor) {
    let (length, width) = (batch.input_length(), batch.width());
    let mut positions = Vec::new();
    let mut slots = Vec::new();
    for (row, (prompt, response)) in batch
        .prompt_length
        .iter()
        .zip(&batch.response_length)
        .enumerate()
    {
        let row = row as i64;
        positions.extend((0..*response).map(|token| row * length + prompt - 1 + token));
        slots.extend((0..*response).map(|token| row * width + token));
    }
    let device = batch.tokens.device();
    (
        Tensor::from_slice(&positions).to_device(device),
        Tensor::from_slice(&slots).to_device(device),
    )
}
