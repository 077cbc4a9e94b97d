//! What a kernel means: its operations as `eval` computes them in f64, on arrays over rows and cells.

use rlp_compiler::array::{Array, Elements};
use rlp_compiler::eval::fold;
use rlp_compiler::graph::{Op, Reduction};
use rlp_compiler::kernel::{Form, Kernel, KernelOp, Level, ValueId};
use rlp_compiler::ty::{DimId, Dims, Elem, Ty};

use crate::arrays::Sizes;
use crate::builder::reduced;

pub(crate) struct Meaning {
    pub(crate) outputs: Vec<Elements>,
    /// The largest finite number on the way.
    pub(crate) magnitude: f64,
}

/// Of the reference's arrays: rows, cells.
const ROW: DimId = DimId(0);
const CELL: DimId = DimId(1);

struct Reference<'a> {
    kernel: &'a Kernel,
    sizes: &'a Sizes,
    /// Over rows, and over their cells if the value is of them.
    values: Vec<Elements>,
}

pub(crate) fn interpret(kernel: &Kernel, sizes: &Sizes, inputs: &[Elements]) -> Meaning {
    let mut reference = Reference {
        kernel,
        sizes,
        values: Vec::new(),
    };
    let mut magnitude = 0f64;
    for index in 0..kernel.body.len() {
        let value = reference.value(index, inputs);
        if let Elements::Real(x) = &value {
            let finite = x.iter().filter(|x| x.is_finite());
            magnitude = finite.fold(magnitude, |acc, x| acc.max(x.abs()));
        }
        reference.values.push(value);
    }
    let outputs = kernel.outputs.iter().map(|output| {
        let value = output.value;
        match &output.form {
            Form::Cells => reference.of_cells(value),
            Form::Rows => reference.of_rows(value),
            Form::Total { kind, mask } => {
                let elements = reference.of_rows(value);
                let mask = mask.map(|mask| reference.of_rows(mask));
                let count = length(&elements);
                reduce(*kind, &elements, mask.as_ref(), 1, count)
            }
        }
    });
    Meaning {
        outputs: outputs.collect(),
        magnitude,
    }
}

pub(crate) fn length(elements: &Elements) -> usize {
    match elements {
        Elements::Real(x) => x.len(),
        Elements::Int(x) => x.len(),
        Elements::Bool(x) => x.len(),
        Elements::Text(x) => x.len(),
    }
}

fn pick(elements: &Elements, places: impl Iterator<Item = usize>) -> Elements {
    match elements {
        Elements::Real(x) => Elements::Real(places.map(|place| x[place]).collect()),
        Elements::Int(x) => Elements::Int(places.map(|place| x[place]).collect()),
        Elements::Bool(x) => Elements::Bool(places.map(|place| x[place]).collect()),
        Elements::Text(x) => Elements::Text(places.map(|place| x[place].clone()).collect()),
    }
}

fn elem(elements: &Elements) -> Elem {
    match elements {
        Elements::Real(_) => Elem::Real,
        Elements::Int(_) => Elem::Int,
        Elements::Bool(_) => Elem::Bool,
        Elements::Text(_) => Elem::Text,
    }
}

/// An elementwise operation, or one along cells, on arrays of `shape`.
fn apply(op: &Op, result: Elem, shape: [usize; 2], operands: &[&Elements]) -> Elements {
    let ty = |elem, dims: usize| Ty::new(elem, [ROW, CELL][..dims].to_vec());
    let arrays: Vec<(Ty, Array)> = operands
        .iter()
        .enumerate()
        .map(|(number, &elements)| {
            // What a shift is filled with is of rows.
            let dims = if matches!(op, Op::Shift { .. }) && number == 1 {
                1
            } else {
                2
            };
            let array = Array {
                shape: shape[..dims].to_vec(),
                elements: elements.clone(),
            };
            (ty(elem(elements), dims), array)
        })
        .collect();
    let operands: Vec<(&Ty, &Array)> = arrays.iter().map(|(ty, array)| (ty, array)).collect();
    let dims = match op {
        Op::Reduce { .. } => 1,
        _ => 2,
    };
    let mut named = Dims::default();
    for name in ["row", "cell"] {
        named.add(rlp_compiler::ty::Dim {
            name: name.to_string(),
            origin: String::new(),
            span: Default::default(),
            ragged: None,
            size: None,
        });
    }
    fold(&named, op, &ty(result, dims), &operands)
        .unwrap()
        .elements
}

fn reduce(
    kind: Reduction,
    elements: &Elements,
    mask: Option<&Elements>,
    rows: usize,
    cells: usize,
) -> Elements {
    let op = Op::Reduce {
        kind,
        over: vec![CELL],
    };
    let operands: Vec<&Elements> = [Some(elements), mask].into_iter().flatten().collect();
    apply(&op, reduced(kind, elem(elements)), [rows, cells], &operands)
}

impl Reference<'_> {
    fn cells(&self) -> usize {
        self.sizes.cells
    }

    fn all(&self) -> usize {
        self.sizes.row_count() * self.cells()
    }

    /// As it is.
    fn of_rows(&self, value: ValueId) -> Elements {
        self.values[value.0 as usize].clone()
    }

    /// Over rows and cells.
    fn of_cells(&self, value: ValueId) -> Elements {
        let elements = &self.values[value.0 as usize];
        match self.kernel.body[value.0 as usize].level {
            Level::Row => pick(elements, (0..self.all()).map(|place| place / self.cells())),
            Level::Cell => elements.clone(),
        }
    }

    /// The index of a row along each dimension of the rows.
    fn row_indices(&self, row: usize) -> Vec<usize> {
        let mut rest = row;
        let mut indices: Vec<usize> = self
            .sizes
            .rows
            .iter()
            .rev()
            .map(|size| {
                let index = rest % size;
                rest /= size;
                index
            })
            .collect();
        indices.reverse();
        indices
    }

    fn value(&self, index: usize, inputs: &[Elements]) -> Elements {
        let instruction = &self.kernel.body[index];
        let rows = self.sizes.row_count();
        let cells = match instruction.level {
            Level::Row => 1,
            Level::Cell => self.cells(),
        };
        let count = rows * cells;
        match &instruction.op {
            KernelOp::Load(input) => {
                let dims = &self.kernel.inputs[*input].dims;
                let has_cells = self.kernel.cells.iter().any(|dim| dims.contains(dim));
                let place = |place: usize| {
                    let mut at = 0;
                    let indices = self.row_indices(place / cells);
                    for (number, dim) in self.kernel.rows.iter().enumerate() {
                        if dims.contains(dim) {
                            at = at * self.sizes.rows[number] + indices[number];
                        }
                    }
                    if has_cells {
                        at * cells + place % cells
                    } else {
                        at
                    }
                };
                pick(&inputs[*input], (0..count).map(place))
            }
            KernelOp::Real(x) => Elements::Real(vec![*x; count]),
            KernelOp::Int(x) => Elements::Int(vec![*x; count]),
            KernelOp::Bool(x) => Elements::Bool(vec![*x; count]),
            KernelOp::Position(dim) => {
                let number = self.kernel.rows.iter().position(|own| own == dim);
                let position = |place: usize| match number {
                    Some(number) => self.row_indices(place / cells)[number] as i64,
                    None => (place % cells) as i64,
                };
                Elements::Int((0..count).map(position).collect())
            }
            KernelOp::Reduce { kind, value, mask } => {
                let mask = mask.map(|mask| self.of_cells(mask));
                let value = self.of_cells(*value);
                reduce(*kind, &value, mask.as_ref(), rows, self.cells())
            }
            KernelOp::Shift { value, by, fill } => {
                let op = Op::Shift {
                    over: CELL,
                    by: *by,
                };
                let (value, fill) = (self.of_cells(*value), self.of_rows(*fill));
                apply(&op, instruction.elem, [rows, cells], &[&value, &fill])
            }
            KernelOp::Scan { scan, part } => self.scan(*scan, *part),
            KernelOp::Carry { .. } => unreachable!("carries stand in scans"),
            op => elementwise(
                op,
                instruction.elem,
                [rows, cells],
                &|&value| match instruction.level {
                    Level::Row => self.of_rows(value),
                    Level::Cell => self.of_cells(value),
                },
            ),
        }
    }

    fn scan(&self, scan: usize, part: usize) -> Elements {
        let inside = &self.kernel.scans[scan];
        let rows = self.sizes.row_count();
        let mut result = self.of_cells(inside.initial[part]);
        let mut carries: Vec<Elements> = inside
            .initial
            .iter()
            .map(|&value| self.of_rows(value))
            .collect();
        for step in 0..self.cells() {
            let cell = if inside.reverse {
                self.cells() - 1 - step
            } else {
                step
            };
            let column = |elements: &Elements| {
                pick(elements, (0..rows).map(|row| row * self.cells() + cell))
            };
            let mut own: Vec<Elements> = Vec::new();
            let get = |own: &[Elements], value: &ValueId| {
                let index = value.0 as usize;
                match index.checked_sub(self.kernel.body.len()) {
                    Some(inside) => own[inside].clone(),
                    None => column(&self.of_cells(*value)),
                }
            };
            for instruction in &inside.body {
                let value = match &instruction.op {
                    KernelOp::Carry { part } => carries[*part].clone(),
                    op => elementwise(op, instruction.elem, [rows, 1], &|value| get(&own, value)),
                };
                own.push(value);
            }
            let next: Vec<Elements> = inside
                .next
                .iter()
                .zip(&carries)
                .map(|(value, carry)| {
                    let next = get(&own, value);
                    match &inside.mask {
                        Some(mask) => {
                            let mask = column(&self.of_cells(*mask));
                            let operands = [&mask, &next, carry];
                            apply(&Op::Select, elem(carry), [rows, 1], &operands)
                        }
                        None => next,
                    }
                })
                .collect();
            carries = next;
            for row in 0..rows {
                let place = row * self.cells() + cell;
                match (&mut result, &carries[part]) {
                    (Elements::Real(result), Elements::Real(x)) => result[place] = x[row],
                    (Elements::Int(result), Elements::Int(x)) => result[place] = x[row],
                    (Elements::Bool(result), Elements::Bool(x)) => result[place] = x[row],
                    _ => unreachable!("a carry keeps its type"),
                }
            }
        }
        result
    }
}

fn elementwise(
    op: &KernelOp,
    result: Elem,
    shape: [usize; 2],
    of: &dyn Fn(&ValueId) -> Elements,
) -> Elements {
    let (op, operands) = match op {
        KernelOp::Unary(op, x) => (Op::Unary(*op), vec![of(x)]),
        KernelOp::Binary(op, a, b) => (Op::Binary(*op), vec![of(a), of(b)]),
        KernelOp::Select(a, b, c) => (Op::Select, vec![of(a), of(b), of(c)]),
        KernelOp::Cast(x) => (Op::Cast(result), vec![of(x)]),
        other => unreachable!("{other:?} is not elementwise"),
    };
    let operands: Vec<&Elements> = operands.iter().collect();
    apply(&op, result, shape, &operands)
}
