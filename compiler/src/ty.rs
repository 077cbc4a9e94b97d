//! Types: an element and named dimensions, each dimension with its origin and its raggedness.

use rlp_grammar::ast::Span;

/// What a tensor holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Elem {
    Real,
    Int,
    Bool,
    Text,
}

impl Elem {
    /// The word of the language.
    pub fn name(self) -> &'static str {
        match self {
            Elem::Real => "real",
            Elem::Int => "int",
            Elem::Bool => "bool",
            Elem::Text => "text",
        }
    }
}

/// A dimension: its index in the [`Dims`] of the graph it belongs to.
///
/// Dimensions are numbered in the order in which they come into being, a ragged one after the
/// dimensions its lengths vary over. The axes of every tensor stand in ascending order of `DimId`,
/// so two tensors over the same dimensions have the same axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct DimId(pub u32);

/// What is known of one dimension.
#[derive(Clone, PartialEq, Debug)]
pub struct Dim {
    /// The name users write.
    pub name: String,
    /// Where it comes from, in words: "`sampler.rollout`", "the signature of `loss.ppo_clip`".
    pub origin: String,
    /// The place of that origin.
    pub span: Span,
    /// For a ragged dimension, the dimensions that its lengths vary over; they have smaller ids.
    pub ragged: Option<Vec<DimId>>,
    /// The size, when it is known before the run.
    pub size: Option<u64>,
}

/// The dimensions of a graph.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Dims(Vec<Dim>);

impl Dims {
    pub fn add(&mut self, dim: Dim) -> DimId {
        if let Some(parents) = &dim.ragged {
            debug_assert!(
                parents
                    .iter()
                    .all(|parent| (parent.0 as usize) < self.0.len())
            );
        }
        self.0.push(dim);
        DimId(self.0.len() as u32 - 1)
    }

    pub fn get(&self, id: DimId) -> &Dim {
        &self.0[id.0 as usize]
    }

    pub fn get_mut(&mut self, id: DimId) -> &mut Dim {
        &mut self.0[id.0 as usize]
    }

    pub fn name(&self, id: DimId) -> &str {
        &self.get(id).name
    }

    pub fn is_ragged(&self, id: DimId) -> bool {
        self.get(id).ragged.is_some()
    }

    pub fn ids(&self) -> impl Iterator<Item = DimId> {
        (0..self.0.len() as u32).map(DimId)
    }

    /// `real[prompt, sample]`, as users write it.
    pub fn show(&self, ty: &Ty) -> String {
        if ty.dims.is_empty() {
            return ty.elem.name().to_string();
        }
        let names: Vec<&str> = ty.dims.iter().map(|&dim| self.name(dim)).collect();
        format!("{}[{}]", ty.elem.name(), names.join(", "))
    }
}

/// Names ending in `token` are ragged by their name alone (`token`, `prompt_token`, …).
pub fn is_ragged_name(name: &str) -> bool {
    name == "token" || name.ends_with("_token")
}

/// The type of a tensor. `dims` is in ascending order, without repetition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ty {
    pub elem: Elem,
    pub dims: Vec<DimId>,
}

impl Ty {
    pub fn new(elem: Elem, mut dims: Vec<DimId>) -> Ty {
        dims.sort_unstable();
        dims.dedup();
        Ty { elem, dims }
    }

    pub fn scalar(elem: Elem) -> Ty {
        Ty {
            elem,
            dims: Vec::new(),
        }
    }

    pub fn has(&self, dim: DimId) -> bool {
        self.dims.contains(&dim)
    }

    /// Whether every dimension of `other` is one of this type's.
    pub fn includes(&self, other: &Ty) -> bool {
        other.dims.iter().all(|&dim| self.has(dim))
    }

    /// The same dimensions with another element.
    pub fn with_elem(&self, elem: Elem) -> Ty {
        Ty {
            elem,
            dims: self.dims.clone(),
        }
    }

    /// Without the given dimensions.
    pub fn without(&self, over: &[DimId]) -> Ty {
        Ty {
            elem: self.elem,
            dims: self
                .dims
                .iter()
                .copied()
                .filter(|dim| !over.contains(dim))
                .collect(),
        }
    }
}
