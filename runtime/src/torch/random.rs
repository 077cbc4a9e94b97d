//! Random numbers of a program: a pure function of the seed, the call, the step and the position.

use rlp_compiler::graph::RandomKind;

use super::Site;
use crate::error::Fault;
use crate::random::{Purpose, Stream};
use crate::tensor::Tensor;

pub(super) fn random(kind: RandomKind, key: u64, site: &Site) -> Result<Tensor, Fault> {
    let context = site.context;
    let stream = Stream::new(context.seed, Purpose::Program)
        .at(key)
        .at(context.step);
    let shape = site.shape()?;
    let count = shape.iter().product::<i64>() as u64;
    let numbers: Vec<f64> = match kind {
        RandomKind::Normal => (0..count).map(|position| stream.normal(position)).collect(),
        RandomKind::Uniform => (0..count)
            .map(|position| stream.uniform(position))
            .collect(),
    };
    Ok(Tensor::f_from_slice(&numbers)?
        .f_reshape(&shape)?
        .f_to_kind(context.kind)?
        .f_to_device(context.device)?)
}
