//! Branches: what is computed where another branch is taken has no value that matters, and no derivative either.

use rlp_grammar::ast::Span;

use crate::elaborate::value::Tensor;
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Reduction, Unary};
use crate::ty::{DimId, Elem};

/// A condition under which what is being elaborated is chosen, and on which side of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) condition: Tensor,
    pub(crate) side: bool,
}

/// A known number of a size between these has a finite inverse, and those functions of it that exist are finite.
const SMALLEST: f64 = 1e-30;
const LARGEST: f64 = 80.0;

impl Elaborator<'_> {
    /// Runs `body` as what is chosen where `condition` is `side`.
    pub(crate) fn taking<T>(
        &mut self,
        condition: Tensor,
        side: bool,
        body: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.taken.push(Taken { condition, side });
        let result = body(self);
        self.taken.pop();
        result
    }

    /// `x` where the branch around it is taken, 1 elsewhere.
    ///
    /// `if c { 1 / x } else { 0 }` computes both sides. Where `x` is 0 the gradient that comes back from the other side is
    /// 0, and 0 times the infinite slope of 1/x would be no number. So what has infinite values or slopes never sees
    /// the elements that are not taken. `dims` are those of the result; a condition with more counts as holding where it
    /// does for any of them.
    pub(crate) fn where_taken(&mut self, x: Tensor, dims: &[DimId], span: Span) -> Result<Tensor> {
        let is_tame = |value: f64| (SMALLEST..=LARGEST).contains(&value.abs());
        if self.ty(x).elem != Elem::Real || self.static_number(x).is_some_and(is_tame) {
            return Ok(x);
        }
        let mut x = x;
        for Taken { condition, side } in self.taken.clone() {
            let holds = if side {
                condition
            } else {
                self.unary(Unary::Not, condition, span)?
            };
            let further: Vec<DimId> = self
                .ty(holds)
                .dims
                .iter()
                .copied()
                .filter(|dim| !dims.contains(dim))
                .collect();
            let holds = if further.is_empty() {
                holds
            } else {
                self.reduce_real(Reduction::Any, holds, &further, span)?
            };
            let one = self.number(1.0, span)?;
            x = self.select(holds, x, one, span)?;
        }
        Ok(x)
    }
}
