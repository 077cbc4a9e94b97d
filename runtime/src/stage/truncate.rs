//! `sampler.outlier_truncation`: rollouts whose responses are cut to a length each.

use std::sync::Arc;

use rlp_compiler::graph::NodeId;
use rlp_compiler::ty::DimId;

use super::args::Args;
use super::host::{draw_of, renew};
use super::rows;
use crate::error::{Fault, Numbers};
use crate::executor::{Drawn, Executor};
use crate::statistics::Statistics;
use crate::tensor::{Kind, Tensor, TextArray, Value, elements};
use crate::tokenizer::Tokenizer;
use crate::torch::axis;

/// The record that the draw `node` is given, with the first `keep` tokens of each response.
pub(crate) fn truncated(
    executor: &Executor<'_>,
    node: NodeId,
    operands: &[Value],
    tokenizer: &Tokenizer,
) -> Result<Drawn, Fault> {
    let graph = executor.graph();
    let draw = draw_of(graph, node)?;
    let args = Args { draw, operands };
    let &(old, new) = draw
        .renewed
        .first()
        .ok_or_else(|| Fault::broken("a cut renews a dimension"))?;
    let cut = Cut::new(executor, graph.operands(node), &args, old)?;

    let mut fields = Vec::new();
    for (name, _) in &draw.fields {
        let (node, value) = cut.field(name)?;
        let dims = &graph.ty(node).dims;
        let value = match name.as_str() {
            "length" => value.tensor()?.f_minimum(&cut.keep)?.into(),
            "finished" => value.tensor()?.f_logical_and(&cut.is_whole()?)?.into(),
            "text" => cut.text(value, tokenizer)?,
            _ => match axis::axis(dims, old) {
                Ok(axis) => rows::rearrange(value, |tensor| {
                    Ok(tensor.f_narrow(axis as i64, 0, cut.width)?)
                })?,
                Err(_) => value.clone(),
            },
        };
        fields.push(renew(draw, &value, dims)?);
    }
    let mask = cut.mask.f_narrow(-1, 0, cut.width)?;
    let mask = renew(draw, &mask.into(), &cut.mask_dims)?;
    Ok(Drawn {
        fields,
        masks: vec![(new, mask.tensor()?.shallow_clone())],
    })
}

/// What is left of a record.
struct Cut<'a> {
    args: Args<'a>,
    nodes: Vec<NodeId>,
    token_dims: Vec<DimId>,
    /// Tokens to keep of each response, a whole number from 0 to its length.
    keep: Tensor,
    /// The most of them.
    width: i64,
    /// Which tokens stay, over `mask_dims`, of which tokens come last.
    mask: Tensor,
    mask_dims: Vec<DimId>,
}

impl<'a> Cut<'a> {
    fn new(
        executor: &Executor<'_>,
        nodes: Vec<NodeId>,
        args: &Args<'a>,
        token: DimId,
    ) -> Result<Cut<'a>, Fault> {
        let graph = executor.graph();
        let device = executor.context().device;
        let extents = executor.extents();
        let mask_dims = extents
            .mask_dims(token)
            .ok_or_else(|| Fault::broken("tokens are ragged"))?
            .to_vec();
        if mask_dims.last() != Some(&token) {
            return Err(Fault::broken(
                "tokens are the innermost dimension of a draw",
            ));
        }
        let real = extents.mask(token, device)?;
        let length = real.f_sum_dim_intlist(-1, false, Kind::Int64)?;
        let asked = args.operand("keep")?;
        if graph.ty(nodes[asked]).dims != mask_dims[..mask_dims.len() - 1] {
            return Err(Fault::input(
                "`keep` of `sampler.outlier_truncation` must have the dimensions of the responses that it cuts",
            ));
        }
        let asked = args.operands[asked].tensor()?;
        if asked.f_isnan()?.f_any()?.f_int64_value(&[])? == 1 {
            let found = Statistics::of(asked, [], None)?;
            return Err(Fault::not_finite(
                "a length to keep",
                Numbers {
                    found: Some(found),
                    ..Numbers::default()
                },
            ));
        }
        let whole = asked.f_floor()?.f_clamp_min(0)?;
        let keep = whole.f_minimum(&length.f_to_kind(whole.kind())?)?;
        let width = if keep.numel() == 0 {
            0
        } else {
            keep.f_max()?.f_int64_value(&[])?
        };
        let place = Tensor::f_arange(
            real.size().last().copied().unwrap_or_default(),
            (keep.kind(), device),
        )?;
        let mask = real.f_logical_and(&place.f_lt_tensor(&keep.f_unsqueeze(-1)?)?)?;
        Ok(Cut {
            token_dims: graph.ty(nodes[field(args, "tokens")?]).dims.clone(),
            nodes,
            args: Args {
                draw: args.draw,
                operands: args.operands,
            },
            keep,
            width,
            mask,
            mask_dims,
        })
    }

    fn field(&self, name: &str) -> Result<(NodeId, &'a Value), Fault> {
        let operand = field(&self.args, name)?;
        Ok((self.nodes[operand], &self.args.operands[operand]))
    }

    /// Which responses stay as they are.
    fn is_whole(&self) -> Result<Tensor, Fault> {
        let length = self.field("length")?.1.tensor()?;
        Ok(self.keep.f_ge_tensor(length)?)
    }

    /// What the tokens that stay spell; a response that stays whole keeps its text.
    fn text(&self, written: &Value, tokenizer: &Tokenizer) -> Result<Value, Fault> {
        let Value::Text(written) = written else {
            return Err(Fault::broken("`text` is text"));
        };
        if self.token_dims != self.mask_dims {
            return Err(Fault::broken("responses have tokens"));
        }
        let tokens = self.field("tokens")?.1;
        let tokens = elements::<i64>(tokens.tensor()?)?;
        let (keep, whole) = (
            elements::<i64>(&self.keep)?,
            elements::<i64>(&self.is_whole()?)?,
        );
        let width = tokens.len().checked_div(keep.len()).unwrap_or_default();
        let texts = written.elements.iter().enumerate().map(|(row, text)| {
            if whole[row] == 1 {
                return Ok(text.clone());
            }
            let left = &tokens[row * width..][..keep[row] as usize];
            Ok(Arc::from(tokenizer.decode(left)?.as_str()))
        });
        Ok(TextArray {
            shape: written.shape.clone(),
            elements: texts.collect::<Result<_, Fault>>()?,
        }
        .into())
    }
}

/// The operand that holds a field of the record.
fn field(args: &Args<'_>, name: &str) -> Result<usize, Fault> {
    let found = args.record("rollouts")?.iter().find(|(own, _)| own == name);
    let &(_, operand) = found.ok_or_else(|| {
        Fault::input(format!(
            "`sampler.outlier_truncation` cuts rollouts, and this record has no field `{name}`"
        ))
    })?;
    Ok(operand)
}
