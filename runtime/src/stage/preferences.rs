//! `sampler.preferences`: of two responses, which one a judge with a score for each prefers.

use std::collections::BTreeSet;

use rlp_compiler::graph::{DrawArg, Graph, NodeId};
use rlp_compiler::ty::{DimId, Ty};

use super::args::Args;
use super::host::{Record, draw_of};
use super::kept::same_sizes;
use super::rows;
use crate::error::{Fault, Numbers};
use crate::executor::{Drawn, Executor};
use crate::random::Stream;
use crate::tensor::{Tensor, Value, elements};
use crate::torch::axis;

/// The pairs of the draw `node` that are kept, each with the better response as its judge found it.
pub(crate) fn preferred(
    executor: &Executor<'_>,
    node: NodeId,
    operands: &[Value],
    stream: Stream,
) -> Result<Record, Fault> {
    let graph = executor.graph();
    let draw = draw_of(graph, node)?;
    let args = Args { draw, operands };
    let duo = Duo {
        executor,
        args: &args,
        nodes: graph.operands(node),
        pair: pair(graph, node)?,
    };
    let verdicts = verdicts(&duo, stream)?;
    let side = |is_chosen: bool| {
        // In the responses of `a` followed by those of `b`.
        let place = |&(row, flipped): &(i64, bool)| {
            if flipped == is_chosen {
                row + verdicts.pairs
            } else {
                row
            }
        };
        let places: Vec<i64> = verdicts.kept.iter().map(place).collect();
        Tensor::from_slice(&places)
    };
    let (chosen, rejected) = (side(true), side(false));

    let mut drawn = Drawn {
        fields: Vec::new(),
        masks: Vec::new(),
    };
    let mut known: BTreeSet<DimId> = BTreeSet::new();
    for (name, ty) in &draw.fields {
        let (side, field) = match name.split_once('.') {
            Some(("chosen", field)) => (&chosen, field),
            Some(("rejected", field)) => (&rejected, field),
            _ => {
                let flipped: Vec<bool> = verdicts.kept.iter().map(|kept| kept.1).collect();
                let flipped =
                    Tensor::from_slice(&flipped).f_to_device(executor.context().device)?;
                drawn.fields.push(flipped.into());
                continue;
            }
        };
        drawn.fields.push(duo.of_both(field, side)?);
        for (dim, mask) in duo.masks(graph, field, ty, side)? {
            if known.insert(dim) {
                drawn.masks.push((dim, mask));
            }
        }
    }
    Ok(Record {
        drawn,
        problems: BTreeSet::new(),
        is_empty: verdicts.kept.is_empty(),
    })
}

/// Which pairs are kept, and whether `b` is the one preferred.
struct Verdicts {
    pairs: i64,
    kept: Vec<(i64, bool)>,
}

fn verdicts(duo: &Duo<'_, '_>, stream: Stream) -> Result<Verdicts, Fault> {
    let pairs = duo.executor.extents().sizes(&[duo.pair])?[0];
    let (score_a, score_b) = (duo.reals("score_a", pairs)?, duo.reals("score_b", pairs)?);
    let keep = duo.reals("keep", pairs)?;
    let temperature = duo.args.number("temperature")?;
    let mut kept = Vec::new();
    for row in 0..pairs as usize {
        if keep[row] == 0.0 {
            continue;
        }
        let ahead = (score_a[row] - score_b[row]) / temperature;
        if ahead.is_nan() {
            let what = "the difference of two scores";
            return Err(Fault::not_finite(what, Numbers::default()));
        }
        let prefers_a = 1.0 / (1.0 + (-ahead).exp());
        kept.push((row as i64, stream.uniform(row as u64) >= prefers_a));
    }
    Ok(Verdicts { pairs, kept })
}

/// The dimension of the pairs that are judged.
fn pair(graph: &Graph, node: NodeId) -> Result<DimId, Fault> {
    let operands = graph.operands(node).into_iter();
    let mut dims = operands.flat_map(|operand| graph.ty(operand).dims.clone());
    dims.find(|&dim| graph.dims.name(dim) == "pair")
        .ok_or_else(|| Fault::input("`sampler.preferences` judges responses over `pair`"))
}

/// The two responses of each pair.
struct Duo<'a, 'g> {
    executor: &'a Executor<'g>,
    args: &'a Args<'a>,
    nodes: Vec<NodeId>,
    pair: DimId,
}

impl Duo<'_, '_> {
    /// An argument over the pairs, or one number for all.
    fn reals(&self, name: &str, pairs: i64) -> Result<Vec<f64>, Fault> {
        let given = self.args.draw.args.iter().find(|(own, _)| own == name);
        if let Some((_, DrawArg::Operand(operand))) = given {
            let values = elements::<f64>(self.args.operands[*operand].tensor()?)?;
            if values.len() as i64 == pairs {
                return Ok(values);
            }
        }
        Ok(vec![self.args.number(name)?; pairs as usize])
    }

    /// A field of `a` and of `b`.
    fn fields(&self, name: &str) -> Result<[(NodeId, &Value); 2], Fault> {
        let record = self.args.record("duo")?;
        let of = |side: &str| {
            let full = format!("{side}.{name}");
            let found = record.iter().find(|(own, _)| *own == full);
            let &(_, operand) = found.ok_or_else(|| {
                Fault::input(format!(
                    "`sampler.preferences` judges two responses, and this record has no field `{full}`"
                ))
            })?;
            Ok::<_, Fault>((self.nodes[operand], &self.args.operands[operand]))
        };
        Ok([of("a")?, of("b")?])
    }

    /// The rows at `places` of a field of `a` followed by those of `b`.
    fn of_both(&self, name: &str, places: &Tensor) -> Result<Value, Fault> {
        let [(a, of_a), (b, of_b)] = self.fields(name)?;
        let graph = self.executor.graph();
        let (a, b) = (&graph.ty(a).dims, &graph.ty(b).dims);
        match (axis::axis(a, self.pair), axis::axis(b, self.pair)) {
            (Ok(_), Ok(_)) => self.rows([(of_a.clone(), a), (of_b.clone(), b)], places),
            // What does not belong to a pair is the same for both.
            _ => Ok(of_a.clone()),
        }
    }

    /// What is real of the ragged dimensions of a field.
    fn masks(
        &self,
        graph: &Graph,
        name: &str,
        ty: &Ty,
        places: &Tensor,
    ) -> Result<Vec<(DimId, Tensor)>, Fault> {
        let [(a, _), (b, _)] = self.fields(name)?;
        let mut masks = Vec::new();
        for &dim in ty.dims.iter().filter(|dim| graph.dims.is_ragged(**dim)) {
            let own = |node: NodeId| {
                let mut dims = graph.ty(node).dims.iter().copied();
                let own = dims.find(|own| graph.dims.name(*own) == graph.dims.name(dim));
                own.ok_or_else(|| Fault::broken("both responses have tokens"))
            };
            let extents = self.executor.extents();
            let device = self.executor.context().device;
            let of = |own: DimId| {
                let dims = extents.mask_dims(own);
                let dims = dims.ok_or_else(|| Fault::broken("tokens are ragged"))?;
                Ok::<_, Fault>((Value::from(extents.mask(own, device)?), dims))
            };
            let (a, b) = (of(own(a)?)?, of(own(b)?)?);
            let mask = self.rows([(a.0, a.1), (b.0, b.1)], places)?;
            masks.push((dim, mask.tensor()?.shallow_clone()));
        }
        Ok(masks)
    }

    fn rows(&self, both: [(Value, &[DimId]); 2], places: &Tensor) -> Result<Value, Fault> {
        let first = |(value, dims): (Value, &[DimId])| {
            let axis = axis::axis(dims, self.pair)? as i64;
            rows::rearrange(&value, |tensor| Ok(tensor.f_movedim_int(axis, 0)?))
        };
        let [a, b] = both;
        let both = same_sizes(vec![first(a)?, first(b)?], 0)?;
        rows::select(&rows::join(&both, 0)?, 0, places)
    }
}
