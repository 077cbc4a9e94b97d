//! The course of a number.

/// A number of a stage, over the steps.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    pub stage: String,
    /// As it is reported; what an evaluation tells has ` (evaluated)` behind it.
    pub name: String,
    /// The step of the stage, and the value. What is not finite is absent.
    pub points: Vec<(u64, f64)>,
}

impl Curve {
    pub fn first(&self) -> Option<f64> {
        self.points.first().map(|point| point.1)
    }

    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|point| point.1)
    }

    /// The mean over the last tenth of the points, at least three: one step of a batch says little.
    pub fn recent(&self) -> Option<f64> {
        let count = (self.points.len() / 10).max(3).min(self.points.len());
        let tail = &self.points[self.points.len() - count..];
        (count > 0).then(|| tail.iter().map(|point| point.1).sum::<f64>() / count as f64)
    }
}

/// At most `most` points: the mean of each run of neighbours.
pub fn thinned(points: &[(u64, f64)], most: usize) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(most.max(1)).max(1);
    let mean = |chunk: &[(u64, f64)]| {
        let n = chunk.len() as f64;
        let (x, y) = chunk.iter().fold((0.0, 0.0), |(x, y), point| {
            (x + point.0 as f64, y + point.1)
        });
        (x / n, y / n)
    };
    points.chunks(size).map(mean).collect()
}
