//! What `rlpc bench` times: a block, an optimizer's rule over the parameters of a model, the steps of a pipeline.

mod arguments;
mod block;
mod optimizer;
mod pipeline;

use crate::clock::{Elapsed, Moment};
use crate::error::Result;
use crate::tensor::Device;

pub(crate) use arguments::Given;
pub(crate) use block::{BlockTimes, block};
pub(crate) use optimizer::{RuleTimes, rule, rule_source};
pub(crate) use pipeline::{StageTimes, part_name, pipeline};

/// Repetitions of one piece of work.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Times(Vec<Elapsed>);

impl Times {
    /// Once without being counted, then `repeat` times.
    pub(crate) fn of<T>(
        repeat: usize,
        device: Device,
        mut work: impl FnMut() -> Result<T>,
    ) -> Result<Times> {
        work()?;
        let mut times = Vec::new();
        for _ in 0..repeat {
            let start = Moment::on(device);
            let result = work()?;
            times.push(start.elapsed_on(device));
            drop(result);
        }
        Ok(Times(times))
    }

    /// The least wall time.
    pub(crate) fn least(&self) -> f64 {
        self.walls().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.walls().collect())
    }

    /// The least CPU time, of all threads.
    pub(crate) fn cpu(&self) -> f64 {
        self.0
            .iter()
            .map(|own| own.cpu)
            .fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn walls(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|own| own.wall)
    }
}

/// The middle one, of an even number the mean of the two; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
