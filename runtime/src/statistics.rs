//! What a tensor holds, in one line: for messages about numbers that are not finite.

use std::fmt;

use crate::error::Fault;
use crate::tensor::{Kind, Tensor};
use rlp_record::number::number;

/// Counts and bounds of the elements that are real.
#[derive(Clone, PartialEq, Debug)]
pub struct Statistics {
    /// Name and size of each dimension.
    pub shape: Vec<(String, i64)>,
    pub count: usize,
    /// Of the finite elements; absent if there is none.
    pub bounds: Option<Bounds>,
    pub nan: usize,
    pub infinite: usize,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    pub min: f64,
    pub max: f64,
    pub mean: f64,
}

impl Statistics {
    /// Of a tensor with these dimensions, where it is `real`.
    pub(crate) fn of(
        tensor: &Tensor,
        dims: impl IntoIterator<Item = String>,
        real: Option<&Tensor>,
    ) -> Result<Statistics, Fault> {
        let shape = dims.into_iter().zip(tensor.size()).collect();
        let elements = match real {
            Some(real) => tensor.f_masked_select(&real.f_expand_as(tensor)?)?,
            None => tensor.f_reshape([-1])?,
        };
        let elements = elements.f_detach()?.f_to_kind(Kind::Double)?;
        let count = |mask: Tensor| mask.f_sum(Kind::Int64)?.f_int64_value(&[]);
        let finite = elements.f_masked_select(&elements.f_isfinite()?)?;
        let bounds = if finite.numel() == 0 {
            None
        } else {
            Some(Bounds {
                min: finite.f_min()?.f_double_value(&[])?,
                max: finite.f_max()?.f_double_value(&[])?,
                mean: finite.f_mean(Kind::Double)?.f_double_value(&[])?,
            })
        };
        Ok(Statistics {
            shape,
            count: elements.numel(),
            bounds,
            nan: count(elements.f_isnan()?)? as usize,
            infinite: count(elements.f_isinf()?)? as usize,
        })
    }
}

impl fmt::Display for Statistics {
    /// `3 NaN and 1 infinite of 8; min -2, max 0.5, mean 0.1 [prompt 2, sample 4]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [(self.nan, "NaN"), (self.infinite, "infinite")];
        let wrong: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        let mut parts = Vec::new();
        match (self.count, self.nan, wrong.is_empty()) {
            (_, _, true) => {}
            (1, 0, false) => parts.push("infinite".to_string()),
            (1, _, false) => parts.push("NaN".to_string()),
            (count, _, false) => parts.push(format!("{} of {count}", wrong.join(" and "))),
        }
        match &self.bounds {
            Some(Bounds { min, .. }) if self.count == 1 => parts.push(number(*min)),
            Some(Bounds { min, max, mean }) => parts.push(format!(
                "min {}, max {}, mean {}",
                number(*min),
                number(*max),
                number(*mean)
            )),
            None if wrong.is_empty() => parts.push("no elements".to_string()),
            None => {}
        }
        write!(f, "{}", parts.join("; "))?;
        let sizes = self.shape.iter().map(|(dim, size)| format!("{dim} {size}"));
        let sizes: Vec<String> = sizes.collect();
        if !sizes.is_empty() {
            write!(f, " [{}]", sizes.join(", "))?;
        }
        Ok(())
    }
}
