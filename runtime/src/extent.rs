//! The sizes of dimensions while a graph runs, and which positions of the ragged ones are real.

use std::fmt;

use rlp_compiler::graph::{Graph, NodeId, Op};
use rlp_compiler::ty::{DimId, Dims};

use crate::error::Fault;
use crate::tensor::{Device, Kind, Tensor, keep};
use crate::torch::axis;

/// What is known of each dimension of a graph.
#[derive(Debug)]
pub struct Extents(Vec<Extent>);

#[derive(Debug)]
struct Extent {
    name: String,
    /// For a ragged dimension, the dimensions of its mask: its parents and itself, ascending.
    mask_dims: Option<Vec<DimId>>,
    size: Option<Known<i64>>,
    mask: Option<Known<Tensor>>,
}

/// A fact and who told it, in words.
#[derive(Debug)]
struct Known<T> {
    value: T,
    by: String,
}

impl Clone for Extents {
    fn clone(&self) -> Extents {
        Extents(self.0.iter().map(Extent::share).collect())
    }
}

impl Extent {
    fn share(&self) -> Extent {
        let size = self.size.as_ref().map(|size| Known {
            value: size.value,
            by: size.by.clone(),
        });
        let mask = self.mask.as_ref().map(|mask| Known {
            value: mask.value.shallow_clone(),
            by: mask.by.clone(),
        });
        Extent {
            name: self.name.clone(),
            mask_dims: self.mask_dims.clone(),
            size,
            mask,
        }
    }
}

impl Extents {
    /// With the sizes that are known before the run.
    pub fn new(dims: &Dims) -> Extents {
        let extent = |id: DimId| {
            let dim = dims.get(id);
            let mask_dims = dim.ragged.as_ref().map(|parents| {
                let mut mask_dims = parents.clone();
                mask_dims.push(id);
                mask_dims.sort_unstable();
                mask_dims
            });
            let size = dim.size.map(|size| Known {
                value: size as i64,
                by: dim.origin.clone(),
            });
            Extent {
                name: dim.name.clone(),
                mask_dims,
                size,
                mask: None,
            }
        };
        Extents(dims.ids().map(extent).collect())
    }

    /// The same knowledge for the body of a scan, which may have further dimensions.
    pub fn within(&self, dims: &Dims) -> Extents {
        let mut inside = Extents::new(dims);
        inside
            .0
            .iter_mut()
            .zip(&self.0)
            .for_each(|(inside, outside)| *inside = outside.share());
        inside
    }

    pub fn name(&self, dim: DimId) -> &str {
        &self.at(dim).name
    }

    /// The size of a dimension; of a ragged one, that of its longest sequence. `None` while nothing tells it.
    pub fn known_size(&self, dim: DimId) -> Option<i64> {
        self.at(dim).size.as_ref().map(|size| size.value)
    }

    /// As [`Extents::known_size`], an error while nothing tells it.
    pub fn size(&self, dim: DimId) -> Result<i64, Fault> {
        self.known_size(dim).ok_or_else(|| Fault::UnknownSize {
            dim: self.name(dim).to_string(),
        })
    }

    pub fn sizes(&self, dims: &[DimId]) -> Result<Vec<i64>, Fault> {
        dims.iter().map(|&dim| self.size(dim)).collect()
    }

    /// Takes note of a size told by `by` ("`logp`"); one that is known already must be the same.
    pub fn learn_size(&mut self, dim: DimId, size: i64, by: fmt::Arguments) -> Result<(), Fault> {
        let extent = &mut self.0[dim.0 as usize];
        match &extent.size {
            None => {
                extent.size = Some(Known {
                    value: size,
                    by: by.to_string(),
                })
            }
            Some(known) if known.value == size => {}
            Some(known) => {
                let (dim, there) = (extent.name.clone(), (known.by.clone(), known.value));
                return Err(Fault::Size {
                    dim,
                    here: (by.to_string(), size),
                    there,
                });
            }
        }
        Ok(())
    }

    /// The sizes of a value over `dims`.
    pub fn learn_shape(
        &mut self,
        dims: &[DimId],
        shape: &[i64],
        by: fmt::Arguments,
    ) -> Result<(), Fault> {
        if dims.len() != shape.len() {
            return Err(Fault::broken(format!(
                "{by} has {} axes, one for each of its dimensions",
                dims.len()
            )));
        }
        dims.iter()
            .zip(shape)
            .try_for_each(|(&dim, &size)| self.learn_size(dim, size, by))
    }

    /// The dimensions of the mask of a ragged dimension, ascending; `None` for a full one.
    pub fn mask_dims(&self, dim: DimId) -> Option<&[DimId]> {
        self.at(dim).mask_dims.as_deref()
    }

    /// Takes note of the mask of a ragged dimension; one that is known already must be the same.
    pub fn learn_mask(
        &mut self,
        dim: DimId,
        mask: &Tensor,
        by: fmt::Arguments,
    ) -> Result<(), Fault> {
        let Some(mask_dims) = self.at(dim).mask_dims.clone() else {
            return Err(Fault::broken(format!(
                "dimension `{}`, which has a mask, is ragged",
                self.name(dim)
            )));
        };
        self.learn_shape(&mask_dims, &mask.size(), by)?;
        let extent = &mut self.0[dim.0 as usize];
        match &extent.mask {
            None => {
                extent.mask = Some(Known {
                    value: mask.shallow_clone(),
                    by: by.to_string(),
                })
            }
            Some(known) if known.value.f_equal(mask)? => {}
            Some(known) => {
                return Err(Fault::Mask {
                    dim: extent.name.clone(),
                    here: by.to_string(),
                    there: known.by.clone(),
                });
            }
        }
        Ok(())
    }

    /// The mask of a ragged dimension as it is known; every position is real where it is not.
    pub fn mask(&self, dim: DimId, device: Device) -> Result<Tensor, Fault> {
        match (&self.at(dim).mask, self.mask_dims(dim)) {
            (Some(mask), _) => Ok(mask.value.shallow_clone()),
            (None, Some(mask_dims)) => Ok(Tensor::f_ones(
                self.sizes(mask_dims)?,
                (Kind::Bool, device),
            )?),
            (None, None) => Err(Fault::broken(format!(
                "dimension `{}`, which has a mask, is ragged",
                self.name(dim)
            ))),
        }
    }

    /// Which positions of a value over `dims` are real, in a shape that can be repeated to its own; `None` if all are.
    pub fn real(&self, dims: &[DimId]) -> Result<Option<Tensor>, Fault> {
        let mut real: Option<Tensor> = None;
        for &dim in dims {
            let (Some(mask), Some(mask_dims)) = (&self.at(dim).mask, self.mask_dims(dim)) else {
                continue;
            };
            // A tensor that holds a ragged dimension without its parents has no sequences to mask.
            if mask_dims.iter().all(|parent| dims.contains(parent)) {
                let mask = axis::spread(&mask.value, mask_dims, dims)?;
                real = Some(match real {
                    None => mask,
                    Some(other) => other.f_logical_and(&mask)?,
                });
            }
        }
        Ok(real)
    }

    /// `x` with zeros where it is not real: there nothing flows on, and nothing flows back.
    pub fn keep_real(&self, x: Tensor, dims: &[DimId]) -> Result<Tensor, Fault> {
        match self.real(dims)? {
            None => Ok(x),
            Some(real) => keep(&x, &real, 0),
        }
    }

    /// What follows for the dimensions that the nodes of a graph make out of others.
    pub fn derive(&mut self, graph: &Graph) -> Result<(), Fault> {
        loop {
            let known = self.count_known();
            for id in graph.ids() {
                self.derive_from(graph, id)?;
            }
            if self.count_known() == known {
                return Ok(());
            }
        }
    }

    fn derive_from(&mut self, graph: &Graph, id: NodeId) -> Result<(), Fault> {
        let op = graph.op(id);
        if let Op::Literal(array) = op {
            let shape: Vec<i64> = array.shape.iter().map(|&size| size as i64).collect();
            self.learn_shape(&graph.ty(id).dims, &shape, format_args!("a literal"))?;
        } else if let Op::Rename(pairs) = op {
            for &(old, new) in pairs {
                self.rename(old, new, pairs)?;
            }
        } else if let Op::Stack(dim) = op {
            self.learn_size(
                *dim,
                graph.operands(id).len() as i64,
                format_args!("`stack`"),
            )?;
        } else if let Op::Split { dim, into } = op {
            self.derive_product(*dim, into)?;
        } else if let Op::Merge { dims, into } = op {
            self.derive_product(*into, dims)?;
        } else if let Op::Factor {
            row,
            col,
            rank: Some(rank),
            ..
        } = op
            && let (Some(rows), Some(cols)) = (self.known_size(*row), self.known_size(*col))
        {
            self.learn_size(*rank, rows.min(cols), format_args!("a factorisation"))?;
        }
        Ok(())
    }

    /// `whole` is the product of `parts`: the one that is not known, from the others.
    fn derive_product(&mut self, whole: DimId, parts: &[DimId]) -> Result<(), Fault> {
        let known: i64 = parts
            .iter()
            .filter_map(|&part| self.known_size(part))
            .product();
        let unknown: Vec<DimId> = parts
            .iter()
            .copied()
            .filter(|&part| self.known_size(part).is_none())
            .collect();
        match (unknown.as_slice(), self.known_size(whole)) {
            ([], _) => self.learn_size(whole, known, format_args!("the product of its parts")),
            (&[part], Some(size)) if known > 0 && size % known == 0 => {
                self.learn_size(part, size / known, format_args!("a `split`"))
            }
            (&[part], Some(size)) => {
                let whole = format!("`{}`, of size {size},", self.name(whole));
                Err(Fault::input(format!(
                    "{whole} cannot be split into `{}` and {known} others",
                    self.name(part)
                )))
            }
            _ => Ok(()),
        }
    }

    /// `new` is `old` under another name: it has its size and, if it is ragged in the same way, its mask.
    fn rename(&mut self, old: DimId, new: DimId, pairs: &[(DimId, DimId)]) -> Result<(), Fault> {
        let by = format!("`{}`", self.name(old));
        if let Some(size) = self.known_size(old) {
            self.learn_size(new, size, format_args!("{by}"))?;
        }
        let (Some(mask), Some(old_dims), Some(new_dims)) =
            (&self.at(old).mask, self.mask_dims(old), self.mask_dims(new))
        else {
            return Ok(());
        };
        let new_name = |dim: &DimId| {
            pairs
                .iter()
                .find(|(from, _)| from == dim)
                .map_or(*dim, |&(_, to)| to)
        };
        let renamed: Vec<DimId> = old_dims.iter().map(new_name).collect();
        if self.at(new).mask.is_some()
            || renamed.len() != new_dims.len()
            || !renamed.iter().all(|dim| new_dims.contains(dim))
        {
            return Ok(());
        }
        let mask = axis::arrange(&mask.value, &renamed, new_dims)?;
        self.learn_mask(new, &mask, format_args!("{by}"))
    }

    /// Forgets what is known of these dimensions, except for sizes that are known before the run.
    pub fn forget(&mut self, dims: &Dims, forgotten: impl Iterator<Item = DimId>) {
        let fresh = Extents::new(dims);
        for dim in forgotten {
            self.0[dim.0 as usize] = fresh.at(dim).share();
        }
    }

    fn count_known(&self) -> usize {
        self.0
            .iter()
            .map(|extent| usize::from(extent.size.is_some()) + usize::from(extent.mask.is_some()))
            .sum()
    }

    fn at(&self, dim: DimId) -> &Extent {
        &self.0[dim.0 as usize]
    }
}
