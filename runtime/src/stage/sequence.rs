//! What a model says of the sequences of a batch, and the way back to its parameters, in micro-batches.

use rlp_compiler::graph::ModelOutput;
use rlp_compiler::ty::DimId;

use crate::error::Fault;
use crate::model::{CausalLm, Pass, SequenceBatch, Upstream};
use crate::part;
use crate::profile::{self, Label, Work};
use crate::tensor::{Kind, Tensor, Value, elements};
use crate::torch::axis;

/// The sequences that a `Model` node reads, one a row.
pub(crate) struct Sequences {
    batch: SequenceBatch,
    /// The sizes of the tokens' dimensions, the sequence's own last.
    shape: Vec<i64>,
}

impl Sequences {
    /// From the operands of a `Model` node: tokens, prompt tokens, temperature, and the masks of both.
    pub(crate) fn new(operands: &[Value]) -> Result<Sequences, Fault> {
        let [tokens, prompt, temperature, mask, prompt_mask] = operands else {
            return Err(Fault::broken(
                "a model reads tokens, prompt tokens, a temperature and two masks",
            ));
        };
        let shape = tokens.shape();
        let flat = |value: &Value| {
            Ok::<_, Fault>(
                value
                    .tensor()?
                    .f_reshape([shape_rows(&shape), value.shape()[shape.len() - 1]])?,
            )
        };
        let lengths =
            |mask: &Value| Ok::<_, Fault>(flat(mask)?.f_sum_dim_intlist(1, false, Kind::Int64)?);
        let (response_length, prompt_length) = (lengths(mask)?, lengths(prompt_mask)?);
        let (prompt, response) = (flat(prompt)?, flat(tokens)?);
        let (prompt_width, width) = (prompt.size()[1], response.size()[1]);

        // Position j of a row holds prompt token j, then the response.
        let place = Tensor::f_arange(prompt_width + width, (Kind::Int64, prompt.device()))?
            .f_unsqueeze(0)?;
        let prompt_end = prompt_length.f_unsqueeze(-1)?;
        let of_response = place
            .f_sub(&prompt_end)?
            .f_add_scalar(prompt_width)?
            .f_clamp_max(prompt_width + width - 1)?;
        let source = place
            .f_expand_as(&of_response)?
            .f_where_self(&place.f_lt_tensor(&prompt_end)?, &of_response)?;
        let joined = Tensor::f_cat(&[prompt, response], 1)?.f_gather(1, &source, false)?;

        let temperature = temperature.tensor()?.f_double_value(&[])?;
        let batch = SequenceBatch {
            tokens: joined,
            prompt_length: elements(&prompt_length)?,
            response_length: elements(&response_length)?,
            temperature,
        };
        Ok(Sequences { batch, shape })
    }

    /// Whether a model knows all the tokens: what another sampled may lie beyond a smaller vocabulary.
    pub(crate) fn check(&self, model: &CausalLm) -> Result<(), Fault> {
        let (tokens, vocab) = (&self.batch.tokens, model.config().vocab);
        if tokens.numel() > 0 {
            let most = tokens.f_max()?.f_int64_value(&[])?;
            if most >= vocab {
                return Err(Fault::input(format!(
                    "a model of {vocab} tokens reads the token {most} of another model"
                )));
            }
        }
        Ok(())
    }

    /// Portions of at most `rows` rows; all in one if absent.
    pub(crate) fn micro_batches(&self, rows: Option<u64>) -> Vec<SequenceBatch> {
        let all: Vec<i64> = (0..self.batch.rows()).collect();
        let size = rows.map_or(usize::MAX, |rows| rows.max(1) as usize);
        if all.len() <= size {
            return vec![self.batch.select(&all)];
        }
        all.chunks(size)
            .map(|rows| self.batch.select(rows))
            .collect()
    }

    /// One output of all rows, from those of the passes over their portions, in the shape of the node.
    pub(crate) fn output(&self, passes: &[Pass], output: ModelOutput) -> Result<Tensor, Fault> {
        self.assemble(passes.iter().map(|pass| read(pass, output)).collect())
    }

    /// `[rows of a portion, longest, ..]` each, to the shape of the node.
    pub(crate) fn assemble(&self, portions: Vec<Tensor>) -> Result<Tensor, Fault> {
        let width = self.width();
        let widened = portions
            .into_iter()
            .map(|portion| widened(portion, width))
            .collect::<Result<Vec<_>, Fault>>()?;
        let all = Tensor::f_cat(&widened, 0)?;
        let tail = &all.size()[2..];
        Ok(all.f_reshape([&self.shape, tail].concat())?)
    }

    /// The gradient by one output, as the rows of a portion that starts at row `start` see it.
    fn portion(
        &self,
        gradient: &Tensor,
        start: i64,
        batch: &SequenceBatch,
    ) -> Result<Tensor, Fault> {
        let tail = &gradient.size()[self.shape.len()..];
        let rows = gradient.f_reshape([&[shape_rows(&self.shape), self.width()], tail].concat())?;
        Ok(rows
            .f_narrow(0, start, batch.rows())?
            .f_narrow(1, 0, batch.width())?)
    }

    fn width(&self) -> i64 {
        self.shape[self.shape.len() - 1]
    }
}

/// The axes of an output over `dims` as a pass has them: those of the tokens, then its own. In a graph axes ascend, and
/// those of a batch that was drawn after the model was first read come after the model's.
#[derive(Clone, Debug)]
pub(crate) struct OutputAxes {
    of_pass: Vec<DimId>,
    of_graph: Vec<DimId>,
}

impl OutputAxes {
    pub(crate) fn new(tokens: &[DimId], dims: &[DimId]) -> OutputAxes {
        OutputAxes {
            of_pass: [tokens, &axis::without(dims, tokens)].concat(),
            of_graph: dims.to_vec(),
        }
    }

    pub(crate) fn to_graph(&self, output: &Tensor) -> Result<Tensor, Fault> {
        Ok(axis::arrange(output, &self.of_pass, &self.of_graph)?.f_contiguous()?)
    }

    pub(crate) fn to_pass(&self, adjoint: &Tensor) -> Result<Tensor, Fault> {
        axis::arrange(adjoint, &self.of_graph, &self.of_pass)
    }
}

/// Outputs of a trained model for the rows of a minibatch, from which a gradient is to flow back.
pub(crate) struct Differentiated {
    sequences: Sequences,
    micro_batch: Option<u64>,
    /// The pass itself if there is one micro-batch; otherwise passes are made again on the way back, one at a time.
    pass: Option<Pass>,
}

impl Differentiated {
    /// Reads the rows; the tensors are those of `outputs`, in order, without gradient.
    pub(crate) fn forward(
        model: &CausalLm,
        sequences: Sequences,
        micro_batch: Option<u64>,
        outputs: &[ModelOutput],
    ) -> Result<(Differentiated, Vec<Tensor>), Fault> {
        let batches = sequences.micro_batches(micro_batch);
        if let [batch] = batches.as_slice() {
            let pass = read_rows(model, batch, true);
            let passes = [pass];
            let values = outputs
                .iter()
                .map(|&output| sequences.output(&passes, output))
                .collect::<Result<_, _>>()?;
            let [pass] = passes;
            return Ok((
                Differentiated {
                    sequences,
                    micro_batch,
                    pass: Some(pass),
                },
                values,
            ));
        }
        let mut portions: Vec<Vec<Tensor>> = outputs.iter().map(|_| Vec::new()).collect();
        for batch in &batches {
            let pass = read_rows(model, batch, false);
            for (of_output, &output) in portions.iter_mut().zip(outputs) {
                of_output.push(read(&pass, output));
            }
        }
        let values = portions
            .into_iter()
            .map(|portions| sequences.assemble(portions))
            .collect::<Result<_, _>>()?;
        Ok((
            Differentiated {
                sequences,
                micro_batch,
                pass: None,
            },
            values,
        ))
    }

    /// The gradient by each parameter of a scalar whose gradients by the outputs are `upstream`.
    pub(crate) fn backward(
        mut self,
        model: &CausalLm,
        upstream: &[(ModelOutput, Tensor)],
    ) -> Result<Vec<Tensor>, Fault> {
        let mut total: Option<Vec<Tensor>> = None;
        let mut start = 0;
        let batches = self.sequences.micro_batches(self.micro_batch);
        let all = batches.len() as u64;
        for (number, batch) in batches.into_iter().enumerate() {
            part::inside(number as u64, all);
            let mut by_output = Upstream::default();
            for (output, gradient) in upstream {
                let portion = Some(self.sequences.portion(gradient, start, &batch)?);
                match output {
                    ModelOutput::Logp => by_output.logp = portion,
                    ModelOutput::Entropy => by_output.entropy = portion,
                    ModelOutput::Value => by_output.value = portion,
                    ModelOutput::Logits => by_output.logits = portion,
                    ModelOutput::Hidden => {
                        return Err(Fault::broken("no gradient flows through hidden states"));
                    }
                }
            }
            start += batch.rows();
            let pass = self
                .pass
                .take()
                .unwrap_or_else(|| read_rows(model, &batch, true));
            let gradients =
                profile::within(Label::Work(Work::Backward), || pass.backward(&by_output));
            match &mut total {
                None => total = Some(gradients),
                Some(total) => total
                    .iter_mut()
                    .zip(gradients)
                    .for_each(|(sum, gradient)| *sum += gradient),
            }
        }
        Ok(total.unwrap_or_default())
    }
}

fn read_rows(model: &CausalLm, batch: &SequenceBatch, grad: bool) -> Pass {
    profile::within(Label::Work(Work::Forward), || model.forward(batch, grad))
}

fn read(pass: &Pass, output: ModelOutput) -> Tensor {
    profile::within(Label::Work(Work::Head), || match output {
        ModelOutput::Hidden => panic!("hidden states are read by a pass of their own"),
        ModelOutput::Logp => pass.logp(),
        ModelOutput::Entropy => pass.entropy(),
        ModelOutput::Value => pass.value(),
        ModelOutput::Logits => pass.logits(),
    })
}

fn shape_rows(shape: &[i64]) -> i64 {
    shape[..shape.len() - 1].iter().product()
}

/// `[rows, longest, ..]` with zeros up to `width`.
fn widened(portion: Tensor, width: i64) -> Result<Tensor, Fault> {
    let size = portion.size();
    let mut padding = vec![0; 2 * (size.len() - 1)];
    if let Some(after) = padding.last_mut() {
        *after = width - size[1];
    }
    Ok(portion.f_constant_pad_nd(&padding)?)
}
