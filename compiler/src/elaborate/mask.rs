//! What is real of ragged dimensions: masks, and what is reduced or cleared with them.

use crate::array::Array;
use crate::diagnostic::Diagnostic;
use crate::elaborate::value::Tensor;
use crate::elaborate::{Elaborator, Result};
use crate::graph::{Binary, Op, Reduction};
use crate::ty::{DimId, Elem, Ty};
use rlp_grammar::ast::Span;

impl Elaborator<'_> {
    /// What is real of a tensor over these dimensions; `None` if everything is.
    pub(crate) fn mask(&mut self, dims: &[DimId], span: Span) -> Result<Option<Tensor>> {
        if !dims.iter().any(|&dim| self.graph().dims.is_ragged(dim)) {
            return Ok(None);
        }
        let level = std::mem::replace(&mut self.level, 0);
        let frames = std::mem::take(&mut self.frames);
        let mask = self.build_mask(dims, span);
        self.frames = frames;
        self.level = level;
        mask.map(Some)
    }

    /// Says which positions of a ragged dimension are real, by a node of level 0.
    pub(crate) fn set_mask(&mut self, dim: DimId, mask: Tensor) {
        let level = &mut self.levels[0];
        level.masks.insert(dim, mask);
        level.graph.masks.insert(dim, mask.node);
    }

    pub(crate) fn build_mask(&mut self, dims: &[DimId], span: Span) -> Result<Tensor> {
        if let Some(&mask) = self.levels[0].memo.get(dims) {
            return Ok(mask);
        }
        let mut whole: Option<Tensor> = None;
        for &dim in dims {
            let Some(parents) = self.graph().dims.get(dim).ragged.clone() else {
                continue;
            };
            let Some(&base) = self.levels[0].masks.get(&dim) else {
                continue;
            };
            let gone: Vec<DimId> = parents
                .iter()
                .copied()
                .filter(|parent| !dims.contains(parent))
                .collect();
            let mut mask = base;
            if !gone.is_empty() {
                let parent_mask = self.parent_mask(&parents, dim, span)?;
                mask = self.reduce(Reduction::Any, mask, &gone, parent_mask, span)?;
            }
            let ty = Ty {
                elem: Elem::Bool,
                dims: dims.to_vec(),
            };
            if self.ty(mask).dims != dims {
                mask = self.push(Op::Broadcast, &[mask], ty.clone(), span)?;
            }
            whole = Some(match whole {
                Some(other) => self.push(Op::Binary(Binary::And), &[other, mask], ty, span)?,
                None => mask,
            });
        }
        let mask = match whole {
            Some(mask) => mask,
            None => {
                let truth = self.literal(Array::bool(true), span)?;
                self.push(
                    Op::Broadcast,
                    &[truth],
                    Ty {
                        elem: Elem::Bool,
                        dims: dims.to_vec(),
                    },
                    span,
                )?
            }
        };
        self.levels[0].memo.insert(dims.to_vec(), mask);
        Ok(mask)
    }

    /// The mask to apply when parents of a ragged dimension that are themselves ragged are reduced away.
    pub(crate) fn parent_mask(
        &mut self,
        parents: &[DimId],
        dim: DimId,
        span: Span,
    ) -> Result<Option<Tensor>> {
        if !parents
            .iter()
            .any(|&parent| self.graph().dims.is_ragged(parent))
        {
            return Ok(None);
        }
        let mask = self.build_mask(parents, span)?;
        let mut dims = parents.to_vec();
        dims.push(dim);
        dims.sort_unstable();
        let ty = Ty {
            elem: Elem::Bool,
            dims,
        };
        self.push(Op::Broadcast, &[mask], ty, span).map(Some)
    }

    /// A reduction with an explicit mask (over the dimensions of `x`).
    pub(crate) fn reduce(
        &mut self,
        kind: Reduction,
        x: Tensor,
        over: &[DimId],
        mask: Option<Tensor>,
        span: Span,
    ) -> Result<Tensor> {
        let elem = match kind {
            Reduction::Count => Elem::Int,
            Reduction::Mean | Reduction::LogSumExp => Elem::Real,
            Reduction::Sum | Reduction::Max | Reduction::Min | Reduction::Product => {
                self.ty(x).elem
            }
            Reduction::Any | Reduction::All => Elem::Bool,
        };
        let ty = self.ty(x).without(over).with_elem(elem);
        let mut over = over.to_vec();
        over.sort_unstable();
        let mut operands = vec![x];
        operands.extend(mask);
        self.push(Op::Reduce { kind, over }, &operands, ty, span)
    }

    /// A reduction over what is real.
    pub(crate) fn reduce_real(
        &mut self,
        kind: Reduction,
        x: Tensor,
        over: &[DimId],
        span: Span,
    ) -> Result<Tensor> {
        let dims = self.ty(x).dims.clone();
        let mask = self.mask(&dims, span)?;
        self.reduce(kind, x, over, mask, span)
    }

    /// x where it is real, 0 elsewhere.
    pub(crate) fn cleared(&mut self, x: Tensor, span: Span) -> Result<Tensor> {
        let dims = self.ty(x).dims.clone();
        let Some(mask) = self.mask(&dims, span)? else {
            return Ok(x);
        };
        let zero = match self.ty(x).elem {
            Elem::Real => Array::real(0.0),
            Elem::Int => Array::int(0),
            Elem::Bool => Array::bool(false),
            Elem::Text => Array::text(""),
        };
        let zero = self.literal(zero, span)?;
        self.select(mask, x, zero, span)
    }

    /// Refuses dimensions that carry one name but come from two places.
    pub(crate) fn refuse_two_origins(
        &mut self,
        a: Tensor,
        b: Tensor,
        a_span: Span,
        b_span: Span,
        at: Span,
    ) -> Result<()> {
        let clash = self.ty(a).dims.iter().find_map(|&x| {
            let name = self.dim_name(x);
            self.ty(b)
                .dims
                .iter()
                .find(|&&y| y != x && self.dim_name(y) == name)
                .map(|&y| (x, y))
        });
        let Some((x, y)) = clash else { return Ok(()) };
        let (first, second) = (
            self.graph().dims.get(x).clone(),
            self.graph().dims.get(y).clone(),
        );
        let name = &first.name;
        let message = format!(
            "`{name}` on one side is not the `{name}` on the other: one comes from {}, the other from {}",
            first.origin, second.origin
        );
        let diagnostic = Diagnostic::error("different-origin", at, message)
            .label(a_span, self.show_type(a))
            .label(b_span, self.show_type(b))
            .label(first.span, format!("one `{name}` comes from here"))
            .label(second.span, format!("the other `{name}` comes from here"))
            .help(format!("use values of one record, or `rename(x, {name}: other_{name})` if all pairs are meant"));
        Err(self.report(diagnostic))
    }
}
