//! Lists and annotations: where a literal gets its dimensions, and its raggedness, from.

use rlp_grammar::ast::Span;

use crate::array::{Array, Elements};
use crate::diagnostic::Diagnostic;
use crate::elaborate::value::{List, Tensor, Value};
use crate::elaborate::{Elaborator, Result};
use crate::graph::Op;
use crate::ty::{DimId, Elem, Ty};

/// A nested list of known scalars.
pub(crate) enum Nested {
    Leaf(Array, Span),
    List(Vec<Nested>, Span),
}

impl Elaborator<'_> {
    /// A list with the dimensions of another tensor.
    pub(crate) fn list_like(&mut self, list: &List, like: Tensor) -> Result<Tensor> {
        let ty = self.ty(like).clone();
        self.typed_list(list, ty.elem, &ty.dims)
    }

    /// A list where nothing says what its dimension is.
    pub(crate) fn untyped_list(&mut self, list: &List) -> Result<Tensor> {
        let diagnostic = Diagnostic::error(
            "list-without-dimension",
            list.span,
            "it is not known what the dimension of this list is",
        )
        .help("say so: `[…] : real[objective]`");
        Err(self.report(diagnostic))
    }

    /// A list over dimensions, outermost first. A ragged dimension takes its lengths from the first list over it.
    pub(crate) fn typed_list(&mut self, list: &List, elem: Elem, dims: &[DimId]) -> Result<Tensor> {
        let Some((array, mask)) = self.known_list(list, elem, dims)? else {
            return self.stacked_list(list, elem, dims);
        };
        let order = ascending_order(dims);
        let sizes = array.shape.clone();
        let array = permute(&array, &order);
        let span = list.span;
        self.record_raggedness(dims, &sizes, mask, &order, span)?;
        let mut sorted = dims.to_vec();
        sorted.sort_unstable();
        self.push(Op::Literal(array), &[], Ty { elem, dims: sorted }, span)
    }

    /// The elements of a list over dimensions, outermost first, and which of them it has; nothing if one is not known now.
    pub(crate) fn known_list(
        &mut self,
        list: &List,
        elem: Elem,
        dims: &[DimId],
    ) -> Result<Option<(Array, Vec<bool>)>> {
        let mut nested = Vec::new();
        for (value, span) in &list.items {
            match self.nested(value, *span, elem)? {
                Some(item) => nested.push(item),
                None => return Ok(None),
            }
        }
        let nested = Nested::List(nested, list.span);
        let sizes = self.list_sizes(&nested, dims)?;
        let mut flat = Flat {
            elem,
            reals: Vec::new(),
            ints: Vec::new(),
            bools: Vec::new(),
            texts: Vec::new(),
            present: Vec::new(),
        };
        flat.fill(Some(&nested), &sizes);
        let present = flat.present.clone();
        let array = Array {
            shape: sizes,
            elements: flat.elements(),
        };
        Ok(Some((array, present)))
    }

    /// A list of tensors that are not known now: stacked along its one dimension.
    pub(crate) fn stacked_list(
        &mut self,
        list: &List,
        elem: Elem,
        dims: &[DimId],
    ) -> Result<Tensor> {
        let &[dim] = dims else {
            return self.error(
                "not-known-before-run",
                list.span,
                "the elements of a list of several dimensions must be known before the run",
            );
        };
        let mut items = Vec::new();
        for (value, span) in &list.items {
            let x = self.tensor(value.clone(), *span)?;
            let x = self.expect_elem(x, elem, *span)?;
            if !self.ty(x).dims.is_empty() {
                let shown = self.show_type(x);
                return self.error(
                    "dimension-mismatch",
                    *span,
                    format!(
                        "an element of a list is a scalar, not `{shown}`; `stack` joins tensors"
                    ),
                );
            }
            items.push(x);
        }
        self.fix_size(dim, items.len(), list.span)?;
        self.push(
            Op::Stack(dim),
            &items,
            Ty {
                elem,
                dims: vec![dim],
            },
            list.span,
        )
    }

    pub(crate) fn nested(
        &mut self,
        value: &Value,
        span: Span,
        elem: Elem,
    ) -> Result<Option<Nested>> {
        match value {
            Value::List(list) => {
                let mut items = Vec::new();
                for (item, span) in &list.items {
                    match self.nested(item, *span, elem)? {
                        Some(item) => items.push(item),
                        None => return Ok(None),
                    }
                }
                Ok(Some(Nested::List(items, list.span)))
            }
            Value::Tensor(tensor) => {
                // `0` and `1` stand for false and true in no list: the element must agree.
                let tensor = self.expect_elem(*tensor, elem, span)?;
                Ok(self
                    .static_value(tensor)
                    .map(|array| Nested::Leaf(array, span)))
            }
            other => {
                let message = format!(
                    "an element of a list is a number, a bool or a text, not {}",
                    other.describe()
                );
                self.error("type-mismatch", span, message)
            }
        }
    }

    /// The size of each dimension: the longest list; all equal where the dimension is not ragged.
    pub(crate) fn list_sizes(&mut self, nested: &Nested, dims: &[DimId]) -> Result<Vec<usize>> {
        let mut sizes = vec![0; dims.len()];
        let mut firsts: Vec<Option<(usize, Span)>> = vec![None; dims.len()];
        let mut row: Vec<&Nested> = vec![nested];
        for (axis, &dim) in dims.iter().enumerate() {
            let mut next = Vec::new();
            for item in row {
                match item {
                    Nested::Leaf(_, span) => {
                        let name = self.dim_name(dim).to_string();
                        let message =
                            format!("a list over `{name}` is expected here, not a single value");
                        return self.error("dimension-mismatch", *span, message);
                    }
                    Nested::List(items, span) => {
                        if let Some((first, first_span)) = firsts[axis] {
                            if first != items.len() && !self.graph().dims.is_ragged(dim) {
                                let name = self.dim_name(dim).to_string();
                                let message = format!(
                                    "`{name}` has {first} elements in one list and {} in another, and it is not ragged",
                                    items.len()
                                );
                                let diagnostic =
                                    Diagnostic::error("dimension-mismatch", *span, message)
                                        .here(format!("{} here", items.len()))
                                        .label(first_span, format!("{first} here"));
                                return Err(self.report(diagnostic));
                            }
                        } else {
                            firsts[axis] = Some((items.len(), *span));
                        }
                        sizes[axis] = sizes[axis].max(items.len());
                        next.extend(items);
                    }
                }
            }
            row = next;
        }
        if let Some(Nested::List(_, span)) =
            row.iter().find(|item| matches!(item, Nested::List(..)))
        {
            let message = format!(
                "this list is nested deeper than its {} dimension{}",
                dims.len(),
                if dims.len() == 1 { "" } else { "s" }
            );
            return self.error("dimension-mismatch", *span, message);
        }
        Ok(sizes)
    }

    /// Sizes and lengths that a literal gives to its dimensions; later literals must have the same.
    pub(crate) fn record_raggedness(
        &mut self,
        dims: &[DimId],
        sizes: &[usize],
        present: Vec<bool>,
        order: &[usize],
        span: Span,
    ) -> Result<()> {
        for (axis, &dim) in dims.iter().enumerate() {
            if !self.graph().dims.is_ragged(dim) {
                self.fix_size(dim, sizes[axis], span)?;
            }
        }
        let whole = permute(
            &Array {
                shape: sizes.to_vec(),
                elements: Elements::Bool(present),
            },
            order,
        );
        let mut sorted = dims.to_vec();
        sorted.sort_unstable();
        for &dim in dims {
            let Some(parents) = self.graph().dims.get(dim).ragged.clone() else {
                continue;
            };
            let mut wanted = parents.clone();
            wanted.push(dim);
            wanted.sort_unstable();
            if !wanted.iter().all(|needed| sorted.contains(needed)) {
                continue;
            }
            // Along other dimensions every position is alike: look at the first.
            let axes: Vec<usize> = wanted
                .iter()
                .filter_map(|needed| sorted.iter().position(|found| found == needed))
                .collect();
            let mask = first_along(&whole, &axes);
            let size = mask.shape.last().copied().unwrap_or(0);
            match self.levels[0].masks.get(&dim).copied() {
                Some(known) => {
                    let Op::Literal(first) = self.levels[0].graph.op(known.node) else {
                        continue;
                    };
                    if *first != mask {
                        let name = self.dim_name(dim).to_string();
                        return self.error("dimension-mismatch", span, format!("the lengths of `{name}` differ from those of the first list over it"));
                    }
                }
                None => {
                    self.fix_size(dim, size, span)?;
                    let level = std::mem::replace(&mut self.level, 0);
                    let node = self.push(
                        Op::Literal(mask),
                        &[],
                        Ty {
                            elem: Elem::Bool,
                            dims: wanted,
                        },
                        span,
                    );
                    self.level = level;
                    self.set_mask(dim, node?);
                }
            }
        }
        Ok(())
    }
}

/// A nested list as elements in row-major order, with what is missing filled in and marked.
pub(crate) struct Flat {
    elem: Elem,
    reals: Vec<f64>,
    ints: Vec<i64>,
    bools: Vec<bool>,
    texts: Vec<String>,
    present: Vec<bool>,
}

impl Flat {
    pub(crate) fn fill(&mut self, nested: Option<&Nested>, sizes: &[usize]) {
        match sizes.split_first() {
            None => {
                self.present.push(nested.is_some());
                let leaf = match nested {
                    Some(Nested::Leaf(array, _)) => Some(&array.elements),
                    Some(Nested::List(..)) | None => None,
                };
                match (self.elem, leaf) {
                    (Elem::Real, Some(Elements::Real(x))) => self.reals.push(x[0]),
                    (Elem::Int, Some(Elements::Int(x))) => self.ints.push(x[0]),
                    (Elem::Bool, Some(Elements::Bool(x))) => self.bools.push(x[0]),
                    (Elem::Text, Some(Elements::Text(x))) => self.texts.push(x[0].clone()),
                    (Elem::Real, _) => self.reals.push(0.0),
                    (Elem::Int, _) => self.ints.push(0),
                    (Elem::Bool, _) => self.bools.push(false),
                    (Elem::Text, _) => self.texts.push(String::new()),
                }
            }
            Some((&size, rest)) => {
                for index in 0..size {
                    let item = match nested {
                        Some(Nested::List(items, _)) => items.get(index),
                        Some(Nested::Leaf(..)) | None => None,
                    };
                    self.fill(item, rest);
                }
            }
        }
    }

    pub(crate) fn elements(self) -> Elements {
        match self.elem {
            Elem::Real => Elements::Real(self.reals),
            Elem::Int => Elements::Int(self.ints),
            Elem::Bool => Elements::Bool(self.bools),
            Elem::Text => Elements::Text(self.texts),
        }
    }
}

/// The array with its axes, one for each of `dims`, in ascending order of dimensions.
pub(crate) fn ascending(array: &Array, dims: &[DimId]) -> Array {
    permute(array, &ascending_order(dims))
}

fn ascending_order(dims: &[DimId]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..dims.len()).collect();
    order.sort_by_key(|&axis| dims[axis]);
    order
}

/// The array with its axes in another order.
pub(crate) fn permute(array: &Array, order: &[usize]) -> Array {
    let shape: Vec<usize> = order.iter().map(|&axis| array.shape[axis]).collect();
    let indices = offsets(&array.shape, order, &shape);
    Array {
        shape,
        elements: pick(&array.elements, &indices),
    }
}

/// The part of an array where every axis that is not kept is 0.
fn first_along(array: &Array, kept: &[usize]) -> Array {
    let shape: Vec<usize> = kept.iter().map(|&axis| array.shape[axis]).collect();
    let indices = offsets(&array.shape, kept, &shape);
    Array {
        shape,
        elements: pick(&array.elements, &indices),
    }
}

/// Where in an array of `shape` each element of the result stands, whose axes are `axes` of it.
fn offsets(shape: &[usize], axes: &[usize], result: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    let count: usize = result.iter().product();
    (0..count)
        .map(|mut flat| {
            let mut offset = 0;
            for (&axis, &size) in axes.iter().zip(result).rev() {
                offset += (flat % size) * strides[axis];
                flat /= size;
            }
            offset
        })
        .collect()
}

fn pick(elements: &Elements, indices: &[usize]) -> Elements {
    match elements {
        Elements::Real(x) => Elements::Real(indices.iter().map(|&i| x[i]).collect()),
        Elements::Int(x) => Elements::Int(indices.iter().map(|&i| x[i]).collect()),
        Elements::Bool(x) => Elements::Bool(indices.iter().map(|&i| x[i]).collect()),
        Elements::Text(x) => Elements::Text(indices.iter().map(|&i| x[i].clone()).collect()),
    }
}
