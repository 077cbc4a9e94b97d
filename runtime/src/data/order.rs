//! The order in which a run visits the problems of a task.

use serde::{Deserialize, Serialize};

use super::{Problem, Split, Task};
use crate::error::Fault;
use crate::random::{Permutation, Purpose, Stream};

/// A walk through one split, without replacement within an epoch; each epoch has an order of its own. It is two
/// numbers, so a checkpoint can hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemOrder {
    /// Full passes done.
    pub epoch: u64,
    /// Problems of this epoch already drawn.
    pub position: u64,
}

impl ProblemOrder {
    /// The next `count` problems; a batch that an epoch's end cuts goes on in the next epoch. The same `stream`
    /// must come with every draw of one walk.
    pub fn draw(
        &mut self,
        task: &dyn Task,
        split: Split,
        stream: Stream,
        count: u64,
    ) -> Result<Vec<Problem>, Fault> {
        let size = task.size(split);
        let next = |_| {
            if self.position == size {
                *self = ProblemOrder {
                    epoch: self.epoch + 1,
                    position: 0,
                };
            }
            let epoch = stream.at(self.epoch);
            let index = Permutation::new(epoch.at(0), size).at(self.position);
            self.position += 1;
            task.problem(split, index, epoch.at(1).at(index))
        };
        (0..count).map(next).collect()
    }
}

/// The `count` held-out problems, or all that there are, on which every run of a task is evaluated.
pub fn evaluation(task: &dyn Task, count: u64) -> Result<Vec<Problem>, Fault> {
    let count = count.min(task.size(Split::HeldOut));
    let stream = Stream::new(0, Purpose::Order);
    ProblemOrder::default().draw(task, Split::HeldOut, stream, count)
}
