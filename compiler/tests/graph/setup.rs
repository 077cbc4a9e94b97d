//! A graph under construction with values for what it reads; padding holds not-a-number and infinities.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::Given;
use rlp_compiler::graph::{Binary, Graph, NodeId, Op, Reduction, ScanBody, Unary};
use rlp_compiler::ty::{Dim, DimId, Elem, Ty};
use rlp_grammar::ast::Span;

/// Sizes of the dimensions, and what decides lengths and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) prompts: usize,
    pub(crate) samples: usize,
    pub(crate) tokens: usize,
    pub(crate) features: usize,
    pub(crate) seed: u64,
}

pub(crate) struct Setup {
    pub(crate) graph: Graph,
    pub(crate) given: Given,
    /// Real sources with respect to which results are differentiated.
    pub(crate) wrt: Vec<NodeId>,
    pub(crate) prompt: DimId,
    pub(crate) sample: DimId,
    /// Ragged over `prompt` and `sample`.
    pub(crate) token: DimId,
    pub(crate) feature: DimId,
    pub(crate) shape: Shape,
    /// Which tokens are real.
    real: Array,
    random: u64,
}

impl Setup {
    pub(crate) fn new(shape: Shape) -> Setup {
        let mut setup = Setup {
            graph: Graph::default(),
            given: Given {
                step: 3,
                steps: 10,
                ..Given::default()
            },
            wrt: Vec::new(),
            prompt: DimId(0),
            sample: DimId(1),
            token: DimId(2),
            feature: DimId(3),
            shape,
            real: Array::bool(true),
            random: shape.seed,
        };
        setup.dim("prompt", shape.prompts, None);
        setup.dim("sample", shape.samples, None);
        setup.dim("token", shape.tokens, Some(vec![DimId(0), DimId(1)]));
        setup.dim("feature", shape.features, None);
        let mut real = Vec::new();
        for _ in 0..shape.prompts * shape.samples {
            let length = setup.below(shape.tokens as u64 + 1) as usize;
            real.extend((0..shape.tokens).map(|token| token < length));
        }
        setup.real = Array {
            shape: vec![shape.prompts, shape.samples, shape.tokens],
            elements: Elements::Bool(real),
        };
        // As in a test, where lists tell the lengths, or as in a run, where a draw does.
        let op = if shape.seed.is_multiple_of(2) {
            Op::Literal(setup.real.clone())
        } else {
            setup.tell_lengths();
            Op::Mask(setup.token)
        };
        let dims = [setup.prompt, setup.sample, setup.token];
        let mask = setup.add(op, &[], Elem::Bool, &dims);
        setup.graph.masks.insert(setup.token, mask);
        setup
    }

    /// Gives the lengths from outside.
    pub(crate) fn tell_lengths(&mut self) {
        self.given.masks.insert(self.token, self.real.clone());
    }

    /// A random number below `bound` (splitmix64).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn dim(&mut self, name: &str, size: usize, ragged: Option<Vec<DimId>>) -> DimId {
        let dim = self.dim_without_size(name, ragged);
        self.given.sizes.insert(dim, size);
        dim
    }

    /// A dimension whose size follows from the graph.
    pub(crate) fn dim_without_size(&mut self, name: &str, ragged: Option<Vec<DimId>>) -> DimId {
        self.graph.dims.add(Dim {
            name: name.to_string(),
            origin: "a test".to_string(),
            span: Span::default(),
            ragged,
            size: None,
        })
    }

    pub(crate) fn ty(&self, elem: Elem, dims: &[DimId]) -> Ty {
        Ty::new(elem, dims.to_vec())
    }

    pub(crate) fn add(
        &mut self,
        op: Op,
        operands: &[NodeId],
        elem: Elem,
        dims: &[DimId],
    ) -> NodeId {
        self.graph.add(
            op,
            operands,
            Ty::new(elem, dims.to_vec()),
            Span::default(),
            None,
        )
    }

    pub(crate) fn add_like(&mut self, op: Op, operands: &[NodeId], like: NodeId) -> NodeId {
        let ty = self.graph.ty(like).clone();
        self.graph.add(op, operands, ty, Span::default(), None)
    }

    fn shape_of(&self, dims: &[DimId]) -> Vec<usize> {
        let dims = Ty::new(Elem::Real, dims.to_vec()).dims;
        dims.iter().map(|dim| self.given.sizes[dim]).collect()
    }

    /// Which elements of a tensor over these dimensions are real.
    pub(crate) fn real(&self, dims: &[DimId]) -> Vec<bool> {
        let shape = self.shape_of(dims);
        let dims = Ty::new(Elem::Real, dims.to_vec()).dims;
        let Elements::Bool(mask) = &self.real.elements else {
            panic!("a mask is bool")
        };
        let own = [self.prompt, self.sample, self.token];
        let ragged = own.iter().all(|dim| dims.contains(dim));
        (0..shape.iter().product())
            .map(|element: usize| {
                let mut rest = element;
                let mut index = vec![0; dims.len()];
                for axis in (0..dims.len()).rev() {
                    index[axis] = rest % shape[axis];
                    rest /= shape[axis];
                }
                let at = |dim: DimId| index[dims.iter().position(|own| *own == dim).unwrap()];
                let place = || {
                    (at(self.prompt) * self.shape.samples + at(self.sample)) * self.shape.tokens
                        + at(self.token)
                };
                !ragged || mask[place()]
            })
            .collect()
    }

    /// Distinct numbers between the bounds, in random order, away from 0 and from integers.
    pub(crate) fn numbers(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        let offset = 0.5 + 0.09 * (self.graph.len() % 5) as f64;
        let mut numbers: Vec<f64> = (0..count)
            .map(|i| low + (high - low) * (i as f64 + offset) / count as f64 + 0.003_17)
            .collect();
        for i in (1..count).rev() {
            let j = self.below(i as u64 + 1) as usize;
            numbers.swap(i, j);
        }
        numbers
    }

    fn reals(&mut self, dims: &[DimId], low: f64, high: f64) -> Array {
        let real = self.real(dims);
        let mut numbers = self.numbers(real.len(), low, high);
        for (number, real) in numbers.iter_mut().zip(real) {
            if !real {
                *number = [f64::NAN, f64::INFINITY, 1e300][self.below(3) as usize];
            }
        }
        Array {
            shape: self.shape_of(dims),
            elements: Elements::Real(numbers),
        }
    }

    /// A real source that results are differentiated with respect to.
    pub(crate) fn variable(&mut self, dims: &[DimId], low: f64, high: f64) -> NodeId {
        let id = self.constant(dims, low, high);
        self.wrt.push(id);
        id
    }

    /// A real source.
    pub(crate) fn constant(&mut self, dims: &[DimId], low: f64, high: f64) -> NodeId {
        let array = self.reals(dims, low, high);
        self.input(array, Elem::Real, dims)
    }

    /// Gives a source that only a run can compute a value, as a variable.
    pub(crate) fn give(&mut self, id: NodeId, dims: &[DimId]) -> NodeId {
        let array = self.reals(dims, -2.0, 2.0);
        self.given.nodes.insert(id, array);
        self.wrt.push(id);
        id
    }

    /// Integers from 0 to below the bound; 0 where they are not real.
    pub(crate) fn integers(&mut self, dims: &[DimId], bound: usize) -> NodeId {
        let real = self.real(dims);
        let integers = real
            .into_iter()
            .map(|real| {
                if real {
                    self.below(bound as u64) as i64
                } else {
                    0
                }
            })
            .collect();
        let array = Array {
            shape: self.shape_of(dims),
            elements: Elements::Int(integers),
        };
        self.input(array, Elem::Int, dims)
    }

    pub(crate) fn bools(&mut self, dims: &[DimId]) -> NodeId {
        let count = self.shape_of(dims).iter().product();
        let bools = (0..count).map(|_: usize| self.below(2) == 0).collect();
        let array = Array {
            shape: self.shape_of(dims),
            elements: Elements::Bool(bools),
        };
        self.input(array, Elem::Bool, dims)
    }

    pub(crate) fn texts(&mut self, dims: &[DimId]) -> NodeId {
        let some = [
            "",
            " <a>7</a> ",
            "x # 3 # -2.5e1",
            "Ärger 12",
            "aaa",
            "0x10",
            "inf",
            "<a>",
            "42",
        ];
        let count = self.shape_of(dims).iter().product();
        let texts = (0..count)
            .map(|_: usize| some[self.below(some.len() as u64) as usize].to_string())
            .collect();
        let array = Array {
            shape: self.shape_of(dims),
            elements: Elements::Text(texts),
        };
        self.input(array, Elem::Text, dims)
    }

    pub(crate) fn input(&mut self, array: Array, elem: Elem, dims: &[DimId]) -> NodeId {
        let name = format!("input{}", self.graph.len());
        self.given.inputs.insert(name.clone(), array);
        self.add(Op::Input(name), &[], elem, dims)
    }

    pub(crate) fn literal(&mut self, value: f64) -> NodeId {
        self.add(Op::Literal(Array::real(value)), &[], Elem::Real, &[])
    }

    pub(crate) fn integer(&mut self, value: i64) -> NodeId {
        self.add(Op::Literal(Array::int(value)), &[], Elem::Int, &[])
    }

    pub(crate) fn unary(&mut self, op: Unary, x: NodeId) -> NodeId {
        self.add_like(Op::Unary(op), &[x], x)
    }

    pub(crate) fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> NodeId {
        self.add_like(Op::Binary(op), &[a, b], a)
    }

    pub(crate) fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.binary(Binary::Mul, a, b)
    }

    /// Repeated over dimensions, with the mask of what is ragged among them.
    pub(crate) fn broadcast(&mut self, x: NodeId, dims: &[DimId]) -> NodeId {
        let elem = self.graph.ty(x).elem;
        let mask = self.mask(dims);
        let operands: Vec<NodeId> = [x].into_iter().chain(mask).collect();
        self.add(Op::Broadcast, &operands, elem, dims)
    }

    /// What is real of a tensor over these dimensions, if not everything is.
    pub(crate) fn mask(&mut self, dims: &[DimId]) -> Option<NodeId> {
        let own = [self.prompt, self.sample, self.token];
        own.iter().all(|dim| dims.contains(dim)).then(|| {
            let mask = self.graph.masks[&self.token];
            if dims.len() == own.len() {
                mask
            } else {
                self.add(Op::Broadcast, &[mask], Elem::Bool, dims)
            }
        })
    }

    /// x, and 0 where it is not real.
    pub(crate) fn clean(&mut self, x: NodeId) -> NodeId {
        let dims = self.graph.ty(x).dims.clone();
        match self.mask(&dims) {
            Some(mask) => {
                let zero = self.literal(0.0);
                let zeros = self.add(Op::Broadcast, &[zero], Elem::Real, &dims);
                self.add_like(Op::Select, &[mask, x, zeros], x)
            }
            None => x,
        }
    }

    pub(crate) fn reduce(&mut self, kind: Reduction, x: NodeId, over: &[DimId]) -> NodeId {
        let ty = self.graph.ty(x).clone();
        let elem = if kind == Reduction::Count {
            Elem::Int
        } else {
            ty.elem
        };
        let mask = self.mask(&ty.dims);
        let operands: Vec<NodeId> = [x].into_iter().chain(mask).collect();
        self.add(
            Op::Reduce {
                kind,
                over: over.to_vec(),
            },
            &operands,
            elem,
            &ty.without(over).dims,
        )
    }

    /// The sum of the real and finite elements, each with a weight of its own, so that none can stand for another.
    pub(crate) fn weighted_sum(&mut self, x: NodeId) -> NodeId {
        let Ty { elem, dims } = self.graph.ty(x).clone();
        let x = match elem {
            Elem::Real => x,
            Elem::Int | Elem::Bool => self.add(Op::Cast(Elem::Real), &[x], Elem::Real, &dims),
            Elem::Text => panic!("a text has no sum"),
        };
        let sizes_known = dims.iter().all(|dim| self.given.sizes.contains_key(dim));
        let weighted = if sizes_known {
            let weight = self.constant(&dims, 0.5, 1.5);
            let weighted = self.mul(x, weight);
            let finite = self.add(Op::Unary(Unary::IsFinite), &[x], Elem::Bool, &dims);
            let zero = self.literal(0.0);
            let zeros = self.add(Op::Broadcast, &[zero], Elem::Real, &dims);
            self.add_like(Op::Select, &[finite, weighted, zeros], x)
        } else {
            x
        };
        self.reduce(Reduction::Sum, weighted, &dims)
    }

    /// The body of a scan, built by `body` in a graph with the same dimensions; it gives the next carries.
    pub(crate) fn body(&mut self, body: impl FnOnce(&mut Setup) -> Vec<NodeId>) -> ScanBody {
        let mut inside = Setup::new(self.shape);
        inside.given.sizes = self.given.sizes.clone();
        inside.graph = Graph::default();
        inside.graph.dims = self.graph.dims.clone();
        let next = body(&mut inside);
        self.graph.dims = inside.graph.dims.clone();
        ScanBody {
            graph: inside.graph,
            next,
        }
    }

    /// An input of a scan's body.
    pub(crate) fn given(&mut self, name: &str, elem: Elem, dims: &[DimId]) -> NodeId {
        self.add(Op::Input(name.to_string()), &[], elem, dims)
    }
}
